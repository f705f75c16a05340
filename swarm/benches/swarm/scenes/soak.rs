//! A long time in short: installs, updates and uninstalls by the hundred under a quota that is too small for all.
//!
//! A publisher and a node, both in one process of their own, so that what leaks in either is seen.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use archy_registry::OciDigest;
use archy_registry::release::Descriptor;
use archy_swarm::{
    Class, Config, Discovery, FetchError, FetchRequest, RoomLimits, Swarm, Tag, Wanted,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::MIB;
use crate::{Figure, figure};

/// Unless `ARCHY_BENCH_STEPS` says otherwise.
const STEPS: usize = 200;
/// Steps between two looks at what is used; the node is started anew as often.
const LOOK_EVERY: usize = 50;
const APPS: u64 = 16;
/// Room for the blobs of the node: about half of what all apps need.
const QUOTA_BYTES: u64 = 56 * MIB;
/// A day has as many collections as fit into the run.
const GC_INTERVAL: Duration = Duration::from_millis(500);

/// What the process uses.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Used {
    step: usize,
    resident_bytes: u64,
    files: usize,
    threads: usize,
    disk_bytes: u64,
    held_bytes: u64,
}

/// How it went.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Outcome {
    installs: usize,
    updates: usize,
    uninstalls: usize,
    /// Times that there was no room even after everything that may go went.
    full: usize,
    /// Tags that went to make room.
    evicted: usize,
    /// Blobs of installed apps that were gone or bad.
    lost: usize,
    used: Vec<Used>,
    /// Bytes on disk, beyond the databases, when everything was uninstalled and withdrawn.
    left_bytes: u64,
}

pub(super) fn soak(dir: &Path) -> Vec<Figure> {
    let store = tempfile::tempdir_in(dir).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("soak")
        .arg(store.path())
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the soak failed");
    let outcome: Outcome = serde_json::from_slice(&output.stdout).unwrap();
    println!("{outcome:#?}");
    // Until the first look is over, caches and the allocator's arenas fill.
    let [_, first, .., last] = outcome.used.as_slice() else {
        panic!("nothing was looked at");
    };
    let memory = last.resident_bytes as f64 / first.resident_bytes as f64;
    let files = last.files as f64 - first.files as f64;
    let unheld = last.disk_bytes as f64 / last.held_bytes as f64;
    vec![
        figure(
            "soak_installed_lost",
            outcome.lost as f64,
            "blobs",
            Some("<= 0"),
        ),
        figure("soak_evictions", outcome.evicted as f64, "", Some("> 0")),
        figure("soak_memory_growth", memory, "", Some("<= 1.1")),
        figure("soak_files_growth", files, "", Some("<= 0")),
        figure("soak_disk_over_held", unheld, "", Some("<= 1.1")),
        figure(
            "soak_disk_left_mb",
            outcome.left_bytes as f64 / 1e6,
            "MB",
            Some("<= 0"),
        ),
    ]
}

/// The role of the process.
pub(crate) fn run(arguments: &[String]) {
    let dir = PathBuf::from(&arguments[0]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(async { Soak::start(&dir).await.play().await });
    println!("{}", serde_json::to_string(&outcome).unwrap());
}

/// One blob of a release.
#[derive(Debug, Clone)]
struct Content {
    seed: u64,
    size_bytes: u64,
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let mut bytes = vec![0; usize::try_from(self.size_bytes).unwrap()];
        rng.fill(&mut bytes);
        bytes
    }
}

/// A version of an app: a manifest, a layer that others have too, a layer of its own.
fn release(app: u64, version: u64) -> [Content; 3] {
    let content = |seed, size_bytes| Content { seed, size_bytes };
    let own = app * 1000 + version;
    [
        content(own, 3000 + version),
        content(1_000_000 + app % 3, 5 * MIB),
        content(2_000_000 + own, MIB + own % 5 * MIB + version),
    ]
}

fn tag(app: u64, version: u64) -> Tag {
    format!("app/soak/{app}/{version}").parse().unwrap()
}

struct Soak {
    dir: PathBuf,
    origin: Swarm,
    node: Swarm,
    versions: BTreeMap<u64, u64>,
    /// Installed versions, and their blobs.
    installed: BTreeMap<u64, (u64, Vec<Wanted>)>,
    rng: fastrand::Rng,
    outcome: Outcome,
}

