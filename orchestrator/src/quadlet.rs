//! Turns a release into Quadlet units: pure, and the same for every app.
//!
//! Nothing here reads the machine or writes to it; [`validate`] is the edge that asks the real generator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use archy_registry::manifest::{
    CAPABILITIES, Container, HealthCheck, HealthKind, Manifest, NetworkPolicy, Protocol, Span,
    Volume,
};
use archy_registry::release::{Platform, Release};
use archy_registry::{OciDigest, Slug, Verified};

use crate::names;
use crate::settings::{PortBinding, Settings};

mod section;
pub mod unit;
pub mod validate;

pub(crate) use section::MARKER;
pub use section::PAUSE_UNIT;

use section::{
    Attachment, ContainerSection, Health, Marker, NetworkSection, ServiceSection, UnitSection,
    VolumeSection, install_section, quadlet_section,
};
use unit::{Argument, Plain, TextError, Unit, Word};

/// Where the probe for `http` and `tcp` health checks is found inside every container that has a health check.
pub const PROBE_PATH: &str = "/.archy/probe";
/// Label with the app's full id.
pub const LABEL_APP: &str = "io.archy.app";
/// Label with the container's name in the manifest.
pub const LABEL_CONTAINER: &str = "io.archy.container";
/// Label with the release's hash.
pub const LABEL_RELEASE: &str = "io.archy.release";
/// Label that tells the nodes of one user apart; see [`Facts::root`].
pub const LABEL_ROOT: &str = "io.archy.root";

const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// What systemd waits beyond the container's own stop timeout.
const STOP_SLACK_SECONDS: u64 = 15;
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
const HEALTH_RETRIES: u32 = 3;
const HEALTH_START_PERIOD: Duration = Duration::from_secs(60);
/// What podman waits for a check of a starting container beyond the probe's own limit.
const STARTUP_SLACK_SECONDS: u64 = 2;
/// Checks of a starting container at least: what the first ones say is known before the last one ends it.
const STARTUP_TRIES_MIN: u64 = 3;
/// Time between checks of a starting container; each waits by itself.
const STARTUP_INTERVAL_SECONDS: u64 = 1;
/// What systemd waits beyond the health check's start period.
const START_SLACK_SECONDS: u64 = 45;

/// What rendering needs to know of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Directory that holds a directory per app.
    pub apps_dir: PathBuf,
    /// The probe on the node.
    pub probe: PathBuf,
    /// Names the data directory, so that two nodes of one user never touch each other's apps.
    pub root: String,
    /// The platform whose images run here.
    pub platform: Platform,
    /// What can be limited here. podman refuses to start a container with a limit that it cannot set.
    pub limits: Limits,
}

/// Which limits the user's systemd may set: its control group controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory.
    pub memory: bool,
    /// Processor time.
    pub cpu: bool,
    /// Processes and threads.
    pub pids: bool,
}

impl Limits {
    /// All of them, as on any ordinary machine.
    pub const ALL: Self = Self {
        memory: true,
        cpu: true,
        pids: true,
    };

    /// Reads the content of a `cgroup.controllers` file (cgroups(7)).
    pub fn from_controllers(controllers: &str) -> Self {
        let has = |name: &str| {
            controllers
                .split_ascii_whitespace()
                .any(|found| found == name)
        };
        Self {
            memory: has("memory"),
            cpu: has("cpu"),
            pids: has("pids"),
        }
    }
}

/// The unit files of one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSet {
    /// The app's slug, and the name of the directory that holds the files.
    pub app: Slug,
    /// The units by file name.
    pub units: BTreeMap<String, Unit>,
}

impl UnitSet {
    /// Writes every file: name and text.
    pub fn files(&self) -> BTreeMap<String, String> {
        let files = self.units.iter();
        files
            .map(|(name, unit)| (name.clone(), unit.text()))
            .collect()
    }
}

