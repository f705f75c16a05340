//! The static program behind every health check, carried by this crate and put where containers can be given it.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use archy_registry::Blake3Hash;

use crate::disk;

const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe"));

const MODE: u32 = 0o755;

/// The probe's place: its hash is part of the name, so that running containers keep the one they were given.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    let hash = Blake3Hash::of(PROBE).to_string();
    data_dir.join("bin").join(format!("probe-{}", &hash[..16]))
}

/// Writes the probe unless it is there, whole and open to all.
pub(crate) fn ensure(data_dir: &Path) -> io::Result<()> {
    let path = path(data_dir);
    let is_open =
        std::fs::metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o777 == MODE);
    if is_open && std::fs::read(&path).is_ok_and(|bytes| bytes == PROBE) {
        return Ok(());
    }
    // Users inside containers read it through a bind mount, so that only the file itself is open to them.
    disk::create_private_dir(path.parent().expect("it has a directory"))?;
    disk::replace(&path, PROBE, MODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_is_closed_to_the_users_in_containers_is_opened() {
        let root = tempfile::tempdir().unwrap();
        ensure(root.path()).unwrap();
        let path = path(root.path());
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), MODE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        ensure(root.path()).unwrap();
        assert_eq!(mode(), MODE);
    }
}
