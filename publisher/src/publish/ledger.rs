//! Which `seq` each app's last release had, beside the keys: a number is used once, also by a publish that
//! fails half-way, and a node that forgot does not make it go back.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use archy_registry::Slug;

use crate::failure::Failure;

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
        let write = || {
            std::fs::create_dir_all(&self.dir)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
            writeln!(file, "{seq}")?;
            file.as_file().sync_all()?;
            file.persist(self.dir.join(slug.as_str()))?;
            std::fs::File::open(&self.dir)?.sync_all()
        };
        write().map_err(|error| Failure::file("write to", &self.dir, &error))?;
        Ok(seq)
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
