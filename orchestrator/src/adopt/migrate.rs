//! Replacing claimed containers by ours, and giving them their place back.
//!
//! The old containers are stopped and kept under another name; their data is copied, so that what they return to is
//! what they left. Until desired state says [`Stage::Migrating`] nothing was touched. From then on a killed node goes on
//! with the migration, or takes it back; every step may be done again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use archy_registry::release::Release;
use archy_registry::{Slug, Verified};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::held::gone;
use super::plan::{Old, Planned, plan};
use super::{AdoptError, Adoption, Foreign, Held, HeldBefore, Migration, MigrationPlan, Origin};
use crate::change::{ComeUpError, UpdateError};
use crate::desired::{Desired, FailedChange, Stage, Wish, holds_anything};
use crate::disk;
use crate::install::{MachineError, Phase, ProgressSink};
use crate::instance::Instance;
use crate::orchestrator::Orchestrator;
use crate::preflight::{Purpose, Refusal};
use crate::quadlet::{self, app_dir, data_dir};
use crate::runtime::podman::{Container, Inspection, RestartPolicy};
use crate::settings::Settings;
use crate::snapshot::worker::Worker;
use crate::snapshot::{Reason, Snapshot, SnapshotError};
use crate::surroundings;

/// Where data is copied to before it becomes the app's.
const INCOMING: &str = "data.incoming";
/// Room that stays free when data is copied.
const SPARE_BYTES: u64 = 64 << 20;

impl Orchestrator {
    /// Tells what migrating a claimed app would keep, change and lose; touches nothing.
    ///
    /// # Errors
    ///
    /// [`AdoptError`].
    pub async fn migration_plan(&self, app: &Slug) -> Result<MigrationPlan, AdoptError> {
        let desired = self.claimed(app)?;
        let desired = desired.ok_or_else(|| AdoptError::NotClaimed(app.clone()))?;
        let old = self.gather(&desired).await?;
        let mut volumes = BTreeMap::new();
        for container in &desired.release.manifest.containers {
            // The new image may not be here yet; the old one's directories are the best guess.
            let image = old.get(&container.name).map(|old| &old.found.image);
            let image = match image {
                Some(image) => self.inner.podman.image(image).await,
                None => Ok(None),
            };
            let image = image.map_err(MachineError::from)?;
            let declared = image
                .and_then(|image| image.config?.volumes)
                .unwrap_or_default();
            let found = surroundings::unmentioned(container, declared.keys());
            volumes.insert(container.name.clone(), found);
        }
        let manifest = &desired.release.manifest;
        let planned = plan(manifest, &volumes, &old, self.has_data(app));
        Ok(MigrationPlan {
            app: desired.app.clone(),
            version: manifest.app.version.clone(),
            items: planned.items,
        })
    }

    /// Replaces a claimed app's containers by ours, on a copy of their data; `release` is the claimed one, and its images
    /// are in podman. Ours must become healthy, or the old ones are back.
    ///
    /// # Errors
    ///
    /// [`AdoptError`]; the old containers run as they did, or the reconciler brings them there.
    pub async fn migrate(
        &self,
        release: &Verified<Release>,
        accepted: &BTreeSet<String>,
        progress: ProgressSink<'_>,
        cancel: &CancellationToken,
    ) -> Result<Instance, AdoptError> {
        let slug = &release.manifest.app.id;
        let _lock = self.lock(slug).await;
        progress(Phase::Checking);
        let desired = self.after_adoption(slug).await?;
        if desired.release_hash != release.hash() || desired.app != release.app() {
            return Err(AdoptError::NotClaimed(slug.clone()));
        }
        if Self::is_between(&desired) {
            return Ok(self.look_at(&desired).await);
        }
        if desired.stage != Stage::Adopted {
            return Err(AdoptError::NotClaimed(slug.clone()));
        }
        let target = self.prepare(desired, release, accepted, progress).await?;
        if cancel.is_cancelled() {
            return Err(AdoptError::Cancelled);
        }
        self.memory(|memory| memory.forget(slug));
        self.inner.store.save(&target).map_err(MachineError::from)?;
        // From here on the images belong to what is desired.
        let settled = self.inner.loading.settle(slug);
        settled.map_err(MachineError::io("loading"))?;
        let done = tokio::select! {
            done = self.carry_migration(&target, progress) => done,
            () = cancel.cancelled() => Err(ComeUpError::Cancelled),
        };
        match done {
            Ok(()) => {
                let done = self.commit_migration(target)?;
                progress(Phase::Done);
                tracing::info!(app = %done.app, "migrated; the old containers are kept");
                Ok(self.look_at(&done).await)
            }
            Err(why) => {
                progress(Phase::Undoing);
                Err(self.take_migration_back(target, why).await?)
            }
        }
    }

