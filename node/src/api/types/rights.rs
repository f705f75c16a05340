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

    /// What can be set of an app.
    #[derive(Copy, Eq)]
    pub enum SettingKind {
        /// Where a published port is found on the node.
        Port,
        /// An environment variable.
        Variable,
        /// Memory limit.
        Memory,
        /// Processors.
        Cpus,
        /// Most processes and threads.
        Pids,
    }

    /// What the owner set of an app, which an update leaves as it is.
    pub struct KeptSetting {
        /// The container.
        pub container: String,
        /// What is set.
        pub kind: SettingKind,
        /// Which variable, or which port inside the container, as `80/tcp`; absent for limits.
        pub name: Option<String>,
        /// The value on this node.
        pub yours: String,
        /// What the installed release says instead; absent when nothing.
        pub before: Option<String>,
        /// What the new release says instead; absent when nothing.
        pub now: Option<String>,
        /// Whether the new release has a place for it; what has none is kept, and not used.
        pub is_used: bool,
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
        /// What the owner set and it leaves as it is.
        pub kept: Vec<KeptSetting>,
        /// What else the owner should know before, in sentences; nothing is updated unasked over that.
        pub notices: Vec<String>,
        /// Whether this node would update without asking.
        pub by_itself: bool,
        /// Why it waits for its owner: `rightsGained`, `policyScore`, `policySignatures`, `blocked`, `refused`,
        /// `notFetched`, `cannotRun`, `evidenceLost`.
        pub waits: Vec<Problem>,
    }
}
