//! What runs here that is not ours: where it comes from, and which app's containers it could be.

use std::collections::BTreeMap;

use archy_registry::Slug;
use archy_registry::manifest::{Manifest, Protocol};

use super::{Foreign, ForeignMount, ForeignPort, Origin, QuadletFile, foreign_files};
use crate::install::MachineError;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::quadlet::LABEL_ROOT;
use crate::runtime::podman::Inspection;

/// The label by which podman tells which service runs a container.
pub(super) const LABEL_SYSTEMD_UNIT: &str = "PODMAN_SYSTEMD_UNIT";
/// Labels of compose projects, each with the label of the service.
const COMPOSE: [(&str, &str); 2] = [
    ("io.podman.compose.project", "com.docker.compose.service"),
    ("com.docker.compose.project", "com.docker.compose.service"),
];

/// Which containers of a manifest have one on this node that fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// The manifest's container → id of the one that fits.
    pub fits: BTreeMap<Slug, String>,
    /// The manifest's containers that none fits, each with the name that would.
    pub missing: BTreeMap<Slug, String>,
}

/// Finds the containers that are an app's by their names, or by project and service of a compose file. What the owner
/// `chose`, by name or id, goes before.
pub fn matching(
    manifest: &Manifest,
    foreign: &[Foreign],
    chosen: &BTreeMap<Slug, String>,
) -> Match {
    let mut found = Match::default();
    for container in &manifest.containers {
        let expected = names::container(manifest, &container.name);
        let free = |candidate: &&Foreign| {
            candidate.exists() && !found.fits.values().any(|id| *id == candidate.id)
        };
        let mut free = foreign.iter().filter(free);
        let fit = match chosen.get(&container.name) {
            Some(wanted) => free.find(|c| c.name == *wanted || c.id == *wanted),
            None => free
                .clone()
                .find(|candidate| candidate.name == expected)
                .or_else(|| {
                    free.find(|candidate| is_service(manifest, &container.name, candidate))
                }),
        };
        match fit {
            Some(fit) => {
                found.fits.insert(container.name.clone(), fit.id.clone());
            }
            None => {
                let expected = chosen.get(&container.name).cloned().unwrap_or(expected);
                found.missing.insert(container.name.clone(), expected);
            }
        }
    }
    found
}

/// Tells whether a container is this one in a compose project of the app's name.
fn is_service(manifest: &Manifest, container: &Slug, candidate: &Foreign) -> bool {
    match &candidate.origin {
        Origin::Compose { project, service } => {
            *project == manifest.app.id.as_str() && service.as_deref() == Some(container.as_str())
        }
        Origin::Run | Origin::Unit { .. } => false,
    }
}

/// Tells where a container comes from; `unit` is the service that runs it, if one does, with its file.
pub(super) fn origin(labels: &BTreeMap<String, String>, unit: Option<(String, String)>) -> Origin {
    if let Some((unit, file)) = unit {
        return Origin::Unit { unit, file };
    }
    let project = COMPOSE.iter().find_map(|(project, service)| {
        let project = labels.get(*project).filter(|name| !name.is_empty())?;
        Some((project.clone(), labels.get(*service).cloned()))
    });
    match project {
        Some((project, service)) => Origin::Compose { project, service },
        None => Origin::Run,
    }
}

/// Describes a container that is not ours.
pub(super) fn describe(found: &Inspection, origin: Origin) -> Foreign {
    let mounts = found.mounts.iter().map(|mount| ForeignMount {
        kind: mount.kind.clone(),
        source: match mount.kind.as_str() {
            "volume" => mount.name.clone(),
            _ => mount.source.clone(),
        },
        target: mount.destination.clone(),
        writable: mount.writable,
    });
    let state = &found.state;
    Foreign {
        id: found.id.clone(),
        name: found.name.clone(),
        image: found.image_name.clone(),
        state: state.status.clone(),
        started_at: state.started_at.parse().ok().filter(|_| state.running),
        origin,
        restart: match found.host_config.restart_policy.name.as_str() {
            "" => "no".to_owned(),
            name => name.to_owned(),
        },
        ports: ports(found),
        mounts: mounts.collect(),
    }
}

