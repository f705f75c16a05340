//! Starting an app's containers and, when one does not come up, finding out why.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use archy_registry::Slug;
use archy_registry::manifest::{NetworkPolicy, Protocol};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;

use crate::desired::{Desired, Wish};
use crate::diagnose::{Failure, Traits, explain, explain_last_run, explain_needed};
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::ports;
use crate::runtime::journal::{LogStream, Query};
use crate::runtime::podman::PodmanError;
use crate::runtime::systemd::{JobResult, SystemdError, Verb};
use crate::setup;

/// An app did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A container failed.
    #[error("container {container} of {app} did not come up: {failure}")]
    Container {
        /// The app's slug.
        app: Slug,
        /// The container.
        container: Slug,
        /// Why, in words.
        failure: Failure,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// systemd could not be asked.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// podman could not be asked.
    #[error(transparent)]
    Podman(#[from] PodmanError),
}

impl StartError {
    /// Tells whether the app, or its data, is to blame, and not this machine.
    pub(crate) fn is_of_app(&self) -> bool {
        match self {
            Self::Container { failure, .. } if failure.is_podmans() => false,
            Self::Container { failure, .. } => match failure {
                Failure::ImageMissing
                | Failure::FewSubIds { .. }
                | Failure::Dependency { .. }
                | Failure::PortTaken { .. }
                | Failure::SecretMissing
                | Failure::DataMissing
                // Beside the app itself there may be too little for a second one.
                | Failure::OutOfMemory => false,
                Failure::NotRunnable
                | Failure::NeverHealthy { .. }
                | Failure::Timeout
                | Failure::Exited { .. }
                | Failure::Killed { .. }
                | Failure::Unknown { .. } => true,
            },
            Self::Systemd(_) | Self::Podman(_) => false,
        }
    }
}

/// Lines of a log that go with a failure.
const LOG_LINES: u32 = 40;
/// Lines of a log in which the end of the last run is looked for.
const LAST_RUN_LINES: u32 = 300;
/// Longest wait for the journal to tell about a failure.
const JOURNAL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// What health checks said, by container name in podman.
type Checks = Mutex<BTreeMap<String, Vec<String>>>;

impl Orchestrator {
    /// Starts all containers and waits until each is up, and healthy where that is checked.
    pub(crate) async fn start_containers(&self, desired: &Desired) -> Result<(), StartError> {
        let app = desired.slug();
        let began = Timestamp::now();
        for unit in crate::takedown::services(desired) {
            self.inner.systemd.reset_failed(&unit).await?;
        }
        let checks = Checks::default();
        self.join_neighbours(desired).await;
        let work = self.run_start_jobs(desired);
        let failed = tokio::select! {
            failed = work => failed?,
            () = self.listen_to_checks(desired, &checks) => None,
        };
        match failed {
            None => {
                self.make_copies_last(desired).await;
                Ok(())
            }
            Some((container, result)) => {
                let checks = checks.into_inner().unwrap_or_else(PoisonError::into_inner);
                let name = names::container(&desired.release.manifest, &container);
                let checks = checks.get(&name).cloned().unwrap_or_default();
                let (failure, log) = self
                    .explain(desired, &container, &result, &checks, began)
                    .await;
                tracing::warn!(app = %desired.app, container = %container, failure = %failure, "a container did not come up");
                Err(StartError::Container {
                    app: app.clone(),
                    container,
                    failure,
                    log,
                })
            }
        }
    }

    /// Checks that the app's own name still keeps each image: units name them by their IDs, so that without it they would
    /// run what another app, which claims the same ID, has brought in.
    pub(crate) async fn check_names(&self, desired: &Desired) -> Result<(), StartError> {
        let Some(container) = self.missing_image(&desired.release).await? else {
            return Ok(());
        };
        Err(StartError::Container {
            app: desired.slug().clone(),
            container,
            failure: Failure::ImageMissing,
            log: Vec::new(),
        })
    }

    /// Starts every container at once, in the order that their units ask for; returns the first that failed by itself.
    async fn run_start_jobs(
        &self,
        desired: &Desired,
    ) -> Result<Option<(Slug, JobResult)>, SystemdError> {
        let start = |container: &Slug| {
            let unit = names::container_unit(desired.slug(), container);
            let container = container.clone();
            async move {
                let result = self.inner.systemd.job(Verb::Start, &unit).await;
                (container, result)
            }
        };
        let mut jobs: FuturesUnordered<_> = desired.containers().map(start).collect();
        let mut waiting_for_another = None;
        while let Some((container, result)) = jobs.next().await {
            match result? {
                JobResult::Done => {}
                JobResult::Dependency => {
                    waiting_for_another.get_or_insert((container, JobResult::Dependency));
                }
                failed @ (JobResult::Failed | JobResult::Other(_)) => {
                    return Ok(Some((container, failed)));
                }
            }
        }
        Ok(waiting_for_another)
    }

    /// Keeps what failed health checks say; their container is gone when systemd reports the failure. Never ends.
    async fn listen_to_checks(&self, desired: &Desired, checks: &Checks) {
        let names = desired.podman_names();
        let listening = async {
            let mut events = self.inner.podman.events().await?;
            while let Some(event) = events.next().await? {
                let name = event.actor.attributes.get("name");
                let Some(name) = name.filter(|name| names.contains(name)) else {
                    continue;
                };
                if event.action != "health_status" {
                    continue;
                }
                let health = self.inner.podman.health(name).await?.unwrap_or_default();
                let runs = health.log.unwrap_or_default();
                let failed = runs.into_iter().filter(|run| run.exit_code != 0);
                let said: Vec<String> = failed
                    .map(|run| run.output.trim().chars().take(500).collect())
                    .filter(|said: &String| !said.is_empty())
                    .collect();
                let mut checks = checks.lock().unwrap_or_else(PoisonError::into_inner);
                let entry = checks.entry(name.clone()).or_default();
                if said.is_empty() {
                    entry.push("it failed without a word".to_owned());
                } else {
                    *entry = said;
                }
            }
            Ok::<(), PodmanError>(())
        };
        if let Err(error) = listening.await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "no news of health checks"
            );
        }
        std::future::pending::<()>().await;
    }

    async fn explain(
        &self,
        desired: &Desired,
        container: &Slug,
        result: &JobResult,
        checks: &[String],
        began: Timestamp,
    ) -> (Failure, Vec<String>) {
        let mut unit = names::container_unit(desired.slug(), container);
        let mut needed = None;
        if *result == JobResult::Dependency {
            needed = self.failed_unit(desired).await;
            unit = needed.clone().unwrap_or(unit);
        }
        let state = self.inner.systemd.service(&unit).await.unwrap_or_default();
        let reading = read_log(&unit, Some(began), LOG_LINES);
        let log = tokio::time::timeout(JOURNAL_TIMEOUT, reading)
            .await
            .unwrap_or_default();
        if *result == JobResult::Dependency {
            return (explain_needed(needed, &log), log);
        }
        let manifest = &desired.release.manifest;
        let mut containers = manifest.containers.iter();
        let described = containers.find(|one| &one.name == container);
        let traits = Traits {
            has_health_check: described.is_some_and(|one| one.health_check.is_some()),
            has_host_network: manifest.network_policy == NetworkPolicy::Host,
        };
        let mut failure = explain(&state, &log, checks, traits);
        if let Failure::PortTaken { port, holder } = &mut failure {
            let bindings = desired
                .settings
                .ports
                .iter()
                .filter(|b| &b.container == container);
            let busy = bindings
                .filter(|binding| port.is_none_or(|port| port == binding.host_port))
                .find(|binding| !ports::is_free(binding.host_port, binding.protocol));
            if let Some(binding) = busy {
                *port = Some(binding.host_port);
                *holder = self
                    .port_holder(desired, binding.host_port, binding.protocol)
                    .await;
            }
        }
        if failure.is_podmans()
            && let Some(lack) = setup::lack_of_sub_ids()
        {
            failure = Failure::FewSubIds { lack };
        }
        (failure, log)
    }

    /// Finds the service of an app that failed: while none of its containers did, that of a network or volume.
    async fn failed_unit(&self, desired: &Desired) -> Option<String> {
        for unit in crate::takedown::services(desired) {
            let state = self.inner.systemd.service(&unit).await;
            if state.is_ok_and(|state| state.active == "failed") {
                return Some(unit);
            }
        }
        None
    }

    /// Says why a service ended that systemd started again; `None` where its log does not tell.
    pub(crate) async fn why_ended(&self, unit: &str) -> Option<String> {
        let reading = read_log(unit, None, LAST_RUN_LINES);
        let log = tokio::time::timeout(JOURNAL_TIMEOUT, reading).await;
        let failure = explain_last_run(&log.unwrap_or_default())?;
        Some(failure.to_string())
    }

    /// Names who holds a port: another app, another container, or a program of this user.
    async fn port_holder(
        &self,
        desired: &Desired,
        port: u16,
        protocol: Protocol,
    ) -> Option<String> {
        let found = self.inner.store.load_all().unwrap_or_default();
        let app = found.desired.iter().find(|other| {
            let mut ports = other.settings.ports.iter();
            other.slug() != desired.slug()
                && other.wish == Wish::Running
                && ports.any(|b| b.host_port == port && b.protocol == protocol)
        });
        if let Some(app) = app {
            return Some(format!("the app {}", app.slug()));
        }
        let containers = self.inner.podman.containers().await.unwrap_or_default();
        let container = containers.into_iter().find(|container| {
            let mut published = container.ports.iter().flatten();
            published.any(|published| ports::has(published, port, protocol))
        });
        match container.and_then(|container| container.names.into_iter().next()) {
            Some(name) => Some(format!("the container {name}")),
            None => ports::holder(port, protocol).map(|program| format!("the program {program}")),
        }
    }
}

async fn read_log(unit: &str, since: Option<Timestamp>, lines_max: u32) -> Vec<String> {
    let query = Query {
        units: vec![unit.to_owned()],
        since,
        lines: Some(lines_max),
        ..Query::default()
    };
    let mut lines = Vec::new();
    let Ok(mut stream) = LogStream::open(&query) else {
        return lines;
    };
    while let Ok(Some(line)) = stream.next().await {
        lines.push(line.text);
    }
    lines
}
