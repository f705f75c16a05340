//! The handle that the rest of archy holds: keeps, serves, fetches and probes blobs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::sync::{OwnedMutexGuard, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blob::BlobReader;
use crate::config::{Config, Patience};
use crate::fetch::{BLOB_SIZE_BYTES_MAX, Fetch, FetchError, FetchRequest, Finder, Job, Progress};
use crate::gossip::Gossip;
use crate::ledger::{Class, Entry, Hold, Role, TagUsage};
use crate::oci_endpoint::OciEndpoint;
use crate::seeding::{self, Seeder};
use crate::status::{FetchStatus, Status};
use crate::storage::{self, Fsck, FsckProgress, Full, Room, RoomError, Using};
use crate::tag::Tag;
use crate::transport::{
    BlobState, GetFailure, ImportFailure, Opened, ProbeFailure, StartError, Transport,
};
use crate::upload::UploadLimits;

/// A blob that this node now serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provided {
    /// Its hash.
    pub blake3: Blake3Hash,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// A blob could not be provided.
#[derive(Debug, thiserror::Error)]
pub enum ProvideError {
    /// The bytes have another hash than announced.
    #[error("the bytes received are blob {actual}, not {expected}; send them again")]
    WrongHash {
        /// The hash announced.
        expected: Blake3Hash,
        /// The hash of what came.
        actual: Blake3Hash,
    },
    /// The stream did not end in time.
    #[error("the blob is larger than the {size_bytes_max} bytes allowed")]
    TooLarge {
        /// The limit.
        size_bytes_max: u64,
    },
    /// There is no room for them.
    #[error(transparent)]
    Full(#[from] Full),
    /// The source of the bytes failed.
    #[error("cannot read the bytes to provide")]
    Read(#[source] std::io::Error),
    /// The blob store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The blob store failed.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use the blob store: {0}; check free space and the permissions of the blob directory"
)]
pub struct StoreError(pub(crate) String);

/// A blob could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not here, or not all of it.
    #[error("blob {blake3} is not here")]
    Absent {
        /// The blob.
        blake3: Blake3Hash,
    },
    /// It is larger than the caller can take.
    #[error("blob {blake3} has {size_bytes} bytes, more than the {size_bytes_max} allowed")]
    TooLarge {
        /// The blob.
        blake3: Blake3Hash,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        size_bytes_max: u64,
    },
    /// The blob store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An endpoint did not prove that it serves a blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// It could not be reached.
    #[error(
        "endpoint {endpoint} cannot be reached: {reason}; check that archyd runs there and that its UDP port is open"
    )]
    Unreachable {
        /// The endpoint.
        endpoint: archy_registry::id::EndpointId,
        /// What happened.
        reason: String,
    },
    /// It was reached and does not serve the blob.
    #[error("endpoint {endpoint} does not serve blob {blake3}")]
    NotServed {
        /// The endpoint.
        endpoint: archy_registry::id::EndpointId,
        /// The blob.
        blake3: Blake3Hash,
    },
    /// It answered with something that proves nothing.
    #[error("endpoint {endpoint} did not prove that it serves blob {blake3}: it {reason}")]
    Unproven {
        /// The endpoint.
        endpoint: archy_registry::id::EndpointId,
        /// The blob.
        blake3: Blake3Hash,
        /// What it did.
        reason: String,
    },
}

/// Fetches under way by number.
type FetchList = HashMap<u64, (Tag, watch::Receiver<Progress>)>;

