//! The identity's folder: whole files or none, and what an interrupted rotation left.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use archy_registry::key_state::chain;

use super::{KEY_STATE, NEXT_KEY, NOSTR_KEY, PUBLISHER_KEY, PublicIdentity};
use crate::failure::Failure;

/// Holds the key states of a rotation until the new keys are in their places.
const ROTATING: &str = "rotating.json";

/// The name of a key file until the state that needs it is written.
pub(super) fn prepared(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.new"))
}

/// Writes the key states, all or nothing.
pub(super) fn write_states(dir: &Path, states: &[Vec<u8>]) -> Result<(), Failure> {
    write_whole(dir, KEY_STATE, &chain::join(states))
}

/// Puts a statement aside until others have signed it; returns where it is.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_pending(identity_dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
    let dir = identity_dir.join("pending");
    std::fs::create_dir_all(&dir).map_err(|error| Failure::file("write to", &dir, &error))?;
    write_whole(&dir, name, bytes)?;
    Ok(dir.join(name))
}

/// Writes the file `name` in `dir`, all or nothing.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_whole(dir: &Path, name: impl AsRef<Path>, bytes: &[u8]) -> Result<(), Failure> {
    let path = dir.join(name.as_ref());
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        sync(dir)
    };
    write().map_err(|error| Failure::file("write", &path, &error))
}

/// Throws away keys that were prepared for a state that was never written.
pub(super) fn discard_prepared(dir: &Path) -> Result<(), Failure> {
    for name in [PUBLISHER_KEY, NEXT_KEY, NOSTR_KEY] {
        remove(&prepared(dir, name))?;
    }
    Ok(())
}

/// Lets a rotation count: its states first, then the keys that were prepared for it. Once begun it is finished
/// by whoever reads the folder next.
pub(super) fn rotate(dir: &Path, states: &[Vec<u8>]) -> Result<(), Failure> {
    write_whole(dir, ROTATING, &chain::join(states))?;
    settle(dir)
}

/// Finishes a rotation that was interrupted; does nothing otherwise.
pub(super) fn settle(dir: &Path) -> Result<(), Failure> {
    let mark = dir.join(ROTATING);
    let states = match std::fs::read(&mark) {
        Ok(states) => states,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::file("read", &mark, &error)),
    };
    write_whole(dir, KEY_STATE, &states)?;
    for name in [PUBLISHER_KEY, NEXT_KEY, NOSTR_KEY] {
        let to = dir.join(name);
        match std::fs::rename(prepared(dir, name), &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::file("write", &to, &error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    sync(dir).map_err(|error| Failure::file("write to", dir, &error))?;
    remove(&mark)
}

fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::file("remove", path, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Waits until the folder's entries are on disk.
pub(super) fn sync(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

/// Copies the key states, and with `private` the key files too, into the new folder `to`.
///
/// # Errors
///
/// When the folder exists or cannot be written.
pub fn export(
    identity: &PublicIdentity,
    to: &Path,
    private: bool,
) -> Result<Vec<PathBuf>, Failure> {
    let write = |error: std::io::Error| Failure::file("write to", to, &error);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(to)
        .map_err(write)?;
    let mut written = vec![to.join(KEY_STATE)];
    copy(&identity.chain(), &written[0], 0o644).map_err(write)?;
    for name in [PUBLISHER_KEY, NEXT_KEY, NOSTR_KEY] {
        let (from, copied) = (identity.dir.join(name), to.join(name));
        // The next key may be in its safe place.
        if private && from.exists() {
            let bytes =
                std::fs::read(&from).map_err(|error| Failure::file("read", &from, &error))?;
            copy(&bytes, &copied, 0o600).map_err(write)?;
            written.push(copied);
        }
    }
    sync(to).map_err(write)?;
    Ok(written)
}

fn copy(bytes: &[u8], to: &Path, mode: u32) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(to)?;
    file.write_all(bytes)?;
    file.sync_all()
}
