//! Whether a release's images, assets and origin are as they must be.

use std::collections::{BTreeMap, BTreeSet};

use crate::json::INTEGER_MAX;
use crate::text;

use super::{Asset, Descriptor, Image, Origin, Release, delta};

/// OCI architectures that a release may name (GOARCH values that podman runs on).
const ARCHITECTURES: [&str; 8] = [
    "386", "amd64", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x",
];
const MANIFEST_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIG_TYPES: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];
const LAYER_TYPES: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];
const ASSET_TYPES: [&str; 4] = ["image/png", "image/svg+xml", "image/webp", "image/jpeg"];

const LAYERS_MAX: usize = 128;
/// OCI image manifests; registries refuse larger ones too.
const MANIFEST_SIZE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest image configuration in bytes. Few have 30 KiB, but those that name each port of a long range some hundred.
pub const CONFIG_SIZE_BYTES_MAX: u64 = 1024 * 1024;
const ASSET_SIZE_BYTES_MAX: u64 = 8 * 1024 * 1024;
const SCREENSHOTS_MAX: usize = 12;
const ENDPOINTS_MAX: usize = 8;
const ADDRESSES_MAX: usize = 16;
const RELAYS_MAX: usize = 4;

/// Path of a member and what is wrong with it.
pub(crate) type Fault = (String, String);

/// Checks everything but statement and manifest.
pub(super) fn check(release: &Release) -> Result<(), Fault> {
    images(release)?;
    delta::check(release)?;
    if let Some(icon) = &release.icon {
        asset(icon).map_err(|complaint| ("icon".to_owned(), complaint))?;
    }
    if release.screenshots.len() > SCREENSHOTS_MAX {
        return fault("screenshots", format!("must be at most {SCREENSHOTS_MAX}"));
    }
    for (index, screenshot) in release.screenshots.iter().enumerate() {
        asset(screenshot).map_err(|complaint| (format!("screenshots[{index}]"), complaint))?;
    }
    origin(&release.origin)
}

fn images(release: &Release) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    let mut blobs = BTreeMap::new();
    for (index, image) in release.images.iter().enumerate() {
        let path = format!("images[{index}]");
        let known = release
            .manifest
            .containers
            .iter()
            .any(|container| container.name == image.container);
        if !known {
            let complaint = format!(
                "is for container {}, which the manifest lacks",
                image.container
            );
            return fault(path, complaint);
        }
        if !seen.insert((&image.container, &image.platform)) {
            let complaint = format!(
                "is the second one for container {} on {}/{}",
                image.container, image.platform.os, image.platform.architecture
            );
            return fault(path, complaint);
        }
        check_image(image).map_err(|(field, complaint)| (format!("{path}.{field}"), complaint))?;
        for blob in image.descriptors() {
            let same = (blob.digest, blob.size_bytes);
            if *blobs.entry(blob.blake3).or_insert(same) != same {
                let complaint = format!("names blob {} with another digest or size", blob.blake3);
                return fault(path, complaint);
            }
        }
    }
    let platforms: BTreeSet<_> = release.images.iter().map(|image| &image.platform).collect();
    if platforms.is_empty() || release.platforms().len() != platforms.len() {
        return fault(
            "images",
            "must have one image for every container on each platform".to_owned(),
        );
    }
    Ok(())
}

fn check_image(image: &Image) -> Result<(), Fault> {
    if image.platform.os != "linux" {
        return fault("platform.os", "must be linux".to_owned());
    }
    architectures(std::slice::from_ref(&image.platform.architecture))
        .map_err(|complaint| ("platform.architecture".to_owned(), complaint))?;
    let (manifest, config) = (&image.manifest, &image.config);
    descriptor(
        "manifest",
        manifest,
        &MANIFEST_TYPES,
        MANIFEST_SIZE_BYTES_MAX,
    )?;
    descriptor("config", config, &CONFIG_TYPES, CONFIG_SIZE_BYTES_MAX)?;
    if image.layers.len() > LAYERS_MAX {
        return fault("layers", format!("must be at most {LAYERS_MAX}"));
    }
    image
        .layers
        .iter()
        .enumerate()
        .try_for_each(|(index, layer)| {
            descriptor(
                &format!("layers[{index}]"),
                layer,
                &LAYER_TYPES,
                INTEGER_MAX,
            )
        })
}

fn descriptor(
    path: &str,
    blob: &Descriptor,
    media_types: &[&str],
    size_bytes_max: u64,
) -> Result<(), Fault> {
    if !media_types.contains(&blob.media_type.as_str()) {
        let complaint = format!("must be one of {}", media_types.join(", "));
        return fault(format!("{path}.media_type"), complaint);
    }
    if !(1..=size_bytes_max).contains(&blob.size_bytes) {
        let complaint = format!("must be from 1 to {size_bytes_max}");
        return fault(format!("{path}.size_bytes"), complaint);
    }
    let is_layer = LAYER_TYPES.contains(&blob.media_type.as_str());
    if blob.diff_id.is_some() != is_layer {
        let complaint = "must be there for layers, and only for them".to_owned();
        return fault(format!("{path}.diff_id"), complaint);
    }
    Ok(())
}

/// Checks a list of OCI architectures: known ones, at least one, in order and each once.
pub(crate) fn architectures(names: &[String]) -> Result<(), String> {
    let known = names
        .iter()
        .all(|name| ARCHITECTURES.contains(&name.as_str()));
    let sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
    if names.is_empty() || !known || !sorted {
        return Err(format!(
            "must be among {}, in this order",
            ARCHITECTURES.join(", ")
        ));
    }
    Ok(())
}

/// Checks an icon or screenshot.
pub(crate) fn asset(asset: &Asset) -> Result<(), String> {
    if !ASSET_TYPES.contains(&asset.media_type.as_str()) {
        return Err(format!("must be one of {}", ASSET_TYPES.join(", ")));
    }
    if !(1..=ASSET_SIZE_BYTES_MAX).contains(&asset.size_bytes) {
        return Err(format!("must have from 1 to {ASSET_SIZE_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Checks how many endpoints an origin names and that its relay URLs are URLs.
pub(crate) fn origin(origin: &Origin) -> Result<(), Fault> {
    if origin.endpoints.len() > ENDPOINTS_MAX {
        return fault(
            "origin.endpoints",
            format!("must be at most {ENDPOINTS_MAX}"),
        );
    }
    for (index, endpoint) in origin.endpoints.iter().enumerate() {
        let path = format!("origin.endpoints[{index}]");
        if endpoint.addresses.len() > ADDRESSES_MAX {
            let complaint = format!("must be at most {ADDRESSES_MAX}");
            return fault(format!("{path}.addresses"), complaint);
        }
        if endpoint.addresses.iter().any(|address| address.port() == 0) {
            let complaint = "must have ports other than 0".to_owned();
            return fault(format!("{path}.addresses"), complaint);
        }
        if endpoint.relays.len() > RELAYS_MAX {
            let complaint = format!("must be at most {RELAYS_MAX}");
            return fault(format!("{path}.relays"), complaint);
        }
        for relay in &endpoint.relays {
            text::check_relay(relay).map_err(|complaint| (format!("{path}.relays"), complaint))?;
        }
    }
    Ok(())
}

pub(super) fn fault(field: impl Into<String>, complaint: String) -> Result<(), Fault> {
    Err((field.into(), complaint))
}