/// A running swarm node. Cheap to clone. [`shutdown`](Self::shutdown) ends it in order; dropping the
/// last clone ends it too, without waiting for anything.
#[derive(Debug, Clone)]
pub struct Swarm {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Arc<Transport>,
    oci: OciEndpoint,
    patience: Patience,
    peers: Vec<Endpoint>,
    locks: Arc<BlobLocks>,
    seeder: Arc<Seeder>,
    gossip: Arc<Gossip>,
    fetches: Arc<Mutex<FetchList>>,
    fetch_count: AtomicU64,
    bytes_fetched: Arc<AtomicU64>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Swarm {
    /// Opens the blob store and begins to serve what it shares. `cancel` stops fetches and serving;
    /// [`shutdown`](Self::shutdown) must still be awaited.
    ///
    /// # Errors
    /// The key, the store or an address is unusable; the message names it.
    pub async fn start(config: Config, cancel: CancellationToken) -> Result<Self, StartError> {
        let tasks = TaskTracker::new();
        let cancel = cancel.child_token();
        let stop_on_error = cancel.clone().drop_guard();
        let transport = Arc::new(Transport::start(&config, &tasks, &cancel).await?);
        let oci = OciEndpoint::start(transport.clone(), &tasks, &cancel)
            .await
            .map_err(StartError::OciEndpoint)?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| StartError::Setting {
            what: "chance".to_owned(),
            reason: error.to_string(),
        })?;
        let seeder = Seeder::new(config.announce_interval, u64::from_le_bytes(seed));
        let seeder = Arc::new(seeder);
        let telling = seeding::keep(seeder.clone(), transport.clone(), config.patience.connect);
        tasks.spawn(cancel.clone().run_until_cancelled_owned(telling));
        let interval = config.announce_interval;
        let gossip = Arc::new(Gossip::new(transport.clone(), interval, &tasks, &cancel));
        stop_on_error.disarm();
        Ok(Self {
            inner: Arc::new(Inner {
                transport,
                oci,
                patience: config.patience,
                peers: config.peers,
                locks: Arc::default(),
                seeder,
                gossip,
                fetches: Arc::default(),
                fetch_count: AtomicU64::new(0),
                bytes_fetched: Arc::default(),
                tasks,
                cancel,
            }),
        })
    }

    /// Returns this node's endpoint: its id and the ways to reach it now.
    pub fn endpoint(&self) -> Endpoint {
        self.inner.transport.local()
    }

    /// Lists the archy nodes seen on the local network.
    pub fn lan_peers(&self) -> Vec<Endpoint> {
        self.inner.transport.lan().list()
    }

    /// Returns the OCI registry from which podman pulls images out of the blob store.
    pub fn oci(&self) -> &OciEndpoint {
        &self.inner.oci
    }

    /// Reads a stream into a blob, holds it under `tag` and serves it. With `expected`, refuses
    /// other bytes. At most [`BLOB_SIZE_BYTES_MAX`] bytes are read. A tag that is new is one that this node publishes.
    ///
    /// # Errors
    /// Nothing is kept of a stream that fails, is too long or has another hash.
    pub async fn provide(
        &self,
        tag: &Tag,
        reader: impl AsyncRead + Send + Unpin,
        expected: Option<Blake3Hash>,
    ) -> Result<Provided, ProvideError> {
        self.provide_as(tag, None, reader, expected).await
    }

    /// Does what [`provide`](Self::provide) does and says what the blob is to its tag.
    ///
    /// # Errors
    /// As for [`provide`](Self::provide).
    pub async fn provide_as(
        &self,
        tag: &Tag,
        role: Option<Role>,
        reader: impl AsyncRead + Send + Unpin,
        expected: Option<Blake3Hash>,
    ) -> Result<Provided, ProvideError> {
        let store = self.inner.transport.store();
        let import = store.import(reader, BLOB_SIZE_BYTES_MAX).await;
        let imported = import.map_err(|failure| match failure {
            ImportFailure::TooLarge => ProvideError::TooLarge {
                size_bytes_max: BLOB_SIZE_BYTES_MAX,
            },
            ImportFailure::Full(full) => full.into(),
            ImportFailure::Read(error) => ProvideError::Read(error),
            ImportFailure::Store(reason) => StoreError(reason).into(),
        })?;
        if let Some(expected) = expected
            && expected != imported.blake3
        {
            return Err(ProvideError::WrongHash {
                expected,
                actual: imported.blake3,
            });
        }
        let (blake3, size_bytes) = (imported.blake3, imported.size_bytes);
        store.sync().await.map_err(StoreError)?;
        let entry = store.entry(tag, &blake3, Hold::Shared, role, size_bytes);
        let held = store.hold(tag, Class::Publishing, vec![(blake3, entry)]);
        held.await.map_err(StoreError)?;
        Ok(Provided { blake3, size_bytes })
    }