    /// Gives the place of ours back to the containers from before a migration. They have their data as it was then; what
    /// was written since becomes a snapshot.
    ///
    /// # Errors
    ///
    /// [`AdoptError`]; the reconciler finishes what could not be done now.
    pub async fn unmigrate(
        &self,
        app: &Slug,
        progress: ProgressSink<'_>,
    ) -> Result<Instance, AdoptError> {
        let _lock = self.lock(app).await;
        progress(Phase::Checking);
        let mut desired = self.after_adoption(app).await?;
        let Some(adoption) = desired.adoption.as_mut() else {
            return Err(AdoptError::NotMigrated(app.clone()));
        };
        let Some(migration) = adoption.migration.as_mut() else {
            // A kill between the last step and the job's end.
            return Ok(self.look_at(&desired).await);
        };
        for held in adoption.containers.values() {
            let is_here = self.inner.podman.inspect(&held.id).await;
            let is_here = is_here.map_err(MachineError::from)?.is_some();
            if !is_here && !held.origin.is_unit() {
                return Err(gone(held));
            }
        }
        migration.aside = aside(&desired.release, desired.release_hash);
        desired.stage = Stage::Unmigrating;
        desired.failed = None;
        self.memory(|memory| memory.forget(app));
        self.inner
            .store
            .save(&desired)
            .map_err(MachineError::from)?;
        progress(Phase::Undoing);
        let desired = self.bring_back(desired).await?;
        progress(Phase::Done);
        Ok(self.look_at(&desired).await)
    }

    /// Removes the containers from before a migration; their volumes stay, and their services stay kept from starting.
    ///
    /// # Errors
    ///
    /// [`AdoptError`].
    pub async fn finish_adoption(&self, app: &Slug) -> Result<Instance, AdoptError> {
        let _lock = self.lock(app).await;
        let mut desired = self.after_adoption(app).await?;
        let Some(adoption) = &desired.adoption else {
            // A kill between the last step and the job's end.
            return Ok(self.look_at(&desired).await);
        };
        if adoption.migration.is_none() {
            return Err(AdoptError::NotMigrated(app.clone()));
        }
        for held in adoption.containers.values() {
            let removed = self.inner.podman.remove_keeping_volumes(&held.id).await;
            removed.map_err(MachineError::from)?;
        }
        desired.adoption = None;
        self.inner
            .store
            .save(&desired)
            .map_err(MachineError::from)?;
        Ok(self.look_at(&desired).await)
    }

    /// Finishes a migration that was interrupted, or takes it back.
    pub(crate) async fn finish_migration(&self, target: Desired) -> Result<(), AdoptError> {
        tracing::info!(app = %target.app, "finishing a migration that was interrupted");
        match self.carry_migration(&target, &|_| {}).await {
            Ok(()) => Ok(self.commit_migration(target).map(drop)?),
            Err(why) => self.take_migration_back(target, why).await.map(drop),
        }
    }

    /// Finishes giving the place back to the old containers.
    pub(crate) async fn finish_undo(&self, desired: Desired) -> Result<(), AdoptError> {
        self.bring_back(desired).await.map(drop)
    }

