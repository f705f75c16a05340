//! Copies of the contract's types for backups.

use serde::{Deserialize, Serialize};

use super::AppRef;

copies! {
    /// Answer of `backup.list`, `backup.remove` and `backup.schedule`.
    pub struct BackupPage {
        /// The newest first.
        pub backups: Vec<BackupInfo>,
        /// What is made by itself.
        pub plans: Vec<BackupPlan>,
        /// Where the repository is on the node.
        pub repository: String,
        /// The file with its password.
        pub password_file: String,
        /// The file with schedules and proofs that could not be read.
        #[serde(default)]
        pub unreadable: Option<String>,
    }

    /// A backup.
    pub struct BackupInfo {
        /// Its name.
        pub id: String,
        /// Which app.
        pub app: AppRef,
        /// Version that wrote the data.
        pub version: String,
        /// When the app stood still for it.
        pub taken: String,
        /// Size of the data.
        pub size_bytes: u64,
        /// What came of its last rehearsal.
        #[serde(default)]
        pub proof: Option<BackupProof>,
    }

    /// What came of a rehearsal.
    pub struct BackupProof {
        /// When.
        pub at: String,
        /// Why it did not come up.
        #[serde(default)]
        pub failure: Option<String>,
        /// When it last came up.
        #[serde(default)]
        pub proven: Option<String>,
    }

    /// When an app is backed up by itself.
    pub struct BackupSchedule {
        /// How often.
        pub every: String,
        /// At what time.
        pub at: String,
        /// What is kept.
        pub keep: BackupKeep,
        /// How often one is rehearsed.
        pub rehearse: String,
    }

    /// How many backups are kept.
    pub struct BackupKeep {
        /// The newest.
        pub last: u16,
        /// Days.
        pub daily: u16,
        /// Weeks.
        pub weekly: u16,
        /// Months.
        pub monthly: u16,
    }

    /// An app's schedule and what came of it.
    pub struct BackupPlan {
        /// Which app.
        pub app: AppRef,
        /// Its schedule.
        pub schedule: BackupSchedule,
        /// When the next one begins.
        #[serde(default)]
        pub next: Option<String>,
        /// Why the last try failed.
        #[serde(default)]
        pub failure: Option<String>,
        /// Why the last rehearsal could not be made.
        #[serde(default)]
        pub unrehearsed: Option<String>,
    }
}
