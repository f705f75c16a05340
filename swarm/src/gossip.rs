//! Hints between those who fetch or seed the same app: who has which blobs where, told in a topic of iroh-gossip.
//!
//! Everything heard is a hint for fetches under way, and whoever is named must prove what it has: anybody can say
//! anything of anyone here. What is said and heard is bounded; nobody is kept waiting for it.

mod hint;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archy_registry::release::Endpoint;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tag::Tag;
use crate::transport::{Happened, Met, Topic, Topics, Transport};
use hint::{BLOBS_MAX, Hint};

/// Topics at the same time; each has up to five connections. The one that was joined first makes room for another.
const TOPICS_MAX: usize = 8;
/// Endpoints through which a topic is joined, remembered for when nobody is connected any more.
const KNOWN_MAX: usize = 16;
/// Endpoints on their way to a topic.
const INTRODUCED: usize = 16;
/// Hints that are taken at once, and the time for one more.
const BURST: u32 = 32;
const PACE: Duration = Duration::from_secs(1);
/// Part of the announce interval after which one who fetches says again what it has.
const FETCHING_SHARE: u32 = 5;
/// Part of the announce interval for which one is quiet after each hint, whoever comes.
const QUIET_SHARE: u32 = 20;
/// Time for a fetch to enter what it is about to hold, in which a topic is not left for want of it.
const GRACE: Duration = Duration::from_secs(10);
/// Pause before a topic that ended is joined again.
const REJOIN: Duration = Duration::from_secs(10);

/// The topics that this node is in.
#[derive(Debug)]
pub(crate) struct Gossip {
    transport: Arc<Transport>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    interval: Duration,
    joined: Mutex<Joined>,
}

#[derive(Debug, Default)]
struct Joined {
    topics: HashMap<Tag, Membership>,
    /// Tags in the order in which they were joined.
    order: VecDeque<Tag>,
}

#[derive(Debug)]
struct Membership {
    introduce: mpsc::Sender<Endpoint>,
    leave: CancellationToken,
}

impl Gossip {
    pub(crate) fn new(
        transport: Arc<Transport>,
        interval: Duration,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        Self {
            transport,
            tasks: tasks.clone(),
            cancel: cancel.clone(),
            interval,
            joined: Mutex::default(),
        }
    }

    /// Joins a topic for a tag, until the tag is not held any more.
    pub(crate) fn join(&self, tag: &Tag, name: &str) {
        let Some(through) = self.transport.topics() else {
            return;
        };
        let mut joined = self.joined();
        joined
            .topics
            .retain(|_, topic| !topic.introduce.is_closed());
        let Joined { topics, order } = &mut *joined;
        order.retain(|tag| topics.contains_key(tag));
        if topics.contains_key(tag) {
            return;
        }
        while order.len() >= TOPICS_MAX {
            let oldest = order.pop_front().and_then(|tag| topics.remove(&tag));
            if let Some(oldest) = oldest {
                oldest.leave.cancel();
            }
        }
        let (introduce, introduced) = mpsc::channel(INTRODUCED);
        let leave = self.cancel.child_token();
        let member = Member {
            transport: self.transport.clone(),
            topics: through.clone(),
            tag: tag.clone(),
            name: name.to_owned(),
            interval: self.interval,
            known: VecDeque::new(),
            began: Instant::now(),
        };
        self.tasks.spawn(
            leave
                .clone()
                .run_until_cancelled_owned(member.keep(introduced)),
        );
        topics.insert(tag.clone(), Membership { introduce, leave });
        order.push_back(tag.clone());
    }

    /// Names somebody who may be in the topic of a tag.
    pub(crate) fn introduce(&self, tag: &Tag, endpoint: &Endpoint) {
        if let Some(topic) = self.joined().topics.get(tag) {
            // What finds no room is one of many.
            topic.introduce.try_send(endpoint.clone()).ok();
        }
    }

    fn joined(&self) -> MutexGuard<'_, Joined> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Member {
    transport: Arc<Transport>,
    topics: Topics,
    tag: Tag,
    name: String,
    interval: Duration,
    known: VecDeque<Endpoint>,
    began: Instant,
}

