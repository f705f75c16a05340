//! Blobs on disk, each held by at least one tag; anything else is collected.
//!
//! The ledger says what is held; iroh-blobs' own tags are not used. A store that fails is opened again underneath
//! whoever uses it: iroh-blobs' database ends after one error, and so does its collector.

mod collector;
mod strays;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use archy_registry::Blake3Hash;
use bytes::Bytes;
use iroh_blobs::api::TempTag;
use iroh_blobs::api::blobs::BlobStatus;
use iroh_blobs::protocol::ChunkRanges;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::store::fs::options::{Options, PathOptions};
use n0_future::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{from_hash, to_hash};
use crate::ledger::{Book, Change, Class, Entry, Hold, Ledger, Role, TagUsage};
use crate::storage::{Account, Full, Reservation, RoomError};
use crate::tag::Tag;
use collector::Collector;

/// Permissions of the blob directory: what is kept but not shared is nobody else's business.
const DIR_MODE: u32 = 0o700;
/// The ledger, in the blob directory: one without the other is worth nothing.
const LEDGER_FILE: &str = "ledger.db";
/// Chunks on their way from a reader into the store.
const IMPORT_QUEUE: usize = 4;
/// Length of one such chunk in bytes.
const IMPORT_CHUNK_BYTES: usize = 256 * 1024;
/// Most room that is reserved ahead for a stream whose length is not known, in bytes.
const IMPORT_AHEAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Longest time for which a change of iroh-blobs' database may be lost by a kill. The first bytes of a fetch are found
/// again only once the database knows of them.
const COMMIT_DELAY_MAX: Duration = Duration::from_millis(100);
/// How often it is looked whether the store still works.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often stray files are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// Time for requests to end before a store is closed to be opened again.
const IDLE_TIME_MAX: Duration = Duration::from_secs(2);
/// Time for a store to close.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
/// Time for the store's database to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

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
    _room: Reservation,
    pub(crate) blake3: Blake3Hash,
    pub(crate) size_bytes: u64,
}

/// Why a stream did not become a blob.
#[derive(Debug)]
pub(crate) enum ImportFailure {
    TooLarge,
    Full(Full),
    Read(io::Error),
    Store(String),
}

impl From<RoomError> for ImportFailure {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Full(full) => Self::Full(full),
            RoomError::Store(reason) => Self::Store(reason),
        }
    }
}

/// The bytes of a blob.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Small enough to be in memory.
    Bytes(Bytes),
    /// A file, positioned at its start; of a blob that is not whole, with holes.
    File(std::fs::File),
}

/// An opened store. It is over when the store fails and is opened again.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(super) store: FsStore,
    pub(super) over: CancellationToken,
    collector: Arc<Collector>,
    number: u64,
}

#[derive(Debug, Clone)]
enum Current {
    Open(Open),
    Opening,
    /// It could not be opened again; that is tried from time to time.
    Failed(Arc<str>),
    Closed,
}

/// The blob store.
#[derive(Debug)]
pub(crate) struct BlobStore {
    dir: PathBuf,
    paths: PathOptions,
    current: watch::Sender<Current>,
    ill: Notify,
    ledger: Arc<Mutex<Ledger>>,
    book: Book,
    account: Account,
    collected_at: Arc<AtomicU64>,
    gc_interval: Duration,
    /// How often it was opened again.
    opened: AtomicU64,
}

