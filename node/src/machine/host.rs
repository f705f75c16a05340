//! This machine: the orchestrator behind [`Machine`], its words turned into those of the API.

mod adopt;
mod backups;
mod failed;
mod logs;
mod observed;
mod rights;

use std::collections::BTreeMap;
use std::sync::Arc;

use archy_orchestrator as orchestrator;
use archy_orchestrator::{ChangeError, Orchestrator};
use archy_registry::manifest::Manifest;
use archy_registry::release::{Image, Release};
use archy_registry::{AppId, Slug, Verified};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Change, Compared, Keeper, Machine, MachineError, Observed, Progress};
use crate::api::problem;
use crate::api::types::{JobPhase, LogLine, MigrationPlan, Problem, Right};
use crate::judge::Allowed;
use crate::problem as explain;
pub(crate) use adopt::container;
use failed::{of_change, of_install, of_update};
pub(crate) use observed::interface_kind;
use observed::translate;

/// The machine cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its directories cannot be written.
    #[error(transparent)]
    Connect(#[from] orchestrator::ConnectError),
}

/// This machine.
pub struct Host {
    orchestrator: Orchestrator,
    observed: watch::Sender<Observed>,
}

impl Host {
    /// Prepares the machine's directories; systemd and podman are reached on first use.
    ///
    /// # Errors
    ///
    /// [`HostError`].
    pub fn connect(config: orchestrator::Config) -> Result<Arc<Self>, HostError> {
        let orchestrator = Orchestrator::connect(config)?;
        Ok(Arc::new(Self {
            orchestrator,
            observed: watch::Sender::default(),
        }))
    }

    /// Takes back what a killed daemon left half-done and looks at the machine once. What is to be done for apps is begun by
    /// [`run`](Self::run), so that nobody waits for it.
    pub async fn recover(&self) {
        match self.orchestrator.recover().await {
            Ok(undone) => {
                for app in undone {
                    tracing::info!(%app, "took back an install that was interrupted");
                }
            }
            Err(error) => {
                tracing::warn!(error = %explain::causes(&error).join(": "), "could not take back an interrupted install; the reconciler tries again");
            }
        }
        if let Err(error) = self.orchestrator.look().await {
            tracing::warn!(error = %explain::causes(&error).join(": "), "could not look at the machine");
        }
        self.observed
            .send_replace(translate(&self.orchestrator.observed().borrow()));
    }

    /// Keeps apps as wished until cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        let mut seen = self.orchestrator.observed();
        let translating = async {
            while seen.changed().await.is_ok() {
                let observed = translate(&seen.borrow_and_update());
                self.observed.send_if_modified(|known| {
                    // A look that saw nothing new only moves the date.
                    let same = Observed {
                        at: observed.at,
                        ..known.clone()
                    } == observed;
                    *known = observed;
                    !same
                });
            }
        };
        tokio::select! {
            () = self.orchestrator.run(stop) => {}
            () = translating => {}
        }
    }

    /// Says what this machine lacks.
    pub async fn doctor(&self) -> Vec<orchestrator::Check> {
        self.orchestrator.doctor().await
    }

    /// Prepares the user's account for running apps.
    ///
    /// # Errors
    ///
    /// When a unit cannot be written or systemd cannot be reached.
    pub async fn setup(&self) -> Result<(), orchestrator::MachineError> {
        self.orchestrator.setup().await
    }

    async fn changed<T>(
        &self,
        change: impl Future<Output = Result<T, ChangeError>>,
    ) -> Result<(), MachineError> {
        let result = change.await;
        self.orchestrator.nudge();
        result.map(drop).map_err(of_change)
    }
}

