//! Sets of pieces, one bit each.

use std::ops::Range;

/// A set of piece numbers below a fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    words: Box<[u64]>,
    len: u32,
}

impl Pieces {
    pub(super) fn none(len: u32) -> Self {
        Self {
            words: vec![0; len.div_ceil(64) as usize].into(),
            len,
        }
    }

    pub(super) fn all(len: u32) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64) as usize];
        if let Some(last) = words.last_mut() {
            *last >>= (64 - len % 64) % 64;
        }
        Self {
            words: words.into(),
            len,
        }
    }

    /// Returns the number of pieces that there could be.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
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
        Ones::new(&self.words, &self.words, range)
    }

    /// Lists the pieces of a range that both sets have, in order.
    pub(super) fn common<'a>(
        &'a self,
        other: &'a Self,
        range: Range<u32>,
    ) -> impl Iterator<Item = u32> + 'a {
        Ones::new(&self.words, &other.words, range)
    }

    /// Returns the first piece that this and all other sets have.
    pub(super) fn first_common(&self, others: &[&Self]) -> Option<u32> {
        let both = |at| {
            others
                .iter()
                .fold(self.words[at], |word, other| word & other.words[at])
        };
        let words = (0..self.words.len()).map(|at| (at, both(at)));
        let (at, word) = words.into_iter().find(|(_, word)| *word != 0)?;
        Some(u32::try_from(at * 64).unwrap_or(u32::MAX) + word.trailing_zeros())
    }
}

/// The numbers of the bits that are set in two rows of words, within a range.
struct Ones<'a> {
    one: &'a [u64],
    other: &'a [u64],
    at: usize,
    /// What is left of the word at `at`.
    word: u64,
    end: u32,
}

impl<'a> Ones<'a> {
    fn new(one: &'a [u64], other: &'a [u64], range: Range<u32>) -> Self {
        let at = range.start as usize / 64;
        let words = one.get(at).zip(other.get(at)).map_or(0, |(a, b)| a & b);
        Self {
            one,
            other,
            at,
            word: words & (u64::MAX << (range.start % 64)),
            end: range.end,
        }
    }
}

impl Iterator for Ones<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.word == 0 {
            self.at += 1;
            if self.at * 64 >= self.end as usize || self.at >= self.one.len() {
                return None;
            }
            self.word = self.one[self.at] & self.other[self.at];
        }
        let piece = u32::try_from(self.at * 64).unwrap_or(u32::MAX) + self.word.trailing_zeros();
        self.word &= self.word - 1;
        (piece < self.end).then_some(piece)
    }
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