impl Soak {
    async fn start(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            origin: start(&dir.join("origin"), None).await,
            node: start(&dir.join("node"), Some(QUOTA_BYTES)).await,
            versions: BTreeMap::new(),
            installed: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(4),
            outcome: Outcome::default(),
        }
    }

    async fn play(mut self) -> Outcome {
        let steps =
            std::env::var("ARCHY_BENCH_STEPS").map_or(STEPS, |steps| steps.parse().unwrap());
        for step in 1..=steps {
            let done = self.done();
            while self.done() == done {
                self.change().await;
            }
            self.check().await;
            if step % LOOK_EVERY == 0 {
                self.look(step).await;
            }
        }
        self.clear().await
    }

    fn done(&self) -> usize {
        self.outcome.installs + self.outcome.updates + self.outcome.uninstalls
    }

    /// Installs, updates or uninstalls an app drawn by chance.
    async fn change(&mut self) {
        let app = self.rng.u64(0..APPS);
        match self.installed.get(&app) {
            None => self.install(app).await,
            Some(_) if self.rng.u8(0..100) < 60 => {
                *self.versions.entry(app).or_default() += 1;
                self.install(app).await;
            }
            Some(_) => self.uninstall(app).await,
        }
    }

    async fn check(&mut self) {
        for (_, blobs) in self.installed.values() {
            for blob in blobs {
                let is_here = self.node.has(blob.blake3).await.unwrap();
                self.outcome.lost += usize::from(!is_here);
            }
        }
    }

    /// Installs what the publisher has newest, or goes to it from what is installed.
    async fn install(&mut self, app: u64) {
        let version = self.versions.get(&app).copied().unwrap_or_default();
        let blobs = publish(&self.origin, app, version).await;
        let tags = self.node.tags().len();
        let tag = tag(app, version);
        let request = FetchRequest {
            tag: tag.clone(),
            class: Class::Cache,
            blobs: blobs.clone(),
            origin: vec![self.origin.endpoint()],
            peers: Vec::new(),
            share: true,
        };
        let repository = format!("soak/{app}");
        let descriptors: Vec<Descriptor> = blobs.iter().map(descriptor).collect();
        self.node.oci().serve(&repository, &descriptors).unwrap();
        let fetch = self.node.fetch(request, &CancellationToken::new());
        let read = read_layer(&self.node, &repository, &descriptors[2]);
        let fetched = tokio::select! {
            fetched = fetch.finish() => fetched,
            () = async { read.await; std::future::pending().await } => unreachable!(),
        };
        self.node.oci().withdraw(&repository);
        self.outcome.evicted += tags.saturating_sub(self.node.tags().len());
        match fetched {
            Ok(_) => {}
            Err(FetchError::Full(_)) => {
                self.outcome.full += 1;
                self.node.withdraw(&tag).await.unwrap();
                return;
            }
            Err(error) => panic!("{error:?}"),
        }
        self.node.set_class(&tag, Class::Installed).await.unwrap();
        match self.installed.insert(app, (version, blobs)) {
            None => self.outcome.installs += 1,
            Some((before, _)) => {
                self.outcome.updates += 1;
                let before = self::tag(app, before);
                self.node.set_class(&before, Class::Previous).await.unwrap();
            }
        }
    }

    async fn uninstall(&mut self, app: u64) {
        let (version, _) = self.installed.remove(&app).unwrap();
        self.node.withdraw(&tag(app, version)).await.unwrap();
        self.outcome.uninstalls += 1;
    }

    /// Checks every byte, starts the node anew, and looks at what the process uses.
    async fn look(&mut self, step: usize) {
        let check = self.node.fsck(&CancellationToken::new(), |_| {}).await;
        self.outcome.lost += check.unwrap().bad.len();
        self.node.shutdown().await;
        self.node = start(&self.dir.join("node"), Some(QUOTA_BYTES)).await;
        self.node.collect().await.unwrap();
        let room = self.node.room().unwrap();
        assert!(room.used_bytes <= QUOTA_BYTES, "{room:?}");
        self.outcome.used.push(Used {
            step,
            resident_bytes: resident_bytes(),
            files: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            disk_bytes: disk_bytes(&self.dir.join("node/blobs/data")),
            held_bytes: room.used_bytes,
        });
    }

    async fn clear(mut self) -> Outcome {
        for swarm in [&self.node, &self.origin] {
            for usage in swarm.tags() {
                swarm.withdraw(&usage.tag).await.unwrap();
            }
            swarm.collect().await.unwrap();
        }
        let data = ["node/blobs/data", "origin/blobs/data"];
        self.outcome.left_bytes = data.iter().map(|dir| disk_bytes(&self.dir.join(dir))).sum();
        self.node.shutdown().await;
        self.origin.shutdown().await;
        self.outcome
    }
}

async fn start(dir: &Path, quota_bytes: Option<u64>) -> Swarm {
    let config = Config {
        bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        discovery: Discovery {
            mdns: false,
            n0: false,
            gossip: true,
        },
        gc_interval: GC_INTERVAL,
        room: RoomLimits {
            quota_bytes,
            free_bytes_min: None,
        },
        ..Config::new(dir)
    };
    Swarm::start(config, CancellationToken::new())
        .await
        .unwrap()
}

/// Has the publisher offer a version, and take back the one before the last.
async fn publish(origin: &Swarm, app: u64, version: u64) -> Vec<Wanted> {
    let mut blobs = Vec::new();
    for content in release(app, version) {
        let reader = Cursor::new(content.bytes());
        let provided = origin.provide(&tag(app, version), reader, None).await;
        let provided = provided.unwrap();
        blobs.push(Wanted {
            blake3: provided.blake3,
            size_bytes: provided.size_bytes,
            role: archy_swarm::Role::Layer,
        });
    }
    if let Some(old) = version.checked_sub(2) {
        origin.withdraw(&tag(app, old)).await.unwrap();
    }
    blobs
}

fn descriptor(blob: &Wanted) -> Descriptor {
    Descriptor {
        digest: OciDigest::from_sha256(*blob.blake3.as_bytes()),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        size_bytes: blob.size_bytes,
        blake3: blob.blake3,
        diff_id: None,
    }
}

/// Reads a layer while it arrives, as podman does.
async fn read_layer(node: &Swarm, repository: &str, layer: &Descriptor) {
    let reference = node.oci().reference(repository, &layer.digest);
    let (host, path) = reference.split_once('/').unwrap();
    let (path, _) = path.split_once('@').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let ask = format!(
        "GET /v2/{path}/blobs/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        layer.digest
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // It breaks off when there is no room for the app.
    stream.read_to_end(&mut bytes).await.ok();
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn entries(dir: &str) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Bytes that the files of a directory take.
fn disk_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.blocks() * 512)
        .sum()
}
