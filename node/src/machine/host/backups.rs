//! The orchestrator's backups behind [`Keeper`].

use std::path::PathBuf;

use archy_orchestrator::{
    Backup, BackupError, BackupId, EngineError, Keep, Papers, Phase, Proof, Refusal, RehearseError,
    RestoreError, Schedule, Shelf,
};
use archy_registry::{AppId, Slug};
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::failed::{
    detailed, not_installed, of_install, of_machine, of_refusal, of_snapshot, of_start, of_update,
};
use super::{Host, tell};
use crate::api::problem;
use crate::api::types::{JobPhase, Problem};
use crate::judge::Allowed;
use crate::machine::keeper::Keeper;
use crate::machine::{MachineError, Progress};
use crate::problem as explain;

impl Keeper for Host {
    fn shelf(&self) -> Shelf {
        self.orchestrator.shelf()
    }

    fn list(&self) -> BoxFuture<'_, Result<Shelf, Problem>> {
        Box::pin(async move {
            let listed = self.orchestrator.list_backups().await;
            listed.map_err(|error| of_backup(error).into_problem())
        })
    }

    fn find<'a>(&'a self, id: &'a BackupId) -> BoxFuture<'a, Result<Backup, Problem>> {
        Box::pin(async move {
            let found = self.orchestrator.find_backup(id).await;
            found.map_err(|error| of_backup(error).into_problem())
        })
    }

    fn papers<'a>(&'a self, backup: &'a Backup) -> BoxFuture<'a, Result<Papers, Problem>> {
        Box::pin(async move {
            let papers = self.orchestrator.backup_papers(backup).await;
            papers.map_err(|error| of_backup(error).into_problem())
        })
    }

    fn make<'a>(
        &'a self,
        app: &'a Slug,
        papers: &'a Papers,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Backup, MachineError>> {
        Box::pin(async move {
            let report = |phase| tell(progress, words_of_backup(phase));
            let made = self
                .orchestrator
                .back_up(app, papers, &report, cancel)
                .await;
            self.orchestrator.nudge();
            made.map_err(of_backup)
        })
    }

    fn restore<'a>(
        &'a self,
        release: &'a Allowed,
        backup: &'a Backup,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            let report = |phase| tell(progress, words_of_restore(phase));
            let restored = self
                .orchestrator
                .restore(release, backup, &report, cancel)
                .await;
            self.orchestrator.nudge();
            restored.map(drop).map_err(of_restore)
        })
    }

    fn verify<'a>(
        &'a self,
        release: &'a Allowed,
        backup: &'a Backup,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Proof, MachineError>> {
        Box::pin(async move {
            let words = "Checking that the repository is whole".to_owned();
            progress(JobPhase::Checking, words);
            let checked = tokio::select! {
                checked = self.orchestrator.check_backup(backup) => checked,
                () = cancel.cancelled() => return Err(MachineError::Stopped),
            };
            if let Some(damaged) = checked.map_err(of_backup)? {
                return Ok(damaged);
            }
            let report = |phase| tell(progress, words_of_rehearsal(phase));
            let rehearsed = self
                .orchestrator
                .rehearse(release, backup, &report, cancel)
                .await;
            rehearsed.map_err(of_rehearsal)
        })
    }

    fn unrehearsed(&self, backup: &Backup, reason: String) {
        if let Err(error) = self.orchestrator.note_rehearsal(&backup.app, reason) {
            tracing::warn!(app = %backup.app, %error, "could not note why there was no rehearsal");
        }
    }

    fn remove<'a>(&'a self, backup: &'a Backup) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let removed = self.orchestrator.remove_backup(backup).await;
            removed.map_err(|error| of_backup(error).into_problem())
        })
    }

    fn thin<'a>(&'a self, app: &'a AppId, keep: Keep) -> BoxFuture<'a, Result<usize, Problem>> {
        Box::pin(async move {
            let gone = self.orchestrator.thin_backups(app, keep).await;
            gone.map_err(|error| of_backup(error).into_problem())
        })
    }

    fn plan(&self, app: &AppId, schedule: Option<Schedule>) -> Result<(), Problem> {
        let planned = self.orchestrator.plan_backups(app, schedule);
        planned.map_err(|error| of_machine(&error))
    }

    fn note(&self, app: &AppId, failure: Option<String>) {
        if let Err(error) = self.orchestrator.note_backup(app, failure) {
            tracing::warn!(%app, %error, "could not note what came of a backup");
        }
    }

    fn repository(&self) -> PathBuf {
        self.orchestrator.backup_repository().to_owned()
    }

    fn password_file(&self) -> PathBuf {
        self.orchestrator.backup_password_file().to_owned()
    }
}

fn so_far(what: &str, done_bytes: u64, total_bytes: u64) -> String {
    let (done, total) = (
        explain::megabytes(done_bytes),
        explain::megabytes(total_bytes),
    );
    format!("{what}: {done} of {total}")
}

fn words_of_backup(phase: Phase) -> Option<(JobPhase, String)> {
    Some(match phase {
        Phase::Checking => (JobPhase::Checking, "Opening the repository".to_owned()),
        Phase::Copying {
            done_bytes,
            total_bytes,
        } => (
            JobPhase::Copying,
            so_far("Copying its data while it runs", done_bytes, total_bytes),
        ),
        Phase::Stopping => (
            JobPhase::Stopping,
            "Stopping it for a moment, to copy what changed".to_owned(),
        ),
        Phase::Starting => (
            JobPhase::Waiting,
            "Starting it again; waiting until it answers".to_owned(),
        ),
        Phase::Storing {
            done_bytes,
            total_bytes,
        } => (
            JobPhase::Storing,
            so_far("Storing the copy; the app runs", done_bytes, total_bytes),
        ),
        Phase::Preparing
        | Phase::Validating
        | Phase::Placing
        | Phase::Restoring { .. }
        | Phase::Undoing
        | Phase::Done => return None,
    })
}

