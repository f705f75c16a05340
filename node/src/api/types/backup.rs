//! Backups: which there are, whether they are proven, and when the next is made.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::AppRef;

wire! {
    /// Parameters of `backup.create`.
    pub struct BackupCreateParams {
        /// Slug of the instance.
        pub slug: String,
    }

    /// Parameters of `backup.list`.
    #[derive(Default)]
    pub struct BackupListParams {
        /// Only backups of this app.
        #[serde(default)]
        pub slug: Option<String>,
        /// Asks the repository first; what is known comes at once.
        #[serde(default)]
        pub refresh: bool,
    }

    /// Parameters of `backup.restore`.
    pub struct BackupRestoreParams {
        /// Name of the backup, or the first eight or more digits of it.
        pub backup: String,
    }

    /// Parameters of `backup.verify`: one of both.
    pub struct BackupVerifyParams {
        /// The newest backup of this app.
        #[serde(default)]
        pub slug: Option<String>,
        /// Name of the backup, or the first eight or more digits of it.
        #[serde(default)]
        pub backup: Option<String>,
    }

    /// Parameters of `backup.remove`.
    pub struct BackupRemoveParams {
        /// Name of the backup, or the first eight or more digits of it.
        pub backup: String,
    }

    /// Parameters of `backup.schedule`.
    pub struct BackupScheduleParams {
        /// Slug of the instance.
        pub slug: String,
        /// When it is backed up by itself; `null` is never.
        pub schedule: Option<BackupSchedule>,
    }

    /// Answer of `backup.list`, `backup.remove` and `backup.schedule`.
    pub struct BackupPage {
        /// The newest first.
        pub backups: Vec<BackupInfo>,
        /// What is made by itself.
        pub plans: Vec<BackupPlan>,
        /// When the repository was last asked.
        pub listed: Option<String>,
        /// Where the repository is on the node.
        pub repository: String,
        /// The file with its password; without it nobody can restore anything.
        pub password_file: String,
        /// The file with schedules and proofs that could not be read, until somebody removes it; they are as if they had never
        /// been.
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
        /// Size of the data; the repository keeps what several backups share once.
        pub size_bytes: u64,
        /// What came of its last rehearsal.
        pub proof: Option<BackupProof>,
    }

    /// What came of starting a backup apart from everything.
    pub struct BackupProof {
        /// When.
        pub at: String,
        /// How long that took.
        pub seconds: f64,
        /// Why it did not come up; absent when it did.
        pub failure: Option<String>,
        /// When it last came up.
        pub proven: Option<String>,
    }

    /// When an app is backed up by itself.
    pub struct BackupSchedule {
        /// How often.
        pub every: BackupEvery,
        /// At what time of the node, as in `03:30`.
        pub at: String,
        /// What is kept.
        pub keep: BackupKeep,
        /// How often one is rehearsed.
        pub rehearse: BackupRehearse,
    }

    /// How often.
    #[derive(Copy, Eq)]
    pub enum BackupEvery {
        /// Every day.
        Daily,
        /// On Sundays.
        Weekly,
    }

    /// How often a backup is rehearsed.
    #[derive(Copy, Eq)]
    pub enum BackupRehearse {
        /// Never by itself.
        Off,
        /// When the last proof is a month old.
        Monthly,
        /// Each backup.
        Each,
    }

    /// How many backups are kept: the newest ones, and the newest of each day, week and month.
    #[derive(Copy, Eq)]
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
        pub next: Option<String>,
        /// When the last was tried.
        pub tried: Option<String>,
        /// Why that failed.
        pub failure: Option<String>,
        /// Why the last rehearsal could not be made, which says nothing of the backup; it is tried again.
        pub unrehearsed: Option<String>,
    }
}
