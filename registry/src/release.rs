//! Releases: one signed version of an app, complete enough to install it from any provider of its bytes.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::{AppId, Blake3Hash, EndpointId, OciDigest, Slug};
use crate::key_state::{KeyHistory, KeyState, Signatures, Standing};
use crate::manifest::{Manifest, Problem};
use crate::proof;
use crate::statement::{self, StatementError};
use crate::verified::Verified;

mod baggage;
pub(crate) mod check;
mod delta;

pub use baggage::Baggage;
pub use check::CONFIG_SIZE_BYTES_MAX;
pub use delta::{DELTAS_MAX, DELTAS_PER_LAYER_MAX, Delta, TAR_SIZE_BYTES_MAX, Tar};

/// The `type` of a release.
pub const TYPE: &str = "archy/release/v1";
/// Largest release in bytes, proof included.
pub const SIZE_BYTES_MAX: usize = 256 * 1024;

/// Longest validity of a release.
pub const VALIDITY_MAX: SignedDuration = SignedDuration::from_hours(5 * 366 * 24);
/// Validity that [`Draft::new`] proposes.
pub const VALIDITY_DEFAULT: SignedDuration = SignedDuration::from_hours(2 * 366 * 24);

/// One signed version of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Always [`TYPE`].
    pub r#type: String,
    /// The origin DID.
    pub publisher: Did,
    /// Counts a publisher's releases of one app; never goes back.
    pub seq: u64,
    /// When it was signed.
    pub created: Timestamp,
    /// When it stops being installable.
    pub expires: Timestamp,
    /// The whole packaging contract; `manifest.app.id` is the slug.
    pub manifest: Manifest,
    /// One image per container and platform.
    pub images: Vec<Image>,
    /// The app's icon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<Asset>,
    /// Screenshots in the order to show them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub screenshots: Vec<Asset>,
    /// Shorter ways to some layers for who has an earlier release; in order of `to`, then `from`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<Delta>,
    /// Where the publisher itself serves the bytes.
    pub origin: Origin,
}

impl Release {
    /// Returns the app that this is a version of.
    pub fn app(&self) -> AppId {
        AppId {
            publisher: self.publisher,
            slug: self.manifest.app.id.clone(),
        }
    }

    /// Lists the platforms that have an image for every container, in order.
    pub fn platforms(&self) -> Vec<Platform> {
        let all: std::collections::BTreeSet<&Platform> =
            self.images.iter().map(|image| &image.platform).collect();
        let complete = |platform: &&&Platform| {
            self.manifest
                .containers
                .iter()
                .all(|container| self.image(&container.name, platform).is_some())
        };
        all.iter()
            .filter(complete)
            .map(|platform| (*platform).clone())
            .collect()
    }

    /// Returns the image of `container` for `platform`.
    pub fn image(&self, container: &Slug, platform: &Platform) -> Option<&Image> {
        self.images
            .iter()
            .find(|image| image.container == *container && image.platform == *platform)
    }

    /// Lists every blob that installing on `platform` needs, images only, each once.
    pub fn blobs<'a>(
        &'a self,
        platform: &'a Platform,
    ) -> impl Iterator<Item = &'a Descriptor> + 'a {
        let mut seen = std::collections::HashSet::new();
        self.images
            .iter()
            .filter(move |image| &image.platform == platform)
            .flat_map(Image::descriptors)
            .filter(move |descriptor| seen.insert(descriptor.blake3))
    }
}

/// The image of one container for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The container of the manifest that runs it.
    pub container: Slug,
    /// The platform that it runs on.
    pub platform: Platform,
    /// The OCI image manifest; its digest is the image's identity.
    pub manifest: Descriptor,
    /// The OCI image configuration; its digest is podman's image ID.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

impl Image {
    /// Lists manifest, config and layers.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        [&self.manifest, &self.config]
            .into_iter()
            .chain(&self.layers)
    }
}

/// An OCI platform (image-spec `image-index.md`), written `os/architecture[/variant]` as in `linux/amd64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// GOOS value; `linux`.
    pub os: String,
    /// GOARCH value, e.g. `amd64`, `arm64`.
    pub architecture: String,
}

impl Platform {
    /// Returns the platform of the running machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
        }
    }
}

/// One OCI blob, named for OCI by its SHA-256 and for the swarm by its BLAKE3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// OCI media type.
    pub media_type: String,
    /// SHA-256 of the bytes.
    pub digest: OciDigest,
    /// Length in bytes.
    pub size_bytes: u64,
    /// BLAKE3 of the bytes.
    pub blake3: Blake3Hash,
    /// For a layer: SHA-256 of the uncompressed tar (image-spec `config.md#layer-diffid`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<OciDigest>,
}

/// An icon or screenshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// BLAKE3 of the bytes.
    pub blake3: Blake3Hash,
    /// Length in bytes.
    pub size_bytes: u64,
    /// `image/png`, `image/svg+xml`, `image/webp` or `image/jpeg`.
    pub media_type: String,
}

/// Where the publisher itself serves the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The publisher's endpoints, best first; at most 8.
    pub endpoints: Vec<Endpoint>,
}

/// One iroh endpoint and the ways to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// iroh endpoint id: an Ed25519 key as 64 hexadecimal digits.
    pub id: EndpointId,
    /// Direct UDP addresses (`ip:port`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<std::net::SocketAddr>,
    /// iroh relay URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relays: Vec<String>,
}

