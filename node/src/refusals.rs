//! What was heard and refused: counted per relay and author, the last reason per app kept, loud authors slowed down.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use archy_registry::AppId;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::api::types::{Problem, RefusedInfo};

/// Refusals of one author on one relay after which it is slowed down.
const FREE: u64 = 20;
/// Longest pause of an author.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Authors remembered.
const AUTHORS_MAX: usize = 4096;
/// Apps remembered.
const APPS_MAX: usize = 1024;

struct Author {
    refused: u64,
    last: Timestamp,
    paused_until: Timestamp,
    example: Problem,
}

#[derive(Default)]
struct Inner {
    authors: HashMap<(String, String), Author>,
    apps: HashMap<AppId, (Timestamp, Problem)>,
}

/// Everything refused since the start.
#[derive(Default)]
pub struct Refusals {
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
}

impl Refusals {
    /// Says whether an author's statements are not looked at for now.
    pub fn is_paused(&self, relay: &str, pubkey: &str, now: Timestamp) -> bool {
        self.lock()
            .authors
            .get(&(relay.to_owned(), pubkey.to_owned()))
            .is_some_and(|author| now < author.paused_until)
    }

    /// Counts a refusal.
    pub fn add(
        &self,
        relay: &str,
        pubkey: &str,
        app: Option<AppId>,
        problem: &Problem,
        now: Timestamp,
    ) {
        let mut inner = self.lock();
        let key = (relay.to_owned(), pubkey.to_owned());
        if inner.authors.len() >= AUTHORS_MAX && !inner.authors.contains_key(&key) {
            let oldest = inner.authors.iter().min_by_key(|(_, author)| author.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                inner.authors.remove(&oldest);
            }
        }
        let author = inner.authors.entry(key).or_insert(Author {
            refused: 0,
            last: now,
            paused_until: now,
            example: problem.clone(),
        });
        author.refused += 1;
        author.last = now;
        author.example = problem.clone();
        if let Some(over) = author.refused.checked_sub(FREE) {
            let pause = Duration::from_secs(1 << over.min(16)).min(PAUSE_MAX);
            author.paused_until = now.checked_add(pause).unwrap_or(now);
        }
        if let Some(app) = app {
            if inner.apps.len() >= APPS_MAX {
                let oldest = inner.apps.iter().min_by_key(|(_, (at, _))| *at);
                if let Some(oldest) = oldest.map(|(app, _)| app.clone()) {
                    inner.apps.remove(&oldest);
                }
            }
            inner.apps.insert(app, (now, problem.clone()));
        }
        drop(inner);
        self.changed.send_replace(());
    }

    /// Returns a receiver that changes with every refusal.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns why the last statement on an app was refused.
    pub fn of(&self, app: &AppId) -> Option<Problem> {
        self.lock()
            .apps
            .get(app)
            .map(|(_, problem)| problem.clone())
    }

    /// Lists relays and authors, most refusals first.
    pub fn list(&self, limit: usize) -> Vec<RefusedInfo> {
        let inner = self.lock();
        let mut list: Vec<RefusedInfo> = inner
            .authors
            .iter()
            .map(|((relay, pubkey), author)| RefusedInfo {
                relay: relay.clone(),
                pubkey: pubkey.clone(),
                statements: author.refused,
                last: author.last.to_string(),
                problem: author.example.clone(),
            })
            .collect();
        list.sort_by(|a, b| {
            b.statements
                .cmp(&a.statements)
                .then(a.pubkey.cmp(&b.pubkey))
        });
        list.truncate(limit);
        list
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loud_authors_are_paused_on_their_relay_only() {
        let refusals = Refusals::default();
        let at = |s: i64| Timestamp::from_second(1_800_000_000 + s).unwrap();
        let problem = crate::api::problem("signature", "It is not signed", "");
        for _ in 0..FREE - 1 {
            refusals.add("ws://a/", "k", None, &problem, at(0));
        }
        assert!(!refusals.is_paused("ws://a/", "k", at(0)));
        for _ in 0..4 {
            refusals.add("ws://a/", "k", None, &problem, at(0));
        }
        assert!(refusals.is_paused("ws://a/", "k", at(7)));
        assert!(!refusals.is_paused("ws://a/", "k", at(8)));
        assert!(!refusals.is_paused("ws://b/", "k", at(0)));
        for n in 0..10_000 {
            refusals.add("ws://a/", &n.to_string(), None, &problem, at(n));
        }
        assert_eq!(refusals.list(usize::MAX).len(), AUTHORS_MAX);
    }
}
