//! Performs what the scheduler decides: dials, asks, listens to claims, and tells it what came of that.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use archy_registry::release::Endpoint;
use n0_future::StreamExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::company::{Said, Talk, Talker};
use super::providers::{Added, Providers};
use super::run::{Job, Part, Run, store_error};
use super::{FetchError, PROVIDERS_MAX, ProviderKind};
use crate::schedule::{Action, Ended, Goal, ProviderId, Request, RequestId, Scheduler, Settings};
use crate::transport::{self, GetFailure, Link};

/// Events on their way to the driver.
const EVENTS: usize = 256;
/// Blobs of which one provider is asked at a time what it has.
const WATCHED_BLOBS: usize = 12;
/// Longest pause before a provider is asked again what it has.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(30);
/// How often that pause doubles at most.
const LOOK_AGAIN_DOUBLINGS: u32 = 10;
/// Time for a provider to say what it has after it failed.
const CLAIM_TIME_MAX: Duration = Duration::from_secs(2);
/// How often a blob may turn out to be incomplete after all of it came.
const SURPRISES_MAX: u32 = 3;

/// Providers other than origins who are asked for company.
const TALKS_MAX: usize = 4;
/// Endpoints that are taken from a finder: as many failed dials, side by side, are what lies can cost.
const FOUND_MAX: usize = 16;
/// Endpoints of hints that are tried at a time and have given nothing yet, and tried at all: whoever floods a topic takes
/// nobody else's place.
const HINTS_OPEN_MAX: usize = 8;
const HINTS_MAX: usize = 64;
/// Suggested pieces that an origin should be ahead of need.
const SUGGESTED_PIECES: usize = 4;

/// Answers of one talk on their way.
const SAID: usize = 8;

/// What happened.
enum Event {
    Dialled(ProviderId, Result<Link, String>),
    Claims(ProviderId, usize, Vec<Range<u64>>),
    Said(ProviderId, Said),
    Found(Vec<Endpoint>),
    Received(RequestId, u64),
    /// A request ended; with what the provider says that it has, if it broke off.
    Ended(RequestId, Result<(), GetFailure>, Option<Vec<Range<u64>>>),
}

/// A request under way.
struct Asked {
    provider: ProviderId,
    blob: usize,
    at: u64,
    /// Whether the scheduler has given it up.
    is_over: bool,
    stop: CancellationToken,
}

/// One provider's claims to one blob, as they are listened to.
struct Listening {
    stop: CancellationToken,
    /// How often it did not give what it was asked for.
    refusals: u32,
}

/// The part of a fetch's state that its progress is drawn from.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) providers: Providers,
    /// Bytes that are here of the blobs under way.
    pub(super) bytes_here: u64,
}

/// Fetches some blobs that nobody else on this node is fetching.
pub(super) struct Driver<'a> {
    run: &'a Run,
    job: &'a Job,
    parts: &'a [&'a Part],
    scheduler: Scheduler,
    began: Instant,
    requests: HashMap<RequestId, Asked>,
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    /// Cancelled when a blob is whole.
    wanted: Vec<CancellationToken>,
    finished: HashSet<usize>,
    surprises: u32,
    talks: HashMap<ProviderId, Talk>,
    /// Turns to ask each provider what it has.
    turns: HashMap<ProviderId, Arc<Semaphore>>,
    listening: HashMap<(ProviderId, usize), Listening>,
    /// When something verified came last.
    heard: Duration,
    is_looking: bool,
    /// Those whom hints named.
    hinted: Vec<ProviderId>,
    _stop: DropGuard,
}

