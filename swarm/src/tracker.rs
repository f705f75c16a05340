//! Who fetches which blob, as they say themselves: what a node tells those who ask it for company. Pure.
//!
//! Every node is a tracker for the blobs that it serves; the origin's is the one that everybody asks. What is said
//! here is a hint: whoever is named must prove what it has.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use archy_registry::Blake3Hash;
use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;

use crate::schedule::Suggestions;

/// How long an announcement is believed.
pub(crate) const TTL: Duration = Duration::from_secs(10 * 60);
/// Most endpoints named in one answer.
pub(crate) const NAMED_MAX: usize = 20;
/// Most endpoints remembered per blob; beyond it the one that was heard longest ago is forgotten.
const MEMBERS_MAX: usize = 512;
/// Most endpoints remembered in all; beyond it nobody new is until some were forgotten.
const ALL_MEMBERS_MAX: usize = 16_384;
/// How recently a member must have been heard to count as one who fetches now.
const FRESH: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Member {
    /// One for all blobs of an announcement.
    endpoint: Arc<Endpoint>,
    heard: Instant,
    joins: Joins,
}

/// What an endpoint that announces itself does with the blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joins {
    /// It only asks who is there.
    Not,
    /// It fetches them and serves what it gets.
    Fetching,
    /// It has them and serves them.
    Resting,
}

#[derive(Debug, Default)]
struct Crowd {
    members: HashMap<EndpointId, Member>,
    /// What of it is suggested, once somebody asked.
    suggestions: Option<Suggestions>,
}

/// The crowds around the blobs that this node serves.
#[derive(Debug)]
pub(crate) struct Tracker {
    crowds: HashMap<Blake3Hash, Crowd>,
    rng: fastrand::Rng,
}

/// The answer to an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Company {
    /// Others who fetch or have it, by chance.
    pub(crate) peers: Vec<Endpoint>,
    /// How many fetch it now, the asker included.
    pub(crate) crowd: usize,
}

impl Tracker {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            crowds: HashMap::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Names others who fetch or have blobs; notes that the asker serves them unless it does not join.
    pub(crate) fn announce(
        &mut self,
        blobs: &[Blake3Hash],
        from: &Endpoint,
        joins: Joins,
        now: Instant,
    ) -> Company {
        let shared = Arc::new(from.clone());
        let is_there = joins != Joins::Not;
        let mut room = ALL_MEMBERS_MAX.saturating_sub(self.members());
        if is_there && room < blobs.len() {
            self.forget_old(now);
            room = ALL_MEMBERS_MAX.saturating_sub(self.members());
        }
        let mut peers: HashMap<EndpointId, Arc<Endpoint>> = HashMap::new();
        let mut largest = 0;
        for blob in blobs {
            let crowd = self.crowds.entry(*blob).or_default();
            crowd
                .members
                .retain(|_, member| now.duration_since(member.heard) < TTL);
            let known = crowd.members.contains_key(&from.id);
            if is_there && !known && crowd.members.len() >= MEMBERS_MAX {
                let oldest = crowd.members.iter().min_by_key(|(_, member)| member.heard);
                if let Some(oldest) = oldest.map(|(id, _)| *id) {
                    crowd.members.remove(&oldest);
                }
            }
            let member = Member {
                endpoint: shared.clone(),
                heard: now,
                joins,
            };
            if is_there && (known || room > 0) {
                room -= usize::from(!known && room > 0);
                crowd.members.insert(from.id, member);
            }
            let fetches = |member: &&Member| {
                member.joins == Joins::Fetching && now.duration_since(member.heard) < FRESH
            };
            let asks = joins != Joins::Resting && !crowd.members.contains_key(&from.id);
            let fetching = crowd.members.values().filter(fetches).count();
            largest = largest.max(fetching + usize::from(asks));
            let others = crowd
                .members
                .values()
                .filter(|member| member.endpoint.id != from.id);
            peers.extend(others.map(|member| (member.endpoint.id, member.endpoint.clone())));
        }
        self.crowds.retain(|_, crowd| !crowd.members.is_empty());
        let mut peers: Vec<Arc<Endpoint>> = peers.into_values().collect();
        // The order of a map is chance, but not ours.
        peers.sort_by_key(|peer| peer.id);
        self.rng.shuffle(&mut peers);
        peers.truncate(NAMED_MAX);
        Company {
            peers: peers.into_iter().map(Arc::unwrap_or_clone).collect(),
            crowd: largest,
        }
    }

    fn members(&self) -> usize {
        self.crowds.values().map(|crowd| crowd.members.len()).sum()
    }

    fn forget_old(&mut self, now: Instant) {
        for crowd in self.crowds.values_mut() {
            crowd
                .members
                .retain(|_, member| now.duration_since(member.heard) < TTL);
        }
        self.crowds.retain(|_, crowd| !crowd.members.is_empty());
    }

    /// Forgets what an endpoint said of blobs.
    pub(crate) fn leave(&mut self, blobs: &[Blake3Hash], id: &EndpointId) {
        for blob in blobs {
            if let Some(crowd) = self.crowds.get_mut(blob) {
                crowd.members.remove(id);
            }
        }
        self.crowds.retain(|_, crowd| !crowd.members.is_empty());
    }

