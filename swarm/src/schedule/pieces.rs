//! Sets of pieces, one bit each.

use std::ops::Range;

/// A set of piece numbers below a fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    words: Vec<u64>,
    len: u32,
}

impl Pieces {
    pub(super) fn none(len: u32) -> Self {
        Self {
            words: vec![0; len.div_ceil(64) as usize],
            len,
        }
    }

    pub(super) fn contains(&self, piece: u32) -> bool {
        piece < self.len && self.words[piece as usize / 64] & (1 << (piece % 64)) != 0
    }

    /// Adds a piece; says whether it was missing.
    pub(super) fn insert(&mut self, piece: u32) -> bool {
        let (word, bit) = (&mut self.words[piece as usize / 64], 1 << (piece % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Takes a piece out; says whether it was there.
    pub(super) fn remove(&mut self, piece: u32) -> bool {
        let (word, bit) = (&mut self.words[piece as usize / 64], 1 << (piece % 64));
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.within(0..self.len)
    }

    pub(super) fn within(&self, range: Range<u32>) -> impl Iterator<Item = u32> + '_ {
        ones(&self.words, None, range)
    }

    /// Lists the pieces of a range that both sets have, in order.
    pub(super) fn common<'a>(
        &'a self,
        other: &'a Self,
        range: Range<u32>,
    ) -> impl Iterator<Item = u32> + 'a {
        ones(&self.words, Some(&other.words), range)
    }
}

fn ones<'a>(
    words: &'a [u64],
    and: Option<&'a [u64]>,
    range: Range<u32>,
) -> impl Iterator<Item = u32> + 'a {
    let first = range.start as usize / 64;
    let last = (range.end.div_ceil(64) as usize).min(words.len());
    (first..last.max(first)).flat_map(move |at| {
        let mut word = words[at] & and.map_or(u64::MAX, |and| and[at]);
        let base = u32::try_from(at * 64).unwrap_or(u32::MAX);
        if base < range.start {
            word &= u64::MAX << (range.start - base);
        }
        if range.end - base < 64 {
            word &= (1 << (range.end - base)) - 1;
        }
        std::iter::from_fn(move || {
            if word == 0 {
                return None;
            }
            let bit = word.trailing_zeros();
            word &= word - 1;
            Some(base + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(
            len in 1..300_u32,
            one in proptest::collection::vec(0..300_u32, 0..80),
            two in proptest::collection::vec(0..300_u32, 0..80),
            gone in proptest::collection::vec(0..300_u32, 0..20),
            range in (0..300_u32, 0..300_u32),
        ) {
            let mut set = Pieces::none(len);
            let mut model = BTreeSet::new();
            for piece in one.into_iter().filter(|piece| *piece < len) {
                prop_assert_eq!(set.insert(piece), model.insert(piece));
            }
            for piece in gone.into_iter().filter(|piece| *piece < len) {
                prop_assert_eq!(set.remove(piece), model.remove(&piece));
            }
            let mut other = Pieces::none(len);
            for piece in two.into_iter().filter(|piece| *piece < len) {
                other.insert(piece);
            }
            let range = range.0.min(len)..range.1.min(len);
            prop_assert!(set.iter().eq(model.iter().copied()));
            let within = |piece: &u32| range.contains(piece);
            prop_assert!(set.within(range.clone()).eq(model.iter().copied().filter(within)));
            let both: Vec<u32> = set.common(&other, range.clone()).collect();
            let expected: Vec<u32> = model.iter().copied().filter(within).filter(|piece| other.contains(*piece)).collect();
            prop_assert_eq!(both, expected);
        }
    }
}
