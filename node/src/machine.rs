//! What a node needs of the machine that it runs apps on; podman and systemd do it in `machine::host`.

mod host;
mod keeper;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use archy_orchestrator::{
    Copy, Earlier, FailedChange, Foreign, RollbackData, Settings, SettingsEdit,
};
use archy_registry::manifest::Manifest;
use archy_registry::release::{Image, Release};
use archy_registry::{AppId, Blake3Hash, Slug, Verified};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::types::{
    AdoptionInfo, ContainerInfo, InstanceState, InterfaceInfo, JobPhase, KeptSetting, LogLine,
    MigrationPlan, Problem, Right, RightsDiff,
};
use crate::judge::Allowed;

pub use host::{Host, HostError};
pub(crate) use host::{container as foreign_container, interface_kind};
pub use keeper::Keeper;

/// Takes a phase and words for a person.
pub type Progress<'a> = &'a (dyn Fn(JobPhase, String) + Send + Sync);

/// Why the machine did not do what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum MachineError {
    /// It was stopped; nothing half-done was left.
    Stopped,
    /// It failed, and this is why.
    Failed {
        /// For a person.
        problem: Problem,
        /// Whether the app itself is at fault, e.g. because it never becomes healthy.
        by_app: bool,
    },
}

impl MachineError {
    /// Returns what a person can read besides the message, and whether the app itself is at fault.
    pub(crate) fn details(self) -> (Vec<String>, bool) {
        match self {
            Self::Stopped => (Vec::new(), false),
            Self::Failed { problem, by_app } => (problem.details, by_app),
        }
    }
}

/// What another release of an installed app would change.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// What the app may do.
    pub rights: RightsDiff,
    /// What its owner set, which stays.
    pub kept: Vec<KeptSetting>,
    /// What else its owner should know, in sentences.
    pub notices: Vec<String>,
}

/// An installed app.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// The app.
    pub app: AppId,
    /// Its version.
    pub version: String,
    /// The hash of its release.
    pub release: Blake3Hash,
    /// How it is.
    pub state: InstanceState,
    /// Why it is not well.
    pub problem: Option<Problem>,
    /// Its containers.
    pub containers: Vec<ContainerInfo>,
    /// What can be opened.
    pub interfaces: Vec<InterfaceInfo>,
    /// When it was installed.
    pub installed: Timestamp,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Where its ports are, and what the owner set.
    pub settings: Settings,
    /// The version before.
    pub before: Option<Earlier>,
    /// The last change, if it was taken back.
    pub failed: Option<FailedChange>,
    /// The containers that others made, until they are let go of.
    pub adoption: Option<AdoptionInfo>,
}

/// A change of an installed app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another release takes its place.
    Update {
        /// Its data is copied first.
        copy: Copy,
    },
    /// The version before takes its place.
    Rollback {
        /// Which data it gets.
        data: RollbackData,
    },
    /// The same release with other settings.
    Configure(SettingsEdit),
    /// The same release, made anew.
    Reinstall,
    /// Our containers instead of claimed ones.
    Migrate {
        /// What may be lost.
        accept: BTreeSet<String>,
    },
}

/// What the machine runs, and how old that knowledge is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// When it was last seen.
    pub at: Option<Timestamp>,
    /// By slug.
    pub apps: Vec<Installed>,
    /// Why it cannot be seen now.
    pub stale: Option<String>,
    /// Apps of which what they should be cannot be read, with the reason; nothing is done to them.
    pub damaged: Vec<(Slug, String)>,
}

impl Observed {
    /// Says why not all is known of all apps; `None` when it is.
    pub fn trouble(&self) -> Option<String> {
        let damaged = self.damaged.iter();
        let damaged = damaged.map(|(app, why)| format!("nothing is done to {app}: {why}"));
        self.stale
            .clone()
            .into_iter()
            .chain(damaged)
            .reduce(|a, b| format!("{a}; {b}"))
    }

    /// Finds an app by its slug.
    pub fn find(&self, slug: &Slug) -> Option<&Installed> {
        self.apps.iter().find(|app| app.app.slug == *slug)
    }
}

