//! Containers that others made, in the words of the API.

use archy_orchestrator::{AdoptError, ComeUpError, Effect, Foreign, Origin, Topic};
use archy_registry::manifest::Protocol;

use super::failed::{detailed, of_hook, of_machine, of_refusal, of_start, of_update};
use crate::api::problem;
use crate::api::types::{
    AdoptionInfo, ContainerOrigin, ForeignContainer, ForeignMount, MigrationEffect, MigrationItem,
    MigrationPlan,
};
use crate::machine::MachineError;
use crate::problem as explain;

pub(crate) fn container(foreign: &Foreign) -> ForeignContainer {
    let (origin, origin_name, origin_file) = match &foreign.origin {
        Origin::Run => (ContainerOrigin::Run, None, None),
        Origin::Unit { unit, file } => (
            ContainerOrigin::Unit,
            Some(unit.clone()),
            Some(file.clone()).filter(|file| !file.is_empty()),
        ),
        Origin::Compose { project, .. } => (ContainerOrigin::Compose, Some(project.clone()), None),
    };
    let ports = foreign.ports.iter().map(|port| {
        let address = match port.address.as_str() {
            "" => String::new(),
            address => format!("{address}:"),
        };
        let protocol = match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        format!("{address}{}:{}/{protocol}", port.host, port.container)
    });
    let mounts = foreign.mounts.iter().map(|mount| ForeignMount {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        writable: mount.writable,
    });
    ForeignContainer {
        id: foreign.id.clone(),
        name: foreign.name.clone(),
        image: foreign.image.clone(),
        state: foreign.state.clone(),
        since: foreign.started_at.map(|at| at.to_string()),
        origin,
        origin_name,
        origin_file,
        restart: foreign.restart.clone(),
        ports: ports.collect(),
        mounts: mounts.collect(),
        unclaimed: None,
    }
}

pub(super) fn plan(plan: archy_orchestrator::MigrationPlan) -> MigrationPlan {
    let items = plan.items.into_iter().map(|item| MigrationItem {
        id: item.id,
        container: item.container.to_string(),
        topic: topic(item.topic).to_owned(),
        effect: match item.effect {
            Effect::Keeps => MigrationEffect::Keeps,
            Effect::Changes => MigrationEffect::Changes,
            Effect::Loses => MigrationEffect::Loses,
            Effect::Refuses => MigrationEffect::Refuses,
        },
        words: item.words,
    });
    MigrationPlan {
        slug: plan.app.slug.to_string(),
        version: plan.version,
        items: items.collect(),
    }
}

fn topic(topic: Topic) -> &'static str {
    match topic {
        Topic::Image => "image",
        Topic::Data => "data",
        Topic::Port => "port",
        Topic::Environment => "environment",
        Topic::Secret => "secret",
        Topic::Right => "right",
        Topic::Network => "network",
        Topic::Limit => "limit",
        Topic::Container => "container",
    }
}

pub(super) fn info(adopted: &archy_orchestrator::Adopted) -> AdoptionInfo {
    let containers = adopted.containers.iter();
    AdoptionInfo {
        migrated: adopted.migrated,
        containers: containers
            .map(|(container, held)| (container.to_string(), held.name.clone()))
            .collect(),
    }
}

pub(super) fn of_adopt(error: AdoptError) -> MachineError {
    let by_machine = |problem| MachineError::Failed {
        problem,
        by_app: false,
    };
    let text = error.to_string();
    let (kind, hint) = match error {
        AdoptError::Cancelled => return MachineError::Stopped,
        AdoptError::Refused(refusal) => return by_machine(of_refusal(&refusal)),
        AdoptError::Unsettled(error) => return of_update(*error),
        AdoptError::Machine(error) => return by_machine(of_machine(&error)),
        AdoptError::Blocked(items) => {
            let words = "The migration would lose what nobody accepted";
            let hint = "`archy adopt migrate --plan` shows it; name what may be lost with --accept";
            let mut blocked = problem("notAccepted", words, hint);
            let item =
                |item: archy_orchestrator::MigrationItem| format!("{}: {}", item.id, item.words);
            blocked.details = items.into_iter().map(item).collect();
            return by_machine(blocked);
        }
        AdoptError::TakenBack { why, .. } => {
            let (details, _) = match &*why {
                ComeUpError::Cancelled => return MachineError::Stopped,
                ComeUpError::Start(start) => of_start(start).details(),
                ComeUpError::Hook(hook) => of_hook(hook).details(),
                ComeUpError::Snapshot(_) | ComeUpError::Machine(_) | ComeUpError::Old(_) => {
                    (explain::causes(&*why), false)
                }
            };
            let hint =
                "The containers from before run as they did; the details are for the publisher";
            let mut taken_back = problem("takenBack", text, hint);
            taken_back.details = details;
            // What the owner's data and settings did to it says little of the publisher.
            return by_machine(taken_back);
        }
        AdoptError::ImageMissing { .. } => {
            let words = "podman lost an image while the app was migrated".to_owned();
            return by_machine(detailed("podman", words, "Try again", &error));
        }
        AdoptError::Unmatched { .. } => (
            "noContainer",
            "`archy adopt list` shows what runs here; name a container with --container",
        ),
        AdoptError::NotClaimed(_) => ("notClaimed", "Claim its containers first"),
        AdoptError::NotMigrated(_) => ("notMigrated", "`archy status` tells how it is"),
        AdoptError::Gone { .. } => (
            "containerGone",
            "Make the container again, or uninstall the app and install it anew",
        ),
        AdoptError::Unit { .. } => ("unitFailed", "Look at the service's log"),
        AdoptError::WouldVanish { .. } => (
            "wouldVanish",
            "Make the container again without --rm, or purge it",
        ),
        AdoptError::StartedAgain { .. } => (
            "startedAgain",
            "Keep what starts the container from doing so, then try again",
        ),
        AdoptError::Between(_) => (
            "migrated",
            "`archy adopt undo` or `archy adopt finish`, then try again",
        ),
    };
    by_machine(problem(kind, text, hint))
}
