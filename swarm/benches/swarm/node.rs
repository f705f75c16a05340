//! One node as a process: told what to do in lines of JSON on its input, answers on its output.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use archy_registry::Blake3Hash;
use archy_registry::release::{Descriptor, Endpoint, Platform};
use archy_swarm::faults::{BadPeer, Fault};
use archy_swarm::image::{ImageSource, pack};
use archy_swarm::{
    Class, Config, Discovery, FetchRequest, Patience, ProviderKind, Role, Swarm, Tag, Wanted,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::lab::Place;

const PORT: u16 = 4433;
/// How often a node tells how much it has received.
const TELLS_EVERY: Duration = Duration::from_millis(4);

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
        blobs: Vec<(Blake3Hash, u64)>,
        origin: Vec<Endpoint>,
        peers: Vec<Endpoint>,
        /// Whether to tell all the time how much was received.
        tells: bool,
    },
    /// Provides all blobs of an image in OCI layout.
    ProvideImage {
        dir: PathBuf,
    },
    /// Offers an image to podman, here or not.
    Offer {
        image: Image,
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
    /// Verified bytes that were received so far.
    Here(u64),
    Image(Image),
    Reference(String),
    Served(u64),
    Failed(String),
}

/// An image's blobs, the manifest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Image(Vec<Descriptor>);

impl Image {
    pub(crate) fn blobs(&self) -> Vec<(Blake3Hash, u64)> {
        let blob = |blob: &Descriptor| (blob.blake3, blob.size_bytes);
        self.0.iter().map(blob).collect()
    }
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
            gossip: true,
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
                blobs,
                origin,
                peers,
                tells,
            } => {
                let wanted = |(blake3, size_bytes)| Wanted {
                    blake3,
                    size_bytes,
                    role: Role::Other,
                };
                let request = FetchRequest {
                    tag: tag(),
                    class: Class::Cache,
                    blobs: blobs.into_iter().map(wanted).collect(),
                    origin,
                    peers,
                    share: true,
                };
                fetch(&swarm, request, tells).await
            }
            Order::ProvideImage { dir: layout } => provide_image(&swarm, layout, &dir).await,
            Order::Offer { image } => {
                swarm.oci().serve("bench", &image.0).unwrap();
                Reply::Reference(swarm.oci().reference("bench", &image.0[0].digest))
            }
            Order::Served => Reply::Served(swarm.status().bytes_served),
        };
        answer(&reply);
    }
    swarm.shutdown().await;
}

async fn provide_image(swarm: &Swarm, dir: PathBuf, work: &Path) -> Reply {
    let source = ImageSource::OciLayout { dir, name: None };
    let packed = pack(&source, &Platform::host(), work).await.unwrap();
    for blob in packed.descriptors() {
        let bytes = packed.open(blob).await.unwrap();
        swarm
            .provide(&tag(), bytes, Some(blob.blake3))
            .await
            .unwrap();
    }
    Reply::Image(Image(packed.descriptors().cloned().collect()))
}

async fn fetch(swarm: &Swarm, request: FetchRequest, tells: bool) -> Reply {
    let began = Instant::now();
    let fetch = swarm.fetch(request, &CancellationToken::new());
    let tell = async {
        if !tells {
            std::future::pending::<()>().await;
        }
        loop {
            answer(&Reply::Here(swarm.status().bytes_fetched));
            tokio::time::sleep(TELLS_EVERY).await;
        }
    };
    let fetched = tokio::select! {
        fetched = fetch.finish() => fetched,
        never = tell => never,
    };
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
    _dir: Option<tempfile::TempDir>,
}

impl Node {
    /// Starts a node with an empty store.
    pub(crate) fn start(at: &Place, dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let mut node = Self::start_in(at, dir.path());
        node._dir = Some(dir);
        node
    }

    /// Starts a node with the store that it finds there.
    pub(crate) fn start_in(at: &Place, dir: &Path) -> Self {
        Self::launch(inside(at), (at.address, PORT).into(), dir)
    }

    /// Starts a node with an empty store that takes whatever addresses its place has, as nodes at home do.
    pub(crate) fn start_anywhere(at: &Place, dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let any = (Ipv4Addr::UNSPECIFIED, PORT).into();
        let mut node = Self::launch(inside(at), any, dir.path());
        node._dir = Some(dir);
        node
    }

    /// Starts a node with an empty store that is only on the loopback interface of the machine itself.
    pub(crate) fn start_local(port: u16, dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let command = Command::new(std::env::current_exe().unwrap());
        let at = (Ipv4Addr::LOCALHOST, port).into();
        let mut node = Self::launch(command, at, dir.path());
        node._dir = Some(dir);
        node
    }

    fn launch(mut command: Command, at: SocketAddr, dir: &Path) -> Self {
        let mut child = command
            .arg("node")
            .arg(dir)
            .arg(at.to_string())
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
            _dir: None,
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
        blob: (Blake3Hash, u64),
        origin: &[&Endpoint],
        peers: &[&Endpoint],
    ) -> Fetched {
        self.fetch_all(vec![blob], origin, peers)
    }

    pub(crate) fn fetch_all(
        &mut self,
        blobs: Vec<(Blake3Hash, u64)>,
        origin: &[&Endpoint],
        peers: &[&Endpoint],
    ) -> Fetched {
        let list = |endpoints: &[&Endpoint]| endpoints.iter().copied().cloned().collect();
        let order = Order::Fetch {
            blobs,
            origin: list(origin),
            peers: list(peers),
            tells: false,
        };
        let reply = self.order(&order);
        let Reply::Fetched(fetched) = reply else {
            panic!("the fetch failed: {reply:?}");
        };
        fetched
    }

    /// Fetches, and kills the node after a while. Returns the bytes that were here when it was killed, as far as it
    /// told, and the outcome if it ended before.
    pub(crate) fn fetch_until(
        mut self,
        (blob, size_bytes): (Blake3Hash, u64),
        origin: &Endpoint,
        kill_after: Option<Duration>,
    ) -> (u64, Option<Fetched>) {
        let order = Order::Fetch {
            blobs: vec![(blob, size_bytes)],
            origin: vec![origin.clone()],
            peers: Vec::new(),
            tells: true,
        };
        writeln!(self.orders, "{}", serde_json::to_string(&order).unwrap()).unwrap();
        self.orders.flush().unwrap();
        if let Some(after) = kill_after {
            std::thread::sleep(after);
            self.child.kill().unwrap();
        }
        let mut here = 0;
        for line in (&mut self.replies).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Reply::Here(bytes)) => here = bytes,
                Ok(Reply::Fetched(fetched)) => return (size_bytes, Some(fetched)),
                Ok(other) => panic!("the fetch failed: {other:?}"),
                // The kill may have cut a line.
                Err(_) => break,
            }
        }
        (here, None)
    }

    pub(crate) fn provide_image(&mut self, layout: &Path) -> Image {
        let dir = layout.to_owned();
        let reply = self.order(&Order::ProvideImage { dir });
        let Reply::Image(image) = reply else {
            panic!("cannot provide: {reply:?}");
        };
        image
    }

    /// Offers an image to podman; returns by which name.
    pub(crate) fn offer(&mut self, image: &Image) -> String {
        let image = image.clone();
        let reply = self.order(&Order::Offer { image });
        let Reply::Reference(reference) = reply else {
            panic!("cannot offer: {reply:?}");
        };
        reference
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

/// This program, in the network namespace of a place.
fn inside(at: &Place) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &at.namespace]);
    command.arg(std::env::current_exe().unwrap());
    command
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
