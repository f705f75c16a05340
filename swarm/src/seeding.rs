//! Whom this node tells that it serves what it holds, and when; a tracker forgets what it is not told again.
//!
//! [`Seeds`] decides (pure: time since any fixed moment and chance are arguments), `tell` performs it. All that one
//! tracker should know is told in one visit.

mod tell;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use archy_registry::Blake3Hash;
use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;

pub(crate) use tell::{Seeder, keep};

use crate::tag::Tag;
use crate::tracker::TTL;

/// How often a tracker is told unless a test is in a hurry: one visit may fail before it forgets.
pub(crate) const INTERVAL: Duration = TTL.checked_div(2).expect("two is not zero");
/// Most trackers of one tag.
pub(crate) const TAG_TRACKERS_MAX: usize = 8;
/// Most trackers in all.
const TRACKERS_MAX: usize = 256;
/// Longest time for what begins together, such as all that is installed at a start, to be told together.
const GATHER: Duration = Duration::from_secs(5);
/// Parts of the interval after which a tracker that could not be told is tried again for the first time.
const RETRY_SHARE: u32 = 8;
/// How often that pause doubles: at most eight intervals.
const RETRY_DOUBLINGS: u32 = 6;

/// Somebody who answers those who look for blobs.
#[derive(Debug)]
struct Tracker {
    endpoint: Endpoint,
    next: Duration,
    failures: u32,
    /// Whether it is being told now.
    is_busy: bool,
    /// What it was told that this node serves.
    told: BTreeSet<Blake3Hash>,
}

/// What is told of which tags to whom.
#[derive(Debug)]
pub(crate) struct Seeds {
    interval: Duration,
    tags: BTreeMap<Tag, BTreeSet<EndpointId>>,
    trackers: HashMap<EndpointId, Tracker>,
    rng: fastrand::Rng,
}

/// A tracker to visit now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) tracker: Endpoint,
    pub(crate) tags: Vec<Tag>,
    /// What it was told before, and is told now that it is not so any more unless it still is.
    pub(crate) told: BTreeSet<Blake3Hash>,
}

