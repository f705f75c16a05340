//! BitTorrent: aria2 with a tracker of our own, which answers everybody with everybody.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Running, inside, installed, run};
use crate::lab::{Lab, Place};

const PORT: u16 = 6881;
/// Length of a piece is two to the power of this, as long as our own shortest request.
const PIECE: &str = "18";

/// Has a crowd fetch a file over BitTorrent at once; returns the seconds that each took.
pub(crate) fn crowd(dir: &Path, file: &Path, nodes: usize, mbit: u64) -> Option<Vec<f64>> {
    if !installed(&["aria2c", "mktorrent"]) {
        return None;
    }
    let lab = Lab::new();
    let tracker = TcpListener::bind((lab.address(), 0)).unwrap();
    let announce = format!("http://{}/announce", tracker.local_addr().unwrap());
    std::thread::spawn(move || track(&tracker));
    let work = tempfile::tempdir_in(dir).unwrap();
    let torrent = work.path().join("file.torrent");
    run(Command::new("mktorrent")
        .args(["-l", PIECE, "-a", &announce, "-o"])
        .arg(&torrent)
        .arg(file));
    let rate = format!("{mbit}mbit");
    let place = || lab.place(Some(&rate), None);
    let origin = work.path().join("origin");
    std::fs::create_dir(&origin).unwrap();
    std::os::unix::fs::symlink(
        file.canonicalize().unwrap(),
        origin.join(file.file_name().unwrap()),
    )
    .unwrap();
    let seeds_at = place();
    let _origin = aria(&seeds_at, &origin, &torrent, &["--check-integrity=true"]);
    super::listens(&seeds_at.namespace, PORT);
    // Checking the file takes the seeder a moment.
    std::thread::sleep(Duration::from_secs(3));
    let hook = work.path().join("done.sh");
    std::fs::write(&hook, "#!/bin/sh\ntouch \"$(dirname \"$3\")/done\"\n").unwrap();
    run(Command::new("chmod").arg("+x").arg(&hook));
    let hook = format!("--on-bt-download-complete={}", hook.display());
    let began = Instant::now();
    let members: Vec<(PathBuf, Running)> = (0..nodes)
        .map(|number| {
            let dir = work.path().join(number.to_string());
            std::fs::create_dir(&dir).unwrap();
            let member = aria(&place(), &dir, &torrent, &[&hook]);
            (dir, member)
        })
        .collect();
    let mut took = vec![None; nodes];
    while took.iter().any(Option::is_none) {
        assert!(
            began.elapsed() < Duration::from_secs(600),
            "BitTorrent does not end"
        );
        for (took, (dir, _)) in took.iter_mut().zip(&members) {
            if took.is_none() && dir.join("done").exists() {
                *took = Some(began.elapsed().as_secs_f64());
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut took: Vec<f64> = took.into_iter().flatten().collect();
    took.sort_by(f64::total_cmp);
    Some(took)
}

fn aria(at: &Place, dir: &Path, torrent: &Path, more: &[&str]) -> Running {
    let child = inside(&at.namespace, "aria2c")
        .arg("--dir")
        .arg(dir)
        .arg(format!("--listen-port={PORT}"))
        .args([
            "--no-conf=true",
            "--quiet=true",
            "--enable-dht=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=true",
            "--seed-ratio=0.0",
            "--bt-tracker-interval=2",
            "--bt-request-peer-speed-limit=0",
            "--file-allocation=none",
            "--allow-overwrite=true",
        ])
        .args(more)
        .arg(torrent)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Running(child)
}

/// Answers announcements (BEP 3 and 23) until the process ends.
fn track(listener: &TcpListener) {
    let peers: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    for stream in listener.incoming().flatten() {
        let peers = peers.clone();
        std::thread::spawn(move || announce(stream, &peers));
    }
}

fn announce(mut stream: TcpStream, peers: &Mutex<Vec<SocketAddr>>) -> Option<()> {
    let from = stream.peer_addr().ok()?.ip();
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut header = String::new();
    while reader.read_line(&mut header).ok()? > 2 {
        header.clear();
    }
    let port = request.split(['?', '&', ' ']).find_map(|pair| {
        let port = pair.strip_prefix("port=")?;
        port.parse().ok()
    })?;
    let mut compact = Vec::new();
    {
        let mut peers = peers.lock().unwrap();
        let own = SocketAddr::new(from, port);
        for peer in peers.iter().filter(|peer| **peer != own) {
            if let IpAddr::V4(address) = peer.ip() {
                compact.extend(address.octets());
                compact.extend(peer.port().to_be_bytes());
            }
        }
        if !peers.contains(&own) {
            peers.push(own);
        }
    }
    let mut body = format!("d8:intervali2e5:peers{}:", compact.len()).into_bytes();
    body.extend(compact);
    body.push(b'e');
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .ok()?;
    stream.write_all(&body).ok()
}
