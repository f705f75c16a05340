//! Does what jobs ask for: installs verified apps, and starts, stops and removes installed ones.
//!
//! Every refusal ends the job with the check that failed and leaves nothing behind that a retry cannot use.

mod adopt;
mod backup;
mod change;
mod content;
mod layers;
mod operate;
mod transfer;

use std::sync::Arc;

use archy_registry::release::{Platform, Release};
use archy_registry::store::CatalogEntry;
use archy_registry::trust;
use archy_registry::{AppId, Blake3Hash, Store, Verified};
use archy_swarm::Swarm;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::api::types::{JobKind, JobPhase, Problem};
use crate::api::{not_found, problem};
use crate::follow::{self, Follow};
use crate::jobs::{Context, Ending, Outcome, Worker};
use crate::judge::Judge;
use crate::machine::{Machine, MachineError};
use crate::policy::Action;
use crate::problem as explain;
use crate::registries::Registries;
use crate::seeders::Seekers;
use crate::slot::Slot;
use crate::storage;
pub(crate) use backup::{keeper, no_backup};
pub(crate) use content::app_tag;
use content::let_go;

/// Phases that the machine may report before the job has stored the first.
const PHASES: usize = 32;

/// Works on jobs.
pub struct Installer {
    /// What is installable, and what happened with it.
    pub store: Store,
    /// Whether it may be installed.
    pub judge: Judge,
    /// Where bytes come from.
    pub swarm: Slot<Swarm>,
    /// Where apps run.
    pub machine: Slot<Arc<dyn Machine>>,
    /// Fetches releases.
    pub follow: Arc<Follow>,
    /// Looks for those who seed what nobody known gives.
    pub seekers: Seekers,
    /// Where images are looked for last.
    pub registries: Arc<Registries>,
    /// Whose images are fetched.
    pub platform: Platform,
}

/// Why a job did not succeed.
enum Stop {
    /// The owner or the daemon asked for it.
    Asked,
    /// It failed.
    Failed { problem: Problem, by_app: bool },
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Failed {
            problem,
            by_app: false,
        }
    }
}

impl From<MachineError> for Stop {
    fn from(error: MachineError) -> Self {
        match error {
            MachineError::Stopped => Self::Asked,
            MachineError::Failed { problem, by_app } => Self::Failed { problem, by_app },
        }
    }
}

impl Worker for Installer {
    fn run(&self, context: Context) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let result = match context.wish().kind {
                JobKind::Install => self.install(&context).await,
                JobKind::Adopt => self.adopt(&context).await,
                JobKind::Update
                | JobKind::Rollback
                | JobKind::Reinstall
                | JobKind::Configure
                | JobKind::Migrate => self.change(&context).await,
                JobKind::Backup => self.back_up(&context).await,
                JobKind::Restore => self.restore(&context).await,
                JobKind::Verify => self.verify(&context).await,
                JobKind::Uninstall
                | JobKind::Purge
                | JobKind::Start
                | JobKind::Stop
                | JobKind::Restart => self.operate(&context).await,
                JobKind::Unmigrate | JobKind::Finish => self.settle(&context).await,
            };
            match result {
                Ok(()) => Outcome::Done,
                Err(Stop::Failed { problem, .. }) => Outcome::Failed(problem),
                Err(Stop::Asked) => match context.ending() {
                    Ending::Cancel => Outcome::Cancelled,
                    Ending::Stop => Outcome::Suspended,
                },
            }
        })
    }
}

/// Refuses what was signed by keys that no longer count.
fn check_standing(entry: &CatalogEntry) -> Result<(), Problem> {
    if entry.standing.is_acceptable() {
        return Ok(());
    }
    explain::of_standing(entry.standing).map_or(Ok(()), Err)
}

