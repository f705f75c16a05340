//! An image whose layers are here in other forms than the publisher packed: its manifest with exactly those layers
//! replaced; pure.
//!
//! The image ID stays the same, because it is the digest of the configuration, which names each layer by its diff ID and
//! not by the form in which it travels (image-spec `config.md`). The manifest's digest changes.

use archy_registry::OciDigest;
use archy_registry::release::{Descriptor, Image};
use bytes::Bytes;
use serde_json::{Value, json};

use super::content::sha256;
use super::delta::VerifiedForm;
use super::model::{self, Config, Manifest};
use super::spelling;

/// An image to hand to podman instead of the one that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its manifest's digest.
    pub digest: OciDigest,
    /// Its manifest.
    pub manifest: Bytes,
    /// The manifest's media type, that of the signed one.
    pub media_type: String,
    /// Configuration and layers.
    pub blobs: Vec<Descriptor>,
}

/// An image contradicts itself or the release, or no variant of it can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariantError {
    /// The bytes are not those that the release names.
    #[error("{what} is not the one that was signed")]
    NotSigned {
        /// `manifest` or `configuration`.
        what: &'static str,
    },
    /// A document cannot be read.
    #[error("the image's {what} cannot be read: {reason}")]
    Document {
        /// `manifest` or `configuration`.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// Manifest, configuration and release do not name the same layers.
    #[error("the image's manifest, its configuration and the release do not name the same layers")]
    Layers,
    /// The manifest's kind knows no such layer.
    #[error("an image of this kind has no layers compressed like {0}")]
    MediaType(OciDigest),
}

/// Replaces in the signed manifest the layers that are here in another form; `None` when there is none.
///
/// # Errors
/// [`VariantError`] when the signed documents contradict each other or the release.
pub fn variant(
    image: &Image,
    manifest: &[u8],
    config: &[u8],
    forms: &[VerifiedForm],
) -> Result<Option<Variant>, VariantError> {
    let other_form = |layer: &Descriptor| {
        let of_layer = |form: &&VerifiedForm| Some(form.diff_id) == layer.diff_id;
        let form = forms.iter().find(of_layer)?;
        (form.digest != layer.digest).then_some(form)
    };
    if !image.layers.iter().any(|layer| other_form(layer).is_some()) {
        return Ok(None);
    }
    check_agreement(image, manifest, config)?;
    let unreadable = |error: serde_json::Error| VariantError::Document {
        what: "manifest",
        reason: error.to_string(),
    };
    let mut document: Value = serde_json::from_slice(manifest).map_err(unreadable)?;
    let described = document.get_mut("layers").and_then(Value::as_array_mut);
    let described = described.ok_or(VariantError::Layers)?;
    let mut blobs = vec![image.config.clone()];
    for (layer, described) in image.layers.iter().zip(described) {
        let Some(form) = other_form(layer) else {
            blobs.push(layer.clone());
            continue;
        };
        let media_type = model::layer_type(&image.manifest.media_type, form.compression)
            .ok_or(VariantError::MediaType(form.digest))?;
        // Annotations of the signed descriptor may say how its own bytes are laid out.
        *described = json!({
            "mediaType": media_type,
            "digest": form.digest,
            "size": form.size_bytes,
        });
        blobs.push(Descriptor {
            media_type: media_type.to_owned(),
            digest: form.digest,
            size_bytes: form.size_bytes,
            blake3: form.blake3,
            diff_id: layer.diff_id,
        });
    }
    let manifest = document.to_string().into_bytes();
    Ok(Some(Variant {
        digest: sha256(&manifest),
        manifest: manifest.into(),
        media_type: image.manifest.media_type.clone(),
        blobs,
    }))
}

/// Checks that the documents are the signed ones, and that release, manifest and configuration say the same layers, to
/// podman too: what it would make of an image that contradicts itself depends on its version.
///
/// # Errors
/// [`VariantError`] when they contradict each other or the release.
pub fn check_agreement(image: &Image, manifest: &[u8], config: &[u8]) -> Result<(), VariantError> {
    let documents = [
        ("manifest", manifest, image.manifest.digest),
        ("configuration", config, image.config.digest),
    ];
    for (what, bytes, digest) in documents {
        if sha256(bytes) != digest {
            return Err(VariantError::NotSigned { what });
        }
    }
    let unreadable = |what| {
        move |error: super::PackError| VariantError::Document {
            what,
            reason: error.to_string(),
        }
    };
    let spelt = [
        (
            "manifest",
            manifest,
            spelling::in_manifest as fn(&Value) -> _,
        ),
        ("configuration", config, spelling::in_config),
    ];
    let manifest =
        Manifest::parse(manifest, &image.manifest.digest).map_err(unreadable("manifest"))?;
    let config =
        Config::parse(config, &image.config.digest).map_err(unreadable("configuration"))?;
    for (what, bytes, mistaken) in spelt {
        let document = serde_json::from_slice(bytes);
        let reason = document.map_or_else(|error| Some(error.to_string()), |read| mistaken(&read));
        if let Some(reason) = reason {
            return Err(VariantError::Document { what, reason });
        }
    }
    let signed = image.layers.iter().map(|layer| layer.digest);
    let unpacked = image.layers.iter().map(|layer| layer.diff_id);
    let same = manifest.config.digest == image.config.digest
        && manifest.layers.iter().map(|layer| layer.digest).eq(signed)
        && config
            .rootfs
            .diff_ids
            .iter()
            .copied()
            .map(Some)
            .eq(unpacked);
    if same {
        Ok(())
    } else {
        Err(VariantError::Layers)
    }
}

#[cfg(test)]
mod tests;
