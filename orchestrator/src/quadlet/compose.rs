//! Puts an app's units together: one per container, network and volume.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use archy_registry::manifest::{Container, Manifest, NetworkPolicy, Protocol, Size, UserNamespace};
use archy_registry::{Blake3Hash, OciDigest, Slug};

use super::field::{
    capabilities, command, devices, limits, plain, seconds, target, user, variable_name, word,
};
use super::health::health;
use super::section::{
    Attachment, ContainerSection, Marker, NetworkSection, ServiceSection, UnitSection,
    VolumeSection, held_section, install_section, quadlet_section,
};
use super::unit::{self, Plain, TextError, Unit, Word};
use super::{
    Facts, LABEL_APP, LABEL_CONTAINER, LABEL_RELEASE, LABEL_ROOT, LABEL_UNIT, PROBE_PATH,
    PodmanVersion, RenderError, UnitSet, version, volume_dir, wanted_file,
};
use crate::settings::{PortBinding, Settings};
use crate::values::{Known, Piece};
use crate::{data, names, neighbours};

const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// What systemd waits beyond the container's own stop timeout.
const STOP_SLACK_SECONDS: u64 = 15;
/// Time between checks of a starting container; each waits by itself.
const STARTUP_INTERVAL_SECONDS: u64 = 1;
/// What systemd waits beyond the health check's start period.
const START_SLACK_SECONDS: u64 = 45;
/// What systemd waits for podman's copy of the image with other owners, which the first start of a container with users of
/// its own makes: 320 MB took three seconds.
const COPY_SLACK_SECONDS: u64 = 600;

pub(super) struct Identity {
    pub(super) app: String,
    pub(super) release: String,
}

/// The parts that every unit of an app shares.
struct Context<'a> {
    manifest: &'a Manifest,
    settings: &'a Settings,
    facts: &'a Facts,
    marker: Marker,
    labels: Vec<Word>,
}

pub(super) fn render_manifest(
    manifest: &Manifest,
    identity: &Identity,
    image: &dyn Fn(&Slug) -> Result<OciDigest, RenderError>,
    settings: &Settings,
    facts: &Facts,
) -> Result<UnitSet, RenderError> {
    let app = &manifest.app.id;
    let label = |name: &str, value: &str| word("labels", format!("{name}={value}"));
    let context = Context {
        manifest,
        settings,
        facts,
        marker: Marker {
            root: plain("node.root", &facts.root)?,
            app: plain("app.id", &identity.app)?,
            release: plain("release", &identity.release)?,
        },
        labels: vec![
            label(LABEL_APP, &identity.app)?,
            label(LABEL_RELEASE, &identity.release)?,
            label(LABEL_ROOT, &facts.root)?,
        ],
    };
    let mut units = BTreeMap::new();
    for (index, container) in manifest.containers.iter().enumerate() {
        let image = names::image(&image(&container.name)?);
        let unit = context.container(container, index, &image)?;
        units.insert(names::container_file(app, &container.name), unit);
    }
    if manifest.network_policy != NetworkPolicy::Host {
        units.insert(names::network_file(app), context.network()?);
    }
    for other in neighbours::edges(manifest, settings).keys() {
        units.insert(names::edge_file(app, other), context.edge(other)?);
    }
    let declared = settings.surroundings.image_volumes.values();
    let volumes: BTreeSet<&Slug> = manifest
        .containers
        .iter()
        .flat_map(|container| &container.volumes)
        .map(|volume| &volume.name)
        .chain(declared.flat_map(BTreeMap::values))
        .collect();
    for volume in volumes {
        units.insert(names::volume_file(app, volume), context.volume(volume)?);
    }
    Ok(UnitSet {
        app: app.clone(),
        units,
    })
}

