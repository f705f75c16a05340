//! Which blobs are held under which tags, what for, and which of them may be served; pure bookkeeping.
//!
//! This is the picture in memory of what [`Book`] keeps on disk.

mod book;
mod uploads;

use std::collections::{BTreeMap, HashMap, HashSet};

use archy_registry::Blake3Hash;
use archy_registry::release::Descriptor;
use serde::{Deserialize, Serialize};

pub(crate) use book::{Book, Change};
pub(crate) use uploads::{UploadTotals, today};

use crate::tag::Tag;

/// Seconds for which a use of a blob is not written down again.
const USE_NOTED_S: u64 = 60 * 60;

/// What a tag is kept for, and with that how soon it goes when room is needed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// An installed app: never goes by itself.
    Installed,
    /// This node is its origin: never goes by itself.
    Publishing,
    /// A version that was installed before, for going back to it: goes last.
    Previous,
    /// Anything that can be had again: goes first.
    #[default]
    Cache,
}

impl Class {
    pub(crate) const ALL: [Self; 4] = [
        Self::Installed,
        Self::Publishing,
        Self::Previous,
        Self::Cache,
    ];

    /// Returns the name under which it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Publishing => "publishing",
            Self::Previous => "previous",
            Self::Cache => "cache",
        }
    }

    /// Tells whether it may go by itself.
    pub(crate) fn may_go(self) -> bool {
        match self {
            Self::Installed | Self::Publishing => false,
            Self::Previous | Self::Cache => true,
        }
    }
}

/// What a blob is to its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Role {
    /// An image's manifest.
    Manifest,
    /// An image's configuration.
    Config,
    /// A layer as it is signed.
    Layer,
    /// A delta between layers.
    Delta,
    /// What was made of other blobs, such as a layer's tar.
    Variant,
    /// A release, an icon or a screenshot.
    Entry,
    /// Anything else.
    #[default]
    Other,
}

impl Role {
    pub(crate) const ALL: [Self; 7] = [
        Self::Manifest,
        Self::Config,
        Self::Layer,
        Self::Delta,
        Self::Variant,
        Self::Entry,
        Self::Other,
    ];

    /// Returns the name under which it is stored.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::Delta => "delta",
            Self::Variant => "variant",
            Self::Entry => "entry",
            Self::Other => "other",
        }
    }

    /// Tells whether the blob only saves fetching or making another one.
    pub(crate) fn is_shortcut(self) -> bool {
        match self {
            Self::Delta | Self::Variant => true,
            Self::Manifest | Self::Config | Self::Layer | Self::Entry | Self::Other => false,
        }
    }
}

impl From<&Descriptor> for Role {
    fn from(descriptor: &Descriptor) -> Self {
        if descriptor.diff_id.is_some() {
            Self::Layer
        } else if descriptor.media_type.contains("manifest") {
            Self::Manifest
        } else {
            Self::Config
        }
    }
}

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
    pub(crate) role: Role,
    pub(crate) size_bytes: u64,
    /// Seconds since 1970.
    pub(crate) first_held: u64,
    /// Seconds since 1970, coarse.
    pub(crate) last_used: u64,
}

/// One tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) class: Class,
    pub(crate) blobs: BTreeMap<Blake3Hash, Entry>,
}

/// What one tag holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TagUsage {
    /// The tag.
    pub tag: Tag,
    /// What it is kept for.
    pub class: Class,
    /// Number of blobs, incomplete ones included.
    pub blobs: usize,
    /// Their size when complete. A blob under two tags counts under both.
    pub size_bytes: u64,
    /// Whether every blob is complete.
    pub complete: bool,
    /// Whether any of them is served to other nodes.
    pub shared: bool,
}

/// What all tags together say of a blob.
#[derive(Debug, Default)]
struct Count {
    holders: Vec<Tag>,
    /// Number of tags that have it whole.
    whole: u32,
    /// Number of tags that share it.
    shared: u32,
    size_bytes: u64,
    /// When a use of it was noted last, in seconds since 1970.
    noted: u64,
}