    /// Holds a blob that is already complete here under one more tag and serves it. Returns `None`
    /// when it is not here.
    ///
    /// # Errors
    /// The blob store failed.
    pub async fn adopt(
        &self,
        tag: &Tag,
        blake3: Blake3Hash,
    ) -> Result<Option<Provided>, StoreError> {
        let store = self.inner.transport.store();
        let BlobState::Complete { size_bytes } = store.state(blake3).await.map_err(StoreError)?
        else {
            return Ok(None);
        };
        let known = store.with_ledger(|ledger| ledger.entry(tag, &blake3));
        store.sync().await.map_err(StoreError)?;
        let entry = store.entry(tag, &blake3, Hold::Shared, None, size_bytes);
        let held = store.hold(tag, Class::Cache, vec![(blake3, entry)]);
        held.await.map_err(StoreError)?;
        // Nobody may have held it until now.
        if let BlobState::Complete { .. } = store.state(blake3).await.map_err(StoreError)? {
            return Ok(Some(Provided { blake3, size_bytes }));
        }
        if known.is_none() {
            let row = vec![(tag.clone(), blake3)];
            store.release_blobs(row).await.map_err(StoreError)?;
        }
        Ok(None)
    }

    /// Serves the blobs of a tag to others, of those that are being fetched what is here, or stops to. They stay
    /// here either way.
    ///
    /// # Errors
    /// The blob store failed.
    pub async fn share(&self, tag: &Tag, share: bool) -> Result<(), StoreError> {
        let store = self.inner.transport.store();
        let blobs = store.blobs(tag).into_iter().map(|(blob, entry)| {
            let hold = entry.hold.sharing(share);
            (blob, Entry { hold, ..entry })
        });
        let held = store.hold(tag, Class::default(), blobs.collect());
        held.await.map_err(StoreError)
    }

    /// Says what a tag is kept for, and with that how soon it goes when room is needed. Nothing happens when there is no
    /// such tag.
    ///
    /// # Errors
    /// The blob store failed.
    pub async fn set_class(&self, tag: &Tag, class: Class) -> Result<(), StoreError> {
        let store = self.inner.transport.store();
        store.set_class(tag, class).await.map_err(StoreError)
    }

    /// Keeps the blobs of a tag from going while room is made, until the value is dropped.
    #[must_use]
    pub fn use_tag(&self, tag: &Tag) -> Using {
        self.inner.transport.store().account().use_tag(tag)
    }

    /// Describes how much room blobs take and may take.
    ///
    /// # Errors
    /// The file system cannot be measured.
    pub fn room(&self) -> Result<Room, StoreError> {
        let store = self.inner.transport.store();
        store.account().room(store).map_err(|error| match error {
            RoomError::Full(full) => StoreError(full.to_string()),
            RoomError::Store(reason) => StoreError(reason),
        })
    }

    /// Reads every blob again and compares it with its hash, one at a time. What is bad is served no more; the next fetch
    /// of its tag brings it again. Ends early, with what it found, when `stop` is cancelled.
    ///
    /// # Errors
    /// The blob store failed.
    pub async fn fsck(
        &self,
        stop: &CancellationToken,
        on_progress: impl FnMut(FsckProgress) + Send,
    ) -> Result<Fsck, StoreError> {
        let checked = storage::check(self.inner.transport.store(), stop, on_progress);
        checked.await.map_err(StoreError)
    }

