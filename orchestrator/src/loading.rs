//! Names of images that came in for an install that has not begun yet, on disk: a killed node finds and removes them. And
//! what of images goes while others come.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use archy_registry::Slug;

use crate::disk;

/// The notes of one data directory.
#[derive(Debug, Clone)]
pub(crate) struct Loading {
    directory: PathBuf,
}

impl Loading {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            directory: data_dir.join("loading"),
        }
    }

    /// Notes a name before the image gets it.
    pub(crate) fn note(&self, app: &Slug, name: &str) -> io::Result<()> {
        let mut names = self.names(app);
        if names.iter().any(|known| known == name) {
            return Ok(());
        }
        names.push(name.to_owned());
        disk::create_private_dir(&self.directory)?;
        let text = names.join("\n");
        disk::replace(&self.directory.join(app.as_str()), text.as_bytes(), 0o600)
    }

    /// Lists the names noted for an app.
    pub(crate) fn names(&self, app: &Slug) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join(app.as_str())).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Lists the apps that have notes.
    pub(crate) fn apps(&self) -> Vec<Slug> {
        let entries = std::fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let apps = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        apps.collect()
    }

    /// Drops the notes: the images belong to an installed app, or are gone.
    pub(crate) fn settle(&self, app: &Slug) -> io::Result<()> {
        disk::remove_file(&self.directory.join(app.as_str()))
    }
}

/// Counts the removals of images. podman lets an image that comes in rest on layers that it has, and one that goes may take
/// them along meanwhile: then what came in has to come once more.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A removal under way.
#[derive(Debug)]
pub(crate) struct Removal<'a>(&'a Removals);

/// A moment between removals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(u64);

impl Removals {
    /// A removal begins; it ends when what is returned is dropped.
    pub(crate) fn begin(&self) -> Removal<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Removal(self)
    }

    /// Marks this moment.
    pub(crate) fn now(&self) -> Moment {
        Moment(self.ended.load(Ordering::SeqCst))
    }

    /// Says whether a removal was under way at any time since.
    pub(crate) fn any_since(&self, moment: Moment) -> bool {
        self.begun.load(Ordering::SeqCst) > moment.0
    }
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_noted_once_and_settled() {
        let root = tempfile::tempdir().unwrap();
        let loading = Loading::new(root.path());
        let app: Slug = "a".parse().unwrap();
        assert!(loading.apps().is_empty());
        for name in ["x:1", "y:2", "x:1"] {
            loading.note(&app, name).unwrap();
        }
        assert_eq!(loading.names(&app), ["x:1", "y:2"]);
        assert_eq!(loading.apps(), std::slice::from_ref(&app));
        loading.settle(&app).unwrap();
        loading.settle(&app).unwrap();
        assert!(loading.apps().is_empty());
    }

    #[test]
    fn a_removal_counts_for_every_load_that_it_overlaps() {
        let removals = Removals::default();
        let before = removals.now();
        assert!(!removals.any_since(before));
        let removal = removals.begin();
        let during = removals.now();
        assert!(removals.any_since(before) && removals.any_since(during));
        drop(removal);
        let after = removals.now();
        assert!(removals.any_since(before) && removals.any_since(during));
        assert!(!removals.any_since(after));
    }
}
