//! What one connection to a relay asks for and how the answers are read: a state machine without I/O.
//!
//! A live subscription without a date is opened first, so that nothing falls between the stored events and
//! the live ones and a statement that is published late is heard whatever its date. Then the stored
//! events are walked from the newest to the cursor, page by page: relays give at most a page of their
//! own choosing for one request.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::event::{Event, EventId};
use crate::filter::Filter;
use crate::message::{ClientMessage, RelayMessage};
use crate::topic;

/// Events that are asked for at once.
const PAGE_EVENTS: usize = 500;
/// Pages of one walk: bounds what a relay can make us read (200,000 events).
const PAGES_MAX: usize = 400;
/// Time without an event in which a page must end.
pub(super) const PAGE_SECONDS_MAX: Duration = Duration::from_secs(30);
/// Time until a page is asked for again that the relay closed because it came too soon.
const PAGE_PAUSE: Duration = Duration::from_secs(5);
/// Time until a walk that did not end is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(600);

const LIVE: &str = "live";

/// What the session wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Send(ClientMessage),
    /// Everything that the relay had when the walk began was handed on.
    CaughtUp {
        full: bool,
        began: u64,
    },
    /// The walk did not end; what was heard stays heard.
    GaveUp(&'static str),
}

/// Where an event belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Live,
    Stored,
    /// From a page that was closed while the event was on its way.
    Late,
    /// From no subscription of ours, or beyond its filter.
    Foreign,
}

#[derive(Debug)]
struct Walk {
    since: Option<u64>,
    began: u64,
    page: usize,
    /// Pages so far.
    count: usize,
    /// When the page is asked for again, after the relay said that it came too soon.
    paused_until: Option<Instant>,
    filter: Filter,
    ids: HashSet<EventId>,
    previous: HashSet<EventId>,
    oldest: u64,
    progress: Instant,
}

#[derive(Debug)]
pub(crate) struct Session {
    walk: Option<Walk>,
    /// Pages of all walks on this connection: the number of the next.
    pages: usize,
    retry_at: Option<Instant>,
}

impl Session {
    /// Opens the live subscription and begins to walk the stored events from `since`, or all of them.
    pub(crate) fn start(since: Option<u64>, unix: u64, now: Instant) -> (Self, Vec<Action>) {
        let mut session = Self {
            walk: None,
            pages: 0,
            retry_at: None,
        };
        // The limit is for stored events only: one, because some relays take none as an error.
        let live = Filter {
            limit: Some(1),
            ..topic::filter()
        };
        let mut actions = vec![Action::Send(ClientMessage::Request {
            subscription: LIVE.to_owned(),
            filters: vec![live],
        })];
        actions.extend(session.walk(since, unix, now));
        (session, actions)
    }

    /// Begins to walk the stored events, unless a walk is under way that covers it.
    pub(crate) fn walk(&mut self, since: Option<u64>, unix: u64, now: Instant) -> Vec<Action> {
        self.retry_at = None;
        let mut actions = Vec::new();
        if let Some(walk) = &self.walk {
            if walk.since.is_none() {
                return actions;
            }
            actions.push(close_page(walk.page));
        }
        let walk = Walk {
            since,
            began: unix,
            page: self.pages,
            count: 1,
            paused_until: None,
            filter: Filter {
                since,
                limit: Some(PAGE_EVENTS),
                ..topic::filter()
            },
            ids: HashSet::new(),
            previous: HashSet::new(),
            oldest: u64::MAX,
            progress: now,
        };
        self.pages += 1;
        actions.push(request(&walk));
        self.walk = Some(walk);
        actions
    }

    /// Begins to walk the stored events from the beginning, whatever is under way.
    pub(crate) fn restart(&mut self, unix: u64, now: Instant) -> Vec<Action> {
        let mut actions: Vec<_> = self
            .walk
            .take()
            .map(|walk| close_page(walk.page))
            .into_iter()
            .collect();
        actions.extend(self.walk(None, unix, now));
        actions
    }

