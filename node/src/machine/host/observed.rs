//! What the orchestrator sees, in the words of the API.

use archy_orchestrator as orchestrator;
use archy_orchestrator::ContainerState;
use archy_registry::manifest::InterfaceKind;

use crate::api::problem;
use crate::api::types::{ContainerInfo, InstanceState, InterfaceInfo};
use crate::machine::{Installed, Observed};

/// Translates all that the orchestrator sees.
pub(super) fn translate(observed: &orchestrator::Observed) -> Observed {
    Observed {
        at: observed.at,
        apps: observed.instances.iter().map(installed).collect(),
        stale: observed.stale.clone(),
        damaged: observed.damaged.clone(),
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
        settings: instance.settings.clone(),
        before: instance.before.clone(),
        failed: instance.failed.clone(),
        adoption: instance.adoption.as_ref().map(super::adopt::info),
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
        orchestrator::InstanceState::Unknown => InstanceState::Unknown,
        orchestrator::InstanceState::Installing => InstanceState::Installing,
        orchestrator::InstanceState::Changing => InstanceState::Changing,
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
        ContainerState::Unknown => InstanceState::Unknown,
        ContainerState::Starting | ContainerState::Restarting => InstanceState::Starting,
        ContainerState::Running => InstanceState::Running,
        ContainerState::Unhealthy => InstanceState::Unhealthy,
        ContainerState::Stopping => InstanceState::Stopping,
        ContainerState::Stopped => InstanceState::Stopped,
        ContainerState::Failed => InstanceState::Failed,
    }
}
