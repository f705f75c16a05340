//! How the node is: its relays, its peers, its parts and what it refused.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Problem;

wire! {
    /// Answer of `node.status`.
    pub struct NodeStatus {
        /// The node's name.
        pub name: String,
        /// archyd's version.
        pub version: String,
        /// OCI architecture.
        pub architecture: String,
        /// This node's own iroh endpoint, for origins and peers.
        pub endpoint: EndpointInfo,
        /// Relays it follows.
        pub relays: Vec<RelayInfo>,
        /// Its own relay's URL, if it runs one.
        pub own_relay: Option<String>,
        /// Peers on the LAN that it knows.
        pub lan_peers: u32,
        /// Parts of the daemon.
        pub components: Vec<ComponentInfo>,
        /// Apps in the catalog.
        pub catalog_apps: u32,
        /// Statements heard and refused since the start, by relay and author, most first; at most 50.
        pub refused: Vec<RefusedInfo>,
        /// Free bytes where data goes.
        pub disk_free_bytes: Option<u64>,
    }

    /// Statements of one author that came over one relay and were refused.
    pub struct RefusedInfo {
        /// The relay.
        pub relay: String,
        /// The Nostr key that signed the events.
        pub pubkey: String,
        /// How many.
        pub statements: u64,
        /// When the last one came.
        pub last: String,
        /// Why it was refused.
        pub problem: Problem,
    }

    /// An iroh endpoint.
    pub struct EndpointInfo {
        /// Endpoint id.
        pub id: String,
        /// `ip:port`.
        pub addresses: Vec<String>,
        /// iroh relay URLs.
        pub relays: Vec<String>,
    }

    /// A relay that this node follows.
    pub struct RelayInfo {
        /// `ws://…` or `wss://…`
        pub url: String,
        /// Whether it is connected.
        pub connected: bool,
        /// When it last sent a valid event.
        pub last_event: Option<String>,
        /// Why it is not connected.
        pub last_error: Option<String>,
    }

    /// A part of the daemon.
    pub struct ComponentInfo {
        /// Name.
        pub name: String,
        /// `running`, `degraded`, `stopped`.
        pub state: String,
        /// Last error in words.
        pub last_error: Option<String>,
    }
}