    /// Returns whether all stored events were read.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.walk.is_none() && self.retry_at.is_none()
    }

    /// Says where an event belongs.
    pub(crate) fn place(&self, subscription: &str, event: &Event) -> Place {
        if subscription == LIVE {
            return Place::Live;
        }
        match page_number(subscription) {
            Some(page) if self.walk.as_ref().is_some_and(|walk| walk.page == page) => {
                let within = self.walk.as_ref().is_some_and(|walk| {
                    walk.filter.matches(event) && walk.ids.len() < 4 * PAGE_EVENTS
                });
                if within {
                    Place::Stored
                } else {
                    Place::Foreign
                }
            }
            Some(page) if page < self.pages => Place::Late,
            Some(_) | None => Place::Foreign,
        }
    }

    /// Notes a stored event that was checked.
    pub(crate) fn stored(&mut self, event: &Event, now: Instant) {
        if let Some(walk) = &mut self.walk {
            walk.progress = now;
            walk.oldest = walk.oldest.min(event.created_at);
            walk.ids.insert(event.id);
        }
    }

    /// Takes any message but an event.
    pub(crate) fn message(
        &mut self,
        message: &RelayMessage,
        unix: u64,
        now: Instant,
    ) -> Vec<Action> {
        match message {
            RelayMessage::Eose { subscription } if self.is_page(subscription) => {
                self.page_ended(unix, now)
            }
            RelayMessage::Closed {
                subscription,
                words,
            } if self.is_page(subscription) => {
                if words.starts_with("rate-limited")
                    && let Some(walk) = &mut self.walk
                {
                    walk.paused_until = Some(now + PAGE_PAUSE);
                    return Vec::new();
                }
                self.give_up("it closed the subscription before the end", now)
            }
            RelayMessage::Eose { .. }
            | RelayMessage::Closed { .. }
            | RelayMessage::Event { .. }
            | RelayMessage::Ok { .. }
            | RelayMessage::Notice { .. }
            | RelayMessage::Auth => Vec::new(),
        }
    }

    /// Returns whether a message answers a request of ours.
    pub(crate) fn expects(&self, message: &RelayMessage) -> bool {
        match message {
            RelayMessage::Eose { subscription } => self.is_page(subscription),
            RelayMessage::Event { .. }
            | RelayMessage::Closed { .. }
            | RelayMessage::Ok { .. }
            | RelayMessage::Notice { .. }
            | RelayMessage::Auth => false,
        }
    }

    /// Returns whether the live subscription is this one.
    pub(crate) fn is_live(subscription: &str) -> bool {
        subscription == LIVE
    }

    /// Looks at the clock.
    pub(crate) fn tick(&mut self, since: Option<u64>, unix: u64, now: Instant) -> Vec<Action> {
        if let Some(mut walk) = self.walk.take_if(|walk| walk.paused_until.is_some()) {
            if walk.paused_until.is_some_and(|until| until > now) {
                self.walk = Some(walk);
                return Vec::new();
            }
            // The same page again, under a new name: events of the closed one may still be on their way.
            walk.ids.clear();
            walk.oldest = u64::MAX;
            return self.next_page(walk, now);
        }
        if let Some(walk) = &self.walk
            && now.saturating_duration_since(walk.progress) >= PAGE_SECONDS_MAX
        {
            return self.give_up("it did not say that its stored events ended", now);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            return self.walk(since, unix, now);
        }
        Vec::new()
    }

    fn is_page(&self, subscription: &str) -> bool {
        let current = self.walk.as_ref().map(|walk| walk.page);
        current.is_some() && page_number(subscription) == current
    }

    fn page_ended(&mut self, unix: u64, now: Instant) -> Vec<Action> {
        let Some(mut walk) = self.walk.take() else {
            return Vec::new();
        };
        let mut actions = vec![close_page(walk.page)];
        if walk.ids.is_empty() {
            actions.push(Action::CaughtUp {
                full: walk.since.is_none(),
                began: walk.began.min(unix),
            });
            return actions;
        }
        // Events of the page's oldest second may be on the next page too. When all of it is known, the
        // second is done.
        let is_new = walk.ids.iter().any(|id| !walk.previous.contains(id));
        let until = if is_new {
            walk.oldest
        } else {
            walk.oldest.saturating_sub(1)
        };
        walk.filter.until = Some(until);
        walk.previous = std::mem::take(&mut walk.ids);
        walk.oldest = u64::MAX;
        actions.extend(self.next_page(walk, now));
        actions
    }

    fn next_page(&mut self, mut walk: Walk, now: Instant) -> Vec<Action> {
        if walk.count >= PAGES_MAX {
            return self.give_up("it has more events than a node reads", now);
        }
        walk.count += 1;
        walk.page = self.pages;
        self.pages += 1;
        walk.paused_until = None;
        walk.progress = now;
        let action = request(&walk);
        self.walk = Some(walk);
        vec![action]
    }

    fn give_up(&mut self, why: &'static str, now: Instant) -> Vec<Action> {
        let page = self.walk.take().map(|walk| close_page(walk.page));
        self.retry_at = Some(now + RETRY_AFTER);
        page.into_iter().chain([Action::GaveUp(why)]).collect()
    }
}

fn request(walk: &Walk) -> Action {
    Action::Send(ClientMessage::Request {
        subscription: page_name(walk.page),
        filters: vec![walk.filter.clone()],
    })
}

fn close_page(page: usize) -> Action {
    Action::Send(ClientMessage::Close {
        subscription: page_name(page),
    })
}

fn page_name(page: usize) -> String {
    format!("page-{page}")
}

fn page_number(subscription: &str) -> Option<usize> {
    subscription.strip_prefix("page-")?.parse().ok()
}

#[cfg(test)]
mod tests;
