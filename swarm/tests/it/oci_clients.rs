//! The loopback registry and clients that we did not write: containerd, oras, skopeo with all platforms.
//! Podman is the orchestrator's client; the tests on nodes pull with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use archy_registry::OciDigest;
use archy_registry::release::Descriptor;
use archy_swarm::image::Packed;
use serde_json::json;

use crate::layout::{Family, Form, Layout, layer, mixed, named, sha256, skopeo};
use crate::oci::{packed, packed_for, provide, publish};
use crate::support::{DEADLINE, Node, bytes, tag};

/// Returns a file or folder of what `scripts/oci-clients.sh` brought.
fn client(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let path = root.join(target).join("tools/oci-clients").join(path);
    assert!(
        path.exists(),
        "{} is missing: run scripts/oci-clients.sh",
        path.display()
    );
    path
}

/// Runs a command off the runtime, which serves what it asks for, and returns what it printed.
async fn run(mut command: Command) -> Vec<u8> {
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap();
    let output = output.unwrap_or_else(|error| panic!("{shown}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}: {errors}");
    output.stdout
}

/// A containerd of its own, without its container runtime; it ends with the test.
struct Containerd {
    process: Child,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let socket = at("grpc");
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("ttrpc")
        );
        std::fs::write(at("config.toml"), config).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let process = Command::new(client("containerd/usr/bin/containerd"))
            .arg("--config")
            .arg(at("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !socket.exists() {
            let log = || std::fs::read_to_string(at("log")).unwrap_or_default();
            assert!(began.elapsed() < DEADLINE, "no containerd: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            process,
            socket,
            _dir: dir,
        }
    }

    fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(client("containerd/usr/bin/ctr"));
        command.arg("--address").arg(&self.socket).args(arguments);
        command
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An image that a node serves under a name, and the reference to it.
async fn served(layout: &Layout, work: &Path) -> (Node, Packed, String) {
    let packed = packed(layout, work).await;
    let node = publish(&packed).await;
    node.oci().serve("demo/web", packed.descriptors()).unwrap();
    let reference = node.oci().reference("demo/web", &packed.manifest.digest);
    (node, packed, reference)
}

#[tokio::test]
async fn containerd_fetches_an_image_with_its_digest() {
    let layout = mixed();
    let temp = tempfile::tempdir().unwrap();
    let (_node, packed, reference) = served(&layout, temp.path()).await;
    let containerd = tokio::task::spawn_blocking(Containerd::start);
    let containerd = containerd.await.unwrap();
    run(containerd.ctr(&["content", "fetch", "--plain-http", &reference])).await;
    let images = run(containerd.ctr(&["images", "ls"])).await;
    let images = String::from_utf8(images).unwrap();
    assert!(images.contains(&reference), "{images}");
    for descriptor in packed.descriptors() {
        let digest = descriptor.digest.to_string();
        let theirs = run(containerd.ctr(&["content", "get", &digest])).await;
        assert_eq!(theirs, std::fs::read(layout.path(&digest)).unwrap());
    }
}

#[tokio::test]
async fn oras_pulls_the_layers() {
    const PULL: &str = "import sys, oras.client\n\
        oras.client.OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])";
    let layout = mixed();
    let temp = tempfile::tempdir().unwrap();
    let (_node, packed, reference) = served(&layout, temp.path()).await;
    let out = temp.path().join("pulled");
    let mut oras = Command::new("python3");
    oras.env("PYTHONPATH", client("oras"))
        .args(["-c", PULL, &reference])
        .arg(&out);
    run(oras).await;
    // Layers that bear no title are named after their digest; those with gzip it takes for folders, and unpacks.
    let unpacked = std::fs::read(out.join("etc/gzip")).unwrap();
    assert_eq!(unpacked, bytes(400_000, 2));
    for layer in [&packed.layers[0], &packed.layers[2]] {
        let digest = layer.digest.to_string();
        let theirs = std::fs::read(out.join(&digest)).unwrap();
        assert_eq!(theirs, std::fs::read(layout.path(&digest)).unwrap());
    }
}

#[tokio::test]
async fn an_index_of_several_platforms_goes_byte_for_byte() {
    let layout = Layout::new();
    let layers = |seed| [(layer("etc/one", 9_000, seed), Form::Gzip)];
    let mut entries = Vec::new();
    for (seed, architecture) in [(1, "amd64"), (2, "arm64")] {
        let mut entry = layout.image(architecture, Family::Oci, &layers(seed));
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entries.push(named(entry, architecture));
    }
    layout.index(&entries);
    // As someone wrote it, white space and all.
    let index = std::fs::read(layout.dir().join("index.json")).unwrap();
    let index = [&index[..], b" \n"].concat();

    let node = Node::start().await;
    let temp = tempfile::tempdir().unwrap();
    for architecture in ["amd64", "arm64"] {
        let packed = packed_for(architecture, &layout, temp.path()).await;
        provide(&node, &packed).await;
        node.oci().serve("demo", packed.descriptors()).unwrap();
    }
    let stored = node.provide(&tag("release"), &index[..], None).await;
    let digest: OciDigest = sha256(&index).parse().unwrap();
    let descriptor = Descriptor {
        digest,
        media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        size_bytes: index.len() as u64,
        blake3: stored.unwrap().blake3,
        diff_id: None,
    };
    node.oci().serve("demo", [&descriptor]).unwrap();

    let copy = temp.path().join("copy");
    let from = format!("docker://{}", node.oci().reference("demo", &digest));
    let to = format!("oci:{}:copied", copy.display());
    skopeo(&[
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        &from,
        &to,
    ])
    .await;
    let copied = copy.join("blobs/sha256").join(digest.to_hex());
    assert_eq!(std::fs::read(copied).unwrap(), index);
    for entry in std::fs::read_dir(layout.dir().join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        let theirs = std::fs::read(copy.join("blobs/sha256").join(entry.file_name())).unwrap();
        assert_eq!(std::fs::read(entry.path()).unwrap(), theirs);
    }
}
