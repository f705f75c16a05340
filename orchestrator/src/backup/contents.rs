//! What lies in a backup beside the app's data, and the checks that it is whole. A backup may have been made by anyone who
//! has the repository's password, so nothing of it is believed before it was looked at.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use archy_registry::{AppId, Blake3Hash, Slug};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Backup;
use crate::disk;
use crate::settings::Settings;

/// The format that this version writes.
const FORMAT: u32 = 1;
/// Directory of the app's data.
pub(super) const DATA: &str = "data";
/// Directory of the app's secrets.
pub(super) const SECRETS: &str = "secrets";
/// Most secrets of an app, far beyond what manifests may declare.
const SECRETS_MAX: usize = 1000;
/// Most bytes of one secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A file in a backup.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    pub(super) name: &'static str,
    /// Largest that is read.
    pub(super) bytes_max: u64,
}

/// The description.
pub(super) const CONTENTS: File = File {
    name: "backup.json",
    bytes_max: 1 << 20,
};
/// The release, signed.
pub(super) const RELEASE: File = File {
    name: "release.json",
    bytes_max: archy_registry::release::SIZE_BYTES_MAX as u64,
};
/// The publisher's key states, as they travel.
pub(super) const KEYS: File = File {
    name: "keys.json",
    bytes_max: 4 << 20,
};

/// What the publisher signed: enough for another node to check the release by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Papers {
    /// The release.
    pub release: Vec<u8>,
    /// The publisher's key states, when there are any.
    pub keys: Option<Vec<u8>>,
}

/// Describes a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    /// Always [`FORMAT`] in this version.
    format: u32,
    /// The app.
    pub(super) app: AppId,
    /// The release that wrote the data.
    pub(super) release: Blake3Hash,
    /// That release's version.
    pub(super) version: String,
    /// What the node had decided about the app.
    pub(super) settings: Settings,
    /// When the app stood still.
    pub(super) taken: Timestamp,
    /// Whether the publisher's key states lie beside the release.
    pub(super) keys: bool,
}