/// An app cannot be expressed as units.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A field holds what a unit cannot carry.
    #[error("{field} cannot be used: {source}")]
    Text {
        /// Where in the manifest.
        field: String,
        /// What is wrong.
        source: TextError,
    },
    /// A field is out of its allow-list.
    #[error("{field} is {value:?}: {allowed}")]
    NotAllowed {
        /// Where in the manifest.
        field: String,
        /// What it says.
        value: String,
        /// What it may say.
        allowed: &'static str,
    },
    /// A reference to something that the manifest does not define.
    #[error("{field} names {name:?}, which the manifest does not define")]
    Unknown {
        /// Where in the manifest.
        field: String,
        /// The name.
        name: String,
    },
    /// The node has not decided on a port yet.
    #[error("container {container} has no port on the node for its port {port}")]
    PortUnassigned {
        /// The container.
        container: Slug,
        /// Its port.
        port: u16,
    },
    /// The release has no image for this machine.
    #[error("the release has no image of container {container} for {platform}")]
    NoImage {
        /// The container.
        container: Slug,
        /// The machine's platform, `os/architecture`.
        platform: String,
    },
    /// A directory of the node cannot be named in a unit.
    #[error("the path {path} cannot be named in a unit: {source}")]
    NodePath {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        source: TextError,
    },
}

/// Renders the units of a verified release.
///
/// # Errors
///
/// [`RenderError`] names the field that cannot be expressed, or the missing image.
pub fn render(
    release: &Verified<Release>,
    settings: &Settings,
    facts: &Facts,
) -> Result<UnitSet, RenderError> {
    let identity = Identity {
        app: release.app().to_string(),
        release: release.hash().to_string(),
    };
    let image = |container: &Slug| {
        let image = release
            .images
            .iter()
            .find(|image| &image.container == container && image.platform == facts.platform);
        image
            .map(|image| image.manifest.digest)
            .ok_or_else(|| RenderError::NoImage {
                container: container.clone(),
                platform: format!("{}/{}", facts.platform.os, facts.platform.architecture),
            })
    };
    render_manifest(&release.manifest, &identity, &image, settings, facts)
}

/// Renders a manifest that is not published yet, with an all-zero image digest and the wished ports.
///
/// # Errors
///
/// [`RenderError`] names the field that cannot be expressed.
pub fn preview(manifest: &Manifest) -> Result<UnitSet, RenderError> {
    let settings = Settings::assign(manifest, &Settings::default(), |_, _| true);
    let settings = settings.map_err(|error| RenderError::NotAllowed {
        field: "containers[].ports".to_owned(),
        value: error.to_string(),
        allowed: "every port once",
    })?;
    let facts = Facts {
        apps_dir: PathBuf::from("/home/archy/.local/share/archy/apps"),
        probe: PathBuf::from("/home/archy/.local/share/archy/bin/probe"),
        root: "preview".to_owned(),
        platform: Platform::host(),
        limits: Limits::ALL,
    };
    let identity = Identity {
        app: format!("preview/{}", manifest.app.id),
        release: "preview".to_owned(),
    };
    let image = |_: &Slug| Ok(OciDigest::from_sha256([0; 32]));
    render_manifest(manifest, &identity, &image, &settings, &facts)
}

struct Identity {
    app: String,
    release: String,
}

/// The parts that every unit of an app shares.
struct Context<'a> {
    manifest: &'a Manifest,
    settings: &'a Settings,
    facts: &'a Facts,
    marker: Marker,
    labels: Vec<Word>,
}

