//! Nostr events as data: their JSON, their tags and their order; no signatures (see [`crate::sdk`]).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Largest `created_at` that is read: 2^53 − 1, what every JSON reader keeps exactly.
pub const UNIX_SECONDS_MAX: u64 = (1 << 53) - 1;

/// A field of an event failed its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not lower-case hexadecimal of the right length.
    #[error("{what} is not {digits} lower-case hexadecimal digits")]
    Hex {
        /// Which field.
        what: &'static str,
        /// How many digits it needs.
        digits: usize,
    },
    /// Not the JSON object that NIP-01 describes.
    #[error("not an event of NIP-01: {0}")]
    Json(String),
    /// A tag without a name.
    #[error("tag {0} is empty")]
    EmptyTag(usize),
    /// A date that JSON readers would round.
    #[error("created_at {0} is beyond 2^53 - 1")]
    Date(u64),
}

macro_rules! hex_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Wraps the bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = EventError;

            fn from_str(text: &str) -> Result<Self, EventError> {
                let error = EventError::Hex { what: $what, digits: $bytes * 2 };
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(error);
                }
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| error)?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_type!(
    /// The SHA-256 of an event's canonical form (NIP-01); 64 lower-case hexadecimal digits.
    EventId, 32, "an event id"
);
hex_type!(
    /// An x-only secp256k1 public key (BIP-340); 64 lower-case hexadecimal digits.
    Pubkey, 32, "a pubkey"
);
hex_type!(
    /// A Schnorr signature (BIP-340) over an event's id; 128 lower-case hexadecimal digits.
    Signature, 64, "a signature"
);

/// An event as it was read: nothing about it is proven yet.
///
/// <https://github.com/nostr-protocol/nips/blob/master/01.md>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What the sender says the id is.
    pub id: EventId,
    /// Who the sender says signed it.
    pub pubkey: Pubkey,
    /// Seconds since 1970, chosen by the author.
    pub created_at: u64,
    /// Kind; decides how relays keep it, see [`Class`].
    pub kind: u16,
    /// Tags; none is empty.
    pub tags: Vec<Vec<String>>,
    /// Free text.
    pub content: String,
    /// Signature over the id.
    pub sig: Signature,
}

impl Event {
    /// Reads an event from its JSON value.
    ///
    /// # Errors
    ///
    /// When a field is missing, twice there or outside its grammar.
    pub fn from_json(json: &serde_json::value::RawValue) -> Result<Self, EventError> {
        let event: Self =
            serde_json::from_str(json.get()).map_err(|e| EventError::Json(e.to_string()))?;
        if let Some(empty) = event.tags.iter().position(Vec::is_empty) {
            return Err(EventError::EmptyTag(empty));
        }
        if event.created_at > UNIX_SECONDS_MAX {
            return Err(EventError::Date(event.created_at));
        }
        Ok(event)
    }

    /// Returns the first value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let tag = self
            .tags
            .iter()
            .find(|tag| tag.first().is_some_and(|first| first == name) && tag.len() > 1)?;
        tag.get(1).map(String::as_str)
    }

    /// Returns the first value of every tag with this name (NIP-01 indexes no other value).
    pub fn tag_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.tags
            .iter()
            .filter(move |tag| tag.first().is_some_and(|first| first == name))
            .filter_map(|tag| tag.get(1).map(String::as_str))
    }

    /// Returns when the event expires, in seconds since 1970 (NIP-40).
    ///
    /// A tag that is no number counts as expired at once: its author wanted an end, and guessing one
    /// could keep the event for ever.
    pub fn expiration(&self) -> Option<u64> {
        self.tag("expiration")
            .map(|value| value.parse().unwrap_or(0))
    }

    /// Returns whether the event has expired at `now` (NIP-40).
    pub fn is_expired(&self, now: u64) -> bool {
        self.expiration()
            .is_some_and(|expiration| expiration <= now)
    }

    /// Returns the place that this event shares with its earlier versions, when it has one.
    pub fn slot(&self) -> Option<Slot> {
        let d = match Class::of(self.kind) {
            Class::Addressable => self.tag("d").unwrap_or_default().to_owned(),
            Class::Replaceable => String::new(),
            Class::Regular | Class::Ephemeral => return None,
        };
        Some(Slot {
            kind: self.kind,
            pubkey: self.pubkey,
            d,
        })
    }
}

