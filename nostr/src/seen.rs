//! The ids of events that were heard lately, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::event::EventId;

/// Ids that are remembered; about 6 MiB when full. Forgetting one costs a second look at that event.
pub(crate) const SEEN_MAX: usize = 65_536;

/// Remembers when each id was first heard, the latest `capacity` of them.
#[derive(Debug)]
pub(crate) struct Seen {
    capacity: usize,
    first_heard: HashMap<EventId, Instant>,
    order: VecDeque<EventId>,
}

impl Seen {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            first_heard: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Returns when the id was first heard, if it was.
    pub(crate) fn first_heard(&self, id: &EventId) -> Option<Instant> {
        self.first_heard.get(id).copied()
    }

    /// Remembers the id; false when it was known.
    pub(crate) fn insert(&mut self, id: EventId, now: Instant) -> bool {
        if self.first_heard.contains_key(&id) {
            return false;
        }
        if self.order.len() == self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.first_heard.remove(&oldest);
        }
        self.first_heard.insert(id, now);
        self.order.push_back(id);
        true
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.first_heard.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let now = Instant::now();
        let id = |n| EventId::from_bytes([n; 32]);
        let mut seen = Seen::new(2);
        assert!(seen.insert(id(1), now));
        assert!(!seen.insert(id(1), now));
        assert!(seen.insert(id(2), now));
        assert!(seen.insert(id(3), now));
        assert_eq!(seen.first_heard(&id(1)), None);
        assert_eq!(seen.first_heard(&id(3)), Some(now));
        assert_eq!(seen.first_heard.len(), 2);
    }
}
