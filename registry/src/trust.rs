//! How far a publisher can be trusted, as a pure function of what this node saw.
//!
//! Points are integers (millionths) and every reason carries its own, so that the reasons add up to the
//! score exactly and two machines with the same evidence show the same number. What other people say of a
//! publisher is not counted yet.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::{Blake3Hash, Slug};

mod experience;
mod fixed;
pub mod opinion;
mod reasons;

/// Micro-points per point.
pub const POINT: i64 = 1_000_000;
/// Most points that a publisher gets of whom nobody trusted has any experience.
pub const CAP_UNPROVEN: i64 = 34 * POINT;

/// Something that happened on this node and bears on a publisher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// An app of the publisher was installed.
    Installed {
        /// The app.
        app: Slug,
        /// The release.
        release: Blake3Hash,
    },
    /// An install failed.
    InstallFailed {
        /// The app.
        app: Slug,
        /// The release.
        release: Blake3Hash,
        /// What went wrong.
        reason: String,
        /// Whether it was the publisher's doing, e.g. an app that never becomes healthy.
        publishers_fault: bool,
    },
    /// An installed app was healthy all day. Counts once per app and day.
    HealthyDay {
        /// The app.
        app: Slug,
        /// The day (UTC).
        day: Date,
    },
    /// An installed app was unhealthy for a part of a day. Counts once per app and day.
    UnhealthyDay {
        /// The app.
        app: Slug,
        /// The day (UTC).
        day: Date,
    },
    /// The owner complained about an app.
    Complaint {
        /// The app.
        app: Slug,
        /// In the owner's words.
        text: String,
    },
    /// The owner vouches for the publisher.
    Pinned,
    /// The owner no longer vouches for the publisher.
    Unpinned,
    /// The owner wants nothing of the publisher.
    Blocked,
    /// The owner lifted the block.
    Unblocked,
    /// A Nostr pubkey that the key state names carried that key state: both name each other.
    NostrLinked {
        /// The pubkey, 64 hexadecimal digits.
        pubkey: String,
    },
}

/// An [`Event`] with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number in the log.
    pub id: i64,
    /// When it was recorded.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// The first sighting of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The app.
    pub app: Slug,
    /// The release's `seq`.
    pub seq: u64,
    /// When this node first heard of it.
    pub at: Timestamp,
}

/// Two statements of the publisher that cannot both be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Its number in the log.
    pub id: i64,
    /// `release` or `key_state`.
    pub subject: String,
    /// The `seq` that both statements carry.
    pub seq: u64,
    /// When this node found it.
    pub at: Timestamp,
}

/// All that this node knows of a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Whom it is about.
    pub publisher: Did,
    /// `seq` of the key state; 0 for a bare DID.
    pub key_state_seq: u64,
    /// Whether the publisher committed to its next keys.
    pub has_next_keys: bool,
    /// Whether the publisher revoked its keys.
    pub is_revoked: bool,
    /// Nostr pubkeys that the key state binds, with the end of the binding.
    pub nostr: Vec<(String, Timestamp)>,
    /// First sightings of releases.
    pub sightings: Vec<Sighting>,
    /// What happened on this node.
    pub events: Vec<Recorded>,
    /// Contradictions.
    pub contradictions: Vec<Contradiction>,
}

/// How far a publisher can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Score {
    /// 0 to 100 points, in millionths; the sum of the reasons' points.
    pub micro_points: i64,
    /// In a word.
    pub band: Band,
    /// Why, best first within each part.
    pub reasons: Vec<Reason>,
    /// The most that the score can be now, and why.
    pub cap: Option<Cap>,
    /// What would change it, as sentences.
    pub would_change: Vec<String>,
}

/// A score in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Nothing of the publisher is installed.
    Refused,
    /// Below 15 points.
    New,
    /// Below 35 points.
    Unproven,
    /// Below 65 points.
    SomeTrust,
    /// 65 points and more.
    Trusted,
}

/// A part of a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Stable name, e.g. `own_use`.
    pub code: &'static str,
    /// Its share, in millionths of a point; negative against the publisher.
    pub micro_points: i64,
    /// One sentence for people.
    pub text: String,
    /// Rows of the log that it rests on, e.g. `event 12`.
    pub evidence: Vec<String>,
}

/// The most that a score can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cap {
    /// In millionths of a point.
    pub micro_points: i64,
    /// Why.
    pub text: String,
}

/// Scores a publisher.
pub fn score(evidence: &Evidence, now: Timestamp) -> Score {
    reasons::score(evidence, now)
}

impl Band {
    fn of(micro_points: i64) -> Self {
        match micro_points / POINT {
            ..15 => Self::New,
            15..35 => Self::Unproven,
            35..65 => Self::SomeTrust,
            65.. => Self::Trusted,
        }
    }
}
