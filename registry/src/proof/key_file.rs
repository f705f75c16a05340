//! Private keys at rest behind a passphrase: Argon2id (RFC 9106) makes the key of XChaCha20-Poly1305.
//!
//! The file is one JSON object; all of it but the ciphertext is authenticated, so that nobody can move a
//! ciphertext under another DID or weaken its parameters unnoticed. Plain key files are [`SigningKey`]'s own.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::signing_key::{KeyFileError, SigningKey, read_private, write_new};
use crate::did::Did;
use crate::json;

/// The `type` of an encrypted key file.
pub const TYPE: &str = "archy/key-file/v1";
/// An encrypted key file is about 450 bytes.
const FILE_SIZE_BYTES_MAX: u64 = 2048;
/// Shortest passphrase in characters.
pub const PASSPHRASE_CHARS_MIN: usize = 8;

/// Bounds of what a file may ask of the machine that reads it.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;

/// A passphrase; wiped from memory when dropped, never printed.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a passphrase as its owner typed it, without the line's end.
    pub fn new(text: String) -> Self {
        let mut text = Zeroizing::new(text);
        let kept = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(kept);
        Self(text)
    }

    /// Reads a passphrase from the first line of a file, refusing one that other users can read.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] naming the file and what to do.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let text = read_private(path, FILE_SIZE_BYTES_MAX)?;
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        std::str::from_utf8(line)
            .map(|line| Self::new(line.to_owned()))
            .map_err(|_| KeyFileError::Content {
                path: path.to_owned(),
            })
    }

    /// Tells whether it is too short to protect anything.
    pub fn is_too_short(&self) -> bool {
        self.0.chars().count() < PASSPHRASE_CHARS_MIN
    }

    /// Tells whether both are the same, as when it is typed twice.
    pub fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// How hard it is to guess the passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Memory of one guess, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
}

impl Default for Cost {
    /// RFC 9106 §4, second recommendation with one lane: 64 MiB, 3 passes.
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    r#type: String,
    did: Did,
    argon2id: Cost,
    salt: String,
    nonce: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xchacha20poly1305: Option<String>,
}

/// Tells whether a key file is one that needs a passphrase.
///
/// # Errors
///
/// [`KeyFileError`] when it cannot be read or others can read it.
pub fn is_encrypted(path: &Path) -> Result<bool, KeyFileError> {
    Ok(read_private(path, FILE_SIZE_BYTES_MAX)?.first() == Some(&b'{'))
}

/// Reads a key file, plain or encrypted.
///
/// `passphrase` is asked for only when the file is encrypted.
///
/// # Errors
///
/// [`KeyFileError`] naming the file and what to do, or what `passphrase` answered.
pub fn load<E: From<KeyFileError>>(
    path: &Path,
    passphrase: impl FnOnce() -> Result<Passphrase, E>,
) -> Result<SigningKey, E> {
    if !is_encrypted(path)? {
        return Ok(SigningKey::load(path)?);
    }
    let text = read_private(path, FILE_SIZE_BYTES_MAX)?;
    let passphrase = passphrase()?;
    Ok(open(&text, &passphrase, path)?)
}

/// Writes a key, encrypted, to a new file of mode 0600 and waits until it is on disk.
///
/// # Errors
///
/// [`KeyFileError::Create`], also when the file exists: a key is never overwritten.
pub fn save_new(
    key: &SigningKey,
    path: &Path,
    passphrase: &Passphrase,
    cost: Cost,
) -> Result<(), KeyFileError> {
    let (mut salt, mut nonce) = ([0; 16], [0; 24]);
    getrandom::fill(&mut salt).map_err(KeyFileError::Random)?;
    getrandom::fill(&mut nonce).map_err(KeyFileError::Random)?;
    let mut sealed = Sealed {
        r#type: TYPE.to_owned(),
        did: key.did(),
        argon2id: cost,
        salt: hex::encode(salt),
        nonce: hex::encode(nonce),
        xchacha20poly1305: None,
    };
    let content = || KeyFileError::Content {
        path: path.to_owned(),
    };
    let cipher = cipher(passphrase, &salt, cost).ok_or_else(content)?;
    let header = json::canonical(&sealed).map_err(|_| content())?;
    let payload = Payload {
        msg: key.seed(),
        aad: &header,
    };
    let ciphertext = cipher
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| content())?;
    sealed.xchacha20poly1305 = Some(hex::encode(ciphertext));
    let mut text = Zeroizing::new(json::canonical(&sealed).map_err(|_| content())?);
    text.push(b'\n');
    write_new(path, &text)
}

