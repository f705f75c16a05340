//! The life of a job as a pure state machine: queued, running, and one of three ends.

use std::collections::{BTreeMap, BTreeSet};

use archy_orchestrator::{BackupId, SettingsEdit};
use archy_registry::{AppId, Blake3Hash, Slug};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::types::{AppRef, Job, JobKind, JobPhase, JobState, Problem, Transfer};

/// How often a job is begun again after the daemon died under it.
pub const ATTEMPTS_MAX: u32 = 5;

/// What the owner asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// What to do.
    pub kind: JobKind,
    /// On which app.
    pub app: AppId,
    /// Its display name.
    pub name: String,
    /// For an install or update: this release, not the newest.
    pub release: Option<Blake3Hash>,
    /// How it is to be done.
    #[serde(default)]
    pub manner: Manner,
}

/// How a change is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manner {
    /// For an update: the app's data is not copied first.
    #[serde(default)]
    pub without_copy: bool,
    /// For a rollback: the app's data stays as it is.
    #[serde(default)]
    pub keep_data: bool,
    /// For other settings: these.
    #[serde(default)]
    pub edit: Option<SettingsEdit>,
    /// For a claim: which container is which, by name or id.
    #[serde(default)]
    pub chosen: BTreeMap<Slug, String>,
    /// For a migration: what may be lost.
    #[serde(default)]
    pub accept: BTreeSet<String>,
    /// For a restore or a rehearsal: of this backup.
    #[serde(default)]
    pub backup: Option<BackupId>,
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Id.
    pub id: String,
    /// What the owner asked for.
    pub wish: Wish,
    /// Whether it has ended, and how.
    pub state: JobState,
    /// Where it is.
    pub phase: JobPhase,
    /// 0–100, never goes back.
    pub percent: f64,
    /// What happens now.
    pub message: String,
    /// Bytes while it fetches, then what it fetched.
    pub transfer: Option<Transfer>,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// Whether the owner wants it to end.
    pub cancelling: bool,
    /// How often it was taken up.
    pub runs: u32,
    /// How often the daemon died under it, this run counted until it ends.
    pub attempts: u32,
    /// When it was asked for.
    pub created: Timestamp,
    /// When this changed last.
    pub updated: Timestamp,
}

/// Something that happens to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A worker takes it up (again).
    Begin,
    /// The worker is in this phase now.
    Enter(JobPhase, String),
    /// The phase has come so far (0–1).
    Progress(f64, Option<String>, Option<Transfer>),
    /// The daemon ends in good order; the job goes on at the next start.
    Suspend,
    /// The owner wants it to end.
    Cancel,
    /// It is done.
    Succeed,
    /// It failed.
    Fail(Problem),
    /// It ended as the owner wanted.
    Cancelled,
}

impl Record {
    /// A new job that waits for its turn.
    pub fn new(id: String, wish: Wish, now: Timestamp) -> Self {
        Self {
            id,
            wish,
            state: JobState::Queued,
            phase: JobPhase::Queued,
            percent: 0.0,
            message: "Waiting for its turn".to_owned(),
            transfer: None,
            problem: None,
            cancelling: false,
            runs: 0,
            attempts: 0,
            created: now,
            updated: now,
        }
    }

    /// Returns whether it has ended.
    pub fn ended(&self) -> bool {
        match self.state {
            JobState::Queued | JobState::Running => false,
            JobState::Succeeded | JobState::Failed | JobState::Cancelled => true,
        }
    }

    /// Applies a step. A job that has ended never changes again; returns whether anything changed.
    pub fn apply(&mut self, step: Step, now: Timestamp) -> bool {
        if self.ended() {
            return false;
        }
        match step {
            Step::Begin => {
                self.state = JobState::Running;
                self.runs += 1;
                self.attempts += 1;
                if self.runs > 1 {
                    self.message = "Going on after a restart".to_owned();
                }
            }
            Step::Enter(phase, message) => {
                self.phase = phase;
                self.message = message;
                self.settle_transfer();
                self.raise(0.0);
            }
            Step::Progress(fraction, message, transfer) => {
                if let Some(message) = message {
                    self.message = message;
                }
                if transfer.is_some() {
                    self.transfer = transfer;
                }
                self.raise(fraction);
            }
            Step::Suspend => self.attempts = self.attempts.saturating_sub(1),
            Step::Cancel => {
                if self.cancelling {
                    return false;
                }
                self.cancelling = true;
                self.message = "Cancelling".to_owned();
            }
            Step::Succeed => {
                self.percent = 100.0;
                self.end(JobState::Succeeded, succeeded(self.wish.kind));
            }
            Step::Fail(problem) => {
                let message = problem.message.clone();
                self.problem = Some(problem);
                self.end(JobState::Failed, &message);
            }
            Step::Cancelled => {
                self.end(JobState::Cancelled, "Cancelled; nothing was left behind");
            }
        }
        self.updated = now;
        true
    }

    /// Turns it into what the API shows.
    pub fn view(&self) -> Job {
        Job {
            id: self.id.clone(),
            kind: self.wish.kind,
            app: AppRef {
                publisher: self.wish.app.publisher.to_string(),
                slug: self.wish.app.slug.to_string(),
            },
            name: self.wish.name.clone(),
            state: self.state,
            phase: self.phase,
            percent: self.percent,
            message: self.message.clone(),
            transfer: self.transfer.clone(),
            problem: self.problem.clone(),
            cancellable: !self.ended() && !self.cancelling && cancellable(self.wish.kind),
            created: self.created.to_string(),
            updated: self.updated.to_string(),
        }
    }

