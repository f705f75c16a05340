//! Decides which requests of other nodes are answered, and counts what was sent.
//!
//! Knowing a hash is not enough: a blob is served only while some tag shares it. Writing into the
//! store from outside, and requests that name blobs indirectly, are refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use archy_registry::Blake3Hash;
use iroh_blobs::Hash;
use iroh_blobs::protocol::GetManyRequest;
use iroh_blobs::provider::events::{
    AbortReason, ConnectMode, EventMask, EventResult, EventSender, ObserveMode, ProviderMessage,
    RequestMode, RequestUpdate, ThrottleMode,
};
use n0_future::{Stream, StreamExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::from_hash;
use crate::ledger::{Ledger, today};

/// Requests answered at the same time over all connections; more are told to come back later.
pub(crate) const REQUESTS_MAX: usize = 256;
/// Of these, for one connection; an honest node makes four.
pub(crate) const REQUESTS_PER_CONNECTION_MAX: usize = 32;
/// Requests waiting for a decision.
const DECISIONS_QUEUE: usize = 64;

/// What was served since start.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    bytes_served: AtomicU64,
    refused: AtomicU64,
    active: AtomicUsize,
}

impl Traffic {
    /// Returns the payload bytes sent to other nodes.
    pub(crate) fn bytes_served(&self) -> u64 {
        self.bytes_served.load(Ordering::Relaxed)
    }

    /// Returns the number of requests refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns the number of requests being answered.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }
}

/// Starts the task that answers the store's questions.
pub(super) fn start(
    ledger: Arc<Mutex<Ledger>>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> (EventSender, Arc<Traffic>) {
    let mask = EventMask {
        connected: ConnectMode::None,
        get: RequestMode::InterceptLog,
        get_many: RequestMode::InterceptLog,
        push: RequestMode::Disabled,
        observe: ObserveMode::Intercept,
        throttle: ThrottleMode::None,
    };
    let (sender, mut questions) = EventSender::channel(DECISIONS_QUEUE, mask);
    let traffic = Arc::new(Traffic::default());
    let gate = Gate {
        ledger,
        traffic: traffic.clone(),
    };
    let cancel = cancel.clone();
    tasks.spawn(async move {
        let mut transfers = Transfers::default();
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                question = questions.recv() => match question {
                    Some(question) => gate.answer(question, &mut transfers).await,
                    None => break,
                },
                Some(ended) = transfers.tasks.join_next() => {
                    if let Ok(connection) = ended {
                        transfers.end(connection);
                    }
                    gate.traffic.active.store(transfers.tasks.len(), Ordering::Relaxed);
                }
            }
        }
    });
    (sender, traffic)
}

/// Requests being answered.
#[derive(Default)]
struct Transfers {
    /// One task per request; it returns the number of its connection.
    tasks: JoinSet<u64>,
    connections: HashMap<u64, usize>,
}

impl Transfers {
    fn has_room(&self, connection: u64) -> bool {
        let of_connection = self.connections.get(&connection).copied().unwrap_or(0);
        self.tasks.len() < REQUESTS_MAX && of_connection < REQUESTS_PER_CONNECTION_MAX
    }

    fn end(&mut self, connection: u64) {
        if let Some(count) = self.connections.get_mut(&connection) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&connection);
            }
        }
    }
}

struct Gate {
    ledger: Arc<Mutex<Ledger>>,
    traffic: Arc<Traffic>,
}

