//! Key states: which keys and Nostr pubkeys speak for an origin DID now.
//!
//! A bare `did:key` speaks for itself. Its first signed state may commit to keys for later
//! (pre-rotation, as in [KERI](https://arxiv.org/abs/1907.02143)); what is not committed is not accepted.
//! States travel as a chain ([`chain`]), so that whoever was away can check every step; which states count
//! when two of them follow the same one is [`KeyHistory`]'s business.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::did::Did;
use crate::id::{Blake3Hash, Slug};
use crate::statement::{self, StatementError};
use crate::verified::Verified;

pub mod chain;
mod history;
mod step;

pub(crate) use history::Signatures;
pub use history::{Admitted, Contradiction, KeyHistory, STATES_MAX, Standing, Subject};
pub use step::{Step, StepError};

/// The `type` of a key state.
pub const TYPE: &str = "archy/key-state/v1";
/// Largest key state in bytes, proof included.
pub const SIZE_BYTES_MAX: usize = 64 * 1024;

/// Longest validity of a key state.
pub const VALIDITY_MAX: SignedDuration = SignedDuration::from_hours(5 * 366 * 24);
/// Most keys, committed keys and Nostr pubkeys of one state.
pub const KEYS_MAX: usize = 16;
/// Most releases that one state reaffirms, and most apps with a floor.
pub const REAFFIRM_MAX: usize = 500;

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
    /// How many of `keys` must sign a release or the next renewal together: k of n; 1 when absent.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub threshold: u32,
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

fn one() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_one(threshold: &u32) -> bool {
    *threshold == 1
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

/// A key state cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum KeyStateError {
    /// The statement cannot be believed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A member's value is not allowed.
    #[error("the key state's {field} {complaint}")]
    Field {
        /// The member.
        field: &'static str,
        /// What is wrong with it.
        complaint: &'static str,
    },
    /// Not a list of states.
    #[error("a chain of key states must be a JSON array of at least one state, or one state")]
    Chain,
    /// It does not follow the state that this node knows.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl KeyState {
    /// Returns the state of a publisher of whom no signed state is known: the bare DID speaks for itself.
    pub fn implicit(publisher: Did) -> Verified<Self> {
        let state = Self {
            r#type: TYPE.to_owned(),
            publisher,
            seq: 0,
            prev: None,
            created: Timestamp::UNIX_EPOCH,
            expires: Timestamp::MAX,
            keys: vec![publisher],
            threshold: 1,
            next: Vec::new(),
            nostr: Vec::new(),
            floors: BTreeMap::new(),
            reaffirm: Vec::new(),
        };
        let hash = Blake3Hash::of(publisher.to_string().as_bytes());
        Verified::new(state, hash, Vec::new())
    }

    /// Returns the first signed state of a publisher: its own key, committing to the keys of `next`.
    pub fn first(
        publisher: Did,
        next: &[Did],
        nostr: Vec<NostrKey>,
        created: Timestamp,
        expires: Timestamp,
    ) -> Self {
        Self {
            seq: 1,
            created: crate::proof::whole_seconds(created),
            expires: crate::proof::whole_seconds(expires),
            next: next.iter().map(commitment).collect(),
            nostr,
            ..Self::implicit(publisher).into_inner()
        }
    }

    /// Returns a draft of the state that follows `previous`: one `seq` on, all else kept.
    pub fn after(previous: &Verified<Self>, created: Timestamp, expires: Timestamp) -> Self {
        Self {
            seq: previous.seq + 1,
            prev: Some(previous.hash()),
            created: crate::proof::whole_seconds(created),
            expires: crate::proof::whole_seconds(expires),
            ..Self::clone(previous)
        }
    }

    /// Tells whether the publisher has revoked its keys.
    pub fn is_revoked(&self) -> bool {
        self.keys.is_empty()
    }

    /// Tells whether `pubkey` (64 hexadecimal digits) announces for this publisher at `now`.
    pub fn binds_nostr(&self, pubkey: &str, now: Timestamp) -> bool {
        !self.is_revoked()
            && self
                .nostr
                .iter()
                .any(|key| key.pubkey == pubkey && key.expires > now)
    }
}

/// Commits to a key without showing it: SHA-256 of its multikey text, hexadecimal.
pub fn commitment(key: &Did) -> String {
    hex::encode(Sha256::digest(key.multikey()))
}

/// Checks a key state against the one that this node knows.
///
/// `previous` is `None` (or the implicit state) when none is known; then only the first state counts.
///
/// # Errors
///
/// [`KeyStateError`]; also for steps that archy does not support.
pub fn verify(
    bytes: &[u8],
    previous: Option<&Verified<KeyState>>,
    now: Timestamp,
) -> Result<Verified<KeyState>, KeyStateError> {
    verify_step(bytes, previous, now).map(|(state, _)| state)
}

/// Checks a key state as [`verify`] does and tells how it follows.
fn verify_step(
    bytes: &[u8],
    previous: Option<&Verified<KeyState>>,
    now: Timestamp,
) -> Result<(Verified<KeyState>, Step), KeyStateError> {
    let (state, signers, hash) = statement::open::<KeyState>(bytes, SIZE_BYTES_MAX, TYPE, now)?;
    statement::check_seq(state.seq)?;
    statement::check_dates(state.created, state.expires, VALIDITY_MAX, now)?;
    check_fields(&state)?;
    let step = match previous.filter(|previous| previous.seq > 0) {
        Some(previous) => step::check(&state, &signers, previous)?,
        None => step::check_first(&state, &signers)?,
    };
    Ok((Verified::new(state, hash, signers), step))
}

fn check_fields(state: &KeyState) -> Result<(), KeyStateError> {
    let field = |field, complaint| Err(KeyStateError::Field { field, complaint });
    let hex64 = |text: &str| {
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    if state.keys.len() > KEYS_MAX || has_duplicates(&state.keys) {
        return field("keys", "must be at most 16 different keys");
    }
    if state.next.len() > KEYS_MAX || has_duplicates(&state.next) {
        return field("next", "must be at most 16 different commitments");
    }
    if !state.next.iter().all(|text| hex64(text)) {
        return field(
            "next",
            "must be SHA-256 hashes of 64 lower-case hexadecimal digits",
        );
    }
    if state
        .keys
        .iter()
        .any(|key| state.next.contains(&commitment(key)))
    {
        return field(
            "next",
            "must commit to other keys than those that sign now: a thief has those",
        );
    }
    let threshold = state.threshold as usize;
    if threshold == 0 || (!state.keys.is_empty() && threshold > state.keys.len()) {
        return field("threshold", "must be from 1 to the number of keys");
    }
    if !state.next.is_empty() && state.next.len() < threshold {
        return field(
            "next",
            "must commit to as many keys as the threshold, or to none",
        );
    }
    if state.nostr.len() > KEYS_MAX {
        return field("nostr", "must be at most 16 pubkeys");
    }
    if !state.nostr.iter().all(|key| hex64(&key.pubkey)) {
        return field(
            "nostr",
            "must hold pubkeys of 64 lower-case hexadecimal digits",
        );
    }
    if state.floors.len() > REAFFIRM_MAX {
        return field("floors", "must name at most 500 apps");
    }
    if state.reaffirm.len() > REAFFIRM_MAX {
        return field("reaffirm", "must name at most 500 releases");
    }
    Ok(())
}

fn has_duplicates<T: Ord>(items: &[T]) -> bool {
    let distinct: std::collections::BTreeSet<&T> = items.iter().collect();
    distinct.len() != items.len()
}
