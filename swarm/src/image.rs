//! Packs OCI images for a release: byte for byte, every digest checked, nothing recompressed.
//!
//! Finds the manifest for a platform in an OCI layout, an archive, podman's store or a registry, and
//! names each of its blobs by SHA-256 and BLAKE3 (OCI image-spec 1.1 `image-layout.md`, `manifest.md`,
//! `image-index.md`). Does not provide the blobs: [`Packed::open`] streams them to whoever does.

mod archive;
mod content;
pub mod delta;
mod error;
mod model;
mod podman;
mod registry;
mod scan;
mod select;
mod spelling;
mod variant;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use archy_registry::OciDigest;
use archy_registry::release::{Descriptor, Platform};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

use content::{Content, Span};
use model::{Config, Manifest};
use select::Candidate;

pub use error::PackError;
pub use model::{
    CONFIG_SIZE_BYTES_MAX, DOCUMENT_SIZE_BYTES_MAX, LAYER_SIZE_BYTES_MAX, LAYERS_MAX,
    UNPACKED_SIZE_BYTES_MAX,
};
pub use registry::Login;
pub use variant::{Variant, VariantError, check_agreement, variant};

/// Where an image comes from.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// A directory in OCI layout.
    OciLayout {
        /// The directory.
        dir: PathBuf,
        /// The reference name to use when it holds several images.
        name: Option<String>,
    },
    /// An uncompressed tar of an OCI layout, as `podman save --format oci-archive` writes it.
    OciArchive {
        /// The file.
        file: PathBuf,
        /// The reference name to use when it holds several images.
        name: Option<String>,
    },
    /// An image in the local podman store.
    Podman {
        /// Podman's REST socket.
        socket: PathBuf,
        /// The image's name, with tag or digest, or its ID.
        name: String,
    },
    /// An image in a registry.
    Registry {
        /// The reference, e.g. `docker.io/library/busybox:1.37` or one with a digest.
        reference: String,
        /// Name and password, when the registry wants them.
        login: Option<Login>,
        /// Whether to use HTTP instead of HTTPS.
        plain_http: bool,
    },
}

impl std::fmt::Display for ImageSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OciLayout { dir, .. } => write!(f, "oci:{}", dir.display()),
            Self::OciArchive { file, .. } => write!(f, "oci-archive:{}", file.display()),
            Self::Podman { name, .. } => write!(f, "podman:{name}"),
            Self::Registry { reference, .. } => write!(f, "docker://{reference}"),
        }
    }
}

/// An image ready to be released. Keeps downloaded bytes in a temporary directory while it lives.
#[derive(Debug)]
pub struct Packed {
    /// The platform that it runs on.
    pub platform: Platform,
    /// The OCI image manifest.
    pub manifest: Descriptor,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, lowest first, each with its diff ID.
    pub layers: Vec<Descriptor>,
    spans: HashMap<OciDigest, Span>,
    _work: tempfile::TempDir,
}

impl Packed {
    /// Lists manifest, config and layers; a layer that occurs twice is listed twice.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        [&self.manifest, &self.config]
            .into_iter()
            .chain(&self.layers)
    }

    /// Opens the bytes of one of the [`descriptors`](Self::descriptors). Whoever receives them
    /// should expect the descriptor's BLAKE3: the file may have changed since it was packed.
    ///
    /// # Errors
    /// The file is gone or unreadable, or the descriptor is not of this image.
    pub async fn open(
        &self,
        descriptor: &Descriptor,
    ) -> io::Result<impl AsyncRead + Send + Sync + Unpin + use<>> {
        let span = self
            .spans
            .get(&descriptor.digest)
            .ok_or(io::ErrorKind::NotFound)?;
        let mut file = tokio::fs::File::open(&span.path).await?;
        file.seek(io::SeekFrom::Start(span.offset)).await?;
        Ok(file.take(span.size_bytes))
    }
}

