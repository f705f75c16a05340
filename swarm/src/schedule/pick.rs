//! What to ask of whom.

use std::ops::Range;
use std::time::Duration;

use super::provider::{Advice, ProviderKind};
use super::requests::InFlight;
use super::{Action, ProviderId, Request, RequestId, Scheduler};

/// How much later a request must end, if nobody helps, for its end to be given to somebody else.
const GAIN_MIN: Duration = Duration::from_millis(100);
/// Peers that together are so many times as fast as the origin spare it.
const PEERS_OVER_ORIGIN: f64 = 2.0;

impl Scheduler {
    /// Gives everybody who is idle something to do: peers first, so that origins keep what only they have.
    pub(super) fn fill(&mut self, actions: &mut Vec<Action>, now: Duration) {
        if self.awake.is_empty() && !self.wanted.is_empty() {
            return;
        }
        let mut awake = std::mem::take(&mut self.awake);
        let speed = |id: &ProviderId| {
            let provider = &self.providers[*id];
            let rate = provider.meter.bytes_per_second().unwrap_or(0.0);
            (provider.kind == ProviderKind::Origin, -rate)
        };
        if awake.len() > 1 {
            awake.sort_by(|a, b| {
                let (a, b) = (speed(a), speed(b));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
            });
        }
        awake.dedup();
        let mut idle = false;
        for id in awake.drain(..) {
            if self.requests.len() >= self.settings.in_flight_all {
                self.awake.push(id);
                continue;
            }
            while self.has_room(id, now) {
                let picked = self.choose(id, now);
                self.idle[id] = picked.is_none();
                let Some(picked) = picked else {
                    idle = true;
                    break;
                };
                actions.push(self.ask(id, picked, false, now));
            }
        }
        if self.awake.is_empty() {
            // The room is used again.
            self.awake = awake;
        }
        if idle || self.wanted.is_empty() {
            self.help(actions, now);
        }
    }

    fn has_room(&self, id: ProviderId, now: Duration) -> bool {
        let provider = &self.providers[id];
        let most = if provider.bytes == 0 && provider.kind != ProviderKind::Origin
            || provider.strikes > 0
        {
            1
        } else {
            self.settings.in_flight
        };
        provider.is_usable()
            && now >= provider.not_before
            && provider.in_flight.len() < most
            && self.requests.len() < self.settings.in_flight_all
    }

    /// Makes a request; of a hedge the pieces are on their way from somebody else as well.
    fn ask(
        &mut self,
        provider: ProviderId,
        (blob, pieces): (usize, Range<u32>),
        is_hedge: bool,
        now: Duration,
    ) -> Action {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        for piece in pieces.clone() {
            self.wanted.remove(piece);
            self.asked[piece as usize] += 1;
        }
        let bytes = self.blobs[blob].bytes(pieces.clone());
        let asked = &mut self.providers[provider];
        if asked.in_flight.is_empty() {
            asked.meter.resume(now);
        }
        asked.in_flight.push(id);
        let request = InFlight {
            id,
            provider,
            blob,
            asked_end: pieces.end,
            pieces,
            at: bytes.start,
            began: now,
            heard: now,
            hedged: is_hedge,
        };
        let silence = self.hedge_after(&request).min(self.stall_after(&request));
        self.look_at = self.look_at.min(now + silence);
        self.requests.push(request);
        Action::Ask(Request {
            id,
            provider,
            blob,
            bytes,
        })
    }

    /// Chooses what to ask of a provider that has room.
    fn choose(&mut self, id: ProviderId, now: Duration) -> Option<(usize, Range<u32>)> {
        if let Some(piece) = self.next_read(id) {
            return Some(self.run_from(id, piece, self.quota(id)));
        }
        while let Some(piece) = self.providers[id].suggested.pop_front() {
            if self.wanted.contains(piece) && self.holders[piece as usize] == 0 {
                return Some(self.run_of_suggested(id, piece));
            }
        }
        if self.waits_for_suggestion(id, now) {
            return None;
        }
        let (piece, held_by) = self.rarest(id)?;
        let provider = &self.providers[id];
        let mut quota = self.quota(id);
        if provider.kind == ProviderKind::Origin && held_by > 0 && self.peers_suffice(id, now) {
            if !provider.in_flight.is_empty() {
                return None;
            }
            quota = quota.min(self.settings.gentle_bytes_max);
        }
        Some(self.run_around(id, piece, quota))
    }

    /// Tells whether to wait for what an origin suggests: in a crowd, while pieces are missing that no peer has,
    /// whatever else it sends is sent twice.
    fn waits_for_suggestion(&mut self, id: ProviderId, now: Duration) -> bool {
        let provider = &mut self.providers[id];
        let Advice::Given { waits_since } = &mut provider.advice else {
            return false;
        };
        let rare = [&provider.has, &self.unheld];
        if self.wanted.first_common(&rare).is_none() {
            return false;
        }
        let since = *waits_since.get_or_insert(now);
        self.look_at = self.look_at.min(since + self.settings.stall);
        true
    }

