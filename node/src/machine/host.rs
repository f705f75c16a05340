//! This machine: the orchestrator behind [`Machine`], its words turned into those of the API.

use std::sync::Arc;

use archy_orchestrator as orchestrator;
use archy_orchestrator::{
    ChangeError, ContainerState, InstallError, LogQuery, Orchestrator, Refusal, RightKind,
    StartError, names,
};
use archy_registry::manifest::{InterfaceKind, Manifest};
use archy_registry::release::{Image, Release};
use archy_registry::{AppId, Slug, Verified};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Installed, Machine, MachineError, Observed, Progress};
use crate::api::problem;
use crate::api::types::{
    ContainerInfo, InstanceState, InterfaceInfo, JobPhase, LogLine, Problem, Right, RightWeight,
    RightsDiff,
};
use crate::problem as explain;

/// Lines that one request reads at most.
const LOG_LINES_MAX: usize = 2000;

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

    /// Takes back what a killed daemon left half-done and looks at the machine once.
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
        if let Err(error) = self.orchestrator.reconcile_once().await {
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
                    let same = known.apps == observed.apps && known.stale == observed.stale;
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
            loaded.map_err(|error| {
                let (kind, message, hint) = match &error {
                    orchestrator::LoadError::Differs { .. } => (
                        "content",
                        "podman made another image of the bytes than the publisher signed",
                        "Tell the publisher; nothing was installed",
                    ),
                    orchestrator::LoadError::Podman { .. } => (
                        "podman",
                        "podman could not take the app's image in",
                        "Run `archyd doctor`; check the space on the disk",
                    ),
                };
                detailed(kind, message.to_owned(), hint, &error)
            })
        })
    }

    fn install<'a>(
        &'a self,
        release: &'a Verified<Release>,
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
                    orchestrator::Phase::Placing => (JobPhase::Starting, "Starting"),
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
                self.changed(self.orchestrator.purge(app, cancel)).await
            } else {
                progress(JobPhase::Removing, "Removing it; its data stays".to_owned());
                self.changed(self.orchestrator.uninstall(app, cancel)).await
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
        Box::pin(async move {
            let query = LogQuery {
                container: container.cloned(),
                lines: Some(lines),
                ..LogQuery::default()
            };
            let failed =
                |error: &dyn std::error::Error| explain::internal("read the app's log", error);
            let mut stream = self
                .orchestrator
                .logs(app, &query)
                .map_err(|error| match error {
                    ChangeError::NotInstalled(_) => not_installed(app),
                    error @ (ChangeError::Start(_)
                    | ChangeError::Cancelled(_)
                    | ChangeError::Purge { .. }
                    | ChangeError::Journal(_)
                    | ChangeError::Machine(_)) => failed(&error),
                })?;
            let mut read = Vec::new();
            while read.len() < LOG_LINES_MAX {
                let Some(line) = stream.next().await.map_err(|error| failed(&error))? else {
                    break;
                };
                read.push(LogLine {
                    at: line.at.to_string(),
                    container: container_of(app, &line.unit),
                    text: line.text,
                });
            }
            Ok(read)
        })
    }

    fn rights(&self, manifest: &Manifest) -> Vec<Right> {
        let rights = orchestrator::rights(manifest).unwrap_or_default();
        rights.into_iter().map(right).collect()
    }

    fn compare(&self, release: &Verified<Release>) -> Result<Option<RightsDiff>, Problem> {
        let words = |rights: Vec<orchestrator::Right>| rights.into_iter().map(right).collect();
        let compared = self.orchestrator.compare(release);
        let diff = compared.map_err(|error| {
            detailed(
                "cannotRun",
                "What the new version may do here cannot be told".to_owned(),
                "Wait for another version, or look at the details",
                &error,
            )
        })?;
        Ok(diff.map(|diff| RightsDiff {
            gained: words(diff.gained),
            lost: words(diff.lost),
        }))
    }

    fn disk_free_bytes(&self) -> Option<u64> {
        let free = rustix::fs::statvfs(&self.orchestrator.config().data_dir).ok()?;
        Some(free.f_bavail.saturating_mul(free.f_frsize))
    }
}

