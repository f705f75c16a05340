//! The owner's two ordered lists, as `registries.json` keeps them: registries of apps, and of images.
//!
//! Changes are pure; [`Lists::save`] puts them on disk whole or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use archy_registry::{Did, Slug};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::location::Location;
use super::oci::OciRegistry;
use crate::api::types::Problem;

/// Most entries of one list.
pub(super) const ENTRIES_MAX: usize = 64;
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Both lists, first choice first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Lists {
    /// Registries of apps.
    pub(super) registries: Vec<Registry>,
    /// Registries of images.
    pub(super) oci: Vec<OciRegistry>,
}

/// A registry of apps and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Registry {
    /// This node's name for it.
    pub(super) name: Slug,
    /// Where its catalog is.
    pub(super) url: Location,
    /// Who signs it, pinned when it was added.
    pub(super) operator: Did,
    /// How long a fetched catalog is not asked for again.
    pub(super) ttl_seconds: u32,
    /// When it was last asked.
    #[serde(default)]
    pub(super) last_try: Option<Timestamp>,
    /// When it last answered with a catalog that holds.
    #[serde(default)]
    pub(super) last_fetch: Option<Timestamp>,
    /// Failures since.
    #[serde(default)]
    pub(super) failures: u32,
    /// Why the last try failed.
    #[serde(default)]
    pub(super) last_error: Option<Problem>,
    /// What names the catalog that was taken: an ETag, or a file's time and length.
    #[serde(default)]
    pub(super) etag: Option<String>,
    /// The catalog that was taken.
    #[serde(default)]
    pub(super) catalog: Option<Taken>,
}

/// A catalog that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Taken {
    /// What its operator calls it.
    pub(super) name: String,
    /// Its counter.
    pub(super) seq: u64,
    /// When it was signed.
    pub(super) created: Timestamp,
    /// Until when it is news.
    pub(super) expires: Timestamp,
    /// Releases in it.
    pub(super) releases: u32,
    /// Of those, how many were refused here.
    pub(super) refused: u32,
}

/// The lists could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not hold the lists of registries; mend it, or move it away to begin anew")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A change to a list is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChangeError {
    /// Two of one name.
    #[error("there is a registry named {0} already")]
    Taken(Slug),
    /// The same place twice.
    #[error("{1} is in the list already, as {0}")]
    Twice(Slug, String),
    /// No such name.
    #[error("there is no registry named {0}")]
    Unknown(String),
    /// Too many.
    #[error("a list holds at most {ENTRIES_MAX} registries")]
    Full,
}

/// What both lists' entries have.
pub(super) trait Named {
    /// This node's name for it.
    fn name(&self) -> &Slug;
    /// Where it is.
    fn place(&self) -> String;
}

impl Named for Registry {
    fn name(&self) -> &Slug {
        &self.name
    }

    fn place(&self) -> String {
        self.url.to_string()
    }
}

impl Registry {
    /// Returns when the catalog is to be asked for next: after its TTL, or after a wait that doubles with
    /// every failure and never exceeds the TTL.
    pub(super) fn due(&self, retry_first_s: u32) -> Timestamp {
        let Some(last) = self.last_try else {
            return Timestamp::UNIX_EPOCH;
        };
        let wait_s = match self.failures {
            0 => self.ttl_seconds,
            failures => retry_first_s
                .saturating_mul(2_u32.saturating_pow(failures.min(16) - 1))
                .min(self.ttl_seconds),
        };
        last.checked_add(jiff::SignedDuration::from_secs(i64::from(wait_s)))
            .unwrap_or(Timestamp::MAX)
    }
}

/// Adds an entry at `position` (from 1; the end without one).
pub(super) fn add<T: Named>(
    list: &mut Vec<T>,
    entry: T,
    position: Option<u32>,
) -> Result<(), ChangeError> {
    if list.len() >= ENTRIES_MAX {
        return Err(ChangeError::Full);
    }
    for known in &*list {
        if known.name() == entry.name() {
            return Err(ChangeError::Taken(entry.name().clone()));
        }
        if known.place() == entry.place() {
            return Err(ChangeError::Twice(known.name().clone(), known.place()));
        }
    }
    list.insert(index(list.len(), position), entry);
    Ok(())
}

/// Removes the entry of that name.
pub(super) fn remove<T: Named>(list: &mut Vec<T>, name: &str) -> Result<T, ChangeError> {
    Ok(list.remove(find(list, name)?))
}

