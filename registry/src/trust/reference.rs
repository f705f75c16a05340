//! What a reason rests on, so that it can be looked up.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::opinion::Rater;
use crate::id::Slug;

/// A row of this node's own log, or something that others signed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EvidenceRef {
    /// A row of the evidence log.
    Event {
        /// Its number.
        id: i64,
    },
    /// A key state of the publisher.
    KeyState {
        /// Its `seq`; 0 for the one that a bare DID implies.
        seq: u64,
    },
    /// The first sighting of a release.
    FirstSeen {
        /// The app.
        app: Slug,
        /// The release's `seq`.
        seq: u64,
    },
    /// A contradiction.
    Contradiction {
        /// Its number.
        id: i64,
    },
    /// What a rater said.
    Vote {
        /// Who.
        rater: Rater,
        /// Id of the Nostr event, 64 hexadecimal digits.
        event_id: String,
    },
    /// Through whom the weight of votes came in.
    Introducer {
        /// Who.
        rater: Rater,
        /// How much, in billionths of a vote.
        votes: u64,
    },
}

impl fmt::Display for EvidenceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { id } => write!(f, "event {id}"),
            Self::KeyState { seq } => write!(f, "key-state {seq}"),
            Self::FirstSeen { app, seq } => write!(f, "first-seen {app}/{seq}"),
            Self::Contradiction { id } => write!(f, "contradiction {id}"),
            Self::Vote { rater, event_id } => write!(f, "vote {event_id} by {rater}"),
            Self::Introducer { rater, .. } => write!(f, "introducer {rater}"),
        }
    }
}