fn render_manifest(
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
        let image = names::image(app, &container.name, &image(&container.name)?);
        let unit = context.container(container, index, &image)?;
        units.insert(names::container_file(app, &container.name), unit);
    }
    if manifest.network_policy != NetworkPolicy::Host {
        units.insert(names::network_file(app), context.network()?);
    }
    let volumes: BTreeSet<&Slug> = manifest
        .containers
        .iter()
        .flat_map(|container| &container.volumes)
        .map(|volume| &volume.name)
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
        let section = ContainerSection {
            image: plain(&at("image"), image)?,
            name: plain(
                &at("name"),
                &names::container(self.manifest, &container.name),
            )?,
            user,
            group,
            capabilities: capabilities(container, &at("capabilities"))?,
            read_only: container.readonly_root,
            attachment: self.attachment(container, &at("network_aliases"))?,
            ports: self.ports(container)?,
            volumes: self.mounts(container, &at)?,
            devices: devices(container, &at("devices"))?,
            environment: environment(container, &at("environment"))?,
            secrets: self.secrets(container, &at("secret_env"))?,
            labels,
            health,
            stop_timeout_seconds: stop_seconds,
            podman_args: limits(container, self.facts.limits)?,
            entrypoint,
            exec,
        };
        Ok(Unit {
            sections: vec![
                self.marker.section(),
                UnitSection {
                    description: plain(
                        "app.id",
                        &format!("archy app {app}, container {}", container.name),
                    )?,
                    requires: self.requires(container, &at("depends_on"))?,
                    condition_path: Some(self.path(&wanted_file(&self.facts.apps_dir, app))?),
                }
                .section(),
                quadlet_section(),
                section.section(),
                ServiceSection {
                    start_seconds,
                    stop_seconds: stop_seconds + STOP_SLACK_SECONDS,
                }
                .section(),
                install_section(),
            ],
        })
    }

    fn network(&self) -> Result<Unit, RenderError> {
        let app = self.app();
        let network = NetworkSection {
            name: plain("app.id", &names::network(app))?,
            internal: self.manifest.network_policy == NetworkPolicy::Isolated,
            labels: self.labels.clone(),
        };
        let description = format!("archy app {app}, network");
        self.oneshot(&description, network.section())
    }

    fn volume(&self, volume: &Slug) -> Result<Unit, RenderError> {
        let app = self.app();
        let directory = volume_dir(&self.facts.apps_dir, app, volume);
        let section = VolumeSection {
            name: plain("volumes", &names::volume(app, volume))?,
            directory: self.path(&directory)?,
            labels: self.labels.clone(),
        };
        let description = format!("archy app {app}, volume {volume}");
        self.oneshot(&description, section.section())
    }

    fn oneshot(&self, description: &str, section: unit::Section) -> Result<Unit, RenderError> {
        let unit = UnitSection {
            description: plain("app.id", description)?,
            requires: Vec::new(),
            condition_path: None,
        };
        let sections = vec![
            self.marker.section(),
            unit.section(),
            quadlet_section(),
            section,
        ];
        Ok(Unit { sections })
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
        Ok(Attachment::Network {
            file: plain(field, &names::network_file(self.app()))?,
            aliases: aliases
                .into_iter()
                .map(|alias| plain(field, alias.as_str()))
                .collect::<Result<_, _>>()?,
        })
    }

    fn ports(&self, container: &Container) -> Result<Vec<Plain>, RenderError> {
        if self.manifest.network_policy == NetworkPolicy::Host {
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
            let target = target(volume, &field)?;
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
        if container.health_check.is_some() {
            let probe = self.path(&self.facts.probe)?;
            mounts.push(plain("node.probe", &format!("{probe}:{PROBE_PATH}:ro"))?);
        }
        Ok(mounts)
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

/// The directory of one app below the directory of all apps.
pub fn app_dir(apps_dir: &Path, app: &Slug) -> PathBuf {
    apps_dir.join(app.as_str())
}

/// The directory with a volume's data.
pub fn volume_dir(apps_dir: &Path, app: &Slug, volume: &Slug) -> PathBuf {
    app_dir(apps_dir, app).join("data").join(volume.as_str())
}

/// The file that exists while the app should run; its units start only then.
pub fn wanted_file(apps_dir: &Path, app: &Slug) -> PathBuf {
    app_dir(apps_dir, app).join("wanted")
}

fn plain(field: &str, text: &str) -> Result<Plain, RenderError> {
    Plain::new(text).map_err(|source| RenderError::Text {
        field: field.to_owned(),
        source,
    })
}

fn word(field: &str, text: String) -> Result<Word, RenderError> {
    Word::new(text).map_err(|source| RenderError::Text {
        field: field.to_owned(),
        source,
    })
}

fn argument(field: &str, text: &str) -> Result<Argument, RenderError> {
    Argument::new(text).map_err(|source| RenderError::Text {
        field: field.to_owned(),
        source,
    })
}

/// Whole seconds, rounded up, at least one.
fn seconds(span: Option<Span>, default: Duration) -> u64 {
    let span = span.map_or(default, Span::as_duration);
    u64::try_from(span.as_millis().div_ceil(1000)).map_or(u64::MAX, |seconds| seconds.max(1))
}

fn variable_name(name: &str, field: &str) -> Result<(), RenderError> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if starts && plain && name.len() <= 128 {
        return Ok(());
    }
    Err(RenderError::NotAllowed {
        field: field.to_owned(),
        value: name.chars().take(80).collect(),
        allowed: "a variable's name has letters, digits and underscores, and starts with no digit",
    })
}

fn environment(container: &Container, field: &str) -> Result<Vec<Word>, RenderError> {
    let variables = container.environment.iter().map(|(name, value)| {
        variable_name(name, field)?;
        word(&format!("{field}.{name}"), format!("{name}={value}"))
    });
    variables.collect()
}

fn user(user: Option<&str>, field: &str) -> Result<(Option<Plain>, Option<Plain>), RenderError> {
    let Some(text) = user else {
        return Ok((None, None));
    };
    let part = |part: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let starts = part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        starts && part.len() <= 32 && part.bytes().all(inner)
    };
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    if !part(name) || !group.is_none_or(part) {
        return Err(RenderError::NotAllowed {
            field: field.to_owned(),
            value: text.chars().take(80).collect(),
            allowed: "write uid, uid:gid or a user name of the image",
        });
    }
    let group = group.map(|group| plain(field, group)).transpose()?;
    Ok((Some(plain(field, name)?), group))
}

