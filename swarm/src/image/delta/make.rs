//! Makes a patch from one tar to another.

use std::io::{self, Read, Seek, SeekFrom, Write};

use archy_registry::release::{Delta, Tar};
use archy_registry::{Blake3Hash, OciDigest};
use sha2::{Digest, Sha256};

use super::format::{BASE_BYTES_MAX, SEGMENT_BYTES_MAX, Segment};
use super::locate::{BLOCK_BYTES, Index};

/// Zstandard level. Higher ones take many times as long for a few per cent.
const LEVEL: i32 = 12;
/// Zstandard sizes its tables by the window, so this covers a segment and its base. The frame itself says how long it is,
/// and a reader needs a window of no more than that.
const SEARCH_LOG: u32 = (SEGMENT_BYTES_MAX + BASE_BYTES_MAX)
    .next_power_of_two()
    .ilog2();
/// Bytes of the earlier tar that are looked at at a time; a multiple of [`BLOCK_BYTES`].
const READ_BYTES: usize = 2048 * BLOCK_BYTES;

/// A patch was not made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The earlier tar could not be read.
    #[error("cannot read the earlier layer")]
    Old(#[source] io::Error),
    /// The newer tar could not be read.
    #[error("cannot read the layer")]
    New(#[source] io::Error),
    /// The patch could not be written.
    #[error("cannot write the delta")]
    Write(#[source] io::Error),
    /// The newer tar is empty.
    #[error("the layer is empty")]
    Empty,
    /// A layer is not the one that it was said to be.
    #[error("the {what} unpacks to {made} instead of {signed}")]
    Other {
        /// Which layer.
        what: &'static str,
        /// Its diff ID.
        made: OciDigest,
        /// The diff ID that was signed.
        signed: OciDigest,
    },
    /// It would be longer than it is worth.
    #[error("a delta would have more than {size_bytes_max} bytes")]
    TooLong {
        /// The limit.
        size_bytes_max: u64,
    },
}

/// Writes a patch from `old` to `new`, of at most `size_bytes_max` bytes, and describes it for a release.
///
/// Keeps a segment of both tars in memory and what the encoder needs for them, about 300 MB.
///
/// # Errors
/// [`MakeError::TooLong`] as soon as it is clear that the patch is not worth it.
pub fn make(
    mut old: impl Read + Seek,
    mut new: impl Read,
    size_bytes_max: u64,
    out: impl Write,
) -> Result<Delta, MakeError> {
    let (from, index) = read_old(&mut old).map_err(MakeError::Old)?;
    let mut out = Patch {
        out,
        blake3: blake3::Hasher::new(),
        size_bytes: 0,
        size_bytes_max,
    };
    let mut digest = Sha256::new();
    let mut blake3 = blake3::Hasher::new();
    let mut size_bytes = 0;
    let mut segment = Vec::new();
    let mut base = Vec::new();
    let mut start_min = 0;
    loop {
        segment.clear();
        (&mut new)
            .take(SEGMENT_BYTES_MAX as u64)
            .read_to_end(&mut segment)
            .map_err(MakeError::New)?;
        if segment.is_empty() {
            break;
        }
        digest.update(&segment);
        blake3.update(&segment);
        let range = index.locate(size_bytes, &segment, start_min);
        start_min = range.start;
        size_bytes += segment.len() as u64;
        base.clear();
        old.seek(SeekFrom::Start(range.start))
            .map_err(MakeError::Old)?;
        (&mut old)
            .take(range.end - range.start)
            .read_to_end(&mut base)
            .map_err(MakeError::Old)?;
        let header = Segment {
            base: range,
            size_bytes: segment.len(),
        };
        let written = header
            .write(&mut out)
            .and_then(|()| pack(&segment, &base, &mut out));
        written.map_err(|error| out.failed(error))?;
    }
    out.out.flush().map_err(MakeError::Write)?;
    if size_bytes == 0 {
        return Err(MakeError::Empty);
    }
    Ok(Delta {
        from,
        to: OciDigest::from_sha256(digest.finalize().into()),
        blake3: Blake3Hash::from_bytes(*out.blake3.finalize().as_bytes()),
        size_bytes: out.size_bytes,
        tar: Tar {
            blake3: Blake3Hash::from_bytes(*blake3.finalize().as_bytes()),
            size_bytes,
        },
    })
}

/// Learns an earlier tar by heart, as far as needed, and its diff ID.
fn read_old(old: &mut (impl Read + Seek)) -> io::Result<(OciDigest, Index)> {
    let size_bytes = old.seek(SeekFrom::End(0))?;
    old.seek(SeekFrom::Start(0))?;
    let mut index = Index::new(size_bytes);
    let mut digest = Sha256::new();
    let mut offset = 0;
    let mut piece = Vec::with_capacity(READ_BYTES);
    loop {
        piece.clear();
        old.take(READ_BYTES as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            break;
        }
        digest.update(&piece);
        index.add(offset, &piece);
        offset += piece.len() as u64;
    }
    Ok((OciDigest::from_sha256(digest.finalize().into()), index))
}

/// Writes one frame.
fn pack(segment: &[u8], base: &[u8], out: &mut impl Write) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(out, LEVEL, base)?;
    encoder.set_pledged_src_size(Some(segment.len() as u64))?;
    encoder.window_log(SEARCH_LOG)?;
    encoder.long_distance_matching(true)?;
    encoder.write_all(segment)?;
    encoder.finish()?;
    Ok(())
}

/// The patch on its way out.
struct Patch<W> {
    out: W,
    blake3: blake3::Hasher,
    size_bytes: u64,
    size_bytes_max: u64,
}

impl<W> Patch<W> {
    fn failed(&self, error: io::Error) -> MakeError {
        if self.size_bytes > self.size_bytes_max {
            MakeError::TooLong {
                size_bytes_max: self.size_bytes_max,
            }
        } else {
            MakeError::Write(error)
        }
    }
}

impl<W: Write> Write for Patch<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size_bytes += bytes.len() as u64;
        if self.size_bytes > self.size_bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.write_all(bytes)?;
        self.blake3.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
