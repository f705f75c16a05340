//! One request for ranges of one blob, with every way it can fail told apart.
//!
//! Our own loop over iroh-blobs' state machine instead of its `execute_get`, because the size that a
//! provider claims must be compared with the signed one *before* anything is written.

use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::time::Duration;

use archy_registry::Blake3Hash;
use iroh::endpoint::{Connection, ReadError, VarInt, WriteError};
use iroh_blobs::Hash;
use iroh_blobs::api::Store;
use iroh_blobs::get::fsm::{
    self, AtBlobContent, AtBlobHeaderNextError, AtConnected, BlobContentNext, ConnectedNext,
    ConnectedNextError, DecodeError, EndBlobNext,
};
use iroh_blobs::protocol::{
    ChunkRanges, ChunkRangesExt, ERR_INTERNAL, ERR_LIMIT, ERR_PERMISSION, GetRequest,
    ObserveRequest,
};
use n0_future::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

/// Items on their way into the store, each at most 16 KiB of data.
const WRITE_QUEUE: usize = 32;
/// How far around what is new a provider's bytes are told again; at least a piece of the scheduler.
const AROUND_BYTES: u64 = 16 * 1024 * 1024;
/// Verified bytes after which they are reported.
const PROGRESS_BYTES: u64 = 64 * 1024;

/// How a provider, or this node, failed to complete a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GetFailure {
    /// It does not serve the blob.
    #[error("does not serve it")]
    NotServed,
    /// It broke off before the first byte: it lacks what it was asked for, or its copy is damaged.
    #[error("does not have it")]
    Missing,
    /// It has too much to do.
    #[error("is busy")]
    Busy,
    /// It says that the blob has another size than the release says.
    #[error("says that it has {claimed_bytes} bytes instead of {size_bytes}")]
    WrongSize { claimed_bytes: u64, size_bytes: u64 },
    /// It sent bytes that do not match the hash.
    #[error("sent bytes that do not match the hash")]
    WrongData,
    /// It stopped where its own copy is incomplete or does not match the hash.
    #[error("broke off: its copy is incomplete or damaged")]
    Damaged,
    /// It stopped before the end.
    #[error("broke off: {0}")]
    BrokeOff(String),
    /// It sent nothing for too long.
    #[error("sent nothing for {:.1} s", within.as_secs_f64())]
    Stalled { within: Duration },
    /// This node could not store what it got.
    #[error("cannot store blobs here: {0}")]
    Local(String),
}

/// A part of a blob to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) blob: Blake3Hash,
    /// The blob's length, as signed.
    pub(crate) size_bytes: u64,
    /// Beginning at a whole chunk group.
    pub(crate) bytes: Range<u64>,
}

