//! Installing an app: every step is written down before it is done, and a failed install leaves nothing behind.

use std::io;
use std::path::PathBuf;

use archy_registry::release::Release;
use archy_registry::{Slug, Verified};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::adopt::foreign_files;
use crate::desired::{Desired, DesiredError, Stage, Wish, holds_anything};
use crate::devices;
use crate::disk;
use crate::hooks::{HookError, Moment};
use crate::instance::Instance;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::preflight::{self, Neighbourhood, Purpose, Refusal};
use crate::quadlet::validate::ValidateError;
use crate::quadlet::{self, LABEL_ROOT, RenderError, UnitSet, app_dir, volume_dir, wanted_file};
use crate::runtime::podman::PodmanError;
use crate::runtime::systemd::SystemdError;
use crate::secrets::SecretError;
use crate::settings::{AssignError, Settings};
use crate::start::StartError;

/// How far an install is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Checks that the app can run here.
    Checking,
    /// Writes down what should be, makes directories and secrets.
    Preparing,
    /// Renders the units and has podman's generator check them.
    Validating,
    /// Copies the app's data, so that an update can be taken back.
    Copying {
        /// Bytes copied.
        done_bytes: u64,
        /// Bytes to copy.
        total_bytes: u64,
    },
    /// Stops the version that ran.
    Stopping,
    /// Puts the units in place.
    Placing,
    /// Starts the containers and waits until they are healthy.
    Starting,
    /// Puts a copy of the app's data into the backups, while the app runs.
    Storing {
        /// Bytes read.
        done_bytes: u64,
        /// Bytes to read.
        total_bytes: u64,
    },
    /// Gets an app's data out of the backups.
    Restoring {
        /// Bytes written.
        done_bytes: u64,
        /// Bytes to write.
        total_bytes: u64,
    },
    /// Takes back what was done, because it failed.
    Undoing,
    /// Done.
    Done,
}

impl Phase {
    /// How much of an install is done when the phase begins, in percent.
    pub fn percent(self) -> u8 {
        match self {
            Self::Checking => 0,
            Self::Preparing => 10,
            Self::Validating => 20,
            Self::Copying { .. } | Self::Restoring { .. } => 25,
            Self::Stopping | Self::Placing => 30,
            Self::Starting => 40,
            Self::Storing { .. } => 60,
            Self::Undoing | Self::Done => 100,
        }
    }
}

/// Hears of every phase as it begins.
pub type ProgressSink<'a> = &'a (dyn Fn(Phase) + Send + Sync);

/// An app was not installed; nothing of the attempt is left.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// This node does not run it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An image is not in podman.
    #[error("the image of container {container} is not on this machine")]
    ImageMissing {
        /// The container.
        container: Slug,
    },
    /// Its containers did not come up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What it asks for after its first start failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The owner changed their mind.
    #[error("the install was cancelled")]
    Cancelled,
    /// Something of this machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// Something of this machine failed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Desired state.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// podman.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// systemd.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// Secrets.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Units that must not go live.
    #[error(transparent)]
    Units(#[from] ValidateError),
    /// What is installed cannot be rendered again with what it depends on now.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Data that an app wrote is not where it was.
    #[error(
        "the data of volume {volume} is gone: there is no directory {path}. Put it back (is its disk there?); or, to begin with nothing, make that directory"
    )]
    DataGone {
        /// The volume.
        volume: Slug,
        /// Where its data was.
        path: PathBuf,
    },
    /// Something starts a unit as often as it is stopped.
    #[error(
        "{0} does not stay stopped: something starts it again each time; `systemctl --user list-jobs` shows what, while it does"
    )]
    KeptUp(String),
    /// A file or directory.
    #[error("cannot write {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl MachineError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl From<RenderError> for InstallError {
    fn from(error: RenderError) -> Self {
        Self::Refused(Refusal::Render(error))
    }
}

impl From<AssignError> for InstallError {
    fn from(error: AssignError) -> Self {
        Self::Refused(Refusal::Ports(error))
    }
}

