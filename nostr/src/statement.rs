//! Which events carry archy's statements; the signed statement inside is the registry's to verify.

use archy_registry::key_state::chain;
use archy_registry::{Slug, announcement};
use jiff::Timestamp;

use crate::event::{EventId, Pubkey};
use crate::sdk::Authentic;
use crate::url::RelayUrl;

/// The kind of every event that carries a statement: application-specific data (NIP-78).
pub const KIND: u16 = 30_078;
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

/// Returns a date of an event; `None` outside the calendar.
pub(crate) fn timestamp(unix: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(unix).ok()?).ok()
}
