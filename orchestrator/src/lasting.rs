//! What podman writes and does not wait for the disk with: made to last, and mended after a power cut that came before.
//!
//! podman 5 waits with its records of images and layers, not with the files in them (containers/podman#8005), and with
//! nothing of its secrets, which it keeps in two files that are written over.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use archy_registry::manifest::UserNamespace;
use rustix::fs::{FlockOperation, fcntl_lock};

use crate::desired::Desired;
use crate::disk;
use crate::install::MachineError;
use crate::orchestrator::Orchestrator;
use crate::runtime::podman::PodmanError;

/// podman's list of secrets, in its directory of them, and the lock that it holds while it writes there.
const LIST: &str = "secrets.json";
const LIST_LOCK: &str = "secrets.lock";
/// The values of those that it keeps itself, and their lock.
const VALUES: &str = "filedriver/secretsdata.json";
const VALUES_LOCK: &str = "filedriver/secretsdata.lock";
/// podman's word for itself as the keeper of a secret.
const OWN_DRIVER: &str = "file";

impl Orchestrator {
    /// Waits until the disk has all that podman wrote.
    pub(crate) async fn make_podman_last(&self) -> Result<(), MachineError> {
        let root = self.podman_root().await?;
        disk::make_last(&root).await.map_err(MachineError::io(root))
    }

    /// Waits until the disk has the copies of images that podman made for containers with users of their own.
    pub(crate) async fn make_copies_last(&self, desired: &Desired) {
        let mut containers = desired.release.manifest.containers.iter();
        if containers.any(|one| one.user_namespace == UserNamespace::Own)
            && let Err(error) = self.make_podman_last().await
        {
            tracing::warn!(app = %desired.app, error = &error as &dyn std::error::Error, "podman's copy of an image may not outlast a power cut");
        }
    }

    /// Lets podman work again whose lists of secrets a power cut emptied: it refuses to do anything with secrets then, and
    /// the reconciler gives it those of apps again.
    pub(crate) async fn mend_podman(&self) -> Result<(), MachineError> {
        let secrets = self.podman_root().await?.join("secrets");
        let mended = remove_emptied(&secrets).map_err(MachineError::io(&secrets))?;
        if mended {
            tracing::warn!(path = %secrets.display(), "podman's secrets were lost, which a power cut can do; those of apps are given to it again");
        }
        Ok(())
    }

    /// The directory that podman keeps images in; asked for once.
    pub(crate) async fn podman_root(&self) -> Result<PathBuf, PodmanError> {
        let root = &self.inner.podman_root;
        let root = root.get_or_try_init(|| self.inner.podman.graph_root());
        root.await.cloned()
    }
}

/// Removes podman's lists of secrets that hold nothing at all, not even an empty list; tells whether there were any. One
/// that somebody is writing is left alone.
fn remove_emptied(directory: &Path) -> io::Result<bool> {
    let (list, values) = (directory.join(LIST), directory.join(VALUES));
    if !is_emptied(&list) && !is_emptied(&values) {
        return Ok(false);
    }
    let mut locks = Vec::new();
    for lock in [LIST_LOCK, VALUES_LOCK] {
        let mut open = OpenOptions::new();
        let open = open.read(true).write(true).create(true).truncate(false);
        let lock = open.open(directory.join(lock))?;
        if fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        locks.push(lock);
    }
    let lost_values = is_emptied(&values);
    if lost_values && !is_emptied(&list) && list.exists() && !lists_own_only(&list) {
        return Ok(false);
    }
    // A list of values that are gone would have podman look for them.
    let lost_list = lost_values || is_emptied(&list);
    if lost_values {
        disk::remove_file(&values)?;
    }
    if lost_list {
        disk::remove_file(&list)?;
    }
    Ok(lost_values || lost_list)
}

fn is_emptied(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok_and(|found| found.is_file() && found.len() == 0)
}

/// Tells whether podman itself keeps every secret of a list.
fn lists_own_only(list: &Path) -> bool {
    let parsed = fs::read(list)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let secrets = parsed.as_ref().and_then(|list| list["secrets"].as_object());
    secrets.is_some_and(|secrets| secrets.values().all(|one| one["driver"] == OWN_DRIVER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_secrets_that_a_power_cut_emptied_go_and_no_others() {
        let own = r#"{"secrets": {"a": {"name": "x", "driver": "file"}}}"#;
        let pass = r#"{"secrets": {"a": {"name": "x", "driver": "pass"}}}"#;
        let values = r#"{"a": "dg=="}"#;
        let table = [
            (Some(""), Some(""), (None, None)),
            (Some(own), Some(""), (None, None)),
            (Some(""), Some(values), (None, Some(values))),
            (Some(""), None, (None, None)),
            (None, Some(""), (None, None)),
            (Some(own), Some(values), (Some(own), Some(values))),
            (Some(pass), Some(""), (Some(pass), Some(""))),
            (Some(own), None, (Some(own), None)),
            (None, None, (None, None)),
        ];
        for (list, secrets, expected) in table {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("filedriver")).unwrap();
            for (name, text) in [(LIST, list), (VALUES, secrets)] {
                if let Some(text) = text {
                    fs::write(root.path().join(name), text).unwrap();
                }
            }
            let changed = (list, secrets) != expected;
            assert_eq!(remove_emptied(root.path()).unwrap(), changed);
            let found = [LIST, VALUES].map(|name| fs::read_to_string(root.path().join(name)).ok());
            let found = (found[0].as_deref(), found[1].as_deref());
            assert_eq!(found, expected, "{list:?} {secrets:?}");
        }
    }
}