impl<'a> Driver<'a> {
    /// Fetches some blobs and has each one that is complete tagged.
    ///
    /// # Errors
    /// [`FetchError`] when one of them cannot be had from anybody.
    pub(super) async fn fetch(run: &'a Run, parts: &'a [&'a Part]) -> Result<(), FetchError> {
        let job = &run.job;
        let store = job.transport.store();
        let mut goals = Vec::with_capacity(parts.len());
        for Part { blob, .. } in parts {
            goals.push(Goal {
                size_bytes: blob.size_bytes,
                here: store.here(blob.blake3).await.map_err(store_error)?,
            });
        }
        let patience = job.patience;
        let settings = Settings {
            stall: patience.stall,
            hedge: (patience.stall / 4).min(Settings::default().hedge),
            retry: patience.retry,
            attempts_max: patience.attempts_max,
            idle: patience.idle,
            ..Settings::default()
        };
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| store_error(error.to_string()))?;
        let seed = u64::from_le_bytes(seed);
        let (events, mut happened) = mpsc::channel(EVENTS);
        let stop = CancellationToken::new();
        let mut driver = Self {
            run,
            job,
            parts,
            scheduler: Scheduler::new(&goals, settings, seed, Duration::ZERO),
            began: Instant::now(),
            requests: HashMap::new(),
            events,
            tasks: JoinSet::new(),
            wanted: parts.iter().map(|_| stop.child_token()).collect(),
            finished: HashSet::new(),
            surprises: 0,
            talks: HashMap::new(),
            turns: HashMap::new(),
            listening: HashMap::new(),
            heard: Duration::ZERO,
            is_looking: false,
            hinted: Vec::new(),
            _stop: stop.drop_guard(),
        };
        driver.meet_everybody();
        driver.go_on(&mut happened).await
    }

    async fn go_on(&mut self, happened: &mut mpsc::Receiver<Event>) -> Result<(), FetchError> {
        let mut lan = self.job.transport.lan().watch();
        let mut met = self.job.transport.met();
        let mut readers = self.job.transport.readers().changed();
        self.follow_readers();
        loop {
            self.finish_whole().await?;
            if self.finished.len() == self.parts.len() {
                return Ok(());
            }
            let now = self.now();
            let actions = self.scheduler.poll(now);
            self.perform(actions);
            self.wish();
            self.board().bytes_here = self.scheduler.bytes_here();
            let stuck = self.scheduler.stuck(self.now());
            let lonely_at = self.look_further(stuck.is_some());
            let look = match stuck {
                Some(_) if self.is_looking => None,
                Some(stuck) => {
                    let lan_until = self.run.lan_until.saturating_duration_since(self.began);
                    if !self.job.transport.lan().is_enabled() || self.now() >= lan_until {
                        return Err(self.exhausted(stuck.blob).await?);
                    }
                    Some(lan_until)
                }
                None => self.scheduler.next_look(now),
            };
            let look = look.unwrap_or(now + self.job.patience.connect);
            let look = lonely_at.map_or(look, |lonely| look.min(lonely));
            tokio::select! {
                Some(event) = happened.recv() => {
                    self.take_in(event)?;
                    while let Ok(event) = happened.try_recv() {
                        self.take_in(event)?;
                    }
                }
                () = tokio::time::sleep_until((self.began + look).into()) => {}
                Some(_) = self.tasks.join_next() => {}
                Ok(()) = readers.changed() => self.follow_readers(),
                Ok(met) = met.recv() => {
                    let ours = |part: &&Part| met.blobs.contains(&part.blob.blake3);
                    if self.parts.iter().any(ours) && (!met.is_hint || self.takes_hints()) {
                        let met_before = self.board().providers.len();
                        self.meet(met.endpoint, ProviderKind::Peer);
                        let met_now = self.board().providers.len();
                        if met.is_hint {
                            self.hinted.extend(met_before..met_now);
                        }
                    }
                }
                Ok(()) = lan.changed() => {
                    let seen: Vec<_> = lan.borrow_and_update().values().cloned().collect();
                    for endpoint in seen {
                        self.meet(endpoint, ProviderKind::Lan);
                    }
                }
            }
        }
    }

