//! Simulated nodes that run the real scheduler over links that share their bandwidth evenly.
//!
//! A node serves a few requests at a time, others queue, and when too many do it says "busy". Bytes flow at the
//! uploader's share of its link or the downloader's, whichever is smaller. Everything is drawn from a seed.
//!
//! What a node got it tells its neighbours twenty times a second; the real one tells at once, so news are rather late
//! here. Their schedulers hear of it when they have something to decide: at once if they wait for it, otherwise before
//! they choose.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use archy_swarm::schedule::{
    Action, Ended, Goal, ProviderId, ProviderKind, Request, RequestId, Scheduler, Settings,
    Suggestions,
};

use crate::clock::{Clock, Tick, Time};

/// Time that a message takes from one node to another.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);
/// Requests that a node serves at a time, and that wait for their turn.
const SLOTS: usize = 4;
const QUEUE: usize = 2;
/// Pause between two messages of a node that tell its neighbours what it got.
const NEWS: Duration = Duration::from_millis(50);
/// Nodes that the tracker names to one who joins; as many come to know it.
const NAMED: usize = 10;
/// Pieces that were suggested and are not asked for, below which a node asks the origin for more suggestions.
const SUGGESTED_PIECES: usize = 4;
/// Most providers of one node.
const PROVIDERS_MAX: usize = 32;

type NodeId = usize;

/// Bandwidth in bytes per second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) up: f64,
    pub(crate) down: f64,
}

/// How a node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    Honest,
    /// Sends bytes that do not match.
    Liar,
    /// Accepts requests and sends nothing.
    Silent,
}

/// A node that takes part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) link: Link,
    pub(crate) manners: Manners,
    pub(crate) joins: Duration,
    /// When it goes away, done or not.
    pub(crate) leaves: Option<Duration>,
    /// Whether it has everything from the start.
    pub(crate) is_seed: bool,
}

/// What is simulated.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) size_bytes: u64,
    pub(crate) piece_bytes: u64,
    pub(crate) origin: Member,
    pub(crate) members: Vec<Member>,
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// When each node that stayed had everything, since it joined.
    pub(crate) took: Vec<Duration>,
    /// Nodes that stayed and never had everything.
    pub(crate) unfinished: usize,
    /// When the last one had everything.
    pub(crate) last: Duration,
    /// Copies of the file that the origin sent.
    pub(crate) origin_copies: f64,
    /// Bytes that came for nothing, per byte of the file that somebody wanted.
    pub(crate) wasted: f64,
}

#[derive(Debug)]
struct Node {
    member: Member,
    scheduler: Option<Scheduler>,
    /// Whom this node asks; the position is the provider's id.
    providers: Vec<Known>,
    /// Who asks this node, and as which provider they know it.
    askers: Vec<(NodeId, ProviderId)>,
    /// Requests to this node that are served now.
    downloads: usize,
    /// Whether it has asked the origin for a suggestion and waits for the answer.
    wishes: bool,
    done_at: Option<Duration>,
}

/// What a node knows of a provider.
#[derive(Debug, Clone, Copy)]
struct Known {
    node: u32,
    /// How much of the provider's log the scheduler was told.
    told: u32,
    is_up: bool,
    /// Whether this node is among those who wait for the provider's next piece.
    waits: bool,
}

/// What a node has got, in this order.
#[derive(Debug, Default)]
struct Log {
    pieces: Vec<u16>,
    /// How much of it was told, and when more may be.
    told: usize,
    next: Time,
    /// Who has nothing else to ask of this node than what it gets next.
    waiting: Vec<(u32, u32)>,
}

/// The requests that a node serves, and behind them those that wait for their turn.
#[derive(Debug)]
struct Desk {
    /// Whether the node takes part.
    is_here: bool,
    up: f64,
    /// Until when the flows are worked out.
    since: Time,
    flows: Vec<Flow>,
}

/// A request at its provider.
#[derive(Debug, Clone, Copy)]
struct Flow {
    to: u32,
    request: RequestId,
    end: u64,
    told: u64,
    at: f64,
    rate: f64,
}

impl Desk {
    fn serving(&mut self) -> &mut [Flow] {
        let served = self.flows.len().min(SLOTS);
        &mut self.flows[..served]
    }

