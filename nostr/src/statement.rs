//! Which events carry archy's statements, and how a statement becomes an event; the signed statement inside
//! is the registry's to verify.

use archy_registry::announcement::{self, Announcement};
use archy_registry::key_state::chain;
use archy_registry::{Did, Slug, Verified};
use jiff::Timestamp;

use crate::clock::FUTURE_SECONDS_MAX;
use crate::event::{Event, EventId, Pubkey};
use crate::filter::Filter;
use crate::sdk::{Authentic, Unsigned};
use crate::url::RelayUrl;

/// The kind of every event that carries a statement: application-specific data (NIP-78).
pub const KIND: u16 = 30_078;
/// The `t` tag of every event that carries a statement: what followers ask for.
pub const TOPIC: &str = "archy";
/// `d` tag of a key state.
pub const D_KEY_STATE: &str = "archy:identity";
/// `d` tag of an announcement, before the slug.
pub const D_APP_PREFIX: &str = "archy:app:";

/// What a statement is about; written as the event's `d` tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An announcement of the app with this slug.
    Announcement(Slug),
    /// A publisher's key states.
    KeyState,
}

impl Subject {
    /// Returns the `d` tag.
    pub fn d(&self) -> String {
        match self {
            Self::Announcement(slug) => format!("{D_APP_PREFIX}{slug}"),
            Self::KeyState => D_KEY_STATE.to_owned(),
        }
    }

    /// Reads a `d` tag; `None` when it is none of archy's.
    pub fn from_d(d: &str) -> Option<Self> {
        if d == D_KEY_STATE {
            return Some(Self::KeyState);
        }
        let slug = d.strip_prefix(D_APP_PREFIX)?.parse().ok()?;
        Some(Self::Announcement(slug))
    }

    /// Returns the size of the largest statement about it, in bytes.
    pub fn content_bytes_max(&self) -> usize {
        match self {
            Self::Announcement(_) => announcement::SIZE_BYTES_MAX,
            Self::KeyState => chain::SIZE_BYTES_MAX,
        }
    }
}

/// A statement that a relay handed on, in an event that is authentic and well formed.
///
/// The content is what the *Nostr* key signed. Who the publisher is, and whether the statement holds,
/// only the registry's `verify` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The relay that handed it on first.
    pub relay: RelayUrl,
    /// The event's id.
    pub event_id: EventId,
    /// The Nostr key that signed the event.
    pub pubkey: Pubkey,
    /// When the author dated it: at most 15 minutes ahead of our clock.
    pub created_at: Timestamp,
    /// What it is about, by its `d` tag.
    pub subject: Subject,
    /// The signed statement, at most [`Subject::content_bytes_max`] bytes.
    pub content: Vec<u8>,
}

impl Heard {
    pub(crate) fn new(relay: RelayUrl, subject: Subject, event: Authentic) -> Option<Self> {
        let event = event.into_inner();
        Some(Self {
            relay,
            event_id: event.id,
            pubkey: event.pubkey,
            created_at: timestamp(event.created_at)?,
            subject,
            content: event.content.into_bytes(),
        })
    }
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
    /// Dated in the future.
    #[error("it is dated {0} s in the future")]
    Future(u64),
    /// Expired (NIP-40).
    #[error("it has expired")]
    Expired,
}

/// Returns the filter that every statement meets.
pub(crate) fn filter() -> Filter {
    Filter {
        kinds: Some(vec![KIND]),
        tags: [('t', vec![TOPIC.to_owned()])].into(),
        ..Filter::default()
    }
}

/// Checks all that can be checked before the signature.
pub(crate) fn check(event: &Event, now: u64) -> Result<Subject, Unwanted> {
    if event.kind != KIND || !event.tag_values("t").any(|topic| topic == TOPIC) {
        return Err(Unwanted::NotAskedFor);
    }
    let subject = event
        .tag("d")
        .and_then(Subject::from_d)
        .ok_or(Unwanted::Subject)?;
    if event.content.len() > subject.content_bytes_max() {
        return Err(Unwanted::TooLarge(event.content.len()));
    }
    if event.created_at > now + FUTURE_SECONDS_MAX {
        return Err(Unwanted::Future(event.created_at - now));
    }
    if event.is_expired(now) {
        return Err(Unwanted::Expired);
    }
    Ok(subject)
}

pub(crate) fn timestamp(unix: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(unix).ok()?).ok()
}

/// A statement on its way to the relays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    subject: Subject,
    did: Did,
    content: String,
    expires: Option<Timestamp>,
}

/// A statement that no event can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// Larger than followers read.
    #[error("the statement has {size_bytes} bytes, followers read at most {max}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// What is read.
        max: usize,
    },
    /// Not text.
    #[error("the statement is not UTF-8 text")]
    NotText,
}

impl Draft {
    /// Drafts the event of any statement. `content` are the signed bytes.
    ///
    /// # Errors
    ///
    /// When the statement is too large or no text.
    pub fn new(
        subject: Subject,
        did: Did,
        content: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<Self, DraftError> {
        let max = subject.content_bytes_max();
        if content.len() > max {
            return Err(DraftError::TooLarge {
                size_bytes: content.len(),
                max,
            });
        }
        let content = std::str::from_utf8(content).map_err(|_| DraftError::NotText)?;
        Ok(Self {
            subject,
            did,
            content: content.to_owned(),
            expires,
        })
    }

    /// Drafts the event of an announcement. `bytes` are those that were verified.
    ///
    /// # Errors
    ///
    /// See [`Draft::new`].
    pub fn announcement(
        announcement: &Verified<Announcement>,
        bytes: &[u8],
    ) -> Result<Self, DraftError> {
        let subject = Subject::Announcement(announcement.slug.clone());
        Self::new(
            subject,
            announcement.publisher,
            bytes,
            Some(announcement.expires),
        )
    }

    /// Drafts the event of a publisher's key states: the whole chain ([`chain`]), because relays keep only the
    /// newest event and whoever was away must be able to check every step.
    ///
    /// It gets no expiry for relays: an outdated key state still tells a rotation or a revocation.
    ///
    /// # Errors
    ///
    /// See [`Draft::new`].
    pub fn key_states(publisher: Did, chain: &[u8]) -> Result<Self, DraftError> {
        Self::new(Subject::KeyState, publisher, chain, None)
    }

    /// Returns what the statement is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the event to sign.
    pub fn event(&self, created_at: u64) -> Unsigned {
        let tag = |name: &str, value: String| vec![name.to_owned(), value];
        let mut tags = vec![
            tag("d", self.subject.d()),
            tag("t", TOPIC.to_owned()),
            tag("did", self.did.to_string()),
        ];
        if let Some(expires) = self.expires {
            tags.push(tag("expiration", expires.as_second().max(0).to_string()));
        }
        Unsigned {
            created_at,
            kind: KIND,
            tags,
            content: self.content.clone(),
        }
    }
}
