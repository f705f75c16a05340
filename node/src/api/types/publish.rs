//! What a publisher asks of the node that serves their blobs.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::EndpointInfo;

wire! {
    /// Answer of `publish.state`: what a publisher needs to know of this node.
    pub struct PublishState {
        /// Highest `seq` of the app that this node has seen announced or released.
        pub highest_seq: Option<u64>,
        /// The newest release it knows, by its hash.
        pub release: Option<String>,
        /// Relays to publish on, this node's own included.
        pub relays: Vec<String>,
        /// This node's iroh endpoint, for the release's origin.
        pub endpoint: EndpointInfo,
    }

    /// Parameters of `publish.missing`.
    pub struct BlobsParams {
        /// BLAKE3 hashes, at most 1000.
        pub blobs: Vec<String>,
    }

    /// Answer of `publish.missing`.
    pub struct BlobsMissing {
        /// Those that this node does not hold.
        pub missing: Vec<String>,
    }

    /// Answer of `PUT /blobs/<blake3>` on the Unix socket.
    pub struct BlobProvided {
        /// BLAKE3 of what arrived.
        pub hash: String,
        /// Its length.
        pub size_bytes: u64,
    }
}
