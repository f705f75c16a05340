//! Checks containers one by one, and what they share: names, ports, volumes, aliases.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, grammar, health};
use crate::id::Slug;
use crate::manifest::{
    Container, Manifest, NetworkPolicy, Protocol, Resources, Source, UserNamespace, Volume,
};
use crate::text;

const CONTAINERS_MAX: usize = 16;
const ARGUMENTS_MAX: usize = 128;
const VARIABLES_MAX: usize = 128;
const MEMORY_BYTES_MIN: u64 = 6 * 1024 * 1024;
const TMPFS_BYTES_MIN: u64 = 4096;
const PIDS_MAX: u32 = 4_194_304;

/// What earlier containers of the app already took.
#[derive(Default)]
struct Taken<'m> {
    dns_names: BTreeSet<&'m Slug>,
    host_ports: BTreeSet<(u16, Protocol)>,
    owners: BTreeMap<&'m Slug, Option<u32>>,
    user_namespaces: BTreeMap<&'m Slug, UserNamespace>,
    port_names: BTreeSet<Slug>,
}

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    if manifest.containers.is_empty() {
        report.at("containers", |report| {
            report.problem("must have at least one container");
        });
    }
    let mut taken = Taken::default();
    for container in &manifest.containers {
        taken.dns_names.insert(&container.name);
    }
    let mut names = BTreeSet::new();
    report.each(
        "containers",
        &manifest.containers,
        CONTAINERS_MAX,
        |report, index, _| {
            // Indexed again for the lifetime of the manifest, which what is taken borrows from.
            let container = &manifest.containers[index];
            if !names.insert(&container.name) {
                report.member("name", Err(format!("{} is taken", container.name)));
            }
            source(&container.source, report);
            process(container, manifest, report);
            ports(container, manifest.network_policy, &mut taken, report);
            volumes(container, &mut taken, report);
            aliases(container, manifest.network_policy, &mut taken, report);
            rights(container, report);
            resources(&container.resources, report);
            if let Some(check) = &container.health_check {
                report.at("health_check", |report| health::check(check, report));
            }
            if let Some(span) = container.stop_timeout {
                report.member("stop_timeout", health::whole_seconds(span, 0, 3600));
            }
        },
    );
}

fn source(source: &Source, report: &mut Report) {
    report.at("source", |report| match source {
        Source::Pull { image, .. } => report.member("image", grammar::image(image)),
        Source::Build {
            tag, build_args, ..
        } => {
            if let Some(tag) = tag {
                report.member("tag", grammar::image(tag));
            }
            variables("build_args", build_args, report);
        }
    });
}

fn process(container: &Container, manifest: &Manifest, report: &mut Report) {
    for (field, argv) in [
        ("command", &container.command),
        ("entrypoint", &container.entrypoint),
    ] {
        arguments(field, argv, report);
    }
    if container.entrypoint.first().is_some_and(String::is_empty) {
        report.member("entrypoint[0]", Err("must not be empty".to_owned()));
    }
    if let Some(user) = &container.user {
        let id_max = grammar::id_max(container.user_namespace);
        report.member("user", grammar::user(user, id_max));
    }
    variables("environment", &container.environment, report);
    for (name, secret) in &container.secret_env {
        let path = format!("secret_env.{name}");
        report.member(path.clone(), grammar::env_name(name));
        if container.environment.contains_key(name) {
            report.member(path.clone(), Err("is in environment too".to_owned()));
        }
        let known = manifest
            .generated_secrets
            .iter()
            .any(|generated| generated.name == *secret);
        if !known {
            report.member(
                path,
                Err(format!("names {secret}, which generated_secrets lacks")),
            );
        }
    }
}

/// Checks an argv.
pub(super) fn arguments(field: &str, argv: &[String], report: &mut Report) {
    report.each(field, argv, ARGUMENTS_MAX, |report, _, argument| {
        report.value(grammar::argument(argument));
    });
}

fn variables(field: &str, variables: &BTreeMap<String, String>, report: &mut Report) {
    if variables.len() > VARIABLES_MAX {
        report.member(field, Err(format!("must be at most {VARIABLES_MAX}")));
    }
    for (name, value) in variables {
        let path = format!("{field}.{name}");
        report.member(path.clone(), grammar::env_name(name));
        report.member(path, text::check_line_or_empty(value, 4096));
    }
}