    /// Removes what nobody holds now instead of within the collection interval.
    ///
    /// # Errors
    /// The blob store failed.
    pub async fn collect(&self) -> Result<(), StoreError> {
        let store = self.inner.transport.store();
        store.collect().await.map_err(StoreError)
    }

    /// Returns the bytes sent to other nodes for a tag, in all.
    pub fn uploaded(&self, tag: &Tag) -> u64 {
        self.inner.transport.store().uploaded(tag)
    }

    /// Returns the bytes sent to other nodes on a day and later; days are counted since 1970-01-01.
    pub fn uploaded_since(&self, day: u32) -> u64 {
        self.inner.transport.store().uploaded_since(day)
    }

    /// Waits until the endpoint has closed by itself: the address that it listened on is gone, or what answers on it broke.
    /// Nothing is fetched or served any more then, until another swarm is started.
    pub async fn closed(&self) {
        self.inner.transport.closed().await;
    }

    /// Closes the endpoint, as an error in it would. For tests.
    #[cfg(feature = "faults")]
    pub async fn kill_endpoint(&self) {
        self.inner.transport.kill_endpoint().await;
    }

    /// Makes the collector of blobs end, as an error in it would. For tests.
    #[cfg(feature = "faults")]
    pub async fn kill_collector(&self) {
        self.inner.transport.store().kill_collector().await;
    }

    /// Keeps to other limits when it serves, from the next request on.
    pub fn limit_uploads(&self, limits: UploadLimits) {
        self.inner.transport.limit_uploads(limits);
    }

    /// Serves nothing for these tags, nor for those that begin with one of them and a slash, until it is told otherwise;
    /// what is being sent for them is broken off. A blob that another tag shares is served on, and so is what this node
    /// is the origin of ([`Class::Publishing`]).
    pub fn refuse_uploads(&self, tags: impl IntoIterator<Item = Tag>) {
        let tags = tags.into_iter().collect();
        self.inner.transport.refuse_uploads(tags);
    }

    /// Lists the bytes sent to other nodes for every tag that there ever was, in all.
    pub fn uploads(&self) -> Vec<(Tag, u64)> {
        self.inner.transport.store().uploads()
    }

    /// Returns a receiver that changes when more bytes were counted as sent to other nodes.
    pub fn watch_uploads(&self) -> watch::Receiver<u64> {
        self.inner.transport.traffic().watch()
    }

    /// Forgets a tag, unfinished blobs included. Blobs that no other tag holds are no longer served
    /// and their space is freed within the collection interval. Returns the number of blobs let go.
    /// Stop the fetches of the tag first: they would hold what they finish. Who was told that this node serves it is told
    /// that it does not any more.
    ///
    /// # Errors
    /// The blob store failed.
    pub async fn withdraw(&self, tag: &Tag) -> Result<usize, StoreError> {
        let store = self.inner.transport.store();
        let released = store.release(tag).await.map_err(StoreError)?;
        let is_held = |tag: &Tag| !store.blobs(tag).is_empty();
        self.inner.seeder.withdrawn(is_held);
        Ok(released)
    }

    /// Says whether a blob is completely here.
    ///
    /// # Errors
    /// The blob store failed.
    pub async fn has(&self, blake3: Blake3Hash) -> Result<bool, StoreError> {
        let state = self.inner.transport.store().state(blake3).await;
        Ok(matches!(
            state.map_err(StoreError)?,
            BlobState::Complete { .. }
        ))
    }

    /// Says whether other nodes may fetch a blob from here.
    pub fn serves(&self, blake3: Blake3Hash) -> bool {
        self.inner.transport.store().serves(&blake3)
    }

