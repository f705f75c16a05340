//! What a node and its owner decided about an installed app: ports, environment, limits. Kept with the app's desired
//! state, and through updates.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use archy_registry::Slug;
use archy_registry::manifest::{Cpus, Manifest, NetworkPolicy, Protocol, Size};
use serde::{Deserialize, Serialize};

use crate::shadow::Shadow;
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
    /// What the owner set instead of what the manifest says, by container. One that the manifest no longer has is kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub containers: BTreeMap<Slug, ContainerEdit>,
    /// What the units depend on besides the release.
    #[serde(default, skip_serializing_if = "is_default")]
    pub surroundings: Surroundings,
    /// What the instance is, when it is not the app itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What the owner set for a container instead of what the manifest says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerEdit {
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Most processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// What an owner wants to be set otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsEdit {
    /// Ports of the node that are to be others; those not named stay.
    #[serde(default)]
    pub ports: Vec<PortBinding>,
    /// Address that published ports are to listen on: absent leaves it, null is all addresses.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub bind: Option<Option<IpAddr>>,
    /// All that is set for these containers; an empty edit returns to the manifest.
    #[serde(default)]
    pub containers: BTreeMap<Slug, ContainerEdit>,
}

/// Tells null from absent.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<IpAddr>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
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
pub(crate) const ASSIGNED: std::ops::RangeInclusive<u16> = 20_000..=29_999;

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
    /// The owner asked for a port that is not free.
    #[error("port {port} is in use; choose another")]
    Taken {
        /// The port.
        port: u16,
    },
}

