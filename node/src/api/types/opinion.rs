//! What a score rests on, and what the owner says of publishers and reviewers.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{Problem, PublisherCard};

wire! {
    /// Parameters of `trust.show`.
    pub struct TrustParams {
        /// Origin DID.
        pub publisher: String,
    }

    /// Answer of `trust.show`, and of everything that changes what it shows.
    pub struct TrustPage {
        /// Points, reasons, and what would change them.
        pub publisher: PublisherCard,
        /// The most that the score can be now.
        pub cap: Option<TrustCap>,
        /// What the policy makes of it: why an app of the publisher would not be installed now.
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

    /// Something that this node saw itself, or that somebody signed.
    #[derive(Eq)]
    pub struct Observation {
        /// What reasons call it, e.g. `event 12`.
        pub reference: String,
        /// `event`, `keyState`, `firstSeen`, `contradiction`, `vote`, `introducer`.
        pub kind: String,
        /// When.
        pub at: Option<String>,
        /// What, in words.
        pub text: String,
        /// The Nostr event that says so, 64 hexadecimal digits.
        pub event_id: Option<String>,
        /// Who signed that, 64 hexadecimal digits.
        pub pubkey: Option<String>,
    }

    /// Parameters of `trust.history`.
    pub struct HistoryParams {
        /// Origin DID.
        pub publisher: String,
        /// Return at most this many, 1–200. Default 100.
        #[serde(default)]
        pub limit: Option<u32>,
        /// Only what is older than this: `next` of an earlier answer.
        #[serde(default)]
        pub before: Option<String>,
    }

    /// Answer of `trust.history`.
    pub struct History {
        /// The newest first.
        pub observations: Vec<Observation>,
        /// Where the rest begins, if there is more.
        pub next: Option<String>,
    }

    /// Parameters of `trust.pin`.
    pub struct PinParams {
        /// Origin DID.
        pub publisher: String,
        /// Whether the owner vouches for them.
        pub pinned: bool,
    }

    /// Parameters of `trust.block`.
    pub struct BlockParams {
        /// Origin DID.
        pub publisher: String,
        /// Whether the owner wants nothing of them.
        pub blocked: bool,
    }

    /// Parameters of `trust.report`.
    pub struct ReportParams {
        /// Origin DID.
        pub publisher: String,
        /// Slug of the app; without one the installed app of the publisher, else the first in the catalog.
        #[serde(default)]
        pub app: Option<String>,
        /// What is wrong.
        pub kind: ReportKind,
        /// In the owner's words, at most 1000 bytes.
        #[serde(default)]
        pub text: String,
        /// Whether to tell others as well, over the relays.
        #[serde(default)]
        pub public: bool,
    }

    /// What is wrong with an app.
    #[derive(Copy, Eq)]
    pub enum ReportKind {
        /// It does harm on purpose.
        Malware,
        /// It does not work.
        Broken,
        /// It is not what it says.
        Spam,
        /// Something else.
        Other,
    }

    /// Parameters of `trust.vouch`.
    pub struct VouchParams {
        /// Origin DID.
        pub publisher: String,
        /// What the owner says of them.
        pub opinion: VouchOpinion,
        /// In the owner's words, at most 1000 bytes.
        #[serde(default)]
        pub text: String,
        /// Whether to tell others as well, over the relays.
        #[serde(default)]
        pub public: bool,
    }

    /// What the owner says of a publisher.
    #[derive(Copy, Eq)]
    pub enum VouchOpinion {
        /// Its apps are good.
        Recommend,
        /// Its apps are not good.
        Caution,
        /// Takes back what was said.
        Withdrawn,
    }

    /// Answer of `trust.report` and `trust.vouch`.
    pub struct OpinionGiven {
        /// What the publisher's trust is now.
        pub page: TrustPage,
        /// What was sent to the relays, if it was public.
        pub published: Option<OpinionPublished>,
    }

    /// An opinion on its way to others.
    #[derive(Eq)]
    pub struct OpinionPublished {
        /// The Nostr event.
        pub event_id: String,
        /// This node's Nostr key, which signed it.
        pub pubkey: String,
        /// Relays that took it.
        pub accepted: Vec<String>,
        /// Relays that did not, and why.
        pub refused: Vec<String>,
        /// What was sent instead of what was asked for, and why.
        pub note: Option<String>,
    }

    /// Parameters of `trust.reviewer`.
    pub struct ReviewerParams {
        /// Nostr pubkey of the reviewer, 64 hexadecimal digits.
        pub pubkey: String,
        /// Whether their word counts here.
        pub trusted: bool,
        /// Whether to tell others the whole list as it is then, in place of what they were told before.
        #[serde(default)]
        pub public: bool,
    }

    /// Answer of `trust.reviewers` and `trust.reviewer`.
    pub struct Reviewers {
        /// Nostr pubkeys of those whose word counts here, and through them that of those whom they trust.
        pub reviewers: Vec<String>,
        /// This node's own Nostr pubkey, under which it speaks in public; absent until it first does.
        pub own: Option<String>,
        /// What was sent to the relays, if it was public.
        #[serde(default)]
        pub published: Option<OpinionPublished>,
    }
}