    /// Reads a blob of at most `size_bytes_max` bytes into memory, checking its hash again.
    ///
    /// # Errors
    /// It is not here, too large, or damaged on disk.
    pub async fn read(&self, blake3: Blake3Hash, size_bytes_max: u64) -> Result<Bytes, ReadError> {
        let store = self.inner.transport.store();
        let state = store.state(blake3).await.map_err(StoreError)?;
        let BlobState::Complete { size_bytes } = state else {
            return Err(ReadError::Absent { blake3 });
        };
        if size_bytes > size_bytes_max {
            return Err(ReadError::TooLarge {
                blake3,
                size_bytes,
                size_bytes_max,
            });
        }
        store.touch(&blake3);
        Ok(store.read(blake3).await.map_err(StoreError)?)
    }

    /// Opens a complete blob to read it piece by piece. Its hash is not checked again.
    ///
    /// # Errors
    /// It is not here, or its file cannot be opened.
    pub async fn open(&self, blake3: Blake3Hash) -> Result<BlobReader, ReadError> {
        let store = self.inner.transport.store();
        let state = store.state(blake3).await.map_err(StoreError)?;
        let BlobState::Complete { .. } = state else {
            return Err(ReadError::Absent { blake3 });
        };
        store.touch(&blake3);
        let opened = store.open_blob(blake3).await;
        match opened.map_err(|error| StoreError(error.to_string()))? {
            Opened::Bytes(bytes) => Ok(BlobReader::of_bytes(bytes)),
            Opened::File(file) => Ok(BlobReader::of_file(file)),
        }
    }

    /// Begins to fetch blobs. They are held under the request's tag from the start and until it is
    /// withdrawn, so that a later fetch goes on where this one ended, whatever ended it.
    pub fn fetch(&self, request: FetchRequest, cancel: &CancellationToken) -> Fetch {
        self.start_fetch(request, None, cancel)
    }

    /// Does what [`fetch`](Self::fetch) does, and has `finder` look for more endpoints when nothing comes from those who
    /// are known.
    pub fn fetch_finding(
        &self,
        request: FetchRequest,
        finder: Finder,
        cancel: &CancellationToken,
    ) -> Fetch {
        self.start_fetch(request, Some(finder), cancel)
    }