impl Machine for Host {
    fn preflight<'a>(
        &'a self,
        release: &'a Verified<Release>,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let checked = self.orchestrator.preflight(release).await;
            checked.map_err(|error| match of_install(error) {
                MachineError::Failed { problem, .. } => problem,
                MachineError::Stopped => problem("cancelled", "The install was cancelled", ""),
            })
        })
    }

    fn load_image<'a>(
        &'a self,
        app: &'a Slug,
        image: &'a Image,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let words = |text: &str| tracing::debug!(app = %app, "podman: {text}");
            let loaded = self
                .orchestrator
                .load_image(app, image, reference, &words)
                .await;
            loaded.map_err(|error| failed::of_load(&error))
        })
    }

    fn install<'a>(
        &'a self,
        release: &'a Allowed,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            let report = |phase| {
                let (phase, words) = match phase {
                    orchestrator::Phase::Checking | orchestrator::Phase::Preparing => {
                        (JobPhase::Preparing, "Preparing its place")
                    }
                    orchestrator::Phase::Validating => (JobPhase::Preparing, "Checking its units"),
                    orchestrator::Phase::Placing
                    | orchestrator::Phase::Copying { .. }
                    | orchestrator::Phase::Storing { .. }
                    | orchestrator::Phase::Restoring { .. }
                    | orchestrator::Phase::Stopping => (JobPhase::Starting, "Starting"),
                    orchestrator::Phase::Starting => {
                        (JobPhase::Waiting, "Starting; waiting until it answers")
                    }
                    orchestrator::Phase::Undoing => {
                        (JobPhase::Waiting, "Taking back what was done")
                    }
                    orchestrator::Phase::Done => return,
                };
                progress(phase, words.to_owned());
            };
            let installed = self.orchestrator.install(release, &report, cancel).await;
            self.orchestrator.nudge();
            installed.map(drop).map_err(of_install)
        })
    }

    fn preflight_change<'a>(
        &'a self,
        release: &'a Verified<Release>,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let checked = self.orchestrator.preflight_change(release).await;
            checked.map_err(|error| match of_install(error) {
                MachineError::Failed { problem, .. } => problem,
                MachineError::Stopped => problem("cancelled", "The change was cancelled", ""),
            })
        })
    }

    fn change<'a>(
        &'a self,
        release: &'a Allowed,
        change: &'a Change,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            let report = |phase| tell(progress, words_of_change(phase));
            let orchestrator = &self.orchestrator;
            let changed = match change {
                Change::Update { copy } => {
                    orchestrator.update(release, *copy, &report, cancel).await
                }
                Change::Rollback { data } => {
                    orchestrator
                        .roll_back(release, *data, &report, cancel)
                        .await
                }
                Change::Configure(edit) => {
                    orchestrator.configure(release, edit, &report, cancel).await
                }
                Change::Reinstall => orchestrator.reinstall(release, &report, cancel).await,
                Change::Migrate { accept } => {
                    let migrated = orchestrator.migrate(release, accept, &report, cancel).await;
                    orchestrator.nudge();
                    return migrated.map(drop).map_err(adopt::of_adopt);
                }
            };
            self.orchestrator.nudge();
            changed.map(drop).map_err(of_update)
        })
    }

    fn adoptable<'a>(&'a self) -> BoxFuture<'a, Result<Vec<orchestrator::Foreign>, Problem>> {
        Box::pin(async move {
            let found = self.orchestrator.adoptable().await;
            found.map_err(|error| failed::of_machine(&error))
        })
    }

    fn claim<'a>(
        &'a self,
        release: &'a Allowed,
        chosen: &'a BTreeMap<Slug, String>,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            let claimed = self.orchestrator.claim(release, chosen).await;
            claimed.map(drop).map_err(adopt::of_adopt)
        })
    }

    fn unmigrate<'a>(
        &'a self,
        app: &'a Slug,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            let report = |phase| tell(progress, words_of_change(phase));
            let done = self.orchestrator.unmigrate(app, &report).await;
            self.orchestrator.nudge();
            done.map(drop).map_err(adopt::of_adopt)
        })
    }

    fn finish_adoption<'a>(&'a self, app: &'a Slug) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            let done = self.orchestrator.finish_adoption(app).await;
            self.orchestrator.nudge();
            done.map(drop).map_err(adopt::of_adopt)
        })
    }

    fn migration<'a>(&'a self, app: &'a Slug) -> BoxFuture<'a, Result<MigrationPlan, Problem>> {
        Box::pin(async move {
            let planned = self.orchestrator.migration_plan(app).await;
            let planned = planned.map_err(|error| match adopt::of_adopt(error) {
                MachineError::Failed { problem, .. } => problem,
                MachineError::Stopped => problem("cancelled", "The plan was cancelled", ""),
            });
            planned.map(adopt::plan)
        })
    }

    fn start<'a>(
        &'a self,
        app: &'a Slug,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            progress(
                JobPhase::Waiting,
                "Starting; waiting until it answers".to_owned(),
            );
            self.changed(self.orchestrator.start(app, cancel)).await
        })
    }

    fn stop<'a>(
        &'a self,
        app: &'a Slug,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move { self.changed(self.orchestrator.stop(app, cancel)).await })
    }

    fn restart<'a>(
        &'a self,
        app: &'a Slug,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            progress(
                JobPhase::Starting,
                "Restarting; waiting until it answers".to_owned(),
            );
            self.changed(self.orchestrator.restart(app, cancel)).await
        })
    }

    fn remove<'a>(
        &'a self,
        app: &'a Slug,
        purge: bool,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            let removed = if purge {
                progress(JobPhase::Removing, "Removing it and its data".to_owned());
                self.changed(self.orchestrator.purge_anyway(app, cancel))
                    .await
            } else {
                progress(JobPhase::Removing, "Removing it; its data stays".to_owned());
                self.changed(self.orchestrator.uninstall_anyway(app, cancel))
                    .await
            };
            match removed {
                // What was asked for is so, e.g. because a kill came between the removal and the job's end.
                Err(MachineError::Failed { problem, .. }) if problem.kind == "notInstalled" => {
                    Ok(())
                }
                removed => removed,
            }
        })
    }

    fn drop_images<'a>(&'a self, app: &'a Slug) -> BoxFuture<'a, ()> {
        Box::pin(self.orchestrator.drop_images(app))
    }

    fn keeper(&self) -> Option<&dyn Keeper> {
        Some(self)
    }

    fn dependents(&self, app: &Slug) -> Vec<Slug> {
        self.orchestrator.dependents(app).unwrap_or_else(|error| {
            tracing::warn!(%error, "could not list what needs an app");
            Vec::new()
        })
    }

    fn kept(&self) -> Vec<AppId> {
        self.orchestrator.kept_data().unwrap_or_else(|error| {
            tracing::warn!(%error, "could not list kept data");
            Vec::new()
        })
    }

    fn observed(&self) -> watch::Receiver<Observed> {
        self.observed.subscribe()
    }

    fn logs<'a>(
        &'a self,
        app: &'a Slug,
        container: Option<&'a Slug>,
        lines: u32,
    ) -> BoxFuture<'a, Result<Vec<LogLine>, Problem>> {
        Box::pin(async move { logs::read(&self.orchestrator, app, container, lines).await })
    }

    fn rights(&self, manifest: &Manifest) -> Vec<Right> {
        rights::of(manifest)
    }

    fn compare(&self, release: &Verified<Release>) -> Result<Option<Compared>, Problem> {
        let compared = self.orchestrator.compare(release);
        let compared = compared.map_err(|error| rights::not_compared(&error))?;
        Ok(compared.map(|compared| rights::of_compared(compared, &release.manifest)))
    }

    fn disk_free_bytes(&self) -> Option<u64> {
        let free = rustix::fs::statvfs(&self.orchestrator.config().data_dir).ok()?;
        Some(free.f_bavail.saturating_mul(free.f_frsize))
    }
}

