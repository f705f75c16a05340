//! What a client of the relay may do.

use std::time::Duration;

use archy_registry::key_state::chain;

use crate::bucket::Rate;

/// What a client may do; the defaults fit a LAN and a demo.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Largest message in bytes.
    pub message_bytes_max: usize,
    /// Largest `content` in bytes; by default the longest statement of all, a chain of key states.
    pub content_bytes_max: usize,
    /// Most tags of an event that is no list.
    pub tags_max: usize,
    /// Most tags of a list (NIP-51).
    pub list_tags_max: usize,
    /// Longest element of a tag in bytes.
    pub tag_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address (IPv6: one /64 network).
    pub connections_per_address_max: usize,
    /// Subscriptions at once on one connection.
    pub subscriptions_max: usize,
    /// Filters of one subscription.
    pub filters_max: usize,
    /// Stored events that one filter yields at most.
    pub limit_max: usize,
    /// Bytes of stored events that one request yields at most; older ones are left out, as with `limit`.
    pub reply_bytes_max: usize,
    /// Messages on one connection.
    pub messages: Rate,
    /// Events from one address.
    pub events_per_address: Rate,
    /// Events of one author.
    pub events_per_author: Rate,
    /// Events that are kept; beyond it new ones are refused, newer versions are not.
    pub events_max: u64,
    /// Events of one author that are kept.
    pub events_per_author_max: u64,
    /// Time for a client to complete a request's head.
    pub head_patience: Duration,
    /// Time for a client to take a message; a slower one is disconnected.
    pub send_patience: Duration,
    /// A client from which nothing came for so long is asked for a sign of life, and disconnected after
    /// the same time again.
    pub idle: Duration,
    /// How often expired events are removed.
    pub sweep_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 * 1024,
            content_bytes_max: chain::SIZE_BYTES_MAX,
            tags_max: 100,
            list_tags_max: 1_100,
            tag_bytes_max: 1024,
            connections_max: 256,
            connections_per_address_max: 32,
            subscriptions_max: 20,
            filters_max: 10,
            limit_max: 500,
            reply_bytes_max: 2 * 1024 * 1024,
            messages: Rate {
                burst: 200,
                per_second: 10.0,
            },
            events_per_address: Rate::per_minute(240),
            events_per_author: Rate::per_minute(120),
            events_max: 100_000,
            events_per_author_max: 2_000,
            head_patience: Duration::from_secs(10),
            send_patience: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            sweep_every: Duration::from_secs(300),
        }
    }
}