impl Count {
    fn whole_bytes(&self) -> u64 {
        if self.whole > 0 { self.size_bytes } else { 0 }
    }
}

/// Tags, their blobs and the set that may be served.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tags: BTreeMap<Tag, Set>,
    blobs: HashMap<Blake3Hash, Count>,
    /// Size of the blobs that are whole, each counted once.
    whole_bytes: u64,
    /// Blobs that no tag has whole.
    unfinished: HashSet<Blake3Hash>,
    damaged: HashSet<Blake3Hash>,
    /// Rows whose last use is newer than on disk.
    used: HashSet<(Tag, Blake3Hash)>,
    uploads: UploadTotals,
    /// Whether nothing is served now.
    is_paused: bool,
    /// Tags, and fronts of tags, for which nothing is served now.
    refused: HashSet<Tag>,
}

impl Ledger {
    /// Records that `tag` holds `blob`, replacing what it said before.
    pub(crate) fn set(&mut self, tag: &Tag, blob: Blake3Hash, entry: Entry) {
        let set = self.tags.entry(tag.clone()).or_default();
        let before = set.blobs.insert(blob, entry);
        self.count(tag, blob, before, Some(entry));
    }

    /// Says what a tag is kept for; makes it when it is new.
    pub(crate) fn set_class(&mut self, tag: &Tag, class: Class) {
        self.tags.entry(tag.clone()).or_default().class = class;
    }

    /// Returns what a tag is kept for.
    pub(crate) fn class(&self, tag: &Tag) -> Option<Class> {
        self.tags.get(tag).map(|set| set.class)
    }

    /// Forgets a tag and returns its blobs.
    pub(crate) fn remove(&mut self, tag: &Tag) -> BTreeMap<Blake3Hash, Entry> {
        let blobs = self.tags.remove(tag).unwrap_or_default().blobs;
        for (blob, entry) in &blobs {
            self.count(tag, *blob, Some(*entry), None);
        }
        blobs
    }

    /// Forgets one blob of a tag, and the tag with its last one.
    pub(crate) fn remove_blob(&mut self, tag: &Tag, blob: &Blake3Hash) {
        let Some(set) = self.tags.get_mut(tag) else {
            return;
        };
        let gone = set.blobs.remove(blob);
        if set.blobs.is_empty() {
            self.tags.remove(tag);
        }
        self.count(tag, *blob, gone, None);
    }

    /// Notes that what is on disk of a blob is not what its hash says, or that it is gone.
    pub(crate) fn set_damaged(&mut self, blob: Blake3Hash, is_damaged: bool) {
        if is_damaged {
            self.damaged.insert(blob);
        } else {
            self.damaged.remove(&blob);
        }
    }

    /// Says whether what is on disk of a blob is bad.
    pub(crate) fn is_damaged(&self, blob: &Blake3Hash) -> bool {
        self.damaged.contains(blob)
    }

    /// Lists the blobs of which what is on disk is bad.
    pub(crate) fn damaged(&self) -> Vec<Blake3Hash> {
        self.damaged.iter().copied().collect()
    }

    /// Serves only what this node is the origin of for a while, or all again.
    pub(crate) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Serves nothing for these tags and for those that begin with one of them and a slash, and what this node is the
    /// origin of all the same.
    pub(crate) fn refuse(&mut self, tags: HashSet<Tag>) {
        self.refused = tags;
    }

    /// Says whether anyone may have this blob now.
    pub(crate) fn serves(&self, blob: &Blake3Hash) -> bool {
        let Some(count) = self.blobs.get(blob) else {
            return false;
        };
        if count.shared == 0 || self.damaged.contains(blob) {
            return false;
        }
        let is_limited = self.is_paused || !self.refused.is_empty();
        !is_limited || self.is_origin(blob) || !self.is_paused && self.is_offered(blob, count)
    }