impl Gate {
    async fn answer(&self, question: ProviderMessage, transfers: &mut Transfers) {
        match question {
            ProviderMessage::GetRequestReceived(message) => {
                let request = &message.inner.request;
                let allowed = request.ranges.is_blob() && self.serves([&request.hash]);
                let connection = message.inner.connection_id;
                let verdict = self.verdict(allowed, transfers.has_room(connection));
                if verdict.is_ok() {
                    self.count(connection, message.rx.into_stream(), transfers);
                }
                message.tx.send(verdict).await.ok();
            }
            ProviderMessage::GetManyRequestReceived(message) => {
                let GetManyRequest { hashes, .. } = &message.inner.request;
                let connection = message.inner.connection_id;
                let room = transfers.has_room(connection);
                let verdict = self.verdict(self.serves(hashes), room);
                if verdict.is_ok() {
                    self.count(connection, message.rx.into_stream(), transfers);
                }
                message.tx.send(verdict).await.ok();
            }
            ProviderMessage::ObserveRequestReceived(message) => {
                let allowed = self.serves([&message.inner.request.hash]);
                let room = transfers.has_room(message.inner.connection_id);
                let verdict = self.verdict(allowed, room);
                message.tx.send(verdict).await.ok();
            }
            ProviderMessage::PushRequestReceived(message) => {
                message.tx.send(Err(AbortReason::Permission)).await.ok();
            }
            ProviderMessage::ClientConnected(message) => {
                message.tx.send(Ok(())).await.ok();
            }
            ProviderMessage::Throttle(message) => {
                message.tx.send(Ok(())).await.ok();
            }
            ProviderMessage::ClientConnectedNotify(_)
            | ProviderMessage::ConnectionClosed(_)
            | ProviderMessage::GetRequestReceivedNotify(_)
            | ProviderMessage::GetManyRequestReceivedNotify(_)
            | ProviderMessage::PushRequestReceivedNotify(_)
            | ProviderMessage::ObserveRequestReceivedNotify(_) => {}
        }
    }

    fn serves<'a>(&self, hashes: impl IntoIterator<Item = &'a Hash>) -> bool {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        hashes
            .into_iter()
            .all(|hash| ledger.serves(&from_hash(hash)))
    }

    fn verdict(&self, allowed: bool, room: bool) -> EventResult {
        let verdict = match (allowed, room) {
            (true, true) => Ok(()),
            (true, false) => Err(AbortReason::RateLimited),
            (false, _) => Err(AbortReason::Permission),
        };
        if verdict.is_err() {
            self.traffic.refused.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    /// Follows one transfer to its end.
    fn count<E: Send>(
        &self,
        connection: u64,
        updates: impl Stream<Item = Result<RequestUpdate, E>> + Send + 'static,
        transfers: &mut Transfers,
    ) {
        let (traffic, ledger) = (self.traffic.clone(), self.ledger.clone());
        *transfers.connections.entry(connection).or_default() += 1;
        transfers.tasks.spawn(async move {
            let mut updates = std::pin::pin!(updates);
            let mut sent = None;
            while let Some(Ok(update)) = updates.next().await {
                match update {
                    RequestUpdate::Completed(ref done) => {
                        traffic
                            .bytes_served
                            .fetch_add(done.stats.payload_bytes_sent, Ordering::Relaxed);
                    }
                    RequestUpdate::Aborted(ref done) => {
                        traffic
                            .bytes_served
                            .fetch_add(done.stats.payload_bytes_sent, Ordering::Relaxed);
                    }
                    RequestUpdate::Started(ref started) => sent = Some(from_hash(&started.hash)),
                    RequestUpdate::Progress(_) => {}
                }
                note_upload(&ledger, sent, &update);
            }
            connection
        });
        self.traffic
            .active
            .store(transfers.tasks.len(), Ordering::Relaxed);
    }
}

/// Notes what a request that ended has sent of a blob.
fn note_upload(ledger: &Mutex<Ledger>, sent: Option<Blake3Hash>, update: &RequestUpdate) {
    let stats = match update {
        RequestUpdate::Completed(done) => &done.stats,
        RequestUpdate::Aborted(done) => &done.stats,
        RequestUpdate::Started(_) | RequestUpdate::Progress(_) => return,
    };
    if let Some(blob) = sent {
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.note_upload(&blob, stats.payload_bytes_sent, today());
    }
}
