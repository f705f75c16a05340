//! From where blobs are being read while they arrive, so that what comes next is fetched first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use archy_registry::Blake3Hash;
use tokio::sync::watch;

/// Readers by blob, and where each of them is.
type Positions = HashMap<Blake3Hash, Vec<(u64, u64)>>;

/// All who read a blob that is not whole. Clones share one list.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    positions: Mutex<(Positions, u64)>,
    changed: watch::Sender<()>,
}

impl Default for Readers {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                positions: Mutex::default(),
                changed: watch::channel(()).0,
            }),
        }
    }
}

impl Readers {
    /// Enters a reader at the start of what it wants; it leaves when the value is dropped.
    pub(crate) fn enter(&self, blob: Blake3Hash, at: u64) -> Reader {
        let mut positions = self.lock();
        positions.1 += 1;
        let number = positions.1;
        positions.0.entry(blob).or_default().push((number, at));
        drop(positions);
        self.inner.changed.send_replace(());
        Reader {
            readers: self.clone(),
            blob,
            number,
        }
    }

    /// Returns the byte that the hindmost reader of a blob waits for.
    pub(crate) fn position(&self, blob: &Blake3Hash) -> Option<u64> {
        let positions = self.lock();
        positions.0.get(blob)?.iter().map(|(_, at)| *at).min()
    }

    /// Returns a receiver that changes when a reader comes, moves or goes.
    pub(crate) fn changed(&self) -> watch::Receiver<()> {
        self.inner.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, (Positions, u64)> {
        let positions = self.inner.positions.lock();
        positions.unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who reads a blob.
#[derive(Debug)]
pub(crate) struct Reader {
    readers: Readers,
    blob: Blake3Hash,
    number: u64,
}

impl Reader {
    /// Says which byte is waited for now.
    pub(crate) fn move_to(&self, at: u64) {
        let mut positions = self.readers.lock();
        let of_blob = positions.0.entry(self.blob).or_default();
        for (number, position) in of_blob {
            if *number == self.number {
                *position = at;
            }
        }
        drop(positions);
        self.readers.inner.changed.send_replace(());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut positions = self.readers.lock();
        if let Some(of_blob) = positions.0.get_mut(&self.blob) {
            of_blob.retain(|(number, _)| *number != self.number);
            if of_blob.is_empty() {
                positions.0.remove(&self.blob);
            }
        }
        drop(positions);
        self.readers.inner.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hindmost_reader_counts_and_those_who_left_do_not() {
        let readers = Readers::default();
        let mut changed = readers.changed();
        let blob = Blake3Hash::of(b"a");
        assert_eq!(readers.position(&blob), None);
        let one = readers.enter(blob, 10);
        let two = readers.enter(blob, 20);
        one.move_to(30);
        assert_eq!(readers.position(&blob), Some(20));
        assert!(changed.has_changed().unwrap());
        drop(two);
        assert_eq!(readers.position(&blob), Some(30));
        drop(one);
        assert_eq!(readers.position(&blob), None);
        changed.mark_unchanged();
        assert!(!changed.has_changed().unwrap());
    }
}