fn right(right: orchestrator::Right) -> Right {
    Right {
        kind: match right.kind {
            RightKind::Network => "network",
            RightKind::Ports => "ports",
            RightKind::Data => "data",
            RightKind::Secret => "secret",
            RightKind::User => "user",
            RightKind::Capability => "capability",
            RightKind::Device => "device",
            RightKind::Limit => "limit",
            RightKind::Container => "container",
            RightKind::Other => "other",
        }
        .to_owned(),
        weight: match (right.weighty, right.kind) {
            (
                true,
                RightKind::Capability | RightKind::Device | RightKind::Data | RightKind::Other,
            ) => RightWeight::Far,
            (true, _) => RightWeight::Notable,
            (false, _) => RightWeight::Usual,
        },
        text: right.text,
    }
}

/// Takes the container's name out of `archy.APP.CONTAINER.service`.
fn container_of(app: &Slug, unit: &str) -> String {
    let inner = unit
        .strip_prefix(names::PREFIX)
        .and_then(|rest| rest.strip_prefix(app.as_str()))
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(".service"));
    inner.unwrap_or(unit).to_owned()
}

fn translate(observed: &orchestrator::Observed) -> Observed {
    Observed {
        at: observed.at,
        apps: observed.instances.iter().map(installed).collect(),
        stale: observed.stale.clone(),
    }
}

fn installed(instance: &orchestrator::Instance) -> Installed {
    let state = state(instance.state);
    let trouble = instance.reason.as_ref().map(|reason| {
        problem(
            if state == InstanceState::Unhealthy {
                "unhealthy"
            } else {
                "notRunning"
            },
            reason,
            "Look at its log, or restart it",
        )
    });
    Installed {
        app: instance.app.clone(),
        version: instance.version.clone(),
        release: instance.release,
        state,
        problem: trouble,
        containers: instance
            .containers
            .iter()
            .map(|container| ContainerInfo {
                name: container.name.to_string(),
                state: container_state(container.state),
                health: (container.state == ContainerState::Unhealthy)
                    .then(|| "unhealthy".to_owned()),
                restarts: container.restarts,
                since: container.started_at.map(|at| at.to_string()),
            })
            .collect(),
        interfaces: instance
            .interfaces
            .iter()
            .map(|interface| InterfaceInfo {
                name: interface.name.clone(),
                kind: interface_kind(interface.kind).to_owned(),
                port: Some(interface.host_port),
                path: interface.path.clone(),
            })
            .collect(),
        installed: instance.installed_at,
        data_dir: instance.data_dir.clone(),
    }
}

/// For whom an interface is, in the API's word.
pub(crate) fn interface_kind(kind: InterfaceKind) -> &'static str {
    match kind {
        InterfaceKind::Ui => "ui",
        InterfaceKind::Api => "api",
    }
}

fn state(state: orchestrator::InstanceState) -> InstanceState {
    match state {
        orchestrator::InstanceState::Installing => InstanceState::Installing,
        orchestrator::InstanceState::Starting => InstanceState::Starting,
        orchestrator::InstanceState::Running => InstanceState::Running,
        orchestrator::InstanceState::Unhealthy => InstanceState::Unhealthy,
        orchestrator::InstanceState::CrashLooping | orchestrator::InstanceState::Failed => {
            InstanceState::Failed
        }
        orchestrator::InstanceState::Stopping => InstanceState::Stopping,
        orchestrator::InstanceState::Stopped => InstanceState::Stopped,
    }
}

fn container_state(state: ContainerState) -> InstanceState {
    match state {
        ContainerState::Starting | ContainerState::Restarting => InstanceState::Starting,
        ContainerState::Running => InstanceState::Running,
        ContainerState::Unhealthy => InstanceState::Unhealthy,
        ContainerState::Stopping => InstanceState::Stopping,
        ContainerState::Stopped => InstanceState::Stopped,
        ContainerState::Failed => InstanceState::Failed,
    }
}

fn not_installed(app: &Slug) -> Problem {
    problem(
        "notInstalled",
        format!("{app} is not installed"),
        "`archy status` lists what is",
    )
}