/// What a publisher decides about a release; [`assemble`] makes the statement of it.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The origin DID.
    pub publisher: Did,
    /// One more than the release before; 1 for the first.
    pub seq: u64,
    /// When it is signed.
    pub created: Timestamp,
    /// When it stops being installable.
    pub expires: Timestamp,
    /// The packaging contract.
    pub manifest: Manifest,
    /// One image per container and platform.
    pub images: Vec<Image>,
    /// The app's icon.
    pub icon: Option<Asset>,
    /// Screenshots in the order to show them.
    pub screenshots: Vec<Asset>,
    /// Shorter ways to some layers; [`assemble`] puts them in order.
    pub deltas: Vec<Delta>,
    /// Where the publisher itself serves the bytes.
    pub origin: Origin,
}

impl Draft {
    /// Starts a draft that is valid for [`VALIDITY_DEFAULT`] and has neither icon, screenshots nor deltas.
    pub fn new(
        publisher: Did,
        seq: u64,
        created: Timestamp,
        manifest: Manifest,
        images: Vec<Image>,
        origin: Origin,
    ) -> Self {
        Self {
            publisher,
            seq,
            created,
            expires: created
                .checked_add(VALIDITY_DEFAULT)
                .unwrap_or(Timestamp::MAX),
            manifest,
            images,
            icon: None,
            screenshots: Vec::new(),
            deltas: Vec::new(),
            origin,
        }
    }
}

/// A release cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The statement cannot be believed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The manifest breaks the packaging contract.
    #[error("the release's manifest breaks the packaging contract: {}", list(.0))]
    Manifest(Vec<Problem>),
    /// Images, assets or origin are not as they must be.
    #[error("the release's {field} {complaint}")]
    Field {
        /// Path of the member.
        field: String,
        /// What is wrong with it.
        complaint: String,
    },
}

fn list(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// Makes a release of a draft, checking all that [`verify`] will check but the signature.
///
/// # Errors
///
/// [`ReleaseError`] naming what no node would accept.
pub fn assemble(mut draft: Draft) -> Result<Release, ReleaseError> {
    draft.deltas.sort_by_key(Delta::order);
    let release = Release {
        r#type: TYPE.to_owned(),
        publisher: draft.publisher,
        seq: draft.seq,
        created: proof::whole_seconds(draft.created),
        expires: proof::whole_seconds(draft.expires),
        manifest: draft.manifest,
        images: draft.images,
        icon: draft.icon,
        screenshots: draft.screenshots,
        deltas: draft.deltas,
        origin: draft.origin,
    };
    check_content(&release, release.created)?;
    Ok(release)
}

/// Checks a release against its publisher's key state. Nothing installs without it.
///
/// As many different keys as the state's threshold sign it, not one more.
/// A release that the key state reaffirms is accepted from any key that signed it.
///
/// # Errors
///
/// [`ReleaseError`]; also when the release or the key state has expired.
pub fn verify(
    bytes: &[u8],
    state: &Verified<KeyState>,
    now: Timestamp,
) -> Result<Verified<Release>, ReleaseError> {
    let (release, signers, hash) = open(bytes, now)?;
    let reaffirmed = release.publisher == state.publisher && state.reaffirm.contains(&hash);
    if !reaffirmed {
        statement::authorise(&signers, required(state), release.publisher, state)?;
    }
    statement::check_keys_unexpired(state, now)?;
    check_whole(release, signers, hash, now)
}

/// Checks a release against all that is known of its publisher's keys.
///
/// A release by keys that were replaced or revoked since counts when this node had seen it before that, at
/// `first_seen`, and no recovery has set the app's floor since: nobody can date a statement back.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_seen(
    bytes: &[u8],
    keys: &KeyHistory,
    first_seen: Option<Timestamp>,
    now: Timestamp,
) -> Result<(Verified<Release>, Standing), ReleaseError> {
    let (release, signers, hash) = open(bytes, now)?;
    let signed = Signatures {
        publisher: release.publisher,
        signers: &signers,
        hash,
        required,
    };
    let (standing, _) = keys.judge(&signed, &release.manifest.app.id, first_seen, now)?;
    Ok((check_whole(release, signers, hash, now)?, standing))
}

fn open(bytes: &[u8], now: Timestamp) -> Result<(Release, Vec<Did>, Blake3Hash), StatementError> {
    statement::open::<Release>(bytes, SIZE_BYTES_MAX, TYPE, now)
}

fn required(state: &KeyState) -> usize {
    state.threshold as usize
}

fn check_whole(
    release: Release,
    signers: Vec<Did>,
    hash: Blake3Hash,
    now: Timestamp,
) -> Result<Verified<Release>, ReleaseError> {
    check_content(&release, now)?;
    statement::check_unexpired(release.expires, now)?;
    Ok(Verified::new(release, hash, signers))
}

fn check_content(release: &Release, now: Timestamp) -> Result<(), ReleaseError> {
    statement::check_seq(release.seq)?;
    statement::check_dates(release.created, release.expires, VALIDITY_MAX, now)?;
    release.manifest.check().map_err(ReleaseError::Manifest)?;
    check::check(release).map_err(|(field, complaint)| ReleaseError::Field { field, complaint })
}
