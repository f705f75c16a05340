//! Carries out a step of a plan: makes a layer's tar out of what is here and keeps it, or checks the form that is here.

use std::io::{self, BufReader, Read};

use archy_registry::OciDigest;
use archy_registry::release::Delta;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::apply::is_out_of_memory;
use super::{ApplyError, Fault, Form, Path, Step, VerifiedForm, apply};
use crate::blob::BlobReader;
use crate::ledger::Role;
use crate::storage::Full;
use crate::swarm::{ProvideError, ReadError, StoreError, Swarm};
use crate::tag::Tag;

/// Bytes read or handed on at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces on their way into the store.
const PIECES: usize = 4;

/// A layer did not come about; nothing of it was kept. Its blob can still be fetched whole.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The publisher's delta is bad: the earlier layer and the bytes of the delta were right, the result is not.
    #[error("the publisher's delta {delta} is bad: {fault}")]
    Delta {
        /// BLAKE3 of the delta.
        delta: archy_registry::Blake3Hash,
        /// What is wrong.
        fault: Fault,
    },
    /// What is here is not the layer that it was signed as.
    #[error("blob {blob} is not a form of layer {diff_id}, though it was signed as one: {reason}")]
    Form {
        /// BLAKE3 of the blob.
        blob: archy_registry::Blake3Hash,
        /// The layer's diff ID.
        diff_id: OciDigest,
        /// What it is instead.
        reason: String,
    },
    /// A blob that should be here cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk or the memory of this machine failed while a blob was read.
    #[error("cannot read {what}")]
    Disk {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no room for the tar.
    #[error(transparent)]
    Full(#[from] Full),
    /// The tar could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Brings about the form of a layer that a step's path leads to, holds it under `tag` and shares it; `None` when the
/// layer's own blob is the way. The step's delta and base must be here.
///
/// Reads the base from its beginning and keeps no more in memory than [`apply`] does. To be repeated after a kill.
///
/// # Errors
/// [`BuildError::Delta`] only when the base and the delta's own bytes were proved to be right.
pub async fn build(
    swarm: &Swarm,
    tag: &Tag,
    step: &Step,
) -> Result<Option<VerifiedForm>, BuildError> {
    let form = match &step.path {
        Path::Here | Path::Whole => return Ok(None),
        Path::Form(form) => {
            verify(swarm, form).await?;
            *form
        }
        Path::Delta { delta, base } => {
            let tar = Form::of_tar(delta.to, &delta.tar);
            // Made before a kill, perhaps; hashing it is cheaper than making it again.
            if !swarm.has(tar.blake3).await? || verify(swarm, &tar).await.is_err() {
                make_tar(swarm, tag, delta, base).await?;
            }
            tar
        }
    };
    swarm.adopt(tag, form.blake3).await?;
    Ok(Some(VerifiedForm::new(form)))
}

/// Proves that a blob unpacks to the tar that it was signed as.
async fn verify(swarm: &Swarm, form: &Form) -> Result<(), BuildError> {
    let blob = swarm.open(form.blake3).await?;
    let form = *form;
    let wrong = |reason: String| BuildError::Form {
        blob: form.blake3,
        diff_id: form.diff_id,
        reason,
    };
    let hashing = tokio::task::spawn_blocking(move || hash(&form, blob));
    let hashed = hashing
        .await
        .map_err(|error| disk("a layer", error.into()))?;
    match hashed {
        Ok(digest) if digest == form.diff_id => Ok(()),
        Ok(digest) => Err(wrong(format!("it unpacks to {digest}"))),
        Err(error) if is_local(&error) => Err(disk("a layer", error)),
        Err(error) => Err(wrong(format!("it does not unpack: {error}"))),
    }
}

fn hash(form: &Form, blob: BlobReader) -> io::Result<OciDigest> {
    let mut tar = form.unpack(BufReader::with_capacity(PIECE_BYTES, blob))?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = tar.read(&mut piece)?;
        if read == 0 {
            return Ok(OciDigest::from_sha256(digest.finalize().into()));
        }
        digest.update(&piece[..read]);
    }
}

/// Proves that the delta's blob still has the bytes that its hash names.
async fn verify_patch(swarm: &Swarm, delta: &Delta) -> Result<(), BuildError> {
    let mut patch = swarm.open(delta.blake3).await?;
    let hashing = tokio::task::spawn_blocking(move || {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut patch)?;
        Ok(archy_registry::Blake3Hash::from_bytes(
            *hasher.finalize().as_bytes(),
        ))
    });
    let hashed = hashing
        .await
        .map_err(|error| disk("a delta", error.into()))?;
    let hash = hashed.map_err(|error: io::Error| disk("a delta", error))?;
    if hash == delta.blake3 {
        Ok(())
    } else {
        let reason = "its bytes are no longer those that its hash names";
        let source = io::Error::new(io::ErrorKind::InvalidData, reason);
        Err(disk("a delta", source))
    }
}

