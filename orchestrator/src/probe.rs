//! The static program behind every health check, carried by this crate and put where containers can be given it.

use std::io;
use std::path::{Path, PathBuf};

use archy_registry::Blake3Hash;

use crate::disk;

const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe"));

/// The probe's place: its hash is part of the name, so that running containers keep the one they were given.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    let hash = Blake3Hash::of(PROBE).to_string();
    data_dir.join("bin").join(format!("probe-{}", &hash[..16]))
}

/// Writes the probe unless it is there, whole.
pub(crate) fn ensure(data_dir: &Path) -> io::Result<()> {
    let path = path(data_dir);
    if std::fs::read(&path).is_ok_and(|bytes| bytes == PROBE) {
        return Ok(());
    }
    // Users inside containers read it through a bind mount, so that only the file itself is open to them.
    disk::create_private_dir(path.parent().expect("it has a directory"))?;
    disk::replace(&path, PROBE, 0o755)
}
