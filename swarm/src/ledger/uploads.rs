//! What was sent to other nodes, by day and tag; pure bookkeeping.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::tag::Tag;

const DAY_S: u64 = 24 * 60 * 60;

/// Sums of bytes, and which of them are not written down yet.
#[derive(Debug, Default)]
pub(crate) struct UploadTotals {
    by_tag: HashMap<Tag, u64>,
    by_day: BTreeMap<u32, u64>,
    unwritten: BTreeMap<(u32, Tag), u64>,
}

impl UploadTotals {
    /// Takes in what was written down before.
    pub(crate) fn restore(&mut self, tag: &Tag, bytes: u64, day: u32) {
        let of_tag = self.by_tag.entry(tag.clone()).or_default();
        *of_tag = of_tag.saturating_add(bytes);
        let of_day = self.by_day.entry(day).or_default();
        *of_day = of_day.saturating_add(bytes);
    }

    pub(super) fn note(&mut self, tag: &Tag, bytes: u64, day: u32) {
        self.restore(tag, bytes, day);
        let unwritten = self.unwritten.entry((day, tag.clone())).or_default();
        *unwritten = unwritten.saturating_add(bytes);
    }

    /// Returns the bytes sent for a tag, in all.
    pub(crate) fn of(&self, tag: &Tag) -> u64 {
        self.by_tag.get(tag).copied().unwrap_or(0)
    }

    /// Lists the bytes sent for every tag that there ever was, in all.
    pub(crate) fn by_tag(&self) -> Vec<(Tag, u64)> {
        let sums = self.by_tag.iter();
        sums.map(|(tag, bytes)| (tag.clone(), *bytes)).collect()
    }

    /// Returns the bytes sent on a day and later.
    pub(crate) fn since(&self, day: u32) -> u64 {
        self.by_day
            .range(day..)
            .fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Takes what is not written down yet.
    pub(crate) fn take_unwritten(&mut self) -> BTreeMap<(u32, Tag), u64> {
        std::mem::take(&mut self.unwritten)
    }

    /// Gives back what could not be written down.
    pub(crate) fn put_back(&mut self, unwritten: BTreeMap<(u32, Tag), u64>) {
        for (key, bytes) in unwritten {
            let sum = self.unwritten.entry(key).or_default();
            *sum = sum.saturating_add(bytes);
        }
    }
}

/// Returns the number of days since 1970-01-01, in UTC.
pub(crate) fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let days = since.map_or(0, |since| since.as_secs() / DAY_S);
    u32::try_from(days).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_add_up_by_tag_and_by_day() {
        let (a, b): (Tag, Tag) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut uploads = UploadTotals::default();
        uploads.restore(&a, 10, 1);
        uploads.note(&a, 5, 2);
        uploads.note(&b, 7, 2);
        uploads.note(&b, 1, 3);
        assert_eq!((uploads.of(&a), uploads.of(&b)), (15, 8));
        assert_eq!((uploads.since(2), uploads.since(3)), (13, 1));
        let mut by_tag = uploads.by_tag();
        by_tag.sort();
        assert_eq!(by_tag, [(a.clone(), 15), (b.clone(), 8)]);
        let unwritten = uploads.take_unwritten();
        assert_eq!(unwritten.len(), 3, "what was read is not written again");
        uploads.put_back(unwritten);
        uploads.note(&b, 1, 3);
        assert_eq!(uploads.take_unwritten()[&(3, b)], 2);
    }
}
