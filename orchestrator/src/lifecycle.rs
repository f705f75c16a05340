//! Stop, start, restart, uninstall and purge of installed apps, and what a node does first after it was killed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use archy_registry::Slug;
use tokio_util::sync::CancellationToken;

use crate::adopt::{Act, AdoptError};
use crate::change::UpdateError;
use crate::desired::{Desired, Stage, Wish};
use crate::disk;
use crate::install::MachineError;
use crate::instance::Instance;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::quadlet::app_dir;
use crate::runtime::journal::{JournalError, LogStream, Query};
use crate::start::StartError;

/// A change of an installed app failed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No such app.
    #[error("{0} is not installed")]
    NotInstalled(Slug),
    /// Other apps need it.
    #[error("{app} is needed by {}; uninstall these first", list(.by))]
    Needed {
        /// The app.
        app: Slug,
        /// Who needs it.
        by: Vec<Slug>,
    },
    /// It did not come up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The owner changed their mind; the reconciler carries on with what was wished last.
    #[error("the change of {0} was cancelled")]
    Cancelled(Slug),
    /// Data could not be removed.
    #[error("cannot remove the data of {app} in {path}: {message}")]
    Purge {
        /// The app.
        app: Slug,
        /// Its directory.
        path: PathBuf,
        /// What podman said.
        message: String,
    },
    /// Containers that others made stand in the way, or cannot do it.
    #[error(transparent)]
    Adopted(Box<AdoptError>),
    /// A change that was interrupted could be neither finished nor taken back.
    #[error(transparent)]
    Unsettled(Box<UpdateError>),
    /// The log could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Something of this machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

fn list(apps: &[Slug]) -> String {
    let apps: Vec<&str> = apps.iter().map(Slug::as_str).collect();
    apps.join(", ")
}

/// Which lines of an app's log to read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Only this container.
    pub container: Option<Slug>,
    /// Only lines from then on.
    pub since: Option<jiff::Timestamp>,
    /// Only the last so many.
    pub lines: Option<u32>,
    /// Whether to wait for more.
    pub follow: bool,
}

/// Prefix of a directory that is being purged: no slug starts with it.
const PURGING: &str = ".purging-";

impl Orchestrator {
    /// Starts an app and waits until it is healthy.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the wish to run stays, and the reconciler keeps trying.
    pub async fn start(
        &self,
        app: &Slug,
        cancel: &CancellationToken,
    ) -> Result<Instance, ChangeError> {
        self.set_running(app, cancel, false).await
    }

