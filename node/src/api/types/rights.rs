//! What an update of an installed app would change, and whether it needs its owner.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{Problem, Right};

wire! {
    /// What a release changes about an app's rights, read off the units of both.
    pub struct RightsDiff {
        /// What the app could do afterwards and cannot do now, the weightiest first.
        pub gained: Vec<Right>,
        /// What the app can do now and could not do afterwards, the weightiest first.
        pub lost: Vec<Right>,
    }

    /// A newer release of an installed app.
    pub struct UpdateOffer {
        /// Version.
        pub version: String,
        /// Counter.
        pub seq: u64,
        /// BLAKE3 of the release.
        pub release: String,
        /// When it was announced.
        pub announced: String,
        /// What it changes about the app's rights; absent while the release is being fetched or cannot run here.
        pub diff: Option<RightsDiff>,
        /// Whether this node would update without asking.
        pub by_itself: bool,
        /// Why it waits for its owner: `rightsGained`, `policyScore`, `policySignatures`, `blocked`, `refused`,
        /// `notFetched`, `cannotRun`.
        pub waits: Vec<Problem>,
    }
}
