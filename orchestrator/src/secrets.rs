//! Secrets that are made once on the node: random, kept in files of mode 0600 and in podman, never shown.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use archy_registry::Slug;
use archy_registry::manifest::{GeneratedSecret, SecretKind};
use base64::Engine as _;

use crate::disk;

mod store;

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
    /// A value with a secret of another app in it, and neither that app nor podman's copy of the value is there.
    #[error("{0} holds a secret of another app, which is not installed")]
    Elsewhere(String),
    /// A value that was to be taken over, and nobody has it.
    #[error(
        "the value of {variable}, which was to become the secret {secret}, is not told any more: podman tells it only while the old container runs"
    )]
    Untold {
        /// The secret.
        secret: Slug,
        /// The old container's variable.
        variable: String,
    },
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
    /// Takes over bytes that are text.
    fn of(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub(crate) fn bytes(&self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(self.0.as_bytes())
    }
}

/// Returns every secret of an app, making those that are not there yet. A secret that exists never changes: where its
/// file is lost or closed to this user, it is what `kept` says. Wrong owners and rights are put right.
pub(crate) fn ensure(
    directory: &Path,
    wanted: &[GeneratedSecret],
    kept: &BTreeMap<Slug, SecretValue>,
) -> Result<BTreeMap<Slug, SecretValue>, SecretError> {
    let mut values = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(values);
    }
    heal_directory(directory).map_err(|source| SecretError::Io {
        path: directory.to_owned(),
        source,
    })?;
    // A hash needs the secret that it hashes, so the random ones come first.
    let (hashes, random): (Vec<_>, Vec<_>) = wanted
        .iter()
        .partition(|secret| secret.kind == SecretKind::Bcrypt);
    for secret in random.into_iter().chain(hashes) {
        let path = directory.join(secret.name.as_str());
        let found = match (read(&path), kept.get(&secret.name)) {
            (Ok(Some(value)), _) => Some(value),
            (_, Some(kept)) => Some(kept.clone()),
            (found, None) => found?,
        };
        let value = match found {
            Some(value) => value,
            None => make(secret, &values)?,
        };
        if !is_private(&path, PRIVATE_FILE) || read(&path)?.as_ref() != Some(&value) {
            disk::replace(&path, value.0.as_bytes(), PRIVATE_FILE)
                .map_err(|source| SecretError::Io { path, source })?;
        }
        values.insert(secret.name.clone(), value);
    }
    Ok(values)
}

const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;

/// Tells whether the directory and the files are there, this user's and closed to others.
pub(crate) fn is_sound(directory: &Path, names: &[&Slug]) -> bool {
    let file = |name: &&Slug| is_private(&directory.join(name.as_str()), PRIVATE_FILE);
    names.is_empty() || is_private(directory, PRIVATE_DIRECTORY) && names.iter().all(file)
}

fn is_private(path: &Path, mode: u32) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| {
        let own = metadata.uid() == rustix::process::getuid().as_raw();
        own && !metadata.is_symlink() && metadata.permissions().mode() & 0o777 == mode
    })
}

/// Lists the secrets whose file holds nothing or cannot be read.
pub(crate) fn lacking(directory: &Path, wanted: &[GeneratedSecret]) -> Vec<Slug> {
    let names = wanted.iter().map(|secret| &secret.name);
    let lacks = |name: &&Slug| !matches!(read(&directory.join(name.as_str())), Ok(Some(_)));
    names.filter(lacks).cloned().collect()
}

/// Makes the directory, or puts its owner and rights right.
fn heal_directory(directory: &Path) -> io::Result<()> {
    if is_private(directory, PRIVATE_DIRECTORY) {
        return Ok(());
    }
    let own = match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return disk::create_private_dir(directory);
        }
        Err(error) => return Err(error),
        Ok(found) => found.is_dir() && found.uid() == rustix::process::getuid().as_raw(),
    };
    if own {
        let rights = fs::Permissions::from_mode(PRIVATE_DIRECTORY);
        return fs::set_permissions(directory, rights);
    }
    // Another user's directory cannot be given back, but a directory of ours can take its place with what can be read.
    let fresh = directory.with_extension("fresh");
    disk::remove_dir(&fresh)?;
    disk::create_private_dir(&fresh)?;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if let Ok(bytes) = fs::read(entry.path()) {
            disk::write_synced(&fresh.join(entry.file_name()), &bytes, PRIVATE_FILE)?;
        }
    }
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, &fresh, CWD, directory, RenameFlags::EXCHANGE)?;
    if let Err(error) = disk::remove_dir(&fresh) {
        tracing::warn!(path = %fresh.display(), error = &error as &dyn std::error::Error, "another user's copy of secrets stays");
    }
    Ok(())
}

