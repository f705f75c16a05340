//! Jobs: what works on an app, where it is and what it fetched.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{AppRef, Problem};

wire! {
    /// Answer of everything that starts a job.
    pub struct JobRef {
        /// The job's id.
        pub job: String,
    }

    /// Parameters of `job.list`.
    #[derive(Default)]
    pub struct JobListParams {
        /// Only jobs that have not ended.
        #[serde(default)]
        pub active: bool,
        /// At most this many, newest first. Default 50.
        #[serde(default)]
        pub limit: Option<u32>,
    }

    /// Parameters of `job.show|cancel`.
    pub struct JobParams {
        /// The job's id.
        pub job: String,
    }

    /// A job.
    pub struct Job {
        /// Id.
        pub id: String,
        /// What it does.
        pub kind: JobKind,
        /// On which app.
        pub app: AppRef,
        /// Display name of the app.
        pub name: String,
        /// Whether it has ended, and how.
        pub state: JobState,
        /// Where it is.
        pub phase: JobPhase,
        /// 0–100, weighted by phase, never goes back.
        pub percent: f64,
        /// What happens now, in plain words.
        pub message: String,
        /// Bytes, while it fetches; afterwards what it fetched and from whom.
        pub transfer: Option<Transfer>,
        /// Why it failed.
        pub problem: Option<Problem>,
        /// Whether it can still be cancelled.
        pub cancellable: bool,
        /// When it began.
        pub created: String,
        /// When this changed last.
        pub updated: String,
    }

    /// What a job does.
    #[derive(Copy, Eq)]
    pub enum JobKind {
        /// Installs an app.
        Install,
        /// Removes an app, keeping its data.
        Uninstall,
        /// Removes an app and its data.
        Purge,
        /// Starts an app.
        Start,
        /// Stops an app.
        Stop,
        /// Restarts an app.
        Restart,
        /// Replaces an app's version by a newer one; taken back when that does not come up.
        Update,
        /// Returns to the version before.
        Rollback,
        /// Makes everything of an app anew but its data.
        Reinstall,
        /// Gives an app other settings.
        Configure,
        /// Makes containers that run here an app's, as they are.
        Adopt,
        /// Replaces claimed containers by the node's; taken back when these do not come up.
        Migrate,
        /// Brings the containers from before a migration back.
        Unmigrate,
        /// Removes the containers from before a migration.
        Finish,
        /// Backs an app up.
        Backup,
        /// Puts a backup in place of an app's data, settings and version.
        Restore,
        /// Starts a backup apart from everything, to see whether it comes up.
        Verify,
    }

    /// Whether a job has ended, and how.
    #[derive(Copy, Eq)]
    pub enum JobState {
        /// Waits for its turn.
        Queued,
        /// At work.
        Running,
        /// Done.
        Succeeded,
        /// Ended without success; nothing was left behind.
        Failed,
        /// The owner cancelled it; nothing was left behind.
        Cancelled,
    }

    /// Where a job is.
    #[derive(Copy, Eq)]
    pub enum JobPhase {
        /// Waits for its turn.
        Queued,
        /// Fetches and verifies the release, checks the node.
        Checking,
        /// Fetches images from peers.
        Fetching,
        /// Hands images to podman.
        Loading,
        /// Writes units.
        Preparing,
        /// Copies the app's data, so that an update can be taken back, or for a backup.
        Copying,
        /// Puts the copy into the backups.
        Storing,
        /// Gets data out of the backups.
        Restoring,
        /// Starts them.
        Starting,
        /// Waits until the app is healthy.
        Waiting,
        /// Stops containers.
        Stopping,
        /// Removes units, containers or data.
        Removing,
        /// Ended.
        Done,
    }

    /// Bytes on their way.
    pub struct Transfer {
        /// Verified bytes here.
        pub done_bytes: u64,
        /// All bytes.
        pub total_bytes: u64,
        /// Rate now.
        pub bytes_per_second: u64,
        /// Time left at that rate.
        pub seconds_left: Option<u32>,
        /// Bytes that a node fetches that has nothing.
        #[serde(default)]
        pub whole_bytes: u64,
        /// Of these, spared: they were here before, or are made of what was.
        #[serde(default)]
        pub reused_bytes: u64,
        /// Who sends.
        pub providers: Vec<ProviderShare>,
    }

    /// What one provider sent.
    pub struct ProviderShare {
        /// Endpoint id.
        pub id: String,
        /// `origin`, `lan` or `peer`.
        pub kind: String,
        /// Bytes.
        pub bytes: u64,
    }
}