/// The owner asked for a setting that the app does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// No such container.
    #[error("the app has no container {0}")]
    Container(Slug),
    /// No such port.
    #[error("container {container} publishes no port {port}")]
    Port {
        /// The container.
        container: Slug,
        /// The port inside it.
        port: u16,
    },
    /// Its value is a secret that the node makes.
    #[error(
        "{variable} of container {container} is a secret that this node made; it cannot be set"
    )]
    Secret {
        /// The container.
        container: Slug,
        /// The variable.
        variable: String,
    },
    /// It asks the node to fill in what there is not.
    #[error("{variable} of container {container} {complaint}")]
    Value {
        /// The container.
        container: Slug,
        /// The variable.
        variable: String,
        /// What is wrong with it.
        complaint: String,
    },
    /// An app that shares the node's network has no other ports.
    #[error("the app uses the node's own network, where its ports cannot be others")]
    HostNetwork,
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
            containers: previous.containers.clone(),
            surroundings: previous.surroundings.clone(),
            shadow: None,
        })
    }

    /// Returns the settings with an edit, if the app of `manifest` has what it names.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub fn edited(&self, edit: &SettingsEdit, manifest: &Manifest) -> Result<Self, EditError> {
        let mut edited = self.clone();
        let is_host = manifest.network_policy == NetworkPolicy::Host;
        if is_host && !(edit.ports.is_empty() && edit.bind.is_none()) {
            return Err(EditError::HostNetwork);
        }
        for wished in &edit.ports {
            let mut bindings = edited.ports.iter_mut();
            let binding = bindings.find(|binding| {
                binding.container == wished.container
                    && binding.container_port == wished.container_port
                    && binding.protocol == wished.protocol
            });
            let binding = binding.ok_or_else(|| EditError::Port {
                container: wished.container.clone(),
                port: wished.container_port,
            })?;
            binding.host_port = wished.host_port;
        }
        if let Some(bind) = edit.bind {
            edited.bind = bind;
        }
        for (name, wished) in &edit.containers {
            let mut containers = manifest.containers.iter();
            let container = containers.find(|container| container.name == *name);
            let container = container.ok_or_else(|| EditError::Container(name.clone()))?;
            let mut variables = wished.environment.keys();
            if let Some(secret) = variables.find(|key| container.secret_env.contains_key(*key)) {
                return Err(EditError::Secret {
                    container: name.clone(),
                    variable: secret.clone(),
                });
            }
            for (variable, value) in &wished.environment {
                let checked = manifest.check_value(value);
                checked.map_err(|complaint| EditError::Value {
                    container: name.clone(),
                    variable: variable.clone(),
                    complaint,
                })?;
            }
            if *wished == ContainerEdit::default() {
                edited.containers.remove(name);
            } else {
                edited.containers.insert(name.clone(), wished.clone());
            }
        }
        Ok(edited)
    }

    /// Checks that every port is the one that was wished.
    ///
    /// # Errors
    ///
    /// [`AssignError::Taken`] names one that is not.
    pub fn meet(&self, wished: &Self) -> Result<(), AssignError> {
        let other = wished.ports.iter().find(|port| !self.ports.contains(port));
        other.map_or(Ok(()), |binding| {
            Err(AssignError::Taken {
                port: binding.host_port,
            })
        })
    }

    /// Returns the manifest with what the owner set.
    pub fn applied_to<'a>(&self, manifest: &'a Manifest) -> Cow<'a, Manifest> {
        let mut names = manifest.containers.iter().map(|container| &container.name);
        if !names.any(|name| self.containers.contains_key(name)) {
            return Cow::Borrowed(manifest);
        }
        let mut applied = manifest.clone();
        for container in &mut applied.containers {
            let Some(edit) = self.containers.get(&container.name) else {
                continue;
            };
            let ContainerEdit {
                environment,
                memory,
                cpus,
                pids,
            } = edit;
            for (name, value) in environment {
                if !container.secret_env.contains_key(name) {
                    container.environment.insert(name.clone(), value.clone());
                }
            }
            let resources = &mut container.resources;
            resources.memory = memory.or(resources.memory);
            resources.cpus = cpus.or(resources.cpus);
            resources.pids = pids.or(resources.pids);
        }
        Cow::Owned(applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let yaml = r#"
app: {id: a, name: A, version: 1.0.0, tagline: A, category: other}
containers:
  - name: web
    source: {type: pull, image: "localhost/a:latest"}
    environment: {A: one, B: two}
    secret_env: {KEY: key}
    ports: [{container: 80}, {container: 81}]
    resources: {memory: 64M, pids: 10}
generated_secrets: [{name: key, kind: hex16}]
"#;
        archy_registry::manifest::parse(yaml).unwrap().manifest
    }

    fn edit(json: serde_json::Value) -> SettingsEdit {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_edit_changes_what_it_names_and_nothing_else() {
        let manifest = manifest();
        let settings = Settings::assign(&manifest, &Settings::default(), |_, _| true).unwrap();
        let wished = settings.edited(
            &edit(serde_json::json!({
                "ports": [{"container": "web", "container_port": 81, "protocol": "tcp", "host_port": 4000}],
                "containers": {"web": {"environment": {"B": "x", "C": "y"}, "pids": 20}},
            })),
            &manifest,
        );
        let wished = wished.unwrap();
        assert_eq!(wished.ports[0], settings.ports[0]);
        assert_eq!(wished.ports[1].host_port, 4000);
        let applied = wished.applied_to(&manifest);
        let web = &applied.containers[0];
        let environment: Vec<_> = web
            .environment
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(environment, [("A", "one"), ("B", "x"), ("C", "y")]);
        assert_eq!(
            web.resources.memory,
            manifest.containers[0].resources.memory
        );
        assert_eq!(web.resources.pids, Some(20));
        let back = wished.edited(
            &edit(serde_json::json!({"containers": {"web": {}}})),
            &manifest,
        );
        assert_eq!(*back.unwrap().applied_to(&manifest), manifest);
        assert!(matches!(settings.applied_to(&manifest), Cow::Borrowed(_)));
    }

    #[test]
    fn edits_outlive_an_update() {
        let manifest = manifest();
        let settings = Settings::assign(&manifest, &Settings::default(), |_, _| true).unwrap();
        let wished = edit(serde_json::json!({
            "ports": [{"container": "web", "container_port": 80, "protocol": "tcp", "host_port": 4000}],
            "bind": "127.0.0.1",
            "containers": {"web": {"environment": {"B": "x"}}},
        }));
        let edited = settings.edited(&wished, &manifest).unwrap();
        let mut next = manifest.clone();
        next.containers[0].ports.remove(1);
        let updated = Settings::assign(&next, &edited, |_, _| true).unwrap();
        assert_eq!(updated.ports, edited.ports[..1]);
        assert_eq!(updated.bind, edited.bind);
        assert_eq!(updated.containers, edited.containers);
    }

    #[test]
    fn what_the_app_has_not_cannot_be_set() {
        let manifest = manifest();
        let settings = Settings::assign(&manifest, &Settings::default(), |_, _| true).unwrap();
        let refused = [
            (
                serde_json::json!({"containers": {"db": {}}}),
                "no container db",
            ),
            (
                serde_json::json!({"containers": {"web": {"environment": {"KEY": "x"}}}}),
                "KEY of container web is a secret",
            ),
            (
                serde_json::json!({"ports": [{"container": "web", "container_port": 9, "protocol": "tcp", "host_port": 1}]}),
                "publishes no port 9",
            ),
            (
                serde_json::json!({"containers": {"web": {"environment": {"B": "x ${node.moon}"}}}}),
                "B of container web uses ${node.moon}, which nodes do not know",
            ),
            (
                serde_json::json!({"containers": {"web": {"environment": {"B": "${secret.other}"}}}}),
                "B of container web uses ${secret.other}, but generated_secrets lacks it",
            ),
            (
                serde_json::json!({"containers": {"web": {"environment": {"B": "${dependency.bank.url}"}}}}),
                "dependencies lacks the app",
            ),
        ];
        for (wished, words) in refused {
            let error = settings.edited(&edit(wished), &manifest).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        let mut host = manifest.clone();
        host.network_policy = NetworkPolicy::Host;
        let error = settings.edited(&edit(serde_json::json!({"bind": null})), &host);
        assert_eq!(error.unwrap_err(), EditError::HostNetwork);
    }

    #[test]
    fn a_port_that_is_not_free_is_not_another_one() {
        let manifest = manifest();
        let settings = Settings::assign(&manifest, &Settings::default(), |_, _| true).unwrap();
        let wished = edit(serde_json::json!({
            "ports": [{"container": "web", "container_port": 80, "protocol": "tcp", "host_port": 4000}],
        }));
        let wished = settings.edited(&wished, &manifest).unwrap();
        let got = Settings::assign(&manifest, &wished, |port, _| port != 4000).unwrap();
        assert_eq!(got.meet(&wished), Err(AssignError::Taken { port: 4000 }));
        let got = Settings::assign(&manifest, &wished, |_, _| true).unwrap();
        assert_eq!(got.meet(&wished), Ok(()));
    }
}
