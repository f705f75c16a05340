//! The endpoint's secret key in a file that only its owner can read.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use iroh::SecretKey;

/// Permission bits that nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// The key file is unusable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It could not be read or written.
    #[error("cannot use the endpoint key {path}", path = .path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Other users could have read it.
    #[error(
        "the endpoint key {path} can be read by others (mode {mode:03o}); run: chmod 600 {path}",
        path = .path.display()
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a key.
    #[error(
        "{path} does not hold an endpoint key (64 hexadecimal digits); restore it from a backup, or \
         move it away to start with a new identity",
        path = .path.display()
    )]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
}

/// Loads the key, or makes one and stores it with mode 0600.
pub(super) fn load_or_create(path: &Path) -> Result<SecretKey, KeyError> {
    let io = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & OTHERS != 0 {
                return Err(KeyError::Exposed {
                    path: path.to_owned(),
                    mode,
                });
            }
            let text = fs::read_to_string(path).map_err(io)?;
            decode(&text).ok_or_else(|| KeyError::Malformed {
                path: path.to_owned(),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path).map_err(io),
        Err(error) => Err(io(error)),
    }
}

fn decode(text: &str) -> Option<SecretKey> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim_end(), &mut bytes).ok()?;
    Some(SecretKey::from_bytes(&bytes))
}

/// Writes a whole key or none: a crash in between leaves no half file behind.
fn create(path: &Path) -> io::Result<SecretKey> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let key = SecretKey::generate();
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    writeln!(file, "{}", hex::encode(key.to_bytes()))?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_survives_a_restart_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/endpoint.key");
        let first = load_or_create(&path).unwrap();
        let again = load_or_create(&path).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn an_exposed_or_broken_key_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoint.key");
        load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(
            error.contains("mode 640") && error.contains("chmod 600"),
            "{error}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "abc\n").unwrap();
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("does not hold an endpoint key"), "{error}");
    }
}