fn open(text: &[u8], passphrase: &Passphrase, path: &Path) -> Result<SigningKey, KeyFileError> {
    let content = || KeyFileError::Content {
        path: path.to_owned(),
    };
    let mut sealed: Sealed = serde_json::from_slice(text).map_err(|_| content())?;
    let ciphertext = sealed.xchacha20poly1305.take().ok_or_else(content)?;
    let ciphertext = hex::decode(ciphertext).map_err(|_| content())?;
    let (mut salt, mut nonce) = ([0; 16], [0; 24]);
    hex::decode_to_slice(&sealed.salt, &mut salt).map_err(|_| content())?;
    hex::decode_to_slice(&sealed.nonce, &mut nonce).map_err(|_| content())?;
    let Cost { memory_kib, passes } = sealed.argon2id;
    if sealed.r#type != TYPE || memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX {
        return Err(content());
    }
    let cipher = cipher(passphrase, &salt, sealed.argon2id).ok_or_else(content)?;
    let header = json::canonical(&sealed).map_err(|_| content())?;
    let payload = Payload {
        msg: &ciphertext,
        aad: &header,
    };
    let wrong = |_| KeyFileError::Passphrase {
        path: path.to_owned(),
    };
    let seed = Zeroizing::new(
        cipher
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(wrong)?,
    );
    let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| content())?;
    let key = SigningKey::from_seed(seed);
    if key.did() == sealed.did {
        Ok(key)
    } else {
        Err(content())
    }
}

/// `None` when the parameters are outside those of Argon2.
fn cipher(passphrase: &Passphrase, salt: &[u8], cost: Cost) -> Option<XChaCha20Poly1305> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(32)).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.0.as_bytes(), salt, key.as_mut_slice())
        .ok()?;
    XChaCha20Poly1305::new_from_slice(key.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const CHEAP: Cost = Cost {
        memory_kib: 64,
        passes: 1,
    };

    fn words(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned())
    }

    fn load_with(path: &Path, text: &str) -> Result<SigningKey, KeyFileError> {
        load(path, || Ok(words(text)))
    }

    #[test]
    fn a_key_comes_back_with_its_passphrase_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let key = SigningKey::from_seed(&[7; 32]);
        save_new(&key, &path, &words("correct horse\n"), CHEAP).unwrap();
        assert!(is_encrypted(&path).unwrap());
        assert_eq!(load_with(&path, "correct horse").unwrap().did(), key.did());
        for wrong in ["", "correct", "correct horse ", "Correct horse"] {
            let refused = load_with(&path, wrong).unwrap_err();
            assert!(
                matches!(refused, KeyFileError::Passphrase { .. }),
                "{wrong}"
            );
            assert!(
                refused.to_string().contains("wrong passphrase"),
                "{refused}"
            );
        }
        let refused = SigningKey::load(&path).unwrap_err();
        assert!(matches!(refused, KeyFileError::Encrypted { .. }));
        assert!(matches!(
            save_new(&key, &path, &words("again"), CHEAP),
            Err(KeyFileError::Create { .. })
        ));
    }

    #[test]
    fn no_byte_of_the_file_can_be_changed_and_others_may_not_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let key = SigningKey::from_seed(&[7; 32]);
        save_new(&key, &path, &words("correct horse"), CHEAP).unwrap();
        let good = std::fs::read(&path).unwrap();
        // Without the line's end; a digit of a hexadecimal text or a number stays one.
        for at in 0..good.len() - 1 {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(load_with(&path, "correct horse").is_err(), "byte {at}");
        }
        std::fs::write(&path, &good).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            load_with(&path, "correct horse"),
            Err(KeyFileError::Exposed { .. })
        ));
    }

    #[test]
    fn a_plain_file_asks_for_no_passphrase() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let key = SigningKey::from_seed(&[7; 32]);
        key.save_new(&path).unwrap();
        let asked: Result<_, KeyFileError> = load(&path, || panic!("asked"));
        assert_eq!(asked.unwrap().did(), key.did());
    }

    #[test]
    fn a_file_cannot_ask_for_all_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let key = SigningKey::from_seed(&[7; 32]);
        save_new(&key, &path, &words("correct horse"), CHEAP).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let greedy = text.replace("\"memory_kib\":64", "\"memory_kib\":4294967295");
        assert_ne!(text, greedy);
        std::fs::write(&path, greedy).unwrap();
        assert!(matches!(
            load_with(&path, "correct horse"),
            Err(KeyFileError::Content { .. })
        ));
    }
}
