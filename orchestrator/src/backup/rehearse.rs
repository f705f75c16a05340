//! Proving a backup: it is started under another name, apart from everything, until it is healthy, and removed again.

use archy_registry::release::Release;
use archy_registry::{AppId, Slug, Verified};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Backup, BackupError, Proof};
use crate::desired::Desired;
use crate::install::{MachineError, Phase, ProgressSink};
use crate::orchestrator::{ConnectError, Orchestrator};
use crate::quadlet::{self, RenderError, app_dir};
use crate::shadow;
use crate::start::StartError;

/// What a shadow is for, in its name.
const PURPOSE: &str = "rehearsal";

/// A backup was not rehearsed, which says nothing about it.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// The backup could not be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The backup is of another release than the one that was checked.
    #[error("the backup is of release {0}, which was not checked")]
    OtherRelease(archy_registry::Blake3Hash),
    /// An image is not in podman.
    #[error("the image of container {container} is not on this machine")]
    ImageMissing {
        /// The container.
        container: Slug,
    },
    /// All names for it are taken.
    #[error("an app has every name under which {0} could be rehearsed")]
    Taken(Slug),
    /// Its directory could not be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The owner changed their mind.
    #[error("the rehearsal was cancelled")]
    Cancelled,
    /// This machine cannot run the release.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// This machine could not start it.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Something of this machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// Why a backup did not come up.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Read(#[from] BackupError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl Failure {
    /// Returns what the backup is to blame for, or else why that could not be found out.
    fn of_backup(self) -> Result<String, RehearseError> {
        match self {
            Self::Read(error) if !error.is_damage() => Err(error.into()),
            Self::Start(error) if !error.is_of_app() => Err(error.into()),
            Self::Render(error) => Err(error.into()),
            Self::Machine(error) => Err(error.into()),
            Self::Read(_) | Self::Start(_) => Ok(crate::error_chain(&self)),
        }
    }
}