impl Installer {
    async fn install(&self, context: &Context) -> Result<(), Stop> {
        let app = &context.wish().app;
        context
            .enter(JobPhase::Checking, "Checking what the publisher signed")
            .await;
        // The machine is needed to undo, so a cancelled job waits for it too; only the daemon's end does not wait.
        let machine = self.machine(context).await?;
        if let Some(installed) = already(&*machine, context) {
            // A kill between the last step and the job's end.
            tracing::info!(%app, release.hash = %installed, "it was installed already");
            return Ok(());
        }
        let mut known = None;
        let result = self.install_checked(context, &*machine, &mut known).await;
        let Err(stop) = result else {
            return Ok(());
        };
        let suspended = matches!(stop, Stop::Asked) && context.ending() == Ending::Stop;
        if suspended {
            return Err(stop);
        }
        if known.is_none() && context.resumed() {
            // An earlier run may have brought things here that this one did not come to.
            let entry = self.entry(app).await.ok();
            known = entry.and_then(|entry| entry.release);
        }
        machine.drop_images(&app.slug).await;
        if let Some(release) = &known {
            self.clean_up(&*machine, release, &stop).await;
        }
        Err(stop)
    }

    async fn install_checked(
        &self,
        context: &Context,
        machine: &dyn Machine,
        known: &mut Option<Verified<Release>>,
    ) -> Result<(), Stop> {
        let app = &context.wish().app;
        let swarm = wait(context, self.swarm.ready()).await?;
        let entry = self.entry(app).await?;
        check_standing(&entry)?;
        // Before bytes are fetched for nothing, and again once the release's signatures can be counted.
        self.check_policy(app).await?;
        let release = self.release(context, &swarm, &entry).await?;
        *known = Some(release.clone());
        let release = self.judge.allow(release).await?;
        machine.preflight(&release).await?;
        stop_if_asked(context)?;
        // Until podman has it, nothing of it goes to make room for something else.
        let _using = swarm.use_tag(&app_tag(&release));

        self.bring(context, &swarm, machine, &release).await?;
        self.hold_statement(&swarm, &release).await?;

        let (report, reported) = reporter();
        let installing = async {
            let result = machine.install(&release, &report, context.token()).await;
            drop(report);
            result
        };
        let (installed, ()) = tokio::join!(installing, enter_all(context, reported));
        installed?;
        storage::mark_installed(&swarm, &release).await;
        let event = trust::Event::Installed {
            app: app.slug.clone(),
            release: release.hash(),
        };
        self.record(app, &event).await;
        Ok(())
    }

    /// Removes what only this attempt brought here. Partial blobs stay while a retry can go on with them.
    async fn clean_up(&self, machine: &dyn Machine, release: &Verified<Release>, stop: &Stop) {
        let resumable = match stop {
            Stop::Asked => false,
            Stop::Failed { problem, by_app } => {
                let event = trust::Event::InstallFailed {
                    app: release.manifest.app.id.clone(),
                    release: release.hash(),
                    reason: problem.message.clone(),
                    publishers_fault: *by_app,
                };
                self.record(&release.app(), &event).await;
                matches!(
                    problem.kind.as_str(),
                    "noProvider" | "interrupted" | "diskFull"
                )
            }
        };
        let installed = machine
            .observed()
            .borrow()
            .find(&release.manifest.app.id)
            .is_some();
        if !resumable
            && !installed
            && let Some(swarm) = self.swarm.now()
        {
            let_go(&swarm, &app_tag(release)).await;
        }
    }

    /// Finds the app in the catalog; when it is not there because what was heard was refused, says so.
    async fn entry(&self, app: &AppId) -> Result<CatalogEntry, Problem> {
        let entry = self
            .store
            .app(app, Timestamp::now())
            .await
            .map_err(|error| explain::of_store(&error))?;
        entry.ok_or_else(|| {
            self.follow.refusals.of(app).unwrap_or_else(|| {
                not_found(
                    "This node has not heard of that app",
                    "Search the store for it; news of an app takes a moment to arrive",
                )
            })
        })
    }

    /// Refuses what the policy refuses whatever the release, before it is fetched.
    async fn check_policy(&self, app: &AppId) -> Result<(), Problem> {
        let now = Timestamp::now();
        let reputation = self.judge.reputation(&app.publisher, now).await?;
        self.judge.decide(Action::Install, &reputation, None)
    }

