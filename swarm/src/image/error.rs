//! Why an image cannot be packed, in words for the person who publishes it.

use std::io;
use std::path::{Path, PathBuf};

use archy_registry::OciDigest;

/// An image could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be used.
    #[error("cannot {what} {path}", path = .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The source is not an OCI layout or archive.
    #[error("{path} is not {expected}: {reason}", path = .path.display())]
    NotALayout {
        /// The file or directory.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An archive holds something that an OCI archive must not.
    #[error("{path} is not a safe OCI archive: entry {entry:?} {reason}", path = .path.display())]
    UnsafeArchive {
        /// The archive.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A document of the image is malformed.
    #[error("{digest} is not a valid OCI {what}: {reason}")]
    Document {
        /// The document.
        digest: OciDigest,
        /// `index`, `manifest` or `configuration`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Something occurs too often.
    #[error("the image has more than {limit} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// A blob is too large.
    #[error("{digest} has {size_bytes} bytes, more than the {size_bytes_max} allowed for a {what}")]
    TooLarge {
        /// The blob.
        digest: OciDigest,
        /// What it is.
        what: &'static str,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        size_bytes_max: u64,
    },
    /// The image hands more down to its containers than a node takes.
    #[error("configuration {config} or its manifest has {excess}: build the image with less")]
    Excess {
        /// The configuration.
        config: OciDigest,
        /// What there is too much of.
        excess: String,
    },
    /// A media type is not one that archy installs.
    #[error(
        "{digest} has media type {media_type:?}; archy packs plain, gzip and zstd layers of OCI and \
         Docker images: rebuild or convert the image, e.g. with skopeo copy --format oci"
    )]
    MediaType {
        /// The blob.
        digest: OciDigest,
        /// Its media type.
        media_type: String,
    },
    /// A blob is not in the source.
    #[error("{digest} is missing from {place}; export or pull the image again")]
    Missing {
        /// The blob.
        digest: OciDigest,
        /// Where it should be.
        place: String,
    },
    /// A blob is not what its descriptor says.
    #[error("{digest} is damaged: {reason}; export or pull the image again")]
    Damaged {
        /// The blob.
        digest: OciDigest,
        /// What does not match.
        reason: String,
    },
    /// A layer does not unpack to what the configuration says.
    #[error(
        "layer {digest} unpacks to {actual}, but the image's configuration says {expected}: the image \
         was put together wrongly, build it again"
    )]
    DiffId {
        /// The layer.
        digest: OciDigest,
        /// The diff ID in the configuration.
        expected: OciDigest,
        /// The SHA-256 of the unpacked layer.
        actual: OciDigest,
    },
    /// Manifest and configuration disagree.
    #[error(
        "configuration {config} lists {diff_ids} layers, its manifest {layers}: build the image again"
    )]
    LayerCount {
        /// The configuration.
        config: OciDigest,
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the configuration.
        diff_ids: usize,
    },
    /// The source has no image at all.
    #[error("no container image found there")]
    Empty,
    /// The source has no image for the platform.
    #[error("no image for {wanted}; there is one for: {available}")]
    Platform {
        /// The platform asked for.
        wanted: String,
        /// What the source has.
        available: String,
    },
    /// The source has several images for the platform.
    #[error("several images for {wanted}: {names}; say which one")]
    Ambiguous {
        /// The platform asked for.
        wanted: String,
        /// What the source has.
        names: String,
    },
    /// The source has no image of that name.
    #[error("no image named {name:?}; there is: {available}")]
    Name {
        /// The name asked for.
        name: String,
        /// What the source has.
        available: String,
    },
    /// Podman could not give the image.
    #[error("podman cannot export {name:?} ({reason}); check the name with: podman images")]
    Podman {
        /// The image.
        name: String,
        /// What podman said.
        reason: String,
    },
    /// Podman is not there.
    #[error(
        "cannot talk to podman at {socket}; start it with: systemctl --user start podman.socket",
        socket = .socket.display()
    )]
    PodmanSocket {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The reference is malformed.
    #[error("{reference:?} is not an image reference: {reason}")]
    Reference {
        /// What was given.
        reference: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry did not give the image.
    #[error("cannot pull {reference}: {reason}")]
    Registry {
        /// The image.
        reference: String,
        /// What the registry said.
        reason: String,
    },
}

impl PackError {
    pub(super) fn io(what: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            what,
            path: path.as_ref().to_owned(),
            source,
        }
    }
}
