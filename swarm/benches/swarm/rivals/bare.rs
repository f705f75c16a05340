//! iroh-blobs by itself: one process serves a file, another fetches it with the library's own calls.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, PublicKey, RelayMode};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{BlobsProtocol, Hash};

use super::Running;

/// Fetches a file over the loopback interface, after the other side was made `ready`; returns how long that took.
pub(crate) fn fetch(dir: &Path, file: &Path, ready: impl FnOnce()) -> Duration {
    let program = std::env::current_exe().unwrap();
    let (from, to) = (
        tempfile::tempdir_in(dir).unwrap(),
        tempfile::tempdir_in(dir).unwrap(),
    );
    let mut serving = Running(
        Command::new(&program)
            .arg("bare")
            .arg(from.path())
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    let output = serving.0.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    ready();
    let output = Command::new(&program)
        .arg("bare")
        .arg(to.path())
        .args(line.split_whitespace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let seconds: f64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap();
    Duration::from_secs_f64(seconds)
}

/// Serves a file (`DIR FILE`) until its input ends, or fetches one (`DIR KEY PORT HASH`) and prints the seconds.
pub(crate) fn serve(arguments: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = FsStore::load(PathBuf::from(&arguments[0])).await.unwrap();
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")
            .unwrap()
            .bind()
            .await
            .unwrap();
        match &arguments[1..] {
            [file] => {
                let file = std::fs::canonicalize(file).unwrap();
                let tag = store.add_path(file).await.unwrap();
                let blobs = BlobsProtocol::new(&store, None);
                let _router = Router::builder(endpoint.clone())
                    .accept(iroh_blobs::ALPN, blobs)
                    .spawn();
                let port = endpoint.bound_sockets()[0].port();
                println!("{} {port} {}", endpoint.id(), tag.hash);
                std::io::stdin().lines().next();
            }
            [key, port, hash] => {
                let key: PublicKey = key.parse().unwrap();
                let hash: Hash = hash.parse().unwrap();
                let at = ([127, 0, 0, 1], port.parse().unwrap()).into();
                let began = Instant::now();
                let to = EndpointAddr::new(key).with_ip_addr(at);
                let connection = endpoint.connect(to, iroh_blobs::ALPN).await.unwrap();
                store.remote().fetch(connection, hash).await.unwrap();
                println!("{}", began.elapsed().as_secs_f64());
                store.shutdown().await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    });
}