/// How relays keep a kind of event (NIP-01).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// All of them.
    Regular,
    /// The newest per author and kind.
    Replaceable,
    /// None.
    Ephemeral,
    /// The newest per author, kind and `d` tag.
    Addressable,
}

impl Class {
    /// Returns the class of a kind.
    pub fn of(kind: u16) -> Self {
        match kind {
            0 | 3 | 10_000..20_000 => Self::Replaceable,
            20_000..30_000 => Self::Ephemeral,
            30_000..40_000 => Self::Addressable,
            _ => Self::Regular,
        }
    }
}

/// The place of a replaceable or addressable event; written `kind:pubkey:d` in `a` tags.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Kind.
    pub kind: u16,
    /// Author.
    pub pubkey: Pubkey,
    /// `d` tag; empty for replaceable kinds.
    pub d: String,
}

impl FromStr for Slot {
    type Err = EventError;

    fn from_str(text: &str) -> Result<Self, EventError> {
        let malformed = || EventError::Json("an a tag is not kind:pubkey:d".to_owned());
        let mut parts = text.splitn(3, ':');
        let kind = parts.next().and_then(|kind| kind.parse().ok());
        let pubkey = parts.next().ok_or_else(malformed)?.parse()?;
        Ok(Self {
            kind: kind.ok_or_else(malformed)?,
            pubkey,
            d: parts.next().unwrap_or_default().to_owned(),
        })
    }
}

/// What decides between two versions in one slot: the date, then the lowest id (NIP-01).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// `created_at` of the event.
    pub created_at: u64,
    /// Its id.
    pub id: EventId,
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.created_at
            .cmp(&other.created_at)
            .then_with(|| other.id.cmp(&self.id))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<&Event> for Version {
    fn from(event: &Event) -> Self {
        Self {
            created_at: event.created_at,
            id: event.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(created_at: u64, id: u8) -> Version {
        Version {
            created_at,
            id: EventId::from_bytes([id; 32]),
        }
    }

    #[test]
    fn newer_wins_and_a_tie_goes_to_the_lowest_id() {
        assert!(version(2, 9) > version(1, 1));
        assert!(version(1, 1) > version(1, 2));
        assert_eq!(version(1, 1).max(version(1, 2)), version(1, 1));
    }

    #[test]
    fn hexadecimal_is_lower_case_and_exact() {
        let text = "ab".repeat(32);
        assert_eq!(text.parse::<EventId>().unwrap().to_string(), text);
        for wrong in [
            text.to_uppercase(),
            text[1..].to_owned(),
            format!("{text}00"),
            "é".repeat(32),
        ] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn classes_follow_nip_01() {
        let table = [
            (0, Class::Replaceable),
            (1, Class::Regular),
            (3, Class::Replaceable),
            (5, Class::Regular),
            (10_002, Class::Replaceable),
            (20_001, Class::Ephemeral),
            (30_078, Class::Addressable),
            (40_000, Class::Regular),
        ];
        for (kind, class) in table {
            assert_eq!(Class::of(kind), class, "{kind}");
        }
    }

    #[test]
    fn slots_read_from_a_tags() {
        let pubkey = "cd".repeat(32);
        let slot: Slot = format!("30078:{pubkey}:archy:app:x").parse().unwrap();
        assert_eq!(slot.d, "archy:app:x");
        assert!("30078".parse::<Slot>().is_err());
        assert!(format!("x:{pubkey}:").parse::<Slot>().is_err());
    }
}
