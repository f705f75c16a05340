//! What the units of one app let it do, as things that can be compared; everything that is not known to be harmless counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use archy_registry::Slug;
use archy_registry::manifest::{Hook, Hooks};

use super::RightKind;
use crate::names;
use crate::quadlet::unit::{Line, ReadError, read, unexpand, words};
use crate::quadlet::{HOLD, KEEP_GROUPS, OWN_IDS, PROBE_PATH};

/// Keys that say how a unit is named, started, checked and stopped, and so give no right.
const HARMLESS: [(&str, &[&str]); 7] = [
    ("X-Archy", &["Root", "App", "Release"]),
    (
        "Unit",
        &[
            "Description",
            "Wants",
            "After",
            "Requires",
            "ConditionPathExists",
            "StartLimitIntervalSec",
            "StartLimitBurst",
        ],
    ),
    ("Quadlet", &["DefaultDependencies"]),
    (
        "Service",
        &[
            "Restart",
            "RestartSec",
            "SuccessExitStatus",
            "TimeoutStartSec",
            "TimeoutStopSec",
        ],
    ),
    ("Install", &["WantedBy"]),
    (
        "Container",
        &[
            "Image",
            "Pull",
            "ContainerName",
            "RunInit",
            "StopTimeout",
            "LogDriver",
            "NetworkAlias",
            "Environment",
            "Label",
            "Notify",
            "HealthCmd",
            "HealthInterval",
            "HealthTimeout",
            "HealthRetries",
            "HealthOnFailure",
            "HealthStartupCmd",
            "HealthStartupInterval",
            "HealthStartupTimeout",
            "HealthStartupRetries",
            "Entrypoint",
            "Exec",
            "Tmpfs",
        ],
    ),
    ("Network", &["NetworkName", "Label"]),
];

/// One thing that the units let the app do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grant {
    Container(String),
    HostNetwork,
    Internet,
    /// What another app offers to others.
    App(String),
    /// A file of the node that is copied into a container.
    HostFile {
        container: String,
        path: String,
    },
    /// A port of the node; of all its addresses without one.
    Port {
        address: Option<String>,
        port: u16,
        udp: bool,
    },
    Folder {
        container: String,
        path: String,
        /// The volume's name when the folder is one that the node made for this app.
        own: Option<String>,
        writable: bool,
    },
    Secret {
        container: String,
        name: String,
    },
    User {
        container: String,
        user: Option<String>,
        group: Option<String>,
    },
    Capability {
        container: String,
        name: String,
    },
    Device {
        container: String,
        path: String,
    },
    Loosened {
        container: String,
        what: Loosening,
    },
    Limit {
        container: String,
        what: Resource,
        /// Bytes, thousandths of a processor or processes; unlimited without one.
        most: Option<u64>,
    },
    /// What this version does not know, and so takes for a right.
    Other {
        unit: String,
        setting: String,
    },
}

/// A guard that an app's units usually put up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loosening {
    WritableRoot,
    NewPrivileges,
    UsualCapabilities,
    SharedUsers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    Memory,
    Processor,
    Processes,
}

/// All that the units of one app let it do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub(super) grants: BTreeSet<Grant>,
    pub(super) containers: BTreeSet<String>,
}

impl Granted {
    /// Reads the rights off the unit files of an app, by file name.
    ///
    /// # Errors
    ///
    /// [`ReadError`] for a file that is not in the form in which units are written.
    pub fn read(app: &Slug, files: &BTreeMap<String, String>) -> Result<Self, ReadError> {
        let mut units = BTreeMap::new();
        for (name, text) in files {
            units.insert(name.as_str(), read(text)?);
        }
        let mut reader = Reader {
            app,
            units: &units,
            grants: BTreeSet::new(),
            containers: BTreeSet::new(),
        };
        for (name, lines) in &units {
            reader.unit(name, lines)?;
        }
        Ok(Self {
            grants: reader.grants,
            containers: reader.containers,
        })
    }
}