/// Runs apps.
pub trait Machine: Send + Sync + 'static {
    /// Refuses a release that cannot or may not run here, before anything is fetched or changed.
    fn preflight<'a>(
        &'a self,
        release: &'a Verified<Release>,
    ) -> BoxFuture<'a, Result<(), Problem>>;

    /// Brings a container's image in from the registry at `reference`; does nothing when it is here.
    fn load_image<'a>(
        &'a self,
        app: &'a Slug,
        image: &'a Image,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<(), Problem>>;

    /// Writes units and starts them until the app is healthy. Leaves nothing behind when it does not succeed.
    fn install<'a>(
        &'a self,
        release: &'a Allowed,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Refuses a release that cannot or may not take the place of the installed one.
    fn preflight_change<'a>(
        &'a self,
        release: &'a Verified<Release>,
    ) -> BoxFuture<'a, Result<(), Problem>>;

    /// Changes an installed app and waits until it is healthy; otherwise it is what it was. `release` is the one that is
    /// to be installed afterwards. May be dropped at any time: the next start of the node finishes it.
    fn change<'a>(
        &'a self,
        release: &'a Allowed,
        change: &'a Change,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Lists containers that are neither ours nor claimed.
    fn adoptable<'a>(&'a self) -> BoxFuture<'a, Result<Vec<Foreign>, Problem>>;

    /// Makes containers that run here an app's, as they are.
    fn claim<'a>(
        &'a self,
        release: &'a Allowed,
        chosen: &'a BTreeMap<Slug, String>,
    ) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Brings back the containers from before a migration, which the owner may whatever became of the publisher. May be
    /// dropped at any time: the next start of the node finishes it.
    fn unmigrate<'a>(
        &'a self,
        app: &'a Slug,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Removes the containers from before a migration.
    fn finish_adoption<'a>(&'a self, app: &'a Slug) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Tells what migrating a claimed app would keep, change and lose.
    fn migration<'a>(&'a self, app: &'a Slug) -> BoxFuture<'a, Result<MigrationPlan, Problem>>;

    /// Starts an app.
    fn start<'a>(
        &'a self,
        app: &'a Slug,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Stops an app.
    fn stop<'a>(
        &'a self,
        app: &'a Slug,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Stops and starts an app.
    fn restart<'a>(
        &'a self,
        app: &'a Slug,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Removes an app, also one that others need; its data only with `purge`.
    fn remove<'a>(
        &'a self,
        app: &'a Slug,
        purge: bool,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Removes the images that [`load_image`](Self::load_image) brought in for an install that was not done, also those
    /// that came only in part. An installed app's images stay.
    fn drop_images<'a>(&'a self, app: &'a Slug) -> BoxFuture<'a, ()>;

    /// Returns what keeps the apps' backups, if anything does.
    fn keeper(&self) -> Option<&dyn Keeper> {
        None
    }

    /// Lists the installed apps that need an app.
    fn dependents(&self, _app: &Slug) -> Vec<Slug> {
        Vec::new()
    }

    /// Lists apps that are not installed but whose data is kept.
    fn kept(&self) -> Vec<AppId>;

    /// Says what the machine runs, as it changes.
    fn observed(&self) -> watch::Receiver<Observed>;

    /// Reads an app's log, oldest line first.
    fn logs<'a>(
        &'a self,
        app: &'a Slug,
        container: Option<&'a Slug>,
        lines: u32,
    ) -> BoxFuture<'a, Result<Vec<LogLine>, Problem>>;

    /// Says in plain words what a manifest's app may do.
    fn rights(&self, manifest: &Manifest) -> Vec<Right>;

    /// Says what a release would change about the installed app, read off the units of both; `None` when the app is not
    /// installed.
    fn compare(&self, release: &Verified<Release>) -> Result<Option<Compared>, Problem>;

    /// Returns free bytes where apps' data goes.
    fn disk_free_bytes(&self) -> Option<u64>;
}
