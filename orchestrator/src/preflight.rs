//! Refuses what this node cannot or will not run, before anything is fetched or changed.

use archy_registry::manifest::{Dependency, Manifest, UserNamespace};
use archy_registry::release::Release;
use archy_registry::{AppId, Slug, Verified};

use crate::adopt::QuadletFile;
use crate::data;
use crate::desired::{Desired, Wish};
use crate::names;
use crate::neighbours;
use crate::quadlet::{self, Facts, RenderError};
use crate::settings::{AssignError, EditError, Settings};
use crate::surroundings;

/// Why an app is not installed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
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
    /// A Quadlet file of somebody else's makes a container of that name, whether or not it runs now.
    #[error(
        "{path} makes a container named {name} too, and each would destroy the other's at its start; remove or rename that file first, or start its service and adopt the container"
    )]
    QuadletFile {
        /// The container's name.
        name: String,
        /// The file.
        path: std::path::PathBuf,
    },
    /// Units of that name are in place that belong to apps of another data directory.
    #[error(
        "units of another app named {slug} are in {path}, which a node with another data directory or `archy app install --dev` put there; uninstall that first"
    )]
    UnitsTaken {
        /// The slug.
        slug: Slug,
        /// The directory of the units.
        path: std::path::PathBuf,
    },
    /// A setting.
    #[error(transparent)]
    Setting(#[from] EditError),
    /// An app that it needs is not installed.
    #[error("{app} needs the app {} of {}, which is not installed here; install that first", .dependency.app, .dependency.publisher)]
    DependencyMissing {
        /// The app's slug.
        app: Slug,
        /// What it needs.
        dependency: Box<Dependency>,
    },
    /// An app that it needs is of another version.
    #[error("{app} needs {} {}, and {installed} is installed; update that first", .dependency.app, .dependency.version.as_deref().unwrap_or("*"))]
    DependencyVersion {
        /// The app's slug.
        app: Slug,
        /// What it needs.
        dependency: Box<Dependency>,
        /// The version that is installed.
        installed: String,
    },
    /// An app that it needs does not export a value that it uses.
    #[error(
        "{app} needs to know {name} of {dependency}, which the installed version of that does not tell; update that first"
    )]
    ExportMissing {
        /// The app's slug.
        app: Slug,
        /// The app that it needs.
        dependency: Slug,
        /// The value.
        name: Slug,
    },
    /// Two containers would have one name in the network that two apps share.
    #[error("{app} cannot be in a network with {dependency}: both would answer to the name {name}")]
    NameClash {
        /// The app's slug.
        app: Slug,
        /// The app that it needs.
        dependency: Slug,
        /// The name.
        name: String,
    },
    /// A device is not here or cannot be used.
    #[error("{app} needs the device {device}: {lack}")]
    Device {
        /// The app's slug.
        app: Slug,
        /// The device.
        device: String,
        /// What is amiss, and what to do.
        lack: String,
    },
    /// Data that the app has here belongs to other users than its containers would have.
    #[error(
        "the data of volume {volume} of {app} belongs to containers with user_namespace {kept}, and this version mounts it with user_namespace {asked}, whose users could not use it; the publisher has to keep {kept}, or to give the data a new volume name"
    )]
    UserNamespace {
        /// The app's slug.
        app: Slug,
        /// The volume.
        volume: Slug,
        /// What the data was made with.
        kept: UserNamespace,
        /// What the release says.
        asked: UserNamespace,
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

/// What a release is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is not installed.
    Install,
    /// It takes the place of what is installed.
    Change,
}

/// What preflight needs to know of the machine.
#[derive(Debug, Default)]
pub(crate) struct Neighbourhood<'a> {
    pub(crate) desired: &'a [Desired],
    /// What the app's owner set, if anything.
    pub(crate) settings: Option<&'a Settings>,
    /// The names of containers that are not archy's, as far as the app wants them, and what they belong to.
    pub(crate) containers: &'a [(String, String)],
    /// Quadlet files of others that the app has to share the machine with.
    pub(crate) files: &'a [QuadletFile],
}

pub(crate) fn check(
    release: &Verified<Release>,
    facts: &Facts,
    around: &Neighbourhood<'_>,
    purpose: Purpose,
) -> Result<(), Refusal> {
    let manifest = &release.manifest;
    let app = release.app();
    let nothing_set = Settings::default();
    let wished = around.settings.unwrap_or(&nothing_set);
    neighbours::check(release, wished, around.desired)?;
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
        Some(other) if other.wish != Wish::Removed && purpose == Purpose::Install => {
            return Err(Refusal::Installed {
                app,
                version: other.release.manifest.app.version.clone(),
            });
        }
        _ => {}
    }
    if let Some(known) = same_slug {
        data::check_users(manifest, known)?;
    }
    let mut settings = Settings::assign(manifest, &Settings::default(), |_, _| true)?;
    settings.surroundings = surroundings::placeholders(manifest);
    quadlet::render(release, &settings, facts).map_err(Refusal::Render)?;
    check_names(manifest, around)?;
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
        if let Some(file) = around.files.iter().find(|file| file.container == name) {
            let path = file.path.clone();
            return Err(Refusal::QuadletFile { name, path });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_quadlet_file_of_that_name_is_named() {
        let web = "  - {name: web, source: {type: pull, image: \"localhost/a:1\"}}\n";
        let manifest = samples::release("notes", web).manifest;
        let check = |container: &str| {
            let files = [QuadletFile {
                path: "/q/old.container".into(),
                container: container.to_owned(),
                image: String::new(),
                service: "old.service".to_owned(),
            }];
            let around = Neighbourhood {
                files: &files,
                ..Neighbourhood::default()
            };
            check_names(&manifest, &around)
        };
        check("systemd-notes").unwrap();
        let refusal = check("notes").unwrap_err().to_string();
        assert!(refusal.starts_with("/q/old.container makes"), "{refusal}");
    }
}
