//! Checks secrets, dependencies, hooks, interfaces, backups and extensions.

use std::collections::BTreeSet;

use super::{Report, container, grammar, health};
use crate::id::Slug;
use crate::manifest::{GeneratedSecret, Hook, Manifest, Protocol, SecretKind};
use crate::text;

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    secrets(&manifest.generated_secrets, report);
    dependencies(manifest, report);
    let hooks = &manifest.hooks;
    report.at("hooks", |report| {
        for (field, steps) in [
            ("post_install", &hooks.post_install),
            ("pre_update", &hooks.pre_update),
            ("post_update", &hooks.post_update),
            ("pre_uninstall", &hooks.pre_uninstall),
        ] {
            report.each(field, steps, 16, |report, _, step| {
                hook(step, manifest, report)
            });
        }
    });
    interfaces(manifest, report);
    report.at("backup", |report| {
        report.each(
            "exclude",
            &manifest.backup.exclude,
            64,
            |report, _, glob| {
                report.value(grammar::glob(glob));
            },
        );
    });
    if manifest.extensions.container_name.is_some() && manifest.containers.len() != 1 {
        report.member(
            "extensions.container_name",
            Err("is only for apps of a single container".to_owned()),
        );
    }
}

fn secrets(secrets: &[GeneratedSecret], report: &mut Report) {
    let mut names = BTreeSet::new();
    report.each("generated_secrets", secrets, 64, |report, _, secret| {
        if !names.insert(secret.name.clone()) {
            report.member("name", Err(format!("{} is taken", secret.name)));
        }
        let bcrypt = secret.kind == SecretKind::Bcrypt;
        match &secret.from {
            None if bcrypt => report.problem("of kind bcrypt must say from which secret"),
            Some(_) if !bcrypt => report.member("from", Err("is only for kind bcrypt".to_owned())),
            Some(from) => {
                let plain = secrets
                    .iter()
                    .any(|other| other.name == *from && other.kind != SecretKind::Bcrypt);
                if !plain {
                    report.member(
                        "from",
                        Err(format!("names {from}, which is not a plain secret")),
                    );
                }
            }
            None => {}
        }
    });
}

fn dependencies(manifest: &Manifest, report: &mut Report) {
    let mut seen = BTreeSet::new();
    report.each(
        "dependencies",
        &manifest.dependencies,
        16,
        |report, _, other| {
            // Two publishers' apps of one name are never installed together, and values name the app alone.
            if !seen.insert(other.app.clone()) {
                report.problem(format!("names {} twice", other.app));
            }
            let Some(version) = &other.version else {
                return;
            };
            if version.len() > 60 || semver::VersionReq::parse(version).is_err() {
                report.member(
                    "version",
                    Err("must be a semantic version requirement such as >=1.2".to_owned()),
                );
            }
        },
    );
}

fn hook(hook: &Hook, manifest: &Manifest, report: &mut Report) {
    match hook {
        Hook::Exec {
            container,
            command,
            timeout,
        } => {
            report.at("exec", |report| {
                names_container(container, manifest, report);
                if command.first().is_none_or(String::is_empty) {
                    report.member("command", Err("must name a program".to_owned()));
                }
                container::arguments("command", command, report);
                if let Some(timeout) = timeout {
                    report.member("timeout", health::whole_seconds(*timeout, 1, 3600));
                }
            });
        }
        Hook::CopyFromHost {
            from,
            container,
            to,
        } => {
            report.at("copy_from_host", |report| {
                names_container(container, manifest, report);
                report.member("from", grammar::absolute_path(from));
                report.member("to", grammar::container_path(to));
            });
        }
    }
}

fn names_container(name: &Slug, manifest: &Manifest, report: &mut Report) {
    let known = manifest
        .containers
        .iter()
        .any(|container| container.name == *name);
    if !known {
        report.member(
            "container",
            Err(format!(
                "names {name}, which is not a container of this app"
            )),
        );
    }
}

fn interfaces(manifest: &Manifest, report: &mut Report) {
    let mut names = BTreeSet::new();
    report.each(
        "interfaces",
        &manifest.interfaces,
        16,
        |report, _, interface| {
            report.member("name", text::check_line(&interface.name, 40));
            if !names.insert(interface.name.clone()) {
                report.member("name", Err(format!("{:?} is taken", interface.name)));
            }
            let publishers = manifest
                .containers
                .iter()
                .flat_map(|container| &container.ports)
                .filter(|port| port.container == interface.port && port.protocol == Protocol::Tcp)
                .count();
            match publishers {
                0 => report.member(
                    "port",
                    Err(format!(
                        "{} is not a published TCP port of any container",
                        interface.port
                    )),
                ),
                1 => {}
                _ => report.member(
                    "port",
                    Err(format!(
                        "{} is published by several containers",
                        interface.port
                    )),
                ),
            }
            if let Some(path) = &interface.path {
                report.member("path", grammar::url_path(path));
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use crate::manifest::parse;

    #[test]
    fn a_dependency_is_the_only_one_of_its_name() {
        let checked = |publisher: &str, app: &str| {
            let yaml = format!(
                "app: {{id: a, name: A, version: 1.0.0, tagline: A, category: other}}\n\
                 containers: [{{name: web, source: {{type: pull, image: localhost/a}}}}]\n\
                 dependencies:\n\
                 - {{publisher: 'did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp', app: bank}}\n\
                 - {{publisher: 'did:key:{publisher}', app: {app}}}\n"
            );
            parse(&yaml).map_err(|error| error.to_string())
        };
        let (same, other) = (
            "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
            "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        );
        checked(other, "vault").unwrap();
        for publisher in [same, other] {
            let error = checked(publisher, "bank").unwrap_err();
            assert!(
                error.contains("dependencies[1] names bank twice"),
                "{error}"
            );
        }
    }
}
