//! Makes a newer tar of an earlier one and a patch, within fixed memory, and says whose fault it is when that fails.

use std::io::{self, BufRead, Read, Write};
use std::ops::Range;

use archy_registry::release::Delta;
use archy_registry::{Blake3Hash, OciDigest};
use sha2::{Digest, Sha256};

use super::format::{Segment, WINDOW_LOG_MAX};

/// What a Zstandard frame begins with (RFC 8878 §3.1.1).
const FRAME_MAGIC: u32 = 0xFD2F_B528;

/// A tar was not made; what was written of it is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The earlier layer could not be read or unpacked.
    #[error("cannot read the earlier layer")]
    Base(#[source] io::Error),
    /// The patch could not be read from this disk.
    #[error("cannot read the delta")]
    Read(#[source] io::Error),
    /// The tar could not be written.
    #[error("cannot write the layer")]
    Write(#[source] io::Error),
    /// The patch does not lead from the earlier layer to the newer one.
    #[error("the delta does not make the layer: {0}")]
    Fault(#[from] Fault),
}

/// What is wrong with a patch, if the earlier tar was the right one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ends too early.
    #[error("it is cut off")]
    CutOff,
    /// No segment begins where one must.
    #[error("it has no segment of the allowed size where one must be")]
    Segment,
    /// It goes back in the earlier tar.
    #[error("it goes back in the earlier layer")]
    Backwards,
    /// It builds on more than the earlier tar has.
    #[error("it builds on bytes beyond the end of the earlier layer")]
    BeyondBase,
    /// It makes more than it may.
    #[error("it makes more than the {size_bytes_max} bytes that were signed")]
    TooLong {
        /// The tar's signed length.
        size_bytes_max: u64,
    },
    /// A segment has another length than announced.
    #[error("a segment is not as long as it says")]
    Length,
    /// It cannot be unpacked, or only with more memory than allowed.
    #[error("it cannot be unpacked: {0}")]
    Unpack(String),
    /// Something follows the last segment.
    #[error("it goes on after the end")]
    Trailing,
    /// It makes another tar.
    #[error("it makes {0}")]
    Other(OciDigest),
    /// It makes the layer, but the publisher signed another hash of its tar.
    #[error("its tar is blob {0}, not the one that was signed")]
    OtherBlob(Blake3Hash),
}

/// Writes the tar that `patch` makes of `base`, the tar of layer `delta.from`.
///
/// Keeps at most [`BASE_BYTES_MAX`](super::BASE_BYTES_MAX) bytes of the base and a window of
/// [`SEGMENT_BYTES_MAX`](super::SEGMENT_BYTES_MAX) in memory, and writes at most `delta.tar.size_bytes` bytes. Whoever
/// receives them must throw them away unless this returns `Ok`.
///
/// # Errors
/// [`ApplyError::Fault`] when the result is not layer `delta.to`, which a wrong base causes too.
pub fn apply(
    base: impl Read,
    mut patch: impl BufRead,
    delta: &Delta,
    out: impl Write,
) -> Result<(), ApplyError> {
    let mut base = Sliding::new(base);
    let mut tar = Tar {
        out,
        digest: Sha256::new(),
        left_bytes: delta.tar.size_bytes,
    };
    while tar.left_bytes > 0 {
        let segment = Segment::read(&mut patch).map_err(unreadable)?;
        let segment = segment.ok_or(Fault::Segment)?;
        if segment.size_bytes as u64 > tar.left_bytes {
            return Err(Fault::TooLong {
                size_bytes_max: delta.tar.size_bytes,
            }
            .into());
        }
        let prefix = base.range(segment.base)?;
        unpack(&mut patch, prefix, segment.size_bytes as u64, &mut tar)?;
    }
    let rest = patch.fill_buf().map_err(ApplyError::Read)?;
    if !rest.is_empty() {
        return Err(Fault::Trailing.into());
    }
    let digest = OciDigest::from_sha256(tar.digest.finalize().into());
    if digest != delta.to {
        return Err(Fault::Other(digest).into());
    }
    tar.out.flush().map_err(ApplyError::Write)
}

/// Unpacks one frame, which must be `size_bytes` long.
fn unpack(
    patch: &mut impl BufRead,
    prefix: &[u8],
    size_bytes: u64,
    tar: &mut Tar<impl Write>,
) -> Result<(), ApplyError> {
    // Frames of before the standard know no limit of memory.
    let mut magic = [0; 4];
    patch.read_exact(&mut magic).map_err(unreadable)?;
    if magic != FRAME_MAGIC.to_le_bytes() {
        return Err(Fault::Segment.into());
    }
    let frame = magic.chain(patch);
    let decoder = zstd::stream::read::Decoder::with_ref_prefix(frame, prefix);
    let mut decoder = decoder.map_err(unreadable)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(unreadable)?;
    let mut buffer = vec![0; zstd::stream::read::Decoder::<io::Empty>::recommended_output_size()];
    let mut left_bytes = size_bytes;
    loop {
        let read = decoder.read(&mut buffer).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        left_bytes = left_bytes.checked_sub(read as u64).ok_or(Fault::Length)?;
        tar.write(&buffer[..read])?;
    }
    if left_bytes > 0 {
        return Err(Fault::Length.into());
    }
    Ok(())
}

/// Tells a failing disk, or a machine without memory, from a patch that is no patch.
fn unreadable(error: io::Error) -> ApplyError {
    if error.raw_os_error().is_some() || is_out_of_memory(&error) {
        ApplyError::Read(error)
    } else if error.kind() == io::ErrorKind::UnexpectedEof {
        Fault::CutOff.into()
    } else {
        Fault::Unpack(error.to_string()).into()
    }
}

/// Tells whether this machine had no memory for the decoder, of which Zstandard says no more than a text. A frame that asks
/// for more memory than it may is something else.
pub(super) fn is_out_of_memory(error: &io::Error) -> bool {
    use zstd::zstd_safe::{get_error_name, zstd_sys::ZSTD_ErrorCode};
    let code = (ZSTD_ErrorCode::ZSTD_error_memory_allocation as usize).wrapping_neg();
    error.kind() == io::ErrorKind::OutOfMemory || error.to_string() == get_error_name(code)
}

/// The tar on its way out.
struct Tar<W> {
    out: W,
    digest: Sha256,
    left_bytes: u64,
}

impl<W: Write> Tar<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ApplyError> {
        self.left_bytes -= bytes.len() as u64;
        self.digest.update(bytes);
        self.out.write_all(bytes).map_err(ApplyError::Write)
    }
}

/// A part of the earlier tar that only ever moves forward.
struct Sliding<R> {
    reader: R,
    /// Where `bytes` begins.
    start: u64,
    bytes: Vec<u8>,
}

impl<R: Read> Sliding<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// Returns the bytes of a range that begins no earlier than the one before.
    fn range(&mut self, range: Range<u64>) -> Result<&[u8], ApplyError> {
        let forward = range
            .start
            .checked_sub(self.start)
            .ok_or(Fault::Backwards)?;
        let held = self.bytes.len() as u64;
        let dropped = forward.min(held);
        self.bytes.drain(..to_usize(dropped));
        let skipped = forward - dropped;
        let skip = &mut (&mut self.reader).take(skipped);
        if io::copy(skip, &mut io::sink()).map_err(ApplyError::Base)? < skipped {
            return Err(Fault::BeyondBase.into());
        }
        self.start = range.start;
        let wanted = to_usize(range.end - range.start);
        let missing = wanted.saturating_sub(self.bytes.len());
        self.bytes.reserve_exact(missing);
        (&mut self.reader)
            .take(missing as u64)
            .read_to_end(&mut self.bytes)
            .map_err(ApplyError::Base)?;
        self.bytes
            .get(..wanted)
            .ok_or_else(|| Fault::BeyondBase.into())
    }
}

/// Converts a length that [`Segment`] has bounded.
fn to_usize(length: u64) -> usize {
    usize::try_from(length).expect("it is within the limits of a segment")
}