    /// Proposes a block of a blob that was sent to the fewest.
    pub(crate) fn suggest(&mut self, blob: &Blake3Hash, size_bytes: u64) -> Option<Range<u64>> {
        let crowd = self.crowds.get_mut(blob)?;
        let suggestions = crowd.suggestions.take();
        let suggestions = suggestions.unwrap_or_else(|| Suggestions::new(size_bytes));
        Some(crowd.suggestions.insert(suggestions).suggest())
    }

    /// Notes what of a blob is being sent to somebody.
    pub(crate) fn sends(&mut self, blob: &Blake3Hash, bytes: &Range<u64>) {
        let crowd = self.crowds.get_mut(blob);
        if let Some(suggestions) = crowd.and_then(|crowd| crowd.suggestions.as_mut()) {
            suggestions.sends(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::BLOCK_BYTES;

    fn endpoint(n: u8) -> Endpoint {
        Endpoint {
            id: EndpointId::from_bytes([n; 32]),
            addresses: Vec::new(),
            relays: Vec::new(),
        }
    }

    #[test]
    fn those_who_fetch_the_same_learn_of_each_other_and_are_forgotten() {
        let mut tracker = Tracker::new(1);
        let (now, a, b) = (Instant::now(), Blake3Hash::of(b"a"), Blake3Hash::of(b"b"));
        let alone = tracker.announce(&[a, b], &endpoint(1), Joins::Fetching, now);
        assert_eq!((alone.peers.len(), alone.crowd), (0, 1));
        let second = tracker.announce(&[b], &endpoint(2), Joins::Fetching, now);
        assert_eq!((second.peers, second.crowd), (vec![endpoint(1)], 2));
        let guest = tracker.announce(&[b], &endpoint(9), Joins::Not, now);
        assert_eq!((guest.peers.len(), guest.crowd), (2, 3));
        let other = tracker.announce(&[a], &endpoint(3), Joins::Fetching, now);
        assert_eq!(other.peers, [endpoint(1)]);
        tracker.leave(&[a, b], &endpoint(1).id);
        assert!(
            tracker
                .announce(&[a], &endpoint(3), Joins::Fetching, now)
                .peers
                .is_empty()
        );
        let later = now + FRESH;
        let stale = tracker.announce(&[b], &endpoint(4), Joins::Fetching, later);
        assert_eq!((stale.peers, stale.crowd), (vec![endpoint(2)], 1));
        assert!(
            tracker
                .announce(&[b], &endpoint(5), Joins::Fetching, now + TTL)
                .peers
                .len()
                < 2
        );
    }

    #[test]
    fn who_rests_is_named_and_is_no_crowd() {
        let mut tracker = Tracker::new(1);
        let (now, blob) = (Instant::now(), Blake3Hash::of(b"a"));
        let told = tracker.announce(&[blob], &endpoint(1), Joins::Resting, now);
        assert_eq!((told.peers.len(), told.crowd), (0, 0));
        let asks = tracker.announce(&[blob], &endpoint(2), Joins::Fetching, now);
        assert_eq!((asks.peers, asks.crowd), (vec![endpoint(1)], 1));
        // Whoever is done and stays is heard of, and does not fetch any more.
        tracker.announce(&[blob], &endpoint(2), Joins::Resting, now);
        let guest = tracker.announce(&[blob], &endpoint(3), Joins::Not, now);
        assert_eq!((guest.peers.len(), guest.crowd), (2, 1));
    }

    #[test]
    fn a_flood_of_members_is_bounded_and_answers_are_short() {
        let mut tracker = Tracker::new(1);
        let (now, blob) = (Instant::now(), Blake3Hash::of(b"a"));
        for n in 0..2000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_le_bytes());
            let from = Endpoint {
                id: EndpointId::from_bytes(id),
                ..endpoint(0)
            };
            let company = tracker.announce(
                &[blob],
                &from,
                Joins::Fetching,
                now + Duration::from_millis(n.into()),
            );
            assert!(company.peers.len() <= NAMED_MAX && company.crowd <= MEMBERS_MAX);
        }
        let blobs: Vec<_> = (0..20_u8).map(|n| Blake3Hash::of(&[n])).collect();
        let many: Vec<_> = (0..65_u8).map(|n| Blake3Hash::of(&[n])).collect();
        for n in 0..255 {
            tracker.announce(&many, &endpoint(n), Joins::Fetching, now);
        }
        assert!(tracker.members() <= ALL_MEMBERS_MAX);
        // Those who are known are not put out, and there is room again once the flood is forgotten.
        let later = now + TTL + Duration::from_secs(3);
        tracker.announce(&blobs, &endpoint(1), Joins::Fetching, later);
        assert_eq!(tracker.members(), blobs.len());
    }

    #[test]
    fn what_was_sent_is_suggested_last_and_to_a_crowd_only() {
        let mut tracker = Tracker::new(1);
        let (blob, size_bytes) = (Blake3Hash::of(b"a"), 2 * BLOCK_BYTES);
        assert_eq!(
            tracker.suggest(&blob, size_bytes),
            None,
            "nobody fetches it"
        );
        tracker.announce(&[blob], &endpoint(1), Joins::Fetching, Instant::now());
        let mut next = || tracker.suggest(&blob, size_bytes).unwrap().start;
        assert_eq!([next(), next(), next()], [0, BLOCK_BYTES, 0]);
        tracker.sends(&blob, &(BLOCK_BYTES..size_bytes));
        let mut next = || tracker.suggest(&blob, size_bytes).unwrap().start;
        assert_eq!([next(), next()], [0, 0]);
    }
}