/// A backup is not whole, or not what it says.
#[derive(Debug, thiserror::Error)]
pub enum TornError {
    /// A file or directory is missing or cannot be read.
    #[error("the backup is not whole: {name} cannot be read")]
    Unreadable {
        /// Its name in the backup.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The description makes no sense.
    #[error("the backup's description cannot be understood; a later archy may have made it")]
    Description(#[source] serde_json::Error),
    /// Something is there that no backup has.
    #[error("the backup has {0:?}, which no backup of archy has")]
    Unexpected(String),
    /// It is not what the list says.
    #[error("the backup is of {found}, not of {listed} as its label says")]
    Other {
        /// What it says itself.
        found: String,
        /// What the label says.
        listed: String,
    },
}

impl Contents {
    pub(super) fn new(
        app: AppId,
        release: Blake3Hash,
        version: String,
        settings: Settings,
        taken: Timestamp,
        keys: bool,
    ) -> Self {
        Self {
            format: FORMAT,
            app,
            release,
            version,
            settings,
            taken,
            keys,
        }
    }

    /// Checks that this describes a certain backup.
    pub(super) fn is_of(&self, backup: &Backup) -> Result<(), TornError> {
        if (&self.app, &self.release) == (&backup.app, &backup.release) {
            return Ok(());
        }
        Err(TornError::Other {
            found: format!("{} {}", self.app, self.release),
            listed: format!("{} {}", backup.app, backup.release),
        })
    }
}

/// Reads a description.
pub(super) fn parse(text: &[u8]) -> Result<Contents, TornError> {
    let contents: Contents = serde_json::from_slice(text).map_err(TornError::Description)?;
    if contents.format == FORMAT {
        return Ok(contents);
    }
    let error = format!("format {}", contents.format);
    Err(TornError::Description(serde::de::Error::custom(error)))
}

/// Writes all but the data into a directory that holds it.
pub(super) fn write(
    directory: &Path,
    contents: &Contents,
    papers: &Papers,
    secrets: &Path,
    names: &[&Slug],
) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(contents)?;
    disk::write_synced(&directory.join(CONTENTS.name), &text, 0o600)?;
    disk::write_synced(&directory.join(RELEASE.name), &papers.release, 0o600)?;
    if let Some(keys) = &papers.keys {
        disk::write_synced(&directory.join(KEYS.name), keys, 0o600)?;
    }
    let kept = directory.join(SECRETS);
    disk::create_private_dir(&kept)?;
    for name in names {
        let value = fs::read(secrets.join(name.as_str()))?;
        disk::write_synced(&kept.join(name.as_str()), &value, 0o600)?;
    }
    Ok(())
}

/// Checks what came out of a backup, and removes the papers: data and secrets are left, the latter closed to others. `exclude`
/// is what the backup's release leaves out of the data.
pub(super) fn unpack(
    directory: &Path,
    backup: &Backup,
    exclude: &[String],
) -> Result<Contents, TornError> {
    let contents = parse(&read_small(directory, CONTENTS)?)?;
    contents.is_of(backup)?;
    let known = [CONTENTS.name, RELEASE.name, KEYS.name, DATA, SECRETS];
    for name in entries(directory, ".")? {
        if !known.contains(&name.as_str()) {
            return Err(TornError::Unexpected(name));
        }
    }
    let data = directory.join(DATA);
    // Earlier versions had restic leave out the directory too.
    if exclude.iter().any(|glob| is_everything(glob)) && fs::symlink_metadata(&data).is_err() {
        disk::create_private_dir(&data).map_err(unreadable(DATA))?;
    }
    for name in [DATA, SECRETS] {
        own_directory(&directory.join(name)).map_err(unreadable(name))?;
    }
    let secrets = directory.join(SECRETS);
    let names = entries(&secrets, SECRETS)?;
    if names.len() > SECRETS_MAX {
        return Err(TornError::Unexpected(format!("{} secrets", names.len())));
    }
    for name in names {
        let shown = format!("{SECRETS}/{name}");
        if name.parse::<Slug>().is_err() {
            return Err(TornError::Unexpected(shown));
        }
        own_file(&secrets.join(&name)).map_err(unreadable(&shown))?;
    }
    for file in [CONTENTS, RELEASE, KEYS] {
        disk::remove_file(&directory.join(file.name)).map_err(unreadable(file.name))?;
    }
    Ok(contents)
}

fn is_everything(glob: &str) -> bool {
    glob.split('/').all(|part| part == "**")
}

fn unreadable(name: &str) -> impl FnOnce(io::Error) -> TornError + use<> {
    let name = name.to_owned();
    move |source| TornError::Unreadable { name, source }
}

fn entries(directory: &Path, shown: &str) -> Result<Vec<String>, TornError> {
    let found = fs::read_dir(directory).map_err(unreadable(shown))?;
    let mut names = Vec::new();
    for entry in found {
        let name = entry.map_err(unreadable(shown))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}

fn read_small(directory: &Path, file: File) -> Result<Vec<u8>, TornError> {
    let read = || {
        let no_link = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(no_link.bits()).unwrap_or_default())
            .open(directory.join(file.name))?;
        let found = opened.metadata()?;
        if !found.is_file() || found.len() > file.bytes_max {
            return Err(io::Error::other("it is no file, or too large"));
        }
        let mut bytes = Vec::new();
        opened.take(file.bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(unreadable(file.name))
}

/// Checks that a directory is one, of this user, and closes it to others.
fn own_directory(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other("it is no directory of this user's"));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Checks that a file is one, of this user, small and without another name, and closes it to others.
fn own_file(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let own = found.uid() == rustix::process::getuid().as_raw() && found.nlink() == 1;
    if !found.is_file() || !own || found.len() > SECRET_BYTES_MAX {
        return Err(io::Error::other("it is no small file of this user's"));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn backup() -> Backup {
        Backup {
            id: "0123abcd".parse().unwrap(),
            app: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes"
                .parse()
                .unwrap(),
            release: Blake3Hash::of(b"release"),
            version: "1".to_owned(),
            taken: Timestamp::UNIX_EPOCH,
            bytes: 3,
        }
    }

    /// What came out of a good backup.
    fn unpacked() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let secrets = root.path().join("app-secrets");
        fs::create_dir(&secrets).unwrap();
        fs::write(secrets.join("key"), "value").unwrap();
        let backup = backup();
        let contents = Contents::new(
            backup.app,
            backup.release,
            backup.version,
            Settings::default(),
            backup.taken,
            true,
        );
        let papers = Papers {
            release: b"{}".to_vec(),
            keys: Some(b"[]".to_vec()),
        };
        let name: Slug = "key".parse().unwrap();
        let place = root.path().join("place");
        fs::create_dir_all(place.join(DATA).join("volume")).unwrap();
        write(&place, &contents, &papers, &secrets, &[&name]).unwrap();
        root
    }

    #[test]
    fn what_was_written_is_understood_and_closed_to_others() {
        let root = unpacked();
        let place = root.path().join("place");
        fs::set_permissions(place.join("secrets/key"), fs::Permissions::from_mode(0o666)).unwrap();
        let contents = unpack(&place, &backup(), &[]).unwrap();
        assert_eq!(contents.version, "1");
        let mut left = entries(&place, ".").unwrap();
        left.sort();
        assert_eq!(left, [DATA, SECRETS]);
        let mode = fs::metadata(place.join("secrets/key")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    type Spoil = fn(&Path);

    #[test]
    fn what_no_backup_has_is_refused() {
        let spoils: [(&str, Spoil); 11] = [
            ("no description", |p| {
                fs::remove_file(p.join("backup.json")).unwrap()
            }),
            ("no json", |p| {
                fs::write(p.join("backup.json"), "{").unwrap()
            }),
            ("another format", |p| {
                let text = fs::read_to_string(p.join("backup.json")).unwrap();
                fs::write(
                    p.join("backup.json"),
                    text.replace("\"format\": 1", "\"format\": 2"),
                )
                .unwrap();
            }),
            ("a description by link", |p| {
                fs::rename(p.join("backup.json"), p.join("data/b")).unwrap();
                symlink("data/b", p.join("backup.json")).unwrap();
            }),
            ("a huge description", |p| {
                let file = fs::File::options()
                    .write(true)
                    .open(p.join("backup.json"))
                    .unwrap();
                file.set_len(2 << 20).unwrap();
            }),
            ("desired state", |p| {
                fs::write(p.join("desired.json"), "{}").unwrap()
            }),
            ("no data", |p| fs::remove_dir_all(p.join("data")).unwrap()),
            ("data by link", |p| {
                fs::remove_dir_all(p.join("data")).unwrap();
                symlink("/etc", p.join("data")).unwrap();
            }),
            ("a secret by link", |p| {
                symlink("/etc/passwd", p.join("secrets/a")).unwrap()
            }),
            ("a secret that is a path", |p| {
                fs::write(p.join("secrets/.hidden"), "").unwrap()
            }),
            ("a secret with two names", |p| {
                fs::hard_link(p.join("secrets/key"), p.join("data/key")).unwrap();
            }),
        ];
        for (what, spoil) in spoils {
            let root = unpacked();
            let place = root.path().join("place");
            spoil(&place);
            assert!(unpack(&place, &backup(), &[]).is_err(), "{what}");
        }
    }

    #[test]
    fn data_may_be_missing_where_all_of_it_was_left_out() {
        let exclude = |glob: &str| [glob.to_owned()];
        for (glob, fits) in [("**", true), ("**/**", true), ("v/**", false)] {
            let root = unpacked();
            let place = root.path().join("place");
            fs::remove_dir_all(place.join(DATA)).unwrap();
            let found = unpack(&place, &backup(), &exclude(glob));
            assert_eq!(found.is_ok(), fits, "{glob}");
            assert_eq!(place.join(DATA).is_dir(), fits, "{glob}");
        }
    }

    #[test]
    fn a_backup_of_another_app_or_release_is_refused() {
        let root = unpacked();
        let other = Backup {
            release: Blake3Hash::of(b"other"),
            ..backup()
        };
        let refused = unpack(&root.path().join("place"), &other, &[]);
        assert!(matches!(refused, Err(TornError::Other { .. })));
    }
}
