//! Decides when requests of other nodes are answered: pure bookkeeping, time is an argument.
//!
//! An uplink that is cut into a hundred slices serves nobody: whoever has a piece first can pass it on first. So a few
//! requests are answered at a time, a few wait for their turn, and all others are told to come back. How many is found
//! by trying: as few as fill the uplink. What the owner allows per second is kept by buckets that may go into debt by
//! one request, which costs nothing while bytes flow.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod bucket;
mod slots;
#[cfg(test)]
mod tests;

use bucket::Bucket;
use slots::Slots;

/// Requests answered at the same time; the slowest are broken off when there are more.
pub(crate) const REQUESTS_MAX: usize = 256;
/// Requests no longer than this are answered at once: manifests, proofs, questions about the last piece.
pub(crate) const SMALL_BYTES: u64 = 64 * 1024;
/// Longest wait for a turn: whoever asks must not take it for silence.
const WAIT_MAX: Duration = Duration::from_millis(300);
/// How often it is looked how fast requests are answered.
const WINDOW: Duration = Duration::from_secs(2);
/// A transfer that took less than this in one window keeps nobody waiting.
const LAGGARD_BYTES: u64 = 16 * 1024;

/// What a node may give away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadLimits {
    /// Whether nothing is given away now.
    pub is_paused: bool,
    /// Bytes per second to all others together; as fast as the link when `None`.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Bytes per second to each of them.
    pub peer_bytes_per_second: Option<NonZeroU64>,
}

/// Number of a request, never used twice; later requests have higher ones.
pub(crate) type RequestNo = u64;
/// The endpoint that asks.
pub(crate) type PeerKey = [u8; 32];

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is answered now.
    Serve,
    /// It is told to come back later.
    Refuse,
    /// It is being answered, too slowly for its place to be worth it, and broken off.
    BreakOff,
}

/// A request as it comes in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) peer: PeerKey,
    /// Length in bytes of what is asked for.
    pub(crate) bytes: u64,
    /// Whether no limit holds for it: this node is the origin of what it asks for.
    pub(crate) is_exempt: bool,
}

#[derive(Debug)]
struct Waiting {
    asked: Asked,
    since: Duration,
}

#[derive(Debug)]
struct Serving {
    asked: Asked,
    sent: u64,
    /// What was sent when the window began; unknown of one that began within it.
    sent_before: Option<u64>,
    is_laggard: bool,
}

#[derive(Debug)]
struct Peer {
    waiting: usize,
    serving: usize,
    bucket: Bucket,
}

/// Requests that wait and requests that are being answered.
#[derive(Debug)]
pub(crate) struct Uploads {
    limits: UploadLimits,
    slots: Slots,
    bucket: Bucket,
    peers: HashMap<PeerKey, Peer>,
    waiting: BTreeMap<RequestNo, Waiting>,
    serving: BTreeMap<RequestNo, Serving>,
    window: Window,
}

#[derive(Debug)]
struct Window {
    ends: Duration,
    sent: u64,
    /// Whether anybody had to wait for a slot.
    was_pressed: bool,
}

impl Uploads {
    pub(crate) fn new(limits: UploadLimits, now: Duration) -> Self {
        Self {
            limits,
            slots: Slots::default(),
            bucket: Bucket::new(limits.bytes_per_second, now),
            peers: HashMap::new(),
            waiting: BTreeMap::new(),
            serving: BTreeMap::new(),
            window: Window {
                ends: now + WINDOW,
                sent: 0,
                was_pressed: false,
            },
        }
    }

    /// Replaces the limits; debts are forgiven.
    pub(crate) fn limit(&mut self, limits: UploadLimits, now: Duration) {
        self.limits = limits;
        self.bucket = Bucket::new(limits.bytes_per_second, now);
        for peer in self.peers.values_mut() {
            peer.bucket = Bucket::new(limits.peer_bytes_per_second, now);
        }
    }

    /// Takes in a request; [`poll`](Self::poll) says what becomes of it.
    pub(crate) fn ask(&mut self, request: RequestNo, asked: Asked, now: Duration) {
        let rate = self.limits.peer_bytes_per_second;
        let peer = self.peers.entry(asked.peer).or_insert_with(|| Peer {
            waiting: 0,
            serving: 0,
            bucket: Bucket::new(rate, now),
        });
        peer.waiting += 1;
        self.waiting.insert(request, Waiting { asked, since: now });
    }

    /// Notes how many bytes of a request were sent so far.
    pub(crate) fn sent(&mut self, request: RequestNo, upto: u64) {
        if let Some(serving) = self.serving.get_mut(&request) {
            self.window.sent += upto.saturating_sub(serving.sent);
            serving.sent = serving.sent.max(upto);
        }
    }

    /// Notes that a request is over; what it did not take is given back.
    pub(crate) fn ended(&mut self, request: RequestNo, now: Duration) {
        let Some(serving) = self.serving.remove(&request) else {
            return;
        };
        let Serving { asked, sent, .. } = serving;
        let unsent = asked.bytes.saturating_sub(sent);
        if !asked.is_exempt {
            self.bucket.give_back(unsent);
        }
        if let Some(peer) = self.peers.get_mut(&asked.peer) {
            peer.serving -= 1;
            if !asked.is_exempt {
                peer.bucket.give_back(unsent);
            }
        }
        self.forget(asked.peer, now);
    }

