//! One request for ranges of one blob, with every way it can fail told apart.
//!
//! Our own loop over iroh-blobs' state machine instead of its `execute_get`, because the size that a
//! provider claims must be compared with the signed one *before* anything is written.

use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use iroh::endpoint::{Connection, ReadError, VarInt, WriteError};
use iroh_blobs::Hash;
use iroh_blobs::api::Store;
use iroh_blobs::get::fsm::{
    self, AtBlobContent, AtBlobHeaderNextError, AtConnected, BlobContentNext, ConnectedNext,
    ConnectedNextError, DecodeError, EndBlobNext,
};
use iroh_blobs::protocol::{
    ChunkRanges, ChunkRangesExt, ERR_INTERNAL, ERR_LIMIT, ERR_PERMISSION, GetRequest,
};

/// Items on their way into the store, each at most 16 KiB of data.
const WRITE_QUEUE: usize = 32;

/// How a provider, or this node, failed to complete a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GetFailure {
    /// It does not have the blob or does not serve it.
    #[error("does not serve it")]
    NotServed,
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
    /// It sends less than another provider probably would.
    #[error("sent only {bytes_per_second} bytes per second")]
    Slow { bytes_per_second: u64 },
    /// This node could not store what it got.
    #[error("cannot store blobs here: {0}")]
    Local(String),
}

/// Fetches `ranges` of a blob of exactly `size_bytes` into the store.
pub(super) async fn ranges(
    store: &Store,
    connection: &Connection,
    hash: Hash,
    size_bytes: u64,
    ranges: ChunkRanges,
    on_bytes: impl Fn(u64) + Send,
) -> Result<(), GetFailure> {
    let (mut content, claimed_bytes) = open(connection, hash, ranges).await?;
    let size = NonZeroU64::new(size_bytes).filter(|size| size.get() == claimed_bytes);
    let Some(size) = size else {
        return Err(GetFailure::WrongSize {
            claimed_bytes,
            size_bytes,
        });
    };
    let local = |error: &dyn std::fmt::Display| GetFailure::Local(error.to_string());
    let import = store
        .import_bao(hash, size, WRITE_QUEUE)
        .await
        .map_err(|error| local(&error))?;
    let (items, stored) = (import.tx, import.rx);
    let receive = async move {
        let mut counted = 0;
        loop {
            match content.next().await {
                BlobContentNext::More((next, item)) => {
                    let item = item.map_err(decode_failure)?;
                    if items.send(item).await.is_err() {
                        // The store gave up; its answer says why.
                        return Ok(());
                    }
                    let verified = next.stats().payload_bytes_read;
                    on_bytes(verified - counted);
                    counted = verified;
                    content = next;
                }
                BlobContentNext::Done(_) => return Ok(()),
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
        AtBlobHeaderNextError::NotFound { .. } => GetFailure::NotServed,
        AtBlobHeaderNextError::Read { source, .. } => {
            before_first_byte(source).unwrap_or_else(|| GetFailure::BrokeOff(error.to_string()))
        }
    })
}

/// Reads the reason out of a reset that came instead of an answer.
///
/// A provider without the blob resets with "internal" (it has no code of its own), one that does
/// not serve it with "permission".
fn before_first_byte(error: &io::Error) -> Option<GetFailure> {
    let code = reset_code(error)?;
    [
        (ERR_PERMISSION, GetFailure::NotServed),
        (ERR_INTERNAL, GetFailure::NotServed),
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
