//! Blobs on disk, each held by at least one tag; anything else is collected.
//!
//! The tags in iroh's database are the truth; the ledger is their picture in memory. A blob that is
//! being fetched carries a tag of its own, so that collection never eats what a restart will use.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use archy_registry::Blake3Hash;
use bytes::Bytes;
use iroh_blobs::api::blobs::BlobStatus;
use iroh_blobs::api::{Store, TempTag};
use iroh_blobs::protocol::ChunkRanges;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::{Options, PathOptions};
use iroh_blobs::store::{GcConfig, ProtectOutcome};
use iroh_blobs::{Hash, HashAndFormat};
use n0_future::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::{from_hash, to_hash};
use crate::ledger::{Entry, Hold, Ledger, TagUsage};
use crate::tag::Tag;

/// Permissions of the blob directory: what is kept but not shared is nobody else's business.
const DIR_MODE: u32 = 0o700;
/// Chunks on their way from a reader into the store.
const IMPORT_QUEUE: usize = 4;
/// Length of one such chunk in bytes.
const IMPORT_CHUNK_BYTES: usize = 256 * 1024;

/// Longest time for which a change of the database may be lost by a kill. The first bytes of a fetch
/// are found again only once the database knows of them.
const COMMIT_DELAY_MAX: Duration = Duration::from_millis(100);

/// What is here of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlobState {
    Absent,
    Partial { have_bytes: u64 },
    Complete { size_bytes: u64 },
}

/// A blob that was written and is not tagged yet; dropping it leaves it to collection.
#[derive(Debug)]
pub(crate) struct Imported {
    _guard: TempTag,
    pub(crate) blake3: Blake3Hash,
    pub(crate) size_bytes: u64,
}

/// Why a stream did not become a blob.
#[derive(Debug)]
pub(crate) enum ImportFailure {
    TooLarge,
    Read(io::Error),
    Store(String),
}

/// The bytes of a part of a complete blob.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Small enough to be in memory.
    Bytes(Bytes),
    /// A file, positioned at the start of the part.
    File(tokio::fs::File),
}

/// The blob store.
#[derive(Debug)]
pub(crate) struct BlobStore {
    store: FsStore,
    paths: PathOptions,
    ledger: Arc<Mutex<Ledger>>,
    collected_at: Arc<AtomicU64>,
    gc_interval: Duration,
}

impl BlobStore {
    /// Opens the store in `dir` and fills the ledger from its tags.
    pub(super) async fn open(
        dir: &Path,
        gc_interval: Duration,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Result<Self, String> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(dir)
            .map_err(|error| error.to_string())?;
        let collected_at = Arc::new(AtomicU64::new(unix_seconds()));
        let mut options = Options::new(dir);
        options.batch.max_write_duration = COMMIT_DELAY_MAX;
        options.gc = Some(gc(gc_interval, ledger.clone(), collected_at.clone()));
        let paths = options.path.clone();
        let store = FsStore::load_with_opts(dir.join("blobs.db"), options)
            .await
            .map_err(|error| format!("{error:#}"))?;
        let this = Self {
            store,
            paths,
            ledger,
            collected_at,
            gc_interval,
        };
        this.load().await.map_err(|error| format!("{error:#}"))?;
        Ok(this)
    }

    pub(super) fn inner(&self) -> &Store {
        &self.store
    }

