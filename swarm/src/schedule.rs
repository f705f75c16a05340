//! Decides which ranges of which blobs to ask of whom, and when to stop waiting: a pure state machine.
//!
//! Inputs are what the driver sees (a connection, a claim, verified bytes, a failure), outputs are
//! [`Action`]s. Time is an argument, measured from any fixed moment, and chance comes from a seed, so that a run
//! can be replayed. Nothing here touches a network or a disk.
//!
//! A blob is cut into pieces, the unit of what is here, on its way or claimed. Requests are ranges of pieces, as
//! long as a provider needs half a second for. Rare pieces come first, ties are broken by chance. When nothing is
//! left to ask for, an idle provider takes over the end of the request that would take longest.

use std::ops::Range;
use std::time::Duration;

mod meter;
mod pick;
mod pieces;
mod provider;
mod requests;
mod suggest;
#[cfg(test)]
mod tests;

use pieces::Pieces;
use provider::{Advice, Line, Provider};
use requests::{InFlight, Requests};

pub use provider::ProviderKind;
pub use suggest::{BLOCK_BYTES, Suggestions};

/// Position of a provider, in the order in which they were added.
pub type ProviderId = usize;

/// Number of a request, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// A blob to bring here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// Its length in bytes, at least 1.
    pub size_bytes: u64,
    /// Ranges in bytes that are here already.
    pub here: Vec<Range<u64>>,
}

/// What the scheduler is told at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a provider should need for one request.
    pub request_time: Duration,
    /// Shortest request in bytes, which is also the first one to every provider.
    pub request_bytes_min: u64,
    /// Longest request in bytes.
    pub request_bytes_max: u64,
    /// Longest request to an origin while peers have what it is asked for.
    pub gentle_bytes_max: u64,
    /// Requests under way per provider.
    pub in_flight: usize,
    /// Requests under way in all.
    pub in_flight_all: usize,
    /// Silence after which a request is given up.
    pub stall: Duration,
    /// Silence after which an idle provider is asked for the same bytes.
    pub hedge: Duration,
    /// First pause before a provider that failed is asked again; doubles with every failure.
    pub retry: Duration,
    /// Failures in a row, without a verified byte in between, after which a provider is given up.
    pub attempts_max: u32,
    /// How long a fetch in which nothing is under way waits for somebody to get what is missing.
    pub idle: Duration,
    /// How far ahead of a reader bytes are fetched before all others.
    pub window_bytes: u64,
    /// Length in bytes of the pieces of all blobs, a power of two; chosen by each blob's length when `None`.
    pub piece_bytes: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_time: Duration::from_millis(500),
            request_bytes_min: 256 * 1024,
            request_bytes_max: 32 * 1024 * 1024,
            gentle_bytes_max: 512 * 1024,
            in_flight: 2,
            in_flight_all: 64,
            stall: Duration::from_secs(2),
            hedge: Duration::from_millis(500),
            retry: Duration::from_secs(1),
            attempts_max: 4,
            idle: Duration::from_secs(20),
            window_bytes: 8 * 1024 * 1024,
            piece_bytes: None,
        }
    }
}

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to a provider.
    Dial(ProviderId),
    /// Ask a provider for a range of a blob.
    Ask(Request),
    /// Stop a request: what it would still bring is here, or comes from elsewhere.
    Cancel(RequestId),
    /// Stop a request that was silent for too long.
    GiveUp(RequestId),
}

/// A range to ask of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// Whom to ask.
    pub provider: ProviderId,
    /// Position of the blob.
    pub blob: usize,
    /// The bytes, whole pieces.
    pub bytes: Range<u64>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything came that was asked for, or it was cancelled.
    Done,
    /// The provider does not have the blob, or does not serve it.
    Absent,
    /// The provider broke off where its copy ends or is damaged.
    Damaged,
    /// The provider has too much to do.
    Busy,
    /// The provider sent bytes that do not match the hash.
    Lied,
    /// The connection or the request broke.
    Failed,
}

/// Where a fetch stands that cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// The first blob of which a piece is missing that nobody can give.
    pub blob: usize,
}

/// A blob as its pieces.
#[derive(Debug, Clone)]
struct Blob {
    size_bytes: u64,
    /// Length of a piece, as the power of two that it is.
    piece_bytes_log2: u32,
    pieces: Range<u32>,
    /// From where somebody reads it.
    read_at: Option<u64>,
}

