//! Performs a fetch: dials providers, keeps several blobs under way, watches their pace.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::pace::{Pace, Verdict, rate};
use super::sources::{Added, Index, Pick, Sources};
use super::{
    BLOB_SIZE_BYTES_MAX, BLOBS_MAX, FetchError, FetchRequest, Fetched, Progress, ProviderKind,
    Wanted,
};
use crate::config::Patience;
use crate::ledger::{Entry, Hold};
use crate::swarm::BlobLocks;
use crate::transport::{BlobState, GetFailure, Link, Transport};

/// Blobs fetched at the same time.
const BLOBS_PARALLEL_MAX: usize = 4;
/// Time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Reports over which the rate is averaged.
const RATE_WINDOW: usize = 12;

/// Everything a fetch works with.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) transport: Arc<Transport>,
    pub(crate) locks: Arc<BlobLocks>,
    pub(crate) patience: Patience,
    pub(crate) peers: Vec<Endpoint>,
    pub(crate) request: FetchRequest,
    pub(crate) bytes_fetched: Arc<AtomicU64>,
}

/// Runs a fetch to its end; dropping the future stops it and keeps what arrived.
pub(crate) async fn run(
    job: Job,
    progress: watch::Sender<Progress>,
) -> Result<Fetched, FetchError> {
    let blobs = check(&job.request)?;
    let run = Arc::new(Run::new(job, blobs));
    let missing = run.hold().await?;
    let bytes_reused = run.bytes_done();
    let mut meter = RateMeter::default();
    if !missing.is_empty() {
        let report = async {
            let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
            loop {
                tick.tick().await;
                progress.send_replace(run.progress(&mut meter));
            }
        };
        tokio::select! {
            outcome = run.fetch_all(missing) => outcome?,
            () = report => {}
        }
    }
    run.sync().await?;
    progress.send_replace(run.progress(&mut meter));
    Ok(Fetched {
        bytes_total: run.bytes_total(),
        bytes_reused,
        providers: run.sources().reports(),
    })
}

/// Refuses absurd requests and drops duplicates.
fn check(request: &FetchRequest) -> Result<Vec<Wanted>, FetchError> {
    let refuse = |reason: String| FetchError::Request {
        tag: request.tag.clone(),
        reason,
    };
    if request.blobs.len() > BLOBS_MAX {
        return Err(refuse(format!("more than {BLOBS_MAX} blobs")));
    }
    let mut seen = HashSet::new();
    let mut blobs = Vec::new();
    for blob in &request.blobs {
        if blob.size_bytes > BLOB_SIZE_BYTES_MAX {
            let Wanted { blake3, size_bytes } = blob;
            return Err(refuse(format!(
                "blob {blake3} of {size_bytes} bytes is larger than {BLOB_SIZE_BYTES_MAX} bytes"
            )));
        }
        if seen.insert(blob.blake3) {
            blobs.push(*blob);
        }
    }
    Ok(blobs)
}

/// One blob and how much of it is here.
struct Part {
    blob: Wanted,
    bytes_done: AtomicU64,
}

struct Run {
    job: Job,
    sources: Mutex<Sources>,
    /// Connections by provider; the lock is held while dialling.
    links: Mutex<Vec<Arc<tokio::sync::Mutex<Option<Link>>>>>,
    changed: Notify,
    blobs: Vec<Part>,
    blobs_done: AtomicUsize,
    lan_until: Instant,
}

