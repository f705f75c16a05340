//! What is: the state of every installed app, worked out from what systemd and podman report.

use std::collections::BTreeMap;
use std::path::PathBuf;

use archy_registry::manifest::{Container as ManifestContainer, InterfaceKind};
use archy_registry::{AppId, Blake3Hash, Slug};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::adopt::Adopted;
use crate::desired::{Desired, FailedChange, Stage, Wish};
use crate::names;
use crate::plan::Machine;
use crate::quadlet::{LABEL_APP, LABEL_CONTAINER};
use crate::runtime::podman;
use crate::runtime::systemd::UnitState;
use crate::settings::{PortBinding, Settings};

/// How an app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Not seen yet, because systemd or podman do not answer.
    Unknown,
    /// It is being installed.
    Installing,
    /// It is being changed, or brought back to what it was.
    Changing,
    /// Some of it is not up yet.
    Starting,
    /// All of it is up, and healthy where that is checked.
    Running,
    /// It runs, but a health check fails.
    Unhealthy,
    /// It keeps ending and being started again.
    CrashLooping,
    /// It should run and does not.
    Failed,
    /// It should not run and does not yet stand still.
    Stopping,
    /// It should not run.
    Stopped,
}

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ContainerState {
    Unknown,
    Starting,
    Running,
    Unhealthy,
    Restarting,
    Stopping,
    Stopped,
    Failed,
}

/// An installed app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The app.
    pub app: AppId,
    /// Its version.
    pub version: String,
    /// The hash of its release.
    pub release: Blake3Hash,
    /// What the owner wants.
    pub wish: Wish,
    /// How it is.
    pub state: InstanceState,
    /// Why it is not as wished, in a sentence.
    pub reason: Option<String>,
    /// When it was installed.
    pub installed_at: Timestamp,
    /// When the node tries again to bring it up.
    pub next_try: Option<Timestamp>,
    /// Its containers, in the manifest's order.
    pub containers: Vec<ContainerStatus>,
    /// Where its ports are found.
    pub ports: Vec<PortBinding>,
    /// What can be opened, with the port on the node.
    pub interfaces: Vec<OpenInterface>,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// What the owner set.
    pub settings: Settings,
    /// The version that the owner can go back to.
    pub before: Option<Earlier>,
    /// The last change, if it was taken back.
    pub failed: Option<FailedChange>,
    /// The containers that others made, until they are let go of.
    #[serde(default)]
    pub adoption: Option<Adopted>,
}

/// A version that an app can go back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Its version.
    pub version: String,
    /// The hash of its release.
    pub release: Blake3Hash,
    /// Whether its data of that time was kept.
    pub has_data: bool,
}

/// A container of an installed app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its name in the manifest.
    pub name: Slug,
    /// The service that runs it.
    pub unit: String,
    /// How it is.
    pub state: ContainerState,
    /// Since when it runs.
    pub started_at: Option<Timestamp>,
    /// How often systemd started it again of late.
    pub restarts: u32,
}

/// Something of an app that a person or program can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenInterface {
    /// Shown name.
    pub name: String,
    /// Port on the node.
    pub host_port: u16,
    /// Path of the first page.
    pub path: String,
    /// For whom.
    pub kind: InterfaceKind,
}

/// What the node knows of its apps, and how old that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// When the machine was last seen; everything below is from then.
    pub at: Option<Timestamp>,
    /// The apps, by slug.
    pub instances: Vec<Instance>,
    /// Why the machine cannot be seen now.
    pub stale: Option<String>,
    /// Apps whose desired state cannot be read, with the reason; nothing is done to them.
    pub damaged: Vec<(Slug, String)>,
}

/// What the reconciler remembers of an app beside the machine's state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remembered {
    pub(crate) next_try: Option<Timestamp>,
    pub(crate) last_failure: Option<String>,
    /// Restarts by systemd of late, by container.
    pub(crate) restarts: BTreeMap<Slug, u32>,
    /// Why a container ended before systemd last started it again, in words.
    pub(crate) endings: BTreeMap<Slug, String>,
}

