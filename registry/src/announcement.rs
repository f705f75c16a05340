//! Announcements: the small signed card that names an app's newest release, carried by a Nostr event.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::{AppId, Blake3Hash, Slug};
use crate::json::Object;
use crate::key_state::{KeyHistory, KeyState, Signatures, Standing};
use crate::proof;
use crate::release::{self, Asset, Origin, Release};
use crate::statement::{self, StatementError};
use crate::text;
use crate::verified::Verified;

/// The `type` of an announcement.
pub const TYPE: &str = "archy/announcement/v1";
/// Largest announcement in bytes, proof included.
pub const SIZE_BYTES_MAX: usize = 8 * 1024;

/// Longest validity: past it a node says that it has no news since, and asks before it installs.
pub const VALIDITY_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);

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

    /// Makes the announcement of a release of `size_bytes` bytes, valid for [`VALIDITY_MAX`].
    pub fn of(release: &Verified<Release>, size_bytes: u64, created: Timestamp) -> Self {
        let created = proof::whole_seconds(created);
        let app = &release.manifest.app;
        Self {
            r#type: TYPE.to_owned(),
            publisher: release.publisher,
            slug: app.id.clone(),
            version: app.version.clone(),
            seq: release.seq,
            created,
            expires: created.checked_add(VALIDITY_MAX).unwrap_or(Timestamp::MAX),
            release: ReleaseRef {
                blake3: release.hash(),
                size_bytes,
            },
            card: Card::of(release),
            origin: release.origin.clone(),
        }
    }

    /// Tells whether this is the card of a release that a catalog lists, which nobody announced.
    #[cfg(feature = "store")]
    pub(crate) fn is_listed(&self) -> bool {
        self.r#type == LISTED_TYPE
    }

    /// Checks that `release` is the one that is announced, in every member that both carry.
    ///
    /// # Errors
    ///
    /// [`Mismatch`] naming the first member that differs: another app's release served in place of this
    /// one, or a card that shows something else than the release.
    pub fn names(&self, release: &Verified<Release>) -> Result<(), Mismatch> {
        let differs = |field, announced: String, found: String| {
            if announced == found {
                Ok(())
            } else {
                Err(Mismatch {
                    field,
                    announced,
                    found,
                })
            }
        };
        let app = &release.manifest.app;
        differs(
            "publisher",
            self.publisher.to_string(),
            release.publisher.to_string(),
        )?;
        differs("slug", self.slug.to_string(), app.id.to_string())?;
        differs("seq", self.seq.to_string(), release.seq.to_string())?;
        differs("version", self.version.clone(), app.version.clone())?;
        differs(
            "hash",
            self.release.blake3.to_string(),
            release.hash().to_string(),
        )?;
        let card = Card::of(release);
        differs("name", self.card.name.clone(), card.name)?;
        differs("tagline", self.card.tagline.clone(), card.tagline)?;
        differs("category", self.card.category.clone(), card.category)?;
        differs(
            "architectures",
            self.card.architectures.join(", "),
            card.architectures.join(", "),
        )?;
        differs(
            "download size",
            self.card.download_size_bytes.to_string(),
            card.download_size_bytes.to_string(),
        )?;
        let icon = |icon: &Option<Asset>| icon.as_ref().map(|icon| icon.blake3.to_string());
        differs(
            "icon",
            icon(&self.card.icon).unwrap_or_default(),
            icon(&card.icon).unwrap_or_default(),
        )
    }
}

/// A release is not the one that an announcement names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the release is not the announced one: the announcement says {field} {announced:?}, the release {found:?}"
)]
pub struct Mismatch {
    /// The member that differs.
    pub field: &'static str,
    /// What the announcement says.
    pub announced: String,
    /// What the release says.
    pub found: String,
}

/// An announcement cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum AnnouncementError {
    /// The statement cannot be believed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A member's value is not allowed.
    #[error("the announcement's {field} {complaint}")]
    Field {
        /// Path of the member.
        field: String,
        /// What is wrong with it.
        complaint: String,
    },
    /// Its `seq` is below the floor that the publisher set after a recovery.
    #[error(
        "release {seq} of {app} is below {floor}, the lowest that its publisher still stands for"
    )]
    BelowFloor {
        /// The app.
        app: AppId,
        /// The announced `seq`.
        seq: u64,
        /// The floor of the key state.
        floor: u64,
    },
}

/// Reads whom an announcement says it is of; believed only after verification.
pub fn claimed_publisher(bytes: &[u8]) -> Option<Did> {
    #[derive(Deserialize)]
    struct Claimed {
        publisher: Did,
    }
    match Object::read(bytes) {
        Some(announcement) => serde_json::from_slice(announcement.value("publisher")?).ok(),
        None => {
            let claimed: Claimed = serde_json::from_slice(bytes).ok()?;
            Some(claimed.publisher)
        }
    }
}

/// Checks an announcement against its publisher's key state. One of the publisher's keys signs it, whatever
/// the threshold: it is signed again every week, and what it names installs only with all the proofs.
///
/// Whether it is news is the store's question ([`Store::admit_announcement`]).
///
/// # Errors
///
/// [`AnnouncementError`]; also when the announcement or the key state has expired.
///
/// [`Store::admit_announcement`]: crate::store::Store::admit_announcement
pub fn verify(
    bytes: &[u8],
    state: &Verified<KeyState>,
    now: Timestamp,
) -> Result<Verified<Announcement>, AnnouncementError> {
    let (announcement, signers, hash) = open(bytes, now)?;
    statement::authorise(&signers, 1, announcement.publisher, state)?;
    statement::check_keys_unexpired(state, now)?;
    check_whole(announcement, signers, hash, state, now)
}

