//! What an app's units depend on besides its release: the node's facts, other apps' exports, what its images declare.
//!
//! It is recorded with the app's settings, so that rendering stays a function of what is on disk; where the record no
//! longer fits, the reconciler renders again.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use archy_registry::Slug;
use archy_registry::manifest::template::Name;
use archy_registry::manifest::{Container, Manifest};
use archy_registry::release::Release;
use serde::{Deserialize, Serialize};

use crate::desired::Desired;
use crate::install::MachineError;
use crate::names;
use crate::neighbours;
use crate::orchestrator::Orchestrator;
use crate::quadlet::Facts;
use crate::settings::Settings;
use crate::values::{Known, Piece, Value, names_in};

/// What an app's units depend on besides its release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surroundings {
    /// Values of the node and of other apps that this one uses, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
    /// The apps that it depends on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub providers: BTreeMap<Slug, Provider>,
    /// Volumes that images declare and the manifest does not mention: container → path → volume.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub image_volumes: BTreeMap<Slug, BTreeMap<String, Slug>>,
}

/// An app that another one depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its containers that should be up first.
    pub containers: Vec<Slug>,
    /// Those of them that it lets others reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reachable: Vec<Slug>,
}

/// What the node is, as apps are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    pub(crate) name: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) timezone: Option<String>,
}

impl NodeFacts {
    /// Looks at this machine. What cannot be told now stays as it was recorded.
    pub(crate) fn now() -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Self {
            name: name
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty()),
            ip: address(),
            timezone: jiff::tz::TimeZone::system().iana_name().map(str::to_owned),
        }
    }
}

/// The address that this machine would send from; connecting a datagram socket sends nothing.
fn address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Documentation's network (RFC 5737): any address beyond the local ones will do.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then(|| address.to_string())
}

/// Works out what `manifest`, with what the owner set in it, depends on; what is not known now stays as in `previous`.
pub(crate) fn look(
    manifest: &Manifest,
    previous: &Surroundings,
    node: &NodeFacts,
    others: &[Desired],
    facts: &Facts,
) -> Surroundings {
    let installed = |app: &Slug| neighbours::provider(manifest, app, others);
    let mut values = BTreeMap::new();
    for name in names_in(manifest) {
        let text = |text: &Option<String>| text.clone().map(Value::Text);
        let value = match &name {
            Name::NodeName => text(&node.name),
            Name::NodeIp => text(&node.ip),
            Name::NodeTimezone => text(&node.timezone),
            Name::Dependency { app, name } => {
                installed(app).and_then(|other| exported(other, name, facts))
            }
            Name::NodeArch
            | Name::AppId
            | Name::AppVersion
            | Name::AppUrl
            | Name::AppDataDir
            | Name::AppPort(_)
            | Name::AppHost(_)
            | Name::Secret(_) => continue,
        };
        let key = name.to_string();
        // An app can be installed on a machine that has no network yet.
        let fallback = if matches!(name, Name::NodeName | Name::NodeIp) {
            Some(Value::Text("localhost".to_owned()))
        } else if name == Name::NodeTimezone {
            Some(Value::Text("Etc/UTC".to_owned()))
        } else {
            None
        };
        let value = value
            .or_else(|| previous.values.get(&key).cloned())
            .or(fallback);
        values.extend(value.map(|value| (key, value)));
    }
    let providers = manifest.dependencies.iter().filter_map(|dependency| {
        let provider = match installed(&dependency.app) {
            Some(other) => Provider {
                containers: other.containers().cloned().collect(),
                reachable: neighbours::reachable(&other.release.manifest),
            },
            None => previous.providers.get(&dependency.app)?.clone(),
        };
        Some((dependency.app.clone(), provider))
    });
    Surroundings {
        values,
        providers: providers.collect(),
        image_volumes: previous.image_volumes.clone(),
    }
}

/// What an installed app exports under a name.
fn exported(other: &Desired, name: &Slug, facts: &Facts) -> Option<Value> {
    let manifest = &other.release.manifest;
    let export = manifest
        .exports
        .iter()
        .find(|export| export.name == *name)?;
    let known = Known {
        manifest,
        settings: &other.settings,
        facts,
    };
    let mut text = String::new();
    for piece in known.pieces(&export.value).ok()? {
        match piece {
            Piece::Text(part) => text.push_str(&part),
            Piece::Secret(_) | Piece::Imported { .. } => return Some(Value::Secret),
        }
    }
    Some(Value::Text(text))
}

/// Works out what can be known before a release is installed; placeholders stand in for the rest.
pub(crate) fn guess(
    manifest: &Manifest,
    previous: &Surroundings,
    others: &[Desired],
    facts: &Facts,
) -> Surroundings {
    let mut guessed = placeholders(manifest);
    let seen = look(manifest, previous, &NodeFacts::now(), others, facts);
    guessed.values.extend(seen.values);
    guessed.providers.extend(seen.providers);
    guessed.image_volumes = seen.image_volumes;
    guessed
}