/// Streams the base through the patch into the store.
async fn make_tar(swarm: &Swarm, tag: &Tag, delta: &Delta, base: &Form) -> Result<(), BuildError> {
    let old = swarm.open(base.blake3).await?;
    let patch = swarm.open(delta.blake3).await?;
    let (sender, mut pieces) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let (wanted, form) = (delta.clone(), *base);
    let making = tokio::task::spawn_blocking(move || {
        let out = Pieces(&sender);
        let made = unpacked(&form, old).and_then(|old| {
            let patch = BufReader::with_capacity(PIECE_BYTES, patch);
            apply(
                old,
                patch,
                &wanted,
                io::BufWriter::with_capacity(PIECE_BYTES, out),
            )
        });
        if made.is_err() {
            // Whoever keeps the tar must not take this for its end.
            let _ = sender.blocking_send(Err(io::ErrorKind::InvalidData.into()));
        }
        made
    });
    let stream = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
    let kept = swarm
        .provide_as(
            tag,
            Some(Role::Variant),
            StreamReader::new(stream),
            Some(delta.tar.blake3),
        )
        .await;
    let made = making
        .await
        .map_err(|error| disk("a delta", error.into()))?;
    match (made, kept) {
        (Ok(()), Ok(_)) => Ok(()),
        (Ok(()), Err(error)) | (Err(ApplyError::Write(_)), Err(error)) => match error {
            ProvideError::WrongHash { actual, .. } => Err(BuildError::Delta {
                delta: delta.blake3,
                fault: Fault::OtherBlob(actual),
            }),
            ProvideError::Store(error) => Err(error.into()),
            ProvideError::Full(full) => Err(full.into()),
            ProvideError::TooLarge { .. } | ProvideError::Read(_) => {
                Err(StoreError(error.to_string()).into())
            }
        },
        (Err(ApplyError::Write(error) | ApplyError::Read(error)), _) => Err(disk("a delta", error)),
        (Err(ApplyError::Base(error)), _) if is_local(&error) => {
            Err(disk("an earlier layer", error))
        }
        (Err(ApplyError::Base(error)), _) => Err(BuildError::Form {
            blob: base.blake3,
            diff_id: base.diff_id,
            reason: format!("it does not unpack: {error}"),
        }),
        (Err(ApplyError::Fault(fault)), _) => {
            // Only now it matters whether both were read as they were signed.
            verify_patch(swarm, delta).await?;
            verify(swarm, base).await?;
            Err(BuildError::Delta {
                delta: delta.blake3,
                fault,
            })
        }
    }
}

fn unpacked(form: &Form, blob: BlobReader) -> Result<Box<dyn Read + Send>, ApplyError> {
    let blob = BufReader::with_capacity(PIECE_BYTES, blob);
    form.unpack(blob).map_err(ApplyError::Base)
}

/// Tells what this machine failed at from what the bytes are.
fn is_local(error: &io::Error) -> bool {
    error.raw_os_error().is_some() || is_out_of_memory(error)
}

fn disk(what: &'static str, source: io::Error) -> BuildError {
    BuildError::Disk { what, source }
}

/// Hands on what is written, piece by piece.
struct Pieces<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