/// Fetches a part of a blob into the store; `on_progress` gets the end of what is verified so far. When
/// `stop` is cancelled, what arrived by then is stored and nothing more is read.
pub(super) async fn part(
    store: &Store,
    connection: &Connection,
    part: &Part,
    stop: &CancellationToken,
    on_progress: impl Fn(u64) + Send,
) -> Result<(), GetFailure> {
    let hash = super::to_hash(part.blob);
    let size_bytes = part.size_bytes;
    let ranges = ChunkRanges::bytes(part.bytes.clone());
    let opened = stop.run_until_cancelled(open(connection, hash, ranges));
    let Some(opened) = opened.await else {
        return Ok(());
    };
    let (mut content, claimed_bytes) = opened?;
    let size = NonZeroU64::new(size_bytes).filter(|size| size.get() == claimed_bytes);
    let Some(size) = size else {
        return Err(GetFailure::WrongSize {
            claimed_bytes,
            size_bytes,
        });
    };
    let local = |error: &dyn std::fmt::Display| GetFailure::Local(format!("{error:#}"));
    let import = store
        .import_bao(hash, size, WRITE_QUEUE)
        .await
        .map_err(|error| local(&error))?;
    let (items, stored) = (import.tx, import.rx);
    let receive = async move {
        let mut told = 0;
        loop {
            match stop.run_until_cancelled(content.next()).await {
                Some(BlobContentNext::More((next, item))) => {
                    let item = item.map_err(decode_failure)?;
                    if items.send(item).await.is_err() {
                        // The store gave up; its answer says why.
                        return Ok(());
                    }
                    let verified = next.stats().payload_bytes_read;
                    if verified - told >= PROGRESS_BYTES {
                        told = verified;
                        on_progress(part.bytes.start + verified);
                    }
                    content = next;
                }
                Some(BlobContentNext::Done(_)) => {
                    on_progress(part.bytes.end);
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    };
    let (received, stored) = tokio::join!(receive, stored);
    match stored {
        Ok(Ok(())) => received,
        Ok(Err(error)) => Err(local(&error)),
        Err(error) => Err(local(&error)),
    }
}

/// Follows what a provider says that it has of a blob: ranges in bytes, all at first and then what is around the new. Ends when
/// the provider refuses or the connection breaks.
pub(super) fn claims(
    store: &Store,
    connection: &Connection,
    blob: Blake3Hash,
) -> impl Stream<Item = Vec<Range<u64>>> + use<> {
    let request = ObserveRequest::new(super::to_hash(blob));
    let fields = store.remote().observe(connection.clone(), request);
    let mut held = ChunkRanges::empty();
    let fields = fields.take_while(Result::is_ok);
    fields.filter_map(move |field| Some(told(&mut held, field.ok()?.ranges)))
}

/// Adds what is new to what a provider holds, and returns the ranges around it in bytes: news come in parts of
/// 16 KiB, which only together make a piece.
fn told(held: &mut ChunkRanges, new: ChunkRanges) -> Vec<Range<u64>> {
    let around = super::store::byte_ranges(&new).into_iter().map(|range| {
        let start = range.start.saturating_sub(AROUND_BYTES);
        ChunkRanges::bytes(start..range.end.saturating_add(AROUND_BYTES))
    });
    let around = around.fold(ChunkRanges::empty(), |all, range| all | range);
    *held |= new;
    super::store::byte_ranges(&(&*held & &around))
}

/// Has a provider prove the size of a blob with its last chunk.
pub(super) async fn verified_size(connection: &Connection, hash: Hash) -> Result<u64, GetFailure> {
    let (mut content, size_bytes) = open(connection, hash, ChunkRanges::last_chunk()).await?;
    loop {
        match content.next().await {
            BlobContentNext::More((next, item)) => {
                item.map_err(decode_failure)?;
                content = next;
            }
            BlobContentNext::Done(end) => {
                let EndBlobNext::Closing(_) = end.next() else {
                    return Err(GetFailure::BrokeOff("unexpected further blob".to_owned()));
                };
                return Ok(size_bytes);
            }
        }
    }
}

/// Sends a request and reads the size that the provider claims.
async fn open(
    connection: &Connection,
    hash: Hash,
    ranges: ChunkRanges,
) -> Result<(AtBlobContent, u64), GetFailure> {
    let request = GetRequest::blob_ranges(hash, ranges);
    let connected: AtConnected = fsm::start(connection.clone(), request, Default::default())
        .next()
        .await
        .map_err(|error| GetFailure::BrokeOff(error.to_string()))?;
    let next = connected.next().await.map_err(|error| match &error {
        ConnectedNextError::Write { source, .. } => {
            before_first_byte(source).unwrap_or_else(|| GetFailure::BrokeOff(error.to_string()))
        }
        ConnectedNextError::PostcardSer { .. } | ConnectedNextError::RequestTooBig { .. } => {
            GetFailure::BrokeOff(error.to_string())
        }
    })?;
    let ConnectedNext::StartRoot(start) = next else {
        return Err(GetFailure::BrokeOff("empty request".to_owned()));
    };
    start.next().next().await.map_err(|error| match &error {
        AtBlobHeaderNextError::NotFound { .. } => GetFailure::Missing,
        AtBlobHeaderNextError::Read { source, .. } => {
            before_first_byte(source).unwrap_or_else(|| GetFailure::BrokeOff(error.to_string()))
        }
    })
}

/// Reads the reason out of a reset that came instead of an answer.
///
/// A provider without the bytes resets with "internal" (it has no code of its own), and so does one whose copy is
/// damaged, because a reset overtakes data; one that does not serve the blob resets with "permission".
fn before_first_byte(error: &io::Error) -> Option<GetFailure> {
    let code = reset_code(error)?;
    [
        (ERR_PERMISSION, GetFailure::NotServed),
        (ERR_INTERNAL, GetFailure::Missing),
        (ERR_LIMIT, GetFailure::Busy),
    ]
    .into_iter()
    .find_map(|(known, failure)| (known == code).then_some(failure))
}

fn reset_code(error: &io::Error) -> Option<VarInt> {
    let inner = error.get_ref()?;
    if let Some(ReadError::Reset(code)) = inner.downcast_ref::<ReadError>() {
        return Some(*code);
    }
    if let Some(WriteError::Stopped(code)) = inner.downcast_ref::<WriteError>() {
        return Some(*code);
    }
    None
}

fn decode_failure(error: DecodeError) -> GetFailure {
    match &error {
        DecodeError::ParentHashMismatch { .. } | DecodeError::LeafHashMismatch { .. } => {
            GetFailure::WrongData
        }
        DecodeError::Read { source, .. } if reset_code(source) == Some(ERR_INTERNAL) => {
            GetFailure::Damaged
        }
        DecodeError::ChunkNotFound { .. }
        | DecodeError::ParentNotFound { .. }
        | DecodeError::LeafNotFound { .. } => GetFailure::Damaged,
        DecodeError::Read { .. } | DecodeError::Write { .. } | _ => {
            GetFailure::BrokeOff(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_news_add_up_to_whole_pieces() {
        const KIB: u64 = 1024;
        let mut held = ChunkRanges::empty();
        let mut tell = |bytes: Range<u64>| {
            let told = told(&mut held, ChunkRanges::bytes(bytes));
            told.iter()
                .map(|range| (range.start, range.end))
                .collect::<Vec<_>>()
        };
        assert_eq!(tell(0..16 * KIB), [(0, 16 * KIB)]);
        assert_eq!(
            tell(32 * KIB..64 * KIB),
            [(0, 16 * KIB), (32 * KIB, 64 * KIB)]
        );
        assert_eq!(tell(16 * KIB..32 * KIB), [(0, 64 * KIB)]);
        // What is far away is not told again.
        let far = 100 * 1024 * KIB;
        assert_eq!(tell(far..far + 16 * KIB), [(far, far + 16 * KIB)]);
        assert!(tell(0..0).is_empty());
        assert_eq!(tell(far + 16 * KIB..u64::MAX), [(far, u64::MAX)]);
    }
}