    /// Loads an app that was claimed, after the end of a migration or undo that was interrupted.
    async fn after_adoption(&self, app: &Slug) -> Result<Desired, AdoptError> {
        match self.settled(app).await {
            Ok(desired) => Ok(desired),
            Err(UpdateError::Claimed(_)) => {
                let claimed = self.claimed(app)?;
                claimed.ok_or_else(|| AdoptError::NotClaimed(app.clone()))
            }
            Err(UpdateError::NotInstalled(_)) => Err(AdoptError::NotClaimed(app.clone())),
            Err(UpdateError::Machine(error)) => Err(error.into()),
            Err(error) => Err(AdoptError::Unsettled(Box::new(error))),
        }
    }

    /// Works out what the app is to be, checks it, and changes nothing that runs.
    async fn prepare(
        &self,
        mut desired: Desired,
        release: &Verified<Release>,
        accepted: &BTreeSet<String>,
        progress: ProgressSink<'_>,
    ) -> Result<Desired, AdoptError> {
        let slug = desired.slug().clone();
        let old = self.gather(&desired).await?;
        let ids: Vec<String> = old.values().map(|old| old.found.id.clone()).collect();
        self.preflight_among(release, Purpose::Change, None, &ids)
            .await?;
        self.check_images(release).await?;
        // Their makers may have made them anew, with other ports, since they were claimed.
        let mut adoption = desired.adoption.clone().unwrap_or_default();
        let mut foreign = BTreeMap::new();
        for (container, old) in &old {
            let seen = self.foreign(&old.found).await?;
            if let Some(held) = adoption.containers.get_mut(container) {
                held.id.clone_from(&seen.id);
                // Of one that stands still, or that somebody started beside its service, systemd does not tell the service.
                if seen.origin.is_unit() || !self.is_served(held).await? {
                    held.origin = seen.origin.clone();
                }
            }
            foreign.insert(container.clone(), seen);
        }
        let shown: BTreeMap<Slug, &Foreign> = foreign.iter().map(|(c, f)| (c.clone(), f)).collect();
        desired.settings.ports = super::claim::published(&release.manifest, &shown);
        desired.adoption = Some(adoption.clone());
        self.inner
            .store
            .save(&desired)
            .map_err(MachineError::from)?;
        let around = self
            .settings_for(release, &desired.settings)
            .await?
            .surroundings;
        let planned = plan(
            &release.manifest,
            &around.image_volumes,
            &old,
            self.has_data(&slug),
        );
        let blocked = planned.blocked(accepted);
        if !blocked.is_empty() {
            return Err(AdoptError::Blocked(blocked));
        }
        let Planned {
            ports,
            bind,
            containers,
            volumes,
            secrets,
            ..
        } = planned;
        let wished = Settings {
            ports,
            bind,
            containers,
            surroundings: around,
            ..Settings::default()
        };
        let settings = self.settings_for(release, &wished).await?;
        settings.meet(&wished).map_err(Refusal::Ports)?;
        let units = quadlet::render(release, &settings, &self.inner.facts);
        let units = units.map_err(Refusal::Render)?;
        progress(Phase::Validating);
        self.stage_units(&units).await?;
        let before = old.iter().map(|(container, old)| {
            let before = HeldBefore {
                restart: old.found.host_config.restart_policy.clone(),
                running: old.found.state.running,
            };
            (container.clone(), before)
        });
        adoption.migration = Some(Migration {
            volumes,
            secrets,
            before: before.collect(),
            ports: desired.settings.ports.clone(),
            aside: aside(&desired.release, desired.release_hash),
        });
        desired.settings = settings;
        desired.units = units.files();
        desired.adoption = Some(adoption);
        desired.failed = None;
        desired.wish = Wish::Running;
        desired.stage = Stage::Migrating;
        Ok(desired)
    }

