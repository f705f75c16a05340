//! What the node gives away to other nodes.

use serde::{Deserialize, Serialize};

use super::AppRef;

copies! {
    /// Answer of `seeding.show` and `seeding.set`.
    pub struct SeedingPage {
        /// What the owner wants.
        pub policy: SeedingPolicy,
        /// What holds now.
        pub state: SeedingState,
        /// Whether the machine says that its network is metered.
        pub network_metered: Option<bool>,
        /// Bytes given away this month.
        pub month_bytes: u64,
        /// The apps that can be given away.
        pub apps: Vec<SeedingApp>,
    }

    /// What the owner lets the node give away, as far as it is shown.
    pub struct SeedingPolicy {
        /// How often its own size a version of an app is given away at most.
        pub ratio_max: Option<f64>,
        /// Bytes given away in a month.
        pub month_bytes_max: Option<u64>,
        /// Hours with rules of their own.
        pub hours: Vec<SeedingHours>,
        /// What to do while the network is metered.
        pub metered: String,
        /// Bytes per second while it is, where that is limited.
        pub metered_bytes_per_second: Option<u64>,
        /// Whether it counts as metered, whatever the machine says.
        pub treat_as_metered: bool,
    }

    /// Hours with a rule of their own.
    pub struct SeedingHours {
        /// What holds in them.
        pub rule: String,
        /// The days on which they begin.
        pub days: Vec<String>,
        /// When they begin.
        pub from: String,
        /// When they end.
        pub to: String,
        /// Bytes per second in slow hours.
        pub bytes_per_second: Option<u64>,
    }

    /// What holds now.
    pub struct SeedingState {
        /// How it is, in one word.
        pub mode: String,
        /// Why, the weightiest first.
        pub reasons: Vec<SeedingReason>,
    }

    /// Why seeding is as it is.
    pub struct SeedingReason {
        /// In words.
        pub text: String,
    }

    /// An app that can be given away.
    pub struct SeedingApp {
        /// Which app.
        pub app: AppRef,
        /// Display name.
        pub name: String,
        /// Whether the owner lets it be given away.
        pub on: bool,
        /// Whether it is published from here.
        pub published: bool,
        /// Size in bytes of its versions that are here.
        pub size_bytes: u64,
        /// Bytes given away of them.
        pub uploaded_bytes: u64,
        /// Whether each of its versions was given away as often as the ratio allows.
        pub ratio_reached: bool,
    }
}