/// Describes a container that is gone while its service does not run.
fn gone(file: QuadletFile) -> Foreign {
    let path = file.path.display().to_string();
    Foreign {
        id: path.clone(),
        name: file.container,
        image: file.image,
        state: "stopped".to_owned(),
        started_at: None,
        origin: Origin::Unit {
            unit: file.service,
            file: path,
        },
        restart: "no".to_owned(),
        ports: Vec::new(),
        mounts: Vec::new(),
    }
}

/// Reads a container's published ports; one of another transport than TCP and UDP is left out.
pub(super) fn ports(found: &Inspection) -> Vec<ForeignPort> {
    let mut ports = Vec::new();
    for (inside, bindings) in &found.host_config.port_bindings {
        let (number, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => continue,
        };
        for binding in bindings.iter().flatten() {
            let (Ok(container), Ok(host)) = (number.parse(), binding.host_port.parse()) else {
                continue;
            };
            let address = match binding.host_ip.as_str() {
                "0.0.0.0" | "::" => String::new(),
                address => address.to_owned(),
            };
            ports.push(ForeignPort {
                address,
                host,
                container,
                protocol,
            });
        }
    }
    ports.sort();
    ports.dedup();
    ports
}

/// Tells whether this names a service of others: a container's image may say anything in a label.
fn is_service_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_.@\\-".contains(&byte);
    // systemd has no service of a template without an instance.
    let stem = name.strip_suffix(".service");
    stem.is_some_and(|stem| !stem.is_empty() && !stem.ends_with('@'))
        && name.len() <= 255
        && name.bytes().all(plain)
        && !name.starts_with(names::PREFIX)
}

/// Tells whether a service does nothing but start this container, as in `podman start -a notes`.
fn starts_only(commands: &[Vec<String>], found: &Inspection) -> bool {
    let [command] = commands else {
        return false;
    };
    let [program, verb @ .., container] = &command[..] else {
        return false;
    };
    let named = *container == found.name || *container == found.id;
    let mut verb = verb.iter().filter(|word| !word.starts_with('-'));
    named
        && program.rsplit('/').next() == Some("podman")
        && verb.next().is_some_and(|word| word == "start")
        && verb.next().is_none()
}

impl Orchestrator {
    /// Lists the containers on this node that are neither ours nor claimed, by name; those too that Quadlet files of others
    /// make and that are gone while their services do not run.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when the machine cannot be seen.
    pub async fn adoptable(&self) -> Result<Vec<Foreign>, MachineError> {
        let found = self.inner.store.load_all()?;
        let held: Vec<(&String, &String)> = found
            .desired
            .iter()
            .flat_map(|desired| &desired.adoption)
            .flat_map(|adoption| adoption.containers.values())
            .map(|held| (&held.id, &held.name))
            .collect();
        let mut foreign = Vec::new();
        let containers = self.inner.podman.containers().await?;
        let is_known = |name: &String| {
            let mut known = containers.iter().flat_map(|container| &container.names);
            known.any(|one| one == name) || held.iter().any(|(_, held)| *held == name)
        };
        let files = foreign_files(&self.inner.config).into_iter();
        foreign.extend(files.filter(|file| !is_known(&file.container)).map(gone));
        for container in &containers {
            let is_held = |name: &String| {
                let mut held = held.iter();
                held.any(|(id, held)| **id == container.id || *held == name)
            };
            if container.label(LABEL_ROOT).is_some()
                || container.is_infra
                || container.names.iter().any(is_held)
            {
                continue;
            }
            // It may be gone by now.
            if let Some(found) = self.inner.podman.inspect(&container.id).await? {
                foreign.push(self.foreign(&found).await?);
            }
        }
        foreign.sort_by(|a, b| (&a.origin, &a.name).cmp(&(&b.origin, &b.name)));
        Ok(foreign)
    }

    pub(super) async fn foreign(&self, found: &Inspection) -> Result<Foreign, MachineError> {
        let unit = self.unit_of(found).await?;
        Ok(describe(found, origin(&found.config.labels, unit)))
    }