impl Granted {
    /// Adds what is not in the units: the files of the node that hooks copy.
    pub(crate) fn and_hooks(mut self, hooks: &Hooks) -> Self {
        let all = [
            &hooks.post_install,
            &hooks.pre_update,
            &hooks.post_update,
            &hooks.pre_uninstall,
        ];
        for step in all.into_iter().flatten() {
            if let Hook::CopyFromHost {
                from, container, ..
            } = step
            {
                self.grants.insert(Grant::HostFile {
                    container: container.to_string(),
                    path: from.clone(),
                });
            }
        }
        self
    }
}

struct Reader<'a> {
    app: &'a Slug,
    units: &'a BTreeMap<&'a str, Vec<Line>>,
    grants: BTreeSet<Grant>,
    containers: BTreeSet<String>,
}

impl Reader<'_> {
    fn unit(&mut self, file: &str, lines: &[Line]) -> Result<(), ReadError> {
        let prefix = format!("{}{}.", names::PREFIX, self.app);
        let inner = file.strip_prefix(&prefix);
        let container = inner.and_then(|rest| rest.strip_suffix(".container"));
        if let Some(container) = container {
            return self.container(file, container, lines);
        }
        let edge = inner.and_then(|rest| rest.strip_prefix("uses."));
        let is_edge = edge.is_some_and(|rest| rest.ends_with(".network"));
        let is_network = file == names::network_file(self.app) || is_edge;
        let is_volume = inner.is_some_and(|rest| rest.ends_with(".volume"));
        let mut names = lines.iter().filter(|line| line.key == "VolumeName");
        let hold = names.next().map(|name| format!("{HOLD} {}", name.raw));
        for line in lines {
            match (line.section.as_str(), line.key.as_str(), line.raw.as_str()) {
                ("Network", "Internal", "true") if is_network => {}
                ("Network", "Internal", _) if is_network => {
                    self.grants.insert(Grant::Internet);
                }
                ("Volume", "VolumeName" | "Device" | "Label", _) if is_volume => {}
                ("Service", "ExecStartPost", raw) if is_volume && hold.as_deref() == Some(raw) => {}
                ("Volume", "Type", "none") if is_volume => {}
                ("Volume", "Options", raw) if is_volume && is_bind(raw) => {}
                _ if (is_network || is_volume) && is_harmless(line) => {}
                _ => self.other(file, line),
            }
        }
        Ok(())
    }

    fn container(&mut self, file: &str, name: &str, lines: &[Line]) -> Result<(), ReadError> {
        let container = name.to_owned();
        self.containers.insert(container.clone());
        self.grants.insert(Grant::Container(container.clone()));
        let (mut user, mut group) = (None, None);
        let mut guards = BTreeSet::from([
            Loosening::WritableRoot,
            Loosening::NewPrivileges,
            Loosening::UsualCapabilities,
            Loosening::SharedUsers,
        ]);
        let mut limits = BTreeMap::from([
            (Resource::Memory, None),
            (Resource::Processor, None),
            (Resource::Processes, None),
        ]);
        let mut is_attached = false;
        for line in lines {
            if line.section != "Container" {
                if !is_harmless(line) {
                    self.other(file, line);
                }
                continue;
            }
            match (line.key.as_str(), line.raw.as_str()) {
                ("User", raw) => user = Some(raw.to_owned()),
                ("Group", raw) => group = Some(raw.to_owned()),
                ("DropCapability", "all") => {
                    guards.remove(&Loosening::UsualCapabilities);
                }
                ("NoNewPrivileges", "true") => {
                    guards.remove(&Loosening::NewPrivileges);
                }
                ("ReadOnly", "true") => {
                    guards.remove(&Loosening::WritableRoot);
                }
                ("DropCapability" | "NoNewPrivileges" | "ReadOnly", _) => {}
                ("UIDMap", OWN_IDS) => {
                    guards.remove(&Loosening::SharedUsers);
                }
                ("GIDMap", OWN_IDS) => {}
                ("AddCapability", raw) => {
                    let names = texts(raw)?.into_iter();
                    self.grants.extend(names.map(|name| Grant::Capability {
                        container: container.clone(),
                        name,
                    }));
                }
                ("AddDevice", raw) => {
                    let paths = texts(raw)?.into_iter();
                    self.grants.extend(paths.map(|path| Grant::Device {
                        container: container.clone(),
                        path,
                    }));
                }
                ("Network", "host") => {
                    is_attached = true;
                    self.grants.insert(Grant::HostNetwork);
                }
                ("Network", raw) if is_own_network(raw, self.app) => is_attached = true,
                ("Network", raw) if other_app(raw, self.app).is_some() => {
                    is_attached = true;
                    self.grants
                        .extend(other_app(raw, self.app).map(|other| Grant::App(other.to_owned())));
                }
                ("PublishPort", raw) => match port(raw) {
                    Some(port) => {
                        self.grants.insert(port);
                    }
                    None => self.other(file, line),
                },
                ("Volume", raw) => match self.folder(&container, raw) {
                    Some(folder) => self.grants.extend(folder),
                    None => self.other(file, line),
                },
                ("Secret", raw) => {
                    for secret in texts(raw)? {
                        let name = secret.split(',').next().unwrap_or_default();
                        let own = format!("{}{}.", names::PREFIX, self.app);
                        self.grants.insert(Grant::Secret {
                            container: container.clone(),
                            name: name.strip_prefix(&own).unwrap_or(name).to_owned(),
                        });
                    }
                }
                ("Memory", raw) => match raw.parse() {
                    Ok(most) => {
                        limits.insert(Resource::Memory, Some(most));
                    }
                    Err(_) => self.other(file, line),
                },
                ("PodmanArgs", raw) => {
                    for argument in texts(raw)? {
                        match limit(&argument) {
                            Some((what, most)) => {
                                limits.insert(what, Some(most));
                            }
                            None if is_option(&argument, "--uidmap", OWN_IDS) => {
                                guards.remove(&Loosening::SharedUsers);
                            }
                            None if is_option(&argument, "--gidmap", OWN_IDS) => {}
                            None if is_harmless_option(&argument) => {}
                            None => self.other(file, line),
                        }
                    }
                }
                _ if is_harmless(line) => {}
                _ => self.other(file, line),
            }
        }
        if !is_attached {
            // podman's own default network has a way out.
            self.grants.insert(Grant::Internet);
        }
        self.grants
            .extend(guards.into_iter().map(|what| Grant::Loosened {
                container: container.clone(),
                what,
            }));
        self.grants
            .extend(limits.into_iter().map(|(what, most)| Grant::Limit {
                container: container.clone(),
                what,
                most,
            }));
        self.grants.insert(Grant::User {
            container,
            user,
            group,
        });
        Ok(())
    }

    /// Reads `SOURCE:TARGET[:ro]`: nothing for the probe, `None` for what is no folder of this node.
    fn folder(&self, container: &str, raw: &str) -> Option<Option<Grant>> {
        let mut parts = raw.split(':');
        let (source, target) = (parts.next()?, parts.next()?);
        let writable = match parts.next() {
            None => true,
            Some("ro") => false,
            Some(_) => return None,
        };
        if target == PROBE_PATH && !writable {
            return Some(None);
        }
        let (path, own) = if source.starts_with('/') {
            (source.to_owned(), None)
        } else {
            let unit = self.units.get(source)?;
            let mut devices = unit.iter().filter(|line| line.key == "Device");
            let path = devices.next()?.raw.clone();
            let volume = source.strip_suffix(".volume")?.rsplit('.').next()?;
            let place = format!("/{}/data/{volume}", self.app);
            let own = path.ends_with(&place).then(|| volume.to_owned());
            (path, own)
        };
        Some(Some(Grant::Folder {
            container: container.to_owned(),
            path,
            own,
            writable,
        }))
    }

    fn other(&mut self, file: &str, line: &Line) {
        self.grants.insert(Grant::Other {
            unit: file.to_owned(),
            setting: format!("[{}] {}={}", line.section, line.key, line.raw),
        });
    }
}

