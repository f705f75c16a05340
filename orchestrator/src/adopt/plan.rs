//! What a migration would keep, change and lose, worked out from a manifest and the containers as they are. Pure.
//!
//! Values of environment variables are never in the words: each may be a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use archy_registry::manifest::{
    Container, Manifest, NetworkPolicy, Protocol, SecretKind, UserNamespace,
};
use archy_registry::{AppId, Slug};
use serde::{Deserialize, Serialize};

use super::Origin;
use super::list::ports;
use crate::quadlet::unit::Word;
use crate::runtime::podman::{ImageConfig, Inspection};
use crate::settings::{ContainerEdit, PortBinding};
use crate::values;

mod run;

/// What a migration would do, for the owner to look at before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationPlan {
    /// The app.
    pub app: AppId,
    /// The version whose containers would run.
    pub version: String,
    /// What stays, changes and is lost.
    pub items: Vec<MigrationItem>,
}

/// One thing that a migration keeps, changes or loses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationItem {
    /// Names it, to accept it: `CONTAINER.TOPIC.WHAT`.
    pub id: String,
    /// The manifest's container.
    pub container: Slug,
    /// What it is about.
    pub topic: Topic,
    /// What becomes of it.
    pub effect: Effect,
    /// In words.
    pub words: String,
}

/// What an item is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Topic {
    Image,
    Data,
    Port,
    Environment,
    Secret,
    Right,
    Network,
    Limit,
    Container,
}

impl Topic {
    fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Data => "data",
            Self::Port => "port",
            Self::Environment => "environment",
            Self::Secret => "secret",
            Self::Right => "right",
            Self::Network => "network",
            Self::Limit => "limit",
            Self::Container => "container",
        }
    }
}

/// What becomes of something in a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It is the same afterwards.
    Keeps,
    /// It is another afterwards, as the app's publisher meant it.
    Changes,
    /// The app does not have it afterwards; the owner must accept that.
    Loses,
    /// There is no migration while this is so.
    Refuses,
}

/// A container as it is, with what its podman record does not say.
#[derive(Debug, Clone, Default)]
pub(super) struct Old {
    pub(super) found: Inspection,
    /// Where it comes from.
    pub(super) is_unit: bool,
    /// What its image says.
    pub(super) image: ImageConfig,
    /// The variables that its first process was given, while it runs.
    pub(super) process_environment: Option<Vec<(String, String)>>,
    /// Whether it shares namespaces with a pod.
    pub(super) in_pod: bool,
    /// Who else is in its networks: network → containers.
    pub(super) neighbours: BTreeMap<String, Vec<String>>,
    /// The image that would run instead, by id.
    pub(super) new_image: String,
}

/// The plan, and what carrying it out needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Planned {
    pub(super) items: Vec<MigrationItem>,
    pub(super) ports: Vec<PortBinding>,
    pub(super) bind: Option<IpAddr>,
    pub(super) containers: BTreeMap<Slug, ContainerEdit>,
    pub(super) volumes: BTreeMap<Slug, PathBuf>,
    pub(super) secrets: BTreeMap<Slug, (Slug, String)>,
}

impl Planned {
    /// Lists what stands in the way of a migration whose owner accepted `accepted`.
    pub(super) fn blocked(&self, accepted: &BTreeSet<String>) -> Vec<MigrationItem> {
        let stands = |item: &&MigrationItem| match item.effect {
            Effect::Keeps | Effect::Changes => false,
            Effect::Loses => !accepted.contains(&item.id),
            Effect::Refuses => true,
        };
        self.items.iter().filter(stands).cloned().collect()
    }
}

/// What podman writes instead of a secret's value.
pub(super) const MASK: &str = "*******";
/// Variables that podman and systemd set by themselves.
const OWN_VARIABLES: [&str; 8] = [
    "HOME",
    "HOSTNAME",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "TERM",
    "container",
    "container_uuid",
];
/// The path that podman sets where an image sets none.
const USUAL_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Networks that every rootless container may be in and that connect it to no other.
const OUTWARD_NETWORKS: [&str; 6] = ["pasta", "slirp4netns", "host", "none", "bridge", "private"];

