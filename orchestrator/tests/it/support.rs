//! Verified releases for tests.

use archy_registry::key_state::KeyState;
use archy_registry::manifest::Manifest;
use archy_registry::proof::{SigningKey, sign};
use archy_registry::release::{self, Descriptor, Draft, Image, Origin, Platform, Release};
use archy_registry::{Blake3Hash, OciDigest, Verified};
use jiff::{SignedDuration, Timestamp};

/// Signs and verifies a release of `manifest` with an image of made-up content per container.
pub(crate) fn verified(manifest: Manifest) -> Verified<Release> {
    let key = SigningKey::generate().unwrap();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let blob = |name: &str, media_type: &str, layer: bool| Descriptor {
        media_type: format!("application/vnd.oci.image.{media_type}"),
        digest: OciDigest::from_sha256(*Blake3Hash::of(name.as_bytes()).as_bytes()),
        size_bytes: 1000,
        blake3: Blake3Hash::of(name.as_bytes()),
        diff_id: layer.then(|| OciDigest::from_sha256([7; 32])),
    };
    let images = manifest.containers.iter().map(|container| Image {
        container: container.name.clone(),
        platform: platform(),
        manifest: blob(
            &format!("{} manifest", container.name),
            "manifest.v1+json",
            false,
        ),
        config: blob(
            &format!("{} config", container.name),
            "config.v1+json",
            false,
        ),
        layers: vec![blob(
            &format!("{} layer", container.name),
            "layer.v1.tar+gzip",
            true,
        )],
    });
    let release = release::assemble(Draft {
        publisher: key.did(),
        seq: 1,
        created: now,
        expires: now + SignedDuration::from_hours(24),
        images: images.collect(),
        manifest,
        icon: None,
        screenshots: Vec::new(),
        deltas: Vec::new(),
        origin: Origin::default(),
    })
    .unwrap();
    let signed = sign(&release, &key, now).unwrap();
    release::verify(&signed.bytes, &KeyState::implicit(key.did()), now).unwrap()
}

pub(crate) fn platform() -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
    }
}
