//! Putting a backup in place: on an installed app as a change that is taken back unless it comes up, and on a node without
//! the app as an install of the backup's data.

use std::path::PathBuf;

use archy_registry::release::Release;
use archy_registry::{Slug, Verified};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::contents::{self, Contents, TornError};
use super::{Backup, BackupError, SPARE_BYTES};
use crate::change::UpdateError;
use crate::desired::Exchange;
use crate::disk;
use crate::install::{InstallError, MachineError, Phase, ProgressSink};
use crate::instance::Instance;
use crate::orchestrator::Orchestrator;
use crate::preflight::Purpose;
use crate::quadlet::{app_dir, data_dir};
use crate::snapshot::{Reason, Snapshot, SnapshotError};

/// Marks an app that gets its data out of a backup before it is installed.
const MARK: &str = "restoring.json";

/// A backup was not put in place.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup could not be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The backup is of another release than the one that was checked.
    #[error("the backup is of release {0}, which was not checked")]
    OtherRelease(archy_registry::Blake3Hash),
    /// The installed app could not be changed; it is as it was.
    #[error(transparent)]
    Change(#[from] UpdateError),
    /// The app could not be installed; what was kept of it is as it was.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// What was there before could not be set aside or brought back.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Something of this machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl From<TornError> for RestoreError {
    fn from(error: TornError) -> Self {
        Self::Backup(BackupError::Torn(error))
    }
}