    /// Has the finder look when nothing has come for a while; returns when that will be.
    fn look_further(&mut self, is_stuck: bool) -> Option<Duration> {
        let finder = self.job.finder.as_ref()?;
        if self.run.has_looked.load(Ordering::Relaxed) {
            return None;
        }
        let lonely_at = self.heard + self.job.patience.lonely;
        if !is_stuck && self.now() < lonely_at {
            return Some(lonely_at);
        }
        self.run.has_looked.store(true, Ordering::Relaxed);
        self.is_looking = true;
        let (finding, events) = (finder.find(), self.events.clone());
        self.tasks.spawn(async move {
            events.send(Event::Found(finding.await)).await.ok();
        });
        None
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn board(&self) -> MutexGuard<'a, Board> {
        self.run
            .board
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in everyone who is known; an endpoint that is both origin and on the local network is the origin.
    fn meet_everybody(&mut self) {
        // Those of an earlier part of the fetch keep their place.
        let kinds: Vec<_> = self.board().providers.kinds().collect();
        for kind in kinds {
            self.scheduler.add(kind, Duration::ZERO);
        }
        let request = &self.job.request;
        for endpoint in &request.origin {
            self.meet(endpoint.clone(), ProviderKind::Origin);
        }
        for endpoint in self.job.transport.lan().list() {
            self.meet(endpoint, ProviderKind::Lan);
        }
        for endpoint in request.peers.iter().chain(&self.job.peers) {
            self.meet(endpoint.clone(), ProviderKind::Peer);
        }
    }

    fn meet(&mut self, endpoint: Endpoint, kind: ProviderKind) {
        if endpoint.id == self.job.transport.local().id {
            return;
        }
        let now = self.now();
        let mut board = self.board();
        // Those who were given up take nobody's place.
        let out = (0..board.providers.len()).filter(|id| self.scheduler.is_out(*id));
        let live_max = PROVIDERS_MAX + out.count();
        let known = endpoint.clone();
        match board.providers.add(endpoint, kind, live_max) {
            Added::New => {
                let request = &self.job.request;
                self.job.gossip.introduce(&request.tag, &known);
                self.scheduler.add(kind, now);
            }
            Added::Again(id) if kind == ProviderKind::Lan => self.scheduler.retry(id, now),
            Added::Again(_) | Added::Known => {}
        }
    }

    fn takes_hints(&self) -> bool {
        let is_open =
            |id: &&ProviderId| !self.scheduler.is_out(**id) && self.scheduler.bytes_from(**id) == 0;
        self.hinted.len() < HINTS_MAX && self.hinted.iter().filter(is_open).count() < HINTS_OPEN_MAX
    }

    fn follow_readers(&mut self) {
        for (position, part) in self.parts.iter().enumerate() {
            let at = self.job.transport.readers().position(&part.blob.blake3);
            self.scheduler.reads(position, at);
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Dial(provider) => self.dial(provider),
                Action::Ask(request) => self.ask(request),
                Action::Cancel(id) => {
                    if let Some(asked) = self.requests.get_mut(&id) {
                        asked.is_over = true;
                        asked.stop.cancel();
                    }
                }
                Action::GiveUp(id) => {
                    if let Some(asked) = self.requests.get_mut(&id) {
                        asked.is_over = true;
                        asked.stop.cancel();
                        let within = self.job.patience.stall;
                        let failure = GetFailure::Stalled { within };
                        let provider = asked.provider;
                        self.board().providers.failed(provider, &failure);
                    }
                }
            }
        }
    }

    fn dial(&mut self, provider: ProviderId) {
        // The board is let go first: what follows takes it again.
        let link = self.board().providers.link(provider);
        if let Some(link) = link {
            self.connected(provider, &link);
            return;
        }
        let endpoint = self.board().providers.endpoint(provider).clone();
        let transport = self.job.transport.clone();
        let (within, events) = (self.job.patience.connect, self.events.clone());
        self.tasks.spawn(async move {
            let link = transport.connect(&endpoint, within).await;
            let dialled = Event::Dialled(provider, link.map_err(|error| error.0));
            events.send(dialled).await.ok();
        });
    }

