//! The Nostr key of a publisher: a file that only its owner can read.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::event::Pubkey;
use crate::sdk::{Authentic, Forged, KeyPair, Unsigned};

/// Longest key file in bytes: an nsec and a line end, with room for a comment's worth of white space.
const FILE_BYTES_MAX: u64 = 1024;

/// A key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be opened, read or written.
    #[error("could not {action} the Nostr key {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is a key already.
    #[error("the Nostr key {} exists already; move it away first, a lost key cannot be made again", .0.display())]
    Exists(PathBuf),
    /// Others can read it.
    #[error("others can read the Nostr key {} (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a regular file.
    #[error("the Nostr key {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Not a key.
    #[error("{} holds no Nostr key: expected nsec1… or 64 hexadecimal digits on one line", .0.display())]
    Malformed(PathBuf),
}

/// A Nostr key pair. Its secret never appears in logs, errors or debug output.
#[derive(Clone)]
pub struct NostrKey(KeyPair);

impl NostrKey {
    /// Makes a new key from the system's randomness.
    pub fn generate() -> Self {
        Self(KeyPair::generate())
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, when group or others have any permission on it, or when it holds
    /// something else than one `nsec1…` or 64 hexadecimal digits.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let io = |action| {
            move |source| KeyError::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        // Checked on the opened file, so that it cannot be exchanged between check and read.
        let file = std::fs::File::open(path).map_err(io("open"))?;
        let metadata = file.metadata().map_err(io("read"))?;
        if !metadata.is_file() {
            return Err(KeyError::NotAFile(path.to_owned()));
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(io("read"))?;
        KeyPair::parse(text.trim())
            .map(Self)
            .ok_or_else(|| KeyError::Malformed(path.to_owned()))
    }

    /// Writes the key to a new file with mode 0600, as `nsec1…`.
    ///
    /// # Errors
    ///
    /// When the file exists or cannot be written; a key is never overwritten.
    pub fn save_new(&self, path: &Path) -> Result<(), KeyError> {
        let io = |source: std::io::Error| {
            if source.kind() == std::io::ErrorKind::AlreadyExists {
                return KeyError::Exists(path.to_owned());
            }
            KeyError::Io {
                action: "write",
                path: path.to_owned(),
                source,
            }
        };
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        writeln!(file, "{}", self.0.to_nsec()).map_err(io)?;
        file.sync_all().map_err(io)
    }

    /// Returns the public half.
    pub fn pubkey(&self) -> Pubkey {
        self.0.pubkey()
    }

    /// Encrypts a text of 1 to 65,535 bytes for a pubkey (NIP-44); `None` when the length or the pubkey is wrong.
    pub fn seal(&self, to: &Pubkey, text: &str) -> Option<String> {
        self.0.seal(to, text)
    }

    /// Decrypts what a pubkey encrypted for this key (NIP-44); `None` when it did not.
    pub fn unseal(&self, from: &Pubkey, text: &str) -> Option<String> {
        self.0.unseal(from, text)
    }

    /// Signs an event.
    ///
    /// # Errors
    ///
    /// When a tag is empty.
    pub fn sign(&self, unsigned: Unsigned) -> Result<Authentic, Forged> {
        self.0.sign(unsigned)
    }
}

impl fmt::Debug for NostrKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NostrKey({})", self.pubkey())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_saved_key_loads_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nostr.key");
        let key = NostrKey::generate();
        key.save_new(&path).unwrap();
        assert_eq!(NostrKey::load(&path).unwrap().pubkey(), key.pubkey());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(matches!(key.save_new(&path), Err(KeyError::Exists(_))));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nostr.key");
        NostrKey::generate().save_new(&path).unwrap();
        for mode in [0o640, 0o604, 0o610, 0o777] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = NostrKey::load(&path).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    /// The example of NIP-19.
    #[test]
    fn nsec_and_hexadecimal_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let texts = [
            "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5",
            "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa\n",
        ];
        for (n, text) in texts.into_iter().enumerate() {
            let path = dir.path().join(n.to_string());
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(
                NostrKey::load(&path).unwrap().pubkey().to_string(),
                "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
            );
            assert!(!format!("{:?}", NostrKey::load(&path).unwrap()).contains("67dea2"));
        }
    }

    #[test]
    fn other_content_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "hunter2", &"0".repeat(64), &"ab".repeat(33)] {
            let path = dir.path().join("key");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let error = NostrKey::load(&path).unwrap_err();
            assert!(matches!(error, KeyError::Malformed(_)), "{error}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