fn is_harmless(line: &Line) -> bool {
    HARMLESS
        .iter()
        .any(|(section, keys)| line.section == *section && keys.contains(&line.key.as_str()))
}

fn texts(raw: &str) -> Result<Vec<String>, ReadError> {
    words(raw)?.iter().map(|word| unexpand(word)).collect()
}

/// Tells whether a volume is a folder as it is, or one that podman leaves to a user of the app.
fn is_bind(raw: &str) -> bool {
    let Some((uid, gid)) = raw
        .strip_prefix("bind,uid=")
        .and_then(|owner| owner.split_once(",gid="))
    else {
        return raw == "bind";
    };
    uid == gid && uid.parse::<u32>().is_ok()
}

/// Reads `FILE` or `FILE:alias=NAME,alias=NAME`.
fn is_own_network(raw: &str, app: &Slug) -> bool {
    let (file, options) = raw.split_once(':').unwrap_or((raw, ""));
    let mut options = options.split(',').filter(|option| !option.is_empty());
    file == names::network_file(app) && options.all(|option| option.starts_with("alias="))
}

/// Reads the name of the network with another app.
fn other_app<'r>(raw: &'r str, app: &Slug) -> Option<&'r str> {
    let own = format!("{}{app}.uses.", names::PREFIX);
    let other = raw.strip_prefix(&own)?.strip_suffix(".network")?;
    other.parse::<Slug>().ok().map(|_| other)
}

