//! Nodes, deterministic bytes, and providers that misbehave.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use archy_registry::Blake3Hash;
use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;
pub(crate) use archy_swarm::faults::{BadPeer, Fault};
use archy_swarm::{Class, Config, Discovery, FetchRequest, Patience, Role, Swarm, Tag, Wanted};
use tokio_util::sync::CancellationToken;

/// A time that only a broken node needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Looks until something is so.
pub(crate) async fn until(mut is_reached: impl AsyncFnMut() -> bool) {
    let reached = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !is_reached().await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.unwrap();
}

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
        role: Role::Layer,
    }
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        bind: vec!["127.0.0.1:0".parse().unwrap()],
        discovery: Discovery {
            mdns: false,
            n0: false,
            gossip: true,
        },
        patience: Patience {
            connect: Duration::from_secs(2),
            stall: Duration::from_millis(400),
            retry: Duration::from_millis(20),
            idle: Duration::from_millis(300),
            lonely: Duration::from_millis(200),
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
        class: Class::Cache,
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

/// Starts a provider that misbehaves on loopback.
pub(crate) async fn bad_peer(blobs: &[&[u8]], fault: Fault) -> BadPeer {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    BadPeer::start(loopback, blobs, fault).await.unwrap()
}