impl Context<'_> {
    fn app(&self) -> &Slug {
        &self.manifest.app.id
    }

    fn container(
        &self,
        container: &Container,
        index: usize,
        image: &str,
    ) -> Result<Unit, RenderError> {
        let at = |field: &str| format!("containers[{index}].{field}");
        let app = self.app();
        let stop_seconds = seconds(container.stop_timeout, STOP_TIMEOUT);
        let check = container.health_check.as_ref();
        let health = check
            .map(|check| health(check, &at("health_check")))
            .transpose()?;
        let own_users = container.user_namespace == UserNamespace::Own;
        let copy_seconds = if own_users { COPY_SLACK_SECONDS } else { 0 };
        let start_seconds = health.as_ref().map_or(START_SLACK_SECONDS, |health| {
            let each = health.startup_timeout_seconds + STARTUP_INTERVAL_SECONDS;
            health.startup_retries * each + START_SLACK_SECONDS
        });
        let (user, group) = user(container.user.as_deref(), &at("user"))?;
        let mut labels = self.labels.clone();
        labels.push(word(
            "labels",
            format!("{LABEL_CONTAINER}={}", container.name),
        )?);
        let (entrypoint, exec) = command(container, &at)?;
        let podman = self.facts.podman;
        if health.is_some() {
            self.needs("to wait until a container is healthy", version::HEALTHY)?;
        }
        let (environment, mut secrets) = self.environment(container, &at("environment"))?;
        secrets.extend(self.secrets(container, &at("secret_env"))?);
        let memory = container.resources.memory;
        let mut section = ContainerSection {
            image: plain(&at("image"), image)?,
            name: plain(
                &at("name"),
                &names::container(self.manifest, &container.name),
            )?,
            user,
            group,
            own_users,
            capabilities: capabilities(container, &at("capabilities"))?,
            read_only: container.readonly_root,
            attachment: self.attachment(container, &at("network_aliases"))?,
            ports: self.ports(container)?,
            volumes: self.mounts(container, &at)?,
            tmpfs: self.tmpfs(container, &at)?,
            devices: devices(container, &at("devices"))?,
            environment,
            secrets,
            labels,
            health,
            stop_timeout_seconds: stop_seconds,
            memory_bytes: memory.filter(|_| self.facts.limits.memory).map(Size::bytes),
            podman_args: limits(container, self.facts.limits)?,
            entrypoint,
            exec,
        };
        let unit = UnitSection {
            description: plain(
                "app.id",
                &format!("archy app {app}, container {}", container.name),
            )?,
            requires: self.requires(container, &at("depends_on"))?,
            wants: self.wants()?,
            condition_path: Some(self.path(&wanted_file(&self.facts.apps_dir, app))?),
        };
        let service = ServiceSection {
            start_seconds: start_seconds + copy_seconds,
            stop_seconds: stop_seconds + STOP_SLACK_SECONDS,
        };
        let whole = |section: &ContainerSection| {
            let too_long = |source| RenderError::Text {
                field: at("entrypoint"),
                source,
            };
            let sections = [self.marker.section(), unit.section()];
            let sections = sections.into_iter().chain(quadlet_section(podman));
            let container = section.section(podman).map_err(too_long)?;
            let rest = [container, service.section(), install_section()];
            Ok(Unit {
                sections: sections.chain(rest).collect(),
            })
        };
        // Tells a container that runs as its unit says from one that was started before the unit changed.
        let mark = Blake3Hash::of(whole(&section)?.text().as_bytes()).to_string();
        let label = format!("{LABEL_UNIT}={}", &mark[..16]);
        section.labels.push(word("labels", label)?);
        whole(&section)
    }

    /// Refuses what needs a later podman.
    fn needs(&self, feature: &str, needed: PodmanVersion) -> Result<(), RenderError> {
        let found = self.facts.podman;
        if found >= needed {
            return Ok(());
        }
        Err(RenderError::Podman {
            feature: feature.to_owned(),
            needed,
            found,
        })
    }

    /// Other apps' containers that should be up first, if they come up.
    fn wants(&self) -> Result<Vec<Plain>, RenderError> {
        let providers = self.settings.surroundings.providers.iter();
        let units = providers.flat_map(|(app, provider)| {
            let containers = provider.containers.iter();
            containers.map(move |container| names::container_unit(app, container))
        });
        units.map(|unit| plain("dependencies", &unit)).collect()
    }

    fn network(&self) -> Result<Unit, RenderError> {
        let app = self.app();
        self.needs("a network of its own", version::NAMES)?;
        let network = NetworkSection {
            name: plain("app.id", &names::network(app))?,
            internal: self.manifest.network_policy == NetworkPolicy::Isolated,
            labels: self.labels.clone(),
        };
        let description = format!("archy app {app}, network");
        self.oneshot(&description, network.section())
    }

    /// The network with another app, which leads nowhere else.
    fn edge(&self, other: &Slug) -> Result<Unit, RenderError> {
        let app = self.app();
        let network = NetworkSection {
            name: plain("dependencies", &names::edge(app, other))?,
            internal: true,
            labels: self.labels.clone(),
        };
        let description = format!("archy app {app}, network with {other}");
        self.oneshot(&description, network.section())
    }

    fn volume(&self, volume: &Slug) -> Result<Unit, RenderError> {
        let app = self.app();
        self.needs("volumes", version::NAMES)?;
        let directory = volume_dir(&self.facts.apps_dir, app, volume);
        let section = VolumeSection {
            name: plain("volumes", &names::volume(app, volume))?,
            directory: self.path(&directory)?,
            owner: data::owner(self.manifest, volume),
            labels: self.labels.clone(),
        };
        let description = format!("archy app {app}, volume {volume}");
        let mut unit = self.oneshot(&description, section.section())?;
        let users = data::users(self.manifest, self.settings);
        if users.get(volume) == Some(&UserNamespace::Own) {
            unit.sections.push(held_section(&section.name));
        }
        Ok(unit)
    }

    fn oneshot(&self, description: &str, section: unit::Section) -> Result<Unit, RenderError> {
        let unit = UnitSection {
            description: plain("app.id", description)?,
            requires: Vec::new(),
            wants: Vec::new(),
            condition_path: None,
        };
        let sections = [self.marker.section(), unit.section()];
        let sections = sections
            .into_iter()
            .chain(quadlet_section(self.facts.podman))
            .chain([section]);
        Ok(Unit {
            sections: sections.collect(),
        })
    }

    fn path(&self, path: &Path) -> Result<Plain, RenderError> {
        let text = path.to_string_lossy();
        let colon_free = if text.contains([':', ',']) {
            Err(TextError::NotPlain(text.clone().into_owned()))
        } else {
            Plain::new(text)
        };
        colon_free.map_err(|source| RenderError::NodePath {
            path: path.to_owned(),
            source,
        })
    }

    fn requires(&self, container: &Container, field: &str) -> Result<Vec<Plain>, RenderError> {
        let requires = container.depends_on.iter().map(|dependency| {
            let name = &dependency.container;
            let known = self.manifest.containers.iter().any(|c| &c.name == name);
            if !known || name == &container.name {
                return Err(RenderError::Unknown {
                    field: field.to_owned(),
                    name: name.to_string(),
                });
            }
            plain(field, &names::container_unit(self.app(), name))
        });
        requires.collect()
    }

    fn attachment(&self, container: &Container, field: &str) -> Result<Attachment, RenderError> {
        if self.manifest.network_policy == NetworkPolicy::Host {
            return Ok(Attachment::Host);
        }
        let aliases = std::iter::once(&container.name).chain(&container.network_aliases);
        let aliases: BTreeSet<&Slug> = aliases.collect();
        let others = neighbours::edges_of(self.manifest, container, &self.settings.surroundings);
        if !others.is_empty() {
            // In the networks with other apps, these must not find ours under names that mean one of theirs.
            let aliases = aliases.into_iter().map(|alias| format!("alias={alias}"));
            let own = aliases.collect::<Vec<_>>().join(",");
            let own = format!("{}:{own}", names::network_file(self.app()));
            let edges = others
                .iter()
                .map(|other| names::edge_file(self.app(), other));
            let networks = std::iter::once(own).chain(edges);
            let networks = networks.map(|network| plain(field, &network));
            return Ok(Attachment::Networks(networks.collect::<Result<_, _>>()?));
        }
        Ok(Attachment::Network {
            file: plain(field, &names::network_file(self.app()))?,
            aliases: aliases
                .into_iter()
                .map(|alias| plain(field, alias.as_str()))
                .collect::<Result<_, _>>()?,
        })
    }

    fn ports(&self, container: &Container) -> Result<Vec<Plain>, RenderError> {
        let shadow = self.settings.shadow.as_ref();
        let unpublished = shadow.is_some_and(|shadow| !shadow.published);
        if self.manifest.network_policy == NetworkPolicy::Host || unpublished {
            return Ok(Vec::new());
        }
        let ports = container.ports.iter().map(|port| {
            let ours = |binding: &&PortBinding| {
                binding.container == container.name
                    && binding.container_port == port.container
                    && binding.protocol == port.protocol
            };
            let binding = self.settings.ports.iter().find(ours);
            let binding = binding.ok_or_else(|| RenderError::PortUnassigned {
                container: container.name.clone(),
                port: port.container,
            })?;
            let address = match self.settings.bind {
                None => String::new(),
                Some(std::net::IpAddr::V4(address)) => format!("{address}:"),
                Some(std::net::IpAddr::V6(_)) => {
                    return Err(RenderError::NotAllowed {
                        field: "settings.bind".to_owned(),
                        value: "an IPv6 address".to_owned(),
                        allowed: "published ports listen on all addresses or on an IPv4 address",
                    });
                }
            };
            let protocol = match port.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            plain(
                "ports",
                &format!(
                    "{address}{}:{}/{protocol}",
                    binding.host_port, port.container
                ),
            )
        });
        ports.collect()
    }

    fn mounts(
        &self,
        container: &Container,
        at: &dyn Fn(&str) -> String,
    ) -> Result<Vec<Plain>, RenderError> {
        let mut targets = BTreeSet::new();
        let mut mounts = Vec::new();
        for (index, volume) in container.volumes.iter().enumerate() {
            let field = at(&format!("volumes[{index}].target"));
            let target = target(&volume.target, &field)?;
            if !targets.insert(target.to_owned()) {
                return Err(RenderError::NotAllowed {
                    field,
                    value: target.to_owned(),
                    allowed: "one volume per target",
                });
            }
            let file = names::volume_file(self.app(), &volume.name);
            let mode = if volume.read_only { ":ro" } else { "" };
            mounts.push(plain(&field, &format!("{file}:{target}{mode}"))?);
        }
        let declared = self
            .settings
            .surroundings
            .image_volumes
            .get(&container.name);
        for (path, volume) in declared.into_iter().flatten() {
            let target = target(path, "the image's volumes")?;
            if targets.insert(target.to_owned()) {
                let file = names::volume_file(self.app(), volume);
                mounts.push(plain("the image's volumes", &format!("{file}:{target}"))?);
            }
        }
        if container.health_check.is_some() {
            let probe = self.path(&self.facts.probe)?;
            mounts.push(plain("node.probe", &format!("{probe}:{PROBE_PATH}:ro"))?);
        }
        Ok(mounts)
    }

    fn tmpfs(
        &self,
        container: &Container,
        at: &dyn Fn(&str) -> String,
    ) -> Result<Vec<Plain>, RenderError> {
        let mounts = container.tmpfs.iter().enumerate().map(|(index, tmpfs)| {
            let field = at(&format!("tmpfs[{index}].target"));
            let target = target(&tmpfs.target, &field)?;
            let size = tmpfs.size.map(|size| format!(":size={}", size.bytes()));
            plain(&field, &format!("{target}{}", size.unwrap_or_default()))
        });
        mounts.collect()
    }

    /// Values without secrets, as they are, and those with secrets, which podman is given as secrets.
    fn environment(
        &self,
        container: &Container,
        field: &str,
    ) -> Result<(Vec<Word>, Vec<Word>), RenderError> {
        let known = Known {
            manifest: self.manifest,
            settings: self.settings,
            facts: self.facts,
        };
        let (mut plain, mut secret) = (Vec::new(), Vec::new());
        for (name, text) in &container.environment {
            variable_name(name, field)?;
            let field = format!("{field}.{name}");
            let pieces = known.pieces(text).map_err(|source| RenderError::Value {
                field: field.clone(),
                source,
            })?;
            let text = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => Some(text.as_str()),
                Piece::Secret(_) | Piece::Imported { .. } => None,
            });
            match text.collect::<Option<String>>() {
                Some(text) => plain.push(word(&field, format!("{name}={text}"))?),
                None => {
                    let own = names::value_secret(&container.name, name);
                    let own = names::secret_named(self.app(), &own);
                    secret.push(word(&field, format!("{own},type=env,target={name}"))?);
                }
            }
        }
        Ok((plain, secret))
    }

    fn secrets(&self, container: &Container, field: &str) -> Result<Vec<Word>, RenderError> {
        let secrets = container.secret_env.iter().map(|(variable, secret)| {
            variable_name(variable, field)?;
            let known = self.manifest.generated_secrets.iter();
            if !known.clone().any(|generated| &generated.name == secret) {
                return Err(RenderError::Unknown {
                    field: format!("{field}.{variable}"),
                    name: secret.to_string(),
                });
            }
            let name = names::secret(self.app(), secret);
            word(field, format!("{name},type=env,target={variable}"))
        });
        secrets.collect()
    }
}
