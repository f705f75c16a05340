//! Simulated nodes that run the real scheduler over links that share their bandwidth evenly.
//!
//! A node serves a few requests at a time, others queue, and when too many do it says "busy". Bytes flow at the
//! uploader's share of its link or the downloader's, whichever is smaller. Everything is drawn from a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use archy_swarm::schedule::{
    Action, Ended, Goal, ProviderId, ProviderKind, Request, RequestId, Scheduler, Settings,
};

/// Time that a message takes from one node to another.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);
/// Requests that a node serves at a time, and that wait for their turn.
const SLOTS: usize = 4;
const QUEUE: usize = 2;
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
    is_here: bool,
    /// Whom this node asks; the position is the provider's id.
    providers: Vec<NodeId>,
    /// Who asks this node, and as which provider they know it.
    askers: Vec<(NodeId, ProviderId)>,
    serving: Vec<u64>,
    queue: VecDeque<u64>,
    downloads: usize,
    /// Whether it has asked the origin for a suggestion and waits for the answer.
    wishes: bool,
    flows: BTreeMap<RequestId, u64>,
    /// Counts how often its flows were worked out anew; older events are void.
    version: u32,
    done_at: Option<Duration>,
    next_poll: Duration,
}

#[derive(Debug)]
struct Flow {
    from: NodeId,
    to: NodeId,
    request: RequestId,
    end: u64,
    at: f64,
    told: u64,
    rate: f64,
    since: Duration,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Join(NodeId),
    Leave(NodeId),
    Answer(NodeId, ProviderId, bool),
    Arrive(u64),
    /// A flow of this node reaches the end of a piece.
    Step(NodeId, u32),
    Refuse(u64, u8),
    Claim(NodeId, u32, u32),
    Wish(NodeId),
    Suggest(NodeId, u64),
    Poll(NodeId),
}