    fn position(&self, to: NodeId, request: RequestId) -> Option<usize> {
        let is_it = |flow: &Flow| flow.to as NodeId == to && flow.request == request;
        self.flows.iter().position(is_it)
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Join(NodeId),
    Leave(NodeId),
    Answer(NodeId, ProviderId, bool),
    /// A request for these pieces reaches its provider.
    Arrive {
        from: u32,
        to: u32,
        request: RequestId,
        first: u32,
        last: u32,
    },
    Refuse(u32, RequestId, Refusal),
    /// The neighbours of a node know of so much of its log.
    Claim(NodeId, u32),
    Wish(NodeId),
    Suggest(NodeId, u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    Busy,
    Gone,
    Lie,
}

/// The timers of each node: when a flow reaches the end of a piece, when its scheduler wants to look, and when it tells
/// what it got.
const TIMERS: usize = 3;
const STEP: usize = 0;
const LOOK: usize = 1;
const TELL: usize = 2;

pub(crate) struct World {
    scene: Scene,
    now: Time,
    nodes: Vec<Node>,
    desks: Vec<Desk>,
    logs: Vec<Log>,
    /// How much of each node's log its neighbours know of.
    known: Vec<u32>,
    /// The pieces that each node has, a bit each, one node after the other.
    has: Vec<u64>,
    /// Words of these bits per node.
    words: usize,
    clock: Clock<Event>,
    /// Requests that were taken back on their way.
    recalled: HashSet<(u32, RequestId)>,
    rng: fastrand::Rng,
    here: Vec<NodeId>,
    origin_bytes: f64,
    suggestions: Suggestions,
    left_to_finish: usize,
}

const ORIGIN: NodeId = 0;

impl World {
    pub(crate) fn new(scene: Scene) -> Self {
        let members = std::iter::once(scene.origin).chain(scene.members.iter().copied());
        let nodes: Vec<Node> = members
            .map(|member| Node {
                member,
                scheduler: None,
                providers: Vec::new(),
                askers: Vec::new(),
                downloads: 0,
                wishes: false,
                done_at: None,
            })
            .collect();
        let left_to_finish = scene
            .members
            .iter()
            .filter(|member| !member.is_seed && member.leaves.is_none())
            .count();
        let desk = |node: &Node| Desk {
            is_here: false,
            up: node.member.link.up,
            since: 0,
            flows: Vec::with_capacity(SLOTS + QUEUE),
        };
        let words = scene.size_bytes.div_ceil(scene.piece_bytes).div_ceil(64) as usize;
        let suggestions = Suggestions::new(scene.size_bytes);
        let mut world = Self {
            rng: fastrand::Rng::with_seed(scene.seed),
            scene,
            now: 0,
            desks: nodes.iter().map(desk).collect(),
            logs: nodes.iter().map(|_| Log::default()).collect(),
            known: vec![0; nodes.len()],
            has: vec![0; nodes.len() * words],
            words,
            clock: Clock::new(nodes.len() * TIMERS, nanos(LATENCY)),
            nodes,
            recalled: HashSet::new(),
            here: Vec::new(),
            origin_bytes: 0.0,
            suggestions,
            left_to_finish,
        };
        for id in 0..world.nodes.len() {
            let member = world.nodes[id].member;
            world.clock.at(nanos(member.joins), Event::Join(id));
            if let Some(leaves) = member.leaves {
                world.clock.at(nanos(leaves), Event::Leave(id));
            }
        }
        world
    }

    /// Runs until everybody who stays is done, or nothing more happens within `within`.
    pub(crate) fn run(mut self, within: Duration) -> Outcome {
        while self.left_to_finish > 0
            && let Some((at, tick)) = self.clock.next()
        {
            if at > nanos(within) {
                break;
            }
            self.now = at;
            match tick {
                Tick::Event(event) => self.happen(event),
                Tick::Timer(timer) if timer % TIMERS == STEP => self.step(timer / TIMERS),
                Tick::Timer(timer) if timer % TIMERS == LOOK => self.poll(timer / TIMERS),
                Tick::Timer(timer) => self.tell(timer / TIMERS),
            }
        }
        let stayed = || {
            let nodes = self.nodes.iter().skip(1);
            nodes.filter(|node| !node.member.is_seed && node.member.leaves.is_none())
        };
        let took: Vec<Duration> = stayed()
            .filter_map(|node| Some(node.done_at? - node.member.joins))
            .collect();
        let wanted = self.scene.size_bytes as f64 * took.len().max(1) as f64;
        let duplicates: u64 = self
            .nodes
            .iter()
            .filter_map(|node| Some(node.scheduler.as_ref()?.duplicate_bytes()))
            .sum();
        Outcome {
            unfinished: stayed().filter(|node| node.done_at.is_none()).count(),
            last: stayed()
                .filter_map(|node| node.done_at)
                .max()
                .unwrap_or(within),
            took,
            origin_copies: self.origin_bytes / self.scene.size_bytes as f64,
            wasted: duplicates as f64 / wanted,
        }
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    fn send(&mut self, event: Event) {
        self.clock.send(self.now, event);
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Join(id) => self.join(id),
            Event::Leave(id) => self.leave(id),
            Event::Answer(id, provider, up) => self.answer(id, provider, up),
            Event::Arrive {
                from,
                to,
                request,
                first,
                last,
            } => self.arrive(from as NodeId, to, request, first..last),
            Event::Refuse(to, request, how) => {
                let how = match how {
                    Refusal::Busy => Ended::Busy,
                    Refusal::Gone => Ended::Failed,
                    Refusal::Lie => Ended::Lied,
                };
                if let Some(scheduler) = &mut self.nodes[to as NodeId].scheduler {
                    scheduler.ended(request, how, now);
                }
                self.poll(to as NodeId);
            }
            Event::Claim(id, upto) => self.claim(id, upto),
            Event::Wish(id) => self.suggest(id),
            Event::Suggest(id, start, end) => {
                self.nodes[id].wishes = false;
                if let Some(scheduler) = &mut self.nodes[id].scheduler {
                    scheduler.suggests(0, 0, &(start..end));
                }
                self.poll(id);
            }
        }
    }

    fn join(&mut self, id: NodeId) {
        self.desks[id].is_here = true;
        let is_source = id == ORIGIN || self.nodes[id].member.is_seed;
        if !is_source {
            let goal = Goal {
                size_bytes: self.scene.size_bytes,
                here: Vec::new(),
            };
            let settings = Settings {
                piece_bytes: Some(self.scene.piece_bytes),
                ..Settings::default()
            };
            let seed = self.scene.seed ^ (id as u64) << 20;
            let scheduler = Scheduler::new(&[goal], settings, seed, self.now());
            self.nodes[id].scheduler = Some(scheduler);
            self.introduce(id, ORIGIN, ProviderKind::Origin);
        }
        if id != ORIGIN {
            for other in self.rng.choose_multiple(self.here.iter().copied(), NAMED) {
                if self.desks[other].is_here {
                    self.introduce(id, other, ProviderKind::Peer);
                    self.introduce(other, id, ProviderKind::Peer);
                }
            }
            self.here.push(id);
        }
        self.poll(id);
    }

    /// Lets `asker` know of `provider`.
    fn introduce(&mut self, asker: NodeId, provider: NodeId, kind: ProviderKind) {
        let now = self.now();
        let node = &mut self.nodes[asker];
        let Some(scheduler) = node
            .scheduler
            .as_mut()
            .filter(|scheduler| !scheduler.is_done())
        else {
            return;
        };
        let is_known = |known: &Known| known.node as NodeId == provider;
        if node.providers.iter().any(is_known) || node.providers.len() >= PROVIDERS_MAX {
            return;
        }
        let as_id = scheduler.add(kind, now);
        node.providers.push(Known {
            node: provider as u32,
            told: 0,
            is_up: false,
            waits: false,
        });
        self.nodes[provider].askers.push((asker, as_id));
        self.poll_now(asker);
    }

    /// A provider answers a dial, or does not.
    fn answer(&mut self, id: NodeId, provider: ProviderId, up: bool) {
        let (now, size_bytes) = (self.now(), self.scene.size_bytes);
        let Some(known) = self.nodes[id].providers.get(provider) else {
            // Who asked has left.
            return;
        };
        let of = known.node as NodeId;
        let is_seed = self.nodes[of].member.is_seed;
        let node = &mut self.nodes[id];
        node.providers[provider].is_up = up;
        if let Some(scheduler) = &mut node.scheduler {
            if up {
                scheduler.connected(provider);
            } else {
                scheduler.unreachable(provider, now);
            }
            if up && is_seed {
                scheduler.claims(provider, 0, &(0..size_bytes));
            }
        }
        self.poll(id);
    }

    /// Asks the origin what to take of it, a little ahead of need.
    fn wish(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        let wants = |scheduler: &Scheduler| scheduler.wants_suggestions(0, SUGGESTED_PIECES);
        if !node.wishes && node.scheduler.as_ref().and_then(wants).is_some() {
            self.nodes[id].wishes = true;
            self.send(Event::Wish(id));
        }
    }

    /// The origin answers a wish.
    fn suggest(&mut self, id: NodeId) {
        if self.desks[ORIGIN].is_here {
            let bytes = self.suggestions.suggest();
            self.send(Event::Suggest(id, bytes.start, bytes.end));
        }
    }

    fn leave(&mut self, id: NodeId) {
        let now = self.now();
        self.desks[id].is_here = false;
        self.wait_for_nobody(id);
        self.nodes[id].scheduler = None;
        for known in std::mem::take(&mut self.nodes[id].providers) {
            let from = known.node as NodeId;
            let to_it = |flow: &Flow| flow.to as NodeId == id;
            while let Some(place) = self.desks[from].flows.iter().position(to_it) {
                self.take_away(from, place);
            }
            self.share(from);
        }
        while !self.desks[id].flows.is_empty() {
            let flow = self.take_away(id, 0);
            if let Some(scheduler) = &mut self.nodes[flow.to as NodeId].scheduler {
                scheduler.ended(flow.request, Ended::Failed, now);
            }
        }
        self.share(id);
        for (asker, provider) in std::mem::take(&mut self.nodes[id].askers) {
            let node = &mut self.nodes[asker];
            if let Some(scheduler) = &mut node.scheduler {
                node.providers[provider].is_up = false;
                scheduler.lost(provider);
            }
            self.poll_now(asker);
        }
    }

    fn poll_now(&mut self, id: NodeId) {
        self.clock.set(id * TIMERS + LOOK, self.now);
    }

    /// Lets a node decide, who knows what its neighbours have.
    fn poll(&mut self, id: NodeId) {
        let now = self.now();
        let node = &mut self.nodes[id];
        let scheduler = node.scheduler.as_mut();
        let Some(scheduler) = scheduler.filter(|scheduler| !scheduler.is_done()) else {
            return;
        };
        for (provider, known) in node.providers.iter_mut().enumerate() {
            let (of, upto) = (known.node as NodeId, self.known[known.node as NodeId]);
            if known.is_up && known.told < upto {
                let news = &self.logs[of].pieces[known.told as usize..upto as usize];
                tell(scheduler, provider, news, self.scene.piece_bytes);
                known.told = upto;
            }
        }
        let actions = scheduler.poll(now);
        let next = scheduler.next_look(now);
        for (provider, known) in node.providers.iter_mut().enumerate() {
            let waits = scheduler.is_idle(provider);
            if waits != known.waits {
                known.waits = waits;
                let waiting = &mut self.logs[known.node as NodeId].waiting;
                let entry = (id as u32, provider as u32);
                if waits {
                    waiting.push(entry);
                } else {
                    waiting.retain(|other| *other != entry);
                }
            }
        }
        let next = next.map_or(Time::MAX, nanos);
        // A thousandth of a second is what a timer may miss.
        self.clock
            .set(id * TIMERS + LOOK, next.max(self.now + 1_000_000));
        self.wish(id);
        self.perform(id, actions);
    }

    fn wait_for_nobody(&mut self, id: NodeId) {
        for known in &mut self.nodes[id].providers {
            if std::mem::take(&mut known.waits) {
                let waiting = &mut self.logs[known.node as NodeId].waiting;
                waiting.retain(|(asker, _)| *asker as NodeId != id);
            }
        }
    }

    fn perform(&mut self, id: NodeId, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Dial(provider) => {
                    let of = self.nodes[id].providers[provider].node as NodeId;
                    let up = self.desks[of].is_here;
                    let after = if up {
                        LATENCY * 2
                    } else {
                        Duration::from_secs(5)
                    };
                    let answer = Event::Answer(id, provider, up);
                    self.clock.at(self.now + nanos(after), answer);
                }
                Action::Ask(Request {
                    id: request,
                    provider,
                    bytes,
                    ..
                }) => {
                    let piece = self.scene.piece_bytes;
                    self.send(Event::Arrive {
                        from: self.nodes[id].providers[provider].node,
                        to: id as u32,
                        request,
                        first: (bytes.start / piece) as u32,
                        last: bytes.end.div_ceil(piece) as u32,
                    });
                }
                Action::Cancel(request) | Action::GiveUp(request) => {
                    self.recall(id, request);
                    self.poll_now(id);
                }
            }
        }
    }

