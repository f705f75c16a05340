//! Secrets that are made once on the node: random, kept in files of mode 0600 and in podman, never shown.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use archy_registry::Slug;
use archy_registry::manifest::{GeneratedSecret, SecretKind};
use base64::Engine as _;

use crate::disk;

/// A secret could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The operating system's random source failed.
    #[error("cannot read random bytes from the operating system")]
    Random(#[source] getrandom::Error),
    /// The file could not be read or written.
    #[error("cannot access the secret's file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Hashing failed.
    #[error("cannot hash the secret {0}")]
    Hash(Slug),
    /// A `bcrypt` secret without the secret that it hashes.
    #[error("the secret {0} is a bcrypt hash of no other secret of this app")]
    From(Slug),
}

/// A secret's value; never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretValue(String);

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl SecretValue {
    pub(crate) fn bytes(&self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(self.0.as_bytes())
    }
}

/// Returns every secret of an app, making those that are not there yet. A secret that exists never changes.
pub(crate) fn ensure(
    directory: &Path,
    wanted: &[GeneratedSecret],
) -> Result<BTreeMap<Slug, SecretValue>, SecretError> {
    let mut values = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(values);
    }
    disk::create_private_dir(directory).map_err(|source| SecretError::Io {
        path: directory.to_owned(),
        source,
    })?;
    // A hash needs the secret that it hashes, so the random ones come first.
    let (hashes, random): (Vec<_>, Vec<_>) = wanted
        .iter()
        .partition(|secret| secret.kind == SecretKind::Bcrypt);
    for secret in random.into_iter().chain(hashes) {
        let path = directory.join(secret.name.as_str());
        let value = match read(&path)? {
            Some(value) => value,
            None => {
                let value = make(secret, &values)?;
                disk::replace(&path, value.0.as_bytes(), 0o600)
                    .map_err(|source| SecretError::Io { path, source })?;
                value
            }
        };
        values.insert(secret.name.clone(), value);
    }
    Ok(values)
}

fn read(path: &Path) -> Result<Option<SecretValue>, SecretError> {
    let failed = |source| SecretError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path) {
        Ok(text) => {
            let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
            if mode & 0o077 != 0 {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
            }
            Ok((!text.is_empty()).then_some(SecretValue(text)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn make(
    secret: &GeneratedSecret,
    others: &BTreeMap<Slug, SecretValue>,
) -> Result<SecretValue, SecretError> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(SecretError::Random)?;
    let value = match secret.kind {
        SecretKind::Hex16 => hex::encode(&random[..16]),
        SecretKind::Hex32 => hex::encode(random),
        SecretKind::Base64 => base64::engine::general_purpose::STANDARD.encode(random),
        SecretKind::Uuid => {
            uuid::Builder::from_random_bytes(random[..16].try_into().expect("16 of 32 bytes"))
                .into_uuid()
                .to_string()
        }
        SecretKind::Bcrypt => {
            let from = secret.from.as_ref().and_then(|from| others.get(from));
            let from = from.ok_or_else(|| SecretError::From(secret.name.clone()))?;
            bcrypt::hash(&from.0, bcrypt::DEFAULT_COST)
                .map_err(|_| SecretError::Hash(secret.name.clone()))?
        }
    };
    Ok(SecretValue(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, kind: SecretKind, from: Option<&str>) -> GeneratedSecret {
        GeneratedSecret {
            name: name.parse().unwrap(),
            kind,
            from: from.map(|from| from.parse().unwrap()),
        }
    }

    #[test]
    fn secrets_are_made_once_and_kept_private() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("secrets");
        let wanted = [
            secret("hash", SecretKind::Bcrypt, Some("a")),
            secret("a", SecretKind::Hex16, None),
            secret("b", SecretKind::Hex32, None),
            secret("c", SecretKind::Base64, None),
            secret("d", SecretKind::Uuid, None),
        ];
        let first = ensure(&directory, &wanted).unwrap();
        let text = |name: &str| first[&name.parse().unwrap()].0.clone();
        assert_eq!(text("a").len(), 32);
        assert_eq!(text("b").len(), 64);
        assert_eq!(text("c").len(), 44);
        assert_eq!(
            uuid::Uuid::parse_str(&text("d")).unwrap().get_version_num(),
            4
        );
        assert!(bcrypt::verify(text("a"), &text("hash")).unwrap());
        assert_eq!(format!("{first:?}").matches(&text("a")).count(), 0);
        fs::set_permissions(directory.join("a"), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ensure(&directory, &wanted).unwrap(), first);
        for name in ["a", "b", "c", "d", "hash"] {
            let mode = fs::metadata(directory.join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let mode = fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_torn_secret_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "").unwrap();
        let made = ensure(root.path(), &[secret("a", SecretKind::Hex16, None)]).unwrap();
        assert_eq!(made.values().next().unwrap().0.len(), 32);
    }
}