    async fn load(&self) -> Result<(), iroh_blobs::api::RequestError> {
        let mut tags = self.store.tags().list().await?;
        while let Some(tag) = tags.next().await {
            let tag = tag?;
            let blake3 = from_hash(&tag.hash);
            let Some((mut hold, name)) = parse_name(&tag.name.0, &blake3) else {
                tracing::warn!(tag = %tag.name, "the blob store holds a tag that is not ours");
                continue;
            };
            let size_bytes = match self.store.blobs().status(tag.hash).await? {
                BlobStatus::Complete { size } => size,
                BlobStatus::Partial { size } => {
                    hold = hold.unfinished();
                    size.unwrap_or(0)
                }
                BlobStatus::NotFound => {
                    hold = hold.unfinished();
                    0
                }
            };
            let mut ledger = self.ledger();
            let stronger = ledger
                .entry(&name, &blake3)
                .is_none_or(|entry| entry.hold < hold);
            if stronger {
                ledger.set(&name, blake3, Entry { hold, size_bytes });
            }
        }
        Ok(())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is here of a blob.
    pub(crate) async fn state(&self, blob: Blake3Hash) -> Result<BlobState, String> {
        let hash = to_hash(blob);
        match self.store.blobs().status(hash).await.map_err(text)? {
            BlobStatus::NotFound => Ok(BlobState::Absent),
            BlobStatus::Complete { size } => Ok(BlobState::Complete { size_bytes: size }),
            BlobStatus::Partial { .. } => {
                let field = self.store.blobs().observe(hash).await.map_err(text)?;
                Ok(match field.validated_size() {
                    Some(size) if field.is_complete() => BlobState::Complete { size_bytes: size },
                    _ => BlobState::Partial {
                        have_bytes: field.total_bytes(),
                    },
                })
            }
        }
    }

    /// Returns the ranges of a blob, in bytes, that are here. The last one may reach beyond its end.
    pub(crate) async fn here(&self, blob: Blake3Hash) -> Result<Vec<Range<u64>>, String> {
        let observe = self.store.blobs().observe(to_hash(blob));
        let field = observe.await.map_err(text)?;
        Ok(byte_ranges(&field.ranges))
    }

    /// Follows which ranges of a blob, in bytes, are here: all of them now, and again whenever more arrived.
    pub(crate) fn arrivals(
        &self,
        blob: Blake3Hash,
    ) -> impl futures_util::Stream<Item = Vec<Range<u64>>> + Send + use<> {
        let observe = self.store.blobs().observe(to_hash(blob));
        futures_util::stream::once(async move { observe.stream().await.ok() })
            .filter_map(|fields| fields)
            .flatten()
            .map(|field| byte_ranges(&field.ranges))
    }

    /// Reads a stream into a new blob, at most `size_bytes_max` long.
    pub(crate) async fn import(
        &self,
        reader: impl AsyncRead + Send + Unpin,
        size_bytes_max: u64,
    ) -> Result<Imported, ImportFailure> {
        let (sender, mut chunks) = mpsc::channel::<Bytes>(IMPORT_QUEUE);
        let stream = futures_util::stream::poll_fn(move |cx| chunks.poll_recv(cx));
        let stream = stream.map(Ok);
        let write = async {
            let progress = self.store.blobs().add_stream(stream).await;
            progress.temp_tag().await
        };
        // A source that fails ends the import by dropping it: an error in the stream makes iroh-blobs panic when it comes
        // while the store reports progress.
        let read = pump(reader, size_bytes_max, sender);
        let (size_bytes, written) = tokio::try_join!(read, async { Ok(write.await) })?;
        let guard = written.map_err(|error| ImportFailure::Store(text(error)))?;
        Ok(Imported {
            blake3: from_hash(&guard.hash()),
            size_bytes,
            _guard: guard,
        })
    }

    /// Makes a tag hold a blob; survives a crash once it returned.
    pub(crate) async fn hold(
        &self,
        tag: &Tag,
        blob: Blake3Hash,
        entry: Entry,
    ) -> Result<(), String> {
        let value = HashAndFormat::raw(to_hash(blob));
        let name = name(entry.hold, tag, &blob);
        self.store.tags().set(name, value).await.map_err(text)?;
        let before = self.ledger().entry(tag, &blob);
        self.ledger().set(tag, blob, entry);
        if let Some(before) = before
            && before.hold != entry.hold
        {
            let stale = self::name(before.hold, tag, &blob);
            self.store.tags().delete(stale).await.map_err(text)?;
        }
        Ok(())
    }

    /// Writes every change so far to disk.
    pub(crate) async fn sync(&self) -> Result<(), String> {
        self.store.sync_db().await.map_err(text)
    }

    /// Forgets a tag; blobs that no other tag holds are collected later. Returns their number.
    /// Repeating it finishes what a kill interrupted.
    pub(crate) async fn release(&self, tag: &Tag) -> Result<usize, String> {
        let blobs = self.ledger().remove(tag);
        for hold in Hold::ALL {
            let prefix = prefix(hold, tag);
            let delete = self.store.tags().delete_prefix(prefix);
            delete.await.map_err(text)?;
        }
        Ok(blobs.len())
    }

    /// Lists a tag's blobs.
    pub(crate) fn blobs(&self, tag: &Tag) -> Vec<(Blake3Hash, Entry)> {
        self.ledger().blobs(tag)
    }

    /// Lists the tags.
    pub(crate) fn usage(&self) -> Vec<TagUsage> {
        self.ledger().usage()
    }

    /// Returns number and total size of the held blobs, each counted once.
    pub(crate) fn totals(&self) -> (usize, u64) {
        let held = self.ledger().held();
        let size_bytes = held
            .values()
            .fold(0, |sum: u64, size| sum.saturating_add(*size));
        (held.len(), size_bytes)
    }

    /// Says whether anyone may have this blob.
    pub(crate) fn serves(&self, blob: &Blake3Hash) -> bool {
        self.ledger().serves(blob)
    }

    /// Serves nothing for a while, or goes on.
    pub(super) fn pause(&self, is_paused: bool) {
        self.ledger().pause(is_paused);
    }

    /// Reads a whole blob, checking its hash again.
    pub(crate) async fn read(&self, blob: Blake3Hash) -> Result<Bytes, String> {
        let read = self.store.blobs().get_bytes(to_hash(blob));
        read.await.map_err(text)
    }

    /// Opens a part of a complete blob for streaming; the caller checks what it reads.
    pub(crate) async fn open_range(
        &self,
        blob: Blake3Hash,
        range: Range<u64>,
    ) -> io::Result<Opened> {
        // Complete blobs beyond the inline limit are plain files at a fixed place; reading them
        // directly is forty times as fast as the store's reader.
        match tokio::fs::File::open(self.paths.data_path(&to_hash(blob))).await {
            Ok(mut file) => {
                file.seek(io::SeekFrom::Start(range.start)).await?;
                Ok(Opened::File(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes = self.read(blob).await.map_err(io::Error::other)?;
                let part = usize::try_from(range.start)
                    .ok()
                    .zip(usize::try_from(range.end).ok())
                    .filter(|(start, end)| start <= end && *end <= bytes.len());
                let Some((start, end)) = part else {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                };
                Ok(Opened::Bytes(bytes.slice(start..end)))
            }
            Err(error) => Err(error),
        }
    }

    /// Says when collection last began, in seconds since 1970, and whether that is too long ago.
    ///
    /// The store's collector ends for good after one error; nothing is lost, but space is not
    /// freed until a restart.
    pub(crate) fn collection(&self) -> (u64, bool) {
        let at = self.collected_at.load(Ordering::Relaxed);
        let late = unix_seconds().saturating_sub(at) > 3 * self.gc_interval.as_secs() + 60;
        (at, late)
    }
}

fn gc(interval: Duration, ledger: Arc<Mutex<Ledger>>, collected_at: Arc<AtomicU64>) -> GcConfig {
    GcConfig {
        interval,
        add_protected: Some(Arc::new(move |live: &mut HashSet<Hash>| {
            collected_at.store(unix_seconds(), Ordering::Relaxed);
            let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            live.extend(ledger.held().keys().map(|blob| to_hash(*blob)));
            Box::pin(std::future::ready(ProtectOutcome::Continue))
        })),
    }
}

/// Returns what chunks of 1 KiB stand for.
pub(super) fn byte_ranges(chunks: &ChunkRanges) -> Vec<Range<u64>> {
    let bytes = |chunk: u64| chunk.saturating_mul(1024);
    let ranges = chunks.boundaries().chunks(2);
    ranges
        .map(|pair| bytes(pair[0].0)..pair.get(1).map_or(u64::MAX, |end| bytes(end.0)))
        .collect()
}

async fn pump(
    mut reader: impl AsyncRead + Send + Unpin,
    size_bytes_max: u64,
    sender: mpsc::Sender<Bytes>,
) -> Result<u64, ImportFailure> {
    let mut size_bytes = 0u64;
    loop {
        let mut chunk = bytes::BytesMut::with_capacity(IMPORT_CHUNK_BYTES);
        while chunk.len() < IMPORT_CHUNK_BYTES {
            let read = reader.read_buf(&mut chunk).await;
            let read = read.map_err(ImportFailure::Read)?;
            if read == 0 {
                break;
            }
        }
        if chunk.is_empty() {
            return Ok(size_bytes);
        }
        size_bytes += chunk.len() as u64;
        if size_bytes > size_bytes_max {
            return Err(ImportFailure::TooLarge);
        }
        if sender.send(chunk.freeze()).await.is_err() {
            // The store gave up; its own answer says why.
            return Ok(size_bytes);
        }
    }
}

/// The name of a tag in the store's database.
fn name(hold: Hold, tag: &Tag, blob: &Blake3Hash) -> String {
    format!("{}{blob}", prefix(hold, tag))
}

/// What the names of all blobs of a tag begin with; a tag itself never has a `#`.
fn prefix(hold: Hold, tag: &Tag) -> String {
    format!("{}#{tag}#", hold.name())
}

fn parse_name(name: &[u8], blob: &Blake3Hash) -> Option<(Hold, Tag)> {
    let mut parts = std::str::from_utf8(name).ok()?.splitn(3, '#');
    let kind = parts.next()?;
    let hold = Hold::ALL.into_iter().find(|hold| hold.name() == kind)?;
    let tag = parts.next()?.parse().ok()?;
    (parts.next()? == blob.to_string()).then_some((hold, tag))
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn text(error: impl std::fmt::Display) -> String {
    format!("{error:#}")
}