fn capabilities(container: &Container, field: &str) -> Result<Vec<Word>, RenderError> {
    let capabilities: BTreeSet<&String> = container.capabilities.iter().collect();
    let words = capabilities.into_iter().map(|capability| {
        if !CAPABILITIES.contains(&capability.as_str()) {
            return Err(RenderError::NotAllowed {
                field: field.to_owned(),
                value: capability.chars().take(80).collect(),
                allowed: "write the name of a capability that apps may have, without CAP_, as in NET_BIND_SERVICE",
            });
        }
        word(field, capability.clone())
    });
    words.collect()
}

fn devices(container: &Container, field: &str) -> Result<Vec<Word>, RenderError> {
    let devices = container.devices.iter().map(|device| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'.');
        let below = device.starts_with("/dev/") && !device.contains("..") && !device.ends_with('/');
        if !below || !device.bytes().all(plain) {
            return Err(RenderError::NotAllowed {
                field: field.to_owned(),
                value: device.chars().take(80).collect(),
                allowed: "write the path of a device below /dev, as in /dev/dri",
            });
        }
        word(field, device.clone())
    });
    devices.collect()
}

/// Paths whose replacement would break the container or hide what podman mounts there.
const RESERVED_TARGETS: [&str; 5] = ["/proc", "/sys", "/dev", "/.archy", "/run/secrets"];