    /// Gets the release that is wished for, if it may be installed.
    async fn release(
        &self,
        context: &Context,
        swarm: &Swarm,
        entry: &CatalogEntry,
    ) -> Result<Verified<Release>, Stop> {
        let announcement = &entry.announcement;
        if let Some(wished) = context.wish().release
            && wished != announcement.release.blake3
        {
            return Err(self.not_newest(wished, entry).await.into());
        }
        if entry.is_stale(Timestamp::now()) {
            return Err(problem(
                "expired",
                format!(
                    "There has been no news of this app since {}",
                    explain::day(entry.news_since())
                ),
                "Wait until the publisher announces it again",
            )
            .into());
        }
        if let Some(release) = &entry.release {
            return Ok(release.clone());
        }
        let fetched = self
            .follow
            .fetch_release(swarm, announcement, context.token())
            .await;
        match fetched {
            Err(_) if context.token().is_cancelled() => Err(Stop::Asked),
            fetched => Ok(fetched?),
        }
    }

    /// Says why a release other than the newest is not installed.
    async fn not_newest(&self, wished: Blake3Hash, entry: &CatalogEntry) -> Problem {
        let newest = entry.announcement.seq;
        match self.store.release(&wished, Timestamp::now()).await {
            Ok(Some(release)) if release.app() != entry.app() => problem(
                "wrongApp",
                format!(
                    "That release is of {}, not of {}",
                    release.app(),
                    entry.app()
                ),
                "Install the app by its own name",
            ),
            Ok(Some(release)) => follow::rollback(release.seq, newest),
            Ok(None) => not_found(
                format!(
                    "Release {wished} is not what the publisher announces now, and this node does not have it"
                ),
                "Install the newest release",
            ),
            Err(error) => explain::of_store(&error),
        }
    }

    async fn machine(&self, context: &Context) -> Result<Arc<dyn Machine>, Stop> {
        tokio::select! {
            () = context.stopping() => Err(Stop::Asked),
            machine = self.machine.ready() => Ok(machine),
        }
    }

    /// Evidence that is not written is lost points, not a reason to fail what succeeded.
    async fn record(&self, app: &AppId, event: &trust::Event) {
        if let Err(error) = self
            .store
            .record(&app.publisher, event, Timestamp::now())
            .await
        {
            tracing::warn!(%app, %error, "could not record evidence");
        }
    }
}

/// Returns the release that a resumed job finds installed already.
fn already(machine: &dyn Machine, context: &Context) -> Option<Blake3Hash> {
    if !context.resumed() || context.token().is_cancelled() {
        return None;
    }
    let observed = machine.observed();
    let observed = observed.borrow();
    let installed = observed.find(&context.wish().app.slug)?;
    let done = installed.app == context.wish().app
        && installed.state != crate::api::types::InstanceState::Installing;
    done.then_some(installed.release)
}

/// Makes what the machine reports its phases to, and where they arrive; they end when it is dropped.
fn reporter() -> (
    impl Fn(JobPhase, String) + Send + Sync,
    mpsc::Receiver<(JobPhase, String)>,
) {
    let (phases, reported) = mpsc::channel(PHASES);
    let report = move |phase, message| {
        // A phase that does not fit is a message that nobody would have read.
        let _ = phases.try_send((phase, message));
    };
    (report, reported)
}

/// Stores each phase as it arrives.
async fn enter_all(context: &Context, mut reported: mpsc::Receiver<(JobPhase, String)>) {
    while let Some((phase, message)) = reported.recv().await {
        context.enter(phase, message).await;
    }
}

async fn wait<T>(context: &Context, part: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::select! {
        () = context.token().cancelled() => Err(Stop::Asked),
        part = part => Ok(part),
    }
}

fn stop_if_asked(context: &Context) -> Result<(), Stop> {
    if context.token().is_cancelled() {
        Err(Stop::Asked)
    } else {
        Ok(())
    }
}