    /// Stops an app; it stays stopped across reboots.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn stop(
        &self,
        app: &Slug,
        cancel: &CancellationToken,
    ) -> Result<Instance, ChangeError> {
        let _lock = self.lock(app).await;
        if let Some(claimed) = self.claimed(app)? {
            return self.operate_claimed(claimed, Act::Stop, cancel).await;
        }
        let mut desired = self.at_rest(app).await?;
        desired.wish = Wish::Stopped;
        self.inner
            .store
            .save(&desired)
            .map_err(MachineError::from)?;
        self.memory(|memory| memory.forget(app));
        self.unless_cancelled(app, cancel, self.hold_still(&desired))
            .await?;
        Ok(self.look_at(&desired).await)
    }

    /// Stops and starts an app and waits until it is healthy.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the wish to run stays, and the reconciler keeps trying.
    pub async fn restart(
        &self,
        app: &Slug,
        cancel: &CancellationToken,
    ) -> Result<Instance, ChangeError> {
        self.set_running(app, cancel, true).await
    }

    async fn set_running(
        &self,
        app: &Slug,
        cancel: &CancellationToken,
        stop_first: bool,
    ) -> Result<Instance, ChangeError> {
        let _lock = self.lock(app).await;
        if let Some(claimed) = self.claimed(app)? {
            let act = if stop_first { Act::Restart } else { Act::Start };
            return self.operate_claimed(claimed, act, cancel).await;
        }
        let mut desired = self.at_rest(app).await?;
        desired.wish = Wish::Running;
        self.inner
            .store
            .save(&desired)
            .map_err(MachineError::from)?;
        self.memory(|memory| memory.forget(app));
        let work = async {
            self.check_names(&desired).await?;
            if stop_first {
                self.stop_containers(&desired).await?;
            }
            self.repair(&desired).await?;
            self.allow(app, true)?;
            self.start_containers(&desired).await?;
            Ok::<(), ChangeError>(())
        };
        self.unless_cancelled(app, cancel, work).await?;
        Ok(self.look_at(&desired).await)
    }

    async fn operate_claimed(
        &self,
        claimed: Desired,
        act: Act,
        cancel: &CancellationToken,
    ) -> Result<Instance, ChangeError> {
        let app = claimed.slug().clone();
        tokio::select! {
            done = self.act_on_claimed(claimed, act) => {
                let desired = done.map_err(|error| ChangeError::Adopted(Box::new(error)))?;
                Ok(self.look_at(&desired).await)
            }
            () = cancel.cancelled() => Err(ChangeError::Cancelled(app)),
        }
    }

    /// Removes an app and keeps its data and secrets for a later install; refuses while other apps need it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the reconciler finishes what could not be removed now.
    pub async fn uninstall(
        &self,
        app: &Slug,
        cancel: &CancellationToken,
    ) -> Result<(), ChangeError> {
        self.refuse_if_needed(app)?;
        self.uninstall_anyway(app, cancel).await
    }

    /// Removes an app though others may need it; they stay as they are and find nobody where it was.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the reconciler finishes what could not be removed now.
    pub async fn uninstall_anyway(
        &self,
        app: &Slug,
        cancel: &CancellationToken,
    ) -> Result<(), ChangeError> {
        let _lock = self.lock(app).await;
        if let Some(claimed) = self.claimed(app)? {
            self.let_claim_go(&claimed)?;
            self.inner.bulletin.tell(app, None);
            return Ok(());
        }
        let desired = self.at_rest(app).await?;
        if Self::is_between(&desired) {
            let between = AdoptError::Between(app.clone());
            return Err(ChangeError::Adopted(Box::new(between)));
        }
        self.unless_cancelled(app, cancel, self.remove(&desired))
            .await?;
        self.inner.bulletin.tell(app, None);
        self.forget_if_dataless(&desired)?;
        Ok(())
    }

    /// Removes an app, installed or not, with its data and secrets; refuses while other apps need it. There is no way
    /// back.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn purge(&self, app: &Slug, cancel: &CancellationToken) -> Result<(), ChangeError> {
        self.refuse_if_needed(app)?;
        self.purge_anyway(app, cancel).await
    }

    /// Tells off who would take away what other apps need.
    fn refuse_if_needed(&self, app: &Slug) -> Result<(), ChangeError> {
        let by = self.dependents(app)?;
        match by.is_empty() {
            true => Ok(()),
            false => Err(ChangeError::Needed {
                app: app.clone(),
                by,
            }),
        }
    }

    /// Removes an app though others may need it, with its data and secrets. There is no way back.
    ///
    /// Data may belong to users of the app's containers, so `podman unshare rm` removes it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn purge_anyway(
        &self,
        app: &Slug,
        cancel: &CancellationToken,
    ) -> Result<(), ChangeError> {
        let _lock = self.lock(app).await;
        let desired = self.inner.store.load(app).map_err(MachineError::from)?;
        let mut desired = desired.ok_or_else(|| ChangeError::NotInstalled(app.clone()))?;
        let discarded = self.discard_held(&desired).await;
        discarded.map_err(|error| ChangeError::Adopted(Box::new(error)))?;
        if desired.stage == Stage::Adopted {
            desired.stage = Stage::Installed;
            desired.wish = Wish::Removed;
        }
        self.unless_cancelled(app, cancel, self.remove(&desired))
            .await?;
        self.inner.bulletin.tell(app, None);
        // While the app is on record: a node that is killed now goes on with all of it.
        self.delete_data(app, &self.inner.snapshots.of(app)).await?;
        let directory = app_dir(&self.inner.facts.apps_dir, app);
        let doomed = self.inner.facts.apps_dir.join(format!("{PURGING}{app}"));
        // What an earlier purge left must be out of the way.
        self.delete_data(app, &doomed).await?;
        match std::fs::rename(&directory, &doomed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(MachineError::io(&directory)(error).into());
            }
            _ => {}
        }
        self.delete_data(app, &doomed).await
    }

    /// Lists apps that are uninstalled but whose data is kept.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when the apps' directory cannot be read.
    pub fn kept_data(&self) -> Result<Vec<archy_registry::AppId>, MachineError> {
        let found = self.inner.store.load_all()?;
        let removed = found
            .desired
            .into_iter()
            .filter(|desired| desired.wish == Wish::Removed);
        Ok(removed.map(|desired| desired.app).collect())
    }

    /// Opens an app's log: what its containers wrote and what podman and systemd said about them, oldest first.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub fn logs(&self, app: &Slug, query: &LogQuery) -> Result<LogStream, ChangeError> {
        let desired = self.installed(app)?;
        let wanted = |container: &&Slug| {
            query
                .container
                .as_ref()
                .is_none_or(|only| only == *container)
        };
        let units = desired.containers().filter(wanted);
        let query = Query {
            units: units
                .map(|container| names::container_unit(app, container))
                .collect(),
            containers: match desired.stage {
                Stage::Adopted => Self::claimed_logs(&desired, query.container.as_ref()),
                Stage::Installing
                | Stage::Installed
                | Stage::Changing
                | Stage::Returning
                | Stage::Migrating
                | Stage::Unmigrating => BTreeMap::new(),
            },
            invocation: None,
            since: query.since,
            lines: query.lines,
            follow: query.follow,
        };
        if query.units.is_empty() {
            return Err(ChangeError::NotInstalled(app.clone()));
        }
        Ok(LogStream::open(&query)?)
    }

    /// Takes back installs that a killed node left unfinished, and finishes purges. Called once, before anything else;
    /// running apps are not touched.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] of the first app that could not be cleaned up; the others are done all the same.
    pub async fn recover(&self) -> Result<Vec<Slug>, ChangeError> {
        let mut undone = Vec::new();
        let mut first_error = None;
        if let Err(error) = self.inner.transient.sweep().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "work that a killed node had begun may go on"
            );
        }
        self.sweep();
        if let Err(error) = self.mend_podman().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "podman's secrets could not be looked at"
            );
        }
        let found = self.inner.store.load_all().map_err(MachineError::from)?;
        for desired in found
            .desired
            .iter()
            .filter(|d| d.stage == Stage::Installing)
        {
            let _lock = self.lock(desired.slug()).await;
            tracing::info!(app = %desired.app, "taking back an install that was interrupted");
            match self.undo(desired, None).await {
                Ok(()) => undone.push(desired.slug().clone()),
                Err(error) => {
                    first_error.get_or_insert(ChangeError::from(error));
                }
            }
        }
        for app in self.inner.loading.apps() {
            self.drop_images(&app).await;
        }
        self.inner.snapshots.sweep().await;
        self.recover_backups().await;
        for (app, directory) in self.half_purged() {
            if let Err(error) = self.delete_data(&app, &directory).await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(undone), Err)
    }

    /// Removes files that a killed node was writing.
    fn sweep(&self) {
        let config = &self.inner.config;
        for directory in ["bin", "loading"] {
            disk::sweep(&config.data_dir.join(directory));
        }
        let apps = std::fs::read_dir(&self.inner.facts.apps_dir);
        for app in apps.into_iter().flatten().flatten() {
            disk::sweep(&app.path());
            disk::sweep(&app.path().join("secrets"));
        }
    }

    fn half_purged(&self) -> Vec<(Slug, PathBuf)> {
        let entries = std::fs::read_dir(&self.inner.facts.apps_dir)
            .into_iter()
            .flatten()
            .flatten();
        let doomed = entries.filter_map(|entry| {
            let name = entry.file_name();
            let app = name.to_str()?.strip_prefix(PURGING)?.parse().ok()?;
            Some((app, entry.path()))
        });
        doomed.collect()
    }

    async fn delete_data(
        &self,
        app: &Slug,
        directory: &std::path::Path,
    ) -> Result<(), ChangeError> {
        let removed = self.inner.transient.remove(directory).await;
        removed.map_err(|error| ChangeError::Purge {
            app: app.clone(),
            path: directory.to_owned(),
            message: error.to_string(),
        })
    }

    fn installed(&self, app: &Slug) -> Result<Desired, ChangeError> {
        let desired = self.inner.store.load(app).map_err(MachineError::from)?;
        desired
            .filter(Desired::is_installed)
            .ok_or_else(|| ChangeError::NotInstalled(app.clone()))
    }

    /// Loads an installed app, after the end of a change that was interrupted.
    async fn at_rest(&self, app: &Slug) -> Result<Desired, ChangeError> {
        self.settled(app).await.map_err(|error| match error {
            UpdateError::NotInstalled(app) => ChangeError::NotInstalled(app),
            UpdateError::Machine(error) => error.into(),
            error @ (UpdateError::NoEarlier(_)
            | UpdateError::Refused(_)
            | UpdateError::ImageMissing { .. }
            | UpdateError::Snapshot(_)
            | UpdateError::Hook(_)
            | UpdateError::Claimed(_)
            | UpdateError::Adoption(_)
            | UpdateError::TakenBack { .. }
            | UpdateError::Cancelled) => ChangeError::Unsettled(Box::new(error)),
        })
    }

    async fn unless_cancelled<E: Into<ChangeError>>(
        &self,
        app: &Slug,
        cancel: &CancellationToken,
        work: impl Future<Output = Result<(), E>>,
    ) -> Result<(), ChangeError> {
        tokio::select! {
            done = work => done.map_err(Into::into),
            () = cancel.cancelled() => Err(ChangeError::Cancelled(app.clone())),
        }
    }

    async fn remove(&self, desired: &Desired) -> Result<(), MachineError> {
        self.say_goodbye(desired).await;
        let mut removed = desired.clone();
        removed.wish = Wish::Removed;
        removed.stage = Stage::Installed;
        removed.adoption = None;
        self.inner.store.save(&removed)?;
        self.memory(|memory| memory.forget(desired.slug()));
        let forgotten = self.forget_all_hooks(desired.slug());
        forgotten.map_err(MachineError::io("hooks.json"))?;
        self.tear_down(desired).await
    }
}
