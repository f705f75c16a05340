//! A second instance of an app under a name of its own, beside the app itself or without it: the same release, rendered by
//! the same code, with what this says to be otherwise. Pure; who starts one gives it a data directory of its own
//! ([`Orchestrator::apart`](crate::Orchestrator)), so that it never touches the app's.

use archy_registry::Slug;
use archy_registry::manifest::NetworkPolicy;
use archy_registry::release::Release;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;
use crate::values::Value;

/// What stands in for a secret of another app, which a shadow does not reach.
const NOBODYS_SECRET: &str = "nobody";

/// What an instance is that is not the app itself; kept with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// The app whose shadow it is: what `${app.id}` still means.
    pub of: Slug,
    /// Whether its ports are found on the node.
    pub published: bool,
}

/// Names a shadow: the app's name and what it is for, made another as long as that `is_taken`.
pub fn name(app: &Slug, purpose: &str, is_taken: impl Fn(&Slug) -> bool) -> Option<Slug> {
    let mut numbers = std::iter::once(String::new()).chain((2..100).map(|n| format!("-{n}")));
    numbers.find_map(|number| {
        let end = format!("-{purpose}{number}");
        let room = archy_registry::id::SLUG_LEN_MAX.checked_sub(end.len())?;
        let start: String = app.as_str().chars().take(room).collect();
        let name = format!("{}{end}", start.trim_end_matches('-'));
        name.parse().ok().filter(|name| !is_taken(name))
    })
}

/// Makes the release one that reaches nobody: under another name, in a network without a way out, without other apps and
/// without devices, which the app itself may be using.
pub(crate) fn alone(release: &Release, name: &Slug) -> Release {
    let mut cast = release.clone();
    let manifest = &mut cast.manifest;
    manifest.app.id = name.clone();
    manifest.extensions.container_name = None;
    manifest.network_policy = NetworkPolicy::Isolated;
    manifest.dependencies.clear();
    for container in &mut manifest.containers {
        container.devices.clear();
    }
    cast
}

/// The settings of such a shadow.
pub(crate) fn alone_settings(settings: &Settings, app: &Slug) -> Settings {
    let mut cast = settings.clone();
    cast.bind = None;
    cast.shadow = Some(Shadow {
        of: app.clone(),
        published: false,
    });
    cast.surroundings.providers.clear();
    for value in cast.surroundings.values.values_mut() {
        if *value == Value::Secret {
            *value = Value::Text(NOBODYS_SECRET.to_owned());
        }
    }
    cast
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use archy_registry::release::Platform;
    use archy_registry::{Blake3Hash, OciDigest};

    use super::*;
    use crate::quadlet;

    fn slug(text: &str) -> Slug {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_slugs_that_nobody_has() {
        let none = |_: &Slug| false;
        assert_eq!(
            name(&slug("notes"), "rehearsal", none),
            Some(slug("notes-rehearsal"))
        );
        let taken = |name: &Slug| name.as_str() == "notes-rehearsal";
        assert_eq!(
            name(&slug("notes"), "rehearsal", taken),
            Some(slug("notes-rehearsal-2"))
        );
        let long = "a-".repeat(archy_registry::id::SLUG_LEN_MAX / 2);
        let long = slug(long.trim_end_matches('-'));
        let shortened = name(&long, "rehearsal", none).unwrap();
        assert!(shortened.as_str().ends_with("-rehearsal"), "{shortened}");
        assert_eq!(name(&slug("notes"), "rehearsal", |_| true), None);
    }

    #[test]
    fn a_shadow_is_the_app_but_for_its_name_and_its_reach() {
        let yaml = r#"
app: {id: notes, name: Notes, version: 1.0.0, tagline: A, category: other}
containers:
  - name: web
    source: {type: pull, image: "localhost/a:latest"}
    environment: {NAME: "${app.id}", PORT: "${app.port.80}", PEER: "${app.host.db}"}
    secret_env: {KEY: key}
    ports: [{container: 80, host: 8080}]
    volumes: [{name: data, target: /data}]
    devices: [/dev/dri]
  - name: db
    source: {type: pull, image: "localhost/a:latest"}
generated_secrets: [{name: key, kind: hex16}]
interfaces: [{name: Web, port: 80, type: ui}]
network_policy: outbound
"#;
        let manifest = archy_registry::manifest::parse(yaml).unwrap().manifest;
        let image = |container: &str| archy_registry::release::Image {
            container: slug(container),
            platform: Platform::host(),
            manifest: descriptor(),
            config: descriptor(),
            layers: Vec::new(),
        };
        let release = Release {
            r#type: archy_registry::release::TYPE.to_owned(),
            publisher: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
                .parse()
                .unwrap(),
            seq: 1,
            created: jiff::Timestamp::UNIX_EPOCH,
            expires: jiff::Timestamp::UNIX_EPOCH,
            manifest,
            images: vec![image("web"), image("db")],
            icon: None,
            screenshots: Vec::new(),
            deltas: Vec::new(),
            origin: archy_registry::release::Origin::default(),
        };
        let settings =
            Settings::assign(&release.manifest, &Settings::default(), |_, _| true).unwrap();
        let name = slug("notes-rehearsal");
        let cast = alone(&release, &name);
        let app = archy_registry::AppId {
            publisher: release.publisher,
            slug: name.clone(),
        };
        let settings = alone_settings(&settings, &slug("notes"));
        let facts = quadlet::tests_facts();
        let units =
            quadlet::render_as(&cast, app, Blake3Hash::of(b"r"), &settings, &facts).unwrap();
        let text: String = units.files().into_values().collect();
        let files: BTreeSet<String> = units.files().into_keys().collect();
        assert!(
            files
                .iter()
                .all(|file| file.starts_with("archy.notes-rehearsal.")),
            "{files:?}"
        );
        assert!(text.contains("Internal=true"), "{text}");
        for told in ["NAME=notes", "PORT=8080", "PEER=notes-rehearsal-db"] {
            let mut lines = text.lines().filter(|line| line.starts_with("Environment="));
            let is_told = |line: &str| line.trim_end_matches('"').ends_with(told);
            assert!(lines.any(is_told), "{told}: {text}");
        }
        for beyond in [
            "PublishPort=",
            "Network=host",
            "AddDevice=",
            "archy.notes.",
            "/apps/notes/",
        ] {
            assert!(!text.contains(beyond), "{beyond}: {text}");
        }
    }

    fn descriptor() -> archy_registry::release::Descriptor {
        archy_registry::release::Descriptor {
            media_type: "application/octet-stream".to_owned(),
            digest: OciDigest::from_sha256([1; 32]),
            size_bytes: 1,
            blake3: Blake3Hash::of(b"b"),
            diff_id: None,
        }
    }
}