/// Writes a secret that was made elsewhere.
fn write(path: &Path, value: &str) -> io::Result<()> {
    heal_directory(path.parent().unwrap_or(path))?;
    disk::replace(path, value.as_bytes(), PRIVATE_FILE)
}

/// Refuses a secret that was to be taken over, and whose file holds nothing.
fn expect(directory: &Path, name: &Slug, variable: &str) -> Result<(), SecretError> {
    let found = read(&directory.join(name.as_str()))?;
    found.map(drop).ok_or_else(|| SecretError::Untold {
        secret: name.clone(),
        variable: variable.to_owned(),
    })
}

/// Reads a secret; one that is empty was never whole.
fn read(path: &Path) -> Result<Option<SecretValue>, SecretError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok((!text.is_empty()).then_some(SecretValue(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SecretError::Io {
            path: path.to_owned(),
            source,
        }),
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
        let none = BTreeMap::new();
        let first = ensure(&directory, &wanted, &none).unwrap();
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
        assert_eq!(ensure(&directory, &wanted, &none).unwrap(), first);
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
        let wanted = [secret("a", SecretKind::Hex16, None)];
        let made = ensure(root.path(), &wanted, &BTreeMap::new()).unwrap();
        assert_eq!(made.values().next().unwrap().0.len(), 32);
    }

    #[test]
    fn a_lost_file_comes_back_with_what_podman_has() {
        let root = tempfile::tempdir().unwrap();
        let wanted = [secret("a", SecretKind::Hex16, None)];
        let a: Slug = "a".parse().unwrap();
        assert_eq!(lacking(root.path(), &wanted), std::slice::from_ref(&a));
        let kept = BTreeMap::from([(a.clone(), SecretValue("kept".to_owned()))]);
        let values = ensure(root.path(), &wanted, &kept).unwrap();
        assert!(values[&a].0 == "kept");
        assert!(lacking(root.path(), &wanted).is_empty());
        let other = BTreeMap::from([(a.clone(), SecretValue("other".to_owned()))]);
        let values = ensure(root.path(), &wanted, &other).unwrap();
        assert!(values[&a].0 == "kept", "the file is what counts");
    }

    #[test]
    fn a_secret_that_nobody_has_any_more_is_not_made_up() {
        let root = tempfile::tempdir().unwrap();
        let a: Slug = "a".parse().unwrap();
        let error = expect(root.path(), &a, "PASSWORD").unwrap_err();
        assert!(error.to_string().starts_with("the value of PASSWORD"));
        fs::write(root.path().join("a"), "").unwrap();
        assert!(expect(root.path(), &a, "PASSWORD").is_err());
        write(&root.path().join("a"), "old").unwrap();
        assert!(expect(root.path(), &a, "PASSWORD").is_ok());
    }

    #[test]
    fn wrong_rights_are_seen_and_put_right() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("secrets");
        let wanted = [secret("a", SecretKind::Hex16, None)];
        let a: Slug = "a".parse().unwrap();
        let none = BTreeMap::new();
        let first = ensure(&directory, &wanted, &none).unwrap();
        let spoils: [fn(&Path); 3] = [
            |d| fs::set_permissions(d, fs::Permissions::from_mode(0o755)).unwrap(),
            |d| fs::set_permissions(d.join("a"), fs::Permissions::from_mode(0o640)).unwrap(),
            |d| {
                fs::rename(d.join("a"), d.join("b")).unwrap();
                std::os::unix::fs::symlink("b", d.join("a")).unwrap();
            },
        ];
        for spoil in spoils {
            assert!(is_sound(&directory, &[&a]));
            spoil(&directory);
            assert!(!is_sound(&directory, &[&a]));
            assert_eq!(ensure(&directory, &wanted, &none).unwrap(), first);
        }
        assert!(is_sound(&directory, &[&a]));
    }
}
