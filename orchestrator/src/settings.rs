//! What a node decided about an installed app: its ports. Kept with the app's desired state.

use std::net::IpAddr;

use archy_registry::Slug;
use archy_registry::manifest::{Manifest, NetworkPolicy, Protocol};
use serde::{Deserialize, Serialize};

use crate::surroundings::Surroundings;

/// What a node decided about an installed app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where each published port is found on the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortBinding>,
    /// Address that published ports listen on; all addresses when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<IpAddr>,
    /// What the units depend on besides the release.
    #[serde(default, skip_serializing_if = "is_default")]
    pub surroundings: Surroundings,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where one published port is found on the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortBinding {
    /// The container.
    pub container: Slug,
    /// Port inside it.
    pub container_port: u16,
    /// Transport.
    pub protocol: Protocol,
    /// Port on the node.
    pub host_port: u16,
}

/// First and last port that is assigned when a wish cannot be met.
const ASSIGNED: std::ops::RangeInclusive<u16> = 20_000..=29_999;

/// No port could be assigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// The range is used up.
    #[error("no free port is left between {} and {} for {container}", ASSIGNED.start(), ASSIGNED.end())]
    Exhausted {
        /// The container that wanted one.
        container: Slug,
    },
    /// An app that shares the node's network needs exactly this port.
    #[error(
        "port {port} is in use, and the app needs exactly this one because it uses the node's own network"
    )]
    HostPort {
        /// The port.
        port: u16,
    },
}

impl Settings {
    /// Decides every port of `manifest`: what `previous` says if it still fits, else the wished port, else a free one.
    ///
    /// `free` tells whether a port of the node can be taken.
    ///
    /// # Errors
    ///
    /// [`AssignError`] when no port is left, or an app with the node's own network finds its port taken.
    pub fn assign(
        manifest: &Manifest,
        previous: &Self,
        mut free: impl FnMut(u16, Protocol) -> bool,
    ) -> Result<Self, AssignError> {
        let mut ports: Vec<PortBinding> = Vec::new();
        for container in &manifest.containers {
            for port in &container.ports {
                let ours = |binding: &&PortBinding| {
                    binding.container == container.name
                        && binding.container_port == port.container
                        && binding.protocol == port.protocol
                };
                let taken = |ports: &[PortBinding], host: u16| {
                    ports.iter().any(|binding| {
                        binding.host_port == host && binding.protocol == port.protocol
                    })
                };
                let host_port = if manifest.network_policy == NetworkPolicy::Host {
                    let port_needed = port.container;
                    if taken(&ports, port_needed) || !free(port_needed, port.protocol) {
                        return Err(AssignError::HostPort { port: port_needed });
                    }
                    port_needed
                } else {
                    let kept = previous.ports.iter().find(ours).map(|b| b.host_port);
                    kept.into_iter()
                        .chain(port.host)
                        .chain(ASSIGNED)
                        .find(|host| !taken(&ports, *host) && free(*host, port.protocol))
                        .ok_or_else(|| AssignError::Exhausted {
                            container: container.name.clone(),
                        })?
                };
                ports.push(PortBinding {
                    container: container.name.clone(),
                    container_port: port.container,
                    protocol: port.protocol,
                    host_port,
                });
            }
        }
        Ok(Self {
            ports,
            bind: previous.bind,
            surroundings: previous.surroundings.clone(),
        })
    }
}