impl Orchestrator {
    /// Tells whether this node would install the release, without changing anything.
    ///
    /// # Errors
    ///
    /// [`InstallError::Refused`] says why not.
    pub async fn preflight(&self, release: &Verified<Release>) -> Result<(), InstallError> {
        self.preflight_for(release, Purpose::Install).await
    }

    /// Tells whether this node would change the installed app to the release, without changing anything.
    ///
    /// # Errors
    ///
    /// [`InstallError::Refused`] says why not.
    pub async fn preflight_change(&self, release: &Verified<Release>) -> Result<(), InstallError> {
        self.preflight_for(release, Purpose::Change).await
    }

    pub(crate) async fn preflight_for(
        &self,
        release: &Verified<Release>,
        purpose: Purpose,
    ) -> Result<(), InstallError> {
        self.preflight_among(release, purpose, None, &[]).await
    }

    /// Checks a release with `settings`, or else with those that the app has here, as if the containers with the ids
    /// `yielding` were not there.
    pub(crate) async fn preflight_among(
        &self,
        release: &Verified<Release>,
        purpose: Purpose,
        settings: Option<&Settings>,
        yielding: &[String],
    ) -> Result<(), InstallError> {
        let found = self.inner.store.load_all().map_err(MachineError::from)?;
        let damaged = found
            .damaged
            .into_iter()
            .find(|(app, _)| *app == release.manifest.app.id);
        if let Some((_, error)) = damaged {
            return Err(MachineError::from(error).into());
        }
        self.check_units(release, &found.desired)?;
        let names = names::containers(&release.manifest);
        let containers = self.inner.podman.containers_named(&names).await;
        let containers = containers.map_err(MachineError::from)?;
        let (yielding, staying): (Vec<_>, Vec<_>) = containers
            .iter()
            .partition(|container| yielding.contains(&container.id));
        let mut files = match purpose {
            Purpose::Install => foreign_files(&self.inner.config),
            // What was installed beside a file was migrated from it, or is there first.
            Purpose::Change => Vec::new(),
        };
        files.retain(|file| {
            !yielding
                .iter()
                .any(|one| one.names.contains(&file.container))
        });
        let foreign: Vec<(String, String)> = staying
            .into_iter()
            .filter(|container| container.label(LABEL_ROOT) != Some(&self.inner.facts.root))
            .flat_map(|container| {
                let owner = container.label("PODMAN_SYSTEMD_UNIT").map_or_else(
                    || "something outside archy".to_owned(),
                    |unit| format!("the service {unit}"),
                );
                let names = container.names.iter();
                names
                    .map(move |name| (name.clone(), owner.clone()))
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut known = found.desired.iter();
        let known = known.find(|known| known.app == release.app());
        let around = Neighbourhood {
            desired: &found.desired,
            settings: settings.or(known.map(|known| &known.settings)),
            containers: &foreign,
            files: &files,
        };
        preflight::check(release, &self.inner.facts, &around, purpose)?;
        devices::check(&release.manifest)?;
        self.check_room_for_images(release, &found.desired).await
    }

    /// Refuses an app whose units would take the place of those that another data directory's app has.
    fn check_units(
        &self,
        release: &Verified<Release>,
        desired: &[Desired],
    ) -> Result<(), InstallError> {
        let slug = &release.manifest.app.id;
        let path = self.inner.config.unit_dir.join(slug.as_str());
        let is_known = desired
            .iter()
            .any(|known| known.slug() == slug && known.wish != Wish::Removed);
        if is_known || !path.is_dir() {
            return Ok(());
        }
        let live = self.live_units();
        let live = live.map_err(MachineError::io(&self.inner.config.unit_dir))?;
        if live.contains_key(slug) {
            return Ok(());
        }
        let slug = slug.clone();
        Err(Refusal::UnitsTaken { slug, path }.into())
    }

    /// Installs a release whose images are in podman, starts it and waits until it is healthy.
    ///
    /// What should be is on disk before anything acts on it, so that a killed node takes back an unfinished install with
    /// [`recover`](Self::recover). Data and secrets of an earlier install of the same app are used again.
    ///
    /// # Errors
    ///
    /// [`InstallError`]; everything that this install made is gone by then, except data that the app wrote meanwhile.
    pub async fn install(
        &self,
        release: &Verified<Release>,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, InstallError> {
        let slug = release.manifest.app.id.clone();
        let _lock = self.lock(&slug).await;
        progress(Phase::Checking);
        self.preflight(release).await?;
        self.check_images(release).await?;
        self.install_checked(release, None, progress, cancel).await
    }

    /// Installs a release that was checked, under the app's lock; with `restored` settings its data and secrets came out of a
    /// backup, so nothing of what is done once after a first start is due.
    pub(crate) async fn install_checked(
        &self,
        release: &Verified<Release>,
        restored: Option<&Settings>,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, InstallError> {
        let slug = release.manifest.app.id.clone();
        let previous = self.inner.store.load(&slug).map_err(MachineError::from)?;
        let kept = previous.as_ref().map(|desired| desired.settings.clone());
        let wished = restored.cloned().or(kept).unwrap_or_default();
        let settings = self.settings_for(release, &wished).await?;
        let units = quadlet::render(release, &settings, &self.inner.facts)?;
        let mut desired = Desired::installing(release, settings, &units, Timestamp::now());
        desired.again = previous.is_some();
        if cancel.is_cancelled() {
            return Err(InstallError::Cancelled);
        }
        let hooks = restored.is_none();
        let done = self
            .bring_up(&mut desired, &units, hooks, progress, cancel)
            .await;
        match done {
            Ok(()) => {
                progress(Phase::Done);
                tracing::info!(app = %desired.app, version = desired.release.manifest.app.version, "installed");
                self.memory(|memory| memory.forget(&slug));
                Ok(self.look_at(&desired).await)
            }
            Err(error) => {
                progress(Phase::Undoing);
                if let Err(undo) = self.undo(&desired, previous.as_ref()).await {
                    tracing::error!(app = %desired.app, error = &undo as &dyn std::error::Error, "a failed install could not be taken back whole; it is tried again at the next look");
                }
                Err(error)
            }
        }
    }

    async fn bring_up(
        &self,
        desired: &mut Desired,
        units: &UnitSet,
        hooks: bool,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), InstallError> {
        progress(Phase::Preparing);
        self.inner.store.save(desired).map_err(MachineError::from)?;
        // From here on the images belong to what is desired.
        let settled = self.inner.loading.settle(desired.slug());
        settled.map_err(MachineError::io("loading"))?;
        self.make_directories(desired).await?;
        self.store_secrets(desired).await?;
        progress(Phase::Validating);
        self.stage_units(units).await?;
        if cancel.is_cancelled() {
            return Err(InstallError::Cancelled);
        }
        progress(Phase::Placing);
        self.place(desired.slug(), &self.staging(desired.slug()))?;
        self.allow(desired.slug(), true)?;
        self.inner
            .systemd
            .reload()
            .await
            .map_err(MachineError::from)?;
        progress(Phase::Starting);
        tokio::select! {
            started = self.start_containers(desired) => started?,
            () = cancel.cancelled() => return Err(InstallError::Cancelled),
        }
        if hooks {
            tokio::select! {
                done = self.run_hooks(desired, Moment::PostInstall) => done?,
                () = cancel.cancelled() => return Err(InstallError::Cancelled),
            }
        }
        desired.stage = Stage::Installed;
        desired.again = false;
        self.inner.store.save(desired).map_err(MachineError::from)?;
        Ok(())
    }

    pub(crate) async fn check_images(
        &self,
        release: &Verified<Release>,
    ) -> Result<(), InstallError> {
        match self.missing_image(release).await {
            Ok(None) => Ok(()),
            Ok(Some(container)) => Err(InstallError::ImageMissing { container }),
            Err(error) => Err(MachineError::from(error).into()),
        }
    }

    /// Finds the first container whose image podman does not have under the app's own name.
    pub(crate) async fn missing_image(
        &self,
        release: &Release,
    ) -> Result<Option<Slug>, PodmanError> {
        let platform = &self.inner.facts.platform;
        for container in &release.manifest.containers {
            let has = match release.image(&container.name, platform) {
                Some(image) => self.has_image(&release.manifest.app.id, image).await?,
                None => false,
            };
            if !has {
                return Ok(Some(container.name.clone()));
            }
        }
        Ok(None)
    }

    pub(crate) fn staging(&self, app: &Slug) -> PathBuf {
        self.inner.config.staging_dir.join(app.as_str())
    }

    /// Swaps the staged directory into Quadlet's sight.
    pub(crate) fn place(&self, app: &Slug, staging: &std::path::Path) -> Result<(), MachineError> {
        let live = self.inner.config.unit_dir.join(app.as_str());
        std::fs::create_dir_all(&self.inner.config.unit_dir)
            .and_then(|()| disk::swap_dir(staging, &live))
            .map_err(MachineError::io(&live))
    }

    /// Lets an app's units start, or keeps them from starting, also at boot.
    pub(crate) fn allow(&self, app: &Slug, allowed: bool) -> Result<(), MachineError> {
        let file = wanted_file(&self.inner.facts.apps_dir, app);
        let done = if allowed {
            disk::write_synced(&file, b"", 0o600)
        } else {
            disk::remove_for_good(&file)
        };
        done.map_err(MachineError::io(&file))
    }

    /// Takes back an unfinished install: afterwards all is as if it had not been tried, except for data written meanwhile.
    pub(crate) async fn undo(
        &self,
        desired: &Desired,
        previous: Option<&Desired>,
    ) -> Result<(), MachineError> {
        // An install that is taken back is an uninstall from here on, also when the node is killed now.
        let mut removed = previous.cloned().unwrap_or_else(|| desired.clone());
        removed.wish = Wish::Removed;
        removed.stage = Stage::Installed;
        removed.again = false;
        self.inner.store.save(&removed)?;
        self.tear_down(desired).await?;
        let forgotten = self.forget_all_hooks(desired.slug());
        forgotten.map_err(MachineError::io("hooks.json"))?;
        match desired.again || writes_elsewhere(desired) {
            true => Ok(()),
            false => self.forget_without_data(desired),
        }
    }

    /// Removes all trace of an app that wrote no data, unless it has secrets: what it wrote elsewhere may be locked with
    /// them. Only a purge removes those.
    pub(crate) fn forget_if_dataless(&self, desired: &Desired) -> Result<(), MachineError> {
        let directory = app_dir(&self.inner.facts.apps_dir, desired.slug());
        if writes_elsewhere(desired) || holds_anything(&directory.join("secrets")) {
            return Ok(());
        }
        self.forget_without_data(desired)
    }

    fn forget_without_data(&self, desired: &Desired) -> Result<(), MachineError> {
        let app = desired.slug();
        let directory = app_dir(&self.inner.facts.apps_dir, app);
        for volume in desired.volumes() {
            let data = volume_dir(&self.inner.facts.apps_dir, app, volume);
            // Fails where data is, which is what decides below.
            let _ = std::fs::remove_dir(data);
        }
        let _ = std::fs::remove_dir(directory.join("data"));
        if holds_anything(&directory.join("data")) {
            return Ok(());
        }
        disk::remove_dir(&directory.join("secrets"))
            .and_then(|()| {
                self.inner.store.forget(app).map_err(io::Error::other)?;
                disk::remove_dir(&directory)
            })
            .map_err(MachineError::io(&directory))
    }
}

/// Tells whether an app may have data with another one.
fn writes_elsewhere(desired: &Desired) -> bool {
    !desired.release.manifest.dependencies.is_empty()
}