impl Remembered {
    /// Says which container keeps ending, and why where that is known; `None` when none does.
    pub(crate) fn looping(&self) -> Option<String> {
        let mut restarts = self.restarts.iter();
        let (container, _) = restarts.find(|(_, times)| **times >= CRASH_LOOP_RESTARTS)?;
        let why = self.endings.get(container);
        let why = why.map_or_else(
            || "see its log".to_owned(),
            |why| format!("the last time, {why}"),
        );
        Some(format!("container {container} keeps ending; {why}"))
    }
}

/// Restarts of late that make a crash loop.
pub(crate) const CRASH_LOOP_RESTARTS: u32 = 3;

/// Works out how an app is; where no machine was seen, all that is known of it is what should be.
pub(crate) fn instance(
    desired: &Desired,
    machine: Option<&Machine>,
    remembered: &Remembered,
    data_dir: PathBuf,
) -> Instance {
    let manifest = &desired.release.manifest;
    let status = |container: &ManifestContainer| status(desired, container, machine, remembered);
    let containers: Vec<ContainerStatus> = manifest.containers.iter().map(status).collect();
    let looping = containers.iter().any(|c| c.restarts >= CRASH_LOOP_RESTARTS);
    let state = state(desired, &containers, looping);
    let well = matches!(
        state,
        InstanceState::Running
            | InstanceState::Stopped
            | InstanceState::Installing
            | InstanceState::Changing
            | InstanceState::Unknown
    );
    let words = || {
        if let Some(looping) = remembered.looping() {
            return Some(looping);
        }
        let worst = containers
            .iter()
            .find(|c| c.state != ContainerState::Running)?;
        let name = &worst.name;
        match worst.state {
            ContainerState::Unhealthy => {
                Some(format!("the health check of container {name} fails"))
            }
            ContainerState::Failed if desired.stage == Stage::Adopted => {
                Some(format!("the container that was claimed as {name} is gone"))
            }
            ContainerState::Failed => Some(format!("container {name} failed; see its log")),
            ContainerState::Stopped if desired.wish == Wish::Running => {
                Some(format!("container {name} does not run"))
            }
            ContainerState::Unknown
            | ContainerState::Starting
            | ContainerState::Running
            | ContainerState::Restarting
            | ContainerState::Stopping
            | ContainerState::Stopped => None,
        }
    };
    // It may run and yet not be as wished.
    let is_amiss = state == InstanceState::Running && remembered.next_try.is_some();
    let reason = if well && !is_amiss {
        None
    } else {
        remembered.last_failure.clone().or_else(words)
    };
    Instance {
        app: desired.app.clone(),
        version: manifest.app.version.clone(),
        release: desired.release_hash,
        wish: desired.wish,
        state,
        reason,
        installed_at: desired.installed_at,
        next_try: remembered.next_try.filter(|_| !well || is_amiss),
        containers,
        ports: desired.settings.ports.clone(),
        interfaces: interfaces(desired),
        data_dir,
        settings: desired.settings.clone(),
        before: desired.before.as_ref().map(|before| Earlier {
            version: before.version.release.manifest.app.version.clone(),
            release: before.version.release_hash,
            has_data: before.snapshot.is_some(),
        }),
        failed: desired.failed.clone(),
        adoption: desired.adoption.as_ref().map(|adoption| adoption.shown()),
    }
}

fn state(desired: &Desired, containers: &[ContainerStatus], looping: bool) -> InstanceState {
    let any = |state: ContainerState| containers.iter().any(|c| c.state == state);
    let all = |state: ContainerState| containers.iter().all(|c| c.state == state);
    match desired.stage {
        Stage::Installing => return InstanceState::Installing,
        Stage::Changing | Stage::Returning | Stage::Migrating | Stage::Unmigrating => {
            return InstanceState::Changing;
        }
        Stage::Adopted | Stage::Installed if any(ContainerState::Unknown) => {
            return InstanceState::Unknown;
        }
        Stage::Adopted => {
            return if all(ContainerState::Running) {
                InstanceState::Running
            } else if any(ContainerState::Unhealthy) {
                InstanceState::Unhealthy
            } else if any(ContainerState::Starting) {
                InstanceState::Starting
            } else if all(ContainerState::Stopped) {
                InstanceState::Stopped
            } else {
                InstanceState::Failed
            };
        }
        Stage::Installed => {}
    }
    if desired.wish != Wish::Running {
        let still = |c: &ContainerStatus| {
            matches!(c.state, ContainerState::Stopped | ContainerState::Failed)
        };
        return if containers.iter().all(still) {
            InstanceState::Stopped
        } else {
            InstanceState::Stopping
        };
    }
    if looping {
        InstanceState::CrashLooping
    } else if all(ContainerState::Running) {
        InstanceState::Running
    } else if any(ContainerState::Failed) || all(ContainerState::Stopped) {
        InstanceState::Failed
    } else if any(ContainerState::Unhealthy) {
        InstanceState::Unhealthy
    } else {
        InstanceState::Starting
    }
}

