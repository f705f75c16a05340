//! One node as a process: told what to do in lines of JSON on its input, answers on its output.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use archy_swarm::faults::{BadPeer, Fault};
use archy_swarm::{
    Class, Config, Discovery, FetchRequest, Patience, ProviderKind, Role, Swarm, Tag, Wanted,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::lab::Place;

const PORT: u16 = 4433;

/// What a node is told.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Provide {
        file: PathBuf,
    },
    /// Starts a provider that misbehaves and has this file.
    Misbehave {
        file: PathBuf,
        how: Misbehaviour,
    },
    Fetch {
        blob: Blake3Hash,
        size_bytes: u64,
        origin: Vec<Endpoint>,
        peers: Vec<Endpoint>,
    },
    Served,
}

/// How a provider misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Misbehaviour {
    Silent,
    StallsAfter(usize),
    Lies,
    Trickles,
}

/// What a node answers.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Up(Endpoint),
    Provided(Blake3Hash),
    Fetched(Fetched),
    Served(u64),
    Failed(String),
}

/// How a fetch went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fetched {
    pub(crate) took: Duration,
    pub(crate) from_origin: u64,
    pub(crate) from_peers: u64,
    /// What each provider did, in words.
    pub(crate) providers: Vec<String>,
}

/// The role of a node; ends with its input.
pub(crate) fn serve(arguments: &[String]) {
    let (dir, address) = (PathBuf::from(&arguments[0]), arguments[1].parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(obey(dir, address));
}

async fn obey(dir: PathBuf, bind: SocketAddr) {
    let config = Config {
        bind: vec![bind],
        discovery: Discovery {
            mdns: false,
            n0: false,
        },
        patience: Patience::default(),
        ..Config::new(&dir)
    };
    let swarm = Swarm::start(config, CancellationToken::new())
        .await
        .unwrap();
    answer(&Reply::Up(swarm.endpoint()));
    let mut bad = Vec::new();
    for line in std::io::stdin().lines() {
        let Ok(line) = line else {
            break;
        };
        let reply = match serde_json::from_str(&line).unwrap() {
            Order::Provide { file } => {
                let file = tokio::fs::File::open(file).await.unwrap();
                match swarm.provide(&tag(), file, None).await {
                    Ok(provided) => Reply::Provided(provided.blake3),
                    Err(error) => Reply::Failed(error.to_string()),
                }
            }
            Order::Misbehave { file, how } => {
                let data = std::fs::read(file).unwrap();
                let fault = match how {
                    Misbehaviour::Silent => Fault::Silent,
                    Misbehaviour::StallsAfter(bytes) => Fault::StallsAfter(bytes),
                    Misbehaviour::Lies => Fault::Lies(100_000),
                    Misbehaviour::Trickles => Fault::Trickles(Duration::from_secs(1)),
                };
                let at = SocketAddr::new(bind.ip(), bind.port() + 1);
                let peer = BadPeer::start(at, &[&data], fault).await.unwrap();
                let endpoint = peer.endpoint();
                bad.push(peer);
                Reply::Up(endpoint)
            }
            Order::Fetch {
                blob,
                size_bytes,
                origin,
                peers,
            } => fetch(&swarm, blob, size_bytes, origin, peers).await,
            Order::Served => Reply::Served(swarm.status().bytes_served),
        };
        answer(&reply);
    }
    swarm.shutdown().await;
}

async fn fetch(
    swarm: &Swarm,
    blake3: Blake3Hash,
    size_bytes: u64,
    origin: Vec<Endpoint>,
    peers: Vec<Endpoint>,
) -> Reply {
    let request = FetchRequest {
        tag: tag(),
        class: Class::Cache,
        blobs: vec![Wanted {
            blake3,
            size_bytes,
            role: Role::Other,
        }],
        origin,
        peers,
        share: true,
    };
    let began = Instant::now();
    let fetched = swarm
        .fetch(request, &CancellationToken::new())
        .finish()
        .await;
    let took = began.elapsed();
    match fetched {
        Ok(fetched) => {
            let from = |origin: bool| {
                let providers = fetched.providers.iter();
                let of_kind = providers.filter(|p| (p.kind == ProviderKind::Origin) == origin);
                of_kind.map(|provider| provider.bytes).sum()
            };
            Reply::Fetched(Fetched {
                took,
                from_origin: from(true),
                from_peers: from(false),
                providers: fetched.providers.iter().map(ToString::to_string).collect(),
            })
        }
        Err(error) => Reply::Failed(error.to_string()),
    }
}

fn tag() -> Tag {
    "bench".parse().unwrap()
}

fn answer(reply: &Reply) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(reply).unwrap()).unwrap();
    out.flush().unwrap();
}

/// A node's process, seen from the benchmark.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
    pub(crate) endpoint: Endpoint,
    _dir: tempfile::TempDir,
}

impl Node {
    /// Starts a node with an empty store.
    pub(crate) fn start(at: &Place, dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let mut child = Command::new("ip")
            .args(["netns", "exec", &at.namespace])
            .arg(std::env::current_exe().unwrap())
            .arg("node")
            .arg(dir.path())
            .arg(format!("{}:{PORT}", at.address))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let mut replies = BufReader::new(child.stdout.take().unwrap());
        let Reply::Up(endpoint) = read(&mut replies) else {
            panic!("the node does not say where it is");
        };
        Self {
            child,
            orders,
            replies,
            endpoint,
            _dir: dir,
        }
    }

    fn order(&mut self, order: &Order) -> Reply {
        writeln!(self.orders, "{}", serde_json::to_string(order).unwrap()).unwrap();
        self.orders.flush().unwrap();
        read(&mut self.replies)
    }

    pub(crate) fn provide(&mut self, file: &Path) -> Blake3Hash {
        let file = file.to_owned();
        let reply = self.order(&Order::Provide { file });
        let Reply::Provided(blob) = reply else {
            panic!("cannot provide: {reply:?}");
        };
        blob
    }

    /// Starts a provider that misbehaves beside the node; returns where it is.
    pub(crate) fn misbehave(&mut self, file: &Path, how: Misbehaviour) -> Endpoint {
        let file = file.to_owned();
        let reply = self.order(&Order::Misbehave { file, how });
        let Reply::Up(endpoint) = reply else {
            panic!("cannot misbehave: {reply:?}");
        };
        endpoint
    }

    pub(crate) fn fetch(
        &mut self,
        (blob, size_bytes): (Blake3Hash, u64),
        origin: &[&Endpoint],
        peers: &[&Endpoint],
    ) -> Fetched {
        let list = |endpoints: &[&Endpoint]| endpoints.iter().copied().cloned().collect();
        let order = Order::Fetch {
            blob,
            size_bytes,
            origin: list(origin),
            peers: list(peers),
        };
        let reply = self.order(&order);
        let Reply::Fetched(fetched) = reply else {
            panic!("the fetch failed: {reply:?}");
        };
        fetched
    }

    /// Returns the payload bytes that it has sent.
    pub(crate) fn served(&mut self) -> u64 {
        let reply = self.order(&Order::Served);
        let Reply::Served(bytes) = reply else {
            panic!("{reply:?}");
        };
        bytes
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read(from: &mut BufReader<ChildStdout>) -> Reply {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "a node ended");
    serde_json::from_str(&line).unwrap()
}