    /// Takes back a request, at its provider or on its way there.
    fn recall(&mut self, id: NodeId, request: RequestId) {
        let mut providers = self.nodes[id].providers.iter();
        let there = providers.find_map(|known| {
            let from = known.node as NodeId;
            Some((from, self.desks[from].position(id, request)?))
        });
        match there {
            Some((from, place)) => {
                self.take_away(from, place);
                self.share(from);
            }
            None => {
                self.recalled.insert((id as u32, request));
            }
        }
    }

    /// A request reaches its provider.
    fn arrive(&mut self, from: NodeId, to: u32, request: RequestId, pieces: Range<u32>) {
        let is_recalled = !self.recalled.is_empty() && self.recalled.remove(&(to, request));
        if is_recalled || !self.desks[to as NodeId].is_here {
            return;
        }
        let node = &self.nodes[from];
        let refusal = match node.member.manners {
            _ if !self.desks[from].is_here => Refusal::Gone,
            Manners::Silent => return,
            Manners::Liar => Refusal::Lie,
            Manners::Honest if self.desks[from].flows.len() == SLOTS + QUEUE => Refusal::Busy,
            Manners::Honest => {
                self.take_in(from, to, request, pieces);
                return;
            }
        };
        self.send(Event::Refuse(to, request, refusal));
    }