impl Seeds {
    pub(crate) fn new(interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            tags: BTreeMap::new(),
            trackers: HashMap::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Tells these trackers of a tag from now on, too; beyond the limits, nobody new.
    pub(crate) fn add(&mut self, tag: &Tag, trackers: Vec<Endpoint>, now: Duration) {
        let told = self.tags.entry(tag.clone()).or_default();
        let mut room = TRACKERS_MAX.saturating_sub(self.trackers.len());
        for endpoint in trackers {
            let soon = now
                + self
                    .interval
                    .min(GATHER)
                    .mul_f64(0.5 + self.rng.f64() / 2.0);
            let is_new = !told.contains(&endpoint.id);
            if is_new && told.len() >= TAG_TRACKERS_MAX {
                continue;
            }
            match self.trackers.get_mut(&endpoint.id) {
                Some(known) => {
                    if known.endpoint != endpoint {
                        known.failures = 0;
                        known.endpoint = endpoint.clone();
                        known.next = known.next.min(soon);
                    }
                    // Whoever cannot be reached is not tried sooner for that.
                    if is_new && known.failures == 0 {
                        known.next = known.next.min(soon);
                    }
                }
                None if room == 0 => continue,
                None => {
                    room -= 1;
                    let tracker = Tracker {
                        endpoint: endpoint.clone(),
                        next: soon,
                        failures: 0,
                        is_busy: false,
                        told: BTreeSet::new(),
                    };
                    self.trackers.insert(endpoint.id, tracker);
                }
            }
            told.insert(endpoint.id);
        }
    }

    /// Forgets the tags that are not held any more, and whom to tell of nothing else; those who believe that this node
    /// serves something of them are told otherwise first, as soon as they can be.
    pub(crate) fn retain(&mut self, is_held: impl Fn(&Tag) -> bool, now: Duration) {
        let gone: Vec<Tag> = self
            .tags
            .keys()
            .filter(|tag| !is_held(tag))
            .cloned()
            .collect();
        let gone = gone.iter().filter_map(|tag| self.tags.remove(tag));
        let less: BTreeSet<EndpointId> = gone.flatten().collect();
        let of_tags: BTreeSet<EndpointId> = self.tags.values().flatten().copied().collect();
        self.trackers.retain(|id, tracker| {
            let is_left = !of_tags.contains(id);
            // Whoever cannot be told forgets it by itself.
            let is_owed = !tracker.told.is_empty() && tracker.failures == 0;
            if is_owed && (is_left || less.contains(id)) {
                tracker.next = tracker.next.min(now);
            }
            !is_left || is_owed
        });
    }

    /// Returns up to `most` visits that are due; each lasts until it is [`ended`](Self::ended).
    pub(crate) fn due(&mut self, now: Duration, most: usize) -> Vec<Visit> {
        let mut due: Vec<(Duration, EndpointId)> = self
            .trackers
            .iter()
            .filter(|(_, tracker)| !tracker.is_busy && now >= tracker.next)
            .map(|(id, tracker)| (tracker.next, *id))
            .collect();
        due.sort_unstable();
        due.truncate(most);
        let visits = due.into_iter().filter_map(|(_, id)| {
            let tracker = self.trackers.get_mut(&id)?;
            tracker.is_busy = true;
            let of_it = self.tags.iter().filter(|(_, told)| told.contains(&id));
            Some(Visit {
                tracker: tracker.endpoint.clone(),
                tags: of_it.map(|(tag, _)| tag.clone()).collect(),
                told: tracker.told.clone(),
            })
        });
        visits.collect()
    }

    /// A visit ended; with what the tracker now believes that this node serves, if it could be told.
    pub(crate) fn ended(
        &mut self,
        id: &EndpointId,
        told: Option<BTreeSet<Blake3Hash>>,
        now: Duration,
    ) {
        let Some(tracker) = self.trackers.get_mut(id) else {
            return;
        };
        let pause = if let Some(told) = told {
            tracker.told = told;
            tracker.failures = 0;
            self.interval
        } else {
            let doublings = tracker.failures.min(RETRY_DOUBLINGS);
            tracker.failures += 1;
            (self.interval / RETRY_SHARE) * 2_u32.pow(doublings)
        };
        tracker.is_busy = false;
        // By chance, so that a thousand nodes that began together do not come together for ever.
        tracker.next = now + pause.mul_f64(0.8 + self.rng.f64() * 0.4);
    }

    /// When a visit is due next.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        let waiting = self.trackers.values().filter(|tracker| !tracker.is_busy);
        waiting.map(|tracker| tracker.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn endpoint(n: u16) -> Endpoint {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_le_bytes());
        Endpoint {
            id: EndpointId::from_bytes(id),
            addresses: Vec::new(),
            relays: Vec::new(),
        }
    }

    fn tag(name: &str) -> Tag {
        name.parse().unwrap()
    }

    fn next(seeds: &Seeds) -> Duration {
        seeds.next_look().unwrap()
    }

    #[test]
    fn one_visit_tells_all_and_comes_again_before_it_is_forgotten() {
        let mut seeds = Seeds::new(INTERVAL, 1);
        assert_eq!(seeds.next_look(), None);
        seeds.add(&tag("a"), vec![endpoint(1)], Duration::ZERO);
        seeds.add(&tag("b"), vec![endpoint(1), endpoint(2)], Duration::ZERO);
        assert!(seeds.due(Duration::ZERO, 9).is_empty(), "it gathers first");
        assert!(next(&seeds) <= GATHER);
        let mut visits = seeds.due(GATHER, 9);
        visits.sort_by_key(|visit| visit.tracker.id);
        let tags: Vec<_> = visits.into_iter().map(|visit| visit.tags).collect();
        assert_eq!(tags, [vec![tag("a"), tag("b")], vec![tag("b")]]);
        assert_eq!(seeds.next_look(), None, "both are being told");
        assert!(seeds.due(GATHER + TTL, 9).is_empty());
        for n in [1, 2] {
            seeds.ended(&endpoint(n).id, Some(BTreeSet::new()), GATHER);
        }
        assert!(next(&seeds) >= GATHER + INTERVAL.mul_f64(0.8));
        assert!(seeds.due(GATHER + INTERVAL.mul_f64(1.2), 1).len() == 1);
        assert!(next(&seeds) < GATHER + TTL - GATHER);
    }

    #[test]
    fn who_cannot_be_told_is_left_alone_for_longer_and_longer() {
        let mut seeds = Seeds::new(INTERVAL, 1);
        seeds.add(&tag("a"), vec![endpoint(1)], Duration::ZERO);
        let (mut now, mut pauses) = (GATHER, Vec::new());
        for _ in 0..10 {
            assert_eq!(seeds.due(now, 9).len(), 1);
            seeds.ended(&endpoint(1).id, None, now);
            pauses.push(next(&seeds) - now);
            now = next(&seeds);
        }
        assert!(pauses[0] < INTERVAL / 4 && pauses[2] > pauses[0]);
        assert!(pauses[9] > INTERVAL * 6 && pauses[9] < INTERVAL * 10);
        // One more tag is no reason to come sooner, another address is.
        let later = next(&seeds);
        seeds.add(&tag("b"), vec![endpoint(1)], now - S);
        assert_eq!(next(&seeds), later);
        let moved = Endpoint {
            addresses: vec!["192.0.2.1:1".parse().unwrap()],
            ..endpoint(1)
        };
        seeds.add(&tag("b"), vec![moved.clone()], now - GATHER - S);
        let visit = &seeds.due(now, 9)[0];
        assert_eq!((&visit.tracker, visit.tags.len()), (&moved, 2));
    }

    #[test]
    fn trackers_are_bounded_and_go_with_their_last_tag() {
        let mut seeds = Seeds::new(INTERVAL, 1);
        for n in 0..2000_u16 {
            seeds.add(
                &tag(&format!("t/{}", n / 10)),
                vec![endpoint(n)],
                Duration::ZERO,
            );
        }
        assert_eq!(seeds.trackers.len(), TRACKERS_MAX);
        assert!(
            seeds
                .tags
                .values()
                .all(|told| told.len() <= TAG_TRACKERS_MAX)
        );
        assert_eq!(seeds.due(GATHER, 4).len(), 4);
        seeds.retain(|held| *held == tag("t/1"), GATHER);
        assert_eq!(seeds.tags.len(), 1);
        assert_eq!(seeds.trackers.len(), TAG_TRACKERS_MAX);
        seeds.retain(|_| false, GATHER);
        assert_eq!(seeds.next_look(), None);
        // The end of a visit to somebody who was forgotten meanwhile changes nothing.
        seeds.ended(&endpoint(1).id, Some(BTreeSet::new()), GATHER);
    }

    #[test]
    fn who_was_told_of_what_is_gone_is_told_so_at_once_and_once() {
        let blobs = BTreeSet::from([Blake3Hash::of(b"a")]);
        for can_be_told in [true, false] {
            let mut seeds = Seeds::new(INTERVAL, 1);
            seeds.add(&tag("a"), vec![endpoint(1), endpoint(2)], Duration::ZERO);
            assert_eq!(seeds.due(GATHER, 9).len(), 2);
            seeds.ended(&endpoint(1).id, Some(blobs.clone()), GATHER);
            // This one was never told anything.
            seeds.ended(&endpoint(2).id, None, GATHER);
            seeds.retain(|_| false, GATHER + S);
            let visit = Visit {
                tracker: endpoint(1),
                tags: Vec::new(),
                told: blobs.clone(),
            };
            assert_eq!(seeds.due(GATHER + S, 9), [visit]);
            let told = can_be_told.then(BTreeSet::new);
            seeds.ended(&endpoint(1).id, told, GATHER + S);
            seeds.retain(|_| false, GATHER + S);
            assert_eq!(seeds.next_look(), None);
        }
    }
}
