//! Releases: one signed version of an app, complete enough to install it from any provider of its bytes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::{AppId, Blake3Hash, EndpointId, OciDigest, Slug};
use crate::manifest::Manifest;

/// The `type` of a release.
pub const TYPE: &str = "archy/release/v1";
/// Largest release in bytes, proof included.
pub const SIZE_BYTES_MAX: usize = 256 * 1024;

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
