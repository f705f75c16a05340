//! Nodes, deterministic bytes, and providers that misbehave.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use archy_registry::Blake3Hash;
use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;
use archy_swarm::{Config, Discovery, FetchRequest, Patience, Swarm, Tag, Wanted};
use bytes::Bytes;
use iroh::endpoint::{Connection, RecvStream, presets};
use iroh::protocol::{AcceptError, ProtocolHandler, Router};
use iroh_blobs::protocol::Request;
use iroh_blobs::store::mem::MemStore;
use tokio_util::sync::CancellationToken;

/// A time that only a broken node needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

/// `len` bytes that differ for every seed.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn wanted(data: &[u8]) -> Wanted {
    Wanted {
        blake3: Blake3Hash::of(data),
        size_bytes: data.len() as u64,
    }
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        bind: vec!["127.0.0.1:0".parse().unwrap()],
        discovery: Discovery {
            mdns: false,
            n0: false,
        },
        patience: Patience {
            connect: Duration::from_secs(2),
            stall: Duration::from_millis(400),
            retry: Duration::from_millis(20),
            ..Patience::default()
        },
        ..Config::new(dir)
    }
}

/// A swarm node in a directory of its own.
pub(crate) struct Node {
    pub(crate) swarm: Swarm,
    pub(crate) dir: PathBuf,
    _temp: Option<tempfile::TempDir>,
}

impl std::ops::Deref for Node {
    type Target = Swarm;

    fn deref(&self) -> &Swarm {
        &self.swarm
    }
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut node = Self::start_in(temp.path(), change).await;
        node._temp = Some(temp);
        node
    }

    pub(crate) async fn start_in(dir: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(dir);
        change(&mut config);
        let swarm = Swarm::start(config, CancellationToken::new())
            .await
            .unwrap();
        Self {
            swarm,
            dir: dir.to_owned(),
            _temp: None,
        }
    }

    pub(crate) async fn with_blob(data: &[u8]) -> Self {
        let node = Self::start().await;
        node.provide(&tag("test"), data, None).await.unwrap();
        node
    }

    /// The file in which a large complete blob lies.
    pub(crate) fn data_file(&self, blob: Blake3Hash) -> PathBuf {
        self.dir.join(format!("blobs/data/{blob}.data"))
    }
}

pub(crate) fn request(data: &[&[u8]], origin: &[&Endpoint], peers: &[&Endpoint]) -> FetchRequest {
    FetchRequest {
        tag: tag("fetched"),
        blobs: data.iter().map(|data| wanted(data)).collect(),
        origin: origin.iter().map(|endpoint| (*endpoint).clone()).collect(),
        peers: peers.iter().map(|endpoint| (*endpoint).clone()).collect(),
        share: true,
    }
}

/// An endpoint where nobody listens.
pub(crate) fn dead() -> Endpoint {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    Endpoint {
        id: EndpointId::from_bytes(*iroh::SecretKey::generate().public().as_bytes()),
        addresses: vec![address],
        relays: vec![],
    }
}

/// What a provider does wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It accepts requests and never answers.
    Silent,
    /// It sends this many bytes of right answers, all requests together, and then nothing.
    StallsAfter(usize),
    /// It flips a bit of the byte at this position of the answer.
    Lies(usize),
    /// It claims another size.
    Claims(u64),
    /// It closes the connection at once.
    HangsUp,
}

/// A provider that misbehaves.
#[derive(Debug)]
pub(crate) struct BadPeer {
    router: Router,
    requests: Arc<AtomicUsize>,
}

impl BadPeer {
    pub(crate) async fn start(data: &[u8], fault: Fault) -> Self {
        Self::with_blobs(&[data], fault).await
    }

    pub(crate) async fn with_blobs(blobs: &[&[u8]], fault: Fault) -> Self {
        let store = MemStore::new();
        for data in blobs {
            store.add_slice(data).await.unwrap();
        }
        let endpoint = iroh::Endpoint::builder(presets::Minimal)
            .relay_mode(iroh::RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")
            .unwrap()
            .bind()
            .await
            .unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let handler = Handler {
            store,
            fault,
            sent: AtomicUsize::new(0),
            requests: requests.clone(),
        };
        let router = Router::builder(endpoint)
            .accept(iroh_blobs::ALPN, handler)
            .spawn();
        Self { router, requests }
    }

    /// Number of requests answered, rightly or not.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let addr = self.router.endpoint().addr();
        Endpoint {
            id: EndpointId::from_bytes(*addr.id.as_bytes()),
            addresses: addr.ip_addrs().copied().collect(),
            relays: vec![],
        }
    }
}

#[derive(Debug)]
struct Handler {
    store: MemStore,
    fault: Fault,
    sent: AtomicUsize,
    requests: Arc<AtomicUsize>,
}

impl Handler {
    /// The right answer to a request.
    async fn answer(&self, receive: &mut RecvStream) -> Option<Vec<u8>> {
        let (Request::Get(request), _) = Request::read_async(receive).await.ok()? else {
            return None;
        };
        let ranges = request.ranges.iter().next()?.clone();
        let export = self.store.export_bao(request.hash, ranges);
        export.bao_to_vec().await.ok()
    }
}

impl ProtocolHandler for Handler {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        if matches!(self.fault, Fault::HangsUp) {
            connection.close(7u32.into(), b"no");
            return Ok(());
        }
        let mut held = Vec::new();
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            let Some(mut answer) = self.answer(&mut receive).await else {
                continue;
            };
            self.requests.fetch_add(1, Ordering::Relaxed);
            match self.fault {
                Fault::Silent | Fault::HangsUp => answer.clear(),
                Fault::StallsAfter(bytes) => {
                    answer.truncate(bytes - self.sent.load(Ordering::Relaxed));
                    self.sent.fetch_add(answer.len(), Ordering::Relaxed);
                }
                Fault::Lies(position) => answer[position] ^= 1,
                Fault::Claims(size) => answer[..8].copy_from_slice(&size.to_le_bytes()),
            }
            send.write_chunk(Bytes::from(answer)).await.ok();
            held.push(send);
        }
        Ok(())
    }
}