impl Run {
    fn new(job: Job, blobs: Vec<Wanted>) -> Self {
        Self {
            sources: Mutex::new(Sources::new(job.patience)),
            links: Mutex::default(),
            changed: Notify::new(),
            blobs: blobs
                .into_iter()
                .map(|blob| Part {
                    blob,
                    bytes_done: AtomicU64::new(0),
                })
                .collect(),
            blobs_done: AtomicUsize::new(0),
            lan_until: Instant::now() + job.patience.lan,
            job,
        }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes_total(&self) -> u64 {
        self.blobs.iter().map(|part| part.blob.size_bytes).sum()
    }

    fn bytes_done(&self) -> u64 {
        let done = |part: &Part| part.bytes_done.load(Ordering::Relaxed);
        self.blobs
            .iter()
            .map(|part| done(part).min(part.blob.size_bytes))
            .sum()
    }

    /// Puts the tag on every blob before the first byte; returns positions of the incomplete ones.
    async fn hold(&self) -> Result<Vec<usize>, FetchError> {
        let store = self.job.transport.store();
        let mut missing = Vec::new();
        for (position, part) in self.blobs.iter().enumerate() {
            if self.finish_if_complete(part).await? {
                continue;
            }
            let entry = Entry {
                hold: Hold::Partial,
                size_bytes: part.blob.size_bytes,
            };
            store
                .hold(&self.job.request.tag, part.blob.blake3, entry)
                .await
                .map_err(store_error)?;
            let state = store.state(part.blob.blake3).await.map_err(store_error)?;
            if let BlobState::Partial { have_bytes } = state {
                part.bytes_done.store(have_bytes, Ordering::Relaxed);
            }
            missing.push(position);
        }
        if !missing.is_empty() {
            self.sync().await?;
        }
        Ok(missing)
    }

    async fn sync(&self) -> Result<(), FetchError> {
        self.job.transport.store().sync().await.map_err(store_error)
    }

    /// Tags a complete blob for good.
    async fn finish_if_complete(&self, part: &Part) -> Result<bool, FetchError> {
        let blob = part.blob;
        let store = self.job.transport.store();
        let state = store.state(blob.blake3).await.map_err(store_error)?;
        let BlobState::Complete { size_bytes } = state else {
            return Ok(false);
        };
        if size_bytes != blob.size_bytes {
            return Err(FetchError::WrongSize {
                blake3: blob.blake3,
                size_bytes: blob.size_bytes,
                actual_bytes: size_bytes,
            });
        }
        let hold = if self.job.request.share {
            Hold::Shared
        } else {
            Hold::Kept
        };
        let entry = Entry { hold, size_bytes };
        store
            .hold(&self.job.request.tag, blob.blake3, entry)
            .await
            .map_err(store_error)?;
        part.bytes_done.store(size_bytes, Ordering::Relaxed);
        self.blobs_done.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    async fn fetch_all(self: &Arc<Self>, missing: Vec<usize>) -> Result<(), FetchError> {
        let mut dials = JoinSet::new();
        let mut fetches = JoinSet::new();
        let mut lan = self.job.transport.lan().watch();
        self.add_known(&mut dials);
        let mut waiting = missing.into_iter();
        loop {
            while fetches.len() < BLOBS_PARALLEL_MAX
                && let Some(position) = waiting.next()
            {
                let run = self.clone();
                fetches.spawn(async move { run.fetch_one(&run.blobs[position]).await });
            }
            tokio::select! {
                done = fetches.join_next() => match done {
                    None => return Ok(()),
                    Some(Ok(outcome)) => outcome?,
                    Some(Err(error)) => return Err(store_error(error.to_string())),
                },
                Some(_) = dials.join_next() => {}
                Ok(()) = lan.changed() => {
                    let seen: Vec<_> = lan.borrow_and_update().values().cloned().collect();
                    for endpoint in seen {
                        self.add(endpoint, ProviderKind::Lan, &mut dials);
                    }
                }
            }
        }
    }

    /// Adds everyone known at the start; an endpoint that is both origin and on the local network
    /// counts as origin.
    fn add_known(self: &Arc<Self>, dials: &mut JoinSet<()>) {
        let request = &self.job.request;
        for endpoint in &request.origin {
            self.add(endpoint.clone(), ProviderKind::Origin, dials);
        }
        for endpoint in self.job.transport.lan().list() {
            self.add(endpoint, ProviderKind::Lan, dials);
        }
        for endpoint in request.peers.iter().chain(&self.job.peers) {
            self.add(endpoint.clone(), ProviderKind::Peer, dials);
        }
    }

    fn add(self: &Arc<Self>, endpoint: Endpoint, kind: ProviderKind, dials: &mut JoinSet<()>) {
        if endpoint.id == self.job.transport.local().id {
            return;
        }
        let added = self.sources().add(endpoint, kind);
        let index = match added {
            Added::New(index) => {
                self.links
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Arc::default());
                index
            }
            Added::Again(index) => index,
            Added::Known | Added::Full => return,
        };
        let run = self.clone();
        dials.spawn(async move {
            run.link(index).await;
        });
    }

    /// Returns the connection to a provider, dialling when there is none.
    async fn link(&self, index: Index) -> Option<Link> {
        let slot = self.links.lock().unwrap_or_else(PoisonError::into_inner)[index].clone();
        let mut slot = slot.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| link.is_open()) {
            return Some(link.clone());
        }
        let endpoint = {
            let mut sources = self.sources();
            sources.dialling(index);
            sources.endpoint(index)
        };
        let dial = self
            .job
            .transport
            .connect(&endpoint, self.job.patience.connect);
        let outcome = dial.await;
        {
            let mut sources = self.sources();
            match &outcome {
                Ok(_) => sources.connected(index),
                Err(error) => sources.unreachable(index, &error.0, Instant::now()),
            }
        }
        *slot = outcome.ok();
        self.changed.notify_waiters();
        slot.clone()
    }

    /// Fetches one blob from one provider after the other until it is complete.
    async fn fetch_one(&self, part: &Part) -> Result<(), FetchError> {
        let blob = part.blob;
        // Another fetch of the same blob may be under way: its bytes are ours too.
        let _turn = self.job.locks.lock(blob.blake3).await;
        while !self.finish_if_complete(part).await? {
            let changed = self.changed.notified();
            let pick = self.sources().pick(&blob.blake3, Instant::now());
            match pick {
                Pick::Use(index) => {
                    if let Some(link) = self.link(index).await {
                        self.ask(index, &link, part).await?;
                    }
                }
                Pick::Wait(until) => self.wait(changed, until).await,
                Pick::Exhausted => {
                    let lan = self.job.transport.lan().is_enabled();
                    if !lan || Instant::now() >= self.lan_until {
                        return Err(self.exhausted(blob).await?);
                    }
                    self.wait(changed, Some(self.lan_until)).await;
                }
            }
        }
        Ok(())
    }