    /// Looks at the claimed containers of an app.
    async fn gather(&self, desired: &Desired) -> Result<BTreeMap<Slug, Old>, AdoptError> {
        let adoption = desired.adoption.clone().unwrap_or_default();
        let all = self
            .inner
            .podman
            .containers()
            .await
            .map_err(MachineError::from)?;
        let held: Vec<&str> = adoption
            .containers
            .values()
            .filter_map(|held| held.find(&all))
            .map(|container| container.id.as_str())
            .collect();
        let mut gathered = BTreeMap::new();
        for (container, one) in &adoption.containers {
            let found = self.inspect_held(one).await?;
            let found = found.ok_or_else(|| gone(one))?;
            let image = self.inner.podman.image(&found.image).await;
            let image = image.map_err(MachineError::from)?;
            let networks = found.network_settings.networks.keys();
            let neighbours = networks.map(|network| {
                let others = all.iter().filter(|other| {
                    let networks = other.networks.as_deref().unwrap_or_default();
                    !held.contains(&other.id.as_str()) && networks.contains(network)
                });
                let names = others.flat_map(|other| other.names.iter().take(1).cloned());
                (network.clone(), names.collect())
            });
            let neighbours = neighbours.collect();
            let images = &desired.release;
            let new_image = images.image(container, &self.inner.facts.platform);
            let old = Old {
                is_unit: self.foreign(&found).await?.origin.is_unit(),
                image: image.and_then(|image| image.config).unwrap_or_default(),
                process_environment: self.environment(&found).await,
                in_pod: all.iter().any(|c| c.is_infra && c.pod == found.pod)
                    && !found.pod.is_empty(),
                neighbours,
                new_image: new_image
                    .map(|image| image.config.digest.to_hex())
                    .unwrap_or_default(),
                found,
            };
            gathered.insert(container.clone(), old);
        }
        Ok(gathered)
    }