impl Orchestrator {
    /// Puts a backup in the place of an app's data, secrets, settings and version; `release` is the backup's, and its images
    /// are in podman. What was there before is kept as a snapshot, to which a rollback returns.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; the app is as it was, or the reconciler brings it there.
    pub async fn restore(
        &self,
        release: &Verified<Release>,
        backup: &Backup,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, RestoreError> {
        if release.hash() != backup.release || release.app() != backup.app {
            return Err(RestoreError::OtherRelease(backup.release));
        }
        let app = &backup.app.slug;
        let _lock = self.lock(app).await;
        progress(Phase::Checking);
        let installed = match self.settled(app).await {
            Ok(desired) => Some(desired),
            Err(UpdateError::NotInstalled(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let snapshot = Snapshot::of(
            backup.release,
            &backup.version,
            Reason::FromBackup,
            Timestamp::now(),
        );
        let unpacked = tokio::select! {
            unpacked = self.unpack(release, backup, &snapshot, progress) => unpacked,
            () = cancel.cancelled() => Err(BackupError::Cancelled.into()),
        };
        let contents = match unpacked {
            Ok(contents) => contents,
            Err(error) => {
                self.inner.snapshots.abandon(app, &snapshot.id).await;
                return Err(error);
            }
        };
        let restored = match installed {
            Some(desired) => self
                .change_to_backup(
                    desired,
                    release,
                    &contents.settings,
                    snapshot,
                    progress,
                    cancel,
                )
                .await
                .map_err(RestoreError::from),
            None => {
                self.restore_afresh(release, &contents, snapshot, progress, cancel)
                    .await
            }
        };
        self.drop_restored(app).await;
        restored
    }

    /// Gets a backup out of the repository, checks it, and makes a snapshot of it.
    async fn unpack(
        &self,
        release: &Release,
        backup: &Backup,
        snapshot: &Snapshot,
        progress: ProgressSink<'_>,
    ) -> Result<Contents, RestoreError> {
        let partial = self.inner.snapshots.partial(&backup.app.slug, &snapshot.id);
        let contents = self
            .fetch_backup(release, backup, &partial, progress)
            .await?;
        // The engine does not wait for the disk, and the backup may be all that there is of the data.
        disk::make_last(&partial)
            .await
            .map_err(MachineError::io(&partial))?;
        self.inner.snapshots.adopt(&backup.app.slug, snapshot)?;
        Ok(contents)
    }

    /// Writes a backup into a new directory and checks it: data and secrets are left there. `release` is the backup's.
    pub(super) async fn fetch_backup(
        &self,
        release: &Release,
        backup: &Backup,
        directory: &std::path::Path,
        progress: ProgressSink<'_>,
    ) -> Result<Contents, BackupError> {
        disk::create_private_dir(directory).map_err(MachineError::io(directory))?;
        let room = rustix::fs::statvfs(directory)
            .map_err(|error| MachineError::io(directory)(error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if backup.bytes.saturating_add(SPARE_BYTES) > free {
            return Err(BackupError::Room {
                directory: directory.to_owned(),
                needed_mib: backup.bytes.div_ceil(1 << 20),
                free_mib: free >> 20,
            });
        }
        let backups = &self.inner.backups;
        let _turn = backups.turn.lock().await;
        backups.engine.open().await?;
        let restoring = |done_bytes: u64, total_bytes: u64| {
            progress(Phase::Restoring {
                done_bytes: done_bytes.min(total_bytes),
                total_bytes,
            });
        };
        restoring(0, backup.bytes);
        backups.engine.fetch(backup, directory, &restoring).await?;
        let exclude = &release.manifest.backup.exclude;
        Ok(contents::unpack(directory, backup, exclude)?)
    }

    /// Installs an app that is not installed on the data of a backup; what was kept of it is set aside.
    async fn restore_afresh(
        &self,
        release: &Verified<Release>,
        contents: &Contents,
        put: Snapshot,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, RestoreError> {
        let app = release.manifest.app.id.clone();
        self.preflight_among(release, Purpose::Install, Some(&contents.settings), &[])
            .await?;
        self.check_images(release).await?;
        let kept = self.inner.store.load(&app).map_err(MachineError::from)?;
        let kept = kept.map_or(
            (release.hash(), release.manifest.app.version.clone()),
            |kept| (kept.release_hash, kept.release.manifest.app.version),
        );
        let aside = Snapshot::of(kept.0, &kept.1, Reason::BeforeRestore, Timestamp::now());
        let exchange = Exchange { put, aside };
        self.mark(&app, &exchange)?;
        let live = data_dir(&self.inner.facts.apps_dir, &app);
        let snapshots = &self.inner.snapshots;
        let installed = match snapshots.exchange(&app, &live, &exchange.put.id, &exchange.aside) {
            Ok(()) => self
                .install_checked(release, Some(&contents.settings), progress, cancel)
                .await
                .map_err(RestoreError::from),
            Err(error) => Err(error.into()),
        };
        match installed {
            Ok(instance) => {
                self.unmark(&app)?;
                self.drop_empty(&app, &exchange.aside).await;
                Ok(instance)
            }
            Err(error) => {
                self.take_out(&app, &exchange).await?;
                Err(error)
            }
        }
    }

    /// Brings back what an app that is not installed had before a backup was put in its place.
    async fn take_out(&self, app: &Slug, exchange: &Exchange) -> Result<(), RestoreError> {
        let live = data_dir(&self.inner.facts.apps_dir, app);
        let snapshots = &self.inner.snapshots;
        let Exchange { put, aside } = exchange;
        // A way that was gone half cannot be told from the way back.
        snapshots.exchange(app, &live, &put.id, aside)?;
        snapshots.exchange(app, &live, &aside.id, put)?;
        self.unmark(app)?;
        self.drop_restored(app).await;
        match self.inner.store.load(app).map_err(MachineError::from)? {
            Some(desired) => self.forget_if_dataless(&desired)?,
            None => {
                let directory = app_dir(&self.inner.facts.apps_dir, app);
                // Only what is empty goes.
                for name in ["data", "secrets", ""] {
                    let _ = std::fs::remove_dir(directory.join(name));
                }
            }
        }
        Ok(())
    }

    fn marker(&self, app: &Slug) -> PathBuf {
        app_dir(&self.inner.facts.apps_dir, app).join(MARK)
    }

    fn mark(&self, app: &Slug, exchange: &Exchange) -> Result<(), MachineError> {
        let path = self.marker(app);
        let text = serde_json::to_vec(exchange).expect("an exchange is plain data");
        disk::create_private_dir(&app_dir(&self.inner.facts.apps_dir, app))
            .and_then(|()| disk::replace(&path, &text, 0o600))
            .map_err(MachineError::io(&path))
    }

    fn unmark(&self, app: &Slug) -> Result<(), MachineError> {
        let path = self.marker(app);
        disk::remove_file(&path).map_err(MachineError::io(&path))
    }

    /// Removes what was set aside where there was nothing.
    async fn drop_empty(&self, app: &Slug, aside: &Snapshot) {
        let data = self.inner.snapshots.place(app, &aside.id).join("data");
        if !crate::desired::holds_anything(&data)
            && let Err(error) = self.inner.snapshots.remove(app, &aside.id).await
        {
            tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "an empty snapshot stays");
        }
        let _ = std::fs::remove_dir(self.inner.snapshots.of(app));
    }

    /// Removes what came out of a backup and was not put in place after all.
    async fn drop_restored(&self, app: &Slug) {
        let needed = match self.inner.store.load(app) {
            Ok(found) => found.map(|desired| desired.snapshots()).unwrap_or_default(),
            Err(error) => {
                tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "data out of a backup stays as long as it is not known who needs it");
                return;
            }
        };
        if let Err(error) = self.inner.snapshots.drop_restored(app, &needed).await {
            tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "data out of a backup stays");
        }
        let _ = std::fs::remove_dir(self.inner.snapshots.of(app));
    }

    /// Takes back what a killed node was restoring to apps that are not installed, and removes what was put nowhere.
    pub(crate) async fn recover_restores(&self) {
        let apps = std::fs::read_dir(&self.inner.facts.apps_dir)
            .into_iter()
            .flatten();
        let apps = apps
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<Slug>().ok());
        for app in apps {
            let Ok(text) = std::fs::read(self.marker(&app)) else {
                continue;
            };
            let _lock = self.lock(&app).await;
            let recovered = async {
                let exchange: Exchange = match serde_json::from_slice(&text) {
                    Ok(exchange) => exchange,
                    Err(error) => {
                        return Err(MachineError::io(self.marker(&app))(error.into()).into());
                    }
                };
                let found = self.inner.store.load(&app).map_err(MachineError::from)?;
                if found.is_some_and(|found| found.is_installed()) {
                    self.unmark(&app)?;
                    self.drop_empty(&app, &exchange.aside).await;
                    return Ok(());
                }
                tracing::info!(app = %app, "taking back a restore that was interrupted");
                self.take_out(&app, &exchange).await
            };
            if let Err(error) = recovered.await {
                let error: RestoreError = error;
                tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "a restore that was interrupted could not be taken back");
            }
        }
        for app in self.inner.snapshots.apps() {
            self.drop_restored(&app).await;
        }
    }
}