    async fn wait(&self, changed: impl Future<Output = ()>, until: Option<Instant>) {
        // Without a date the wait ends with the next answer of a provider being dialled.
        let until = until.unwrap_or_else(|| Instant::now() + self.job.patience.connect);
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(until.into()) => {}
        }
    }

    async fn exhausted(&self, blob: Wanted) -> Result<FetchError, FetchError> {
        let state = self.job.transport.store().state(blob.blake3).await;
        let have_bytes = match state.map_err(store_error)? {
            BlobState::Absent => 0,
            BlobState::Partial { have_bytes } => have_bytes,
            BlobState::Complete { size_bytes } => size_bytes,
        };
        let sources = self.sources();
        if sources.is_empty() {
            return Ok(FetchError::NoProviders {
                blake3: blob.blake3,
            });
        }
        Ok(FetchError::Exhausted {
            blake3: blob.blake3,
            have_bytes,
            size_bytes: blob.size_bytes,
            providers: sources.reports(),
        })
    }

    /// Makes one request to one provider and records how it went.
    async fn ask(&self, index: Index, link: &Link, part: &Part) -> Result<(), FetchError> {
        let blob = part.blob;
        let store = self.job.transport.store();
        let missing = store.missing(blob.blake3).await.map_err(store_error)?;
        self.sources().began(index);
        let began = Instant::now();
        let received = AtomicU64::new(0);
        let count = |bytes| {
            received.fetch_add(bytes, Ordering::Relaxed);
            part.bytes_done.fetch_add(bytes, Ordering::Relaxed);
            self.job.bytes_fetched.fetch_add(bytes, Ordering::Relaxed);
            self.sources().received(index, bytes);
        };
        let get = self
            .job
            .transport
            .get(link, blob.blake3, blob.size_bytes, missing, count);
        let outcome = tokio::select! {
            outcome = get => outcome,
            failure = self.watch_pace(index, &blob.blake3, &received) => Err(failure),
        };
        let bytes = received.load(Ordering::Relaxed);
        let speed = (bytes, rate(bytes, began.elapsed()));
        {
            let mut sources = self.sources();
            sources.ended(
                index,
                &blob.blake3,
                speed,
                outcome.as_ref().copied(),
                Instant::now(),
            );
            if !link.is_open() {
                sources.lost(index);
            }
        }
        self.changed.notify_waiters();
        match outcome {
            Err(GetFailure::Local(reason)) => Err(FetchError::Store { reason }),
            Err(failure) => {
                tracing::debug!(blob = %blob.blake3, provider = index, %failure, "a provider failed");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Returns when a provider is no longer worth waiting for.
    async fn watch_pace(
        &self,
        index: Index,
        blob: &Blake3Hash,
        received: &AtomicU64,
    ) -> GetFailure {
        let patience = self.job.patience;
        let mut pace = Pace::new(patience, Instant::now());
        let mut tick = tokio::time::interval(patience.stall / 8);
        loop {
            tick.tick().await;
            match pace.observe(received.load(Ordering::Relaxed), Instant::now()) {
                Verdict::Fine => {}
                Verdict::Stalled => {
                    return GetFailure::Stalled {
                        within: patience.stall,
                    };
                }
                Verdict::Slow { bytes_per_second } => {
                    if self.sources().has_better(index, blob) {
                        return GetFailure::Slow { bytes_per_second };
                    }
                }
            }
        }
    }

    fn progress(&self, meter: &mut RateMeter) -> Progress {
        let bytes_done = self.bytes_done();
        Progress {
            bytes_done,
            bytes_total: self.bytes_total(),
            bytes_per_second: meter.observe(bytes_done, Instant::now()),
            blobs_done: self.blobs_done.load(Ordering::Relaxed),
            blobs_total: self.blobs.len(),
            providers: self.sources().progress(),
        }
    }
}

/// The rate over the last few reports.
#[derive(Default)]
struct RateMeter {
    samples: VecDeque<(Instant, u64)>,
}

impl RateMeter {
    fn observe(&mut self, bytes: u64, now: Instant) -> u64 {
        self.samples.push_back((now, bytes));
        if self.samples.len() > RATE_WINDOW {
            self.samples.pop_front();
        }
        match self.samples.front() {
            Some((began, before)) if *began < now => {
                rate(bytes.saturating_sub(*before), now.duration_since(*began))
            }
            _ => 0,
        }
    }
}

fn store_error(reason: String) -> FetchError {
    FetchError::Store { reason }
}