impl BlobStore {
    /// Opens the store in `dir` and its ledger.
    pub(super) async fn open(
        dir: &Path,
        gc_interval: Duration,
        account: Account,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Result<Self, String> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(dir)
            .map_err(|error| error.to_string())?;
        let collected_at = Arc::new(AtomicU64::new(unix_seconds()));
        // The ledger comes first: what is not in it when the store's collector begins is removed.
        let book = Book::open(&dir.join(LEDGER_FILE), ledger.clone()).await;
        let book = book.map_err(|error| causes(&error))?;
        let open = open(dir, gc_interval, &ledger, &collected_at, 0).await?;
        let this = Self {
            dir: dir.to_owned(),
            paths: Options::new(dir).path,
            current: watch::Sender::new(Current::Open(open.clone())),
            ill: Notify::new(),
            ledger,
            book,
            account,
            collected_at,
            gc_interval,
            opened: AtomicU64::new(0),
        };
        // Until the ledger has them, the tags of an earlier version protect their blobs themselves.
        let ready = async {
            this.take_over_tags(&open.store).await?;
            this.agree(&open.store).await
        };
        if let Err(reason) = ready.await {
            this.close().await;
            return Err(reason);
        }
        this.clear_temp();
        Ok(this)
    }

    /// Moves what an earlier version kept in the store's own tags into the ledger.
    async fn take_over_tags(&self, store: &FsStore) -> Result<(), String> {
        let mut sets: BTreeMap<Tag, Vec<(Blake3Hash, Entry)>> = BTreeMap::new();
        let mut names = Vec::new();
        let mut tags = store.tags().list().await.map_err(text)?;
        while let Some(tag) = tags.next().await {
            let tag = tag.map_err(text)?;
            let blake3 = from_hash(&tag.hash);
            let Some((mut hold, name)) = parse_name(&tag.name.0, &blake3) else {
                tracing::warn!(tag = %tag.name, "the blob store holds a tag that is not ours");
                continue;
            };
            names.push(tag.name);
            let size_bytes = match store.blobs().status(tag.hash).await.map_err(text)? {
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
            let entry = entry(hold, Role::Other, size_bytes);
            let known = self.ledger().entry(&name, &blake3);
            let blobs = sets.entry(name).or_default();
            let same = blobs.iter().find(|(blob, _)| *blob == blake3);
            let stronger = |other: &Entry| other.hold >= hold;
            if !known.as_ref().is_some_and(stronger)
                && !same.is_some_and(|(_, other)| stronger(other))
            {
                blobs.retain(|(blob, _)| *blob != blake3);
                blobs.push((blake3, entry));
            }
        }
        for (tag, blobs) in sets {
            // Nobody has said yet what it is for, so it stays until somebody does.
            let class = Class::Publishing;
            self.write(Change::Hold { tag, class, blobs }).await?;
        }
        for name in names {
            store.tags().delete(name.0).await.map_err(text)?;
        }
        Ok(())
    }

    /// Corrects rows that say of a blob that it is whole when a power cut has taken the store's last changes.
    async fn agree(&self, store: &FsStore) -> Result<(), String> {
        let mut lost = Vec::new();
        for (blob, size_bytes) in self.with_ledger(Ledger::whole) {
            let status = store.blobs().status(to_hash(blob)).await.map_err(text)?;
            if !matches!(status, BlobStatus::Complete { size } if size == size_bytes) {
                lost.push(blob);
            }
        }
        for blob in lost {
            self.unfinish(blob).await?;
        }
        Ok(())
    }

    /// Notes that a blob is not whole.
    async fn unfinish(&self, blob: Blake3Hash) -> Result<(), String> {
        for (tag, class, entry) in self.with_ledger(|ledger| ledger.holders(&blob)) {
            let hold = entry.hold.unfinished();
            let blobs = vec![(blob, Entry { hold, ..entry })];
            self.write(Change::Hold { tag, class, blobs }).await?;
        }
        Ok(())
    }

    /// Removes what imports that a kill broke off have left.
    fn clear_temp(&self) {
        let Ok(files) = std::fs::read_dir(&self.paths.temp_path) else {
            return;
        };
        for file in files.flatten() {
            if let Err(error) = std::fs::remove_file(file.path()) {
                tracing::warn!(path = %file.path().display(), %error, "could not remove a temporary file");
            }
        }
    }

    /// Looks after the store until `cancel`: opens it again when it or its collector has failed.
    pub(super) fn keep(self: &Arc<Self>, tasks: &TaskTracker, cancel: &CancellationToken) {
        let (this, cancel) = (self.clone(), cancel.clone());
        tasks.spawn(async move {
            let mut asked = false;
            let mut swept = Instant::now();
            loop {
                if this.is_ill(asked).await {
                    this.reopen().await;
                }
                if swept.elapsed() >= SWEEP_EVERY {
                    swept = Instant::now();
                    if let Err(reason) = this.remove_strays().await {
                        tracing::warn!(reason, "stray files stay in the blob store");
                    }
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = this.ill.notified() => asked = true,
                    () = tokio::time::sleep(LOOK_EVERY) => asked = false,
                }
            }
        });
    }

    /// Tells whether the store must be opened again. Only when it is `suspected` its database is asked.
    async fn is_ill(&self, suspected: bool) -> bool {
        let current = self.current.borrow().clone();
        match current {
            Current::Open(open) if open.collector.has_ended() => true,
            Current::Open(open) => suspected && !is_answering(&open.store).await,
            Current::Opening | Current::Failed(_) => true,
            Current::Closed => false,
        }
    }

    /// Closes the store and opens it again; whoever waits for it goes on afterwards.
    async fn reopen(&self) {
        let before = self.current.send_replace(Current::Opening);
        match before {
            Current::Open(open) => {
                tracing::warn!("the blob store or its collector has failed; opening it again");
                open.over.cancel();
                tokio::time::timeout(IDLE_TIME_MAX, open.store.wait_idle())
                    .await
                    .ok();
                tokio::time::timeout(CLOSE_TIME_MAX, open.store.shutdown())
                    .await
                    .ok();
                open.collector.close();
            }
            Current::Opening | Current::Failed(_) => {}
            Current::Closed => {
                self.current.send_replace(Current::Closed);
                return;
            }
        }
        let number = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let opened = open(
            &self.dir,
            self.gc_interval,
            &self.ledger,
            &self.collected_at,
            number,
        );
        self.current.send_replace(match opened.await {
            Ok(open) => {
                tracing::info!("the blob store is open again");
                Current::Open(open)
            }
            Err(reason) => {
                tracing::warn!(reason, "the blob store cannot be opened; it is tried again");
                Current::Failed(reason.into())
            }
        });
    }

    /// Returns the store once it is open. When that has failed it is tried again, once.
    pub(super) async fn now(&self) -> Result<Open, String> {
        let mut current = self.current.subscribe();
        let mut is_tried = false;
        loop {
            let is = current.borrow_and_update().clone();
            match is {
                Current::Open(open) => return Ok(open),
                Current::Closed => return Err("the blob store is closed".to_owned()),
                Current::Failed(reason) if is_tried => return Err(reason.to_string()),
                Current::Failed(_) => {
                    is_tried = true;
                    self.ill.notify_one();
                }
                Current::Opening => {}
            }
            let changed = tokio::time::timeout(ANSWER_TIME_MAX, current.changed()).await;
            let changed = changed.map_err(|_| "the blob store does not open".to_owned())?;
            changed.map_err(text)?;
        }
    }

    async fn store(&self) -> Result<FsStore, String> {
        Ok(self.now().await?.store)
    }

    /// Returns a number that is another one after the store was opened again.
    pub(crate) fn number(&self) -> u64 {
        match &*self.current.borrow() {
            Current::Open(open) => open.number,
            Current::Opening | Current::Failed(_) | Current::Closed => u64::MAX,
        }
    }

    /// After a failure: tells whether the store has failed since it had that number and is open again now, so that it is
    /// worth going on.
    pub(crate) async fn is_mended_since(&self, number: u64) -> bool {
        if self.number() == number {
            match self.now().await {
                Ok(open) if is_answering(&open.store).await => return false,
                Ok(open) => {
                    self.ill.notify_one();
                    if tokio::time::timeout(ANSWER_TIME_MAX, open.over.cancelled())
                        .await
                        .is_err()
                    {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        self.now().await.is_ok_and(|open| open.number != number)
    }

    /// Has somebody look whether the store still works.
    pub(crate) fn suspect(&self) {
        self.ill.notify_one();
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, change: Change) -> Result<(), String> {
        self.book
            .write(change)
            .await
            .map_err(|error| causes(&error))
    }

    /// Returns who decides whether there is room.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Lends the ledger.
    pub(crate) fn with_ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.ledger())
    }

    /// Returns the file in which a blob lies that is not small, whole or not.
    pub(crate) fn data_file(&self, blob: &Blake3Hash) -> PathBuf {
        self.paths.data_path(&to_hash(*blob))
    }

    /// Returns the folder of such files.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.paths.data_path
    }

    /// Returns the bytes that a blob's file takes on the disk now.
    pub(crate) fn allocated_bytes(&self, blob: &Blake3Hash) -> u64 {
        let metadata = std::fs::metadata(self.data_file(blob));
        metadata.map_or(0, |metadata| metadata.blocks().saturating_mul(512))
    }

    /// Says what is here of a blob.
    pub(crate) async fn state(&self, blob: Blake3Hash) -> Result<BlobState, String> {
        let hash = to_hash(blob);
        let store = self.store().await?;
        if self.ledger().is_damaged(&blob) {
            return Ok(BlobState::Absent);
        }
        match store.blobs().status(hash).await.map_err(text)? {
            BlobStatus::NotFound => Ok(BlobState::Absent),
            BlobStatus::Complete { size } => Ok(BlobState::Complete { size_bytes: size }),
            BlobStatus::Partial { .. } => {
                let field = store.blobs().observe(hash).await.map_err(text)?;
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
        let store = self.store().await?;
        let observe = store.blobs().observe(to_hash(blob));
        let field = observe.await.map_err(text)?;
        Ok(byte_ranges(&field.ranges))
    }

    /// Follows which ranges of a blob, in bytes, are here: all of them now, and again whenever more arrived.
    pub(crate) fn arrivals(
        self: &Arc<Self>,
        blob: Blake3Hash,
    ) -> impl futures_util::Stream<Item = Vec<Range<u64>>> + Send + use<> {
        // Each time the store is opened again there is a new stream to follow.
        let opened = futures_util::stream::unfold(self.clone(), |this| async move {
            let open = this.now().await.ok()?;
            Some((open, this))
        });
        opened
            .then(move |open| async move {
                let observe = open.store.blobs().observe(to_hash(blob));
                let fields = observe.stream().await.ok();
                let fields = futures_util::stream::iter(fields).flatten();
                let over = open.over.clone();
                let ended = move || over.is_cancelled();
                let until =
                    futures_util::StreamExt::take_until(fields, open.over.cancelled_owned());
                let fields = until.map(|field| Some(byte_ranges(&field.ranges)));
                // Without a new store nothing more comes.
                let end = futures_util::stream::once(async move { ended() });
                fields.chain(end.filter_map(|over| (!over).then_some(None)))
            })
            .flatten()
            .take_while(Option::is_some)
            .filter_map(|ranges| ranges)
    }

    /// Reads a stream into a new blob, at most `size_bytes_max` long, as far as there is room.
    pub(crate) async fn import(
        &self,
        reader: impl AsyncRead + Send + Unpin,
        size_bytes_max: u64,
    ) -> Result<Imported, ImportFailure> {
        let open = self.now().await.map_err(ImportFailure::Store)?;
        let (sender, mut chunks) = mpsc::channel::<Bytes>(IMPORT_QUEUE);
        let stream = futures_util::stream::poll_fn(move |cx| chunks.poll_recv(cx));
        let stream = stream.map(Ok);
        let write = async {
            let progress = open.store.blobs().add_stream(stream).await;
            let written = open.over.run_until_cancelled(progress.temp_tag()).await;
            written.map(|written| written.map_err(text))
        };
        // A source that fails ends the import by dropping it: an error in the stream makes iroh-blobs panic when it comes
        // while the store reports progress.
        let read = self.pump(reader, size_bytes_max, sender);
        let ((size_bytes, room), written) = tokio::try_join!(read, async { Ok(write.await) })?;
        let reopened = || Err("the blob store was opened again".to_owned());
        let guard = match written.unwrap_or_else(reopened) {
            Ok(guard) => guard,
            Err(reason) => return Err(self.import_failure(reason, size_bytes)),
        };
        let blake3 = from_hash(&guard.hash());
        if self.ledger().is_damaged(&blake3) {
            // These bytes were hashed on their way in, and took the place of the bad ones.
            let mended = self.write(Change::Damaged(blake3, false)).await;
            mended.map_err(ImportFailure::Store)?;
        }
        Ok(Imported {
            blake3,
            size_bytes,
            _guard: guard,
            _room: room,
        })
    }

    fn import_failure(&self, reason: String, size_bytes: u64) -> ImportFailure {
        self.suspect();
        match self.account.ran_out(self, &reason, size_bytes) {
            Some(full) => ImportFailure::Full(full),
            None => ImportFailure::Store(reason),
        }
    }

    /// Makes a tag hold blobs; survives a crash once it returned. A blob that was here before may be gone by then unless
    /// something else holds it: ask for its state afterwards.
    pub(crate) async fn hold(
        &self,
        tag: &Tag,
        class: Class,
        blobs: Vec<(Blake3Hash, Entry)>,
    ) -> Result<(), String> {
        let names: Vec<Blake3Hash> = blobs.iter().map(|(blob, _)| *blob).collect();
        let tag = tag.clone();
        self.write(Change::Hold { tag, class, blobs }).await?;
        if let Ok(open) = self.now().await {
            // A collector that has ended removes nothing.
            open.collector.spares(&names).await.ok();
        }
        Ok(())
    }

    /// Says what a tag is kept for. Nothing happens when there is no such tag.
    pub(crate) async fn set_class(&self, tag: &Tag, class: Class) -> Result<(), String> {
        if self.ledger().class(tag) == Some(class) {
            return Ok(());
        }
        self.write(Change::Class(tag.clone(), class)).await
    }

    /// Makes a row of the ledger, keeping what was known of the blob.
    pub(crate) fn entry(
        &self,
        tag: &Tag,
        blob: &Blake3Hash,
        hold: Hold,
        role: Option<Role>,
        size_bytes: u64,
    ) -> Entry {
        let ledger = self.ledger();
        let known = ledger.entry(tag, blob);
        let role = role.or_else(|| {
            let elsewhere = || ledger.holders(blob).first().map(|(.., entry)| entry.role);
            known.map(|known| known.role).or_else(elsewhere)
        });
        let new = entry(hold, role.unwrap_or_default(), size_bytes);
        Entry {
            first_held: known.map_or(new.first_held, |known| known.first_held),
            ..new
        }
    }

    /// Writes what the store knows of its blobs to disk: one that is whole is found whole after a kill from then on.
    pub(crate) async fn sync(&self) -> Result<(), String> {
        let store = self.store().await?;
        store.sync_db().await.map_err(text)
    }

    /// Forgets a tag; blobs that no other tag holds are collected later. Returns their number.
    pub(crate) async fn release(&self, tag: &Tag) -> Result<usize, String> {
        let blobs = self.ledger().blobs(tag).len();
        self.write(Change::Remove(tag.clone())).await?;
        Ok(blobs)
    }

    /// Forgets rows; blobs that no other tag holds are collected.
    pub(crate) async fn release_blobs(&self, rows: Vec<(Tag, Blake3Hash)>) -> Result<(), String> {
        self.write(Change::RemoveBlobs(rows)).await
    }

    /// Has everything that nobody holds removed now, and waits for that.
    pub(crate) async fn collect(&self) -> Result<(), String> {
        let open = self.now().await?;
        match open.collector.run().await {
            Ok(()) => return Ok(()),
            Err(collector::Ended) => self.ill.notify_one(),
        }
        if tokio::time::timeout(ANSWER_TIME_MAX, open.over.cancelled())
            .await
            .is_err()
        {
            return Err("what nobody holds cannot be removed".to_owned());
        }
        let open = self.now().await?;
        let ended = open.collector.run().await;
        ended.map_err(|collector::Ended| "what nobody holds cannot be removed".to_owned())
    }

    /// Notes that what is on disk of a blob is bad: it is served no more, and removed with the next collection.
    pub(crate) async fn condemn(&self, blob: Blake3Hash) -> Result<(), String> {
        self.write(Change::Damaged(blob, true)).await
    }

    /// Removes the bad bytes of blobs, so that good ones can take their place.
    pub(crate) async fn clear_damage(&self) -> Result<(), String> {
        let damaged = self.ledger().damaged();
        if damaged.is_empty() {
            return Ok(());
        }
        self.collect().await?;
        let store = self.store().await?;
        for blob in damaged {
            let status = store.blobs().status(to_hash(blob)).await.map_err(text)?;
            if !matches!(status, BlobStatus::NotFound) {
                return Err(format!(
                    "the damaged blob {blob} is in use and cannot be replaced"
                ));
            }
            self.unfinish(blob).await?;
            self.write(Change::Damaged(blob, false)).await?;
        }
        Ok(())
    }

    /// Notes that a blob was used.
    pub(crate) fn touch(&self, blob: &Blake3Hash) {
        self.ledger().touch(blob, unix_seconds());
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
        self.ledger().totals()
    }

    /// Says whether anyone may have this blob.
    pub(crate) fn serves(&self, blob: &Blake3Hash) -> bool {
        self.ledger().serves(blob)
    }

    /// Serves nothing for a while, or goes on.
    pub(super) fn pause(&self, is_paused: bool) {
        self.ledger().pause(is_paused);
    }

    /// Serves nothing for these tags and those that begin with one of them and a slash.
    pub(super) fn refuse(&self, tags: HashSet<Tag>) {
        self.ledger().refuse(tags);
    }

    /// Reads a whole blob, checking its hash again.
    pub(crate) async fn read(&self, blob: Blake3Hash) -> Result<Bytes, String> {
        let store = self.store().await?;
        store.blobs().get_bytes(to_hash(blob)).await.map_err(text)
    }

    /// Opens a blob for reading; the caller knows what of it is here and checks what it reads.
    pub(crate) async fn open_blob(&self, blob: Blake3Hash) -> io::Result<Opened> {
        // Blobs beyond the inline limit are plain files at a fixed place; reading them directly is forty times as fast
        // as the store's reader.
        match tokio::fs::File::open(self.paths.data_path(&to_hash(blob))).await {
            Ok(file) => Ok(Opened::File(file.into_std().await)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes = self.read(blob).await.map_err(io::Error::other)?;
                Ok(Opened::Bytes(bytes))
            }
            Err(error) => Err(error),
        }
    }

    /// Says when collection last began, in seconds since 1970, and whether that is too long ago: the store is opened again
    /// when its collector ends, so this tells of a store that cannot be.
    pub(crate) fn collection(&self) -> (u64, bool) {
        let at = self.collected_at.load(Ordering::Relaxed);
        let late = unix_seconds().saturating_sub(at) > 3 * self.gc_interval.as_secs() + 60;
        (at, late)
    }

    /// Lists the bytes sent for every tag that there ever was, in all.
    pub(crate) fn uploads(&self) -> Vec<(Tag, u64)> {
        self.ledger().uploads().by_tag()
    }

    /// Returns the bytes sent for a tag, in all.
    pub(crate) fn uploaded(&self, tag: &Tag) -> u64 {
        self.ledger().uploads().of(tag)
    }

    /// Returns the bytes sent on a day, counted since 1970-01-01, and later.
    pub(crate) fn uploaded_since(&self, day: u32) -> u64 {
        self.ledger().uploads().since(day)
    }

    /// Writes everything and closes the store.
    pub(crate) async fn close(&self) {
        if let Current::Open(open) = self.current.send_replace(Current::Closed) {
            open.over.cancel();
            if let Err(error) = open.store.shutdown().await {
                tracing::warn!(%error, "the blob store did not close in order");
            }
            open.collector.close();
        }
        self.book.close().await;
    }

    /// Makes the collector end, as an error in it would.
    #[cfg(feature = "faults")]
    pub(crate) async fn kill_collector(&self) {
        if let Ok(open) = self.now().await {
            open.collector.kill();
        }
    }

    /// Sends a stream on, piece by piece, while there is room.
    async fn pump(
        &self,
        mut reader: impl AsyncRead + Send + Unpin,
        size_bytes_max: u64,
        sender: mpsc::Sender<Bytes>,
    ) -> Result<(u64, Reservation), ImportFailure> {
        let room = self.account.growing();
        let mut size_bytes = 0u64;
        let mut reserved = 0u64;
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
                return Ok((size_bytes, room));
            }
            let written = size_bytes;
            size_bytes += chunk.len() as u64;
            if size_bytes > size_bytes_max {
                return Err(ImportFailure::TooLarge);
            }
            if size_bytes > reserved {
                let ahead = size_bytes.min(IMPORT_AHEAD_BYTES_MAX);
                reserved = size_bytes + ahead;
                if room.grow(self, reserved, written).await.is_err() {
                    reserved = size_bytes;
                    room.grow(self, reserved, written).await?;
                }
            }
            if sender.send(chunk.freeze()).await.is_err() {
                // The store gave up; its own answer says why.
                return Ok((size_bytes, room));
            }
        }
    }
}

async fn open(
    dir: &Path,
    gc_interval: Duration,
    ledger: &Arc<Mutex<Ledger>>,
    collected_at: &Arc<AtomicU64>,
    number: u64,
) -> Result<Open, String> {
    let (collector, config) = Collector::new(ledger.clone(), gc_interval, collected_at.clone());
    let mut options = Options::new(dir);
    options.batch.max_write_duration = COMMIT_DELAY_MAX;
    options.gc = Some(config);
    // Of a fetched blob whose outboard moves from its file into the database, iroh-blobs never removes the file.
    options.inline.max_outboard_inlined = 0;
    let store = FsStore::load_with_opts(dir.join("blobs.db"), options).await;
    Ok(Open {
        store: store.map_err(text)?,
        over: CancellationToken::new(),
        collector: Arc::new(collector),
        number,
    })
}

/// Asks the store's database to write what it has: it ends after an error, and everything fails from then on.
async fn is_answering(store: &FsStore) -> bool {
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, store.sync_db());
    matches!(answer.await, Ok(Ok(())))
}

/// Makes a new row of the ledger.
fn entry(hold: Hold, role: Role, size_bytes: u64) -> Entry {
    let now = unix_seconds();
    Entry {
        hold,
        role,
        size_bytes,
        first_held: now,
        last_used: now,
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

/// Reads the name of a tag as earlier versions kept it in the store's own database: `hold#tag#blob`.
fn parse_name(name: &[u8], blob: &Blake3Hash) -> Option<(Hold, Tag)> {
    let mut parts = std::str::from_utf8(name).ok()?.splitn(3, '#');
    let kind = parts.next()?;
    let hold = Hold::ALL.into_iter().find(|hold| hold.name() == kind)?;
    let tag = parts.next()?.parse().ok()?;
    (parts.next()? == blob.to_string()).then_some((hold, tag))
}

pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn text(error: impl std::fmt::Display) -> String {
    format!("{error:#}")
}

/// Writes an error with its causes in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