/// Plans the migration of an app's containers; `image_volumes` are the directories that the new images declare, and
/// `has_data` tells that the app has data of its own here already.
pub(super) fn plan(
    manifest: &Manifest,
    image_volumes: &BTreeMap<Slug, BTreeMap<String, Slug>>,
    old: &BTreeMap<Slug, Old>,
    has_data: bool,
) -> Planned {
    let mut planned = Planned::default();
    for container in &manifest.containers {
        let Some(old) = old.get(&container.name) else {
            continue;
        };
        let none = BTreeMap::new();
        let mut part = Part {
            manifest,
            container,
            old,
            image_volumes: image_volumes.get(&container.name).unwrap_or(&none),
            planned: &mut planned,
        };
        part.container();
        part.data();
        part.ports();
        part.environment();
        part.rights();
        part.network();
    }
    if has_data && let Some(first) = manifest.containers.first() {
        planned.items.push(MigrationItem {
            id: format!("{}.data.kept", first.name),
            container: first.name.clone(),
            topic: Topic::Data,
            effect: Effect::Refuses,
            words: "data of an earlier install of the app is kept here; let go of the containers and purge it first"
                .to_owned(),
        });
    }
    bind(&mut planned, old);
    planned.items.sort_by(|a, b| {
        let key = |item: &MigrationItem| (std::cmp::Reverse(item.effect), item.topic);
        key(a).cmp(&key(b))
    });
    planned
}

/// Keeps the address on which all ports were published, if it is one and one that units can carry.
fn bind(planned: &mut Planned, old: &BTreeMap<Slug, Old>) {
    let published = old.iter().flat_map(|(name, old)| {
        let ports = ports(&old.found).into_iter();
        ports.map(move |port| (name.clone(), port))
    });
    let kept: Vec<_> = published
        .filter(|(name, port)| {
            let mut bindings = planned.ports.iter();
            bindings.any(|binding| {
                binding.container == *name
                    && binding.container_port == port.container
                    && binding.protocol == port.protocol
                    && binding.host_port == port.host
            })
        })
        .collect();
    let addresses: BTreeSet<&str> = kept.iter().map(|(_, port)| port.address.as_str()).collect();
    let addresses: Vec<&str> = addresses.into_iter().collect();
    if let [one] = addresses[..]
        && let Ok(address) = one.parse::<Ipv4Addr>()
    {
        planned.bind = Some(IpAddr::V4(address));
        return;
    }
    for (name, port) in kept.iter().filter(|(_, port)| !port.address.is_empty()) {
        let words = format!(
            "port {} listens on {} only; it would listen on all addresses",
            port.host, port.address
        );
        let id = format!("{name}.port.{}.address", port.host);
        planned.items.push(MigrationItem {
            id,
            container: name.clone(),
            topic: Topic::Port,
            effect: Effect::Loses,
            words,
        });
    }
}

struct Part<'a> {
    manifest: &'a Manifest,
    container: &'a Container,
    old: &'a Old,
    image_volumes: &'a BTreeMap<String, Slug>,
    planned: &'a mut Planned,
}

