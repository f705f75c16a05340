//! Making a backup: the data is copied while the app runs, the app stands still for what changed since, and what was copied
//! goes into the repository while it runs again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use archy_registry::{Blake3Hash, Slug};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::contents::{self, Contents, Papers};
use super::engine::Label;
use super::{Backup, BackupError, SPARE_BYTES};
use crate::desired::{Desired, Wish};
use crate::disk;
use crate::install::{MachineError, Phase, ProgressSink};
use crate::orchestrator::Orchestrator;
use crate::quadlet::{app_dir, data_dir};
use crate::snapshot::{Reason, Snapshot, SnapshotError};

/// How often, and after what time, the remains of a backup are removed whose engine has not ended yet.
const DROPS_MAX: usize = 5;
const DROP_AGAIN: Duration = Duration::from_secs(1);

impl Orchestrator {
    /// Backs up an installed app; `papers` are those of its release. A running app stands still for a moment and runs again
    /// whatever comes of the backup; a stopped one stays stopped.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; the app is as it was, and nothing of the attempt is left.
    pub async fn back_up(
        &self,
        app: &Slug,
        papers: &Papers,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Backup, BackupError> {
        progress(Phase::Checking);
        {
            let _turn = self.inner.backups.turn.lock().await;
            self.check_place()?;
            self.inner.backups.engine.make().await?;
            self.drop_unfinished().await;
        }
        let (desired, snapshot) = {
            let _lock = self.lock(app).await;
            self.stage(app, papers, progress, cancel).await?
        };
        let stored = tokio::select! {
            stored = self.store(&desired, &snapshot, progress) => stored,
            () = cancel.cancelled() => Err(BackupError::Cancelled),
        };
        let staging = &self.inner.backups.staging;
        if let Err(error) = staging.remove(app, &snapshot.id).await {
            tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "a copy of data for a backup stays until the node starts again");
        }
        let _ = std::fs::remove_dir(staging.of(app));
        if stored.is_err() {
            let _turn = self.inner.backups.turn.lock().await;
            self.drop_unfinished().await;
        }
        let backup = stored?;
        progress(Phase::Done);
        tracing::info!(app = %backup.app, version = backup.version, backup = %backup.id, "backed up");
        Ok(backup)
    }

