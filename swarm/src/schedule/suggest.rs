//! What an origin suggests to those who fetch the same blob from it.

use std::ops::Range;

/// Length in bytes of what is suggested to one node at a time.
pub const BLOCK_BYTES: u64 = 256 * 1024;

/// The blocks of one blob, and how often each was sent: as long as nobody is asked twice for the same bytes, every one
/// that is sent is new to the crowd.
#[derive(Debug)]
pub struct Suggestions {
    size_bytes: u64,
    sent: Vec<u16>,
    /// The block at which the search for the next one begins.
    cursor: usize,
}

impl Suggestions {
    /// Starts with nothing sent of a blob of a length of at least 1.
    pub fn new(size_bytes: u64) -> Self {
        let blocks = usize::try_from(size_bytes.div_ceil(BLOCK_BYTES)).unwrap_or(usize::MAX);
        Self {
            size_bytes,
            sent: vec![0; blocks.max(1)],
            cursor: 0,
        }
    }

    /// Proposes, in turns, one of the blocks that were sent least.
    pub fn suggest(&mut self) -> Range<u64> {
        let least = self.sent.iter().min().copied().unwrap_or(0);
        let (before, after) = self.sent.split_at(self.cursor);
        let is_least = |sent: &u16| *sent == least;
        let block = match after.iter().position(is_least) {
            Some(ahead) => self.cursor + ahead,
            None => before.iter().position(is_least).unwrap_or(0),
        };
        self.cursor = (block + 1) % self.sent.len();
        self.bytes(block)
    }

    /// Notes what is being sent to somebody.
    pub fn sends(&mut self, bytes: &Range<u64>) {
        let first = usize::try_from(bytes.start / BLOCK_BYTES).unwrap_or(usize::MAX);
        for block in first..self.sent.len() {
            let whole = self.bytes(block);
            if whole.start >= bytes.end {
                break;
            }
            let part = bytes.end.min(whole.end) - bytes.start.max(whole.start);
            // Of what is sent only in part, the larger part decides.
            if part * 2 > whole.end - whole.start {
                self.sent[block] = self.sent[block].saturating_add(1);
            }
        }
    }

    fn bytes(&self, block: usize) -> Range<u64> {
        let start = block as u64 * BLOCK_BYTES;
        start..(start + BLOCK_BYTES).min(self.size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_suggested_before_any_is_again_and_those_that_were_sent_come_last() {
        let size_bytes = 3 * BLOCK_BYTES + 5;
        let mut suggestions = Suggestions::new(size_bytes);
        let mut next = |sends: &[Range<u64>]| {
            for bytes in sends {
                suggestions.sends(bytes);
            }
            suggestions.suggest().start / BLOCK_BYTES
        };
        assert_eq!([0; 5].map(|_| next(&[])), [0, 1, 2, 3, 0]);
        // Less than half of the first, all of the second and the last.
        let small = 0..BLOCK_BYTES / 2;
        let sent = [
            small,
            BLOCK_BYTES..2 * BLOCK_BYTES,
            3 * BLOCK_BYTES..size_bytes,
        ];
        assert_eq!(next(&sent), 2);
        assert_eq!([0; 3].map(|_| next(&[])), [0, 2, 0]);
        assert_eq!(next(&[0..size_bytes, 0..size_bytes]), 2);
    }
}
