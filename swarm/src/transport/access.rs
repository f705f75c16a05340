//! Answers requests of other nodes: those for what is shared, as far as there is room, and counts what was sent.
//!
//! Knowing a hash is not enough: a blob is served only while some tag shares it. Writing into the
//! store from outside, and requests that name several blobs or name them indirectly, are refused.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use archy_registry::Blake3Hash;
use iroh_blobs::Hash;
use iroh_blobs::protocol::GetRequest;
use iroh_blobs::provider::events::{
    AbortReason, ConnectMode, EventMask, EventResult, EventSender, ObserveMode, ProviderMessage,
    RequestMode, RequestUpdate, ThrottleMode,
};
use n0_future::{Stream, StreamExt};
use tokio::sync::{oneshot, watch};
use tokio::task::{self, AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::from_hash;
use super::store::byte_ranges;
use crate::ledger::{Ledger, today};
use crate::tracker::Tracker;
use crate::upload::{Asked, PeerKey, RequestNo, UploadLimits, Uploads, Verdict};

/// Requests of one connection that wait or are answered; an honest node makes four.
const REQUESTS_PER_CONNECTION_MAX: usize = 32;
/// Requests that nobody has looked at yet.
const QUESTIONS: usize = 64;
/// Bytes of one request that may be sent before they are counted; a request for a whole blob may last for hours.
const COUNT_BYTES: u64 = 16 * 1024 * 1024;

/// What was served since start.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    bytes_served: AtomicU64,
    refused: AtomicU64,
    active: AtomicUsize,
    /// Bytes that are counted as sent.
    counted: watch::Sender<u64>,
}

impl Traffic {
    /// Returns the payload bytes sent to other nodes.
    pub(crate) fn bytes_served(&self) -> u64 {
        self.bytes_served.load(Ordering::Relaxed)
    }