pub(crate) struct World {
    scene: Scene,
    now: Duration,
    nodes: Vec<Node>,
    flows: BTreeMap<u64, Flow>,
    next_flow: u64,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    next_event: u64,
    rng: fastrand::Rng,
    here: Vec<NodeId>,
    origin_bytes: f64,
    all_bytes: f64,
    /// Where the origin's suggestions go on.
    cursor: u64,
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
                is_here: false,
                providers: Vec::new(),
                askers: Vec::new(),
                serving: Vec::new(),
                queue: VecDeque::new(),
                downloads: 0,
                wishes: false,
                flows: BTreeMap::new(),
                version: 0,
                done_at: None,
                next_poll: Duration::MAX,
            })
            .collect();
        let left_to_finish = scene
            .members
            .iter()
            .filter(|member| !member.is_seed && member.leaves.is_none())
            .count();
        let mut world = Self {
            rng: fastrand::Rng::with_seed(scene.seed),
            scene,
            now: Duration::ZERO,
            nodes,
            flows: BTreeMap::new(),
            next_flow: 0,
            events: BinaryHeap::new(),
            next_event: 0,
            here: Vec::new(),
            origin_bytes: 0.0,
            all_bytes: 0.0,
            cursor: 0,
            left_to_finish,
        };
        for id in 0..world.nodes.len() {
            let member = world.nodes[id].member;
            world.at(member.joins, Event::Join(id));
            if let Some(leaves) = member.leaves {
                world.at(leaves, Event::Leave(id));
            }
        }
        world
    }

    /// Runs until everybody who stays is done, or nothing more happens within `within`.
    pub(crate) fn run(mut self, within: Duration) -> Outcome {
        while self.left_to_finish > 0
            && let Some(Reverse((at, _, event))) = self.events.pop()
        {
            if at > within {
                break;
            }
            self.now = at;
            self.happen(event);
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

    fn at(&mut self, at: Duration, event: Event) {
        self.next_event += 1;
        self.events.push(Reverse((at, self.next_event, event)));
    }

    fn soon(&mut self, event: Event) {
        self.at(self.now + LATENCY, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Join(id) => self.join(id),
            Event::Leave(id) => self.leave(id),
            Event::Answer(id, provider, up) => {
                if let Some(scheduler) = &mut self.nodes[id].scheduler {
                    if up {
                        scheduler.connected(provider);
                    } else {
                        scheduler.unreachable(provider, self.now);
                    }
                }
                if up {
                    self.tell_claims(self.nodes[id].providers[provider], id, provider);
                }
                self.poll(id);
            }
            Event::Arrive(flow) => self.arrive(flow),
            Event::Step(node, version) => self.step(node, version),
            Event::Refuse(flow, how) => {
                let how = [Ended::Busy, Ended::Failed, Ended::Lied][how as usize];
                if let Some(flow) = self.flows.remove(&flow) {
                    self.nodes[flow.to].flows.remove(&flow.request);
                    self.end(flow.to, flow.request, how);
                }
            }
            Event::Claim(id, first, last) => self.claim(id, first..last),
            Event::Wish(id) => self.suggest(id),
            Event::Suggest(id, block) => {
                self.nodes[id].wishes = false;
                let size = Settings::default()
                    .request_bytes_min
                    .max(self.scene.piece_bytes);
                let bytes = block * size..((block + 1) * size).min(self.scene.size_bytes);
                if let Some(scheduler) = &mut self.nodes[id].scheduler {
                    scheduler.suggests(0, 0, &bytes);
                }
                self.poll(id);
            }
            Event::Poll(id) => {
                if self.nodes[id].next_poll <= self.now {
                    self.nodes[id].next_poll = Duration::MAX;
                    self.poll(id);
                }
            }
        }
    }

    fn join(&mut self, id: NodeId) {
        self.nodes[id].is_here = true;
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
            let scheduler = Scheduler::new(&[goal], settings, seed, self.now);
            self.nodes[id].scheduler = Some(scheduler);
            self.introduce(id, ORIGIN, ProviderKind::Origin);
        }
        if id != ORIGIN {
            for other in self.rng.choose_multiple(self.here.iter().copied(), NAMED) {
                if self.nodes[other].is_here {
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
        let node = &mut self.nodes[asker];
        let Some(scheduler) = node
            .scheduler
            .as_mut()
            .filter(|scheduler| !scheduler.is_done())
        else {
            return;
        };
        if node.providers.contains(&provider) || node.providers.len() >= PROVIDERS_MAX {
            return;
        }
        let as_id = scheduler.add(kind, self.now);
        node.providers.push(provider);
        self.nodes[provider].askers.push((asker, as_id));
        self.poll_at(asker, self.now);
    }

    /// Asks the origin what to take of it, a little ahead of need.
    fn wish(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        let wants = |scheduler: &Scheduler| scheduler.wants_suggestions(0, SUGGESTED_PIECES);
        if !node.wishes && node.scheduler.as_ref().and_then(wants).is_some() {
            self.nodes[id].wishes = true;
            self.soon(Event::Wish(id));
        }
    }

    /// The origin answers a wish with the block that it has suggested longest ago.
    fn suggest(&mut self, id: NodeId) {
        if !self.nodes[ORIGIN].is_here {
            return;
        }
        let size = Settings::default()
            .request_bytes_min
            .max(self.scene.piece_bytes);
        let blocks = self.scene.size_bytes.div_ceil(size);
        let block = self.cursor % blocks;
        self.cursor += 1;
        self.soon(Event::Suggest(id, block));
    }

    fn leave(&mut self, id: NodeId) {
        self.nodes[id].is_here = false;
        self.nodes[id].scheduler = None;
        let gone: Vec<u64> = self
            .flows
            .iter()
            .filter(|(_, flow)| flow.from == id || flow.to == id)
            .map(|(flow, _)| *flow)
            .collect();
        for flow in gone {
            self.stop(flow, Ended::Failed);
        }
        for (asker, provider) in std::mem::take(&mut self.nodes[id].askers) {
            if let Some(scheduler) = &mut self.nodes[asker].scheduler {
                scheduler.lost(provider);
            }
            self.poll_at(asker, self.now);
        }
    }

    fn poll_at(&mut self, id: NodeId, at: Duration) {
        if at < self.nodes[id].next_poll {
            self.nodes[id].next_poll = at;
            self.at(at, Event::Poll(id));
        }
    }

    fn poll(&mut self, id: NodeId) {
        let Some(scheduler) = &mut self.nodes[id].scheduler else {
            return;
        };
        let actions = scheduler.poll(self.now);
        let next = scheduler.next_look(self.now);
        self.wish(id);
        self.perform(id, actions);
        if let Some(next) = next {
            self.poll_at(id, next.max(self.now + Duration::from_millis(1)));
        }
    }

    fn perform(&mut self, id: NodeId, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Dial(provider) => {
                    let up = self.nodes[self.nodes[id].providers[provider]].is_here;
                    let after = if up {
                        LATENCY * 2
                    } else {
                        Duration::from_secs(5)
                    };
                    self.at(self.now + after, Event::Answer(id, provider, up));
                }
                Action::Ask(Request {
                    id: request,
                    provider,
                    bytes,
                    ..
                }) => {
                    let from = self.nodes[id].providers[provider];
                    let flow = self.next_flow;
                    self.next_flow += 1;
                    self.flows.insert(
                        flow,
                        Flow {
                            from,
                            to: id,
                            request,
                            end: bytes.end,
                            at: bytes.start as f64,
                            told: bytes.start,
                            rate: 0.0,
                            since: self.now,
                        },
                    );
                    self.nodes[id].flows.insert(request, flow);
                    self.soon(Event::Arrive(flow));
                }
                Action::Cancel(request) | Action::GiveUp(request) => {
                    if let Some(flow) = self.nodes[id].flows.get(&request).copied() {
                        self.stop(flow, Ended::Done);
                    }
                }
            }
        }
    }

    /// A request reaches its provider.
    fn arrive(&mut self, id: u64) {
        let Some(flow) = self.flows.get(&id) else {
            return;
        };
        let from = flow.from;
        let node = &mut self.nodes[from];
        if !node.is_here {
            self.soon(Event::Refuse(id, 1));
            return;
        }
        match node.member.manners {
            Manners::Honest => {}
            Manners::Silent => return,
            Manners::Liar => {
                self.soon(Event::Refuse(id, 2));
                return;
            }
        }
        if node.serving.len() < SLOTS {
            node.serving.push(id);
            self.begin(id);
        } else if node.queue.len() < QUEUE {
            node.queue.push_back(id);
        } else {
            self.soon(Event::Refuse(id, 0));
        }
    }

    fn begin(&mut self, id: u64) {
        let flow = &self.flows[&id];
        let (from, to) = (flow.from, flow.to);
        self.nodes[to].downloads += 1;
        self.share_again(from, to);
    }

    /// Works out anew how fast the flows of a node run, and of those who send to the same downloader if its link
    /// has an end.
    fn share_again(&mut self, from: NodeId, to: NodeId) {
        if self.nodes[to].member.link.down.is_finite() {
            let into = self.nodes[to].flows.values();
            let mut senders: Vec<NodeId> = into.map(|flow| self.flows[flow].from).collect();
            senders.sort_unstable();
            senders.dedup();
            for sender in senders.into_iter().filter(|sender| *sender != from) {
                self.share(sender);
            }
        }
        self.share(from);
    }

    fn share(&mut self, from: NodeId) {
        let serving = std::mem::take(&mut self.nodes[from].serving);
        let each = self.nodes[from].member.link.up / serving.len().max(1) as f64;
        let piece = self.scene.piece_bytes;
        let mut soonest = f64::INFINITY;
        for id in &serving {
            self.advance(*id);
            let Some(flow) = self.flows.get_mut(id) else {
                continue;
            };
            let down = &self.nodes[flow.to];
            flow.rate = each.min(down.member.link.down / down.downloads.max(1) as f64);
            let next = ((flow.told / piece + 1) * piece).min(flow.end);
            soonest = soonest.min((next as f64 - flow.at).max(0.0) / flow.rate);
        }
        let node = &mut self.nodes[from];
        node.serving = serving;
        node.version += 1;
        if soonest.is_finite() {
            let event = Event::Step(from, node.version);
            self.at(self.now + Duration::from_secs_f64(soonest), event);
        }
    }

    fn advance(&mut self, id: u64) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let bytes = flow.rate * (self.now - flow.since).as_secs_f64();
        flow.at = (flow.at + bytes).min(flow.end as f64);
        flow.since = self.now;
        self.all_bytes += bytes;
        if flow.from == ORIGIN {
            self.origin_bytes += bytes;
        }
    }

    /// Flows of a node reached the end of a piece.
    fn step(&mut self, from: NodeId, version: u32) {
        if self.nodes[from].version != version {
            return;
        }
        let piece = self.scene.piece_bytes;
        for id in self.nodes[from].serving.clone() {
            self.advance(id);
            let Some(flow) = self.flows.get(&id) else {
                continue;
            };
            let upto = ((flow.told / piece + 1) * piece).min(flow.end);
            // Half a byte is what the clock's nanoseconds may miss.
            if flow.at + 0.5 >= upto as f64 {
                self.deliver(id, upto);
            }
        }
        if self.nodes[from].version == version {
            self.share(from);
        }
    }

    /// A piece arrived.
    fn deliver(&mut self, id: u64, upto: u64) {
        let piece = self.scene.piece_bytes;
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        let (to, request, first) = (flow.to, flow.request, flow.told / piece);
        flow.told = upto;
        flow.at = flow.at.max(upto as f64);
        let is_over = upto == flow.end;
        let actions = match &mut self.nodes[to].scheduler {
            Some(scheduler) => scheduler.received(request, upto, self.now),
            None => Vec::new(),
        };
        self.soon(Event::Claim(to, first as u32, first as u32 + 1));
        if is_over {
            self.stop(id, Ended::Done);
        }
        self.perform(to, actions);
        let done = self.nodes[to]
            .scheduler
            .as_ref()
            .is_some_and(Scheduler::is_done);
        if done && self.nodes[to].done_at.is_none() {
            self.nodes[to].done_at = Some(self.now);
            if self.nodes[to].member.leaves.is_none() {
                self.left_to_finish -= 1;
            }
        }
        self.poll(to);
    }

    /// Takes a flow away, wherever it stands.
    fn stop(&mut self, id: u64, how: Ended) {
        self.advance(id);
        let Some(flow) = self.flows.remove(&id) else {
            return;
        };
        self.nodes[flow.to].flows.remove(&flow.request);
        let node = &mut self.nodes[flow.from];
        node.queue.retain(|other| *other != id);
        if let Some(place) = node.serving.iter().position(|other| *other == id) {
            node.serving.swap_remove(place);
            let next = node.queue.pop_front();
            node.serving.extend(next);
            self.nodes[flow.to].downloads -= 1;
            match next {
                Some(next) => {
                    self.begin(next);
                    if self.nodes[flow.to].member.link.down.is_finite() {
                        self.share_again(flow.from, flow.to);
                    }
                }
                None => self.share_again(flow.from, flow.to),
            }
        }
        self.end(flow.to, flow.request, how);
    }

    fn end(&mut self, to: NodeId, request: RequestId, how: Ended) {
        if let Some(scheduler) = &mut self.nodes[to].scheduler {
            scheduler.ended(request, how, self.now);
        }
        self.poll_at(to, self.now);
    }

    fn tell_claims(&mut self, provider: NodeId, asker: NodeId, as_id: ProviderId) {
        if provider == ORIGIN {
            return;
        }
        let ranges = match &self.nodes[provider].scheduler {
            Some(scheduler) => scheduler.here(0),
            None if self.nodes[provider].member.is_seed => {
                std::iter::once(0..self.scene.size_bytes).collect()
            }
            None => Vec::new(),
        };
        if let Some(scheduler) = &mut self.nodes[asker].scheduler {
            for range in &ranges {
                scheduler.claims(as_id, 0, range);
            }
        }
    }

    fn claim(&mut self, id: NodeId, pieces: Range<u32>) {
        let piece = self.scene.piece_bytes;
        let bytes = u64::from(pieces.start) * piece
            ..(u64::from(pieces.end) * piece).min(self.scene.size_bytes);
        let askers = std::mem::take(&mut self.nodes[id].askers);
        for (asker, provider) in &askers {
            let Some(scheduler) = &mut self.nodes[*asker].scheduler else {
                continue;
            };
            if !scheduler.is_done() && scheduler.claims(*provider, 0, &bytes) {
                self.poll(*asker);
            }
        }
        self.nodes[id].askers = askers;
    }
}