    fn take_in(&mut self, from: NodeId, to: u32, request: RequestId, pieces: Range<u32>) {
        let piece = self.scene.piece_bytes;
        let start = u64::from(pieces.start) * piece;
        let end = (u64::from(pieces.end) * piece).min(self.scene.size_bytes);
        if from == ORIGIN {
            self.suggestions.sends(&(start..end));
        }
        self.advance(from);
        let flows = &mut self.desks[from].flows;
        flows.push(Flow {
            to,
            request,
            end,
            told: start,
            at: start as f64,
            rate: 0.0,
        });
        if flows.len() <= SLOTS {
            self.nodes[to as NodeId].downloads += 1;
            self.share_others(from, to as NodeId);
            self.share(from);
        }
    }

    /// Works out anew how fast others send to a downloader, if its link has an end.
    fn share_others(&mut self, from: NodeId, to: NodeId) {
        if self.nodes[to].member.link.down.is_finite() {
            for provider in 0..self.nodes[to].providers.len() {
                let other = self.nodes[to].providers[provider].node as NodeId;
                let serves = |flow: &Flow| flow.to as NodeId == to;
                if other != from && self.desks[other].serving().iter().any(serves) {
                    self.share(other);
                }
            }
        }
    }

    /// Works out anew how fast the flows of a node run.
    fn share(&mut self, from: NodeId) {
        self.advance(from);
        let piece = self.scene.piece_bytes;
        let desk = &mut self.desks[from];
        let each = desk.up / desk.flows.len().clamp(1, SLOTS) as f64;
        let mut soonest = f64::INFINITY;
        for flow in desk.serving() {
            let to = &self.nodes[flow.to as NodeId];
            flow.rate = each.min(to.member.link.down / to.downloads.max(1) as f64);
            let next = ((flow.told / piece + 1) * piece).min(flow.end);
            soonest = soonest.min((next as f64 - flow.at).max(0.0) / flow.rate);
        }
        let due = if soonest.is_finite() {
            self.now + (soonest * 1e9).ceil() as Time
        } else {
            Time::MAX
        };
        self.clock.set(from * TIMERS + STEP, due);
    }