fn of_install(error: InstallError) -> MachineError {
    let by_machine = |problem| MachineError::Failed {
        problem,
        by_app: false,
    };
    match error {
        InstallError::Cancelled => MachineError::Stopped,
        InstallError::Refused(refusal) => by_machine(of_refusal(&refusal)),
        InstallError::Start(error) => of_start(&error),
        InstallError::ImageMissing { .. } => by_machine(detailed(
            "podman",
            "podman lost an image while the app was installed".to_owned(),
            "Install again",
            &error,
        )),
        InstallError::Machine(error) => by_machine(of_machine(&error)),
    }
}

fn of_change(error: ChangeError) -> MachineError {
    let by_machine = |problem| MachineError::Failed {
        problem,
        by_app: false,
    };
    match error {
        ChangeError::NotInstalled(app) => by_machine(not_installed(&app)),
        ChangeError::Cancelled(_) => MachineError::Stopped,
        ChangeError::Start(error) => of_start(&error),
        ChangeError::Purge { .. } => by_machine(detailed(
            "purge",
            "The app's data could not be removed whole".to_owned(),
            "Stop what uses it, then try again",
            &error,
        )),
        ChangeError::Journal(error) => by_machine(explain::internal("read the journal", &error)),
        ChangeError::Machine(error) => by_machine(of_machine(&error)),
    }
}

fn of_start(error: &StartError) -> MachineError {
    match error {
        StartError::Container { failure, log, .. } => {
            let (kind, by_app) = match failure {
                orchestrator::Failure::PortTaken { .. } => ("portTaken", false),
                orchestrator::Failure::NeverHealthy { .. } | orchestrator::Failure::Timeout => {
                    ("neverHealthy", true)
                }
                orchestrator::Failure::NotRunnable
                | orchestrator::Failure::OutOfMemory
                | orchestrator::Failure::Exited { .. }
                | orchestrator::Failure::Killed { .. }
                | orchestrator::Failure::Dependency
                | orchestrator::Failure::Unknown { .. } => ("notRunning", true),
                orchestrator::Failure::ImageMissing
                | orchestrator::Failure::SecretMissing
                | orchestrator::Failure::DataMissing => ("notRunning", false),
            };
            let mut failed = problem(
                kind,
                error.to_string(),
                match kind {
                    "portTaken" => "Stop what uses the port, then try again",
                    _ => "Its last log lines are in the details; tell the publisher",
                },
            );
            failed.details = log.clone();
            MachineError::Failed {
                problem: failed,
                by_app,
            }
        }
        StartError::Systemd(error) => MachineError::Failed {
            problem: detailed(
                "systemd",
                "systemd did not answer".to_owned(),
                "Run `archyd doctor`",
                error,
            ),
            by_app: false,
        },
    }
}

fn of_refusal(refusal: &Refusal) -> Problem {
    let (kind, hint) = match refusal {
        Refusal::Unsupported { .. } => ("unsupported", "Wait for a version of archy that does it"),
        Refusal::Render(_) => ("cannotRun", "Tell the publisher; nothing was installed"),
        Refusal::SlugTaken { .. } => (
            "slugTaken",
            "Keep the app that you have, or uninstall and purge it first",
        ),
        Refusal::DataOfAnother { .. } => (
            "slugTaken",
            "Purge the kept data first if you no longer need it",
        ),
        Refusal::Installed { .. } => (
            "installed",
            "To change to the announced version, uninstall it (its data stays) and install again",
        ),
        Refusal::ContainerTaken { .. } => ("nameTaken", "Remove or rename that container first"),
        Refusal::Ports(_) => ("portTaken", "Stop what uses the port, then try again"),
        Refusal::Disk { .. } => ("diskFull", "Make room on the disk, then try again"),
    };
    let texts = explain::causes(refusal);
    let mut refused = problem(kind, texts.join(": "), hint);
    if texts.len() > 1 {
        refused.details = texts;
    }
    refused
}

fn of_machine(error: &orchestrator::MachineError) -> Problem {
    detailed(
        "machine",
        "podman, systemd or the disk did not do its part".to_owned(),
        "Run `archyd doctor`; the details say what failed",
        error,
    )
}

fn detailed(kind: &str, message: String, hint: &str, error: &dyn std::error::Error) -> Problem {
    let mut failed = problem(kind, message, hint);
    failed.details = explain::causes(error);
    failed
}