    /// Returns a receiver that changes when more bytes are counted as sent.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.counted.subscribe()
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
    tracker: Arc<Mutex<Tracker>>,
    mut limits: watch::Receiver<UploadLimits>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> (EventSender, Arc<Traffic>) {
    let mask = EventMask {
        connected: ConnectMode::Notify,
        get: RequestMode::InterceptLog,
        get_many: RequestMode::Disabled,
        push: RequestMode::Disabled,
        observe: ObserveMode::Intercept,
        throttle: ThrottleMode::None,
    };
    let (sender, mut questions) = EventSender::channel(QUESTIONS, mask);
    let traffic = Arc::new(Traffic::default());
    let first = *limits.borrow_and_update();
    let uploads = Uploads::new(first, Duration::ZERO);
    let mut gate = Gate {
        ledger,
        tracker,
        traffic: traffic.clone(),
        began: Instant::now(),
        limits: first,
        uploads,
        requests_ever: 0,
        connections: HashMap::new(),
        requests: HashMap::new(),
        tasks: JoinSet::new(),
        numbers: HashMap::new(),
    };
    let cancel = cancel.clone();
    tasks.spawn(async move {
        loop {
            let look = gate.uploads.next_look();
            let look = look.map_or(Duration::MAX, |at| at.saturating_sub(gate.now()));
            tokio::select! {
                () = cancel.cancelled() => break,
                question = questions.recv() => match question {
                    Some(question) => gate.take_in(question).await,
                    None => break,
                },
                Some(ended) = gate.tasks.join_next_with_id() => {
                    let task = ended.map_or_else(|error| error.id(), |(task, ())| task);
                    gate.ended(task);
                }
                Ok(()) = limits.changed() => gate.limit(*limits.borrow_and_update()),
                () = tokio::time::sleep(look), if look < Duration::MAX => {}
            }
            gate.decide();
        }
    });
    (sender, traffic)
}

/// A connection on which requests may come.
struct Connected {
    peer: PeerKey,
    requests: usize,
}

/// A request that waits for its turn or is being answered.
struct Attended {
    connection: u64,
    /// Tells the task what to answer.
    turn: Option<oneshot::Sender<EventResult>>,
    task: AbortHandle,
    blob: Blake3Hash,
    ranges: Vec<Range<u64>>,
    /// Bytes that were sent of it.
    sent: Arc<AtomicU64>,
    /// Bytes of these that are counted.
    counted: u64,
}

struct Gate {
    ledger: Arc<Mutex<Ledger>>,
    /// Is told what is sent, so that it suggests something else.
    tracker: Arc<Mutex<Tracker>>,
    traffic: Arc<Traffic>,
    began: Instant,
    limits: UploadLimits,
    uploads: Uploads,
    requests_ever: RequestNo,
    connections: HashMap<u64, Connected>,
    requests: HashMap<RequestNo, Attended>,
    /// One for each request.
    tasks: JoinSet<()>,
    numbers: HashMap<task::Id, RequestNo>,
}

impl Gate {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn take_in(&mut self, question: ProviderMessage) {
        match question {
            ProviderMessage::ClientConnectedNotify(message) => {
                let Some(endpoint) = message.inner.endpoint_id else {
                    return;
                };
                let peer = *endpoint.as_bytes();
                let connected = Connected { peer, requests: 0 };
                self.connections
                    .insert(message.inner.connection_id, connected);
            }
            ProviderMessage::ConnectionClosed(message) => {
                self.connections.remove(&message.inner.connection_id);
            }
            ProviderMessage::GetRequestReceived(message) => {
                let connection = message.inner.connection_id;
                let blob = from_hash(&message.inner.request.hash);
                match self.admit(&message.inner.request, connection) {
                    Ok((asked, ranges)) => {
                        let wanted = (blob, ranges);
                        let (turn, answer) = oneshot::channel();
                        let sent = Arc::new(AtomicU64::new(0));
                        let (tx, updates) = (message.tx, message.rx.into_stream());
                        let follow = follow(updates, sent.clone(), self.traffic.clone());
                        let task = self.tasks.spawn(async move {
                            let verdict = answer.await.unwrap_or(Err(AbortReason::RateLimited));
                            // Whoever went away meanwhile has ended the updates too.
                            tx.send(verdict).await.ok();
                            if verdict.is_ok() {
                                follow.await;
                            }
                        });
                        self.attend(asked, connection, wanted, turn, task, sent);
                    }
                    Err(reason) => {
                        self.refused();
                        message.tx.send(Err(reason)).await.ok();
                    }
                }
            }
            ProviderMessage::ObserveRequestReceived(message) => {
                let verdict = if self.serves(&message.inner.request.hash) {
                    Ok(())
                } else {
                    self.refused();
                    Err(AbortReason::Permission)
                };
                message.tx.send(verdict).await.ok();
            }
            // These kinds are switched off, or do not wait for an answer.
            ProviderMessage::GetManyRequestReceived(message) => {
                message.tx.send(Err(AbortReason::Permission)).await.ok();
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
            ProviderMessage::GetRequestReceivedNotify(_)
            | ProviderMessage::GetManyRequestReceivedNotify(_)
            | ProviderMessage::PushRequestReceivedNotify(_)
            | ProviderMessage::ObserveRequestReceivedNotify(_) => {}
        }
    }

    /// Says how much and what a request asks for, if it may be answered at all.
    fn admit(
        &mut self,
        request: &GetRequest,
        connection: u64,
    ) -> Result<(Asked, Vec<Range<u64>>), AbortReason> {
        if !request.ranges.is_blob() || !self.serves(&request.hash) {
            return Err(AbortReason::Permission);
        }
        let connected = self.connections.get_mut(&connection);
        let connected = connected
            .filter(|connected| connected.requests < REQUESTS_PER_CONNECTION_MAX)
            .ok_or(AbortReason::RateLimited)?;
        connected.requests += 1;
        let peer = connected.peer;
        let blob = from_hash(&request.hash);
        let (size_bytes, is_exempt) = {
            let ledger = self.ledger();
            (ledger.size(&blob).unwrap_or(0), ledger.is_origin(&blob))
        };
        let ranges = byte_ranges(&request.ranges[0]);
        let lengths = ranges
            .iter()
            .map(|range| range.end.min(size_bytes).saturating_sub(range.start));
        let asked = Asked {
            peer,
            bytes: lengths.sum(),
            is_exempt,
        };
        Ok((asked, ranges))
    }

    fn attend(
        &mut self,
        asked: Asked,
        connection: u64,
        (blob, ranges): (Blake3Hash, Vec<Range<u64>>),
        turn: oneshot::Sender<EventResult>,
        task: AbortHandle,
        sent: Arc<AtomicU64>,
    ) {
        let number = self.requests_ever;
        self.requests_ever += 1;
        self.uploads.ask(number, asked, self.began.elapsed());
        self.numbers.insert(task.id(), number);
        let attended = Attended {
            connection,
            turn: Some(turn),
            task,
            blob,
            ranges,
            sent,
            counted: 0,
        };
        self.requests.insert(number, attended);
    }