    /// Says whether some tag that is not refused shares a blob.
    fn is_offered(&self, blob: &Blake3Hash, count: &Count) -> bool {
        let mut offering = count.holders.iter().filter(|tag| !self.is_refused(tag));
        offering.any(|tag| {
            let entry = self.tags.get(tag).and_then(|set| set.blobs.get(blob));
            entry.is_some_and(|entry| entry.hold.is_shared())
        })
    }

    fn is_refused(&self, tag: &Tag) -> bool {
        !self.refused.is_empty() && tag.fronts().any(|front| self.refused.contains(front))
    }

    /// Says whether this node is the origin of a blob that it shares: no limit holds for these.
    pub(crate) fn is_origin(&self, blob: &Blake3Hash) -> bool {
        let Some(count) = self.blobs.get(blob) else {
            return false;
        };
        let mut sets = count.holders.iter().filter_map(|tag| self.tags.get(tag));
        sets.any(|set| {
            let entry = set.blobs.get(blob);
            set.class == Class::Publishing && entry.is_some_and(|entry| entry.hold.is_shared())
        })
    }

    /// Returns what a tag says of a blob.
    pub(crate) fn entry(&self, tag: &Tag, blob: &Blake3Hash) -> Option<Entry> {
        self.tags.get(tag)?.blobs.get(blob).copied()
    }

    /// Lists the blobs of a tag.
    pub(crate) fn blobs(&self, tag: &Tag) -> Vec<(Blake3Hash, Entry)> {
        let set = self.tags.get(tag);
        set.map(|set| {
            set.blobs
                .iter()
                .map(|(blob, entry)| (*blob, *entry))
                .collect()
        })
        .unwrap_or_default()
    }

    /// Lists the tags that hold a blob, with what they say of it.
    pub(crate) fn holders(&self, blob: &Blake3Hash) -> Vec<(Tag, Class, Entry)> {
        let count = self.blobs.get(blob);
        let tags = count.into_iter().flat_map(|count| &count.holders);
        tags.filter_map(|tag| {
            let set = self.tags.get(tag)?;
            Some((tag.clone(), set.class, *set.blobs.get(blob)?))
        })
        .collect()
    }

    /// Returns the length in bytes of a blob that is held.
    pub(crate) fn size(&self, blob: &Blake3Hash) -> Option<u64> {
        self.blobs.get(blob).map(|count| count.size_bytes)
    }

    /// Says whether some tag has all of a blob.
    pub(crate) fn is_whole(&self, blob: &Blake3Hash) -> bool {
        let count = self.blobs.get(blob);
        count.is_some_and(|count| count.whole > 0) && !self.damaged.contains(blob)
    }

    /// Returns number and size of the held blobs, each counted once; those that are not whole with the size that
    /// they will have.
    pub(crate) fn totals(&self) -> (usize, u64) {
        let unfinished = self.unfinished.iter().filter_map(|blob| self.size(blob));
        let size_bytes = unfinished.fold(self.whole_bytes, u64::saturating_add);
        (self.blobs.len(), size_bytes)
    }

    /// Returns the size of the blobs that are whole, each counted once.
    pub(crate) fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// Returns the blobs that no tag has whole.
    pub(crate) fn unfinished(&self) -> &HashSet<Blake3Hash> {
        &self.unfinished
    }

    /// Lists the blobs of which some tag has all.
    pub(crate) fn whole(&self) -> Vec<(Blake3Hash, u64)> {
        let blobs = self.blobs.iter().filter(|(_, count)| count.whole > 0);
        blobs
            .map(|(blob, count)| (*blob, count.size_bytes))
            .collect()
    }

    /// Says whether some tag holds a blob.
    pub(crate) fn holds(&self, blob: &Blake3Hash) -> bool {
        self.blobs.contains_key(blob)
    }