fn target<'a>(volume: &'a Volume, field: &str) -> Result<&'a str, RenderError> {
    let target = volume.target.as_str();
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let reserved = RESERVED_TARGETS.iter().any(|reserved| {
        let below = target.strip_prefix(reserved);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let parts = target.strip_prefix('/').map(|path| path.split('/'));
    let well_formed = parts.is_some_and(|mut parts| parts.all(part));
    if !well_formed || reserved || target.len() > 255 || target.contains([':', ',']) {
        return Err(RenderError::NotAllowed {
            field: field.to_owned(),
            value: target.chars().take(80).collect(),
            allowed: "write an absolute path of the image other than /proc, /sys, /dev and /run/secrets, without .., : and ,",
        });
    }
    Ok(target)
}

fn limits(container: &Container, possible: Limits) -> Result<Vec<Word>, RenderError> {
    let resources = &container.resources;
    let memory = resources.memory.filter(|_| possible.memory);
    let cpus = resources.cpus.filter(|_| possible.cpu);
    let pids = resources.pids.filter(|_| possible.pids);
    let memory = memory.map(|size| format!("--memory={}", size.bytes()));
    let cpus = cpus.map(|cpus| format!("--cpus={cpus}"));
    let pids = pids.map(|pids| format!("--pids-limit={pids}"));
    let limits = memory.into_iter().chain(cpus).chain(pids);
    limits.map(|limit| word("resources", limit)).collect()
}

/// Returns the entrypoint and the command. With an entrypoint of the manifest, its command belongs to the same JSON list:
/// podman then drops the image's own command, and the list can carry every text.
fn command(
    container: &Container,
    at: &dyn Fn(&str) -> String,
) -> Result<(Vec<Argument>, Vec<Word>), RenderError> {
    if container.entrypoint.is_empty() {
        let words = container.command.iter();
        let words = words.map(|text| word(&at("command"), text.clone()));
        return Ok((Vec::new(), words.collect::<Result<_, _>>()?));
    }
    let entrypoint = container.entrypoint.iter().map(|text| (text, "entrypoint"));
    let command = container.command.iter().map(|text| (text, "command"));
    let arguments = entrypoint
        .chain(command)
        .map(|(text, field)| argument(&at(field), text));
    Ok((arguments.collect::<Result<_, _>>()?, Vec::new()))
}

/// Every check runs through the probe: podman would hand a list of one word to a shell, and gives `CMD` and `NONE` as
/// first words a meaning of their own.
fn health(check: &HealthCheck, field: &str) -> Result<Health, RenderError> {
    let timeout_seconds = seconds(check.timeout, HEALTH_TIMEOUT);
    let port = || {
        let port = check.port.filter(|port| *port != 0);
        port.ok_or_else(|| RenderError::NotAllowed {
            field: format!("{field}.port"),
            value: String::new(),
            allowed: "an http or tcp check needs a port",
        })
    };
    let mut command = vec![PROBE_PATH.to_owned()];
    match check.kind {
        HealthKind::Http => {
            let path = check.path.as_deref().unwrap_or("/");
            let printable = |b: u8| b.is_ascii_graphic();
            if !path.starts_with('/') || !path.bytes().all(printable) {
                return Err(RenderError::NotAllowed {
                    field: format!("{field}.path"),
                    value: path.chars().take(80).collect(),
                    allowed: "write a path that starts with / and has no spaces; percent-encode other characters",
                });
            }
            command.extend(["http".to_owned(), port()?.to_string(), path.to_owned()]);
            command.push(timeout_seconds.to_string());
        }
        HealthKind::Tcp => {
            command.extend(["tcp".to_owned(), port()?.to_string()]);
            command.push(timeout_seconds.to_string());
        }
        HealthKind::Exec => {
            if check.command.first().is_none_or(String::is_empty) {
                return Err(RenderError::NotAllowed {
                    field: format!("{field}.command"),
                    value: String::new(),
                    allowed: "an exec check needs a command",
                });
            }
            command.push("exec".to_owned());
            command.extend(check.command.iter().cloned());
        }
    }
    let start_seconds = seconds(check.start_period, HEALTH_START_PERIOD);
    let wait_seconds = timeout_seconds.min(start_seconds.div_ceil(STARTUP_TRIES_MIN));
    let waiting = [
        PROBE_PATH.to_owned(),
        "wait".to_owned(),
        wait_seconds.to_string(),
    ];
    let waiting: Vec<String> = waiting
        .into_iter()
        .chain(command.iter().skip(1).cloned())
        .collect();
    let arguments = |texts: &[String]| -> Result<Vec<Argument>, RenderError> {
        texts.iter().map(|text| argument(field, text)).collect()
    };
    Ok(Health {
        command: arguments(&command)?,
        interval_seconds: seconds(check.interval, HEALTH_INTERVAL),
        timeout_seconds,
        retries: u64::from(check.retries.unwrap_or(HEALTH_RETRIES).max(1)),
        startup_command: arguments(&waiting)?,
        startup_timeout_seconds: timeout_seconds + STARTUP_SLACK_SECONDS,
        startup_retries: start_seconds.div_ceil(wait_seconds),
    })
}

#[cfg(test)]
mod tests;
