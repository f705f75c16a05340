//! What followers ask relays for, all that is checked of an event before its signature, and what is handed on.

use archy_registry::trust::opinion::{ReviewerList, Vote};

use crate::clock::FUTURE_SECONDS_MAX;
use crate::event::Event;
use crate::filter::Filter;
use crate::opinion::{self, KIND_LABEL, KIND_REPORT, KIND_REVIEWERS, NoOpinion, Said};
use crate::sdk::Authentic;
use crate::statement::{Heard, KIND, Subject};
use crate::url::RelayUrl;

/// The `t` tag of every event that concerns archy: what followers ask for.
pub const TOPIC: &str = "archy";
/// The kinds of event that followers ask for.
pub const FOLLOWED_KINDS: [u16; 4] = [KIND, KIND_REVIEWERS, KIND_LABEL, KIND_REPORT];

/// What a relay handed on, in an event that is authentic and well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A statement that some publisher is said to have signed.
    Statement(Heard),
    /// Whom the event's author trusts as reviewers.
    Reviewers(ReviewerList),
    /// What the event's author says of a publisher.
    Vote(Vote),
}

impl Message {
    /// Returns the statement, if it is one.
    pub fn into_statement(self) -> Option<Heard> {
        match self {
            Self::Statement(heard) => Some(heard),
            Self::Reviewers(_) | Self::Vote(_) => None,
        }
    }

    /// Makes a message of an event that was checked; `None` for a date outside the calendar.
    pub(crate) fn new(relay: RelayUrl, wanted: Wanted, event: Authentic) -> Option<Self> {
        match wanted {
            Wanted::Statement(subject) => Heard::new(relay, subject, event).map(Self::Statement),
            Wanted::Opinion(Said::Reviewers(trusts)) => {
                opinion::reviewer_list(&event, trusts).map(Self::Reviewers)
            }
            Wanted::Opinion(Said::Vote {
                publisher,
                app,
                opinion,
            }) => opinion::vote(event, publisher, app, opinion).map(Self::Vote),
        }
    }
}

/// What an event says of itself, before its signature is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Statement(Subject),
    Opinion(Said),
}

/// Why an event that may be authentic is not handed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwanted {
    /// Other kind, or without the topic.
    #[error("it is not what was asked for")]
    NotAskedFor,
    /// Its `d` tag names no subject.
    #[error("its d tag is none of archy's")]
    Subject,
    /// The content is larger than any such statement.
    #[error("its content has {0} bytes")]
    TooLarge(usize),
    /// A list, label or report that says nothing here.
    #[error("it says nothing of a publisher: {0}")]
    NoOpinion(#[from] NoOpinion),
    /// Dated in the future.
    #[error("it is dated {0} s in the future")]
    Future(u64),
    /// Expired (NIP-40).
    #[error("it has expired")]
    Expired,
}

/// Returns the filter that everything wanted meets.
pub(crate) fn filter() -> Filter {
    Filter {
        kinds: Some(FOLLOWED_KINDS.to_vec()),
        tags: [('t', vec![TOPIC.to_owned()])].into(),
        ..Filter::default()
    }
}

/// Checks all that can be checked before the signature, cheapest first.
pub(crate) fn check(event: &Event, now: u64) -> Result<Wanted, Unwanted> {
    if !FOLLOWED_KINDS.contains(&event.kind) || !event.tag_values("t").any(|topic| topic == TOPIC) {
        return Err(Unwanted::NotAskedFor);
    }
    if event.created_at > now + FUTURE_SECONDS_MAX {
        return Err(Unwanted::Future(event.created_at - now));
    }
    if event.is_expired(now) {
        return Err(Unwanted::Expired);
    }
    if event.kind != KIND {
        return Ok(Wanted::Opinion(opinion::read(event)?));
    }
    let subject = event
        .tag("d")
        .and_then(Subject::from_d)
        .ok_or(Unwanted::Subject)?;
    if event.content.len() > subject.content_bytes_max() {
        return Err(Unwanted::TooLarge(event.content.len()));
    }
    Ok(Wanted::Statement(subject))
}