    fn connected(&mut self, provider: ProviderId, link: &Link) {
        self.scheduler.connected(provider);
        self.talk(provider);
        if self.board().providers.kind(provider) == ProviderKind::Origin {
            return;
        }
        // In the order in which blobs are fetched.
        for position in 0..self.parts.len() {
            self.listen(provider, link, position, Duration::ZERO);
        }
    }

    /// Follows what a provider says that it has of a blob; asks again, more and more rarely, when it says nothing.
    fn listen(&mut self, provider: ProviderId, link: &Link, position: usize, after: Duration) {
        if self.finished.contains(&position) {
            return;
        }
        let stop = self.wanted[position].child_token();
        let known = self.listening.get(&(provider, position));
        let refusals = known.map_or(0, |before| {
            before.stop.cancel();
            before.refusals
        });
        let listening = Listening {
            stop: stop.clone(),
            refusals,
        };
        self.listening.insert((provider, position), listening);
        let turns = self.turns.entry(provider);
        let turns = turns.or_insert_with(|| Arc::new(Semaphore::new(WATCHED_BLOBS)));
        let (turns, events) = (turns.clone(), self.events.clone());
        let (transport, link) = (self.job.transport.clone(), link.clone());
        let blob = self.parts[position].blob.blake3;
        let retry = self.job.patience.retry;
        let listen = async move {
            let mut refusals = 0;
            tokio::time::sleep(after).await;
            while let Ok(turn) = turns.acquire().await {
                let mut claims = std::pin::pin!(transport.claims(&link, blob));
                while let Some(ranges) = claims.next().await {
                    let claims = Event::Claims(provider, position, ranges);
                    if events.send(claims).await.is_err() {
                        return;
                    }
                }
                drop(turn);
                if !link.is_open() {
                    return;
                }
                tokio::time::sleep(look_again(retry, refusals)).await;
                refusals += 1;
            }
        };
        self.tasks.spawn(async move {
            stop.run_until_cancelled(listen).await;
        });
    }

    /// Asks a provider that did not have what it was asked for, after a while, what it has by then.
    fn listen_again(&mut self, provider: ProviderId, position: usize) {
        let Some(link) = self.board().providers.link(provider) else {
            return;
        };
        let known = self.listening.get(&(provider, position));
        let refusals = known.map_or(0, |listening| listening.refusals);
        let after = look_again(self.job.patience.retry, refusals);
        self.listen(provider, &link, position, after);
        if let Some(listening) = self.listening.get_mut(&(provider, position)) {
            listening.refusals = refusals.saturating_add(1);
        }
    }

