//! Who publishes an app and how far this node trusts them.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Problem;

wire! {
    /// Who publishes an app and what this node knows of them.
    pub struct PublisherCard {
        /// Origin DID.
        pub did: String,
        /// Points and band.
        pub trust: TrustBadge,
        /// Every reason; their points add up to the score.
        pub reasons: Vec<TrustReason>,
        /// What would change the score.
        pub would_change: Vec<String>,
        /// When this node first heard of them.
        pub first_seen: Option<String>,
        /// Whether a Nostr key is bound both ways.
        pub linked: bool,
        /// Whether the owner pinned them.
        pub pinned: bool,
        /// Whether the owner blocked them.
        pub blocked: bool,
        /// What the owner must know of them whatever the score says: `frozen`, `revoked`, `recovered`,
        /// `keysReplaced`, `keysExpired`, `malware`.
        pub notices: Vec<Problem>,
    }

    /// A score in short.
    pub struct TrustBadge {
        /// 0–100.
        pub points: f64,
        /// Band of the score.
        pub band: TrustBand,
    }

    /// Band of a trust score.
    #[derive(Copy, Eq)]
    pub enum TrustBand {
        /// Must not be installed.
        Refused,
        /// Below 15.
        New,
        /// Below 35.
        Unproven,
        /// Below 65.
        SomeTrust,
        /// From 65.
        Trusted,
    }

    /// One reason of a trust score.
    pub struct TrustReason {
        /// Stable name.
        pub code: String,
        /// The sentence.
        pub text: String,
        /// Points, may be negative.
        pub points: f64,
        /// What it rests on; `trust.show` has each as an [`super::Observation`] of the same reference.
        pub evidence: Vec<String>,
    }
}
