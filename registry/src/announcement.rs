//! Announcements: the small signed card that names an app's newest release, carried by a Nostr event.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::{AppId, Blake3Hash, Slug};
use crate::release::{Asset, Origin};

/// The `type` of an announcement.
pub const TYPE: &str = "archy/announcement/v1";
/// Largest announcement in bytes, proof included.
pub const SIZE_BYTES_MAX: usize = 8 * 1024;

/// The newest release of an app, with what a shop window needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// Always [`TYPE`].
    pub r#type: String,
    /// The origin DID.
    pub publisher: Did,
    /// The app's name among the publisher's apps.
    pub slug: Slug,
    /// The release's version, as the publisher writes it.
    pub version: String,
    /// The release's `seq`.
    pub seq: u64,
    /// When it was signed.
    pub created: Timestamp,
    /// At most 30 days after `created`.
    pub expires: Timestamp,
    /// The release blob.
    pub release: ReleaseRef,
    /// What a shop window shows.
    pub card: Card,
    /// Where the publisher itself serves the release blob and the images.
    pub origin: Origin,
}

impl Announcement {
    /// Returns the app that is announced.
    pub fn app(&self) -> AppId {
        AppId {
            publisher: self.publisher,
            slug: self.slug.clone(),
        }
    }
}

/// A release blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRef {
    /// BLAKE3 of the release's bytes.
    pub blake3: Blake3Hash,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// What a shop window shows of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Display name.
    pub name: String,
    /// One line.
    pub tagline: String,
    /// Category, as in the manifest.
    pub category: String,
    /// Bytes to fetch on a machine that has none of them, for the largest platform.
    pub download_size_bytes: u64,
    /// OCI architectures with an image for every container.
    pub architectures: Vec<String>,
    /// The app's icon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<Asset>,
}