impl Blob {
    /// Returns the bytes that a range of pieces stands for.
    fn bytes(&self, pieces: Range<u32>) -> Range<u64> {
        let at = |piece: u32| {
            (u64::from(piece - self.pieces.start) << self.piece_bytes_log2).min(self.size_bytes)
        };
        at(pieces.start)..at(pieces.end)
    }

    /// Returns the pieces that lie wholly in a range of bytes.
    fn whole_pieces(&self, bytes: &Range<u64>) -> Range<u32> {
        let first = self.piece_after(bytes.start);
        let last = if bytes.end >= self.size_bytes {
            self.pieces.end
        } else {
            self.piece_at(bytes.end)
        };
        first..last.max(first)
    }

    /// Returns the piece that a byte lies in; behind the last byte the one after the last.
    fn piece_at(&self, byte: u64) -> u32 {
        self.count(byte >> self.piece_bytes_log2)
    }

    /// Returns the first piece that does not begin before a byte.
    fn piece_after(&self, byte: u64) -> u32 {
        self.count(byte.div_ceil(1 << self.piece_bytes_log2))
    }

    /// Returns the length of one of its pieces in bytes.
    fn piece_size(&self, piece: u32) -> u64 {
        let bytes = self.bytes(piece..piece + 1);
        bytes.end - bytes.start
    }

    /// Returns the piece that comes after `pieces` whole ones.
    fn count(&self, pieces: u64) -> u32 {
        let all = self.pieces.end - self.pieces.start;
        self.pieces.start + u32::try_from(pieces).map_or(all, |pieces| pieces.min(all))
    }
}

/// The pieces of all blobs of one fetch, and who is asked for them.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    blobs: Vec<Blob>,
    /// Ranges of pieces that are fetched one after the other, most urgent first.
    tiers: Vec<Range<u32>>,
    /// Pieces that are neither here nor asked for.
    wanted: Pieces,
    here: Pieces,
    pieces_left: u32,
    /// Length of the pieces that are here.
    here_bytes: u64,
    /// Requests that will bring each piece.
    asked: Vec<u8>,
    /// Proven peers, origins not counted, that claim each piece.
    holders: Vec<u16>,
    /// Pieces without such a peer.
    unheld: Pieces,
    providers: Vec<Provider>,
    requests: Requests,
    next_request: u64,
    /// Providers who may have become able to do something.
    awake: Vec<ProviderId>,
    /// For each provider, whether it had nothing to give when there was room for a request.
    idle: Vec<bool>,
    /// Until then nobody's pause is over, no request too long silent: the time alone changes nothing before.
    look_at: Duration,
    /// Whether a request was too long silent when it was looked last.
    is_silent: bool,
    /// When something verified came last.
    progress: Duration,
    duplicate_bytes: u64,
    rng: fastrand::Rng,
}

/// Bytes of consecutive blobs that are fetched at the same time: enough for many providers, so small that the
/// first blobs are whole long before the last.
const TIER_BYTES: u64 = 16 * 1024 * 1024;
/// Pieces that a blob should not have more of.
const PIECES_MAX: u64 = 16_384;
/// Lengths in bytes of a piece, chosen by the blob's length.
const PIECE_BYTES: Range<u64> = 64 * 1024..16 * 1024 * 1024;

