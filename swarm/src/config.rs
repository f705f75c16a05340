//! What a [`Swarm`](crate::Swarm) is told at start; reads no environment and no files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use archy_registry::release::Endpoint;
use url::Url;

use crate::upload::UploadLimits;

/// How often unreferenced blobs are collected.
pub const GC_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Part of the file system that blobs may take unless told otherwise: a fifth.
pub const QUOTA_SHARE: u64 = 5;
/// Most that blobs may take unless told otherwise, in bytes (200 GB).
pub const QUOTA_BYTES_MAX: u64 = 200_000_000_000;
/// Part of the file system that blobs leave free unless told otherwise: a fiftieth.
pub const FREE_SHARE: u64 = 50;
/// Most that blobs leave free unless told otherwise, in bytes (1 GiB).
pub const FREE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Settings of a swarm.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the blob store; created when missing.
    pub dir: PathBuf,
    /// File that holds the endpoint's secret key; created with mode 0600 when missing, refused when
    /// others can read it.
    pub key_file: PathBuf,
    /// UDP addresses to listen on, at most one unspecified address per family. Empty means every
    /// interface with a free port.
    pub bind: Vec<SocketAddr>,
    /// UDP addresses by which others reach this endpoint from outside (a forwarded port).
    pub advertise: Vec<SocketAddr>,
    /// iroh relays to use.
    pub relay_mode: RelayMode,
    /// How endpoints without known addresses are found.
    pub discovery: Discovery,
    /// Endpoints to ask for blobs besides a release's origin.
    pub peers: Vec<Endpoint>,
    /// How often unreferenced blobs are collected.
    pub gc_interval: Duration,
    /// How long a provider may keep a fetch waiting.
    pub patience: Patience,
    /// How much room blobs may take.
    pub room: RoomLimits,
    /// How often the trackers of what is held here are told that this node serves it.
    pub announce_interval: Duration,
    /// What is given away at first; [`Swarm::limit_uploads`](crate::Swarm::limit_uploads) changes it.
    pub uploads: UploadLimits,
}

impl Config {
    /// Returns a configuration that keeps everything below `dir` and uses no service on the internet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            key_file: dir.join("endpoint.key"),
            dir: dir.join("blobs"),
            bind: Vec::new(),
            advertise: Vec::new(),
            relay_mode: RelayMode::Disabled,
            discovery: Discovery::default(),
            peers: Vec::new(),
            gc_interval: GC_INTERVAL,
            patience: Patience::default(),
            room: RoomLimits::default(),
            announce_interval: crate::seeding::INTERVAL,
            uploads: UploadLimits::default(),
        }
    }
}

/// How much room blobs may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomLimits {
    /// Bytes that all blobs together may take; without a number the smaller of [`QUOTA_SHARE`] of the file system and
    /// [`QUOTA_BYTES_MAX`].
    pub quota_bytes: Option<u64>,
    /// Bytes of the file system that blobs leave free; without a number the smaller of [`FREE_SHARE`] of it and
    /// [`FREE_BYTES_MAX`].
    pub free_bytes_min: Option<u64>,
}

/// Which iroh relays carry traffic that cannot go directly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RelayMode {
    /// None; only direct addresses are used.
    #[default]
    Disabled,
    /// These relays.
    Custom(Vec<Url>),
    /// The public relays of number0.
    N0,
}

/// How endpoints without known addresses are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discovery {
    /// Announce this endpoint on the local network and ask the nodes found there for blobs.
    pub mdns: bool,
    /// Publish this endpoint's addresses at number0's DNS service and look others up there.
    pub n0: bool,
    /// Join the topics in which nodes hint at each other what they have of an app, and pass on what is said there.
    pub gossip: bool,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            mdns: true,
            n0: false,
            gossip: true,
        }
    }
}

/// How long a provider may keep a fetch waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Time to open a connection.
    pub connect: Duration,
    /// Time without one verified byte after which a request is given up.
    pub stall: Duration,
    /// First pause before a provider that failed is asked again; doubles with every failure.
    pub retry: Duration,
    /// Failures in a row, without a verified byte in between, after which a provider is given up.
    pub attempts_max: u32,
    /// How long a fetch waits for somebody who is connected to get what is missing.
    pub idle: Duration,
    /// Time without a verified byte from anybody after which a fetch looks further for somebody to ask.
    pub lonely: Duration,
    /// How long a fetch waits for providers on the local network to show up when nobody else has
    /// the bytes.
    pub lan: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(2),
            retry: Duration::from_secs(1),
            attempts_max: 4,
            idle: Duration::from_secs(10),
            lonely: Duration::from_secs(3),
            lan: Duration::from_secs(4),
        }
    }
}
