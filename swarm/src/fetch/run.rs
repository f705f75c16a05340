//! A fetch from its request to its outcome: holds the blobs, has the missing ones brought, says how far it is.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use archy_registry::release::Endpoint;
use tokio::sync::watch;

use super::drive::{Board, Driver};
use super::meter::Meter;
use super::{
    BLOB_SIZE_BYTES_MAX, BLOBS_MAX, FetchError, FetchRequest, Fetched, Finder, Progress,
    ProviderProgress, ProviderReport, Wanted,
};
use crate::config::Patience;
use crate::gossip::Gossip;
use crate::ledger::Hold;
use crate::seeding::Seeder;
use crate::storage::{Reservation, RoomError};
use crate::swarm::BlobLocks;
use crate::transport::{BlobState, Transport};

/// Time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Peers who are told that the blobs are served here: in case the origin is not there to be asked.
const PEERS_TOLD_MAX: usize = 3;

/// How often a fetch goes on after the store was opened again underneath it.
const MENDED_MAX: u32 = 3;

/// Everything a fetch works with.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) transport: Arc<Transport>,
    pub(crate) locks: Arc<BlobLocks>,
    pub(crate) seeder: Arc<Seeder>,
    pub(crate) gossip: Arc<Gossip>,
    pub(crate) patience: Patience,
    pub(crate) peers: Vec<Endpoint>,
    pub(crate) request: FetchRequest,
    pub(crate) finder: Option<Finder>,
    pub(crate) bytes_fetched: Arc<AtomicU64>,
}

/// Runs a fetch to its end; dropping the future stops it and keeps what arrived.
pub(crate) async fn run(
    job: Job,
    progress: watch::Sender<Progress>,
) -> Result<Fetched, FetchError> {
    let blobs = check(&job.request)?;
    let store = job.transport.store().clone();
    let _using = store.account().use_tag(&job.request.tag);
    let run = Run::new(job, blobs);
    let mut mended = 0;
    loop {
        let number = store.number();
        let reason = match attempt(&run, &progress).await {
            Err(FetchError::Store { reason }) => reason,
            ended => return ended,
        };
        if let Some(full) = store
            .account()
            .ran_out(&store, &reason, run.bytes_missing())
        {
            // The store may have failed with it, and is opened again for whoever tries again.
            store.suspect();
            return Err(full.into());
        }
        mended += 1;
        if mended > MENDED_MAX || !store.is_mended_since(number).await {
            return Err(store_error(reason));
        }
        tracing::info!(tag = %run.job.request.tag, "the fetch goes on with the blob store that was opened again");
    }
}