    /// Takes over what its owner allows now. What may not be had any more is not sent to its end either.
    fn limit(&mut self, limits: UploadLimits) {
        if limits != self.limits {
            self.limits = limits;
            self.uploads.limit(limits, self.began.elapsed());
        }
        for request in self.requests.values() {
            if request.turn.is_none() && !self.ledger().serves(&request.blob) {
                request.task.abort();
            }
        }
    }

    /// Carries out what can be decided now.
    fn decide(&mut self) {
        let mut due = Vec::new();
        for (number, request) in &mut self.requests {
            let sent = request.sent.load(Ordering::Relaxed);
            self.uploads.sent(*number, sent);
            if sent - request.counted >= COUNT_BYTES {
                due.push((request.blob, sent - request.counted));
                request.counted = sent;
            }
        }
        for (blob, bytes) in due {
            self.count(&blob, bytes);
        }
        for (number, verdict) in self.uploads.poll(self.now()) {
            let Some(request) = self.requests.get_mut(&number) else {
                continue;
            };
            let turn = request.turn.take();
            let answer = match verdict {
                Verdict::Serve if serves(&self.ledger, &request.blob) => {
                    let tracker = self.tracker.lock();
                    let mut tracker = tracker.unwrap_or_else(PoisonError::into_inner);
                    for bytes in &request.ranges {
                        tracker.sends(&request.blob, bytes);
                    }
                    Ok(())
                }
                // Its owner changed their mind while it waited.
                Verdict::Serve => Err(AbortReason::Permission),
                Verdict::Refuse => {
                    self.traffic.refused.fetch_add(1, Ordering::Relaxed);
                    Err(AbortReason::RateLimited)
                }
                Verdict::BreakOff => {
                    // A transfer ends when nobody listens to its progress.
                    request.task.abort();
                    continue;
                }
            };
            // A task that is gone is noticed when it is joined.
            turn.and_then(|turn| turn.send(answer).ok());
        }
        let active = self.uploads.active();
        self.traffic.active.store(active, Ordering::Relaxed);
    }

    fn ended(&mut self, task: task::Id) {
        let number = self.numbers.remove(&task);
        let Some((number, request)) = number.and_then(|number| self.requests.remove_entry(&number))
        else {
            return;
        };
        if let Some(connected) = self.connections.get_mut(&request.connection) {
            connected.requests -= 1;
        }
        let sent = request.sent.load(Ordering::Relaxed);
        self.count(&request.blob, sent.saturating_sub(request.counted));
        self.uploads.sent(number, sent);
        self.uploads.ended(number, self.now());
    }

    fn count(&self, blob: &Blake3Hash, bytes: u64) {
        if bytes > 0 {
            self.ledger().note_upload(blob, bytes, today());
            self.traffic.counted.send_modify(|sum| *sum += bytes);
        }
    }

    fn refused(&self) {
        self.traffic.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn serves(&self, hash: &Hash) -> bool {
        serves(&self.ledger, &from_hash(hash))
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serves(ledger: &Mutex<Ledger>, blob: &Blake3Hash) -> bool {
    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    ledger.serves(blob)
}

/// Follows one transfer to its end.
async fn follow<E: Send>(
    updates: impl Stream<Item = Result<RequestUpdate, E>> + Send + 'static,
    sent: Arc<AtomicU64>,
    traffic: Arc<Traffic>,
) {
    let mut updates = std::pin::pin!(updates);
    let mut began_at = None;
    while let Some(Ok(update)) = updates.next().await {
        match update {
            RequestUpdate::Started(_) => {}
            RequestUpdate::Progress(progress) => {
                let began_at = *began_at.get_or_insert(progress.end_offset);
                sent.store(progress.end_offset - began_at, Ordering::Relaxed);
            }
            RequestUpdate::Completed(done) => {
                note(done.stats.payload_bytes_sent, &sent, &traffic);
            }
            RequestUpdate::Aborted(done) => {
                note(done.stats.payload_bytes_sent, &sent, &traffic);
            }
        }
    }
}

fn note(bytes: u64, sent: &AtomicU64, traffic: &Traffic) {
    sent.store(bytes, Ordering::Relaxed);
    traffic.bytes_served.fetch_add(bytes, Ordering::Relaxed);
}
