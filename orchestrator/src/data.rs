//! Directories for apps' data, each with the owner that it needs from its first moment on; whether they are there, and
//! whether data and an app's users fit together.

use std::collections::BTreeMap;
use std::path::Path;

use archy_registry::Slug;
use archy_registry::manifest::{Manifest, UserNamespace};

use crate::desired::Desired;
use crate::disk;
use crate::install::MachineError;
use crate::orchestrator::Orchestrator;
use crate::preflight::Refusal;
use crate::quadlet::{own_id, volume_dir};
use crate::runtime::transient::Order;
use crate::settings::Settings;
use crate::surroundings;

/// How the name of a directory starts that has not got its owner yet.
const UNFINISHED: &str = ".new-";

/// Returns the user who owns a volume's data, as podman counts, where the manifest names one other than the account that
/// runs podman.
///
/// To fit the owner, the directory is given to another rather than the container another mapping of its users: that would
/// have podman copy the whole image with other owners, which costs seconds and the room again. So there are only two
/// mappings, one that all containers share, and the one of those whose publisher asked for users of their own.
pub(crate) fn owner(manifest: &Manifest, volume: &Slug) -> Option<u32> {
    let mut containers = manifest.containers.iter();
    let (user_namespace, owner) = containers.find_map(|container| {
        let mut volumes = container.volumes.iter();
        let mounted = volumes.find(|mounted| mounted.name == *volume)?;
        Some((container.user_namespace, mounted.data_uid))
    })?;
    match user_namespace {
        UserNamespace::Shared => owner.filter(|uid| *uid != 0),
        UserNamespace::Own => owner.map(own_id),
    }
}

/// Refuses a manifest under which data that the app has here would belong to others than its containers' users.
pub(crate) fn check_users(manifest: &Manifest, known: &Desired) -> Result<(), Refusal> {
    for (release, settings) in known.decided() {
        let kept = users(&release.manifest, settings);
        for (volume, asked) in users(manifest, settings) {
            let kept = kept.get(&volume).copied().unwrap_or(asked);
            if kept != asked {
                return Err(Refusal::UserNamespace {
                    app: manifest.app.id.clone(),
                    volume,
                    kept,
                    asked,
                });
            }
        }
    }
    Ok(())
}

/// Whose users own the data of each volume, those that images declare included.
pub(crate) fn users(manifest: &Manifest, settings: &Settings) -> BTreeMap<Slug, UserNamespace> {
    let mut users = BTreeMap::new();
    for container in &manifest.containers {
        let declared = settings.surroundings.image_volumes.get(&container.name);
        let paths = declared.into_iter().flat_map(BTreeMap::keys);
        let declared = surroundings::unmentioned(container, paths).into_values();
        let mounted = container.volumes.iter().map(|volume| volume.name.clone());
        let volumes = mounted.chain(declared);
        users.extend(volumes.map(|volume| (volume, container.user_namespace)));
    }
    users
}

impl Orchestrator {
    /// Refuses what would have an app begin anew because the data of one of its volumes is not where it was.
    pub(crate) fn check_data(&self, desired: &Desired) -> Result<(), MachineError> {
        for volume in desired.volumes() {
            let path = volume_dir(&self.inner.facts.apps_dir, desired.slug(), volume);
            if !path.is_dir() {
                let volume = volume.clone();
                return Err(MachineError::DataGone { volume, path });
            }
        }
        Ok(())
    }

    /// Makes the directories of an app's volumes that are not there. One that is there stays as it is.
    pub(crate) async fn make_directories(&self, desired: &Desired) -> Result<(), MachineError> {
        for volume in desired.volumes() {
            let directory = volume_dir(&self.inner.facts.apps_dir, desired.slug(), volume);
            if directory.is_dir() {
                continue;
            }
            match owner(&desired.release.manifest, volume) {
                None => {
                    disk::create_private_dir(&directory).map_err(MachineError::io(&directory))?;
                }
                Some(uid) => self.make_owned(&directory, uid).await?,
            }
        }
        Ok(())
    }

    /// Makes a directory that belongs to a user of the containers, under another name until it does.
    async fn make_owned(&self, directory: &Path, uid: u32) -> Result<(), MachineError> {
        let parent = directory.parent().unwrap_or(directory);
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = parent.join(format!("{UNFINISHED}{name}"));
        disk::create_private_dir(&unfinished).map_err(MachineError::io(&unfinished))?;
        // Only in podman's user namespace are there other users to give it to.
        let chown = Order::new(Path::new("chown")).inside();
        let chown = chown.arg(format!("{uid}:{uid}")).arg(&unfinished);
        let given = self.inner.transient.perform(chown).await;
        given.map_err(|error| {
            let error = format!("cannot give it to user {uid} of podman's user namespace: {error}");
            MachineError::io(directory)(std::io::Error::other(error))
        })?;
        std::fs::rename(&unfinished, directory)
            .and_then(|()| disk::sync_dir(parent))
            .map_err(MachineError::io(directory))
    }
}

#[cfg(test)]
mod tests;