    /// Returns how many bytes to ask of a provider at once.
    fn quota(&self, id: ProviderId) -> u64 {
        let settings = &self.settings;
        let rate = self.providers[id].meter.bytes_per_second().unwrap_or(0.0);
        let bytes = (rate * settings.request_time.as_secs_f64()) as u64;
        bytes.clamp(settings.request_bytes_min, settings.request_bytes_max)
    }

    /// Tells whether peers bring so much that the origin may be spared.
    fn peers_suffice(&self, origin: ProviderId, now: Duration) -> bool {
        let rate = |id: ProviderId| {
            let provider = &self.providers[id];
            let heard = provider.in_flight.iter().any(|request| {
                self.requests
                    .get(*request)
                    .is_some_and(|request| now < request.heard + self.hedge_after(request))
            });
            let rate = provider.meter.bytes_per_second();
            rate.filter(|_| heard && provider.is_usable())
                .unwrap_or(0.0)
        };
        let peers: f64 = (0..self.providers.len())
            .filter(|id| self.providers[*id].kind != ProviderKind::Origin)
            .map(rate)
            .sum();
        let own = self.providers[origin].meter.bytes_per_second();
        own.is_some_and(|own| peers >= own * PEERS_OVER_ORIGIN)
    }

    /// Returns the first piece ahead of a reader that this provider can bring.
    fn next_read(&self, id: ProviderId) -> Option<u32> {
        let has = &self.providers[id].has;
        self.blobs.iter().find_map(|blob| {
            let at = blob.read_at?;
            let window = blob.piece_at(at)..blob.piece_after(at + self.settings.window_bytes);
            self.wanted.common(has, window).next()
        })
    }

    /// Returns a rarest piece of the most urgent tier of which the provider has any, by chance among equals, and
    /// how many peers hold it.
    fn rarest(&mut self, id: ProviderId) -> Option<(u32, u16)> {
        let has = &self.providers[id].has;
        for tier in &self.tiers {
            let (mut least, mut equals) = (u16::MAX, Vec::new());
            for piece in self.wanted.common(has, tier.clone()) {
                let holders = self.holders[piece as usize];
                if holders < least {
                    least = holders;
                    equals.clear();
                }
                if holders == least {
                    equals.push(piece);
                }
            }
            if !equals.is_empty() {
                return Some((equals[self.rng.usize(0..equals.len())], least));
            }
        }
        None
    }

    /// Returns the run of pieces that begins with `piece`, up to `quota` bytes.
    fn run_from(&self, id: ProviderId, piece: u32, quota: u64) -> (usize, Range<u32>) {
        let blob = self.blob_of(piece);
        let most = self.pieces_in(blob, quota);
        let end = self.run_end(id, blob, piece, piece.saturating_add(most));
        (blob, piece..end)
    }

    /// Returns the suggested pieces that follow each other.
    fn run_of_suggested(&mut self, id: ProviderId, piece: u32) -> (usize, Range<u32>) {
        let blob = self.blob_of(piece);
        let most = self.pieces_in(blob, self.quota(id));
        let limit = self.blobs[blob].pieces.end.min(piece.saturating_add(most));
        let mut end = piece + 1;
        while end < limit
            && self.providers[id].suggested.front() == Some(&end)
            && self.wanted.contains(end)
        {
            self.providers[id].suggested.pop_front();
            end += 1;
        }
        (blob, piece..end)
    }

    /// Returns the run of wanted pieces around `piece`, within the block of `quota` bytes that it lies in: runs
    /// that begin anywhere would leave holes that are too small to be worth a request.
    fn run_around(&self, id: ProviderId, piece: u32, quota: u64) -> (usize, Range<u32>) {
        let blob = self.blob_of(piece);
        let most = self.pieces_in(blob, quota);
        let first = self.blobs[blob].pieces.start;
        let block = first + (piece - first) / most * most;
        let has = &self.providers[id].has;
        let rarity = self.holders[piece as usize];
        let mut start = piece;
        while start > block
            && self.wanted.contains(start - 1)
            && has.contains(start - 1)
            && self.holders[start as usize - 1] <= rarity
        {
            start -= 1;
        }
        (blob, start..self.run_end(id, blob, piece, start + most))
    }

    /// Returns the end of the run of wanted pieces from `piece` on, no rarer and no more common than it.
    fn run_end(&self, id: ProviderId, blob: usize, piece: u32, limit: u32) -> u32 {
        let limit = limit.min(self.blobs[blob].pieces.end);
        let has = &self.providers[id].has;
        let rarity = self.holders[piece as usize];
        let mut end = piece + 1;
        while end < limit
            && self.wanted.contains(end)
            && has.contains(end)
            && self.holders[end as usize] <= rarity
        {
            end += 1;
        }
        end
    }

