//! What the owner lets the node give away to other nodes, what holds now and why, and how much was given.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::AppRef;

/// What the owner lets the node give away. What is published from here is given away whatever it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(export_to = "./")]
pub struct SeedingPolicy {
    /// Whether nothing is given away.
    pub paused: bool,
    /// When the pause ends by itself, RFC 3339.
    pub paused_until: Option<String>,
    /// Bytes per second to all other nodes together; the settings may allow less.
    pub bytes_per_second: Option<u64>,
    /// Bytes per second to each other node; the settings may allow less.
    pub peer_bytes_per_second: Option<u64>,
    /// How often its own size a version of an app is given away at most.
    pub ratio_max: Option<f64>,
    /// Bytes given away in a calendar month, in UTC, after which the rest of it is a pause.
    pub month_bytes_max: Option<u64>,
    /// Hours with rules of their own, in the node's local time.
    pub hours: Vec<SeedingHours>,
    /// What to do while the network is metered.
    pub metered: SeedingMetered,
    /// Bytes per second while the network is metered, where that is limited.
    pub metered_bytes_per_second: Option<u64>,
    /// Whether the network counts as metered, whatever the machine says of it.
    pub treat_as_metered: bool,
    /// Apps that are not given away.
    pub apps_off: Vec<AppRef>,
}

/// Hours with a rule of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(export_to = "./")]
pub struct SeedingHours {
    /// What holds in them.
    pub rule: SeedingRule,
    /// The days on which they begin.
    pub days: Vec<SeedingDay>,
    /// When they begin, `HH:MM`.
    pub from: String,
    /// When they end, `HH:MM`: on the next day when it is not after the beginning, so the same time twice is a whole day.
    pub to: String,
    /// Bytes per second in slow hours.
    pub bytes_per_second: Option<u64>,
}

wire! {
    /// A rule for hours.
    #[derive(Eq, Copy)]
    pub enum SeedingRule {
        /// Apps are given away in these hours and others of this rule, and at no other time.
        Only,
        /// Apps are given away more slowly in these hours.
        Slow,
    }

    /// A day of the week.
    #[derive(Eq, Copy, Hash, PartialOrd, Ord)]
    pub enum SeedingDay {
        /// Monday.
        Monday,
        /// Tuesday.
        Tuesday,
        /// Wednesday.
        Wednesday,
        /// Thursday.
        Thursday,
        /// Friday.
        Friday,
        /// Saturday.
        Saturday,
        /// Sunday.
        Sunday,
    }

    /// What to do while the network is metered.
    #[derive(Eq, Copy)]
    pub enum SeedingMetered {
        /// Nothing is given away.
        Never,
        /// Apps are given away slowly.
        Limited,
        /// Nothing changes.
        Usual,
    }

    /// Answer of `seeding.show` and `seeding.set`.
    pub struct SeedingPage {
        /// What the owner wants.
        pub policy: SeedingPolicy,
        /// What counts when nothing was set.
        pub usual: SeedingPolicy,
        /// Bytes per second that the setting `swarm.upload` allows at most.
        pub bytes_per_second_max: Option<u64>,
        /// Bytes per second that the setting `swarm.upload_per_node` allows at most.
        pub peer_bytes_per_second_max: Option<u64>,
        /// What holds now.
        pub state: SeedingState,
        /// Whether the machine says that its network is metered; absent where it does not say.
        pub network_metered: Option<bool>,
        /// Bytes given away this month, what is published from here included.
        pub month_bytes: u64,
        /// When the next month begins.
        pub month_ends: String,
        /// The apps that can be given away, by name.
        pub apps: Vec<SeedingApp>,
    }

    /// What holds now.
    pub struct SeedingState {
        /// How it is, in one word.
        pub mode: SeedingMode,
        /// Why it is so, the weightiest first.
        pub reasons: Vec<SeedingReason>,
        /// Bytes per second to all other nodes together.
        pub bytes_per_second: Option<u64>,
        /// Bytes per second to each other node.
        pub peer_bytes_per_second: Option<u64>,
    }

    /// How seeding is.
    #[derive(Eq, Copy)]
    pub enum SeedingMode {
        /// As fast as the link.
        Unlimited,
        /// Not faster than a limit.
        Limited,
        /// Nothing is given away but what is published from here.
        Stopped,
    }

    /// Why seeding is as it is.
    #[derive(Eq)]
    pub struct SeedingReason {
        /// `paused`, `budget`, `hours`, `metered`, `slowHours`, `rate`, `peerRate` or `setting`.
        pub kind: String,
        /// In words, without a full stop.
        pub text: String,
        /// When it ends by itself.
        pub until: Option<String>,
    }

    /// An app that can be given away.
    pub struct SeedingApp {
        /// Which app.
        pub app: AppRef,
        /// Display name.
        pub name: String,
        /// Whether the owner lets it be given away.
        pub on: bool,
        /// Whether it is published from here, and so given away whatever holds.
        pub published: bool,
        /// Size in bytes of its versions that are here.
        pub size_bytes: u64,
        /// Bytes given away of them.
        pub uploaded_bytes: u64,
        /// Whether each of its versions was given away as often as the ratio allows.
        pub ratio_reached: bool,
    }
}
