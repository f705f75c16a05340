//! The JSON documents of an OCI image as far as packing needs them; unknown fields are allowed, as
//! the image specification demands.

use archy_registry::OciDigest;
use archy_registry::release::{Baggage, Platform};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::PackError;

/// Largest index or manifest in bytes (4 MiB, the size that every registry accepts).
pub const DOCUMENT_SIZE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest image configuration in bytes.
pub const CONFIG_SIZE_BYTES_MAX: u64 = archy_registry::release::CONFIG_SIZE_BYTES_MAX;
/// Largest layer in bytes as stored.
pub const LAYER_SIZE_BYTES_MAX: u64 = crate::fetch::BLOB_SIZE_BYTES_MAX;
/// Largest layer in bytes when unpacked.
pub const UNPACKED_SIZE_BYTES_MAX: u64 = 256 * 1024 * 1024 * 1024;
/// Most layers of one image; overlayfs cannot stack many more.
pub const LAYERS_MAX: usize = 127;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// The media types that a registry may answer with.
pub(super) const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
/// Where a layout keeps the name of an image.
pub(super) const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A reference to a blob (`descriptor.md`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: OciDigest,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) annotations: std::collections::BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn name(&self) -> Option<&str> {
        self.annotations.get(REFERENCE_NAME).map(String::as_str)
    }
}

/// An image index (`image-index.md`).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

/// An image manifest (`manifest.md`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    pub(super) config: Descriptor,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: Value,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8], digest: &OciDigest) -> Result<Self, PackError> {
        parse(bytes, digest, "manifest")
    }

    /// Says whether it describes a container image and not some other artifact.
    pub(super) fn is_image(&self) -> bool {
        self.artifact_type.is_none()
            && [OCI_CONFIG, DOCKER_CONFIG].contains(&self.config.media_type.as_str())
    }

    /// Checks versions, media types and sizes.
    pub(super) fn check(&self, digest: &OciDigest) -> Result<(), PackError> {
        let invalid = |reason: String| PackError::Document {
            digest: *digest,
            what: "manifest",
            reason,
        };
        if self.schema_version != 2 {
            return Err(invalid(format!("schemaVersion is {}", self.schema_version)));
        }
        if let Some(media_type) = &self.media_type
            && !is_manifest(media_type)
        {
            return Err(invalid(format!("mediaType is {media_type:?}")));
        }
        if self.layers.len() > LAYERS_MAX {
            return Err(PackError::TooMany {
                what: "layers",
                limit: LAYERS_MAX,
            });
        }
        check_size(&self.config, "configuration", CONFIG_SIZE_BYTES_MAX)?;
        for layer in &self.layers {
            if compression(&layer.media_type).is_none() {
                return Err(PackError::MediaType {
                    digest: layer.digest,
                    media_type: layer.media_type.clone(),
                });
            }
            check_size(layer, "layer", LAYER_SIZE_BYTES_MAX)?;
        }
        Ok(())
    }
}

/// An image configuration (`config.md`).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    config: Value,
    pub(super) rootfs: RootFs,
}

/// The layers of a configuration.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RootFs {
    #[serde(default)]
    pub(super) diff_ids: Vec<OciDigest>,
}

impl Config {
    pub(super) fn parse(bytes: &[u8], digest: &OciDigest) -> Result<Self, PackError> {
        parse(bytes, digest, "configuration")
    }

    /// Checks that a node takes what the image hands down to its containers.
    pub(super) fn check(&self, digest: &OciDigest, manifest: &Manifest) -> Result<(), PackError> {
        match Baggage::of(&self.config, &manifest.annotations).excess() {
            None => Ok(()),
            Some(excess) => Err(PackError::Excess {
                config: *digest,
                excess,
            }),
        }
    }

    pub(super) fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
        }
    }
}

pub(super) fn parse_index(bytes: &[u8], digest: &OciDigest) -> Result<Index, PackError> {
    parse(bytes, digest, "index")
}

fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    digest: &OciDigest,
    what: &'static str,
) -> Result<T, PackError> {
    serde_json::from_slice(bytes).map_err(|error| PackError::Document {
        digest: *digest,
        what,
        reason: error.to_string(),
    })
}

pub(super) fn is_index(media_type: &str) -> bool {
    [OCI_INDEX, DOCKER_LIST].contains(&media_type)
}

pub(super) fn is_manifest(media_type: &str) -> bool {
    [OCI_MANIFEST, DOCKER_MANIFEST].contains(&media_type)
}

/// Returns a layer's compression, or `None` for what archy does not install.
pub(super) fn compression(media_type: &str) -> Option<Compression> {
    match media_type {
        OCI_LAYER | DOCKER_LAYER => Some(Compression::None),
        OCI_LAYER_GZIP | DOCKER_LAYER_GZIP => Some(Compression::Gzip),
        OCI_LAYER_ZSTD | DOCKER_LAYER_ZSTD => Some(Compression::Zstd),
        _ => None,
    }
}

/// Returns the media type of a layer in a manifest of this type; `None` where it has none.
pub(super) fn layer_type(manifest_type: &str, compression: Compression) -> Option<&'static str> {
    match (manifest_type, compression) {
        (OCI_MANIFEST, Compression::None) => Some(OCI_LAYER),
        (OCI_MANIFEST, Compression::Gzip) => Some(OCI_LAYER_GZIP),
        (OCI_MANIFEST, Compression::Zstd) => Some(OCI_LAYER_ZSTD),
        (DOCKER_MANIFEST, Compression::None) => Some(DOCKER_LAYER),
        (DOCKER_MANIFEST, Compression::Gzip) => Some(DOCKER_LAYER_GZIP),
        _ => None,
    }
}

pub(super) fn check_size(
    blob: &Descriptor,
    what: &'static str,
    size_bytes_max: u64,
) -> Result<(), PackError> {
    if blob.size <= size_bytes_max {
        return Ok(());
    }
    Err(PackError::TooLarge {
        digest: blob.digest,
        what,
        size_bytes: blob.size,
        size_bytes_max,
    })
}
