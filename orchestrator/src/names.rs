//! What an app's units, containers, networks, volumes, secrets and images are called.
//!
//! A slug has single inner hyphens and no dots, so a dot separates without doubt: no two apps can share a name, and none
//! can take one that systemd, podman or the desktop uses (`podman.service`, `dbus.service`).

use archy_registry::manifest::Manifest;
use archy_registry::{OciDigest, Slug};

/// What every name of ours starts with.
pub const PREFIX: &str = "archy.";
/// Pattern of every unit that belongs to an app, for `ListUnitsByPatterns`.
pub const UNIT_PATTERN: &str = "archy.*.service";

/// Name of a container's unit file.
pub fn container_file(app: &Slug, container: &Slug) -> String {
    format!("{PREFIX}{app}.{container}.container")
}

/// Name of the service that runs a container.
pub fn container_unit(app: &Slug, container: &Slug) -> String {
    format!("{PREFIX}{app}.{container}.service")
}

/// Pattern of the services that run an app's containers and make its volumes and the networks that it uses.
pub fn container_units(app: &Slug) -> String {
    format!("{PREFIX}{app}.*.service")
}

/// Tells whether a network, volume or secret of podman is an app's by its name.
pub fn is_of(app: &Slug, name: &str) -> bool {
    let rest = name.strip_prefix(&network(app));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Name of the app's network unit file.
pub fn network_file(app: &Slug) -> String {
    format!("{PREFIX}{app}.network")
}

/// Name of the service that makes the app's network.
pub fn network_unit(app: &Slug) -> String {
    format!("{PREFIX}{app}-network.service")
}

/// Name of the app's network.
pub fn network(app: &Slug) -> String {
    format!("{PREFIX}{app}")
}

/// Name of the unit file of the network with another app.
pub fn edge_file(app: &Slug, other: &Slug) -> String {
    format!("{PREFIX}{app}.uses.{other}.network")
}

/// Name of the service that makes the network with another app.
pub fn edge_unit(app: &Slug, other: &Slug) -> String {
    format!("{PREFIX}{app}.uses.{other}-network.service")
}

/// Name of the network with another app.
pub fn edge(app: &Slug, other: &Slug) -> String {
    format!("{PREFIX}{app}.uses.{other}")
}

/// Name of a volume's unit file.
pub fn volume_file(app: &Slug, volume: &Slug) -> String {
    format!("{PREFIX}{app}.volume.{volume}.volume")
}

/// Name of the service that makes a volume.
pub fn volume_unit(app: &Slug, volume: &Slug) -> String {
    format!("{PREFIX}{app}.volume.{volume}-volume.service")
}

/// Name of a podman volume.
pub fn volume(app: &Slug, volume: &Slug) -> String {
    format!("{PREFIX}{app}.{volume}")
}

/// Name of a podman secret.
pub fn secret(app: &Slug, secret: &Slug) -> String {
    format!("{PREFIX}{app}.{secret}")
}

/// Name, within the app, of the podman secret with a variable's value.
pub fn value_secret(container: &Slug, variable: &str) -> String {
    format!("{container}.{variable}")
}

/// Name of a podman secret, from its name within the app.
pub fn secret_named(app: &Slug, name: &str) -> String {
    format!("{PREFIX}{app}.{name}")
}

/// Name of a container: what the manifest's extension says, else the app's slug, with the container's name in a stack.
pub fn container(manifest: &Manifest, container: &Slug) -> String {
    let app = &manifest.app.id;
    match (
        &manifest.extensions.container_name,
        manifest.containers.len(),
    ) {
        (Some(name), 1) => name.to_string(),
        (None, 1) => app.to_string(),
        _ => format!("{app}-{container}"),
    }
}

/// Names of all containers, in the manifest's order.
pub(crate) fn containers(manifest: &Manifest) -> Vec<String> {
    let all = manifest.containers.iter();
    all.map(|one| container(manifest, &one.name)).collect()
}

/// Local repository of a container's image.
pub fn image_repository(app: &Slug, container: &Slug) -> String {
    format!("localhost/archy/{app}/{container}")
}

/// How a unit names an image: by its ID, the digest of its configuration, under which podman finds it without a network
/// and nothing else.
///
/// The manifest's digest would not do: it depends on the form in which the layers came, the image does not.
pub fn image(config: &OciDigest) -> String {
    config.to_string()
}

/// The name that keeps an image of a release: its tag is the digest of the signed manifest, so that two releases never
/// share one.
pub fn image_name(app: &Slug, container: &Slug, manifest: &OciDigest) -> String {
    format!(
        "{}:{}",
        image_repository(app, container),
        image_tag(manifest)
    )
}

/// The tag of that name.
pub fn image_tag(manifest: &OciDigest) -> String {
    manifest.to_hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(text: &str) -> Slug {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_of_an_app_is_told_by_its_name() {
        let app = slug("notes");
        let other = slug("other");
        for name in [
            network(&app),
            edge(&app, &other),
            volume(&app, &other),
            secret(&app, &other),
        ] {
            assert!(is_of(&app, &name), "{name}");
        }
        for name in [
            network(&slug("notes-dev")),
            edge(&other, &app),
            "notes".to_owned(),
        ] {
            assert!(!is_of(&app, &name), "{name}");
        }
    }

    #[test]
    fn no_two_things_share_a_name() {
        let words = [
            "a",
            "a-b",
            "b",
            "b-network",
            "network",
            "volume",
            "a-volume",
        ]
        .map(slug);
        let mut seen = std::collections::BTreeMap::new();
        for app in &words {
            let mut claim = |name: String, what: String| {
                let other = seen.insert(name.clone(), what.clone());
                assert_eq!(other, None, "{name}: {what}");
            };
            claim(network_unit(app), format!("network of {app}"));
            for part in &words {
                claim(
                    container_unit(app, part),
                    format!("container {part} of {app}"),
                );
                claim(volume_unit(app, part), format!("volume {part} of {app}"));
                claim(
                    edge_unit(app, part),
                    format!("network of {app} with {part}"),
                );
            }
        }
    }
}
