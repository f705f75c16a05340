//! Which `seq` each app's last release had, beside the keys: a number is used once, also by a publish that
//! fails half-way, and a node that forgot does not make it go back.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use archy_registry::{Blake3Hash, Slug};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// A release that was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The app.
    pub slug: Slug,
    /// Its counter.
    pub seq: u64,
    /// BLAKE3 of the release.
    pub release: Blake3Hash,
    /// When it was signed.
    pub signed: Timestamp,
}

/// The counters of one identity.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
}

impl Ledger {
    /// Names the counters beside the keys in `identity_dir`.
    pub fn new(identity_dir: &Path) -> Self {
        Self {
            dir: identity_dir.join("seq"),
        }
    }

    /// Returns the next number: one more than the highest that this machine used or the node saw.
    ///
    /// # Errors
    ///
    /// When the counter cannot be read.
    pub fn next(&self, slug: &Slug, seen: Option<u64>) -> Result<u64, Failure> {
        let path = self.dir.join(slug.as_str());
        let used = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                Failure::failed(
                    "ledger",
                    format!("{} does not hold a number", path.display()),
                )
                .hint("Write the seq of your newest release of this app into it")
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Failure::file("read", &path, &error)),
        };
        Ok(seen.unwrap_or(0).max(used) + 1)
    }

    /// Takes the next number, on disk before anything is signed with it.
    ///
    /// # Errors
    ///
    /// When the counter cannot be read or written.
    pub fn take(&self, slug: &Slug, seen: Option<u64>) -> Result<u64, Failure> {
        let seq = self.next(slug, seen)?;
        self.write(slug, seq)?;
        Ok(seq)
    }

    /// Makes sure that the next number is above `used`.
    ///
    /// # Errors
    ///
    /// When the counter cannot be read or written.
    pub fn raise(&self, slug: &Slug, used: u64) -> Result<(), Failure> {
        if self.next(slug, None)? <= used {
            self.write(slug, used)?;
        }
        Ok(())
    }

    fn write(&self, slug: &Slug, seq: u64) -> Result<(), Failure> {
        let write = || {
            std::fs::create_dir_all(&self.dir)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
            writeln!(file, "{seq}")?;
            file.as_file().sync_all()?;
            file.persist(self.dir.join(slug.as_str()))?;
            std::fs::File::open(&self.dir)?.sync_all()
        };
        write().map_err(|error| Failure::file("write to", &self.dir, &error))
    }

    /// Lists the apps that have a counter, in order.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn apps(&self) -> Result<Vec<Slug>, Failure> {
        let read = |error: std::io::Error| Failure::file("read", &self.dir, &error);
        let files = match std::fs::read_dir(&self.dir) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(read(error)),
        };
        let mut apps = Vec::new();
        for file in files {
            let name = file.map_err(read)?.file_name();
            apps.extend(name.to_str().and_then(|name| name.parse::<Slug>().ok()));
        }
        apps.sort();
        Ok(apps)
    }

    /// Notes a release that was announced.
    ///
    /// # Errors
    ///
    /// When the list cannot be written.
    pub fn note(&self, published: &Noted) -> Result<(), Failure> {
        let path = self.list();
        let write = || {
            let mut line = serde_json::to_vec(published)?;
            line.push(b'\n');
            let mut file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(&path)?;
            file.write_all(&line)?;
            file.sync_all()
        };
        write().map_err(|error: std::io::Error| Failure::file("write to", &path, &error))
    }

    /// Lists the releases that were announced from here, oldest first.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub fn noted(&self) -> Result<Vec<Noted>, Failure> {
        let path = self.list();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::file("read", &path, &error)),
        };
        // A line that a power cut left half is skipped.
        let noted = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(noted.collect())
    }

    fn list(&self) -> PathBuf {
        self.dir.with_file_name("releases.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, slug) = (Ledger::new(dir.path()), "notes".parse().unwrap());
        assert_eq!(ledger.next(&slug, None).unwrap(), 1);
        assert_eq!(ledger.take(&slug, None).unwrap(), 1);
        assert_eq!(ledger.take(&slug, None).unwrap(), 2);
        assert_eq!(ledger.take(&slug, Some(9)).unwrap(), 10);
        assert_eq!(Ledger::new(dir.path()).take(&slug, Some(3)).unwrap(), 11);
        assert_eq!(ledger.take(&"other".parse().unwrap(), None).unwrap(), 1);
        std::fs::write(dir.path().join("seq/notes"), "many").unwrap();
        assert_eq!(ledger.take(&slug, None).unwrap_err().kind, "ledger");
    }
}