fn tell(progress: Progress<'_>, words: Option<(JobPhase, String)>) {
    if let Some((phase, words)) = words {
        progress(phase, words);
    }
}

/// What a person reads while an app is changed.
fn words_of_change(phase: orchestrator::Phase) -> Option<(JobPhase, String)> {
    let (phase, words) = match phase {
        orchestrator::Phase::Checking
        | orchestrator::Phase::Preparing
        | orchestrator::Phase::Validating => (JobPhase::Preparing, "Checking its units".to_owned()),
        orchestrator::Phase::Copying {
            done_bytes,
            total_bytes,
        } => {
            let (done, total) = (
                explain::megabytes(done_bytes),
                explain::megabytes(total_bytes),
            );
            (
                JobPhase::Copying,
                format!("Copying its data, so that all can be taken back: {done} of {total}"),
            )
        }
        orchestrator::Phase::Stopping => (
            JobPhase::Stopping,
            "Stopping the version that runs".to_owned(),
        ),
        orchestrator::Phase::Placing | orchestrator::Phase::Starting => (
            JobPhase::Waiting,
            "Starting; waiting until it answers".to_owned(),
        ),
        orchestrator::Phase::Undoing => (
            JobPhase::Waiting,
            "It did not come up; taking the change back".to_owned(),
        ),
        orchestrator::Phase::Storing { .. }
        | orchestrator::Phase::Restoring { .. }
        | orchestrator::Phase::Done => return None,
    };
    Some((phase, words))
}
