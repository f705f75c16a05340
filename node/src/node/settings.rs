//! An app's settings between the API's words and the orchestrator's.

use std::collections::BTreeMap;

use archy_orchestrator::{ContainerEdit, PortBinding, Settings, SettingsEdit};
use archy_registry::Slug;
use archy_registry::manifest::{Container, Manifest, Protocol};

use super::{invalid, parse_slug};
use crate::api::problem;
use crate::api::types::{
    ConfigureParams, ContainerSetting, ContainerSettings, PortSetting, Problem, SettingsPage,
};

/// Reads what the owner wants to be otherwise.
pub(super) fn edit(params: &ConfigureParams) -> Result<SettingsEdit, Problem> {
    let port = |wished: &PortSetting| {
        let protocol = match wished.protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => {
                let message = format!("A port is tcp or udp, not {other:?}");
                return Err(problem("invalid", message, ""));
            }
        };
        Ok(PortBinding {
            container: parse_slug(&wished.container)?,
            container_port: wished.port,
            protocol,
            host_port: wished.host_port,
        })
    };
    let container = |(name, wished): (&String, &ContainerSetting)| {
        let edit = ContainerEdit {
            environment: wished.environment.clone(),
            memory: parsed(wished.memory.as_deref())?,
            cpus: parsed(wished.cpus.as_deref())?,
            pids: wished.pids,
        };
        Ok::<(Slug, ContainerEdit), Problem>((parse_slug(name)?, edit))
    };
    Ok(SettingsEdit {
        ports: params.ports.iter().map(port).collect::<Result<_, _>>()?,
        bind: None,
        containers: params
            .containers
            .iter()
            .map(container)
            .collect::<Result<BTreeMap<_, _>, _>>()?,
    })
}

fn parsed<T: std::str::FromStr<Err: std::error::Error + 'static>>(
    text: Option<&str>,
) -> Result<Option<T>, Problem> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|error: T::Err| invalid(&error))
}

/// Writes an app's settings beside what its publisher says, as far as that is known.
pub(super) fn page(settings: &Settings, manifest: Option<&Manifest>) -> SettingsPage {
    let port = |binding: &PortBinding| PortSetting {
        container: binding.container.to_string(),
        port: binding.container_port,
        protocol: match binding.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
        .to_owned(),
        host_port: binding.host_port,
    };
    let containers = manifest
        .into_iter()
        .flat_map(|manifest| &manifest.containers);
    let container = |container: &Container| ContainerSettings {
        name: container.name.to_string(),
        set: settings.containers.get(&container.name).map_or_else(
            ContainerSetting::default,
            |edit| ContainerSetting {
                environment: edit.environment.clone(),
                memory: edit.memory.map(|size| size.to_string()),
                cpus: edit.cpus.map(|cpus| cpus.to_string()),
                pids: edit.pids,
            },
        ),
        published: ContainerSetting {
            environment: container.environment.clone(),
            memory: container.resources.memory.map(|size| size.to_string()),
            cpus: container.resources.cpus.map(|cpus| cpus.to_string()),
            pids: container.resources.pids,
        },
    };
    SettingsPage {
        ports: settings.ports.iter().map(port).collect(),
        containers: containers.map(container).collect(),
    }
}
