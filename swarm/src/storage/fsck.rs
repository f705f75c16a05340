//! Reads every blob again and compares it with its hash; what is bad is served no more and can be fetched again.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use archy_registry::Blake3Hash;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Class, Ledger};
use crate::tag::Tag;
use crate::transport::{BlobState, BlobStore, Opened};

/// Bytes hashed at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// What is wrong with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wrong {
    /// Its bytes are not those that its hash names.
    Damaged,
    /// It should be here and is not, or not all of it.
    Missing,
}

/// One blob that is bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The blob.
    pub blob: Blake3Hash,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What is wrong with it.
    pub wrong: Wrong,
    /// Who holds it, and what for.
    pub tags: Vec<(Tag, Class)>,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FsckProgress {
    /// Blobs that were checked.
    pub blobs_done: usize,
    /// Blobs to check.
    pub blobs_total: usize,
    /// Bytes that were read.
    pub bytes_done: u64,
    /// Bytes to read.
    pub bytes_total: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fsck {
    /// How far it came; less than all when it was stopped.
    pub progress: FsckProgress,
    /// What is bad. None of it is served any more; the next fetch of its tag brings it again.
    pub bad: Vec<Damage>,
    /// Bytes of files that no blob here needs; they go with the next collection, or an hour after they last changed.
    pub unheld_bytes: u64,
}

/// Checks all blobs, one at a time, until all are checked or `stop` is cancelled.
pub(crate) async fn check(
    store: &BlobStore,
    stop: &CancellationToken,
    mut on_progress: impl FnMut(FsckProgress) + Send,
) -> Result<Fsck, String> {
    let mut whole = store.with_ledger(|ledger| ledger.whole());
    whole.sort_by_key(|(blob, _)| *blob);
    let mut found = Fsck {
        progress: FsckProgress {
            blobs_total: whole.len(),
            bytes_total: whole
                .iter()
                .fold(0, |sum, (_, size)| sum.saturating_add(*size)),
            ..FsckProgress::default()
        },
        ..Fsck::default()
    };
    for (blob, size_bytes) in whole {
        on_progress(found.progress);
        if stop.is_cancelled() {
            break;
        }
        if let Some(wrong) = look_at(store, blob, stop).await? {
            let tags = store.with_ledger(|ledger| ledger.holders(&blob));
            // Whoever let it go meanwhile does not miss it.
            if !tags.is_empty() {
                tracing::warn!(%blob, ?wrong, "a blob is not what it should be; it is served no more");
                store.condemn(blob).await?;
                found.bad.push(Damage {
                    blob,
                    size_bytes,
                    wrong,
                    tags: tags
                        .into_iter()
                        .map(|(tag, class, _)| (tag, class))
                        .collect(),
                });
            }
        }
        found.progress.blobs_done += 1;
        found.progress.bytes_done = found.progress.bytes_done.saturating_add(size_bytes);
    }
    on_progress(found.progress);
    // What cannot be cleared now, because somebody reads it, is cleared by the next fetch.
    if let Err(reason) = store.clear_damage().await {
        tracing::warn!(reason, "bad blobs are still in the store");
    }
    if let Err(reason) = store.remove_strays().await {
        tracing::warn!(reason, "stray files are still in the store");
    }
    let held = store.with_ledger(Ledger::protected);
    let held: HashSet<String> = held.iter().map(ToString::to_string).collect();
    let dir = store.data_dir().to_owned();
    let counted = tokio::task::spawn_blocking(move || unheld(&dir, &held)).await;
    found.unheld_bytes = counted
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    Ok(found)
}

/// Looks at one blob that should be whole.
async fn look_at(
    store: &BlobStore,
    blob: Blake3Hash,
    stop: &CancellationToken,
) -> Result<Option<Wrong>, String> {
    match store.state(blob).await? {
        BlobState::Absent | BlobState::Partial { .. } => {
            let is_held = store.with_ledger(|ledger| ledger.is_whole(&blob));
            return Ok(is_held.then_some(Wrong::Missing));
        }
        BlobState::Complete { .. } => {}
    }
    let file = match store.open_blob(blob).await {
        // Small ones are in the store's database, which checks the hash.
        Ok(Opened::Bytes(_)) => return Ok(None),
        Ok(Opened::File(file)) => file,
        Err(_) if store.data_file(&blob).exists() => return Ok(Some(Wrong::Damaged)),
        Err(_) => return Ok(Some(Wrong::Missing)),
    };
    let stop = stop.clone();
    let hashed = tokio::task::spawn_blocking(move || hash(file, &stop)).await;
    match hashed.map_err(|error| error.to_string())? {
        Ok(Some(actual)) if actual == blob => Ok(None),
        // It was stopped half-way.
        Ok(None) => Ok(None),
        // A disk that cannot read is as bad as one that reads something else.
        Ok(Some(_)) | Err(_) => Ok(Some(Wrong::Damaged)),
    }
}

fn hash(mut file: impl Read, stop: &CancellationToken) -> io::Result<Option<Blake3Hash>> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        if stop.is_cancelled() {
            return Ok(None);
        }
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(Some(Blake3Hash::from_bytes(*hasher.finalize().as_bytes())));
        }
        hasher.update(&piece[..read]);
    }
}

/// Adds up the files of blobs that nobody holds.
fn unheld(dir: &Path, held: &HashSet<String>) -> io::Result<u64> {
    let mut bytes = 0u64;
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let blob = name.to_str().and_then(|name| name.split_once('.'));
        if blob.is_none_or(|(blob, _)| !held.contains(blob)) {
            // It may go while it is counted.
            let metadata = file.metadata();
            let taken = metadata.map_or(0, |metadata| metadata.blocks().saturating_mul(512));
            bytes = bytes.saturating_add(taken);
        }
    }
    Ok(bytes)
}