fn is_option(argument: &str, name: &str, value: &str) -> bool {
    argument.split_once('=') == Some((name, value))
}

/// Options that stand in for keys which an older podman lacks, and the group that a device needs.
fn is_harmless_option(argument: &str) -> bool {
    let (name, _) = argument.split_once('=').unwrap_or((argument, ""));
    argument == KEEP_GROUPS
        || argument == "--sdnotify=healthy"
        || argument == "--log-driver=journald"
        || argument == "--pull=never"
        || matches!(
            name,
            "--stop-timeout" | "--entrypoint" | "--network-alias" | "--tmpfs"
        )
}

/// Reads `[ADDRESS:]HOST:CONTAINER/PROTOCOL`.
fn port(raw: &str) -> Option<Grant> {
    let (rest, protocol) = raw.rsplit_once('/')?;
    let udp = match protocol {
        "tcp" => false,
        "udp" => true,
        _ => return None,
    };
    let (rest, inside) = rest.rsplit_once(':')?;
    inside.parse::<u16>().ok()?;
    let (address, port) = match rest.rsplit_once(':') {
        Some((address, port)) => (Some(address.to_owned()), port),
        None => (None, rest),
    };
    Some(Grant::Port {
        address,
        port: port.parse().ok()?,
        udp,
    })
}

/// Reads a limit that is handed to podman.
fn limit(argument: &str) -> Option<(Resource, u64)> {
    let (name, value) = argument.split_once('=')?;
    match name {
        "--memory" => Some((Resource::Memory, value.parse().ok()?)),
        "--pids-limit" => Some((Resource::Processes, value.parse().ok()?)),
        "--cpus" => {
            let (whole, part) = value.split_once('.').unwrap_or((value, ""));
            if part.len() > 3 {
                return None;
            }
            let part = format!("{part:0<3}");
            let whole: u64 = whole.parse().ok()?;
            let thousandths = whole.checked_mul(1000)?.checked_add(part.parse().ok()?)?;
            Some((Resource::Processor, thousandths))
        }
        _ => None,
    }
}