impl Member {
    async fn keep(mut self, mut introduced: mpsc::Receiver<Endpoint>) {
        loop {
            let known: Vec<Endpoint> = self.known.iter().cloned().collect();
            let Some(topic) = self.topics.join(&self.name, &known).await else {
                return;
            };
            self.talk(topic, &mut introduced).await;
            tokio::time::sleep(REJOIN.min(self.interval)).await;
            if self.is_over() {
                return;
            }
        }
    }

    /// Says and hears until the topic ends or the tag is gone.
    async fn talk(&mut self, mut topic: Topic, introduced: &mut mpsc::Receiver<Endpoint>) {
        let mut room = f64::from(BURST);
        let mut counted = Instant::now();
        let mut next = Instant::now() + self.pause();
        let mut said: Option<Instant> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    if self.is_over() {
                        return;
                    }
                    if !topic.is_joined() && !self.known.is_empty() {
                        topic.join_through(self.known.make_contiguous()).await;
                    }
                    if let Some(hint) = self.hint()
                        && !topic.say(hint).await
                    {
                        return;
                    }
                    said = Some(Instant::now());
                    next = Instant::now() + self.pause();
                }
                Some(endpoint) = introduced.recv() => {
                    topic.join_through(std::slice::from_ref(&endpoint)).await;
                    self.known.retain(|known| known.id != endpoint.id);
                    self.known.push_back(endpoint);
                    while self.known.len() > KNOWN_MAX {
                        self.known.pop_front();
                    }
                }
                happened = topic.next() => match happened {
                    // Whoever is new has heard nothing yet.
                    Happened::Neighbour => {
                        let soon = Instant::now() + self.soon();
                        let again = said.map_or(soon, |said| said + self.interval / QUIET_SHARE);
                        next = next.min(soon.max(again));
                    }
                    Happened::Said(message) => {
                        let waited = counted.elapsed().div_duration_f64(PACE);
                        counted = Instant::now();
                        room = (room + waited).min(f64::from(BURST));
                        if room >= 1.0 {
                            room -= 1.0;
                            self.hear(&message);
                        }
                    }
                    Happened::Over => return,
                }
            }
        }
    }

    fn hear(&self, message: &[u8]) {
        match Hint::parse(message, crate::transport::unix_seconds()) {
            Ok(hint) => self.transport.meet(Met {
                blobs: hint.blobs.into(),
                endpoint: hint.endpoint,
                is_hint: true,
            }),
            Err(why) => tracing::debug!(tag = %self.tag, %why, "a hint was skipped"),
        }
    }

    /// Says which of the largest blobs are served here, if any is.
    fn hint(&self) -> Option<Vec<u8>> {
        let store = self.transport.store();
        let mut blobs = store.blobs(&self.tag);
        blobs.retain(|(blob, _)| store.serves(blob));
        blobs.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.size_bytes));
        blobs.truncate(BLOBS_MAX);
        let blobs: Vec<_> = blobs.into_iter().map(|(blob, _)| blob).collect();
        let hint = Hint {
            endpoint: self.transport.local(),
            blobs,
        };
        (!hint.blobs.is_empty()).then(|| hint.write(crate::transport::unix_seconds()))
    }

    /// Tells whether nothing is held under the tag any more.
    fn is_over(&self) -> bool {
        self.began.elapsed() >= GRACE && self.transport.store().blobs(&self.tag).is_empty()
    }

    fn pause(&self) -> Duration {
        let blobs = self.transport.store().blobs(&self.tag);
        let is_whole = blobs.iter().all(|(_, entry)| entry.hold.is_whole());
        let pause = if is_whole {
            self.interval
        } else {
            self.interval / FETCHING_SHARE
        };
        pause.mul_f64(0.8 + fastrand::f64() * 0.4)
    }

    fn soon(&self) -> Duration {
        (self.interval / 100).mul_f64(0.5 + fastrand::f64())
    }
}
