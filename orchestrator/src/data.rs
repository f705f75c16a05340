//! Directories for apps' data, each with the owner that it needs from its first moment on.

use std::path::Path;

use archy_registry::Slug;
use archy_registry::manifest::Manifest;

use crate::desired::Desired;
use crate::disk;
use crate::install::MachineError;
use crate::orchestrator::Orchestrator;
use crate::quadlet::volume_dir;
use crate::runtime::transient::Order;

/// How the name of a directory starts that has not got its owner yet.
const UNFINISHED: &str = ".new-";

/// Returns the user of the image that owns a volume's data, where the manifest names one other than its administrator.
///
/// Every container shares one mapping of users: one of its own would have podman copy the whole image with other
/// owners, which costs seconds and the room again. So the directory gets an owner rather than the container a mapping.
pub(crate) fn owner(manifest: &Manifest, volume: &Slug) -> Option<u32> {
    let mut volumes = manifest.containers.iter().flat_map(|c| &c.volumes);
    let owner = volumes.find(|mounted| mounted.name == *volume)?.data_uid;
    owner.filter(|uid| *uid != 0)
}

impl Orchestrator {
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
            let error = format!("cannot give it to user {uid} of the app's containers: {error}");
            MachineError::io(directory)(std::io::Error::other(error))
        })?;
        std::fs::rename(&unfinished, directory)
            .and_then(|()| disk::sync_dir(parent))
            .map_err(MachineError::io(directory))
    }
}
