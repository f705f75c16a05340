//! What an operator sees of a running swarm node.

use archy_registry::release::Endpoint;
use serde::Serialize;

use crate::fetch::Progress;
use crate::tag::Tag;
use crate::upload::UploadLimits;

/// The state of a swarm node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The node's endpoint id and addresses.
    pub endpoint: Endpoint,
    /// Whether nodes on the local network are looked for.
    pub lan_enabled: bool,
    /// The nodes seen there.
    pub lan_peers: Vec<Endpoint>,
    /// Fetches under way.
    pub fetches: Vec<FetchStatus>,
    /// What it may give away.
    pub upload_limits: UploadLimits,
    /// Requests of other nodes being answered.
    pub requests_active: usize,
    /// Requests refused since start: not shared, or too many at once.
    pub requests_refused: u64,
    /// Bytes sent to other nodes since start, counted when a request ends.
    pub bytes_served: u64,
    /// Verified bytes received since start.
    pub bytes_fetched: u64,
    /// Blobs held, incomplete ones included.
    pub blobs: usize,
    /// Their size in bytes when complete, each counted once.
    pub blob_bytes: u64,
    /// When unreferenced blobs were last collected, in seconds since 1970; the start when never.
    pub collected_at: u64,
    /// Collection should have happened long ago: the blob store failed and cannot be opened again.
    pub collection_late: bool,
}

/// One fetch under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FetchStatus {
    /// The tag that keeps what arrives.
    pub tag: Tag,
    /// How far it is.
    pub progress: Progress,
}