    /// Asks a provider who else fetches the blobs; every origin, and a few others in case there is none.
    fn talk(&mut self, provider: ProviderId) {
        let is_origin = self.board().providers.kind(provider) == ProviderKind::Origin;
        if self.talks.contains_key(&provider) || !is_origin && self.talks.len() >= TALKS_MAX {
            return;
        }
        let (talk, wishes) = Talk::new();
        self.talks.insert(provider, talk);
        let company = Talker {
            transport: self.job.transport.clone(),
            with: self.board().providers.endpoint(provider).clone(),
            within: self.job.patience.connect,
            blobs: self.parts.iter().map(|part| part.blob.blake3).collect(),
            joins: self.job.request.share && !self.job.transport.upload_limits().is_paused,
        };
        let events = self.events.clone();
        let (tell, mut said) = mpsc::channel(SAID);
        self.tasks.spawn(async move {
            company.talk(wishes, tell).await;
        });
        self.tasks.spawn(async move {
            while let Some(said) = said.recv().await {
                if events.send(Event::Said(provider, said)).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Asks origins in a crowd for suggestions, a little ahead of need.
    fn wish(&mut self) {
        let board = self.board();
        for (provider, talk) in &mut self.talks {
            if board.providers.kind(*provider) == ProviderKind::Origin
                && talk.may_wish()
                && let Some(blob) = self
                    .scheduler
                    .wants_suggestions(*provider, SUGGESTED_PIECES)
            {
                talk.wish(blob);
            }
        }
    }

    fn ask(&mut self, request: Request) {
        let Request {
            id,
            provider,
            blob,
            bytes,
        } = request;
        let Some(link) = self.board().providers.link(provider) else {
            let now = self.now();
            self.scheduler.ended(id, Ended::Failed, now);
            self.scheduler.lost(provider);
            return;
        };
        let stop = CancellationToken::new();
        self.requests.insert(
            id,
            Asked {
                provider,
                blob,
                at: bytes.start,
                is_over: false,
                stop: stop.clone(),
            },
        );
        let wanted = self.parts[blob].blob;
        let part = transport::Part {
            blob: wanted.blake3,
            size_bytes: wanted.size_bytes,
            bytes,
        };
        let (transport, events) = (self.job.transport.clone(), self.events.clone());
        self.tasks.spawn(async move {
            let reached = AtomicU64::new(0);
            let progress = |upto| {
                reached.store(upto, Ordering::Relaxed);
                // What finds no room is told with the next report.
                events.try_send(Event::Received(id, upto)).ok();
            };
            let outcome = transport.get(&link, &part, &stop, progress).await;
            let upto = reached.into_inner();
            events.send(Event::Received(id, upto)).await.ok();
            let claims = match outcome {
                Err(GetFailure::Missing | GetFailure::Damaged) => {
                    let claims = transport.claims(&link, part.blob);
                    let mut claims = std::pin::pin!(claims);
                    let first = tokio::time::timeout(CLAIM_TIME_MAX, claims.next());
                    Some(first.await.ok().flatten().unwrap_or_default())
                }
                Ok(()) | Err(_) => None,
            };
            events.send(Event::Ended(id, outcome, claims)).await.ok();
        });
    }

    fn take_in(&mut self, event: Event) -> Result<(), FetchError> {
        let now = self.now();
        match event {
            Event::Dialled(provider, link) => {
                self.board().providers.dialled(provider, link.clone());
                match link {
                    Ok(link) => self.connected(provider, &link),
                    Err(_) => self.scheduler.unreachable(provider, now),
                }
            }
            Event::Claims(provider, blob, ranges) => {
                for range in &ranges {
                    self.scheduler.claims(provider, blob, range);
                }
            }
            Event::Said(provider, Said::Company(company)) => {
                if let Some(talk) = self.talks.get_mut(&provider) {
                    talk.crowd = company.crowd;
                }
                for peer in company.peers {
                    self.meet(peer, ProviderKind::Peer);
                }
            }
            Event::Said(provider, Said::Suggested(blob, bytes)) => {
                let is_of_use = bytes.map(|bytes| self.scheduler.suggests(provider, blob, &bytes));
                if let Some(talk) = self.talks.get_mut(&provider) {
                    talk.answered(is_of_use);
                }
            }
            Event::Found(endpoints) => {
                self.is_looking = false;
                for endpoint in endpoints.into_iter().take(FOUND_MAX) {
                    self.meet(endpoint, ProviderKind::Peer);
                }
            }
            Event::Received(id, upto) => {
                if let Some(asked) = self.requests.get_mut(&id) {
                    let bytes = upto.saturating_sub(asked.at);
                    asked.at = asked.at.max(upto);
                    if bytes > 0 {
                        self.heard = now;
                    }
                    let provider = asked.provider;
                    self.board().providers.received(provider, bytes);
                    let fetched = &self.job.bytes_fetched;
                    fetched.fetch_add(bytes, Ordering::Relaxed);
                }
                let actions = self.scheduler.received(id, upto, now);
                self.perform(actions);
            }
            Event::Ended(id, outcome, claims) => self.ended(id, outcome, claims)?,
        }
        Ok(())
    }

    fn ended(
        &mut self,
        id: RequestId,
        outcome: Result<(), GetFailure>,
        claims: Option<Vec<Range<u64>>>,
    ) -> Result<(), FetchError> {
        let Some(asked) = self.requests.remove(&id) else {
            return Ok(());
        };
        let (now, provider) = (self.now(), asked.provider);
        let holds = claims
            .as_ref()
            .is_some_and(|claims| claims.iter().any(|range| range.contains(&asked.at)));
        let how = match &outcome {
            Ok(()) => Ended::Done,
            Err(GetFailure::Local(reason)) => return Err(store_error(reason.clone())),
            Err(GetFailure::NotServed | GetFailure::WrongSize { .. }) => Ended::Absent,
            Err(GetFailure::Missing | GetFailure::Damaged) if !holds => Ended::Absent,
            Err(GetFailure::Missing | GetFailure::Damaged) => Ended::Damaged,
            Err(GetFailure::Busy) => Ended::Busy,
            Err(GetFailure::WrongData) => Ended::Lied,
            Err(GetFailure::BrokeOff(_) | GetFailure::Stalled { .. }) => Ended::Failed,
        };
        if let Err(failure) = outcome.as_ref()
            && !asked.is_over
        {
            let blob = self.parts[asked.blob].blob.blake3;
            tracing::debug!(%blob, provider, %failure, "a provider failed");
            // Whoever claims bytes that it then does not give has a damaged copy.
            let is_damaged = holds && *failure == GetFailure::Missing;
            let failure = if is_damaged {
                &GetFailure::Damaged
            } else {
                failure
            };
            self.board().providers.failed(provider, failure);
        }
        self.scheduler.ended(id, how, now);
        let is_refused = matches!(
            outcome,
            Err(GetFailure::NotServed | GetFailure::Missing | GetFailure::Damaged)
        );
        // Even if it holds the bytes that should have come next: it may break off a little further on, for what it
        // has is not cut where our pieces are, and get the rest later.
        if is_refused {
            self.listen_again(provider, asked.blob);
        }
        for range in claims.iter().flatten() {
            self.scheduler.claims(provider, asked.blob, range);
        }
        if self.board().providers.link(provider).is_none() {
            self.scheduler.lost(provider);
        }
        Ok(())
    }

    /// Hands over the blobs of which every piece came and every request has ended.
    async fn finish_whole(&mut self) -> Result<(), FetchError> {
        for position in 0..self.parts.len() {
            let is_busy = self.requests.values().any(|asked| asked.blob == position);
            if is_busy || self.finished.contains(&position) || !self.scheduler.is_whole(position) {
                continue;
            }
            if self.run.finish_if_complete(self.parts[position]).await? {
                self.finished.insert(position);
                self.wanted[position].cancel();
                continue;
            }
            self.surprises += 1;
            let blob = self.parts[position].blob;
            if self.surprises > SURPRISES_MAX {
                let reason = format!("blob {} came and is not here", blob.blake3);
                return Err(store_error(reason));
            }
            let here = self.job.transport.store().here(blob.blake3).await;
            let mut from = 0;
            for range in here.map_err(store_error)? {
                self.scheduler
                    .forget(position, &(from..range.start.min(blob.size_bytes)));
                from = range.end;
            }
            self.scheduler
                .forget(position, &(from.min(blob.size_bytes)..blob.size_bytes));
        }
        Ok(())
    }

    async fn exhausted(&self, position: usize) -> Result<FetchError, FetchError> {
        let blob = self.parts[position].blob;
        if self.board().providers.is_empty() {
            return Ok(FetchError::NoProviders {
                blake3: blob.blake3,
            });
        }
        let here = self.job.transport.store().here(blob.blake3).await;
        let here = here.map_err(store_error)?;
        let within =
            |range: &Range<u64>| range.end.min(blob.size_bytes).saturating_sub(range.start);
        Ok(FetchError::Exhausted {
            blake3: blob.blake3,
            have_bytes: here.iter().map(within).sum(),
            size_bytes: blob.size_bytes,
            providers: self.board().providers.reports(),
        })
    }
}

/// Returns the pause before a provider is asked again what it has.
fn look_again(first: Duration, refusals: u32) -> Duration {
    let pause = first.saturating_mul(2_u32.pow(refusals.min(LOOK_AGAIN_DOUBLINGS)));
    pause.min(LOOK_AGAIN_MAX)
}