/// Puts the entry of that name at `position`, from 1.
pub(super) fn move_to<T: Named>(
    list: &mut Vec<T>,
    name: &str,
    position: u32,
) -> Result<(), ChangeError> {
    let entry = remove(list, name)?;
    list.insert(index(list.len(), Some(position)), entry);
    Ok(())
}

/// Finds the entry of that name.
pub(super) fn find<T: Named>(list: &[T], name: &str) -> Result<usize, ChangeError> {
    list.iter()
        .position(|entry| entry.name().as_str() == name)
        .ok_or_else(|| ChangeError::Unknown(name.chars().take(80).collect()))
}

fn index(length: usize, position: Option<u32>) -> usize {
    position.map_or(length, |position| {
        (position.max(1) as usize - 1).min(length)
    })
}

impl Lists {
    /// Reads the lists; empty ones when there is no file.
    pub(super) fn load(path: &Path) -> Result<Self, ListError> {
        let read = |source| ListError::Read {
            path: path.to_owned(),
            source,
        };
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                return Err(read(std::io::Error::other("it is too large")));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(read(error)),
        }
        let bytes = std::fs::read(path).map_err(read)?;
        serde_json::from_slice(&bytes).map_err(|source| ListError::Parse {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes the lists, readable for their owner only.
    pub(super) fn save(&self, path: &Path) -> Result<(), ListError> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            writeln!(file)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            std::fs::File::open(dir)?.sync_all()
        };
        write().map_err(|source| ListError::Write {
            path: path.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(name: &str) -> Registry {
        Registry {
            name: name.parse().unwrap(),
            url: format!("/srv/{name}.json").parse().unwrap(),
            operator: archy_registry::SigningKey::from_seed(&[1; 32]).did(),
            ttl_seconds: 3600,
            last_try: None,
            last_fetch: None,
            failures: 0,
            last_error: None,
            etag: None,
            catalog: None,
        }
    }

    fn names(list: &[Registry]) -> Vec<&str> {
        list.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn the_order_is_the_owners() {
        let mut list = Vec::new();
        for name in ["a", "b", "c"] {
            add(&mut list, registry(name), None).unwrap();
        }
        add(&mut list, registry("d"), Some(1)).unwrap();
        assert_eq!(names(&list), ["d", "a", "b", "c"]);
        move_to(&mut list, "d", 3).unwrap();
        assert_eq!(names(&list), ["a", "b", "d", "c"]);
        move_to(&mut list, "a", 99).unwrap();
        move_to(&mut list, "c", 0).unwrap();
        assert_eq!(names(&list), ["c", "b", "d", "a"]);
        assert_eq!(remove(&mut list, "b").unwrap().name.as_str(), "b");
        assert_eq!(
            remove(&mut list, "b").unwrap_err(),
            ChangeError::Unknown("b".to_owned())
        );
        let mut same_place = registry("e");
        same_place.url = list[0].url.clone();
        assert!(matches!(
            add(&mut list, same_place, None),
            Err(ChangeError::Twice(..))
        ));
        assert!(matches!(
            add(&mut list, registry("a"), None),
            Err(ChangeError::Taken(_))
        ));
        for n in list.len()..ENTRIES_MAX {
            add(&mut list, registry(&format!("n{n}")), None).unwrap();
        }
        assert_eq!(add(&mut list, registry("z"), None), Err(ChangeError::Full));
    }

    #[test]
    fn failures_wait_longer_and_never_longer_than_the_ttl() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let mut entry = registry("a");
        assert!(entry.due(60) < now);
        entry.last_try = Some(now);
        let waits = |entry: &Registry| entry.due(60).duration_since(now).as_secs();
        assert_eq!(waits(&entry), 3600);
        let after = |failures| {
            waits(&Registry {
                failures,
                ..entry.clone()
            })
        };
        assert_eq!([1, 2, 3, 7, 60].map(after), [60, 120, 240, 3600, 3600]);
    }

    #[test]
    fn what_is_saved_is_loaded_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registries.json");
        assert_eq!(Lists::load(&path).unwrap(), Lists::default());
        let mut lists = Lists::default();
        add(&mut lists.registries, registry("a"), None).unwrap();
        lists.save(&path).unwrap();
        assert_eq!(Lists::load(&path).unwrap(), lists);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "{\"registrys\": []}").unwrap();
        assert!(matches!(Lists::load(&path), Err(ListError::Parse { .. })));
    }
}
