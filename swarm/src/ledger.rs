//! Which blobs are held under which tags and which of them may be served; pure bookkeeping.

use std::collections::{BTreeMap, HashMap};

use archy_registry::Blake3Hash;
use serde::Serialize;

use crate::tag::Tag;

/// Why a blob is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// It is being fetched, for this node alone.
    Partial,
    /// It is being fetched, and what is here of it is served.
    PartialShared,
    /// It is complete and kept for this node alone.
    Kept,
    /// It is complete and served to whoever asks for it by hash.
    Shared,
}

impl Hold {
    pub(crate) const ALL: [Self; 4] =
        [Self::Partial, Self::PartialShared, Self::Kept, Self::Shared];

    /// Returns the name under which it is stored.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::PartialShared => "partial-shared",
            Self::Kept => "kept",
            Self::Shared => "shared",
        }
    }

    /// Tells whether all of the blob is here.
    pub(crate) fn is_whole(self) -> bool {
        matches!(self, Self::Kept | Self::Shared)
    }

    /// Tells whether others may have it.
    pub(crate) fn is_shared(self) -> bool {
        matches!(self, Self::PartialShared | Self::Shared)
    }

    /// Returns the same of a blob that is not all here.
    pub(crate) fn unfinished(self) -> Self {
        if self.is_shared() {
            Self::PartialShared
        } else {
            Self::Partial
        }
    }

    /// Returns the same, shared or not.
    pub(crate) fn sharing(self, share: bool) -> Self {
        match (self.is_whole(), share) {
            (true, true) => Self::Shared,
            (true, false) => Self::Kept,
            (false, true) => Self::PartialShared,
            (false, false) => Self::Partial,
        }
    }
}

/// One blob under one tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hold: Hold,
    pub(crate) size_bytes: u64,
}

/// What one tag holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TagUsage {
    /// The tag.
    pub tag: Tag,
    /// Number of blobs, incomplete ones included.
    pub blobs: usize,
    /// Their size when complete. A blob under two tags counts under both.
    pub size_bytes: u64,
    /// Whether every blob is complete.
    pub complete: bool,
    /// Whether any of them is served to other nodes.
    pub shared: bool,
}

/// Tags, their blobs and the set that may be served.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tags: BTreeMap<Tag, BTreeMap<Blake3Hash, Entry>>,
    /// Number of tags that share a blob.
    shared: HashMap<Blake3Hash, u32>,
    /// Whether nothing is served now.
    is_paused: bool,
}

impl Ledger {
    /// Records that `tag` holds `blob`, replacing what it said before.
    pub(crate) fn set(&mut self, tag: &Tag, blob: Blake3Hash, entry: Entry) {
        let before = self
            .tags
            .entry(tag.clone())
            .or_default()
            .insert(blob, entry);
        if entry.hold.is_shared() {
            *self.shared.entry(blob).or_default() += 1;
        }
        if before.is_some_and(|before| before.hold.is_shared()) {
            self.unshare(&blob);
        }
    }

    /// Forgets a tag and returns its blobs.
    pub(crate) fn remove(&mut self, tag: &Tag) -> BTreeMap<Blake3Hash, Entry> {
        let blobs = self.tags.remove(tag).unwrap_or_default();
        for (blob, entry) in &blobs {
            if entry.hold.is_shared() {
                self.unshare(blob);
            }
        }
        blobs
    }

    /// Says whether anyone may have this blob now.
    pub(crate) fn serves(&self, blob: &Blake3Hash) -> bool {
        !self.is_paused && self.shared.contains_key(blob)
    }

    /// Serves nothing for a while, or goes on.
    pub(crate) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Returns what a tag says of a blob.
    pub(crate) fn entry(&self, tag: &Tag, blob: &Blake3Hash) -> Option<Entry> {
        self.tags.get(tag)?.get(blob).copied()
    }

    /// Lists the blobs of a tag.
    pub(crate) fn blobs(&self, tag: &Tag) -> Vec<(Blake3Hash, Entry)> {
        self.tags
            .get(tag)
            .map(|blobs| blobs.iter().map(|(blob, entry)| (*blob, *entry)).collect())
            .unwrap_or_default()
    }

    /// Returns the length in bytes of a blob that is held.
    pub(crate) fn size(&self, blob: &Blake3Hash) -> Option<u64> {
        let mut tags = self.tags.values();
        tags.find_map(|blobs| blobs.get(blob))
            .map(|entry| entry.size_bytes)
    }

    /// Lists every held blob once, with its size.
    pub(crate) fn held(&self) -> HashMap<Blake3Hash, u64> {
        self.tags
            .values()
            .flatten()
            .map(|(blob, entry)| (*blob, entry.size_bytes))
            .collect()
    }

    /// Lists the tags in order.
    pub(crate) fn usage(&self) -> Vec<TagUsage> {
        self.tags
            .iter()
            .map(|(tag, blobs)| TagUsage {
                tag: tag.clone(),
                blobs: blobs.len(),
                size_bytes: blobs
                    .values()
                    .fold(0, |sum: u64, entry| sum.saturating_add(entry.size_bytes)),
                complete: blobs.values().all(|entry| entry.hold.is_whole()),
                shared: blobs.values().any(|entry| entry.hold.is_shared()),
            })
            .collect()
    }

    fn unshare(&mut self, blob: &Blake3Hash) {
        if let Some(count) = self.shared.get_mut(blob) {
            *count -= 1;
            if *count == 0 {
                self.shared.remove(blob);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hold() -> impl Strategy<Value = Hold> {
        proptest::sample::select(&Hold::ALL[..])
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u8, u8, Hold),
        Remove(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..3u8, 0..4u8, hold()).prop_map(|(tag, blob, hold)| Step::Set(tag, blob, hold)),
            1 => (0..3u8).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn a_blob_is_served_exactly_while_some_tag_shares_it(
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            let mut ledger = Ledger::default();
            let mut model: BTreeMap<(u8, u8), Hold> = BTreeMap::new();
            let tag = |n: u8| format!("t{n}").parse::<Tag>().unwrap();
            let blob = |n: u8| Blake3Hash::of(&[n]);
            for step in steps {
                match step {
                    Step::Set(t, b, hold) => {
                        ledger.set(&tag(t), blob(b), Entry { hold, size_bytes: 1 });
                        model.insert((t, b), hold);
                    }
                    Step::Remove(t) => {
                        ledger.remove(&tag(t));
                        model.retain(|(other, _), _| *other != t);
                    }
                }
                for b in 0..4u8 {
                    let expected = model.iter().any(|((_, other), hold)| *other == b && hold.is_shared());
                    prop_assert_eq!(ledger.serves(&blob(b)), expected);
                }
            }
        }
    }
}