    /// Decides what can be decided now.
    pub(crate) fn poll(&mut self, now: Duration) -> Vec<(RequestNo, Verdict)> {
        if now >= self.window.ends {
            self.end_window(now);
        }
        let mut verdicts = Vec::new();
        while let Some(request) = self.next(now) {
            self.begin(request, now);
            verdicts.push((request, Verdict::Serve));
        }
        let mut waiting = self.waiting.values();
        self.window.was_pressed |= waiting.any(|waiting| !self.has_room(&waiting.asked));
        self.refuse(now, &mut verdicts);
        if self.serving.len() > REQUESTS_MAX {
            let laggards = self.serving.iter().filter(|(_, one)| one.is_laggard);
            let oldest = laggards.map(|(request, _)| *request).next();
            verdicts.extend(oldest.map(|request| (request, Verdict::BreakOff)));
        }
        verdicts
    }

    /// Says when to poll again at the latest; `None` while nothing is going on.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        if self.waiting.is_empty() && self.serving.is_empty() {
            return None;
        }
        let waits = self.waiting.values().map(|waiting| {
            let patience = waiting.since + WAIT_MAX;
            if self.has_room(&waiting.asked) {
                self.allowed_at(&waiting.asked).min(patience)
            } else {
                // The end of another request makes room, which is an event of its own.
                patience
            }
        });
        waits.chain([self.window.ends]).min()
    }

    /// Returns the number of requests that are being answered.
    pub(crate) fn active(&self) -> usize {
        self.serving.len()
    }

    fn end_window(&mut self, now: Duration) {
        let began = self.window.ends.saturating_sub(WINDOW);
        let seconds = (now - began).as_secs_f64();
        let rate = self.window.sent as f64 / seconds;
        self.slots.learn(rate, self.window.was_pressed, now);
        for serving in self.serving.values_mut() {
            let before = serving.sent_before.replace(serving.sent);
            serving.is_laggard = before.is_some_and(|before| serving.sent - before < LAGGARD_BYTES);
        }
        self.window = Window {
            ends: now + WINDOW,
            sent: 0,
            was_pressed: false,
        };
    }

    /// Tells whether a request could be answered now if limits allow it.
    fn has_room(&self, asked: &Asked) -> bool {
        let taken = || {
            let all = self.serving.values();
            all.filter(|one| !is_small(&one.asked) && !one.is_laggard)
                .count()
        };
        self.serving.len() <= REQUESTS_MAX && (is_small(asked) || taken() < self.slots.open())
    }

    /// Picks the request that is answered next: a small one, or of whoever is served least the earliest.
    fn next(&self, now: Duration) -> Option<RequestNo> {
        let may = self.waiting.iter().filter(|(_, waiting)| {
            self.has_room(&waiting.asked) && self.allowed_at(&waiting.asked) <= now
        });
        may.min_by_key(|(request, waiting)| {
            let served = self.peers.get(&waiting.asked.peer);
            let served = served.map_or(0, |peer| peer.serving);
            (!is_small(&waiting.asked), served, **request)
        })
        .map(|(request, _)| *request)
    }

    fn allowed_at(&self, asked: &Asked) -> Duration {
        if asked.is_exempt {
            return Duration::ZERO;
        }
        let peer = self.peers.get(&asked.peer);
        let of_peer = peer.map_or(Duration::ZERO, |peer| peer.bucket.ready_at());
        of_peer.max(self.bucket.ready_at())
    }

    fn begin(&mut self, request: RequestNo, now: Duration) {
        let Some(Waiting { asked, .. }) = self.waiting.remove(&request) else {
            return;
        };
        if !asked.is_exempt {
            self.bucket.take(asked.bytes, now);
        }
        if let Some(peer) = self.peers.get_mut(&asked.peer) {
            peer.waiting -= 1;
            peer.serving += 1;
            if !asked.is_exempt {
                peer.bucket.take(asked.bytes, now);
            }
        }
        self.serving.insert(
            request,
            Serving {
                asked,
                sent: 0,
                sent_before: None,
                is_laggard: false,
            },
        );
    }

    /// Sends away who waited too long, and of those who are too many whoever has most.
    fn refuse(&mut self, now: Duration, verdicts: &mut Vec<(RequestNo, Verdict)>) {
        let impatient = self.waiting.iter().filter(|(_, waiting)| {
            now >= waiting.since + WAIT_MAX
                || self.allowed_at(&waiting.asked) > waiting.since + WAIT_MAX
        });
        let mut refused: Vec<RequestNo> = impatient.map(|(request, _)| *request).collect();
        loop {
            for request in refused.drain(..) {
                if let Some(Waiting { asked, .. }) = self.waiting.remove(&request) {
                    if let Some(peer) = self.peers.get_mut(&asked.peer) {
                        peer.waiting -= 1;
                    }
                    self.forget(asked.peer, now);
                    verdicts.push((request, Verdict::Refuse));
                }
            }
            if self.waiting.len() <= self.slots.queue() {
                return;
            }
            let most = self.waiting.iter().max_by_key(|(request, waiting)| {
                let peer = self.peers.get(&waiting.asked.peer);
                (
                    peer.map_or(0, |peer| peer.serving + peer.waiting),
                    **request,
                )
            });
            refused.extend(most.map(|(request, _)| *request));
        }
    }

    fn forget(&mut self, key: PeerKey, now: Duration) {
        if let Some(peer) = self.peers.get(&key)
            && peer.waiting + peer.serving == 0
            && peer.bucket.is_full(now)
        {
            self.peers.remove(&key);
        }
        // Those who left in debt go when it is paid off.
        if self.peers.len() > 2 * REQUESTS_MAX {
            self.peers
                .retain(|_, peer| peer.waiting + peer.serving > 0 || !peer.bucket.is_full(now));
        }
    }
}

fn is_small(asked: &Asked) -> bool {
    asked.bytes <= SMALL_BYTES
}