    /// Lists the blobs that must stay on disk.
    pub(crate) fn protected(&self) -> HashSet<Blake3Hash> {
        let held = self.blobs.keys();
        held.filter(|blob| !self.damaged.contains(blob))
            .copied()
            .collect()
    }

    /// Returns all tags with their blobs.
    pub(crate) fn sets(&self) -> &BTreeMap<Tag, Set> {
        &self.tags
    }

    /// Lists the tags in order.
    pub(crate) fn usage(&self) -> Vec<TagUsage> {
        self.tags
            .iter()
            .map(|(tag, set)| TagUsage {
                tag: tag.clone(),
                class: set.class,
                blobs: set.blobs.len(),
                size_bytes: set
                    .blobs
                    .values()
                    .fold(0, |sum: u64, entry| sum.saturating_add(entry.size_bytes)),
                complete: set
                    .blobs
                    .iter()
                    .all(|(blob, entry)| entry.hold.is_whole() && !self.damaged.contains(blob)),
                shared: set.blobs.values().any(|entry| entry.hold.is_shared()),
            })
            .collect()
    }

    /// Notes that a blob was used, under whatever tags.
    pub(crate) fn touch(&mut self, blob: &Blake3Hash, now: u64) {
        let Some(count) = self.blobs.get_mut(blob) else {
            return;
        };
        if count.noted.saturating_add(USE_NOTED_S) >= now {
            return;
        }
        count.noted = now;
        for tag in &count.holders {
            let set = self.tags.get_mut(tag);
            if let Some(entry) = set.and_then(|set| set.blobs.get_mut(blob)) {
                entry.last_used = entry.last_used.max(now);
                self.used.insert((tag.clone(), *blob));
            }
        }
    }

    /// Takes the uses that are not written down yet.
    pub(crate) fn take_used(&mut self) -> Vec<(Tag, Blake3Hash, u64)> {
        let used = std::mem::take(&mut self.used);
        used.into_iter()
            .filter_map(|(tag, blob)| {
                let last_used = self.entry(&tag, &blob)?.last_used;
                Some((tag, blob, last_used))
            })
            .collect()
    }

    /// Notes that bytes of a blob were sent to another node.
    ///
    /// They count for one tag: the one that is kept for the best reason.
    pub(crate) fn note_upload(&mut self, blob: &Blake3Hash, bytes: u64, day: u32) {
        if bytes == 0 {
            return;
        }
        let holders = self.holders(blob).into_iter();
        let sharing = holders.filter(|(_, _, entry)| entry.hold.is_shared());
        let best = sharing.min_by_key(|(tag, class, _)| (self.is_refused(tag), *class));
        if let Some((tag, ..)) = best {
            self.uploads.note(&tag, bytes, day);
        }
    }

    /// Returns what was sent to other nodes and is written down or will be.
    pub(crate) fn uploads(&mut self) -> &mut UploadTotals {
        &mut self.uploads
    }