/// Stands in for what is not known before an app is installed.
pub(crate) fn placeholders(manifest: &Manifest) -> Surroundings {
    let values = names_in(manifest)
        .into_iter()
        .filter_map(|name| match name {
            Name::NodeName | Name::NodeIp | Name::NodeTimezone | Name::Dependency { .. } => {
                Some((name.to_string(), Value::Text("preview".to_owned())))
            }
            Name::NodeArch
            | Name::AppId
            | Name::AppVersion
            | Name::AppUrl
            | Name::AppDataDir
            | Name::AppPort(_)
            | Name::AppHost(_)
            | Name::Secret(_) => None,
        });
    let providers = manifest.dependencies.iter().map(|dependency| {
        let containers = vec![dependency.app.clone()];
        let provider = Provider {
            reachable: containers.clone(),
            containers,
        };
        (dependency.app.clone(), provider)
    });
    Surroundings {
        values: values.collect(),
        providers: providers.collect(),
        image_volumes: BTreeMap::new(),
    }
}

/// Names the volume for a directory that an image declares, in words and without doubt.
pub(crate) fn image_volume(container: &Slug, path: &str) -> Slug {
    let hash = archy_registry::Blake3Hash::of(format!("{container}:{path}").as_bytes());
    let words: Vec<String> = path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let words: String = words.join("-").chars().take(20).collect();
    let name = format!(
        "image-{}-{}",
        words.trim_matches('-'),
        &hash.to_string()[..8]
    );
    let name = name.replace("--", "-");
    name.parse()
        .expect("words, hyphens and digits after a letter are a slug")
}

/// Lists the volumes that an image declares and the manifest does not mount.
pub(crate) fn unmentioned<'p>(
    container: &Container,
    declared: impl Iterator<Item = &'p String>,
) -> BTreeMap<String, Slug> {
    let mounted = |path: &str| {
        let volumes = container.volumes.iter().map(|volume| &volume.target);
        let tmpfs = container.tmpfs.iter().map(|tmpfs| &tmpfs.target);
        volumes.chain(tmpfs).any(|target| target == path)
    };
    let paths = declared.map(|path| path.trim_end_matches('/'));
    paths
        .filter(|path| !path.is_empty() && !mounted(path))
        .map(|path| (path.to_owned(), image_volume(&container.name, path)))
        .collect()
}

impl Orchestrator {
    /// Looks at all that a release's units will depend on; its images must be in podman.
    pub(crate) async fn look_around(
        &self,
        release: &Release,
        settings: &Settings,
    ) -> Result<Surroundings, MachineError> {
        let found = self.inner.store.load_all()?;
        let manifest = &settings.applied_to(&release.manifest);
        let mut image_volumes = BTreeMap::new();
        for container in &manifest.containers {
            let Some(image) = release.image(&container.name, &self.inner.facts.platform) else {
                continue;
            };
            let name = names::image_name(&manifest.app.id, &container.name, &image.manifest.digest);
            let image = self.inner.podman.image(&name).await?;
            let declared = image
                .and_then(|image| image.config?.volumes)
                .unwrap_or_default();
            let volumes = unmentioned(container, declared.keys());
            if !volumes.is_empty() {
                image_volumes.insert(container.name.clone(), volumes);
            }
        }
        let node = NodeFacts::now();
        let previous = &settings.surroundings;
        let seen = look(manifest, previous, &node, &found.desired, &self.inner.facts);
        Ok(Surroundings {
            image_volumes,
            ..seen
        })
    }

    /// Tells whether an installed app's record no longer fits.
    pub(crate) fn is_outdated(&self, desired: &Desired, all: &[Desired], node: &NodeFacts) -> bool {
        let recorded = &desired.settings.surroundings;
        let manifest = &desired.manifest();
        look(manifest, recorded, node, all, &self.inner.facts) != *recorded
    }

    /// Renders an installed app again with what it depends on now, and writes that down; the next look does the rest.
    pub(crate) async fn refresh(&self, desired: &Desired) -> Result<(), MachineError> {
        let found = self.inner.store.load_all()?;
        let mut fresh = desired.clone();
        fresh.settings.surroundings = look(
            &desired.manifest(),
            &desired.settings.surroundings,
            &NodeFacts::now(),
            &found.desired,
            &self.inner.facts,
        );
        let units = crate::quadlet::render_installed(&fresh, &self.inner.facts)?;
        let staging = self.staging(desired.slug());
        crate::disk::remove_dir(&staging).map_err(MachineError::io(&staging))?;
        crate::quadlet::validate::stage(&units, &staging, &self.inner.config.generator).await?;
        crate::disk::remove_dir(&staging).map_err(MachineError::io(&staging))?;
        fresh.units = units.files();
        self.inner.store.save(&fresh)?;
        self.nudge();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_images_have_names_that_are_words() {
        let web: Slug = "web".parse().unwrap();
        for path in [
            "/data",
            "/var/lib/postgresql/data",
            "/a--b/",
            "/ä",
            "/0",
            "/.x-",
        ] {
            let name = image_volume(&web, path);
            assert!(
                name.as_str().starts_with("image-") && name.as_str().len() <= 40,
                "{name}"
            );
            assert_ne!(name, image_volume(&"db".parse().unwrap(), path));
        }
    }
}