/// Checks an announcement against all that is known of its publisher's keys, as
/// [`release::verify_seen`] does for releases.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_seen(
    bytes: &[u8],
    keys: &KeyHistory,
    first_seen: Option<Timestamp>,
    now: Timestamp,
) -> Result<(Verified<Announcement>, Standing), AnnouncementError> {
    let (announcement, signers, hash) = open(bytes, now)?;
    let signed = Signatures {
        publisher: announcement.publisher,
        signers: &signers,
        hash,
        required: |_| 1,
    };
    let (standing, state) = keys.judge(&signed, &announcement.slug, first_seen, now)?;
    let whole = check_whole(announcement, signers, hash, state, now)?;
    Ok((whole, standing))
}

/// Reads an announcement as it was believed when it was heard, by keys that may not count any more: only to
/// show what it was.
#[cfg(feature = "store")]
pub(crate) fn verify_as_heard(
    bytes: &[u8],
    keys: &KeyHistory,
    heard: Timestamp,
) -> Option<Verified<Announcement>> {
    keys.known_states()
        .find_map(|state| verify(bytes, state, heard).ok())
}

fn open(
    bytes: &[u8],
    now: Timestamp,
) -> Result<(Announcement, Vec<Did>, Blake3Hash), StatementError> {
    statement::open::<Announcement>(bytes, SIZE_BYTES_MAX, TYPE, now)
}

fn check_whole(
    announcement: Announcement,
    signers: Vec<Did>,
    hash: Blake3Hash,
    state: &KeyState,
    now: Timestamp,
) -> Result<Verified<Announcement>, AnnouncementError> {
    statement::check_seq(announcement.seq)?;
    statement::check_dates(
        announcement.created,
        announcement.expires,
        VALIDITY_MAX,
        now,
    )?;
    check_fields(&announcement)
        .map_err(|(field, complaint)| AnnouncementError::Field { field, complaint })?;
    if let Some(floor) = state.floors.get(&announcement.slug)
        && announcement.seq < *floor
    {
        return Err(AnnouncementError::BelowFloor {
            app: announcement.app(),
            seq: announcement.seq,
            floor: *floor,
        });
    }
    statement::check_unexpired(announcement.expires, now)?;
    Ok(Verified::new(announcement, hash, signers))
}

/// The `type` of a card that this node made of a listed release.
#[cfg(feature = "store")]
const LISTED_TYPE: &str = "archy/listed-release/v1";

/// Makes the card of a release that a catalog lists and nobody announced here.
///
/// It says what the publisher signed in the release and nothing more, so it is no less verified. It is
/// dated a second before the release: whatever its publisher announces of the release is younger.
#[cfg(feature = "store")]
pub(crate) fn listed(
    release: &Verified<Release>,
    size_bytes: u64,
) -> Result<(Verified<Announcement>, Vec<u8>), crate::json::JsonError> {
    let created = release
        .created
        .checked_sub(SignedDuration::from_secs(1))
        .unwrap_or(release.created);
    let card = Announcement {
        r#type: LISTED_TYPE.to_owned(),
        ..Announcement::of(release, size_bytes, created)
    };
    let bytes = crate::json::canonical(&card)?;
    let hash = Blake3Hash::of(&bytes);
    Ok((Verified::new(card, hash, release.signers().to_vec()), bytes))
}

/// Tells whether stored bytes are a card that [`listed`] made, so that the release is what proves it.
#[cfg(feature = "store")]
pub(crate) fn is_listed(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    serde_json::from_slice::<Typed>(bytes).is_ok_and(|typed| typed.r#type == LISTED_TYPE)
}

fn check_fields(announcement: &Announcement) -> Result<(), (String, String)> {
    let card = &announcement.card;
    let named = |field: &'static str| move |complaint: String| (field.to_owned(), complaint);
    text::check_line(&announcement.version, 40).map_err(named("version"))?;
    text::check_line(&card.name, 60).map_err(named("card.name"))?;
    text::check_line(&card.tagline, 120).map_err(named("card.tagline"))?;
    card.category
        .parse::<crate::manifest::Category>()
        .map_err(|error| named("card.category")(error.to_string()))?;
    let size_bytes_max = release::SIZE_BYTES_MAX as u64;
    if !(1..=size_bytes_max).contains(&announcement.release.size_bytes) {
        let complaint = format!("must be from 1 to {size_bytes_max}");
        return Err(("release.size_bytes".to_owned(), complaint));
    }
    release::check::architectures(&card.architectures).map_err(named("card.architectures"))?;
    if let Some(icon) = &card.icon {
        release::check::asset(icon).map_err(named("card.icon"))?;
    }
    release::check::origin(&announcement.origin)
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

impl Card {
    /// Fills in the card of a release.
    pub fn of(release: &Release) -> Self {
        let app = &release.manifest.app;
        let platforms = release.platforms();
        let download = |platform| {
            release
                .blobs(platform)
                .fold(0_u64, |sum, blob| sum.saturating_add(blob.size_bytes))
        };
        Self {
            name: app.name.clone(),
            tagline: app.tagline.clone(),
            category: app.category.to_string(),
            download_size_bytes: platforms.iter().map(download).max().unwrap_or(0),
            architectures: platforms
                .into_iter()
                .map(|platform| platform.architecture)
                .collect(),
            icon: release.icon.clone(),
        }
    }
}
