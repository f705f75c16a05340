//! Does what jobs ask for: installs verified apps, and starts, stops and removes installed ones.
//!
//! Every refusal ends the job with the check that failed and leaves nothing behind that a retry cannot use.

mod transfer;

use std::sync::Arc;

use archy_registry::release::{Platform, Release};
use archy_registry::store::CatalogEntry;
use archy_registry::trust;
use archy_registry::{AppId, Blake3Hash, Store, Verified};
use archy_swarm::{FetchError, FetchRequest, Swarm, Tag, Wanted};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::api::types::{JobKind, JobPhase, Problem};
use crate::api::{not_found, problem};
use crate::follow::{self, Follow};
use crate::jobs::{Context, Ending, Outcome, Worker};
use crate::judge::Judge;
use crate::machine::{Machine, MachineError, Progress};
use crate::policy::Action;
use crate::problem as explain;
use crate::slot::Slot;

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
                JobKind::Uninstall
                | JobKind::Purge
                | JobKind::Start
                | JobKind::Stop
                | JobKind::Restart => self.operate(&context).await,
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
        // Before bytes are fetched for nothing, and again once the release's signatures can be counted.
        self.check_policy(app, None).await?;
        let release = self.release(context, &swarm, &entry).await?;
        *known = Some(release.clone());
        self.check_policy(app, Some(&release)).await?;
        machine.preflight(&release).await?;
        stop_if_asked(context)?;

        self.fetch(context, &swarm, &release).await?;
        self.hold_statement(&swarm, &release).await?;
        self.load(context, &swarm, machine, &release).await?;

        let (phases, mut reported) = mpsc::channel::<(JobPhase, String)>(PHASES);
        let report = move |phase, message| {
            // A phase that does not fit is a message that nobody would have read.
            let _ = phases.try_send((phase, message));
        };
        let installing = async {
            let progress: Progress<'_> = &report;
            let result = machine.install(&release, progress, context.token()).await;
            drop(report);
            result
        };
        let reporting = async {
            while let Some((phase, message)) = reported.recv().await {
                context.enter(phase, message).await;
            }
        };
        let (installed, ()) = tokio::join!(installing, reporting);
        installed?;
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
                matches!(problem.kind.as_str(), "noProvider" | "interrupted")
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
            let tag = app_tag(release);
            if let Err(error) = swarm.withdraw(&tag).await {
                tracing::warn!(%tag, %error, "could not let an app's blobs go");
            }
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

    async fn check_policy(
        &self,
        app: &AppId,
        release: Option<&Verified<Release>>,
    ) -> Result<(), Problem> {
        let reputation = self
            .judge
            .reputation(&app.publisher, Timestamp::now())
            .await?;
        self.judge.decide(Action::Install, &reputation, release)
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
                    announcement.created
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

    async fn fetch(
        &self,
        context: &Context,
        swarm: &Swarm,
        release: &Verified<Release>,
    ) -> Result<(), Stop> {
        context
            .enter(JobPhase::Fetching, "Looking for nodes that have the app")
            .await;
        let images = release.blobs(&self.platform).map(|blob| Wanted {
            blake3: blob.blake3,
            size_bytes: blob.size_bytes,
        });
        let request = FetchRequest {
            tag: app_tag(release),
            blobs: images.collect(),
            origin: release.origin.endpoints.clone(),
            peers: Vec::new(),
            share: true,
        };
        let fetch = swarm.fetch(request, context.token());
        let mut progress = fetch.progress();
        let reporting = async {
            while progress.changed().await.is_ok() {
                let (fraction, message, transfer) =
                    transfer::describe(&progress.borrow_and_update());
                context.progress(fraction, Some(message), Some(transfer));
            }
            std::future::pending::<()>().await;
        };
        let fetched = tokio::select! {
            fetched = fetch.finish() => fetched,
            () = reporting => return Err(Stop::Asked),
        };
        match fetched {
            Ok(fetched) => {
                let (message, transfer) = transfer::summarise(&fetched);
                context.progress(1.0, Some(message), Some(transfer));
                for provider in fetched.providers.iter().filter(|provider| provider.lied) {
                    tracing::warn!(app = %release.app(), %provider, "a node sent bytes that are not what the publisher signed; others had them right");
                }
                Ok(())
            }
            Err(FetchError::Cancelled) => Err(Stop::Asked),
            Err(error) => Err(explain::of_fetch(&error).into()),
        }
    }

    /// Holds the release and its icon with the images: whoever has the app can hand on all of it.
    async fn hold_statement(
        &self,
        swarm: &Swarm,
        release: &Verified<Release>,
    ) -> Result<(), Problem> {
        let tag = app_tag(release);
        let failed = |error: &dyn std::error::Error| explain::internal("keep the release", error);
        let held = swarm.adopt(&tag, release.hash()).await;
        if held.map_err(|error| failed(&error))?.is_none()
            && let Ok(Some(bytes)) = self.store.release_bytes(&release.hash()).await
        {
            let provided = swarm.provide(&tag, &bytes[..], Some(release.hash())).await;
            provided.map_err(|error| failed(&error))?;
        }
        for asset in release.icon.iter().chain(&release.screenshots) {
            let held = swarm.adopt(&tag, asset.blake3).await;
            held.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn load(
        &self,
        context: &Context,
        swarm: &Swarm,
        machine: &dyn Machine,
        release: &Verified<Release>,
    ) -> Result<(), Stop> {
        context.enter(JobPhase::Loading, "Unpacking").await;
        let slug = &release.manifest.app.id;
        let containers = &release.manifest.containers;
        for (n, container) in containers.iter().enumerate() {
            stop_if_asked(context)?;
            let image = release
                .image(&container.name, &self.platform)
                .ok_or_else(|| {
                    problem(
                        "architecture",
                        format!("The app has no image for {}", self.platform.architecture),
                        "Ask the publisher for one",
                    )
                })?;
            // A repository per job and container: nobody else can withdraw it meanwhile.
            let repository = format!("{slug}/{}", container.name);
            let oci = swarm.oci();
            oci.serve(&repository, image.descriptors())
                .map_err(|error| explain::internal("hand an image to podman", &error))?;
            let reference = oci.reference(&repository, &image.manifest.digest);
            let loaded = tokio::select! {
                loaded = machine.load_image(slug, image, &reference) => loaded.map_err(Stop::from),
                () = context.token().cancelled() => Err(Stop::Asked),
            };
            oci.withdraw(&repository);
            loaded?;
            context.progress((n + 1) as f64 / containers.len() as f64, None, None);
        }
        Ok(())
    }

    async fn operate(&self, context: &Context) -> Result<(), Stop> {
        let wish = context.wish();
        let slug = &wish.app.slug;
        let kind = wish.kind;
        let (phase, message) = match kind {
            JobKind::Start => (JobPhase::Starting, "Starting"),
            JobKind::Install
            | JobKind::Uninstall
            | JobKind::Purge
            | JobKind::Stop
            | JobKind::Restart => (JobPhase::Stopping, "Stopping"),
        };
        context.enter(phase, message).await;
        let machine = self.machine(context).await?;
        let (phases, mut reported) = mpsc::channel::<(JobPhase, String)>(PHASES);
        let report = move |phase, message| {
            let _ = phases.try_send((phase, message));
        };
        let working = async {
            let progress: Progress<'_> = &report;
            let cancel = context.token();
            let result = match kind {
                JobKind::Start => machine.start(slug, progress, cancel).await,
                JobKind::Stop => machine.stop(slug, cancel).await,
                JobKind::Restart => machine.restart(slug, progress, cancel).await,
                JobKind::Uninstall => machine.remove(slug, false, progress, cancel).await,
                JobKind::Purge => machine.remove(slug, true, progress, cancel).await,
                JobKind::Install => Ok(()),
            };
            drop(report);
            result
        };
        let reporting = async {
            while let Some((phase, message)) = reported.recv().await {
                context.enter(phase, message).await;
            }
        };
        let (worked, ()) = tokio::join!(working, reporting);
        worked?;
        if matches!(kind, JobKind::Uninstall | JobKind::Purge) {
            self.stop_seeding(&wish.app).await;
        }
        Ok(())
    }

    /// Lets the blobs of a removed app go; what the catalog shows stays.
    async fn stop_seeding(&self, app: &AppId) {
        let Some(swarm) = self.swarm.now() else {
            return;
        };
        let prefix = format!("app/{app}/");
        let tags = swarm.tags().into_iter().map(|usage| usage.tag);
        for tag in tags.filter(|tag| tag.as_str().starts_with(&prefix)) {
            if let Err(error) = swarm.withdraw(&tag).await {
                tracing::warn!(%tag, %error, "could not let an app's blobs go");
            }
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

/// Holds an installed app's blobs, so that other nodes can install it from this one.
fn app_tag(release: &Verified<Release>) -> Tag {
    format!("app/{}/{}", release.app(), release.seq)
        .parse()
        .expect("a DID, a slug and a number make a tag")
}
