//! Finds the part of the earlier tar that looks most like a segment of the newer one; pure.
//!
//! Files in a tar begin at multiples of 512 bytes, so that a file that moved is still made of the same blocks. Of these
//! blocks a sample is remembered, chosen by content: the same ones on both sides.

use std::collections::HashMap;
use std::ops::Range;

use super::format::BASE_BYTES_MAX;

/// Length of a block in bytes.
pub(super) const BLOCK_BYTES: usize = 512;
/// Most blocks that are remembered, on average.
const SAMPLES: u64 = 1 << 18;
/// Fewer blocks in common than this say nothing.
const HITS_MIN: usize = 4;

/// A sample of the blocks of the earlier tar.
#[derive(Debug)]
pub(super) struct Index {
    size_bytes: u64,
    /// A block counts when its hash has these bits unset.
    mask: u64,
    /// Where a block is; `None` when it is in several places.
    blocks: HashMap<u64, Option<u64>>,
}

impl Index {
    /// Prepares for a tar of this length.
    pub(super) fn new(size_bytes: u64) -> Self {
        let each = (size_bytes / BLOCK_BYTES as u64).div_ceil(SAMPLES);
        Self {
            size_bytes,
            mask: each.max(16).next_power_of_two() - 1,
            blocks: HashMap::new(),
        }
    }

    /// Remembers blocks of the piece that begins at `offset`, a multiple of [`BLOCK_BYTES`].
    pub(super) fn add(&mut self, offset: u64, piece: &[u8]) {
        let mask = self.mask;
        for (hash, at) in sample(piece, mask) {
            self.blocks
                .entry(hash)
                .and_modify(|place| *place = None)
                .or_insert(Some(offset + at));
        }
    }

    /// Returns the range to build a segment on: it begins at `start_min` or later. The segment begins at `offset` of a tar
    /// of which the earlier one is thought to be the like.
    pub(super) fn locate(&self, offset: u64, segment: &[u8], start_min: u64) -> Range<u64> {
        let mut places: Vec<u64> = sample(segment, self.mask)
            .filter_map(|(hash, _)| *self.blocks.get(&hash)?)
            .filter(|place| *place >= start_min)
            .collect();
        places.sort_unstable();
        let (first, last) = densest(&places)
            .unwrap_or_else(|| (offset, offset.saturating_add(segment.len() as u64)));
        let length = (BASE_BYTES_MAX as u64).min(self.size_bytes);
        let slack = length.saturating_sub(last - first);
        let start = first
            .saturating_sub(slack / 2)
            .min(self.size_bytes - length)
            .max(start_min);
        start..(start + length).min(self.size_bytes)
    }
}

/// Lists the sampled blocks of a piece: hash and offset.
fn sample(piece: &[u8], mask: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    let block = move |(number, block): (usize, &[u8])| {
        let hash = blake3::hash(block);
        let (head, _) = hash.as_bytes().split_first_chunk()?;
        let hash = u64::from_le_bytes(*head);
        let at = (number * BLOCK_BYTES) as u64;
        (hash & mask == 0).then_some((hash, at))
    };
    piece
        .chunks_exact(BLOCK_BYTES)
        .enumerate()
        .filter_map(block)
}

/// Returns first and last of the sorted places that lie most densely within reach of one range.
fn densest(places: &[u64]) -> Option<(u64, u64)> {
    let reach = BASE_BYTES_MAX as u64;
    let mut best = 0..0;
    let mut first = 0;
    for last in 0..places.len() {
        while places[last] - places[first] > reach {
            first += 1;
        }
        if last + 1 - first > best.len() {
            best = first..last + 1;
        }
    }
    let found = &places[best];
    (found.len() >= HITS_MIN).then(|| (found[0], found[found.len() - 1]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Bytes that never repeat.
    fn noise(len: u64, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    fn index(tar: &[u8]) -> Index {
        let mut index = Index::new(tar.len() as u64);
        index.add(0, tar);
        index
    }

    #[test]
    fn what_moved_is_found_where_it_was() {
        let tar = noise(200 * MIB, 1);
        let index = index(&tar);
        let middle = 150 * MIB;
        let segment = &tar[usize::try_from(middle).unwrap()..][..16 * MIB as usize];
        let range = index.locate(2 * MIB, segment, 0);
        assert!(
            range.start <= middle && range.end >= middle + 16 * MIB,
            "{range:?}"
        );
        assert_eq!(range.end - range.start, BASE_BYTES_MAX as u64);

        let ahead = index.locate(2 * MIB, segment, middle + MIB);
        assert_eq!(ahead.start, middle + MIB, "never before where it may begin");
    }

    #[test]
    fn what_is_new_builds_on_its_own_place() {
        let index = index(&noise(200 * MIB, 1));
        let range = index.locate(100 * MIB, &noise(8 * MIB, 2), 0);
        assert!(
            range.start < 100 * MIB && range.end > 108 * MIB,
            "{range:?}"
        );
        let range = index.locate(500 * MIB, &noise(8 * MIB, 2), 0);
        assert_eq!(range, 200 * MIB - BASE_BYTES_MAX as u64..200 * MIB);
    }

    #[test]
    fn a_block_that_is_everywhere_is_nowhere() {
        let tar = vec![7; 200 * MIB as usize];
        let index = index(&tar);
        assert!(index.blocks.values().all(Option::is_none));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_range_lies_in_the_tar_and_never_goes_back(
            size_bytes in 0..10_000_000_000u64,
            offset in 0..20_000_000_000u64,
            from in 0..=1_000_000u64,
        ) {
            let start_min = size_bytes / 1_000_000 * from;
            let range = Index::new(size_bytes).locate(offset, &[1; 1000], start_min);
            prop_assert!(start_min <= range.start && range.start <= range.end);
            prop_assert!(range.end <= size_bytes);
            prop_assert!(range.end - range.start <= BASE_BYTES_MAX as u64);
        }
    }
}