impl Scheduler {
    /// Starts with what is here of each blob; blobs are fetched in their order.
    pub fn new(goals: &[Goal], settings: Settings, seed: u64, now: Duration) -> Self {
        let mut blobs: Vec<Blob> = Vec::with_capacity(goals.len());
        let mut tiers: Vec<Range<u32>> = Vec::new();
        let (mut next, mut tier_bytes, mut tier_is_small) = (0, 0, false);
        for goal in goals {
            let piece_bytes = settings
                .piece_bytes
                .unwrap_or_else(|| piece_bytes(goal.size_bytes));
            debug_assert!(piece_bytes.is_power_of_two(), "pieces are powers of two");
            let count = goal.size_bytes.div_ceil(piece_bytes);
            let end = next + u32::try_from(count).unwrap_or(u32::MAX - next);
            // Small blobs say what the large ones are: they do not wait in one queue with them.
            let is_small = goal.size_bytes <= settings.request_bytes_min;
            match tiers.last_mut() {
                Some(tier) if tier_bytes < TIER_BYTES && is_small == tier_is_small => {
                    tier.end = end;
                }
                Some(_) | None => {
                    tiers.push(next..end);
                    (tier_bytes, tier_is_small) = (0, is_small);
                }
            }
            tier_bytes += goal.size_bytes;
            blobs.push(Blob {
                size_bytes: goal.size_bytes,
                piece_bytes_log2: piece_bytes.ilog2(),
                pieces: next..end,
                read_at: None,
            });
            next = end;
        }
        let mut here = Pieces::none(next);
        for (blob, goal) in blobs.iter().zip(goals) {
            for piece in goal.here.iter().flat_map(|bytes| blob.whole_pieces(bytes)) {
                here.insert(piece);
            }
        }
        let mut wanted = Pieces::all(next);
        let (mut pieces_left, mut here_bytes) = (next, 0);
        for blob in &blobs {
            for piece in here.within(blob.pieces.clone()) {
                wanted.remove(piece);
                pieces_left -= 1;
                here_bytes += blob.piece_size(piece);
            }
        }
        Self {
            settings,
            blobs,
            tiers,
            wanted,
            here,
            pieces_left,
            here_bytes,
            asked: vec![0; next as usize],
            holders: vec![0; next as usize],
            unheld: Pieces::all(next),
            providers: Vec::new(),
            requests: Requests::default(),
            next_request: 0,
            awake: Vec::new(),
            idle: Vec::new(),
            look_at: now,
            is_silent: false,
            progress: now,
            duplicate_bytes: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Takes in somebody to ask. An origin is believed to have everything until it says otherwise; a peer has
    /// what it [claims](Self::claims).
    pub fn add(&mut self, kind: ProviderKind, now: Duration) -> ProviderId {
        let len = self.here.len();
        let has = match kind {
            ProviderKind::Origin => Pieces::all(len),
            ProviderKind::Lan | ProviderKind::Peer => Pieces::none(len),
        };
        self.providers.push(Provider::new(kind, has, now));
        self.idle.push(false);
        self.look_at = self.look_at.min(now);
        self.providers.len() - 1
    }

    /// Gives a provider that was given up another chance, e.g. because it has a new address.
    pub fn retry(&mut self, provider: ProviderId, now: Duration) {
        let provider = &mut self.providers[provider];
        if provider.line == Line::Down && !provider.lied {
            provider.is_out = false;
            provider.strikes = 0;
            provider.not_before = now;
            self.look_at = self.look_at.min(now);
        }
    }

    /// A provider answered the dial.
    pub fn connected(&mut self, provider: ProviderId) {
        self.providers[provider].line = Line::Up;
        self.awake.push(provider);
    }

    /// A provider did not answer the dial.
    pub fn unreachable(&mut self, provider: ProviderId, now: Duration) {
        let settings = &self.settings;
        let provider = &mut self.providers[provider];
        provider.line = Line::Down;
        provider.strike(settings, now);
        self.look_at = self.look_at.min(provider.not_before);
    }

    /// A connection is gone; its requests end by themselves.
    pub fn lost(&mut self, provider: ProviderId) {
        let provider = &mut self.providers[provider];
        provider.line = Line::Down;
        self.look_at = self.look_at.min(provider.not_before);
    }

    /// A provider says that it has bytes of a blob. Claims of peers count only once they delivered something.
    /// Tells whether that makes a difference to what is asked next.
    pub fn claims(&mut self, provider: ProviderId, blob: usize, bytes: &Range<u64>) -> bool {
        let mut news = false;
        for piece in self.blobs[blob].whole_pieces(bytes) {
            let from = &mut self.providers[provider];
            if from.denials(piece) >= self.settings.attempts_max || !from.has.insert(piece) {
                continue;
            }
            if from.counts() {
                self.holders[piece as usize] += 1;
                self.unheld.remove(piece);
            }
            news |= self.wanted.contains(piece);
        }
        // All others are woken by the end of a request or of a pause.
        let wakes = news && self.idle[provider];
        if wakes && self.awake.last() != Some(&provider) {
            self.awake.push(provider);
        }
        wakes
    }

    /// The origin proposes which bytes to ask it for: those that it has sent to the fewest. Tells whether any of
    /// them is wanted and no peer's; of what was sent to others who are gone since, it never proposes any.
    pub fn suggests(&mut self, provider: ProviderId, blob: usize, bytes: &Range<u64>) -> bool {
        let pieces = self.blobs[blob].whole_pieces(bytes);
        let mut rare = self.wanted.common(&self.unheld, pieces.clone());
        let is_of_use = rare.next().is_some();
        let origin = &mut self.providers[provider];
        if is_of_use {
            origin.suggested.retain(|piece| !self.here.contains(*piece));
            origin.suggested.extend(pieces);
            self.awake.push(provider);
        }
        if is_of_use || origin.advice == Advice::None {
            origin.advice = Advice::Given { waits_since: None };
        }
        is_of_use
    }

    /// Returns the blob of which a provider should suggest more: the first one with pieces that no peer has, once
    /// fewer than `pieces` suggestions are left.
    pub fn wants_suggestions(&self, provider: ProviderId, pieces: usize) -> Option<usize> {
        let provider = &self.providers[provider];
        if !provider.is_usable() || provider.pausing {
            return None;
        }
        let left = provider.suggested.iter();
        let left = left.filter(|piece| self.wanted.contains(**piece));
        if left.take(pieces).count() == pieces {
            return None;
        }
        let rare = self.wanted.first_common(&[&provider.has, &self.unheld])?;
        Some(self.blob_of(rare))
    }

    /// Somebody reads a blob from `at` on: what comes next is fetched first.
    pub fn reads(&mut self, blob: usize, at: Option<u64>) {
        self.blobs[blob].read_at = at.filter(|at| *at < self.blobs[blob].size_bytes);
    }

    /// Verified bytes of a request arrived, in order, up to the byte `upto` of the blob.
    pub fn received(&mut self, id: RequestId, upto: u64, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(request) = self.requests.get_mut(id) else {
            return actions;
        };
        let bytes = upto.saturating_sub(request.at);
        if bytes == 0 {
            return actions;
        }
        let is_first = request.began == request.heard;
        let waited = now.saturating_sub(request.began);
        let at = request.blob;
        let blob = &self.blobs[at];
        let done = blob.whole_pieces(&(blob.bytes(request.pieces.clone()).start..upto));
        request.at = upto;
        request.heard = now;
        let (provider, done) = (
            request.provider,
            request.pieces.start..done.end.min(request.pieces.end),
        );
        request.pieces.start = done.end.max(request.pieces.start);
        self.progress = now;
        self.credit(provider, bytes, is_first.then_some(waited), now);
        let blob = &self.blobs[at];
        let mut twice = false;
        for piece in done {
            let asked = &mut self.asked[piece as usize];
            *asked -= 1;
            twice |= *asked > 0;
            self.wanted.remove(piece);
            if self.here.insert(piece) {
                self.pieces_left -= 1;
                self.here_bytes += blob.piece_size(piece);
            } else {
                self.duplicate_bytes += blob.piece_size(piece);
            }
        }
        let is_here = |request: &InFlight| request.pieces.clone().all(|p| self.here.contains(p));
        let over: Vec<RequestId> = if twice {
            let over = self.requests.iter().filter(|request| is_here(request));
            over.map(|request| request.id).collect()
        } else {
            let own = self.requests.get(id).filter(|own| is_here(own));
            own.map(|_| id).into_iter().collect()
        };
        for over in over {
            let is_whole = over == id && self.is_at_its_end(id);
            self.close(over, now);
            if !is_whole {
                actions.push(Action::Cancel(over));
            }
        }
        actions
    }

    /// A request ended. Nothing happens for one that was [cancelled](Action::Cancel).
    pub fn ended(&mut self, id: RequestId, how: Ended, now: Duration) {
        let Some(request) = self.close(id, now) else {
            return;
        };
        let (id, settings) = (request.provider, &self.settings);
        let provider = &mut self.providers[id];
        match how {
            Ended::Done => {}
            Ended::Absent => self.disclaim(id, self.blobs[request.blob].pieces.clone()),
            Ended::Damaged => {
                provider.deny(request.pieces.start);
                provider.strike(settings, now);
                self.disclaim(id, request.pieces);
            }
            Ended::Busy => provider.busy(settings, &mut self.rng, now),
            Ended::Lied => {
                provider.lied = true;
                provider.is_out = true;
                self.disclaim(id, 0..self.here.len());
            }
            Ended::Failed => provider.strike(settings, now),
        }
        let provider = &self.providers[id];
        if provider.pausing {
            self.look_at = self.look_at.min(provider.not_before);
        }
    }

    /// Ranges that were believed to be here are not.
    pub fn forget(&mut self, blob: usize, bytes: &Range<u64>) {
        let blob = &self.blobs[blob];
        for piece in blob.piece_at(bytes.start)..blob.piece_after(bytes.end) {
            if self.here.remove(piece) {
                self.pieces_left += 1;
                self.here_bytes -= blob.piece_size(piece);
                if self.asked[piece as usize] == 0 {
                    self.wanted.insert(piece);
                }
            }
        }
        self.wake_all();
    }

    /// Decides what to do now. To be called after every input and at [`next_look`](Self::next_look).
    pub fn poll(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.is_done() {
            return actions;
        }
        if now >= self.look_at {
            self.look(&mut actions, now);
        }
        self.fill(&mut actions, now);
        actions
    }

    /// When to look again if nothing happens before.
    pub fn next_look(&self, now: Duration) -> Option<Duration> {
        let idle = Some(self.progress + self.settings.idle)
            .filter(|idle| self.requests.is_empty() && *idle > now);
        let look = Some(self.look_at).filter(|at| *at < Duration::MAX);
        look.into_iter().chain(idle).min()
    }

    /// Does what it is time for, and works out when it is again.
    fn look(&mut self, actions: &mut Vec<Action>, now: Duration) {
        self.give_up_silent(actions, now);
        let mut next = Duration::MAX;
        for (id, provider) in self.providers.iter_mut().enumerate() {
            if let Advice::Given {
                waits_since: Some(since),
            } = provider.advice
            {
                let lapses = since + self.settings.stall;
                if now >= lapses {
                    provider.advice = Advice::Lapsed;
                    self.awake.push(id);
                } else {
                    next = next.min(lapses);
                }
            }
            let waits = provider.line == Line::Down || provider.pausing;
            if provider.is_out || !waits {
                continue;
            }
            if now < provider.not_before {
                next = next.min(provider.not_before);
                continue;
            }
            match provider.line {
                Line::Down => {
                    provider.line = Line::Dialling;
                    actions.push(Action::Dial(id));
                }
                Line::Up => {
                    provider.pausing = false;
                    self.awake.push(id);
                }
                Line::Dialling => {}
            }
        }
        let mut is_silent = false;
        for request in self.requests.iter() {
            let hedge = request.heard + self.hedge_after(request);
            if hedge > now && !request.hedged {
                next = next.min(hedge);
            } else {
                is_silent |= !request.hedged;
            }
            next = next.min(request.heard + self.stall_after(request));
        }
        (self.look_at, self.is_silent) = (next, is_silent);
    }

    /// Tells whether everything is here.
    pub fn is_done(&self) -> bool {
        self.pieces_left == 0
    }

    /// Tells whether all of a blob is here.
    pub fn is_whole(&self, blob: usize) -> bool {
        let pieces = self.blobs[blob].pieces.clone();
        self.here.within(pieces.clone()).count() == pieces.len()
    }

    /// Says that nobody is left who could bring what is missing.
    pub fn stuck(&self, now: Duration) -> Option<Stuck> {
        if self.is_done() || !self.requests.is_empty() {
            return None;
        }
        let missing = self.wanted.first_common(&[])?;
        let hope = self.providers.iter().any(|provider| {
            !provider.is_out
                && match provider.line {
                    Line::Dialling | Line::Down => true,
                    Line::Up => self.wanted.first_common(&[&provider.has]).is_some(),
                }
        });
        // Somebody who is connected may be about to get it.
        let may_come = self.providers.iter().any(|provider| provider.is_usable());
        let is_over = now >= self.progress + self.settings.idle;
        if hope || may_come && !is_over {
            return None;
        }
        Some(Stuck {
            blob: self.blob_of(missing),
        })
    }

    /// Returns the ranges of a blob, in bytes, that are here.
    pub fn here(&self, blob: usize) -> Vec<Range<u64>> {
        let blob = &self.blobs[blob];
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for piece in self.here.within(blob.pieces.clone()) {
            let bytes = blob.bytes(piece..piece + 1);
            match ranges.last_mut() {
                Some(last) if last.end == bytes.start => last.end = bytes.end,
                Some(_) | None => ranges.push(bytes),
            }
        }
        ranges
    }

    /// Tells whether a provider could be asked for more, if only it had something that is wanted.
    pub fn is_idle(&self, provider: ProviderId) -> bool {
        self.idle[provider]
    }

    /// Tells whether a provider was given up.
    pub fn is_out(&self, provider: ProviderId) -> bool {
        self.providers[provider].is_out
    }

    /// Returns the verified bytes that came from a provider.
    pub fn bytes_from(&self, provider: ProviderId) -> u64 {
        self.providers[provider].bytes
    }

    /// Returns the bytes that are here, of pieces on their way what has come of them.
    pub fn bytes_here(&self) -> u64 {
        let arriving = self
            .requests
            .iter()
            .filter(|request| !request.hedged)
            .map(|request| {
                let start = self.blobs[request.blob].bytes(request.pieces.clone()).start;
                request.at.saturating_sub(start)
            });
        self.here_bytes + arriving.sum::<u64>()
    }

    /// Returns the bytes that came twice.
    pub fn duplicate_bytes(&self) -> u64 {
        self.duplicate_bytes
    }

    fn is_at_its_end(&self, id: RequestId) -> bool {
        self.requests
            .get(id)
            .is_some_and(|request| request.pieces.start >= request.asked_end)
    }

    /// Notes verified bytes of a provider; the first ones make its claims count.
    fn credit(&mut self, id: ProviderId, bytes: u64, first_after: Option<Duration>, now: Duration) {
        let provider = &mut self.providers[id];
        let counted = provider.counts();
        provider.bytes += bytes;
        provider.strikes = 0;
        provider.busy_strikes = 0;
        provider.meter.count(bytes, now);
        if let Some(waited) = first_after {
            provider.heard_after(waited);
        }
        if !counted && provider.counts() {
            for piece in provider.has.iter() {
                self.holders[piece as usize] += 1;
                self.unheld.remove(piece);
            }
        }
        if first_after.is_some() {
            // One that answers faster than before is sooner too long silent.
            for request in &self.providers[id].in_flight {
                let request = self.requests.get(*request);
                let silent = request.map(|request| request.heard + self.hedge_after(request));
                self.look_at = self.look_at.min(silent.unwrap_or(Duration::MAX));
            }
        }
    }

    /// Takes back what a provider claimed.
    fn disclaim(&mut self, id: ProviderId, pieces: Range<u32>) {
        let provider = &mut self.providers[id];
        let gone: Vec<u32> = provider.has.within(pieces).collect();
        for piece in gone {
            provider.has.remove(piece);
            if provider.counts() {
                let holders = &mut self.holders[piece as usize];
                *holders -= 1;
                if *holders == 0 {
                    self.unheld.insert(piece);
                }
            }
        }
    }

    /// Ends a request: what it did not bring is wanted again.
    fn close(&mut self, id: RequestId, now: Duration) -> Option<InFlight> {
        let request = self.requests.remove(id)?;
        let mut again = false;
        for piece in request.pieces.clone() {
            let asked = &mut self.asked[piece as usize];
            *asked -= 1;
            if *asked == 0 && !self.here.contains(piece) {
                again |= self.wanted.insert(piece);
            }
        }
        let provider = &mut self.providers[request.provider];
        provider.in_flight.retain(|other| *other != id);
        if provider.in_flight.is_empty() {
            provider.meter.pause(now);
        }
        if again {
            // Of a hedged pair the other half may be hedged anew.
            for other in self.requests.iter_mut() {
                if std::mem::take(&mut other.hedged) {
                    self.look_at = self.look_at.min(now);
                }
            }
            let could = |id: &ProviderId| {
                let mut has = self.providers[*id].has.within(request.pieces.clone());
                self.idle[*id] && has.next().is_some()
            };
            let could = (0..self.providers.len()).filter(could);
            self.awake.extend(could);
        }
        self.awake.push(request.provider);
        Some(request)
    }

    fn wake_all(&mut self) {
        self.awake.clear();
        self.awake.extend(0..self.providers.len());
    }

    fn stall_after(&self, request: &InFlight) -> Duration {
        let round_trip = self.providers[request.provider].first_byte;
        self.settings.stall.max(round_trip * 4)
    }

    fn hedge_after(&self, request: &InFlight) -> Duration {
        let round_trip = self.providers[request.provider].first_byte;
        self.settings.hedge.max(round_trip * 2)
    }

    fn give_up_silent(&mut self, actions: &mut Vec<Action>, now: Duration) {
        let silent: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|request| now >= request.heard + self.stall_after(request))
            .map(|request| request.id)
            .collect();
        for id in silent {
            // A second request that is given up at the same time is no second failure.
            let Some(request) = self.close(id, now) else {
                continue;
            };
            actions.push(Action::GiveUp(id));
            let provider = &mut self.providers[request.provider];
            if now >= provider.not_before {
                provider.strike(&self.settings, now);
            }
        }
    }
}

/// Returns the length of a blob's pieces.
fn piece_bytes(size_bytes: u64) -> u64 {
    (size_bytes / PIECES_MAX)
        .next_power_of_two()
        .clamp(PIECE_BYTES.start, PIECE_BYTES.end)
}
