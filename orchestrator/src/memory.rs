//! What the reconciler remembers of apps: failures and when to try again, restarts and crash loops. Pure; given the time.

use std::collections::{BTreeMap, VecDeque};

use archy_registry::Slug;
use jiff::{SignedDuration, Timestamp};

use crate::instance::{CRASH_LOOP_RESTARTS, Remembered};

/// First wait after a failure; each further one doubles it.
const BACK_OFF_SECONDS: i64 = 15;
/// Longest wait between tries.
const BACK_OFF_SECONDS_MAX: i64 = 15 * 60;
/// Restarts longer ago than this do not count towards a crash loop.
const CRASH_WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// A container that was not well for this long is not left to itself.
const AILING: SignedDuration = SignedDuration::from_secs(30);

/// What is remembered between looks.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    apps: BTreeMap<Slug, AppMemory>,
}

#[derive(Debug, Default)]
struct AppMemory {
    failures: u32,
    next_try: Option<Timestamp>,
    last_failure: Option<String>,
    runs: BTreeMap<Slug, Run>,
}

/// What was last seen of a container's service.
#[derive(Debug, Default)]
struct Run {
    container_id: String,
    /// systemd's count at the last look; `None` before the first.
    restarts: Option<u32>,
    /// When systemd started it again, and how often since the look before.
    recent: VecDeque<(Timestamp, u32)>,
    /// Why it ended before it was last started again.
    ending: Option<String>,
    /// Since when its container has not been well, as far as was seen.
    ailing_since: Option<Timestamp>,
}

impl Memory {
    /// Forgets an app's failures: its owner acted.
    pub(crate) fn forget(&mut self, app: &Slug) {
        self.apps.remove(app);
    }

    pub(crate) fn holds_back(&self, app: &Slug, now: Timestamp) -> bool {
        let next_try = self.apps.get(app).and_then(|memory| memory.next_try);
        let Some(wait) = next_try.map(|next_try| next_try.duration_since(now)) else {
            return false;
        };
        // A longer one comes of a clock that was set back.
        wait.is_positive() && wait <= SignedDuration::from_secs(BACK_OFF_SECONDS_MAX)
    }

    pub(crate) fn failed(&mut self, app: &Slug, message: String, now: Timestamp) {
        let memory = self.apps.entry(app.clone()).or_default();
        let wait = BACK_OFF_SECONDS << memory.failures.min(8);
        let wait = SignedDuration::from_secs(wait.min(BACK_OFF_SECONDS_MAX));
        memory.failures = memory.failures.saturating_add(1);
        memory.next_try = now.checked_add(wait).ok();
        memory.last_failure = Some(message);
    }

    /// Notes that an app is as wished again. A crash loop keeps its count, or each round would begin with no wait.
    pub(crate) fn is_well(&mut self, app: &Slug) {
        let looping = self.is_looping(app);
        if let Some(memory) = self.apps.get_mut(app) {
            memory.next_try = None;
            if !looping {
                memory.failures = 0;
                memory.last_failure = None;
            }
        }
    }

    pub(crate) fn is_looping(&self, app: &Slug) -> bool {
        let remembered = self.remembered(app);
        remembered
            .restarts
            .values()
            .any(|times| *times >= CRASH_LOOP_RESTARTS)
    }

    /// Holds an app back that systemd gave up on because it kept ending.
    pub(crate) fn hold_back_if_looping(&mut self, app: &Slug, now: Timestamp) {
        let undecided = self
            .apps
            .get(app)
            .is_some_and(|memory| memory.next_try.is_none());
        if undecided && self.is_looping(app) {
            let message = self.remembered(app).looping();
            self.failed(app, message.unwrap_or_default(), now);
        }
    }

    pub(crate) fn remembered(&self, app: &Slug) -> Remembered {
        let Some(memory) = self.apps.get(app) else {
            return Remembered::default();
        };
        let restarts = memory.runs.iter().map(|(container, run)| {
            (
                container.clone(),
                run.recent.iter().map(|(_, times)| times).sum(),
            )
        });
        let endings = memory
            .runs
            .iter()
            .filter_map(|(container, run)| Some((container.clone(), run.ending.clone()?)));
        Remembered {
            next_try: memory.next_try,
            last_failure: memory.last_failure.clone(),
            restarts: restarts.collect(),
            endings: endings.collect(),
        }
    }

    /// Notes the container that a service runs; tells whether it is another than before.
    pub(crate) fn saw(&mut self, app: &Slug, container: &Slug, id: &str, now: Timestamp) -> bool {
        let memory = self.apps.entry(app.clone()).or_default();
        let run = memory.runs.entry(container.clone()).or_default();
        run.recent
            .retain(|(at, _)| now.duration_since(*at).abs() < CRASH_WINDOW);
        let changed = run.container_id != id;
        id.clone_into(&mut run.container_id);
        changed
    }

    /// Notes whether a container ails whose service is taken for running; tells whether it has for so long that nobody else
    /// will do anything about it.
    pub(crate) fn ails(
        &mut self,
        app: &Slug,
        container: &Slug,
        ails: bool,
        now: Timestamp,
    ) -> bool {
        let known = self.apps.get_mut(app);
        let known = known.and_then(|memory| memory.runs.get_mut(container));
        if !ails {
            if let Some(run) = known {
                run.ailing_since = None;
            }
            return false;
        }
        let memory = self.apps.entry(app.clone()).or_default();
        let run = memory.runs.entry(container.clone()).or_default();
        let since = run.ailing_since.get_or_insert(now);
        // It may be later than now because the clock was set back.
        now.duration_since(*since).abs() >= AILING
    }

    /// Notes systemd's own count of restarts, which starts anew with every start from outside; tells whether there were any
    /// since the count before.
    pub(crate) fn counted(
        &mut self,
        app: &Slug,
        container: &Slug,
        restarts: u32,
        now: Timestamp,
    ) -> bool {
        let memory = self.apps.entry(app.clone()).or_default();
        let run = memory.runs.entry(container.clone()).or_default();
        // Restarts before the first look are not news.
        let before = run.restarts.replace(restarts).unwrap_or(restarts);
        let new = restarts.checked_sub(before).unwrap_or(restarts);
        if new > 0 {
            run.recent.push_back((now, new));
        }
        new > 0
    }

    /// Notes why a container's service ended before systemd started it again; `None` where that cannot be told.
    pub(crate) fn ended(&mut self, app: &Slug, container: &Slug, why: Option<String>) {
        let memory = self.apps.entry(app.clone()).or_default();
        memory.runs.entry(container.clone()).or_default().ending = why;
    }
}

#[cfg(test)]
mod tests;