impl Grant {
    /// Tells whether who has this one can do all that `other` allows.
    pub(super) fn covers(&self, other: &Self) -> bool {
        use Grant::{App, Device, Folder, HostNetwork, Internet, Limit, Port, User};
        match (self, other) {
            (HostNetwork, Internet | App(_) | Port { .. }) => true,
            (
                Port {
                    address: None,
                    port,
                    udp,
                },
                Port {
                    port: other_port,
                    udp: other_udp,
                    ..
                },
            ) => (port, udp) == (other_port, other_udp),
            (
                Device { container, path },
                Device {
                    container: other_container,
                    path: other_path,
                },
            ) => {
                let below = other_path.strip_prefix(path.as_str());
                container == other_container
                    && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            (
                Folder {
                    container,
                    path,
                    writable: true,
                    ..
                },
                Folder {
                    container: other_container,
                    path: other_path,
                    ..
                },
            ) => (container, path) == (other_container, other_path),
            (
                User {
                    container,
                    user,
                    group,
                },
                User {
                    container: other_container,
                    user: other_user,
                    group: other_group,
                },
            ) => {
                let same_user = user == other_user && (is_root(group) || group == other_group);
                container == other_container && (is_root(user) || same_user)
            }
            (
                Limit {
                    container,
                    what,
                    most,
                },
                Limit {
                    container: other_container,
                    what: other_what,
                    most: other_most,
                },
            ) => {
                let enough = match (most, other_most) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(most), Some(other)) => most >= other,
                };
                (container, what) == (other_container, other_what) && enough
            }
            _ => self == other,
        }
    }

    pub(super) fn container(&self) -> Option<&str> {
        match self {
            Self::Container(container)
            | Self::Folder { container, .. }
            | Self::Secret { container, .. }
            | Self::User { container, .. }
            | Self::Capability { container, .. }
            | Self::Device { container, .. }
            | Self::HostFile { container, .. }
            | Self::Loosened { container, .. }
            | Self::Limit { container, .. } => Some(container),
            Self::HostNetwork
            | Self::Internet
            | Self::App(_)
            | Self::Port { .. }
            | Self::Other { .. } => None,
        }
    }

    /// Tells whether a container that is new brings this with it as every container does.
    pub(super) fn is_usual(&self) -> bool {
        matches!(
            self,
            Self::User { .. }
                | Self::Limit { .. }
                | Self::Loosened {
                    what: Loosening::WritableRoot | Loosening::SharedUsers,
                    ..
                }
        )
    }

    pub(super) fn kind(&self) -> RightKind {
        match self {
            Self::Container(_) => RightKind::Container,
            Self::HostNetwork | Self::Internet | Self::App(_) => RightKind::Network,
            Self::Port { .. } => RightKind::Ports,
            Self::Folder { .. } | Self::HostFile { .. } => RightKind::Data,
            Self::Secret { .. } => RightKind::Secret,
            Self::User { .. }
            | Self::Loosened {
                what: Loosening::SharedUsers,
                ..
            } => RightKind::User,
            Self::Capability { .. }
            | Self::Loosened {
                what: Loosening::UsualCapabilities | Loosening::NewPrivileges,
                ..
            } => RightKind::Capability,
            Self::Device { .. } => RightKind::Device,
            Self::Loosened {
                what: Loosening::WritableRoot,
                ..
            } => RightKind::Data,
            Self::Limit { .. } => RightKind::Limit,
            Self::Other { .. } => RightKind::Other,
        }
    }
}

/// Tells whether a user or group may be the administrator; without a name the image decides.
pub(super) fn is_root(name: &Option<String>) -> bool {
    name.as_deref()
        .is_none_or(|name| name == "0" || name == "root")
}

/// Writes an amount of a resource for people.
pub(super) struct Amount(pub(super) Resource, pub(super) Option<u64>);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(most) = self.1 else {
            return f.write_str(match self.0 {
                Resource::Memory => "all memory of this machine",
                Resource::Processor => "all processors of this machine",
                Resource::Processes => "any number of processes",
            });
        };
        match self.0 {
            Resource::Memory => {
                let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
                let exact = units
                    .into_iter()
                    .find(|(bits, _)| most > 0 && most.trailing_zeros() >= *bits);
                match exact {
                    Some((bits, unit)) => write!(f, "{} {unit} of memory", most >> bits),
                    None => write!(f, "{most} bytes of memory"),
                }
            }
            Resource::Processor => {
                let (whole, part) = (most / 1000, most % 1000);
                let part = format!("{part:03}");
                match part.trim_end_matches('0') {
                    "" if whole == 1 => f.write_str("1 processor"),
                    "" => write!(f, "{whole} processors"),
                    part => write!(f, "{whole}.{part} processors"),
                }
            }
            Resource::Processes => write!(f, "{most} processes"),
        }
    }
}