    fn start_fetch(
        &self,
        request: FetchRequest,
        finder: Option<Finder>,
        cancel: &CancellationToken,
    ) -> Fetch {
        let inner = &self.inner;
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (outcome_sender, outcome) = oneshot::channel();
        let stop = cancel.child_token();
        let id = inner.fetch_count.fetch_add(1, Ordering::Relaxed);
        let listed = Listed {
            id,
            fetches: inner.fetches.clone(),
        };
        inner
            .fetches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, (request.tag.clone(), progress.clone()));
        let job = Job {
            transport: inner.transport.clone(),
            locks: inner.locks.clone(),
            seeder: inner.seeder.clone(),
            gossip: inner.gossip.clone(),
            patience: inner.patience,
            peers: inner.peers.clone(),
            request,
            finder,
            bytes_fetched: inner.bytes_fetched.clone(),
        };
        let (stopped, shutdown) = (stop.clone(), inner.cancel.clone());
        inner.tasks.spawn(async move {
            let result = tokio::select! {
                result = crate::fetch::run(job, progress_sender) => result,
                () = stopped.cancelled() => Err(FetchError::Cancelled),
                () = shutdown.cancelled() => Err(FetchError::Cancelled),
            };
            drop(listed);
            outcome_sender.send(result).ok();
        });
        Fetch {
            progress,
            outcome,
            _stop: stop.drop_guard(),
        }
    }

    /// Tells these endpoints, now and again from now on, that this node serves the blobs of a tag: whoever asks one of
    /// them for company hears of this node. Ends when the tag is withdrawn; nothing is told of what is not shared, or
    /// while uploads are paused. A [fetch](Self::fetch) that ends well has done so, until the next start.
    pub fn seed(&self, tag: &Tag, trackers: &[Endpoint]) {
        self.inner.seeder.add(tag, trackers.to_vec());
        for tracker in trackers {
            self.inner.gossip.introduce(tag, tracker);
        }
    }

    /// Joins the topic of this name, the same for all versions of an app, as long as the tag is held: there nodes hint at
    /// each other what they have. It is entered through those whom a fetch of the tag meets and [`seed`](Self::seed)
    /// names. Call it once the tag holds something or a fetch of it has begun; of many, the newest few are kept. Nothing
    /// happens on a node whose [configuration](crate::Discovery::gossip) wants no topics.
    pub fn join_topic(&self, tag: &Tag, name: &str) {
        self.inner.gossip.join(tag, name);
    }

    /// Asks an endpoint, which may be this one, to prove over the network that it serves a blob;
    /// returns the blob's size. The proof covers the last chunk.
    ///
    /// # Errors
    /// Tells an endpoint that cannot be reached from one that does not serve the blob.
    pub async fn probe(&self, endpoint: &Endpoint, blake3: Blake3Hash) -> Result<u64, ProbeError> {
        let within = self.inner.patience.connect;
        let probe = self.inner.transport.probe(endpoint, blake3, within);
        let endpoint = endpoint.id;
        probe.await.map_err(|failure| match failure {
            ProbeFailure::Connect(error) => ProbeError::Unreachable {
                endpoint,
                reason: error.0,
            },
            ProbeFailure::Get(GetFailure::NotServed | GetFailure::Missing) => {
                ProbeError::NotServed { endpoint, blake3 }
            }
            ProbeFailure::Get(failure) => ProbeError::Unproven {
                endpoint,
                blake3,
                reason: failure.to_string(),
            },
        })
    }

    /// Lists the tags and what they hold.
    pub fn tags(&self) -> Vec<TagUsage> {
        self.inner.transport.store().usage()
    }

    /// Describes the node for its operator.
    pub fn status(&self) -> Status {
        let transport = &self.inner.transport;
        let (blobs, blob_bytes) = transport.store().totals();
        let (collected_at, collection_late) = transport.store().collection();
        let fetches = self
            .inner
            .fetches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Status {
            endpoint: transport.local(),
            lan_enabled: transport.lan().is_enabled(),
            lan_peers: transport.lan().list(),
            fetches: fetches
                .values()
                .map(|(tag, progress)| FetchStatus {
                    tag: tag.clone(),
                    progress: progress.borrow().clone(),
                })
                .collect(),
            upload_limits: transport.upload_limits(),
            requests_active: transport.traffic().active(),
            requests_refused: transport.traffic().refused(),
            bytes_served: transport.traffic().bytes_served(),
            bytes_fetched: self.inner.bytes_fetched.load(Ordering::Relaxed),
            blobs,
            blob_bytes,
            collected_at,
            collection_late,
        }
    }

    /// Stops fetches, stops serving, and flushes the store. What is on disk is usable after a kill
    /// too; an orderly end only saves checking it at the next start.
    pub async fn shutdown(&self) {
        self.inner.cancel.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.transport.shutdown().await;
    }
}

/// Takes a fetch off the operator's list when it ends, however it ends.
struct Listed {
    id: u64,
    fetches: Arc<Mutex<FetchList>>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.fetches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

/// One lock per blob being fetched, so that two fetches never transfer the same bytes twice.
#[derive(Debug, Default)]
pub(crate) struct BlobLocks {
    locks: Mutex<HashMap<Blake3Hash, Arc<tokio::sync::Mutex<()>>>>,
}

impl BlobLocks {
    /// Waits until nobody else fetches the blob.
    pub(crate) async fn lock(&self, blob: Blake3Hash) -> OwnedMutexGuard<()> {
        self.of(blob).lock_owned().await
    }

    /// Takes the blob if nobody else fetches it.
    pub(crate) fn try_lock(&self, blob: Blake3Hash) -> Option<OwnedMutexGuard<()>> {
        self.of(blob).try_lock_owned().ok()
    }

    fn of(&self, blob: Blake3Hash) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(blob).or_default().clone()
    }
}
