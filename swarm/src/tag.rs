//! The name under which a set of blobs is kept; says nothing about what the blobs are.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest tag in bytes.
pub const TAG_LEN_MAX: usize = 200;

/// A name for a set of blobs that belong together, e.g. `release/did:key:z6Mk…/notes/7`.
///
/// 1 to [`TAG_LEN_MAX`] bytes of ASCII letters, digits and `. _ : / -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

/// A tag failed its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a tag: use 1 to {TAG_LEN_MAX} of ASCII letters, digits and . _ : / -")]
pub struct TagError(String);

impl Tag {
    /// Returns the tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the tag, and what is before each of its slashes, longest first.
    pub(crate) fn fronts(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.0.as_str()), |front| {
            front.rsplit_once('/').map(|(front, _)| front)
        })
    }
}

impl Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/-".contains(&b);
        if (1..=TAG_LEN_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TagError(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, TagError> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}
