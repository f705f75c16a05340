//! Changing an installed app: another release, an earlier one, other settings, or the same anew. A change that does not
//! come up is taken back, with the units, the image and the data from before.
//!
//! Until the app has stood still and its data is copied, desired state names the old version, and a killed node goes on
//! with that. From then on it names the new one with [`Stage::Changing`], and a killed node finishes the change, or takes
//! it back.

use archy_registry::release::Release;
use archy_registry::{Slug, Verified};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::desired::{
    Before, Change, ChangeKind, DataMove, Desired, Exchange, FailedChange, Stage, Version, Wish,
};
use crate::disk;
use crate::hooks::{HookError, Moment};
use crate::install::{InstallError, MachineError, Phase, ProgressSink};
use crate::instance::Instance;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::preflight::{Purpose, Refusal};
use crate::quadlet::{self, RenderError, UnitSet, data_dir, validate};
use crate::settings::{AssignError, EditError, Settings, SettingsEdit};
use crate::snapshot::{Reason, Snapshot, SnapshotError};
use crate::start::StartError;

mod objects;

/// An installed app was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// No such app.
    #[error("{0} is not installed")]
    NotInstalled(Slug),
    /// Its containers are those that others made.
    #[error("the containers of {0} are claimed as others made them; migrate the app first")]
    Claimed(Slug),
    /// A migration that was interrupted could be neither finished nor taken back.
    #[error(transparent)]
    Adoption(Box<crate::adopt::AdoptError>),
    /// There is no earlier version to go back to.
    #[error("there is no earlier version of {0} on this node to go back to")]
    NoEarlier(Slug),
    /// This node does not run it so.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An image is not in podman.
    #[error("the image of container {container} is not on this machine")]
    ImageMissing {
        /// The container.
        container: Slug,
    },
    /// The data could not be copied; the app runs on as it was.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The installed version could not prepare for the update; it runs on.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The new version did not come up.
    #[error("version {tried} of {app} did not come up, so {version} is back, with its data: {why}")]
    TakenBack {
        /// The app.
        app: Slug,
        /// The version that was tried.
        tried: String,
        /// The version that is installed again.
        version: String,
        /// Why the new one did not come up.
        why: Box<ComeUpError>,
    },
    /// The owner changed their mind; the app is as it was.
    #[error("the change was cancelled")]
    Cancelled,
    /// Something of this machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// Why a changed app did not come up.
#[derive(Debug, thiserror::Error)]
pub enum ComeUpError {
    /// A container failed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A step after the update failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The data that it should get could not be put in place.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A container that it replaces could not be stopped.
    #[error(transparent)]
    Old(Box<crate::adopt::AdoptError>),
    /// The owner changed their mind.
    #[error("the change was cancelled")]
    Cancelled,
    /// Something of this machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl From<InstallError> for UpdateError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Refused(refusal) => Self::Refused(refusal),
            InstallError::ImageMissing { container } => Self::ImageMissing { container },
            InstallError::Machine(error) => Self::Machine(error),
            InstallError::Hook(error) => Self::Hook(error),
            InstallError::Cancelled | InstallError::Start(_) => Self::Cancelled,
        }
    }
}

impl From<RenderError> for UpdateError {
    fn from(error: RenderError) -> Self {
        Self::Refused(Refusal::Render(error))
    }
}

impl From<AssignError> for UpdateError {
    fn from(error: AssignError) -> Self {
        Self::Refused(Refusal::Ports(error))
    }
}

impl From<EditError> for UpdateError {
    fn from(error: EditError) -> Self {
        Self::Refused(Refusal::Setting(error))
    }
}

/// What becomes of an app's data when it is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Copy {
    /// It is copied first, so that all can be taken back.
    #[default]
    First,
    /// It is not copied: what the new version does to it stays, also when that version is taken back.
    None,
}

/// What an app gets when its owner goes back to the version before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RollbackData {
    /// Its data as it was when that version was replaced. What was written since is set aside as a snapshot.
    #[default]
    Earlier,
    /// Its data as it is now.
    Present,
}

/// What an app is changed to.
struct To<'a> {
    release: &'a Verified<Release>,
    settings: Settings,
    data: ToData,
    kind: ChangeKind,
}