    /// Moves the flows of a node on to now.
    fn advance(&mut self, from: NodeId) {
        let desk = &mut self.desks[from];
        let seconds = (self.now - desk.since) as f64 / 1e9;
        desk.since = self.now;
        let mut sent = 0.0;
        for flow in desk.serving() {
            let bytes = flow.rate * seconds;
            flow.at = (flow.at + bytes).min(flow.end as f64);
            sent += bytes;
        }
        if from == ORIGIN {
            self.origin_bytes += sent;
        }
    }

    /// Flows of a node reached the end of a piece.
    fn step(&mut self, from: NodeId) {
        self.advance(from);
        let piece = self.scene.piece_bytes;
        let mut arrived = [None; SLOTS];
        for (flow, arrived) in self.desks[from].serving().iter().zip(&mut arrived) {
            let upto = ((flow.told / piece + 1) * piece).min(flow.end);
            // Half a byte is what the clock's nanoseconds may miss.
            if flow.at + 0.5 >= upto as f64 {
                *arrived = Some((flow.to as NodeId, flow.request, upto));
            }
        }
        for (to, request, upto) in arrived.into_iter().flatten() {
            self.deliver(from, to, request, upto);
        }
        self.share(from);
    }

    /// A piece arrived.
    fn deliver(&mut self, from: NodeId, to: NodeId, request: RequestId, upto: u64) {
        let Some(place) = self.desks[from].position(to, request) else {
            return;
        };
        let flow = &mut self.desks[from].flows[place];
        flow.told = upto;
        flow.at = flow.at.max(upto as f64);
        if upto == flow.end {
            self.take_away(from, place);
        }
        let now = self.now();
        let node = &mut self.nodes[to];
        let Some(scheduler) = &mut node.scheduler else {
            return;
        };
        let actions = scheduler.received(request, upto, now);
        if scheduler.is_done() && node.done_at.is_none() {
            node.done_at = Some(now);
            if node.member.leaves.is_none() {
                self.left_to_finish -= 1;
            }
            self.wait_for_nobody(to);
        }
        let piece = ((upto - 1) / self.scene.piece_bytes) as usize;
        self.has[to * self.words + piece / 64] |= 1 << (piece % 64);
        let log = &mut self.logs[to];
        if log.told == log.pieces.len() {
            self.clock.set(to * TIMERS + TELL, log.next.max(self.now));
        }
        log.pieces.push(piece as u16);
        self.perform(to, actions);
        self.poll(to);
    }

