//! What other people say of publishers, and whom they trust to say it.
//!
//! Raters are Nostr pubkeys. Whether a rater said something is checked where Nostr events are read; what it is
//! worth is decided here, seen from the owner's own choice of reviewers.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::{Slug, string_serde};

/// A person who rates: an x-only secp256k1 public key, written as 64 lower-case hexadecimal digits (NIP-01).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rater([u8; 32]);

impl Rater {
    /// Names a rater by the bytes of its public key; whether it is a point of the curve is not asked.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A text is not a rater's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rater is named by 64 lower-case hexadecimal digits")]
pub struct RaterError;

impl FromStr for Rater {
    type Err = RaterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; 32];
        if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(RaterError);
        }
        Ok(Self(bytes))
    }
}

string_serde!(Rater);

impl fmt::Display for Rater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Rater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whom a rater trusts as reviewers: its whole list, which replaces its earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewerList {
    /// Who says it.
    pub rater: Rater,
    /// Whom it trusts, each once, without itself; at most [`REVIEWERS_MAX`].
    pub trusts: Vec<Rater>,
    /// Id of the Nostr event, 64 hexadecimal digits.
    pub event_id: String,
    /// When the rater dated it.
    pub created: Timestamp,
}

/// Most reviewers on one list.
pub const REVIEWERS_MAX: usize = 1000;

/// What a rater says of a publisher; its newest word replaces its earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Who says it.
    pub rater: Rater,
    /// Of whom.
    pub publisher: Did,
    /// About which of the publisher's apps, if not about all.
    pub app: Option<Slug>,
    /// What it says.
    pub opinion: Opinion,
    /// In the rater's words, at most [`WORDS_BYTES_MAX`] bytes; untrusted text.
    pub words: String,
    /// Id of the Nostr event, 64 hexadecimal digits.
    pub event_id: String,
    /// When the rater dated it.
    pub created: Timestamp,
}

/// Most bytes of a rater's words.
pub const WORDS_BYTES_MAX: usize = 1000;

/// What a rater says of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opinion {
    /// The publisher's apps are good.
    Recommend,
    /// The publisher's apps are not good.
    Caution,
    /// The publisher spreads malware.
    Malware,
    /// Takes back what the rater said before.
    Withdrawn,
}

impl Opinion {
    /// Every opinion there is.
    pub const ALL: [Self; 4] = [
        Self::Recommend,
        Self::Caution,
        Self::Malware,
        Self::Withdrawn,
    ];

    /// Returns its name, e.g. `recommend`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recommend => "recommend",
            Self::Caution => "caution",
            Self::Malware => "malware",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A text names no opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an opinion is one of recommend, caution, malware, withdrawn")]
pub struct OpinionError;

impl FromStr for Opinion {
    type Err = OpinionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|opinion| opinion.as_str() == text)
            .ok_or(OpinionError)
    }
}