    fn end(&mut self, state: JobState, message: &str) {
        self.state = state;
        self.phase = JobPhase::Done;
        self.message = message.to_owned();
        self.settle_transfer();
    }

    /// What was fetched, and from whom, stays; nothing is on its way any more.
    fn settle_transfer(&mut self) {
        if let Some(transfer) = &mut self.transfer {
            transfer.bytes_per_second = 0;
            transfer.seconds_left = None;
        }
    }

    fn raise(&mut self, fraction: f64) {
        let (before, weight) = span(self.wish.kind, self.phase);
        let fraction = if fraction.is_finite() {
            fraction.clamp(0.0, 1.0)
        } else {
            0.0
        };
        // 100 is kept for success.
        let percent = (before + weight * fraction).min(99.5);
        self.percent = self.percent.max((percent * 10.0).round() / 10.0);
    }
}

/// Whether a job of this kind can be cancelled: removing half an app helps nobody.
pub(super) fn cancellable(kind: JobKind) -> bool {
    match kind {
        JobKind::Install
        | JobKind::Start
        | JobKind::Restart
        | JobKind::Update
        | JobKind::Rollback
        | JobKind::Reinstall
        | JobKind::Configure
        | JobKind::Adopt
        | JobKind::Migrate
        | JobKind::Backup
        | JobKind::Restore
        | JobKind::Verify => true,
        JobKind::Uninstall
        | JobKind::Purge
        | JobKind::Stop
        | JobKind::Unmigrate
        | JobKind::Finish => false,
    }
}

fn succeeded(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Install => "Installed",
        JobKind::Uninstall => "Removed; its data was kept",
        JobKind::Purge => "Removed with its data",
        JobKind::Start => "Started",
        JobKind::Stop => "Stopped",
        JobKind::Restart => "Restarted",
        JobKind::Update => "Updated",
        JobKind::Rollback => "Back at the version before",
        JobKind::Reinstall => "Reinstalled; its data was kept",
        JobKind::Configure => "Settings changed",
        JobKind::Adopt => "Claimed; nothing of it was touched",
        JobKind::Migrate => "Migrated; the containers from before are kept",
        JobKind::Unmigrate => "The containers from before are back",
        JobKind::Finish => "Finished; the containers from before are gone, their volumes are not",
        JobKind::Backup => "Backed up",
        JobKind::Restore => "Restored from the backup",
        JobKind::Verify => "The backup came up: it is proven",
    }
}

/// Percent before a phase, and the percent that the phase is worth.
fn span(kind: JobKind, phase: JobPhase) -> (f64, f64) {
    let weights: &[(JobPhase, f64)] = match kind {
        JobKind::Install => &[
            (JobPhase::Checking, 5.0),
            (JobPhase::Fetching, 60.0),
            (JobPhase::Loading, 15.0),
            (JobPhase::Preparing, 3.0),
            (JobPhase::Starting, 7.0),
            (JobPhase::Waiting, 10.0),
        ],
        JobKind::Adopt => &[(JobPhase::Checking, 50.0), (JobPhase::Preparing, 50.0)],
        JobKind::Unmigrate | JobKind::Finish => {
            &[(JobPhase::Checking, 20.0), (JobPhase::Waiting, 80.0)]
        }
        JobKind::Update
        | JobKind::Rollback
        | JobKind::Reinstall
        | JobKind::Configure
        | JobKind::Migrate => &[
            (JobPhase::Checking, 5.0),
            (JobPhase::Fetching, 45.0),
            (JobPhase::Loading, 15.0),
            (JobPhase::Preparing, 3.0),
            (JobPhase::Copying, 12.0),
            (JobPhase::Stopping, 5.0),
            (JobPhase::Starting, 5.0),
            (JobPhase::Waiting, 10.0),
        ],
        JobKind::Backup => &[
            (JobPhase::Checking, 5.0),
            (JobPhase::Copying, 30.0),
            (JobPhase::Stopping, 5.0),
            (JobPhase::Waiting, 10.0),
            (JobPhase::Storing, 50.0),
        ],
        JobKind::Restore => &[
            (JobPhase::Checking, 5.0),
            (JobPhase::Fetching, 30.0),
            (JobPhase::Loading, 10.0),
            (JobPhase::Restoring, 30.0),
            (JobPhase::Preparing, 3.0),
            (JobPhase::Stopping, 5.0),
            (JobPhase::Starting, 5.0),
            (JobPhase::Waiting, 12.0),
        ],
        JobKind::Verify => &[
            (JobPhase::Checking, 10.0),
            (JobPhase::Fetching, 20.0),
            (JobPhase::Loading, 10.0),
            (JobPhase::Restoring, 30.0),
            (JobPhase::Waiting, 25.0),
            (JobPhase::Removing, 5.0),
        ],
        JobKind::Start | JobKind::Restart => &[
            (JobPhase::Stopping, 20.0),
            (JobPhase::Starting, 40.0),
            (JobPhase::Waiting, 40.0),
        ],
        JobKind::Stop => &[(JobPhase::Stopping, 100.0)],
        JobKind::Uninstall | JobKind::Purge => {
            &[(JobPhase::Stopping, 60.0), (JobPhase::Removing, 40.0)]
        }
    };
    let mut before = 0.0;
    for (known, weight) in weights {
        if *known == phase {
            return (before, *weight);
        }
        before += weight;
    }
    (0.0, 0.0)
}