    /// Keeps the sums up to date when a row changes.
    fn count(&mut self, tag: &Tag, blob: Blake3Hash, before: Option<Entry>, now: Option<Entry>) {
        let count = self.blobs.entry(blob).or_default();
        self.whole_bytes -= count.whole_bytes();
        if let Some(before) = before {
            count.whole -= u32::from(before.hold.is_whole());
            count.shared -= u32::from(before.hold.is_shared());
        }
        if let Some(now) = now {
            count.whole += u32::from(now.hold.is_whole());
            count.shared += u32::from(now.hold.is_shared());
            if now.hold.is_whole() || count.whole == 0 {
                count.size_bytes = now.size_bytes;
            }
        }
        match (before, now) {
            (None, Some(_)) => count.holders.push(tag.clone()),
            (Some(_), None) => count.holders.retain(|holder| holder != tag),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.whole_bytes += count.whole_bytes();
        let (is_held, is_whole) = (!count.holders.is_empty(), count.whole > 0);
        if !is_held {
            self.blobs.remove(&blob);
        }
        if is_held && !is_whole {
            self.unfinished.insert(blob);
        } else {
            self.unfinished.remove(&blob);
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

    #[test]
    fn a_refused_tag_offers_nothing_that_no_other_tag_offers() {
        let tag = |text: &str| text.parse::<Tag>().unwrap();
        let (own, shared, published) = (
            Blake3Hash::of(b"own"),
            Blake3Hash::of(b"shared"),
            Blake3Hash::of(b"published"),
        );
        let mut ledger = Ledger::default();
        let entry = Entry {
            hold: Hold::Shared,
            role: Role::Other,
            size_bytes: 1,
            first_held: 0,
            last_used: 0,
        };
        for (name, blob) in [
            ("app/a/1", own),
            ("app/a/1", shared),
            ("app/b/1", shared),
            ("app/a/1", published),
            ("release/a/1", published),
        ] {
            ledger.set(&tag(name), blob, entry);
        }
        ledger.set_class(&tag("release/a/1"), Class::Publishing);
        let served = |ledger: &Ledger| [own, shared, published].map(|blob| ledger.serves(&blob));
        assert_eq!(served(&ledger), [true; 3]);
        for (refused, expected) in [
            (vec!["app/a/1"], [false, true, true]),
            (vec!["app/a"], [false, true, true]),
            (vec!["app/a/1", "app/b"], [false, false, true]),
            (vec!["app", "release"], [false, false, true]),
            // Only what is before a slash is a front.
            (vec!["app/a/", "app/a/11", "ap", "pp/a"], [true; 3]),
            (vec![], [true; 3]),
        ] {
            ledger.refuse(refused.iter().map(|name| tag(name)).collect());
            assert_eq!(served(&ledger), expected, "{refused:?}");
        }
        ledger.refuse(HashSet::from([tag("app/a")]));
        ledger.pause(true);
        assert_eq!(served(&ledger), [false, false, true]);
        // What is sent counts for the tag for which it is sent.
        ledger.pause(false);
        ledger.note_upload(&shared, 5, 1);
        assert_eq!(ledger.uploads().of(&tag("app/b/1")), 5);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u8, u8, Hold),
        RemoveBlob(u8, u8),
        Remove(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..3u8, 0..4u8, hold()).prop_map(|(tag, blob, hold)| Step::Set(tag, blob, hold)),
            1 => (0..3u8, 0..4u8).prop_map(|(tag, blob)| Step::RemoveBlob(tag, blob)),
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
                        let entry = Entry { hold, role: Role::Other, size_bytes: 1, first_held: 0, last_used: 0 };
                        ledger.set(&tag(t), blob(b), entry);
                        model.insert((t, b), hold);
                    }
                    Step::RemoveBlob(t, b) => {
                        ledger.remove_blob(&tag(t), &blob(b));
                        model.remove(&(t, b));
                    }
                    Step::Remove(t) => {
                        ledger.remove(&tag(t));
                        model.retain(|(other, _), _| *other != t);
                    }
                }
                for b in 0..4u8 {
                    let expected = model.iter().any(|((_, other), hold)| *other == b && hold.is_shared());
                    prop_assert_eq!(ledger.serves(&blob(b)), expected);
                    let mut of_blob = model.iter().filter(|((_, other), _)| *other == b).peekable();
                    prop_assert_eq!(ledger.holds(&blob(b)), of_blob.peek().is_some());
                    let whole = of_blob.any(|(_, hold)| hold.is_whole());
                    prop_assert_eq!(ledger.is_whole(&blob(b)), whole);
                    prop_assert_eq!(ledger.unfinished().contains(&blob(b)), ledger.holds(&blob(b)) && !whole);
                }
                prop_assert_eq!(ledger.whole_bytes(), ledger.whole().len() as u64);
            }
        }
    }
}
