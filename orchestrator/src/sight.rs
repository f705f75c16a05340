//! What podman had when it was last asked, and whether that can still be so. Pure; given the time.
//!
//! Listing forty containers takes podman tens of milliseconds and hardly ever tells anything new. While the stream of its
//! events has not broken since it was asked, and told of no change, what it had then it has now. It is asked at the latest
//! every [`ASK_EVERY`] all the same, so that an event that got lost costs no more than that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use archy_registry::Blake3Hash;

use crate::runtime::podman::{Container, Event};

/// Longest time for which podman's own account is relied on without asking again.
pub(crate) const ASK_EVERY: Duration = Duration::from_secs(300);

/// What podman has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// All containers.
    pub(crate) containers: Vec<Container>,
    /// All networks' names.
    pub(crate) networks: BTreeSet<String>,
    /// All volumes' names.
    pub(crate) volumes: BTreeSet<String>,
}

/// What is known of podman between two looks.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Counts what may have changed something.
    changes: u64,
    is_listening: bool,
    kept: Option<(Arc<Seen>, Instant)>,
    secrets: BTreeMap<String, (String, Blake3Hash, Instant)>,
}

impl Sight {
    /// Notes that the stream of events began or broke; what happened before is not known.
    pub(crate) fn listens(&mut self, is_listening: bool) {
        self.is_listening = is_listening;
        self.changed();
    }

    /// Notes that something may be otherwise now.
    pub(crate) fn changed(&mut self) {
        self.changes += 1;
        self.kept = None;
    }

    /// Notes an event; tells whether it can have changed anything that was seen.
    pub(crate) fn hears(&mut self, event: &Event) -> bool {
        let news = match event.action.as_str() {
            // A command in a container, such as a health check.
            "exec" | "exec_died" | "attach" => false,
            "health_status" => self.health_of(&event.id) != Some(event.health.as_str()),
            _ => true,
        };
        if news {
            self.changed();
        }
        news
    }

    fn health_of(&self, id: &str) -> Option<&str> {
        let (seen, _) = self.kept.as_ref()?;
        let mut containers = seen.containers.iter();
        let found = containers.find(|container| container.id == id)?;
        Some(found.status.as_str())
    }

    /// Returns a mark for [`keep`](Self::keep), to be taken before podman is asked.
    pub(crate) fn mark(&self) -> u64 {
        self.changes
    }

    /// Keeps what podman answered, unless something happened since the mark was taken.
    pub(crate) fn keep(&mut self, seen: &Arc<Seen>, mark: u64, now: Instant) {
        if self.is_listening && self.changes == mark {
            self.kept = Some((Arc::clone(seen), now));
        }
    }

    /// Returns what podman has, if that is known without asking.
    pub(crate) fn still(&self, now: Instant) -> Option<Arc<Seen>> {
        let (seen, at) = self.kept.as_ref()?;
        (now.duration_since(*at) < ASK_EVERY).then(|| Arc::clone(seen))
    }

    /// Notes that podman's copy of a secret, when `stamp` was its mark, was the value with this hash.
    pub(crate) fn compared(&mut self, name: &str, stamp: &str, value: Blake3Hash, now: Instant) {
        let known = (stamp.to_owned(), value, now);
        self.secrets.insert(name.to_owned(), known);
    }

    /// Tells whether podman's copy of a secret is known to be the value with this hash.
    pub(crate) fn is_same(&self, name: &str, stamp: &str, value: Blake3Hash, now: Instant) -> bool {
        self.secrets.get(name).is_some_and(|(at, known, when)| {
            at == stamp && *known == value && now.duration_since(*when) < ASK_EVERY
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Arc<Seen> {
        let container = serde_json::json!({"Id": "c1", "State": "running", "Status": "healthy"});
        Arc::new(Seen {
            containers: vec![serde_json::from_value(container).unwrap()],
            ..Seen::default()
        })
    }

    fn event(action: &str, health: &str) -> Event {
        let event = serde_json::json!({"Type": "container", "Action": action, "id": "c1", "HealthStatus": health});
        serde_json::from_value(event).unwrap()
    }

    fn heard(sight: &mut Sight, action: &str, health: &str) {
        sight.hears(&event(action, health));
    }

    #[test]
    fn only_an_unbroken_stream_without_news_spares_the_question() {
        let now = Instant::now();
        // What happens between the question and the next look, and whether it must be asked then.
        type Happens = fn(&mut Sight);
        let table: [(&str, Happens, bool); 9] = [
            ("nothing", |_| {}, false),
            ("a check", |s| heard(s, "exec_died", ""), false),
            (
                "as healthy as before",
                |s| heard(s, "health_status", "healthy"),
                false,
            ),
            (
                "no longer healthy",
                |s| heard(s, "health_status", "unhealthy"),
                true,
            ),
            ("an end", |s| heard(s, "died", ""), true),
            (
                "a word that nobody knows",
                |s| heard(s, "levitate", ""),
                true,
            ),
            ("a hint", Sight::changed, true),
            ("a break", |s| s.listens(false), true),
            (
                "a break and a new stream",
                |s| {
                    s.listens(false);
                    s.listens(true);
                },
                true,
            ),
        ];
        for (what, happens, asks) in table {
            let mut sight = Sight::default();
            sight.listens(true);
            let mark = sight.mark();
            sight.keep(&seen(), mark, now);
            happens(&mut sight);
            assert_eq!(sight.still(now).is_none(), asks, "{what}");
            // The same, while podman answers.
            let mut sight = Sight::default();
            sight.listens(true);
            let mark = sight.mark();
            happens(&mut sight);
            sight.keep(&seen(), mark, now);
            assert_eq!(
                sight.still(now).is_none(),
                asks || what.contains("healthy"),
                "{what}, meanwhile"
            );
        }
    }

    #[test]
    fn nobody_who_does_not_listen_is_sure() {
        let mut sight = Sight::default();
        let now = Instant::now();
        let mark = sight.mark();
        sight.keep(&seen(), mark, now);
        assert_eq!(sight.still(now), None);
    }

    #[test]
    fn nothing_is_relied_on_for_ever() {
        let now = Instant::now();
        let later = now + ASK_EVERY;
        let mut sight = Sight::default();
        sight.listens(true);
        let mark = sight.mark();
        sight.keep(&seen(), mark, now);
        assert!(sight.still(now).is_some());
        assert!(sight.still(later).is_none());
        let value = Blake3Hash::of(b"value");
        sight.compared("key", "1", value, now);
        assert!(sight.is_same("key", "1", value, now));
        assert!(!sight.is_same("key", "1", value, later));
        assert!(!sight.is_same("key", "2", value, now));
        assert!(!sight.is_same("key", "1", Blake3Hash::of(b"other"), now));
        assert!(!sight.is_same("other", "1", value, now));
    }
}