fn words_of_restore(phase: Phase) -> Option<(JobPhase, String)> {
    match phase {
        Phase::Restoring {
            done_bytes,
            total_bytes,
        } => Some((
            JobPhase::Restoring,
            so_far("Reading the backup", done_bytes, total_bytes),
        )),
        Phase::Undoing => Some((
            JobPhase::Waiting,
            "It did not come up; bringing back what was there".to_owned(),
        )),
        Phase::Stopping => Some((JobPhase::Stopping, "Stopping it".to_owned())),
        // The backup is read first.
        Phase::Checking => None,
        other @ (Phase::Preparing
        | Phase::Validating
        | Phase::Copying { .. }
        | Phase::Placing
        | Phase::Starting
        | Phase::Storing { .. }
        | Phase::Done) => super::words_of_change(other),
    }
}

fn words_of_rehearsal(phase: Phase) -> Option<(JobPhase, String)> {
    match phase {
        Phase::Restoring {
            done_bytes,
            total_bytes,
        } => Some((
            JobPhase::Restoring,
            so_far("Reading the backup", done_bytes, total_bytes),
        )),
        Phase::Starting => Some((
            JobPhase::Waiting,
            "Starting the backup apart; waiting until it answers".to_owned(),
        )),
        Phase::Undoing => Some((
            JobPhase::Removing,
            "Removing what was started apart".to_owned(),
        )),
        Phase::Checking
        | Phase::Preparing
        | Phase::Validating
        | Phase::Copying { .. }
        | Phase::Stopping
        | Phase::Placing
        | Phase::Storing { .. }
        | Phase::Done => None,
    }
}

fn by_machine(problem: Problem) -> MachineError {
    MachineError::Failed {
        problem,
        by_app: false,
    }
}

fn of_backup(error: BackupError) -> MachineError {
    match error {
        BackupError::Cancelled => MachineError::Stopped,
        BackupError::NotInstalled(app) => by_machine(not_installed(&app)),
        BackupError::OtherRelease(_) => {
            by_machine(problem("changed", error.to_string(), "Try again"))
        }
        BackupError::Missing(_) | BackupError::Ambiguous(_) => by_machine(problem(
            "notFound",
            error.to_string(),
            "`archy backup list` shows the backups there are",
        )),
        BackupError::Room { .. } => by_machine(problem(
            "diskFull",
            error.to_string(),
            "Make room there, or remove backups with `archy backup remove`",
        )),
        BackupError::Gone(_) => by_machine(problem(
            "backupsGone",
            error.to_string(),
            "Mount it, or name another directory in archyd.toml to begin anew",
        )),
        BackupError::Engine(error) => by_machine(of_engine(&error)),
        BackupError::Torn(error) => by_machine(detailed(
            "tornBackup",
            "The backup is not whole, or not one that archy made".to_owned(),
            "Choose another backup",
            &error,
        )),
        BackupError::Snapshot(error) => by_machine(of_snapshot(&error)),
        BackupError::Unsettled(error) => of_update(*error),
        BackupError::Machine(error) => by_machine(of_machine(&error)),
    }
}

fn of_engine(error: &EngineError) -> Problem {
    let (kind, hint) = match error {
        EngineError::Absent { .. } => ("noEngine", "Install restic, then try again"),
        EngineError::Locked { .. } | EngineError::Exposed(_) => (
            "backupPassword",
            "`archy backup key` tells where the password belongs",
        ),
        EngineError::Damaged { .. } => (
            "backupDamaged",
            "Use another backup, and make a new one; look whether their disk is sound",
        ),
        EngineError::Failed { .. }
        | EngineError::Ended { .. }
        | EngineError::Io { .. }
        | EngineError::Random(_) => (
            "backupEngine",
            "Look whether the directory of the backups is there, can be written and has room",
        ),
    };
    problem(kind, explain::causes(error).join(": "), hint)
}

fn of_restore(error: RestoreError) -> MachineError {
    match error {
        RestoreError::Backup(error) => of_backup(error),
        RestoreError::OtherRelease(_) => by_machine(problem(
            "wrongApp",
            error.to_string(),
            "Choose another backup",
        )),
        RestoreError::Change(error) => of_update(error),
        RestoreError::Install(error) => of_install(error),
        RestoreError::Snapshot(error) => by_machine(of_snapshot(&error)),
        RestoreError::Machine(error) => by_machine(of_machine(&error)),
    }
}

fn of_rehearsal(error: RehearseError) -> MachineError {
    match error {
        RehearseError::Backup(error) => of_backup(error),
        RehearseError::Cancelled => MachineError::Stopped,
        RehearseError::OtherRelease(_) => by_machine(problem(
            "wrongApp",
            error.to_string(),
            "Choose another backup",
        )),
        RehearseError::ImageMissing { .. } => by_machine(detailed(
            "podman",
            "podman lost an image meanwhile".to_owned(),
            "Try again",
            &error,
        )),
        RehearseError::Taken(_) => by_machine(problem("nameTaken", error.to_string(), "")),
        RehearseError::Connect(error) => {
            by_machine(explain::internal("prepare a rehearsal", &error))
        }
        RehearseError::Render(error) => by_machine(of_refusal(&Refusal::Render(error))),
        RehearseError::Start(error) => of_start(&error),
        RehearseError::Machine(error) => by_machine(of_machine(&error)),
    }
}

impl MachineError {
    /// The problem that it is where nothing is cancelled.
    fn into_problem(self) -> Problem {
        match self {
            Self::Failed { problem, .. } => problem,
            Self::Stopped => problem("cancelled", "It was cancelled", ""),
        }
    }
}
