//! The newest signed release of each app, beside the keys: what `archy announce` announces again.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use archy_registry::Slug;

use crate::failure::Failure;

/// The newest releases of one identity.
#[derive(Debug)]
pub struct Kept {
    dir: PathBuf,
}

impl Kept {
    /// Names the releases beside the keys in `identity_dir`.
    pub fn new(identity_dir: &Path) -> Self {
        Self {
            dir: identity_dir.join("releases"),
        }
    }

    /// Keeps the bytes of a release instead of the app's earlier one.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn keep(&self, slug: &Slug, release: &[u8]) -> Result<(), Failure> {
        let write = || {
            std::fs::create_dir_all(&self.dir)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
            file.write_all(release)?;
            file.as_file().sync_all()?;
            file.persist(self.path(slug))?;
            std::fs::File::open(&self.dir)?.sync_all()
        };
        write().map_err(|error| Failure::file("write to", &self.dir, &error))
    }

    /// Returns the bytes of an app's newest release.
    ///
    /// # Errors
    ///
    /// When this identity has published no such app from this machine.
    pub fn release(&self, slug: &Slug) -> Result<Vec<u8>, Failure> {
        let path = self.path(slug);
        std::fs::read(&path).map_err(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                return Failure::file("read", &path, &error);
            }
            Failure::not_found(format!(
                "{slug} was not published from this machine with these keys"
            ))
            .hint("`archy publish` publishes it; --identity names other keys")
        })
    }

    /// Lists the apps in order of their names.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn slugs(&self) -> Result<Vec<Slug>, Failure> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::file("read", &self.dir, &error)),
        };
        let mut slugs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Failure::file("read", &self.dir, &error))?;
            let name = entry.file_name();
            // Other files are temporary, or not ours.
            let slug = name.to_str().and_then(|name| name.strip_suffix(".json"));
            slugs.extend(slug.and_then(|slug| slug.parse::<Slug>().ok()));
        }
        slugs.sort_unstable();
        Ok(slugs)
    }

    fn path(&self, slug: &Slug) -> PathBuf {
        self.dir.join(format!("{slug}.json"))
    }
}