    /// Takes a request away from its provider, wherever it stands; who waits moves up.
    fn take_away(&mut self, from: NodeId, place: usize) -> Flow {
        self.advance(from);
        let flows = &mut self.desks[from].flows;
        let flow = flows.remove(place);
        if place < SLOTS {
            let next = flows.get(SLOTS - 1).map(|next| next.to as NodeId);
            self.nodes[flow.to as NodeId].downloads -= 1;
            self.share_others(from, flow.to as NodeId);
            if let Some(next) = next {
                self.nodes[next].downloads += 1;
                self.share_others(from, next);
            }
        }
        flow
    }

    fn tell(&mut self, id: NodeId) {
        let log = &mut self.logs[id];
        log.told = log.pieces.len();
        log.next = self.now + nanos(NEWS);
        let claim = Event::Claim(id, log.told as u32);
        self.send(claim);
    }

    /// More of what a node has is known to its neighbours.
    fn claim(&mut self, id: NodeId, upto: u32) {
        let before = std::mem::replace(&mut self.known[id], upto) as usize;
        let waiting = self.logs[id].waiting.clone();
        for (asker, provider) in waiting {
            let has = &self.has[asker as usize * self.words..];
            let is_new = |piece: &u16| has[*piece as usize / 64] & 1 << (piece % 64) == 0;
            if !self.logs[id].pieces[before..upto as usize]
                .iter()
                .any(is_new)
            {
                continue;
            }
            let node = &mut self.nodes[asker as NodeId];
            let known = &mut node.providers[provider as usize];
            let news = known.told as usize..upto as usize;
            let Some(scheduler) = node.scheduler.as_mut().filter(|_| known.is_up) else {
                continue;
            };
            known.told = upto;
            let news = &self.logs[id].pieces[news];
            if tell(
                scheduler,
                provider as ProviderId,
                news,
                self.scene.piece_bytes,
            ) {
                self.poll(asker as NodeId);
            }
        }
    }
}

/// Tells a scheduler which pieces a provider got, and returns whether that changes what it asks.
fn tell(scheduler: &mut Scheduler, provider: ProviderId, news: &[u16], piece_bytes: u64) -> bool {
    let mut wakes = false;
    for piece in news {
        let start = u64::from(*piece) * piece_bytes;
        wakes |= scheduler.claims(provider, 0, &(start..start + piece_bytes));
    }
    wakes
}

fn nanos(time: Duration) -> Time {
    time.as_secs() * 1_000_000_000 + Time::from(time.subsec_nanos())
}