    /// Reads what the first process of a container was given; podman itself does not tell secrets.
    async fn environment(&self, found: &Inspection) -> Option<Vec<(String, String)>> {
        if !found.state.running || found.state.pid < 1 {
            return None;
        }
        let file = PathBuf::from(format!("/proc/{}/environ", found.state.pid));
        let bytes = match self.inner.transient.read(&file).await {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::debug!(container = found.name, %error, "its environment cannot be read");
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let entries = text.split('\0').filter_map(|entry| entry.split_once('='));
        Some(
            entries
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn has_data(&self, app: &Slug) -> bool {
        holds_anything(&data_dir(&self.inner.facts.apps_dir, app))
    }

    fn incoming(&self, app: &Slug) -> PathBuf {
        app_dir(&self.inner.facts.apps_dir, app).join(INCOMING)
    }

    /// Makes the machine what a migrated app should be, wherever an earlier try stopped.
    async fn carry_migration(
        &self,
        target: &Desired,
        progress: ProgressSink<'_>,
    ) -> Result<(), ComeUpError> {
        let app = target.slug();
        let adoption = target.adoption.as_deref().cloned().unwrap_or_default();
        let Some(migration) = &adoption.migration else {
            return Ok(());
        };
        // podman tells some values only while the old containers run.
        self.take_secrets_over(target, &adoption, migration).await?;
        let mut copies = match self.has_data(app) {
            true => Vec::new(),
            false => self.begin_copies(app, migration, progress).await?,
        };
        progress(Phase::Stopping);
        self.block_units(app, &adoption, true).await?;
        for held in by_hand(&adoption) {
            let never = RestartPolicy::default();
            let restart = self.inner.podman.set_restart(&held.id, &never).await;
            restart.map_err(MachineError::from)?;
        }
        let stopped = self.stop_held(target, &adoption, false).await;
        stopped.map_err(|error| ComeUpError::Old(Box::new(error)))?;
        for held in adoption.containers.values() {
            // Some services make their containers anew, others keep them, and ours would destroy one of its name.
            self.put_away(held).await?;
        }
        let containers = || self.inner.podman.containers();
        let still = containers().await.map_err(MachineError::from)?;
        for worker in &mut copies {
            worker.pass(&|_| {}).await.map_err(SnapshotError::from)?;
        }
        let now = containers().await.map_err(MachineError::from)?;
        if let Some(held) = started_again(&adoption, &still, &now) {
            let name = held.name.clone();
            return Err(ComeUpError::Old(Box::new(AdoptError::StartedAgain {
                name,
            })));
        }
        if !copies.is_empty() {
            self.take_copies(app)?;
        }
        progress(Phase::Placing);
        self.make_directories(target).await?;
        self.store_secrets(target).await?;
        self.write_units(target).await?;
        self.allow(app, true)?;
        progress(Phase::Starting);
        self.start_containers(target).await?;
        Ok(())
    }

    /// Keeps an old container that stands still, if it is still there, out of the way and from starting.
    async fn put_away(&self, held: &Held) -> Result<(), MachineError> {
        if self.inner.podman.inspect(&held.id).await?.is_some() {
            let never = RestartPolicy::default();
            self.inner.podman.set_restart(&held.id, &never).await?;
            self.call(held, &held.kept_name()).await?;
        }
        Ok(())
    }

    /// Tells whether the service is there that an old container was last seen with.
    async fn is_served(&self, held: &Held) -> Result<bool, MachineError> {
        match &held.origin {
            Origin::Unit { unit, .. } => {
                Ok(self.inner.systemd.service(unit).await?.load == "loaded")
            }
            Origin::Run | Origin::Compose { .. } => Ok(false),
        }
    }

    /// Gives an old container a name, if it has another one.
    async fn call(&self, held: &Held, name: &str) -> Result<(), MachineError> {
        let found = self.inner.podman.inspect(&held.id).await?;
        if found.is_some_and(|found| found.name != name) {
            self.inner.podman.rename(&held.id, name).await?;
        }
        Ok(())
    }

    /// Makes values that the old containers have the app's secrets.
    async fn take_secrets_over(
        &self,
        target: &Desired,
        adoption: &Adoption,
        migration: &Migration,
    ) -> Result<(), MachineError> {
        for (secret, (container, variable)) in &migration.secrets {
            let held = adoption.containers.get(container);
            let found = match held {
                Some(held) => self.inspect_held(held).await?,
                None => None,
            };
            let value = match found {
                Some(found) => value_of(&found, self.environment(&found).await, variable),
                None => None,
            };
            match value {
                Some(value) => self.import_secret(target.slug(), secret, &value)?,
                // It stands still, and an earlier try took the value over; or nobody has it, and another would not fit.
                None => self.expect_secret(target.slug(), secret, variable)?,
            }
        }
        Ok(())
    }

    /// Copies the data of old containers while they run.
    async fn begin_copies(
        &self,
        app: &Slug,
        migration: &Migration,
        progress: ProgressSink<'_>,
    ) -> Result<Vec<Worker>, ComeUpError> {
        let incoming = self.incoming(app);
        let config = &self.inner.config;
        let cleared = self.inner.transient.remove(&incoming).await;
        cleared.map_err(MachineError::io(&incoming))?;
        let mut workers = Vec::new();
        let mut total_bytes = 0_u64;
        for (volume, source) in &migration.volumes {
            let to = incoming.join(volume.as_str());
            disk::create_private_dir(&to).map_err(MachineError::io(&to))?;
            let begun = Worker::begin(&self.inner.transient, &config.worker, source, &to).await;
            let (worker, measured) = begun.map_err(SnapshotError::from)?;
            let bytes = measured.extent.bytes;
            if !measured.shares_blocks {
                check_room(&incoming, total_bytes.saturating_add(bytes))?;
            }
            total_bytes += bytes;
            workers.push((worker, bytes));
        }
        let mut done = Vec::new();
        let mut before = 0_u64;
        for (mut worker, bytes) in workers {
            let copying = |copied: u64| {
                progress(Phase::Copying {
                    done_bytes: (before + copied).min(total_bytes),
                    total_bytes,
                });
            };
            copying(0);
            worker.pass(&copying).await.map_err(SnapshotError::from)?;
            before += bytes;
            done.push(worker);
        }
        Ok(done)
    }

    /// Makes what was copied the app's data, in one step.
    fn take_copies(&self, app: &Slug) -> Result<(), MachineError> {
        let live = data_dir(&self.inner.facts.apps_dir, app);
        let incoming = self.incoming(app);
        // Empty, or it would not be there.
        let _ = std::fs::remove_dir(&live);
        let parent = live.parent().unwrap_or(&live);
        std::fs::rename(&incoming, &live)
            .and_then(|()| disk::sync_dir(parent))
            .map_err(MachineError::io(&live))
    }

    fn commit_migration(&self, mut target: Desired) -> Result<Desired, MachineError> {
        target.stage = Stage::Installed;
        target.installed_at = Timestamp::now();
        self.inner.store.save(&target)?;
        Ok(target)
    }

    /// Takes a migration back that did not come up; returns what to tell the owner.
    async fn take_migration_back(
        &self,
        mut target: Desired,
        why: ComeUpError,
    ) -> Result<AdoptError, AdoptError> {
        let app = target.slug().clone();
        tracing::warn!(app = %target.app, error = &why as &dyn std::error::Error, "taking a migration back");
        target.stage = Stage::Unmigrating;
        target.failed = Some(FailedChange {
            release: target.release_hash,
            version: target.release.manifest.app.version.clone(),
            reason: crate::error_chain(&why),
            at: Timestamp::now(),
        });
        self.inner.store.save(&target).map_err(MachineError::from)?;
        self.bring_back(target).await?;
        Ok(match why {
            ComeUpError::Cancelled => AdoptError::Cancelled,
            why @ (ComeUpError::Start(_)
            | ComeUpError::Hook(_)
            | ComeUpError::Snapshot(_)
            | ComeUpError::Old(_)
            | ComeUpError::Machine(_)) => AdoptError::TakenBack {
                app,
                why: Box::new(why),
            },
        })
    }

    /// Takes ours down and brings the old containers back, wherever an earlier try stopped.
    async fn bring_back(&self, mut desired: Desired) -> Result<Desired, AdoptError> {
        let app = desired.slug().clone();
        let mut adoption = desired.adoption.as_deref().cloned().unwrap_or_default();
        let Some(migration) = adoption.migration.clone() else {
            return Ok(desired);
        };
        self.tear_down(&desired).await?;
        let incoming = self.incoming(&app);
        let cleared = self.inner.transient.remove(&incoming).await;
        cleared.map_err(MachineError::io(&incoming))?;
        let live = data_dir(&self.inner.facts.apps_dir, &app);
        let aside = self
            .inner
            .snapshots
            .set_aside(&app, &live, &migration.aside);
        aside.map_err(|error| AdoptError::Unsettled(Box::new(UpdateError::Snapshot(error))))?;
        for (container, held) in &adoption.containers {
            let here = self.inner.podman.inspect(&held.id).await;
            let here = here.map_err(MachineError::from)?.is_some();
            if let Some(before) = migration.before.get(container)
                && here
            {
                match self.inner.podman.inspect(&held.name).await {
                    Ok(Some(other)) if other.id != held.id => {
                        tracing::warn!(app = %desired.app, container = held.name, "somebody made another container of that name; the old one keeps the one it has");
                    }
                    Ok(_) => self.call(held, &held.name).await?,
                    Err(error) => return Err(MachineError::from(error).into()),
                }
                let restart = self
                    .inner
                    .podman
                    .set_restart(&held.id, &before.restart)
                    .await;
                restart.map_err(MachineError::from)?;
            }
        }
        self.block_units(&app, &adoption, false).await?;
        let ran = |container: &Slug| migration.before.get(container).is_some_and(|b| b.running);
        let running = Adoption {
            containers: adoption
                .containers
                .clone()
                .into_iter()
                .filter(|(container, _)| ran(container))
                .collect(),
            migration: None,
        };
        if let Err(error) = self.start_held(&desired, &running).await {
            tracing::warn!(app = %desired.app, error = &error as &dyn std::error::Error, "a container from before the migration does not come up again");
        }
        adoption.migration = None;
        desired.adoption = Some(Box::new(adoption));
        desired.settings = Settings {
            ports: migration.ports,
            ..Settings::default()
        };
        desired.units = BTreeMap::new();
        desired.before = None;
        desired.change = None;
        desired.stage = Stage::Adopted;
        self.inner
            .store
            .save(&desired)
            .map_err(MachineError::from)?;
        Ok(desired)
    }
}

fn by_hand(adoption: &Adoption) -> impl Iterator<Item = &Held> {
    let held = adoption.containers.values();
    held.filter(|held| match held.origin {
        Origin::Run | Origin::Compose { .. } => true,
        Origin::Unit { .. } => false,
    })
}

/// Finds an old container that something started while its data was copied, by podman's lists of before and of now; one
/// that was made anew under its name counts as well.
fn started_again<'a>(
    adoption: &'a Adoption,
    before: &[Container],
    now: &[Container],
) -> Option<&'a Held> {
    let did = |container: &Container| {
        let was = before.iter().find(|was| was.id == container.id);
        ["running", "paused", "stopping"].contains(&container.state.as_str())
            || was.is_none_or(|was| was.started_at != container.started_at)
    };
    let mut held = adoption.containers.values();
    held.find(|held| {
        now.iter()
            .any(|container| held.is(container) && did(container))
    })
}

fn aside(release: &Release, hash: archy_registry::Blake3Hash) -> Snapshot {
    let version = &release.manifest.app.version;
    Snapshot::of(hash, version, Reason::UndoneMigration, Timestamp::now())
}

fn check_room(directory: &Path, needed: u64) -> Result<(), ComeUpError> {
    let io = |error: rustix::io::Errno| MachineError::io(directory)(error.into());
    let free = rustix::fs::statvfs(directory).map_err(io)?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    if needed.saturating_add(SPARE_BYTES) <= free {
        return Ok(());
    }
    let error = SnapshotError::Room {
        needed_mib: needed.div_ceil(1 << 20),
        free_mib: free >> 20,
    };
    Err(error.into())
}

/// Finds a variable's value among what the first process was given, or else what podman tells.
fn value_of(
    found: &Inspection,
    given: Option<Vec<(String, String)>>,
    variable: &str,
) -> Option<String> {
    let told = found.config.env.iter().filter_map(|entry| {
        let (name, value) = entry.split_once('=')?;
        (value != super::plan::MASK).then(|| (name.to_owned(), value.to_owned()))
    });
    let mut values = given.into_iter().flatten().chain(told);
    values
        .find(|(name, _)| name == variable)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::quadlet::LABEL_ROOT;

    #[test]
    fn what_starts_an_old_container_again_is_noticed() {
        let adoption = Adoption {
            containers: BTreeMap::from([(
                "web".parse().unwrap(),
                Held {
                    id: "a".to_owned(),
                    name: "notes".to_owned(),
                    origin: Origin::Run,
                },
            )]),
            migration: None,
        };
        let ours = json!({LABEL_ROOT: "/x"});
        let list = |id: &str, name: &str, state: &str, started: i64, labels: &serde_json::Value| {
            let one = json!({
                "Id": id, "Names": [name], "State": state, "StartedAt": started, "Labels": labels,
            });
            vec![serde_json::from_value::<Container>(one).unwrap()]
        };
        let none = json!(null);
        let before = list("a", "notes.before-archy.a", "exited", 1, &none);
        let table = [
            (before.clone(), false),
            (Vec::new(), false),
            (list("a", "notes.before-archy.a", "running", 2, &none), true),
            (list("a", "notes.before-archy.a", "paused", 1, &none), true),
            (list("a", "notes.before-archy.a", "exited", 2, &none), true),
            (list("b", "notes", "running", 2, &none), true),
            (list("b", "notes", "running", 2, &ours), false),
            (list("b", "other", "running", 2, &none), false),
        ];
        for (now, wanted) in table {
            let found = started_again(&adoption, &before, &now).is_some();
            assert_eq!(found, wanted, "{now:?}");
        }
    }
}
