//! How far a publisher can be trusted, as a pure function of what this node saw.
//!
//! Points are integers (millionths) and every reason carries its own, so that the reasons add up to the
//! score exactly and two machines with the same evidence show the same number. What other people say counts
//! as far as the owner's own choice of reviewers reaches; [`network`] weighs it.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::{Blake3Hash, Slug};

mod advice;
mod experience;
mod fixed;
mod inputs;
mod limits;
pub mod network;
pub mod opinion;
mod reasons;
mod reference;
mod voices;

pub use inputs::inputs_hash;
pub use reference::EvidenceRef;

use opinion::{Opinion, Rater};

/// Micro-points per point.
pub const POINT: i64 = 1_000_000;
/// Most points that a publisher gets of whom nobody trusted has any experience.
pub const CAP_UNPROVEN: i64 = 34 * POINT;
/// Most points of a publisher that one reviewer with some weight reports for malware.
pub const CAP_REPORTED: i64 = 34 * POINT;
/// Most points of a publisher that several of them report; it is refused, too.
pub const CAP_REPORTED_TWICE: i64 = 10 * POINT;

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
    /// A delta that the publisher signed does not make the layer that it signed, though all that it builds on was right.
    /// Recorded once per delta of a release; a release counts once.
    BadDelta {
        /// The app.
        app: Slug,
        /// The release that names the delta.
        release: Blake3Hash,
        /// The delta.
        delta: Blake3Hash,
        /// What is wrong with it.
        reason: String,
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
    /// A domain and the publisher name each other.
    DomainLinked {
        /// The domain.
        domain: String,
    },
    /// A domain no longer names the publisher.
    DomainUnlinked {
        /// The domain.
        domain: String,
    },
}

/// An [`Event`] with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Its number in the log.
    pub id: i64,
    /// When it was recorded.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// The first sighting of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The app.
    pub app: Slug,
    /// The release's `seq`.
    pub seq: u64,
    /// When this node first heard of it.
    pub at: Timestamp,
}

/// Two statements of the publisher that cannot both be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contradiction {
    /// Its number in the log.
    pub id: i64,
    /// `release`, or the name of a [`crate::key_state::Subject`].
    pub subject: String,
    /// The `seq` that both statements carry.
    pub seq: u64,
    /// When this node found it.
    pub at: Timestamp,
}

/// What a rater within reach says of the publisher, and what its word weighs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Voice {
    /// Who.
    pub rater: Rater,
    /// What.
    pub opinion: Opinion,
    /// Id of the Nostr event, 64 hexadecimal digits.
    pub event_id: String,
    /// When the rater dated it.
    pub created: Timestamp,
    /// What a fresh vote of the rater weighs, in billionths of a vote; see [`network::Standing::weight`].
    pub weight: u64,
    /// Through whom the rater came in; see [`network::Standing::introducer`].
    pub introducer: Rater,
}

/// All that this node knows of a publisher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// How many reviewers the owner chose.
    pub seeds: u64,
    /// What raters within reach of them say; the newest word of each.
    pub voices: Vec<Voice>,
}

/// How far a publisher can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// 0 to 100 points, in millionths; the sum of the reasons' points.
    pub micro_points: i64,
    /// In a word.
    pub band: Band,
    /// What follows from it.
    pub verdict: Verdict,
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

/// What follows from a score, whatever the owner's own thresholds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing stands against the publisher.
    Accept,
    /// The owner is warned before anything of the publisher is installed.
    Warn,
    /// Nothing of the publisher is installed.
    Refuse,
}

/// The stable name of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Key and Nostr account name each other.
    Linked,
    /// Key and domain name each other.
    Domain,
    /// The publisher committed to its next keys.
    NextKeys,
    /// How long this node has known the publisher.
    KnownFor,
    /// How many releases this node has seen.
    Releases,
    /// Reviewers within reach recommend the publisher.
    Network,
    /// Reviewers within reach speak against it.
    NetworkComplaints,
    /// Its apps ran well here.
    OwnUse,
    /// Failures and complaints here.
    OwnComplaints,
    /// Lifts a negative sum to 0.
    Floor,
    /// The owner vouches for the publisher.
    Pinned,
    /// Nobody trusted has good experience with it.
    Cap,
    /// Reviewers with weight report malware.
    MalwareReports,
    /// The owner blocked it.
    Blocked,
    /// It revoked its keys.
    Revoked,
    /// It contradicted itself.
    Contradiction,
}

impl ReasonCode {
    /// Returns the name, e.g. `own_use`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linked => "linked",
            Self::Domain => "domain",
            Self::NextKeys => "next_keys",
            Self::KnownFor => "known_for",
            Self::Releases => "releases",
            Self::Network => "network",
            Self::NetworkComplaints => "network_complaints",
            Self::OwnUse => "own_use",
            Self::OwnComplaints => "own_complaints",
            Self::Floor => "floor",
            Self::Pinned => "pinned",
            Self::Cap => "cap",
            Self::MalwareReports => "malware_reports",
            Self::Blocked => "blocked",
            Self::Revoked => "revoked",
            Self::Contradiction => "contradiction",
        }
    }
}

/// A part of a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Which part.
    pub code: ReasonCode,
    /// Its share, in millionths of a point; negative against the publisher.
    pub micro_points: i64,
    /// One sentence for people.
    pub text: String,
    /// What it rests on, weightiest first; at most 50 of each kind.
    pub evidence: Vec<EvidenceRef>,
}

/// The most that a score can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// In millionths of a point.
    pub micro_points: i64,
    /// Why.
    pub text: String,
}

/// Scores a publisher. Of `now` only the day (UTC) counts, and whether a binding has ended.
pub fn score(evidence: &Evidence, now: Timestamp) -> Score {
    reasons::score(evidence, now)
}

impl Band {
    /// Returns its name, e.g. `some_trust`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::New => "new",
            Self::Unproven => "unproven",
            Self::SomeTrust => "some_trust",
            Self::Trusted => "trusted",
        }
    }

    fn of(micro_points: i64) -> Self {
        match micro_points / POINT {
            ..15 => Self::New,
            15..35 => Self::Unproven,
            35..65 => Self::SomeTrust,
            65.. => Self::Trusted,
        }
    }
}