    /// Finds the service that runs a container: the one whose main process is podman's watch over it, or that does nothing
    /// but start it. A label alone proves nothing, and what a service starts that it did not make has none.
    async fn unit_of(&self, found: &Inspection) -> Result<Option<(String, String)>, MachineError> {
        let systemd = &self.inner.systemd;
        let watch = u32::try_from(found.state.conmon_pid).unwrap_or(0);
        let around = match watch {
            0 => None,
            watch => systemd.unit_of(watch).await?,
        };
        let label = found.config.labels.get(LABEL_SYSTEMD_UNIT).cloned();
        // The names that `podman generate systemd` gives and that people give.
        let usual = ["container-", ""].map(|prefix| format!("{prefix}{}.service", found.name));
        let units = around.into_iter().chain(label).chain(usual);
        for unit in units.filter(|unit| is_service_name(unit)) {
            let service = systemd.service(&unit).await?;
            // Services that only called podman have another one: its own API's, what starts containers at boot.
            let runs_it = watch > 0 && service.main_pid == watch;
            // One that goes with its end is made anew by its service, or not at all.
            let starts_it =
                !found.host_config.auto_remove && starts_only(&service.starts_with, found);
            if service.load == "loaded" && (runs_it || starts_it) {
                return Ok(Some((unit, service.source)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn containers_are_grouped_by_where_they_come_from() {
        let unit = || Some(("a.service".to_owned(), "/x/a.container".to_owned()));
        let compose = |service: Option<&str>| Origin::Compose {
            project: "p".to_owned(),
            service: service.map(str::to_owned),
        };
        let table = [
            (labels(&[]), None, Origin::Run),
            (
                labels(&[(LABEL_SYSTEMD_UNIT, "a.service")]),
                None,
                Origin::Run,
            ),
            (
                labels(&[
                    ("com.docker.compose.project", "p"),
                    (LABEL_SYSTEMD_UNIT, "a.service"),
                ]),
                unit(),
                Origin::Unit {
                    unit: "a.service".to_owned(),
                    file: "/x/a.container".to_owned(),
                },
            ),
            (
                labels(&[
                    ("com.docker.compose.project", "p"),
                    ("com.docker.compose.service", "s"),
                ]),
                None,
                compose(Some("s")),
            ),
            (
                labels(&[("io.podman.compose.project", "p")]),
                None,
                compose(None),
            ),
            (
                labels(&[("io.podman.compose.project", "")]),
                None,
                Origin::Run,
            ),
        ];
        for (labels, unit, wanted) in table {
            assert_eq!(origin(&labels, unit), wanted, "{labels:?}");
        }
    }

    #[test]
    fn only_a_service_of_others_is_taken_at_its_word() {
        for name in ["a.service", "a@b.service", "container-a.service"] {
            assert!(is_service_name(name), "{name}");
        }
        for name in [
            "",
            "a",
            "a.socket",
            "archy.a.web.service",
            "../a.service",
            "a b.service",
            "a@.service",
            ".service",
        ] {
            assert!(!is_service_name(name), "{name}");
        }
    }

    #[test]
    fn a_service_that_only_starts_a_container_is_its() {
        let found = Inspection {
            id: "abc".to_owned(),
            name: "notes".to_owned(),
            ..Inspection::default()
        };
        let table: [(&[&str], bool); 9] = [
            (&["/usr/bin/podman start notes"], true),
            (&["podman start -a abc"], true),
            (&["/usr/bin/podman --log-level=info start notes"], true),
            (&["/usr/bin/podman start --all"], false),
            (&["/usr/bin/podman start other notes"], false),
            (&["/usr/bin/podman stop notes"], false),
            (&["/bin/sh start notes"], false),
            (
                &["/usr/bin/podman start other", "/usr/bin/podman start notes"],
                false,
            ),
            (&[], false),
        ];
        for (commands, wanted) in table {
            let words = |command: &&str| command.split(' ').map(str::to_owned).collect();
            let read: Vec<Vec<String>> = commands.iter().map(words).collect();
            assert_eq!(starts_only(&read, &found), wanted, "{commands:?}");
        }
    }

    fn manifest(containers: &[&str]) -> Manifest {
        let containers: String = containers
            .iter()
            .map(|name| {
                format!("  - {{name: {name}, source: {{type: pull, image: \"localhost/a:1\"}}}}\n")
            })
            .collect();
        let yaml = format!(
            "app: {{id: notes, name: N, version: 1.0.0, tagline: N, category: other}}\ncontainers:\n{containers}"
        );
        archy_registry::manifest::parse(&yaml).unwrap().manifest
    }

    fn foreign(name: &str, origin: Origin) -> Foreign {
        Foreign {
            id: format!("id-{name}"),
            name: name.to_owned(),
            image: String::new(),
            state: "running".to_owned(),
            started_at: None,
            origin,
            restart: "no".to_owned(),
            ports: Vec::new(),
            mounts: Vec::new(),
        }
    }

    #[test]
    fn an_app_finds_its_containers_by_name_service_or_choice() {
        let service = |project: &str, service: &str| Origin::Compose {
            project: project.to_owned(),
            service: Some(service.to_owned()),
        };
        let here = [
            foreign("notes", Origin::Run),
            foreign("x_web_1", service("notes", "web")),
            foreign("notes-db", service("other", "db")),
            foreign("other_db_1", service("other", "db")),
            gone(QuadletFile {
                path: "/q/notes-cache.container".into(),
                container: "notes-cache".to_owned(),
                image: String::new(),
                service: "notes-cache.service".to_owned(),
            }),
        ];
        let chosen = |pairs: &[(&str, &str)]| -> BTreeMap<Slug, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(k, v)| (k.parse().unwrap(), (*v).to_owned()))
                .collect()
        };
        // Containers of the manifest, choices, what fits, what is missing.
        type Pairs = &'static [(&'static str, &'static str)];
        let table: [(&[&str], Pairs, Pairs, Pairs); 5] = [
            (&["web"], &[], &[("web", "id-notes")], &[]),
            (
                &["web", "db"],
                &[],
                &[("web", "id-x_web_1"), ("db", "id-notes-db")],
                &[],
            ),
            (
                &["web", "cache"],
                &[],
                &[("web", "id-x_web_1")],
                &[("cache", "notes-cache")],
            ),
            (
                &["web"],
                &[("web", "other_db_1")],
                &[("web", "id-other_db_1")],
                &[],
            ),
            (
                &["web", "db"],
                &[("web", "notes-db"), ("db", "notes-db")],
                &[("web", "id-notes-db")],
                &[("db", "notes-db")],
            ),
        ];
        for (containers, choice, fits, missing) in table {
            let found = matching(&manifest(containers), &here, &chosen(choice));
            let wanted = Match {
                fits: chosen(fits),
                missing: chosen(missing),
            };
            assert_eq!(found, wanted, "{containers:?} {choice:?}");
        }
    }

    #[test]
    fn ports_are_read_as_podman_writes_them() {
        let json = serde_json::json!({
            "Id": "a", "Name": "n", "Config": {"Env": null, "Labels": null},
            "HostConfig": {"PortBindings": {
                "8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}, {"HostIp": "", "HostPort": "80"}],
                "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5353"}],
                "9/sctp": [{"HostIp": "", "HostPort": "9"}],
                "1/tcp": null,
            }, "CapAdd": null},
            "Mounts": [{"Type": "volume", "Name": "v", "Source": "/s", "Destination": "/d", "RW": true}],
        });
        let found: Inspection = serde_json::from_value(json).unwrap();
        let shown: Vec<_> = ports(&found)
            .into_iter()
            .map(|port| (port.address, port.host, port.container, port.protocol))
            .collect();
        assert_eq!(
            shown,
            [
                (String::new(), 80, 8080, Protocol::Tcp),
                ("127.0.0.1".to_owned(), 5353, 53, Protocol::Udp),
            ]
        );
        let described = describe(&found, Origin::Run);
        assert_eq!(described.mounts[0].source, "v");
        assert_eq!(described.restart, "no");
    }
}