fn status(
    desired: &Desired,
    manifest: &ManifestContainer,
    machine: Option<&Machine>,
    remembered: &Remembered,
) -> ContainerStatus {
    let unit = names::container_unit(desired.slug(), &manifest.name);
    let Some(machine) = machine else {
        return ContainerStatus {
            name: manifest.name.clone(),
            unit,
            state: ContainerState::Unknown,
            started_at: None,
            restarts: 0,
        };
    };
    if desired.stage == Stage::Adopted {
        return claimed(desired, manifest, machine, unit);
    }
    let container = container_of(desired, &manifest.name, &machine.containers);
    let started_at = container
        .filter(|container| container.state == "running")
        .and_then(|container| Timestamp::from_second(container.started_at).ok());
    ContainerStatus {
        state: container_state(machine.units.get(&unit), container),
        name: manifest.name.clone(),
        unit,
        started_at,
        restarts: remembered
            .restarts
            .get(&manifest.name)
            .copied()
            .unwrap_or(0),
    }
}

/// How a container is that others made.
fn claimed(
    desired: &Desired,
    manifest: &ManifestContainer,
    machine: &Machine,
    unit: String,
) -> ContainerStatus {
    let adoption = desired.adoption.as_ref();
    let held = adoption.and_then(|adoption| adoption.containers.get(&manifest.name));
    let container = held.and_then(|held| held.find(&machine.containers));
    let running = container.filter(|container| container.state == "running");
    let state = match (container, running) {
        (None, _) => ContainerState::Failed,
        (Some(_), None) => ContainerState::Stopped,
        (Some(_), Some(running)) => match running.status.as_str() {
            "unhealthy" => ContainerState::Unhealthy,
            "starting" => ContainerState::Starting,
            _ => ContainerState::Running,
        },
    };
    ContainerStatus {
        name: manifest.name.clone(),
        unit,
        state,
        started_at: running.and_then(|container| Timestamp::from_second(container.started_at).ok()),
        restarts: 0,
    }
}

/// Finds the container that runs for one in an app's manifest.
pub(crate) fn container_of<'a>(
    app: &Desired,
    name: &Slug,
    containers: &'a [podman::Container],
) -> Option<&'a podman::Container> {
    let id = app.app.to_string();
    containers.iter().find(|container| {
        container.label(LABEL_APP) == Some(id.as_str())
            && container.label(LABEL_CONTAINER) == Some(name.as_str())
    })
}

fn container_state(
    unit: Option<&UnitState>,
    container: Option<&podman::Container>,
) -> ContainerState {
    let Some(unit) = unit else {
        return ContainerState::Stopped;
    };
    let runs = container.is_some_and(|container| container.state == "running");
    match (unit.active.as_str(), unit.sub.as_str()) {
        ("active" | "reloading", _) if !runs => ContainerState::Stopped,
        ("active" | "reloading", _) => match container.map(|container| container.status.as_str()) {
            Some("unhealthy") => ContainerState::Unhealthy,
            _ => ContainerState::Running,
        },
        ("activating", "auto-restart" | "auto-restart-queued") => ContainerState::Restarting,
        ("activating", _) => ContainerState::Starting,
        ("deactivating", _) => ContainerState::Stopping,
        ("failed", _) => ContainerState::Failed,
        _ => ContainerState::Stopped,
    }
}

fn interfaces(desired: &Desired) -> Vec<OpenInterface> {
    let manifest = &desired.release.manifest;
    let open = manifest.interfaces.iter().filter_map(|interface| {
        let mut ports = desired.settings.ports.iter();
        let binding = ports.find(|binding| binding.container_port == interface.port)?;
        Some(OpenInterface {
            name: interface.name.clone(),
            host_port: binding.host_port,
            path: interface.path.clone().unwrap_or_else(|| "/".to_owned()),
            kind: interface.kind,
        })
    });
    open.collect()
}