    /// Lets go of what backups that came to nothing left in the repository; its turn must be ours.
    async fn drop_unfinished(&self) {
        let engine = &self.inner.backups.engine;
        let mut dropped = engine.drop_unfinished().await;
        for _ in 1..DROPS_MAX {
            if dropped.is_ok() {
                return;
            }
            // The one that was given up holds the repository until it has ended.
            tokio::time::sleep(DROP_AGAIN).await;
            dropped = engine.drop_unfinished().await;
        }
        if let Err(error) = dropped {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an unfinished backup stays until the next is made"
            );
        }
    }

    /// Copies all that goes into the backup; the app's lock is held.
    async fn stage(
        &self,
        app: &Slug,
        papers: &Papers,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<(Desired, Snapshot), BackupError> {
        let desired = self.settled(app).await?;
        if Blake3Hash::of(&papers.release) != desired.release_hash {
            return Err(BackupError::OtherRelease(app.clone()));
        }
        let version = &desired.release.manifest.app.version;
        let snapshot = Snapshot::of(
            desired.release_hash,
            version,
            Reason::Backup,
            Timestamp::now(),
        );
        let id = snapshot.id.clone();
        let staged = self.copy(&desired, snapshot, progress, cancel).await;
        let staged = match staged {
            Ok(snapshot) => self
                .add_papers(&desired, &snapshot, papers)
                .map(|()| snapshot),
            Err(error) => Err(error),
        };
        match staged {
            Ok(snapshot) => Ok((desired, snapshot)),
            Err(error) => {
                let staging = &self.inner.backups.staging;
                // One of both is there at most.
                let _ = staging.remove(app, &id).await;
                staging.abandon(app, &id).await;
                Err(error)
            }
        }
    }

    async fn copy(
        &self,
        desired: &Desired,
        snapshot: Snapshot,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Snapshot, BackupError> {
        let app = desired.slug();
        self.check_data(desired)?;
        let live = data_dir(&self.inner.facts.apps_dir, app);
        disk::create_private_dir(&live).map_err(MachineError::io(&live))?;
        let staging = &self.inner.backups.staging;
        let mut taking = staging
            .begin(app, &live, snapshot)
            .await
            .map_err(|error| self.of_copy(error))?;
        self.check_room(desired, taking.bytes(), taking.room_bytes())?;
        let total_bytes = taking.bytes();
        let copying = |done_bytes: u64| {
            progress(Phase::Copying {
                done_bytes: done_bytes.min(total_bytes),
                total_bytes,
            });
        };
        copying(0);
        tokio::select! {
            copied = taking.copy(&copying) => copied.map_err(|error| self.of_copy(error))?,
            () = cancel.cancelled() => return Err(BackupError::Cancelled),
        }
        if desired.wish != Wish::Running {
            return taking.complete().await.map_err(|error| self.of_copy(error));
        }
        progress(Phase::Stopping);
        let copied = async {
            self.hold_still(desired).await?;
            taking.complete().await.map_err(|error| self.of_copy(error))
        };
        let copied = copied.await;
        progress(Phase::Starting);
        self.go_on(desired).await;
        copied
    }

    fn add_papers(
        &self,
        desired: &Desired,
        snapshot: &Snapshot,
        papers: &Papers,
    ) -> Result<(), BackupError> {
        let app = desired.slug();
        let contents = Contents::new(
            desired.app.clone(),
            desired.release_hash,
            snapshot.version.clone(),
            desired.settings.clone(),
            snapshot.taken,
            papers.keys.is_some(),
        );
        let place = self.inner.backups.staging.place(app, &snapshot.id);
        let secrets = app_dir(&self.inner.facts.apps_dir, app).join(contents::SECRETS);
        let names: Vec<&Slug> = desired.secrets().collect();
        // The copy's own description says nothing that this does not.
        disk::remove_file(&place.join("snapshot.json"))
            .and_then(|()| contents::write(&place, &contents, papers, &secrets, &names))
            .map_err(MachineError::io(&place))?;
        Ok(())
    }

    /// Puts what was staged into the repository.
    async fn store(
        &self,
        desired: &Desired,
        snapshot: &Snapshot,
        progress: ProgressSink<'_>,
    ) -> Result<Backup, BackupError> {
        let backups = &self.inner.backups;
        let _turn = backups.turn.lock().await;
        let place = backups.staging.place(desired.slug(), &snapshot.id);
        let label = Label {
            app: &desired.app,
            release: desired.release_hash,
            version: &snapshot.version,
            taken: snapshot.taken,
            bytes: snapshot.bytes.unwrap_or(0),
        };
        let exclude = &desired.release.manifest.backup.exclude;
        let storing = |done_bytes: u64, total_bytes: u64| {
            progress(Phase::Storing {
                done_bytes: done_bytes.min(total_bytes),
                total_bytes,
            });
        };
        storing(0, label.bytes);
        let stored = backups
            .engine
            .store(&place, &label, exclude, &storing)
            .await?;
        self.list_again().await?;
        Ok(stored)
    }

    /// Refuses a backup that would fill the disk. How much of it is in the repository already shows only later: what the data
    /// has grown by since the backup before is not.
    fn check_room(
        &self,
        desired: &Desired,
        bytes: u64,
        copy_bytes: u64,
    ) -> Result<(), BackupError> {
        let directory = self.backup_repository();
        let known = self.inner.backups.ledger.read().backups;
        let of_app = known.iter().filter(|backup| backup.app == desired.app);
        let stored = of_app.max_by_key(|backup| backup.taken);
        let new = bytes.saturating_sub(stored.map_or(0, |backup| backup.bytes));
        let same_disk = device(directory) == device(&self.inner.config.data_dir);
        let copy_bytes = if same_disk { copy_bytes } else { 0 };
        let needed = copy_bytes.saturating_add(new);
        let room = rustix::fs::statvfs(directory)
            .map_err(|error| MachineError::io(directory)(error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if needed.saturating_add(SPARE_BYTES) <= free {
            return Ok(());
        }
        Err(BackupError::Room {
            directory: directory.to_owned(),
            needed_mib: needed.div_ceil(1 << 20),
            free_mib: free >> 20,
        })
    }

    fn of_copy(&self, error: SnapshotError) -> BackupError {
        match error {
            SnapshotError::Room {
                needed_mib,
                free_mib,
            } => BackupError::Room {
                directory: self.inner.config.data_dir.clone(),
                needed_mib,
                free_mib,
            },
            error @ (SnapshotError::Copy(_)
            | SnapshotError::Missing(_)
            | SnapshotError::Io { .. }) => BackupError::Snapshot(error),
        }
    }
}

fn device(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|found| found.dev())
}