async fn attempt(run: &Run, progress: &watch::Sender<Progress>) -> Result<Fetched, FetchError> {
    let _room = run.reserve().await?;
    let missing = run.hold().await?;
    let bytes_reused = run.bytes_done();
    let mut meter = Meter::default();
    if !missing.is_empty() {
        let report = async {
            let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
            loop {
                tick.tick().await;
                progress.send_replace(run.progress(bytes_reused, &mut meter));
            }
        };
        tokio::select! {
            outcome = run.fetch_all(missing) => outcome?,
            () = report => {}
        }
    }
    let synced = run.job.transport.store().sync().await;
    synced.map_err(store_error)?;
    progress.send_replace(run.progress(bytes_reused, &mut meter));
    run.seed();
    Ok(Fetched {
        bytes_total: run.bytes_total(),
        bytes_reused,
        providers: run.board().providers.reports(),
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
            let Wanted {
                blake3, size_bytes, ..
            } = blob;
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

/// One blob and how much of it was here.
pub(super) struct Part {
    pub(super) blob: Wanted,
    is_whole: AtomicBool,
    have_bytes: AtomicU64,
}

pub(super) struct Run {
    pub(super) job: Job,
    pub(super) board: Mutex<Board>,
    blobs: Vec<Part>,
    pub(super) lan_until: Instant,
    /// Whether it was looked for more endpoints.
    pub(super) has_looked: AtomicBool,
}

impl Run {
    fn new(job: Job, blobs: Vec<Wanted>) -> Self {
        Self {
            board: Mutex::default(),
            blobs: blobs
                .into_iter()
                .map(|blob| Part {
                    blob,
                    is_whole: AtomicBool::new(false),
                    have_bytes: AtomicU64::new(0),
                })
                .collect(),
            lan_until: Instant::now() + job.patience.lan,
            has_looked: AtomicBool::new(false),
            job,
        }
    }

    /// Has those who may be asked for the blobs know that they are served here.
    fn seed(&self) {
        let request = &self.job.request;
        if request.share && !self.blobs.is_empty() {
            let mut trackers = request.origin.clone();
            trackers.extend(self.board().providers.best_peers(PEERS_TOLD_MAX));
            self.job.seeder.add(&request.tag, trackers);
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes_total(&self) -> u64 {
        self.blobs.iter().map(|part| part.blob.size_bytes).sum()
    }

    /// Returns the bytes that are here, of blobs under way as the scheduler counts them.
    fn bytes_done(&self) -> u64 {
        let have = |part: &Part| {
            part.have_bytes
                .load(Ordering::Relaxed)
                .min(part.blob.size_bytes)
        };
        let at_rest: u64 = self.blobs.iter().map(have).sum();
        (at_rest + self.board().bytes_here).min(self.bytes_total())
    }

    /// Returns the bytes that are still to come.
    fn bytes_missing(&self) -> u64 {
        self.bytes_total().saturating_sub(self.bytes_done())
    }

    /// Reserves room for what is not whole here; makes room, or says in numbers why there is none.
    async fn reserve(&self) -> Result<Reservation, FetchError> {
        let store = self.job.transport.store();
        let mut missing = HashMap::new();
        for Part { blob, .. } in &self.blobs {
            let state = store.state(blob.blake3).await.map_err(store_error)?;
            if !matches!(state, BlobState::Complete { .. }) {
                missing.insert(blob.blake3, blob.size_bytes);
            }
        }
        let reserved = store.account().reserve(store, missing).await;
        reserved.map_err(|error| match error {
            RoomError::Full(full) => full.into(),
            RoomError::Store(reason) => store_error(reason),
        })
    }

    /// Puts the tag on every blob before the first byte; returns positions of the incomplete ones.
    async fn hold(&self) -> Result<Vec<usize>, FetchError> {
        let request = &self.job.request;
        let store = self.job.transport.store();
        let hold = Hold::Partial.sharing(request.share);
        store.clear_damage().await.map_err(store_error)?;
        let entries = self.blobs.iter().map(|Part { blob, .. }| {
            // What is whole stays so until it is known better.
            let known = store.with_ledger(|ledger| ledger.entry(&request.tag, &blob.blake3));
            let hold = known.map_or(hold, |known| known.hold.sharing(request.share));
            let role = blob.known_role();
            let entry = store.entry(&request.tag, &blob.blake3, hold, role, blob.size_bytes);
            (blob.blake3, entry)
        });
        let held = store.hold(&request.tag, request.class, entries.collect());
        held.await.map_err(store_error)?;
        let mut missing = Vec::new();
        let mut unfinished = Vec::new();
        for (position, part) in self.blobs.iter().enumerate() {
            if self.finish_if_complete(part).await? {
                part.have_bytes
                    .store(part.blob.size_bytes, Ordering::Relaxed);
                continue;
            }
            let state = store.state(part.blob.blake3).await.map_err(store_error)?;
            if let BlobState::Partial { have_bytes } = state {
                part.have_bytes.store(have_bytes, Ordering::Relaxed);
            }
            let Wanted {
                blake3, size_bytes, ..
            } = part.blob;
            let known = store.with_ledger(|ledger| ledger.entry(&request.tag, &blake3));
            if known.is_some_and(|known| known.hold.is_whole()) {
                let entry = store.entry(
                    &request.tag,
                    &blake3,
                    hold,
                    part.blob.known_role(),
                    size_bytes,
                );
                unfinished.push((blake3, entry));
            }
            missing.push(position);
        }
        if !unfinished.is_empty() {
            let held = store.hold(&request.tag, request.class, unfinished);
            held.await.map_err(store_error)?;
        }
        Ok(missing)
    }

    /// Tags a complete blob for good.
    pub(super) async fn finish_if_complete(&self, part: &Part) -> Result<bool, FetchError> {
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
        let request = &self.job.request;
        let hold = Hold::Kept.sharing(request.share);
        let entry = store.entry(
            &request.tag,
            &blob.blake3,
            hold,
            blob.known_role(),
            size_bytes,
        );
        let known = store.with_ledger(|ledger| ledger.entry(&request.tag, &blob.blake3));
        if known.is_none_or(|known| (known.hold, known.size_bytes) != (hold, size_bytes)) {
            let held = store.hold(&request.tag, request.class, vec![(blob.blake3, entry)]);
            held.await.map_err(store_error)?;
        }
        part.is_whole.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// Fetches what is missing; what another fetch brings is waited for, because its bytes are ours too.
    async fn fetch_all(&self, mut missing: Vec<usize>) -> Result<(), FetchError> {
        while let Some(first) = missing.first() {
            let mut turns = Vec::new();
            let mut mine = Vec::new();
            for position in &missing {
                if let Some(turn) = self.job.locks.try_lock(self.blobs[*position].blob.blake3) {
                    turns.push(turn);
                    mine.push(*position);
                }
            }
            if mine.is_empty() {
                let blake3 = self.blobs[*first].blob.blake3;
                turns.push(self.job.locks.lock(blake3).await);
                mine.push(*first);
            }
            missing.retain(|position| !mine.contains(position));
            let mut under_way = Vec::new();
            for position in mine {
                let part = &self.blobs[position];
                if self.finish_if_complete(part).await? {
                    part.have_bytes
                        .store(part.blob.size_bytes, Ordering::Relaxed);
                } else {
                    under_way.push(part);
                }
            }
            self.fetch_some(&under_way).await?;
        }
        Ok(())
    }

    async fn fetch_some(&self, parts: &[&Part]) -> Result<(), FetchError> {
        if parts.is_empty() {
            return Ok(());
        }
        for part in parts {
            part.have_bytes.store(0, Ordering::Relaxed);
        }
        Driver::fetch(self, parts).await?;
        for part in parts {
            part.have_bytes
                .store(part.blob.size_bytes, Ordering::Relaxed);
        }
        self.board().bytes_here = 0;
        Ok(())
    }

    fn progress(&self, bytes_reused: u64, meter: &mut Meter) -> Progress {
        let (bytes_done, bytes_total) = (self.bytes_done(), self.bytes_total());
        let bytes_per_second = meter.observe(bytes_done, Instant::now());
        let is_whole = |part: &&Part| part.is_whole.load(Ordering::Relaxed);
        Progress {
            bytes_done,
            bytes_total,
            bytes_reused,
            bytes_per_second,
            blobs_done: self.blobs.iter().filter(is_whole).count(),
            blobs_total: self.blobs.len(),
            providers: progress_of(&self.board().providers.reports()),
        }
    }
}

/// Lists the providers that sent something, most first.
fn progress_of(reports: &[ProviderReport]) -> Vec<ProviderProgress> {
    let mut list: Vec<ProviderProgress> = reports
        .iter()
        .filter(|report| report.bytes > 0)
        .map(|report| ProviderProgress {
            id: report.id,
            kind: report.kind,
            bytes: report.bytes,
        })
        .collect();
    list.sort_by_key(|provider| std::cmp::Reverse(provider.bytes));
    list
}

pub(super) fn store_error(reason: String) -> FetchError {
    FetchError::Store { reason }
}