fn ports(container: &Container, policy: NetworkPolicy, taken: &mut Taken<'_>, report: &mut Report) {
    let mut own = BTreeSet::new();
    report.each("ports", &container.ports, 64, |report, _, port| {
        if port.container == 0 || port.host == Some(0) {
            return report.problem("must not be port 0");
        }
        if !own.insert((port.container, port.protocol)) {
            report.member(
                "container",
                Err(format!("{} is listed twice", port.container)),
            );
        }
        if let Some(name) = &port.name
            && !taken.port_names.insert(name.clone())
        {
            report.member("name", Err(format!("{name} is taken")));
        }
        let host_network = policy == NetworkPolicy::Host;
        if host_network && port.host.is_some_and(|host| host != port.container) {
            report.member(
                "host",
                Err("must equal container under network_policy host, or be left out".to_owned()),
            );
        }
        let on_node = if host_network {
            Some(port.container)
        } else {
            port.host
        };
        if let Some(host) = on_node
            && !taken.host_ports.insert((host, port.protocol))
        {
            report.member("host", Err(format!("{host} is taken within this app")));
        }
    });
}

fn volumes<'m>(container: &'m Container, taken: &mut Taken<'m>, report: &mut Report) {
    let volumes: &'m [Volume] = &container.volumes;
    let mut targets = BTreeSet::new();
    let user_namespace = container.user_namespace;
    let id_max = grammar::id_max(user_namespace);
    report.each("volumes", volumes, 32, |report, index, volume| {
        report.member("target", grammar::container_path(&volume.target));
        if !targets.insert(&volumes[index].target) {
            report.member("target", Err(format!("{} is mounted twice", volume.target)));
        }
        if volume.data_uid.is_some_and(|uid| uid > id_max) {
            report.member("data_uid", Err(format!("must be at most {id_max}")));
        }
        let namespaces = &mut taken.user_namespaces;
        let first = *namespaces
            .entry(&volumes[index].name)
            .or_insert(user_namespace);
        if first != user_namespace {
            report.member(
                "name",
                Err(format!(
                    "{} was mounted before by a container with user_namespace {first}; all that mount it must have the same one",
                    volume.name
                )),
            );
        }
        let owner = taken
            .owners
            .entry(&volumes[index].name)
            .or_insert(volume.data_uid);
        if *owner != volume.data_uid {
            report.member(
                "data_uid",
                Err(format!(
                    "differs from where {} was mounted before",
                    volume.name
                )),
            );
        }
    });
    report.each("tmpfs", &container.tmpfs, 16, |report, index, tmpfs| {
        report.member("target", grammar::container_path(&tmpfs.target));
        if !targets.insert(&container.tmpfs[index].target) {
            report.member("target", Err(format!("{} is mounted twice", tmpfs.target)));
        }
        if tmpfs
            .size
            .is_some_and(|size| size.bytes() < TMPFS_BYTES_MIN)
        {
            report.member("size", Err("must be at least 4K".to_owned()));
        }
    });
}

fn aliases<'m>(
    container: &'m Container,
    policy: NetworkPolicy,
    taken: &mut Taken<'m>,
    report: &mut Report,
) {
    let aliases = &container.network_aliases;
    if policy == NetworkPolicy::Host && !aliases.is_empty() {
        return report.member(
            "network_aliases",
            Err(
                "must be empty under network_policy host, which has no network of its own"
                    .to_owned(),
            ),
        );
    }
    let mut own = BTreeSet::new();
    report.each("network_aliases", aliases, 16, |report, index, alias| {
        // Its own name is a name that it has anyway.
        let taken_by_another = *alias != container.name && !taken.dns_names.insert(&aliases[index]);
        if !own.insert(&aliases[index]) || taken_by_another {
            report.problem(format!(
                "{alias} is already the name or alias of a container"
            ));
        }
    });
}

fn rights(container: &Container, report: &mut Report) {
    if container.user_namespace == UserNamespace::Own && !container.devices.is_empty() {
        report.member(
            "user_namespace",
            Err(
                "must be shared in a container with devices, which are opened by the rights of the node's owner; leave it out, or give the devices to another container"
                    .to_owned(),
            ),
        );
    }
    let mut seen = BTreeSet::new();
    report.each(
        "capabilities",
        &container.capabilities,
        16,
        |report, _, name| {
            report.value(grammar::capability(name));
            if !seen.insert(name.clone()) {
                report.problem(format!("{name} is listed twice"));
            }
        },
    );
    let mut seen = BTreeSet::new();
    report.each("devices", &container.devices, 16, |report, _, path| {
        report.value(grammar::device(path));
        if !seen.insert(path.clone()) {
            report.problem(format!("{path} is listed twice"));
        }
    });
}

fn resources(resources: &Resources, report: &mut Report) {
    report.at("resources", |report| {
        if resources
            .memory
            .is_some_and(|memory| memory.bytes() < MEMORY_BYTES_MIN)
        {
            report.member("memory", Err("must be at least 6M".to_owned()));
        }
        if resources
            .pids
            .is_some_and(|pids| !(1..=PIDS_MAX).contains(&pids))
        {
            report.member("pids", Err(format!("must be from 1 to {PIDS_MAX}")));
        }
    });
}