impl Part<'_> {
    fn say(&mut self, topic: Topic, what: &str, effect: Effect, words: impl Into<String>) {
        let name = &self.container.name;
        self.planned.items.push(MigrationItem {
            id: format!("{name}.{}.{what}", topic.word()),
            container: name.clone(),
            topic,
            effect,
            words: words.into(),
        });
    }

    fn container(&mut self) {
        let found = &self.old.found;
        if found.host_config.auto_remove && !self.old.is_unit {
            self.say(
                Topic::Container,
                "removed",
                Effect::Refuses,
                "it was started with --rm: stopping it would remove it, and nothing could bring it back",
            );
        }
        if self.old.in_pod {
            self.say(
                Topic::Container,
                "pod",
                Effect::Refuses,
                "it is in a pod, which holds its ports and network",
            );
        }
        if found.image != self.old.new_image {
            let words = format!(
                "the image that the app's publisher signed runs instead of {}",
                found.image_name
            );
            self.say(Topic::Image, "other", Effect::Changes, words);
        }
        self.program();
    }

    fn data(&mut self) {
        let mut met = BTreeSet::new();
        for mount in &self.old.found.mounts {
            let target = match mount.destination.trim_end_matches('/') {
                "" => "/",
                target => target,
            };
            met.insert(target.to_owned());
            let is_volume = mount.kind == "volume";
            let shown = match is_volume && !is_nameless(&mount.name) {
                true => format!("the volume {}", mount.name),
                false if is_volume => "a volume without a name".to_owned(),
                false => mount.source.clone(),
            };
            let volumes = self.container.volumes.iter();
            let volume = volumes
                .filter(|volume| volume.target.trim_end_matches('/') == target)
                .map(|volume| &volume.name)
                .next()
                .or_else(|| self.image_volumes.get(target));
            let vanishes =
                is_volume && is_nameless(&mount.name) && self.old.found.host_config.auto_remove;
            match volume.cloned() {
                _ if !is_volume && mount.kind != "bind" => {
                    let words = format!("{target} is in memory and begins empty");
                    self.say(Topic::Data, target, Effect::Changes, words);
                }
                Some(_) if vanishes => {
                    let words = format!(
                        "what is in {target} goes whenever the service stops, because it is in a volume without a name; the app would begin with none"
                    );
                    self.say(Topic::Data, target, Effect::Loses, words);
                }
                Some(_) if self.container.user_namespace == UserNamespace::Own => {
                    let words = format!(
                        "what is in {target} belongs to users that the app's container would not have, because its manifest says user_namespace: own; migrate to a version without that, or install the app afresh"
                    );
                    self.say(Topic::Data, target, Effect::Refuses, words);
                }
                Some(volume) => {
                    let source = PathBuf::from(&mount.source);
                    let other = self.planned.volumes.insert(volume, source.clone());
                    if other.is_some_and(|other| other != source) {
                        let words = format!(
                            "{target} is one volume of the app, and its containers have different data there"
                        );
                        self.say(Topic::Data, target, Effect::Refuses, words);
                    } else {
                        let words = format!(
                            "what is in {target} is copied from {shown}, which stays as it is"
                        );
                        self.say(Topic::Data, target, Effect::Keeps, words);
                    }
                }
                None => {
                    let words = format!(
                        "the app does not ask for {target}: {shown} stays where it is, and the app would not see it"
                    );
                    self.say(Topic::Data, target, Effect::Loses, words);
                }
            }
        }
        self.memory_directories(&mut met);
        let wanted = self.container.volumes.iter();
        let wanted: Vec<String> = wanted
            .map(|volume| volume.target.trim_end_matches('/').to_owned())
            .chain(self.image_volumes.keys().cloned())
            .collect();
        for target in wanted {
            if !met.contains(&target) {
                let words = format!(
                    "the old container keeps {target} in itself rather than in a volume; the app would begin with an empty one"
                );
                self.say(Topic::Data, &target, Effect::Loses, words);
            }
        }
    }

    fn ports(&mut self) {
        let is_host = self.manifest.network_policy == NetworkPolicy::Host;
        let was_host = self.old.found.host_config.network_mode == "host";
        let mut kept: BTreeSet<(u16, Protocol)> = BTreeSet::new();
        for port in ports(&self.old.found) {
            let asked =
                self.container.ports.iter().any(|asked| {
                    asked.container == port.container && asked.protocol == port.protocol
                });
            let protocol = word(port.protocol);
            let what = format!("{}:{}/{protocol}", port.host, port.container);
            if !asked {
                let words = format!(
                    "port {} ({} inside, {protocol}) is none of the app's; nobody would listen there",
                    port.host, port.container
                );
                self.say(Topic::Port, &what, Effect::Loses, words);
            } else if is_host && port.host != port.container {
                let words = format!(
                    "the app uses the node's own network, where port {} is {}",
                    port.host, port.container
                );
                self.say(Topic::Port, &what, Effect::Loses, words);
            } else if !kept.insert((port.container, port.protocol)) {
                let words = format!(
                    "port {} as well leads to {}; only one is kept",
                    port.host, port.container
                );
                self.say(Topic::Port, &what, Effect::Loses, words);
            } else {
                self.keep_port(port.container, port.protocol, port.host);
            }
        }
        for asked in &self.container.ports {
            if kept.contains(&(asked.container, asked.protocol)) {
                continue;
            }
            if was_host {
                self.keep_port(asked.container, asked.protocol, asked.container);
                continue;
            }
            let protocol = word(asked.protocol);
            let words = format!(
                "port {} inside ({protocol}) is published, which it was not before",
                asked.container
            );
            let what = format!("{}/{protocol}", asked.container);
            self.say(Topic::Port, &what, Effect::Changes, words);
        }
    }

    fn keep_port(&mut self, container_port: u16, protocol: Protocol, host_port: u16) {
        self.planned.ports.push(PortBinding {
            container: self.container.name.clone(),
            container_port,
            protocol,
            host_port,
        });
        let words = format!(
            "port {host_port} leads to {container_port} inside ({})",
            word(protocol)
        );
        let what = format!("{host_port}:{container_port}/{}", word(protocol));
        self.say(Topic::Port, &what, Effect::Keeps, words);
    }

    fn environment(&mut self) {
        let old = self.old;
        let image = old.image.env.iter().flatten();
        let image: BTreeSet<&str> = image.map(String::as_str).collect();
        let mut plain = BTreeMap::new();
        let mut hidden = false;
        for entry in &old.found.config.env {
            let Some((name, value)) = entry.split_once('=') else {
                continue;
            };
            if value == MASK {
                hidden = true;
            } else if !OWN_VARIABLES.contains(&name) && entry != USUAL_PATH {
                plain.insert(name.to_owned(), value.to_owned());
            }
        }
        let shown: BTreeSet<&str> = old
            .found
            .config
            .env
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .filter(|(_, value)| *value != MASK)
            .map(|(name, _)| name)
            .collect();
        let given = old.process_environment.iter().flatten();
        let secret: BTreeSet<String> = given
            .map(|(name, _)| name.clone())
            .filter(|name| hidden && !shown.contains(name.as_str()))
            .filter(|name| !OWN_VARIABLES.contains(&name.as_str()))
            .collect();
        let mut edit = ContainerEdit::default();
        for (name, value) in &plain {
            if let Some(secret) = self.container.secret_env.get(name) {
                self.import(secret, name);
            } else if !image.contains(format!("{name}={value}").as_str())
                || self.container.environment.contains_key(name)
            {
                self.variable(name, value, &mut edit);
            }
        }
        for name in &secret {
            match self.container.secret_env.get(name) {
                Some(secret) => self.import(secret, name),
                None => {
                    let words = format!(
                        "{name} is a secret of podman that the app does not ask for; it would not get it"
                    );
                    self.say(Topic::Secret, name, Effect::Loses, words);
                }
            }
        }
        for (name, wanted) in &self.container.secret_env {
            if plain.contains_key(name) || secret.contains(name) {
                continue;
            }
            if hidden && old.process_environment.is_none() {
                let words = format!(
                    "podman tells no secrets of a container that stands still; start it, so that {name} can be taken over"
                );
                self.say(Topic::Secret, name, Effect::Refuses, words);
            } else {
                let words = format!("the node makes the secret {wanted} anew for {name}");
                self.say(Topic::Secret, name, Effect::Changes, words);
            }
        }
        let mounted: BTreeSet<&String> = old.found.config.secrets.iter().map(|s| &s.name).collect();
        for name in mounted {
            let words = format!(
                "the secret {name} of podman was a file in the container; it stays in podman, and the app would not see it"
            );
            self.say(Topic::Secret, &format!("file.{name}"), Effect::Loses, words);
        }
        self.limits(&mut edit);
        if edit != ContainerEdit::default() {
            let name = self.container.name.clone();
            self.planned.containers.insert(name, edit);
        }
    }

    fn import(&mut self, secret: &Slug, variable: &str) {
        let mut known = self.manifest.generated_secrets.iter();
        let kind = known
            .find(|known| known.name == *secret)
            .map(|known| known.kind);
        if kind == Some(SecretKind::Bcrypt) {
            let words = format!(
                "{variable} is the hash of another secret, which the node makes anew: the password would be another"
            );
            return self.say(Topic::Secret, variable, Effect::Loses, words);
        }
        let from = (self.container.name.clone(), variable.to_owned());
        if let Some((container, other)) = self.planned.secrets.get(secret) {
            // Both say the same in an app that works; the one that came first counts.
            tracing::debug!(%container, other, variable, "a secret is used twice");
            return;
        }
        self.planned.secrets.insert(secret.clone(), from);
        let words = format!("the value of {variable} becomes the app's secret {secret}");
        self.say(Topic::Secret, variable, Effect::Keeps, words);
    }

    fn variable(&mut self, name: &str, value: &str, edit: &mut ContainerEdit) {
        let published = self.container.environment.get(name);
        if published.is_some_and(|text| text == value && values::names(text).is_empty()) {
            return;
        }
        let made_here = published.is_some_and(|text| {
            use archy_registry::manifest::template::Name;
            let mut names = values::names(text).into_iter();
            names.any(|name| matches!(name, Name::Secret(_) | Name::Dependency { .. }))
        });
        if made_here {
            let words = format!("the node makes the value of {name} itself; yours would be gone");
            return self.say(Topic::Environment, name, Effect::Loses, words);
        }
        if published.is_none() && looks_secret(name) {
            let words = format!(
                "{name} looks like a secret, and the app does not mark it as one; it would not get it"
            );
            return self.say(Topic::Environment, name, Effect::Loses, words);
        }
        if Word::new(format!("{name}={value}")).is_err() || !is_variable(name) {
            let words = format!("{name} holds what no unit can carry; the app would not get it");
            return self.say(Topic::Environment, name, Effect::Loses, words);
        }
        // What stands for itself in podman would be filled in by the node.
        let text = value.replace("${", "$${");
        edit.environment.insert(name.to_owned(), text);
        let words = format!("the value of {name} stays, as a setting of yours");
        self.say(Topic::Environment, name, Effect::Keeps, words);
    }

    fn rights(&mut self) {
        let host = &self.old.found.host_config;
        for capability in &host.cap_add {
            let name = capability.trim_start_matches("CAP_");
            if !self
                .container
                .capabilities
                .iter()
                .any(|asked| asked == name)
            {
                let words = format!("it has the capability {name}, which the app does not ask for");
                self.say(Topic::Right, name, Effect::Loses, words);
            }
        }
        if host.privileged {
            let words = "it is privileged; no app of this node is";
            self.say(Topic::Right, "privileged", Effect::Loses, words);
        } else {
            for device in &host.devices {
                let path = &device.path_on_host;
                if !self.container.devices.contains(path) {
                    let words =
                        format!("it uses the device {path}, which the app does not ask for");
                    self.say(Topic::Right, path, Effect::Loses, words);
                }
            }
        }
        for (what, mode) in [("processes", &host.pid_mode), ("memory", &host.ipc_mode)] {
            if mode == "host" {
                let words = format!("it shares the node's {what}; no app of this node does");
                self.say(Topic::Right, what, Effect::Loses, words);
            }
        }
        if !matches!(host.userns_mode.as_str(), "" | "host" | "private") {
            let words = format!(
                "its users are mapped otherwise ({}), so that the app may find files that are not its own",
                host.userns_mode
            );
            self.say(Topic::Right, "users", Effect::Loses, words);
        }
        for option in &host.security_opt {
            let words = format!("the security option {option} is gone");
            self.say(Topic::Right, option, Effect::Loses, words);
        }
        self.surroundings();
    }

    fn network(&mut self) {
        let was_host = self.old.found.host_config.network_mode == "host";
        let policy = self.manifest.network_policy;
        if was_host && policy != NetworkPolicy::Host {
            let words = "it is in the node's own network; only the app's ports would be reached";
            self.say(Topic::Network, "host", Effect::Loses, words);
        }
        if policy == NetworkPolicy::Isolated && self.old.found.host_config.network_mode != "none" {
            let words = "it has no way to the internet any more, because the app needs none";
            self.say(Topic::Network, "isolated", Effect::Changes, words);
        }
        for (network, others) in &self.old.neighbours {
            if !others.is_empty() && !OUTWARD_NETWORKS.contains(&network.as_str()) {
                let words = format!(
                    "in the network {network} it reaches {}, which it would not any more",
                    others.join(", ")
                );
                self.say(Topic::Network, network, Effect::Loses, words);
            }
        }
    }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// podman names what nobody named by 64 hexadecimal digits.
fn is_nameless(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_variable(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(inner)
}

fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words = ["PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL"];
    words.iter().any(|word| name.contains(word))
}

impl Origin {
    pub(super) fn is_unit(&self) -> bool {
        match self {
            Self::Unit { .. } => true,
            Self::Run | Self::Compose { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
