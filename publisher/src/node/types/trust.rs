//! What the node knows of publishers, what its owner says of them, and the policy.

use serde::{Deserialize, Serialize};

use super::{Problem, PublisherCard, Right};

copies! {
    /// Answer of `trust.show`.
    pub struct TrustPage {
        /// Points, reasons, and what would change them.
        pub publisher: PublisherCard,
        /// The most that the score can be now.
        pub cap: Option<TrustCap>,
        /// Why an app of the publisher would not be installed now.
        pub refusal: Option<Problem>,
        /// Every observation that a reason names.
        pub observations: Vec<Observation>,
        /// Names of some of the publisher's apps.
        pub apps: Vec<String>,
    }

    /// The most that a score can be.
    pub struct TrustCap {
        /// Points.
        pub points: f64,
        /// Why.
        pub text: String,
    }

    /// Something that the node saw itself, or that somebody signed.
    pub struct Observation {
        /// What reasons call it.
        pub reference: String,
        /// When.
        pub at: Option<String>,
        /// What, in words.
        pub text: String,
        /// The Nostr event that says so.
        pub event_id: Option<String>,
        /// Who signed that.
        pub pubkey: Option<String>,
    }

    /// Answer of `trust.history`.
    pub struct History {
        /// The newest first.
        pub observations: Vec<Observation>,
        /// Where the rest begins.
        pub next: Option<String>,
    }

    /// Answer of `trust.report` and `trust.vouch`.
    pub struct OpinionGiven {
        /// What the publisher's trust is now.
        pub page: TrustPage,
        /// What was sent to the relays.
        pub published: Option<OpinionPublished>,
    }

    /// An opinion on its way to others.
    pub struct OpinionPublished {
        /// The Nostr event.
        pub event_id: String,
        /// Relays that took it.
        pub accepted: Vec<String>,
        /// Relays that did not, and why.
        pub refused: Vec<String>,
        /// What was sent instead of what was asked for.
        pub note: Option<String>,
    }

    /// Answer of `trust.reviewers` and `trust.reviewer`.
    pub struct Reviewers {
        /// Nostr pubkeys.
        pub reviewers: Vec<String>,
        /// The node's own Nostr pubkey.
        pub own: Option<String>,
        /// What was sent to the relays.
        #[serde(default)]
        pub published: Option<OpinionPublished>,
    }

    /// What the owner lets the node do.
    pub struct Policy {
        /// Points to be listed.
        pub show_points_min: u32,
        /// Points to be installed.
        pub install_points_min: u32,
        /// Points to be updated without asking.
        pub update_points_min: u32,
        /// Valid signatures on a release.
        pub signatures_min: u32,
    }

    /// Answer of `policy.show` and `policy.set`.
    pub struct PolicyPage {
        /// What counts now.
        pub policy: Policy,
        /// Below this many points a warning precedes an install.
        pub warn_points: u32,
        /// Publishers that the owner vouches for.
        pub pinned: Vec<PublisherMark>,
        /// Publishers that the owner wants nothing of.
        pub blocked: Vec<PublisherMark>,
    }

    /// The owner's word on a publisher.
    pub struct PublisherMark {
        /// Origin DID.
        pub publisher: String,
        /// Names of some of its apps.
        pub apps: Vec<String>,
    }

    /// What a release changes about an app's rights.
    pub struct RightsDiff {
        /// What the app could do afterwards and cannot do now.
        pub gained: Vec<Right>,
        /// What the app can do now and could not do afterwards.
        pub lost: Vec<Right>,
    }

    /// What the owner set of an app, which an update leaves as it is.
    pub struct KeptSetting {
        /// The container.
        pub container: String,
        /// What is set: `port`, `variable`, `memory`, `cpus`, `pids`.
        pub kind: String,
        /// Which variable, or which port inside the container, as `80/tcp`.
        pub name: Option<String>,
        /// The value on this node.
        pub yours: String,
        /// What the installed release says instead.
        pub before: Option<String>,
        /// What the new release says instead.
        pub now: Option<String>,
        /// Whether the new release has a place for it.
        pub is_used: bool,
    }

    /// A newer release of an installed app.
    pub struct UpdateOffer {
        /// Version.
        pub version: String,
        /// What it changes about the app's rights.
        pub diff: Option<RightsDiff>,
        /// What the owner set and it leaves as it is.
        #[serde(default)]
        pub kept: Vec<KeptSetting>,
        /// What else the owner should know before.
        #[serde(default)]
        pub notices: Vec<String>,
        /// Whether the node would update without asking.
        pub by_itself: bool,
        /// Why it waits for its owner.
        pub waits: Vec<Problem>,
    }
}