    pub(super) fn blob_of(&self, piece: u32) -> usize {
        self.blobs.partition_point(|blob| blob.pieces.end <= piece)
    }

    fn pieces_in(&self, blob: usize, bytes: u64) -> u32 {
        u32::try_from(bytes >> self.blobs[blob].piece_bytes_log2)
            .unwrap_or(u32::MAX)
            .max(1)
    }

    /// Lets those who have nothing left to ask for take over from the slow and the silent.
    fn help(&mut self, actions: &mut Vec<Action>, now: Duration) {
        let is_silent = |request: &&InFlight| {
            !request.hedged && now >= request.heard + self.hedge_after(request)
        };
        let mut silent = Vec::new();
        if self.is_silent {
            let requests = self.requests.iter().filter(is_silent);
            silent.extend(requests.map(|request| request.id));
        }
        if silent.is_empty() && !self.requests.iter().any(InFlight::is_divisible) {
            return;
        }
        let mut idle: Vec<ProviderId> = (0..self.providers.len())
            .filter(|id| self.idle[*id] && self.has_room(*id, now))
            .collect();
        let rate = |id: &ProviderId| self.providers[*id].meter.bytes_per_second().unwrap_or(0.0);
        idle.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
        for id in idle {
            let hedge = self.silent_request(id, &silent);
            if let Some((of, picked)) = hedge {
                silent.retain(|other| *other != of);
                if let Some(silent) = self.requests.get_mut(of) {
                    silent.hedged = true;
                }
                actions.push(self.ask(id, picked, true, now));
                continue;
            }
            // An origin that is spared has other things to do than to chop up what peers bring.
            if self
                .wanted
                .first_common(&[&self.providers[id].has])
                .is_some()
            {
                continue;
            }
            let Some((of, blob, pieces)) = self.slowest_end(id) else {
                continue;
            };
            if let Some(slow) = self.requests.get_mut(of) {
                slow.pieces.end = pieces.start;
            }
            for piece in pieces.clone() {
                self.asked[piece as usize] -= 1;
            }
            actions.push(self.ask(id, (blob, pieces), false, now));
        }
    }

    /// Returns one of the requests that are silent, and what of it this provider could bring.
    fn silent_request(
        &self,
        id: ProviderId,
        silent: &[RequestId],
    ) -> Option<(RequestId, (usize, Range<u32>))> {
        let silent = silent.iter().filter_map(|of| self.requests.get(*of));
        silent
            .filter(|request| request.provider != id)
            .find_map(|request| {
                let run = self.held_run(id, request.pieces.clone())?;
                let most = self.pieces_in(request.blob, self.quota(id));
                let end = run.end.min(run.start.saturating_add(most));
                Some((request.id, (request.blob, run.start..end)))
            })
    }

    /// Returns the first pieces of a range, all of them held by a provider and not here.
    fn held_run(&self, id: ProviderId, pieces: Range<u32>) -> Option<Range<u32>> {
        let has = &self.providers[id].has;
        let fits = |piece: &u32| has.contains(*piece) && !self.here.contains(*piece);
        let start = pieces.clone().find(fits)?;
        let end = (start..pieces.end).find(|piece| !fits(piece));
        Some(start..end.unwrap_or(pieces.end))
    }

    /// Returns the request that would end last, and how much of its end this provider should take so that both
    /// end together.
    fn slowest_end(&self, id: ProviderId) -> Option<(RequestId, usize, Range<u32>)> {
        let helper = &self.providers[id];
        let own = helper.meter.bytes_per_second()? / (helper.in_flight.len() + 1) as f64;
        let mut best: Option<(f64, RequestId, usize, Range<u32>)> = None;
        for request in self.requests.iter() {
            if request.provider == id || !request.is_divisible() {
                continue;
            }
            let slow = &self.providers[request.provider];
            let rate = slow.meter.bytes_per_second().unwrap_or(0.0) / slow.in_flight.len() as f64;
            let bytes = self.blobs[request.blob].bytes(request.pieces.clone());
            let left = bytes.end.saturating_sub(request.at.max(bytes.start)) as f64;
            let alone = left / rate.max(1.0);
            let together = left / (rate + own) + helper.first_byte.as_secs_f64();
            if alone - together < GAIN_MIN.as_secs_f64() {
                continue;
            }
            let take = left * own / (rate + own);
            let take = self.pieces_in(
                request.blob,
                (take as u64).min(self.settings.request_bytes_max),
            );
            // The piece that is arriving stays where it is.
            let start = request
                .pieces
                .end
                .saturating_sub(take)
                .max(request.pieces.start + 1);
            let pieces = start..request.pieces.end;
            let held = pieces.clone().all(|piece| helper.has.contains(piece));
            if held && !pieces.is_empty() && best.as_ref().is_none_or(|best| alone > best.0) {
                best = Some((alone, request.id, request.blob, pieces));
            }
        }
        best.map(|(_, of, blob, pieces)| (of, blob, pieces))
    }
}
