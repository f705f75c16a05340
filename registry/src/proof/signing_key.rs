//! A publisher's private key and the file that it rests in. Nothing else reads or writes key files.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::did::Did;

/// Multicodec `ed25519-priv` (0x1300) as a varint.
const ED25519_PRIV: [u8; 2] = [0x80, 0x26];
/// A plain key file is one line of about 49 characters.
const FILE_SIZE_BYTES_MAX: u64 = 256;
/// An encrypted one is larger, and is told apart by its first byte.
const ENCRYPTED_OR_NOT_BYTES_MAX: u64 = 2048;

/// An Ed25519 private key; wiped from memory when dropped, never printed.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    did: Did,
}

/// A key file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The operating system's random source failed.
    #[error("cannot read random bytes from the operating system")]
    Random(#[source] getrandom::Error),
    /// The file could not be created.
    #[error("cannot create the key file {path:?}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file could not be read.
    #[error("cannot read the key file {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Other users can read or change the file.
    #[error(
        "the key file {path:?} has mode {mode:04o}, so other users can get at the key: run `chmod 600` on it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key is behind a passphrase.
    #[error("the key in {path:?} is encrypted and needs its passphrase")]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase is not the one that encrypted the key, or the file was changed.
    #[error("wrong passphrase for {path:?}, or the file was changed")]
    Passphrase {
        /// The file.
        path: PathBuf,
    },
    /// The content is not a private key.
    #[error(
        "{path:?} does not hold an Ed25519 private key: expected one line, the multibase text z3u2…, or an encrypted key"
    )]
    Content {
        /// The file.
        path: PathBuf,
    },
}

impl SigningKey {
    /// Makes a new key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Random`].
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(KeyFileError::Random)?;
        Ok(Self::from_seed(&seed))
    }

    /// Makes the key of a 32-byte seed (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let did = Did::from_key(key.verifying_key())
            .expect("the clamped scalar is never zero, so a derived key is canonical and not weak");
        Self { key, did }
    }

    /// Returns the DID of the public half.
    pub fn did(&self) -> Did {
        self.did
    }

    /// Reads a key file, refusing one that other users can read or change.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] naming the file and what to do.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let content = || KeyFileError::Content {
            path: path.to_owned(),
        };
        let text = read_private(path, ENCRYPTED_OR_NOT_BYTES_MAX)?;
        if text.first() == Some(&b'{') {
            return Err(KeyFileError::Encrypted {
                path: path.to_owned(),
            });
        }
        if text.len() as u64 > FILE_SIZE_BYTES_MAX {
            return Err(content());
        }
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| Self::from_multibase(text.strip_suffix('\n').unwrap_or(text)))
            .ok_or_else(content)
    }

    /// Writes the key to a new file of mode 0600 and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Create`], also when the file exists: a key is never overwritten.
    pub fn save_new(&self, path: &Path) -> Result<(), KeyFileError> {
        let text = Zeroizing::new(format!("{}\n", self.to_multibase().as_str()));
        write_new(path, text.as_bytes())
    }

    /// Returns the 32 bytes that the key is made of.
    pub(super) fn seed(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    pub(super) fn dalek(&self) -> &ed25519_dalek::SigningKey {
        &self.key
    }

    /// Reads the `secretKeyMultibase` form of [Multikey](https://www.w3.org/TR/cid-1.0/#Multikey).
    pub(super) fn from_multibase(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix('z')?;
        let bytes = Zeroizing::new(bs58::decode(encoded).into_vec().ok()?);
        let seed: &[u8; 32] = bytes.strip_prefix(&ED25519_PRIV)?.try_into().ok()?;
        Some(Self::from_seed(seed))
    }

    pub(super) fn to_multibase(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 34]);
        bytes[..2].copy_from_slice(&ED25519_PRIV);
        bytes[2..].copy_from_slice(self.key.as_bytes());
        let encoded = Zeroizing::new(bs58::encode(bytes.as_slice()).into_string());
        Zeroizing::new(format!("z{}", encoded.as_str()))
    }
}

/// Reads a file of secrets, refusing one that other users can read or change.
pub(super) fn read_private(
    path: &Path,
    size_bytes_max: u64,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let read = |source| KeyFileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() || metadata.len() > size_bytes_max {
        return Err(KeyFileError::Content {
            path: path.to_owned(),
        });
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    // Room for all of it: a buffer that grows leaves copies of the secret behind.
    let mut text = Zeroizing::new(Vec::with_capacity(size_bytes_max as usize));
    file.take(size_bytes_max)
        .read_to_end(&mut text)
        .map_err(read)?;
    Ok(text)
}

/// Writes a file of secrets that must not exist, of mode 0600, and waits until it is on disk.
pub(super) fn write_new(path: &Path, text: &[u8]) -> Result<(), KeyFileError> {
    let create = |source| KeyFileError::Create {
        path: path.to_owned(),
        source,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(create)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // Half a key would block every later attempt; it was created by us a moment ago.
        let _ = std::fs::remove_file(path);
        return Err(create(source));
    }
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent).and_then(|dir| dir.sync_all()),
        None => Ok(()),
    }
    .map_err(create)
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.did)
    }
}

#[cfg(test)]
mod tests;