enum ToData {
    Stays,
    IsCopied,
    /// For a snapshot's; its own becomes a snapshot for that reason.
    IsExchanged(Snapshot, Reason),
}

impl Orchestrator {
    /// Replaces an installed app's release by another, whose images are in podman, and waits until it is healthy.
    ///
    /// The data is copied first: while the app runs, then, when it stands still, what changed since. A stopped app stays
    /// stopped, so nothing tells whether its new version comes up.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; the app is as it was, or the reconciler brings it there.
    pub async fn update(
        &self,
        release: &Verified<Release>,
        copy: Copy,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, UpdateError> {
        let slug = &release.manifest.app.id;
        let _lock = self.lock(slug).await;
        progress(Phase::Checking);
        let desired = self.settled(slug).await?;
        if desired.release_hash == release.hash() {
            return Ok(self.look_at(&desired).await);
        }
        let settings = self.settings_for(release, &desired.settings).await?;
        let to = To {
            release,
            settings,
            data: match copy {
                Copy::First => ToData::IsCopied,
                Copy::None => ToData::Stays,
            },
            kind: ChangeKind::Update,
        };
        self.change(desired, to, progress, cancel).await
    }

    /// Returns to the version before the installed one: `release`, which [`Instance::before`] names.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; the app is as it was, or the reconciler brings it there.
    pub async fn roll_back(
        &self,
        release: &Verified<Release>,
        data: RollbackData,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, UpdateError> {
        let slug = &release.manifest.app.id;
        let _lock = self.lock(slug).await;
        progress(Phase::Checking);
        let desired = self.settled(slug).await?;
        let before = desired.before.as_ref();
        let before = before.filter(|before| before.version.release_hash == release.hash());
        let before = before.ok_or_else(|| UpdateError::NoEarlier(slug.clone()))?;
        let snapshot = match (&before.snapshot, data) {
            (Some(id), RollbackData::Earlier) => {
                let all = self.inner.snapshots.list(slug)?;
                let known = all.into_iter().find(|snapshot| snapshot.id == *id);
                Some(known.ok_or_else(|| SnapshotError::Missing(id.clone()))?)
            }
            (None, _) | (_, RollbackData::Present) => None,
        };
        let settings = self.settings_for(release, &before.version.settings).await?;
        let to = To {
            release,
            settings,
            data: snapshot.map_or(ToData::IsCopied, |put| {
                ToData::IsExchanged(put, Reason::BeforeRollback)
            }),
            kind: ChangeKind::Rollback,
        };
        self.change(desired, to, progress, cancel).await
    }

    /// Gives an installed app other settings; `release` is the installed one.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; the app is as it was, or the reconciler brings it there.
    pub async fn configure(
        &self,
        release: &Verified<Release>,
        edit: &SettingsEdit,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, UpdateError> {
        let slug = &release.manifest.app.id;
        let _lock = self.lock(slug).await;
        progress(Phase::Checking);
        let desired = self.settled_at(release).await?;
        let wished = desired.settings.edited(edit, &release.manifest)?;
        let settings = self.settings_for(release, &wished).await?;
        settings.meet(&wished)?;
        let to = To {
            release,
            settings,
            data: ToData::Stays,
            kind: ChangeKind::Settings,
        };
        self.change(desired, to, progress, cancel).await
    }

    /// Makes everything of an installed app anew but its data, settings and secrets; `release` is the installed one.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; the app is as it was, or the reconciler brings it there.
    pub async fn reinstall(
        &self,
        release: &Verified<Release>,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, UpdateError> {
        let slug = &release.manifest.app.id;
        let _lock = self.lock(slug).await;
        progress(Phase::Checking);
        let desired = self.settled_at(release).await?;
        let settings = self.settings_for(release, &desired.settings).await?;
        // Nothing stops for a change that is refused.
        self.check_data(&desired)?;
        self.preflight_for(release, Purpose::Change).await?;
        self.check_images(release).await?;
        self.hold_still(&desired).await?;
        self.remove_objects(&desired).await?;
        let to = To {
            release,
            settings,
            data: ToData::Stays,
            kind: ChangeKind::Settings,
        };
        self.change(desired, to, progress, cancel).await
    }

    /// Gives an installed app, whose lock is held, the data, secrets and settings that came out of a backup.
    pub(crate) async fn change_to_backup(
        &self,
        desired: Desired,
        release: &Verified<Release>,
        settings: &Settings,
        put: Snapshot,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, UpdateError> {
        let to = To {
            release,
            settings: self.settings_for(release, settings).await?,
            data: ToData::IsExchanged(put, Reason::BeforeRestore),
            kind: ChangeKind::Restore,
        };
        self.change(desired, to, progress, cancel).await
    }

    /// Lists the copies of an app's data, oldest first.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] when they cannot be read.
    pub fn snapshots(&self, app: &Slug) -> Result<Vec<Snapshot>, SnapshotError> {
        self.inner.snapshots.list(app)
    }

    /// Decides an app's ports and looks at what its units depend on; its images must be in podman.
    pub(crate) async fn settings_for(
        &self,
        release: &Verified<Release>,
        wished: &Settings,
    ) -> Result<Settings, InstallError> {
        let found = self.inner.store.load_all().map_err(MachineError::from)?;
        let mut settings = crate::ports::assign(&release.manifest, &found.desired, wished)?;
        settings.surroundings = self.look_around(release, &settings).await?;
        Ok(settings)
    }

    /// Loads an installed app, after the end of a change that was interrupted.
    pub(crate) async fn settled(&self, app: &Slug) -> Result<Desired, UpdateError> {
        let load = || -> Result<Desired, UpdateError> {
            let desired = self.inner.store.load(app).map_err(MachineError::from)?;
            let installed = desired.filter(Desired::is_installed);
            installed.ok_or_else(|| UpdateError::NotInstalled(app.clone()))
        };
        let desired = load()?;
        match desired.stage {
            Stage::Installing | Stage::Installed => return Ok(desired),
            Stage::Changing => self.finish_change(desired).await?,
            Stage::Returning => self.finish_return(desired).await?,
            Stage::Adopted => return Err(UpdateError::Claimed(app.clone())),
            Stage::Migrating => {
                let finished = self.finish_migration(desired).await;
                finished.map_err(|error| UpdateError::Adoption(Box::new(error)))?;
            }
            Stage::Unmigrating => {
                let finished = self.finish_undo(desired).await;
                finished.map_err(|error| UpdateError::Adoption(Box::new(error)))?;
            }
        }
        let desired = load()?;
        match desired.stage {
            Stage::Adopted => Err(UpdateError::Claimed(app.clone())),
            Stage::Installing
            | Stage::Installed
            | Stage::Changing
            | Stage::Returning
            | Stage::Migrating
            | Stage::Unmigrating => Ok(desired),
        }
    }

    /// Loads an installed app of exactly this release.
    async fn settled_at(&self, release: &Verified<Release>) -> Result<Desired, UpdateError> {
        let slug = &release.manifest.app.id;
        let desired = self.settled(slug).await?;
        if desired.app == release.app() && desired.release_hash == release.hash() {
            Ok(desired)
        } else {
            Err(UpdateError::NotInstalled(slug.clone()))
        }
    }

    async fn change(
        &self,
        desired: Desired,
        to: To<'_>,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, UpdateError> {
        let app = desired.slug().clone();
        let is_restore = to.kind == ChangeKind::Restore;
        if !is_restore {
            self.check_data(&desired)?;
        }
        self.preflight_among(to.release, Purpose::Change, Some(&to.settings), &[])
            .await?;
        self.check_images(to.release).await?;
        let units = quadlet::render(to.release, &to.settings, &self.inner.facts)?;
        progress(Phase::Validating);
        self.stage_units(&units).await?;
        let mut target = desired.clone();
        target.set_version(Version {
            release_hash: to.release.hash(),
            release: Release::clone(to.release),
            settings: to.settings,
            installed_at: Timestamp::now(),
            units: units.files(),
        });
        if to.kind == ChangeKind::Update {
            let moments = [Moment::PreUpdate, Moment::PostUpdate];
            self.forget_hooks(&app, &moments).await?;
            if desired.wish == Wish::Running {
                tokio::select! {
                    done = self.run_hooks(&desired, Moment::PreUpdate) => done?,
                    () = cancel.cancelled() => self.forget_hooks(&app, &moments).await?,
                }
            }
        }
        if cancel.is_cancelled() {
            return Err(UpdateError::Cancelled);
        }
        if !is_restore {
            // While the app still runs. What a restore puts in place has its directories.
            self.make_directories(&target).await?;
        }
        self.memory(|memory| memory.forget(&app));
        let change = Change {
            from: desired.version(),
            data: DataMove::Stays,
            kind: to.kind,
        };
        target.stage = Stage::Changing;
        target.failed = None;
        target.change = Some(Box::new(change));
        let moved = match to.data {
            ToData::Stays => Ok(DataMove::Stays),
            ToData::IsExchanged(put, reason) => Ok(DataMove::Exchanged(Box::new(Exchange {
                put,
                aside: snapshot_of(&desired, reason),
            }))),
            ToData::IsCopied => {
                let copy = snapshot_of(&desired, Reason::BeforeUpdate);
                let id = copy.id.clone();
                let copied = tokio::select! {
                    copied = self.copy_data(&desired, &target, copy, progress) => copied,
                    () = cancel.cancelled() => Err(UpdateError::Cancelled),
                };
                if copied.is_err() {
                    // First: a disk that is full of it would not let the app write.
                    self.inner.snapshots.abandon(&app, &id).await;
                    self.go_on(&desired).await;
                }
                copied
            }
        };
        let moved = moved?;
        if let Some(change) = &mut target.change {
            change.data = moved;
        }
        self.inner.store.save(&target).map_err(MachineError::from)?;
        // From here on the images belong to what is desired.
        let settled = self.inner.loading.settle(&app);
        settled.map_err(MachineError::io("loading"))?;
        progress(Phase::Starting);
        let done = tokio::select! {
            done = self.carry_out(&target) => done,
            () = cancel.cancelled() => Err(ComeUpError::Cancelled),
        };
        match done {
            Ok(()) => {
                let desired = self.commit(target).await?;
                progress(Phase::Done);
                tracing::info!(app = %desired.app, version = desired.release.manifest.app.version, "changed");
                Ok(self.look_at(&desired).await)
            }
            Err(why) => {
                progress(Phase::Undoing);
                Err(self.take_back(target, why).await?)
            }
        }
    }

    /// Copies an app's data while it runs, stops it, and copies what changed since. On the way the units of `target`
    /// take their place where that shortens the time for which the app stands still.
    async fn copy_data(
        &self,
        desired: &Desired,
        target: &Desired,
        copy: Snapshot,
        progress: ProgressSink<'_>,
    ) -> Result<DataMove, UpdateError> {
        let app = desired.slug();
        let live = data_dir(&self.inner.facts.apps_dir, app);
        if desired.volumes().is_empty() || !crate::desired::holds_anything(&live) {
            return Ok(DataMove::Stays);
        }
        let mut taking = self.inner.snapshots.begin(app, &live, copy).await?;
        let total_bytes = taking.bytes();
        let copying = |done_bytes: u64| {
            progress(Phase::Copying {
                done_bytes: done_bytes.min(total_bytes),
                total_bytes,
            });
        };
        copying(0);
        taking.copy(&copying).await?;
        progress(Phase::Stopping);
        // A power cut must not start anything on data of which the copy is not whole.
        self.allow(app, false)?;
        self.place_early(desired, target).await?;
        self.stop_containers(desired).await?;
        Ok(DataMove::Copied(taking.complete().await?.id))
    }

    /// Lets an app go on that was not changed after all.
    pub(crate) async fn go_on(&self, desired: &Desired) {
        if desired.wish != Wish::Running {
            return;
        }
        let going_on = async {
            self.repair(desired).await?;
            self.check_names(desired).await?;
            self.allow(desired.slug(), true)?;
            self.start_containers(desired).await?;
            Ok::<(), ComeUpError>(())
        };
        if let Err(error) = going_on.await {
            tracing::warn!(app = %desired.app, error = &error as &dyn std::error::Error, "an app that was not changed does not come up again; the reconciler goes on");
        }
    }

    /// Makes the machine what a changed app should be, wherever an earlier try stopped.
    async fn carry_out(&self, target: &Desired) -> Result<(), ComeUpError> {
        let app = target.slug();
        let Some(change) = &target.change else {
            return Ok(());
        };
        let is_update = change.kind == ChangeKind::Update;
        // A step after the update may still run in the new version's container, and is not to end with that.
        if !is_update || !self.has_begun(target, Moment::PostUpdate)? {
            let mut before = target.clone();
            before.set_version(change.from.clone());
            // Nothing starts the new version before it has its data.
            self.allow(app, false)?;
            self.place_early(&before, target).await?;
            self.stop_containers(&before).await?;
            self.move_data(&before, target, &change.data).await?;
            // Not before: what runs must not start again with values of another version. Some come with the data.
            self.store_secrets(target).await?;
            self.make_directories(target).await?;
            self.put_in_place(&before, target).await?;
        }
        if target.wish == Wish::Running {
            self.allow(app, true)?;
            self.start_containers(target).await?;
            if is_update {
                self.run_hooks(target, Moment::PostUpdate).await?;
            }
        }
        Ok(())
    }

    /// Moves the data of an app that stands still.
    async fn move_data(
        &self,
        before: &Desired,
        after: &Desired,
        data: &DataMove,
    ) -> Result<(), ComeUpError> {
        self.remove_stale_objects(before, after, data).await?;
        if let DataMove::Exchanged(exchange) = data {
            self.exchange_data(after.slug(), exchange)?;
        }
        Ok(())
    }

    fn exchange_data(&self, app: &Slug, exchange: &Exchange) -> Result<(), SnapshotError> {
        let live = data_dir(&self.inner.facts.apps_dir, app);
        let Exchange { put, aside } = exchange;
        self.inner.snapshots.exchange(app, &live, &put.id, aside)
    }

    /// Puts a change on record as done, and lets go of what nobody can return to any more.
    async fn commit(&self, target: Desired) -> Result<Desired, MachineError> {
        let mut done = target.clone();
        done.stage = Stage::Installed;
        if let Some(change) = done.change.take()
            && change.kind != ChangeKind::Settings
        {
            let snapshot = match change.data {
                DataMove::Stays => None,
                DataMove::Copied(id) => Some(id),
                DataMove::Exchanged(exchange) => Some(exchange.aside.id),
            };
            done.before = Some(Box::new(Before {
                version: change.from,
                snapshot,
            }));
        }
        self.inner.store.save(&done)?;
        self.let_go(&target, &done).await;
        Ok(done)
    }

    /// Takes a change back that did not come up; returns what to tell the owner.
    async fn take_back(
        &self,
        mut target: Desired,
        why: ComeUpError,
    ) -> Result<UpdateError, UpdateError> {
        let app = target.slug().clone();
        let Some(change) = &target.change else {
            return Ok(UpdateError::NotInstalled(app));
        };
        tracing::warn!(app = %target.app, version = target.release.manifest.app.version, error = &why as &dyn std::error::Error, "taking a change back");
        let mut before = target.clone();
        before.set_version(change.from.clone());
        self.hold_still(&target).await?;
        let back = match &change.data {
            DataMove::Stays => DataMove::Stays,
            DataMove::Copied(id) => {
                let all = self.inner.snapshots.list(&app)?;
                let copy = all.into_iter().find(|snapshot| snapshot.id == *id);
                DataMove::Exchanged(Box::new(Exchange {
                    put: copy.ok_or_else(|| SnapshotError::Missing(id.clone()))?,
                    aside: snapshot_of(&target, Reason::FailedChange),
                }))
            }
            DataMove::Exchanged(exchange) => {
                // A way that was gone half cannot be told from the way back.
                self.exchange_data(&app, exchange)?;
                DataMove::Exchanged(Box::new(Exchange {
                    put: exchange.aside.clone(),
                    aside: exchange.put.clone(),
                }))
            }
        };
        let version = change.from.release.manifest.app.version.clone();
        let tried = target.release.manifest.app.version.clone();
        target.stage = Stage::Returning;
        target.failed = Some(FailedChange {
            release: target.release_hash,
            version: tried.clone(),
            reason: crate::error_chain(&why),
            at: Timestamp::now(),
        });
        if let Some(change) = &mut target.change {
            change.data = back;
        }
        self.inner.store.save(&target).map_err(MachineError::from)?;
        self.finish_return(target).await?;
        Ok(UpdateError::TakenBack {
            app,
            tried,
            version,
            why: Box::new(why),
        })
    }

    /// Finishes a change that was interrupted, or takes it back.
    pub(crate) async fn finish_change(&self, target: Desired) -> Result<(), UpdateError> {
        tracing::info!(app = %target.app, version = target.release.manifest.app.version, "finishing a change that was interrupted");
        // Its units are not to start before they have their data.
        self.allow(target.slug(), false)?;
        self.write_units(&target).await?;
        let carried = async {
            if target.wish == Wish::Running {
                self.check_names(&target).await?;
            }
            self.carry_out(&target).await
        };
        match carried.await {
            Ok(()) => self.commit(target).await.map(drop).map_err(Into::into),
            Err(why) => self.take_back(target, why).await.map(drop),
        }
    }

    /// Finishes taking a change back. Afterwards the app is what it was, whether or not that comes up.
    pub(crate) async fn finish_return(&self, target: Desired) -> Result<(), UpdateError> {
        let Some(change) = target.change.clone() else {
            return Ok(());
        };
        let mut before = target.clone();
        before.set_version(change.from);
        before.change = None;
        before.stage = Stage::Installed;
        self.hold_still(&target).await?;
        let moved = self.move_data(&target, &before, &change.data).await;
        moved.map_err(|error| match error {
            ComeUpError::Snapshot(error) => UpdateError::Snapshot(error),
            ComeUpError::Machine(error) => UpdateError::Machine(error),
            ComeUpError::Start(_)
            | ComeUpError::Hook(_)
            | ComeUpError::Old(_)
            | ComeUpError::Cancelled => UpdateError::Cancelled,
        })?;
        // Its directories come with its data: one that is not there is gone, and not to be begun anew.
        self.write_units(&before).await?;
        self.store_secrets(&before).await?;
        self.inner.store.save(&before).map_err(MachineError::from)?;
        self.go_on(&before).await;
        self.let_go(&target, &before).await;
        Ok(())
    }

    /// Lets go of images, snapshots and podman's secrets that a change leaves without use. What stays for now goes with
    /// the next change.
    async fn let_go(&self, was: &Desired, is: &Desired) {
        let app = is.slug();
        let kept = is.podman_secrets();
        let mut given = was.podman_secrets();
        if let Some(change) = &was.change {
            let mut from = was.clone();
            from.set_version(change.from.clone());
            given.extend(from.podman_secrets());
        }
        for secret in given.iter().filter(|secret| !kept.contains(secret)) {
            let name = names::secret_named(app, secret);
            if let Err(error) = self.inner.podman.remove_secret(&name).await {
                tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "a secret that nobody uses any more stays in podman");
            }
        }
        let name = |release: &Release| -> Vec<String> {
            let images = release.images.iter();
            images
                .map(|image| names::image_name(app, &image.container, &image.manifest.digest))
                .collect()
        };
        let used: Vec<String> = is.versions().flat_map(name).collect();
        let before = was.versions().flat_map(name);
        for name in before.filter(|name| !used.contains(name)) {
            self.remove_image(app, &name).await;
        }
        let kept = self.inner.config.snapshots_kept;
        let thinned = self.inner.snapshots.thin(app, kept, &is.snapshots()).await;
        if let Err(error) = thinned {
            tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "an old copy of the app's data stays");
        }
    }

    /// Renders units into the staging directory and has podman's generator check them.
    pub(crate) async fn stage_units(&self, units: &UnitSet) -> Result<(), MachineError> {
        let staging = self.staging(&units.app);
        disk::remove_dir(&staging).map_err(MachineError::io(&staging))?;
        validate::stage(units, &staging, &self.inner.config.generator).await?;
        Ok(())
    }
}

/// Describes an app's data as it is now.
fn snapshot_of(desired: &Desired, reason: Reason) -> Snapshot {
    let version = &desired.release.manifest.app.version;
    Snapshot::of(desired.release_hash, version, reason, Timestamp::now())
}