/// Packs the image for `platform` from `source`. Downloads go to a directory inside `work`.
///
/// # Errors
/// Says what is missing, wrong or unsupported, and for which digest.
pub async fn pack(
    source: &ImageSource,
    platform: &Platform,
    work: &std::path::Path,
) -> Result<Packed, PackError> {
    let work = tempfile::Builder::new()
        .prefix("image-")
        .tempdir_in(work)
        .map_err(|error| PackError::io("create a directory in", work, error))?;
    let content = Content::open(source, work.path()).await?;
    let candidates = candidates(&content).await?;
    let chosen = select::choose(candidates, platform)?;
    assemble(&content, chosen, work).await
}

/// Lists the platforms for which `source` has an image.
///
/// # Errors
/// As [`pack`].
pub async fn platforms(
    source: &ImageSource,
    work: &std::path::Path,
) -> Result<Vec<Platform>, PackError> {
    let work = tempfile::Builder::new()
        .prefix("image-")
        .tempdir_in(work)
        .map_err(|error| PackError::io("create a directory in", work, error))?;
    let content = Content::open(source, work.path()).await?;
    let mut platforms: Vec<Platform> = candidates(&content)
        .await?
        .into_iter()
        .map(|candidate| candidate.platform)
        .collect();
    platforms.sort();
    platforms.dedup();
    Ok(platforms)
}

/// Follows indexes down to manifests and learns each one's platform.
async fn candidates(content: &Content) -> Result<Vec<Candidate>, PackError> {
    let mut found = Vec::new();
    let mut queue = content.roots().await?;
    let mut seen = 0;
    while let Some(entry) = queue.pop() {
        seen += 1;
        if seen > select::ENTRIES_MAX {
            return Err(PackError::TooMany {
                what: "index entries",
                limit: select::ENTRIES_MAX,
            });
        }
        if model::is_index(&entry.media_type) {
            let bytes = content.document(&entry).await?;
            queue.extend(model::parse_index(&bytes, &entry.digest)?.manifests);
        } else if model::is_manifest(&entry.media_type) {
            let bytes = content.document(&entry).await?;
            let manifest = Manifest::parse(&bytes, &entry.digest)?;
            if !manifest.is_image() {
                // Attestations and other artifacts travel in the same index.
                continue;
            }
            let config = content.document(&manifest.config).await?;
            let config = Config::parse(&config, &manifest.config.digest)?;
            let platform = config.platform();
            found.push(Candidate {
                entry,
                manifest,
                config,
                platform,
            });
        }
    }
    Ok(found)
}

/// Fetches and hashes every blob of the chosen image.
async fn assemble(
    content: &Content,
    chosen: Candidate,
    work: tempfile::TempDir,
) -> Result<Packed, PackError> {
    let Candidate {
        entry,
        manifest,
        config,
        platform,
    } = chosen;
    manifest.check(&entry.digest)?;
    config.check(&manifest.config.digest, &manifest)?;
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(PackError::LayerCount {
            config: manifest.config.digest,
            layers,
            diff_ids,
        });
    }
    let mut spans = HashMap::new();
    let manifest_descriptor = describe(content, &entry, None, &mut spans).await?;
    let config_descriptor = describe(content, &manifest.config, None, &mut spans).await?;
    let mut layers = Vec::new();
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        layers.push(describe(content, layer, Some(*diff_id), &mut spans).await?);
    }
    Ok(Packed {
        platform,
        manifest: manifest_descriptor,
        config: config_descriptor,
        layers,
        spans,
        _work: work,
    })
}

async fn describe(
    content: &Content,
    blob: &model::Descriptor,
    diff_id: Option<OciDigest>,
    spans: &mut HashMap<OciDigest, Span>,
) -> Result<Descriptor, PackError> {
    let span = content.locate(blob).await?;
    let compression = model::compression(&blob.media_type);
    let unpack = diff_id.is_some().then_some(compression).flatten();
    let scanned = scan::scan(span.clone(), unpack).await?;
    scanned.check(blob, diff_id)?;
    spans.insert(blob.digest, span);
    Ok(Descriptor {
        media_type: blob.media_type.clone(),
        digest: blob.digest,
        size_bytes: blob.size,
        blake3: scanned.blake3,
        diff_id,
    })
}
