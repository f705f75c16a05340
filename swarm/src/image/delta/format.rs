//! How a patch is laid out: before each segment of the newer tar, which range of the earlier one it builds on.
//!
//! The range stands in a skippable frame (RFC 8878 §3.1.2): its magic number, the length 16, then little-endian the
//! range's offset (8 bytes) and length (4 bytes) and the length of the segment (4 bytes).

use std::io::{self, Read, Write};
use std::ops::Range;

/// Longest range of the earlier tar that one segment builds on, in bytes (64 MiB).
pub const BASE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest segment of the newer tar in bytes (32 MiB), and the largest window that a decoder keeps.
pub const SEGMENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The same as a power of two.
pub(super) const WINDOW_LOG_MAX: u32 = SEGMENT_BYTES_MAX.ilog2();

/// One of the sixteen magic numbers of skippable frames.
const MAGIC: u32 = 0x184D_2A5A;
const CONTENT_LEN: u32 = 16;
const HEADER_LEN: usize = 24;

/// A piece of the newer tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// What it builds on in the earlier tar; at most [`BASE_BYTES_MAX`] long.
    pub(super) base: Range<u64>,
    /// Its length in bytes; from 1 to [`SEGMENT_BYTES_MAX`].
    pub(super) size_bytes: usize,
}

impl Segment {
    /// Writes the frame that announces the segment.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let length = |length: u64| u32::try_from(length).map_err(io::Error::other);
        out.write_all(&MAGIC.to_le_bytes())?;
        out.write_all(&CONTENT_LEN.to_le_bytes())?;
        out.write_all(&self.base.start.to_le_bytes())?;
        out.write_all(&length(self.base.end - self.base.start)?.to_le_bytes())?;
        out.write_all(&length(self.size_bytes as u64)?.to_le_bytes())
    }

    /// Reads the frame that announces the next segment; `None` when it is no such frame or goes beyond the limits.
    pub(super) fn read(patch: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_LEN];
        patch.read_exact(&mut header)?;
        Ok(Self::parse(&header))
    }

    fn parse(header: &[u8; HEADER_LEN]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        if number(0)? != MAGIC || number(4)? != CONTENT_LEN {
            return None;
        }
        let start = u64::from_le_bytes(header.get(8..16)?.try_into().ok()?);
        let base_bytes = usize::try_from(number(16)?).ok()?;
        let size_bytes = usize::try_from(number(20)?).ok()?;
        if base_bytes > BASE_BYTES_MAX || !(1..=SEGMENT_BYTES_MAX).contains(&size_bytes) {
            return None;
        }
        let end = start.checked_add(base_bytes as u64)?;
        Some(Self {
            base: start..end,
            size_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_segment_reads_as_it_was_written(
            start in 0..u64::MAX - BASE_BYTES_MAX as u64,
            base_bytes in 0..=BASE_BYTES_MAX as u64,
            size_bytes in 1..=SEGMENT_BYTES_MAX,
        ) {
            let segment = Segment { base: start..start + base_bytes, size_bytes };
            let mut bytes = Vec::new();
            segment.write(&mut bytes).unwrap();
            prop_assert_eq!(bytes.len(), HEADER_LEN);
            prop_assert_eq!(Segment::read(&mut &bytes[..]).unwrap(), Some(segment));
        }

        #[test]
        fn what_is_read_is_within_the_limits(bytes: [u8; HEADER_LEN]) {
            let mut bytes = bytes;
            bytes[..8].copy_from_slice(&[0x5a, 0x2a, 0x4d, 0x18, 16, 0, 0, 0]);
            if let Some(segment) = Segment::parse(&bytes) {
                prop_assert!(segment.base.end - segment.base.start <= BASE_BYTES_MAX as u64);
                prop_assert!((1..=SEGMENT_BYTES_MAX).contains(&segment.size_bytes));
            }
        }
    }
}
