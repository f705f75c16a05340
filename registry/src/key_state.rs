//! Key states: which keys and Nostr pubkeys speak for an origin DID now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::{Blake3Hash, Slug};

/// The `type` of a key state.
pub const TYPE: &str = "archy/key-state/v1";
/// Largest key state in bytes, proof included.
pub const SIZE_BYTES_MAX: usize = 64 * 1024;

/// Which keys and Nostr pubkeys speak for an origin DID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyState {
    /// Always [`TYPE`].
    pub r#type: String,
    /// The origin DID: the key of the first state, for ever the publisher's name.
    pub publisher: Did,
    /// Counts the states of an origin, from 1; 0 is the implicit state of a bare DID.
    pub seq: u64,
    /// BLAKE3 of the previous state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Blake3Hash>,
    /// When it was signed.
    pub created: Timestamp,
    /// When it should be renewed.
    pub expires: Timestamp,
    /// Keys that may sign now; empty means revoked.
    pub keys: Vec<Did>,
    /// Commitments to the keys of the next state: SHA-256 of each multikey text, hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
    /// Nostr pubkeys that announce for this origin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nostr: Vec<NostrKey>,
    /// Lowest `seq` that counts, per app, after a recovery.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floors: BTreeMap<Slug, u64>,
    /// Releases of earlier keys that stay valid after a revocation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaffirm: Vec<Blake3Hash>,
}

/// A Nostr pubkey that announces for an origin until a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NostrKey {
    /// x-only secp256k1 public key, 64 hexadecimal digits (NIP-01).
    pub pubkey: String,
    /// When the binding ends.
    pub expires: Timestamp,
}
