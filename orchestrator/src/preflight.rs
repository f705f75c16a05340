//! Refuses what this node cannot or will not run, before anything is fetched or changed.

use archy_registry::manifest::Manifest;
use archy_registry::release::Release;
use archy_registry::{AppId, Slug, Verified};

use crate::desired::{Desired, Wish};
use crate::names;
use crate::quadlet::{self, Facts, RenderError};
use crate::settings::{AssignError, Settings};

/// Why an app is not installed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The manifest asks for something that this version does not do.
    #[error("{app} needs {feature}, which this version of archy does not do yet")]
    Unsupported {
        /// The app's slug.
        app: Slug,
        /// What it asks for.
        feature: String,
    },
    /// It cannot be expressed as units, or has no image for this machine.
    #[error("the app cannot run here")]
    Render(#[source] RenderError),
    /// The slug belongs to another publisher's app.
    #[error(
        "another publisher's app is installed here under the name {slug}: {installed}; uninstall and purge it first"
    )]
    SlugTaken {
        /// The slug.
        slug: Slug,
        /// The app that has it.
        installed: AppId,
    },
    /// Data of another publisher's app is kept under the slug.
    #[error(
        "data of another publisher's app is kept here under the name {slug}: {owner}; purge it first"
    )]
    DataOfAnother {
        /// The slug.
        slug: Slug,
        /// Whose data it is.
        owner: AppId,
    },
    /// The app is installed.
    #[error("{app} {version} is already installed")]
    Installed {
        /// The app.
        app: AppId,
        /// The version.
        version: String,
    },
    /// A container of that name belongs to something else; starting would destroy it.
    #[error(
        "a container named {name} exists already and belongs to {owner}; remove or rename it first"
    )]
    ContainerTaken {
        /// The container's name.
        name: String,
        /// To what it belongs.
        owner: String,
    },
    /// Ports.
    #[error(transparent)]
    Ports(#[from] AssignError),
    /// Not enough room.
    #[error(
        "not enough room on the disk: the images need about {needed_mib} MiB and {free_mib} MiB are free"
    )]
    Disk {
        /// What unpacking takes.
        needed_mib: u64,
        /// What there is.
        free_mib: u64,
    },
}

/// What preflight needs to know of the machine.
#[derive(Debug, Default)]
pub(crate) struct Neighbourhood<'a> {
    pub(crate) desired: &'a [Desired],
    /// Every container's name, and what it belongs to unless it is this app's.
    pub(crate) containers: &'a [(String, String)],
    pub(crate) disk_free_bytes: Option<u64>,
}

/// Compressed layers take about this many times their size once unpacked.
const UNPACK_FACTOR: u64 = 3;

pub(crate) fn check(
    release: &Verified<Release>,
    facts: &Facts,
    around: &Neighbourhood<'_>,
) -> Result<(), Refusal> {
    let manifest = &release.manifest;
    let app = release.app();
    check_supported(manifest)?;
    let same_slug = around
        .desired
        .iter()
        .find(|other| other.slug() == &app.slug);
    match same_slug {
        Some(other) if other.app != app && other.wish == Wish::Removed => {
            return Err(Refusal::DataOfAnother {
                slug: app.slug,
                owner: other.app.clone(),
            });
        }
        Some(other) if other.app != app => {
            return Err(Refusal::SlugTaken {
                slug: app.slug,
                installed: other.app.clone(),
            });
        }
        Some(other) if other.wish != Wish::Removed => {
            return Err(Refusal::Installed {
                app,
                version: other.release.manifest.app.version.clone(),
            });
        }
        _ => {}
    }
    let settings = Settings::assign(manifest, &Settings::default(), |_, _| true)?;
    quadlet::render(release, &settings, facts).map_err(Refusal::Render)?;
    check_names(manifest, around)?;
    if let Some(free) = around.disk_free_bytes {
        let packed: u64 = release
            .blobs(&facts.platform)
            .map(|blob| blob.size_bytes)
            .sum();
        let needed = packed.saturating_mul(UNPACK_FACTOR);
        if needed > free {
            return Err(Refusal::Disk {
                needed_mib: needed >> 20,
                free_mib: free >> 20,
            });
        }
    }
    Ok(())
}

fn check_names(manifest: &Manifest, around: &Neighbourhood<'_>) -> Result<(), Refusal> {
    let app = &manifest.app.id;
    for container in &manifest.containers {
        let name = names::container(manifest, &container.name);
        let foreign = around.containers.iter().find(|(other, _)| *other == name);
        if let Some((_, owner)) = foreign {
            let owner = owner.clone();
            return Err(Refusal::ContainerTaken { name, owner });
        }
        let others = around
            .desired
            .iter()
            .filter(|other| other.slug() != app && other.wish != Wish::Removed);
        for other in others {
            let manifest = &other.release.manifest;
            let taken = other
                .containers()
                .any(|container| names::container(manifest, container) == name);
            if taken {
                let owner = format!("the app {}", other.slug());
                return Err(Refusal::ContainerTaken { name, owner });
            }
        }
    }
    Ok(())
}

/// Refuses what a manifest may declare and this version would ignore.
fn check_supported(manifest: &Manifest) -> Result<(), Refusal> {
    let refuse = |feature: String| {
        Err(Refusal::Unsupported {
            app: manifest.app.id.clone(),
            feature,
        })
    };
    if let Some(dependency) = manifest.dependencies.first() {
        return refuse(format!("another app ({})", dependency.app));
    }
    for container in &manifest.containers {
        let name = &container.name;
        if let Some(device) = container.devices.first() {
            return refuse(format!("the device {device} in container {name}"));
        }
        if let Some(volume) = container
            .volumes
            .iter()
            .find(|volume| volume.data_uid.is_some())
        {
            return refuse(format!(
                "data_uid for the volume {} of container {name}",
                volume.name
            ));
        }
        let replaced = container
            .environment
            .iter()
            .find(|(_, value)| value.contains("${"));
        if let Some((variable, _)) = replaced {
            return refuse(format!(
                "a value filled in by the node (${{…}}) in {variable} of container {name}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use archy_registry::manifest;

    use super::*;

    const PLAIN: &str = r#"
app: {id: a, name: A, version: 1.0.0, tagline: A, category: other}
containers:
  - name: web
    source: {type: pull, image: "localhost/a:latest"}
    volumes: [{name: data, target: /data}]
"#;

    fn changed(change: impl FnOnce(&mut Manifest)) -> Result<(), String> {
        let mut manifest = manifest::parse(PLAIN).unwrap().manifest;
        change(&mut manifest);
        check_supported(&manifest).map_err(|error| error.to_string())
    }

    #[test]
    fn what_this_version_would_ignore_is_refused_by_name() {
        assert_eq!(changed(|_| {}), Ok(()));
        let refused = [
            changed(|m| {
                m.dependencies = vec![manifest::Dependency {
                    publisher: "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
                        .parse()
                        .unwrap(),
                    app: "other".parse().unwrap(),
                    version: None,
                }];
            }),
            changed(|m| m.containers[0].devices = vec!["/dev/dri".to_owned()]),
            changed(|m| m.containers[0].volumes[0].data_uid = Some(999)),
            changed(|m| {
                let value = "http://${NODE}/".to_owned();
                m.containers[0].environment.insert("URL".to_owned(), value);
            }),
        ];
        let words = ["another app (other)", "/dev/dri", "data_uid", "URL"];
        for (refused, word) in refused.into_iter().zip(words) {
            let message = refused.unwrap_err();
            assert!(
                message.contains(word) && message.contains("does not do yet"),
                "{message}"
            );
        }
    }
}