impl Orchestrator {
    /// Starts a backup apart and tells whether it came up; the answer is kept. `release` is the backup's, and its images are in
    /// podman. The app itself, installed or not, is not touched.
    ///
    /// # Errors
    ///
    /// [`RehearseError`] when that could not be found out; nothing of the attempt is left.
    pub async fn rehearse(
        &self,
        release: &Verified<Release>,
        backup: &Backup,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Proof, RehearseError> {
        if release.hash() != backup.release || release.app() != backup.app {
            return Err(RehearseError::OtherRelease(backup.release));
        }
        progress(Phase::Checking);
        self.check_images(release)
            .await
            .map_err(|error| match error {
                crate::InstallError::ImageMissing { container } => {
                    RehearseError::ImageMissing { container }
                }
                crate::InstallError::Machine(error) => RehearseError::Machine(error),
                crate::InstallError::Refused(_)
                | crate::InstallError::Start(_)
                | crate::InstallError::Hook(_)
                | crate::InstallError::Cancelled => RehearseError::Cancelled,
            })?;
        let app = &backup.app.slug;
        let units = &self.inner.config.unit_dir;
        let is_taken = |name: &Slug| {
            app_dir(&self.inner.facts.apps_dir, name).exists() || units.join(name.as_str()).exists()
        };
        let name = shadow::name(app, PURPOSE, is_taken)
            .ok_or_else(|| RehearseError::Taken(app.clone()))?;
        // No app of that name comes meanwhile.
        let _lock = self.lock(&name).await;
        let _stage = self.inner.backups.stage.lock().await;
        let apart = self.apart(self.inner.backups.apart.clone())?;
        let began = Timestamp::now();
        let came_up = tokio::select! {
            came_up = self.raise(&apart, &name, release, backup, progress) => Some(came_up),
            () = cancel.cancelled() => None,
        };
        progress(Phase::Undoing);
        apart.take_apart(&name).await?;
        let directory = &self.inner.backups.apart;
        crate::disk::remove_dir(directory).map_err(MachineError::io(directory))?;
        let failure = match came_up {
            None => return Err(RehearseError::Cancelled),
            Some(Ok(())) => None,
            Some(Err(failure)) => Some(failure.of_backup()?),
        };
        let proof = self.keep_proof(backup, began, failure)?;
        progress(Phase::Done);
        Ok(proof)
    }

    /// Keeps what came of a rehearsal.
    pub(super) fn keep_proof(
        &self,
        backup: &Backup,
        began: Timestamp,
        failure: Option<String>,
    ) -> Result<Proof, MachineError> {
        tracing::info!(app = %backup.app, backup = %backup.id, failure, "rehearsed a backup");
        let proof = Proof::new(began, Timestamp::now(), failure);
        let kept = proof.clone();
        self.inner
            .backups
            .ledger
            .change(|known| known.prove(backup, kept))?;
        Ok(proof)
    }

    /// Starts a backup under another name and waits until it is healthy.
    async fn raise(
        &self,
        apart: &Self,
        name: &Slug,
        release: &Verified<Release>,
        backup: &Backup,
        progress: ProgressSink<'_>,
    ) -> Result<(), Failure> {
        let fetched = apart
            .inner
            .config
            .data_dir
            .join("fetched")
            .join(name.as_str());
        let contents = self
            .fetch_backup(release, backup, &fetched, progress)
            .await?;
        let place = app_dir(&apart.inner.facts.apps_dir, name);
        std::fs::rename(&fetched, &place).map_err(MachineError::io(&place))?;
        progress(Phase::Validating);
        let cast = shadow::alone(release, name);
        let settings = shadow::alone_settings(&contents.settings, &backup.app.slug);
        let app = AppId {
            publisher: release.publisher,
            slug: name.clone(),
        };
        let units = quadlet::render_as(
            &cast,
            app.clone(),
            release.hash(),
            &settings,
            &apart.inner.facts,
        )?;
        let desired = Desired::shadow(
            app,
            release.hash(),
            cast,
            settings,
            &units,
            Timestamp::now(),
        );
        apart
            .inner
            .store
            .save(&desired)
            .map_err(MachineError::from)?;
        apart.make_directories(&desired).await?;
        apart.store_secrets(&desired).await?;
        apart.stage_units(&units).await?;
        apart.place(name, &apart.staging(name))?;
        apart.allow(name, true)?;
        apart
            .inner
            .systemd
            .reload()
            .await
            .map_err(MachineError::from)?;
        progress(Phase::Starting);
        apart.start_containers(&desired).await?;
        Ok(())
    }

    /// Removes all of an instance that ran apart.
    async fn take_apart(&self, name: &Slug) -> Result<(), MachineError> {
        if let Some(desired) = self.inner.store.load(name)? {
            self.tear_down(&desired).await?;
        }
        let staging = self.staging(name);
        crate::disk::remove_dir(&staging).map_err(MachineError::io(&staging))?;
        let place = app_dir(&self.inner.facts.apps_dir, name);
        let fetched = self
            .inner
            .config
            .data_dir
            .join("fetched")
            .join(name.as_str());
        for directory in [place, fetched] {
            let removed = self.inner.transient.remove(&directory).await;
            removed.map_err(MachineError::io(&directory))?;
        }
        Ok(())
    }

    /// Removes all instances apart that a killed node left.
    pub(crate) async fn recover_apart(&self) {
        let directory = self.inner.backups.apart.clone();
        if !directory.exists() {
            return;
        }
        let recovered = async {
            let apart = self
                .apart(directory.clone())
                .map_err(|error| MachineError::io(&directory)(std::io::Error::other(error)))?;
            for desired in apart.inner.store.load_all()?.desired {
                tracing::info!(app = %desired.app, "removing a rehearsal that was interrupted");
                apart.take_apart(desired.slug()).await?;
            }
            let removed = self.inner.transient.remove(&directory).await;
            removed.map_err(MachineError::io(&directory))
        };
        if let Err(error) = recovered.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a rehearsal that was interrupted could not be removed; it is tried again at the next start"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::{EngineError, TornError};
    use crate::diagnose;

    #[test]
    fn a_backup_answers_for_itself_alone() {
        let start = |failure| {
            Failure::Start(StartError::Container {
                app: "notes".parse().unwrap(),
                container: "web".parse().unwrap(),
                failure,
                log: Vec::new(),
            })
        };
        let (doing, said) = ("read the backup", "wrong hash".to_owned());
        let engine = |error| Failure::Read(BackupError::Engine(error));
        let damaged = EngineError::Damaged {
            doing,
            said: said.clone(),
        };
        let failed = EngineError::Failed { doing, said };
        let room = BackupError::Room {
            directory: "/".into(),
            needed_mib: 2,
            free_mib: 1,
        };
        let torn = TornError::Unexpected("desired.json".to_owned());
        let disk = MachineError::io(std::path::Path::new("/"))(std::io::Error::other("full"));
        let cases = [
            (Failure::Read(torn.into()), true),
            (Failure::Read(room), false),
            (engine(damaged), true),
            (engine(failed), false),
            (start(diagnose::Failure::Exited { code: 1 }), true),
            (start(diagnose::Failure::Exited { code: 126 }), false),
            (start(diagnose::Failure::OutOfMemory), false),
            (start(diagnose::Failure::Timeout), true),
            (start(diagnose::Failure::ImageMissing), false),
            (Failure::Machine(disk), false),
        ];
        for (failure, of_backup) in cases {
            let said = failure.to_string();
            assert_eq!(failure.of_backup().is_ok(), of_backup, "{said}");
        }
    }
}
