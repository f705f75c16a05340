//! Publishers, manifests and releases for tests.

use archy_registry::announcement::{self, Announcement};
use archy_registry::id::EndpointId;
use archy_registry::key_state::KeyState;
use archy_registry::manifest::{self, Manifest};
use archy_registry::release::{
    self, Descriptor, Draft, Endpoint, Image, Origin, Platform, Release,
};
use archy_registry::{Blake3Hash, Did, OciDigest, Signed, SigningKey, Verified, sign};
use jiff::Timestamp;

/// The clock of every test that does not care.
pub(crate) const NOW: &str = "2026-11-21T12:00:00Z";

pub(crate) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub(crate) fn hours_later(hours: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_hours(hours)
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub(crate) const SITE: &str = "
app:
  id: site
  name: Tiny Site
  version: 1.0.0
  tagline: A page that says hello
  category: publishing
containers:
  - name: web
    source: {type: pull, image: localhost/site:1}
    ports: [{container: 8080, host: 8081}]
interfaces:
  - {name: Site, port: 8080, type: ui}
";

pub(crate) fn site() -> Manifest {
    manifest::parse(SITE).unwrap().manifest
}

fn blob(media_type: &str, content: u8) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: OciDigest::from_sha256([content; 32]),
        size_bytes: 1000 + u64::from(content),
        blake3: Blake3Hash::of(&[content]),
        diff_id: None,
    }
}

pub(crate) fn image(container: &str, architecture: &str) -> Image {
    let layer = blob("application/vnd.oci.image.layer.v1.tar+gzip", 3);
    Image {
        container: container.parse().unwrap(),
        platform: Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
        },
        manifest: blob("application/vnd.oci.image.manifest.v1+json", 1),
        config: blob("application/vnd.oci.image.config.v1+json", 2),
        layers: vec![Descriptor {
            diff_id: Some(OciDigest::from_sha256([4; 32])),
            ..layer
        }],
    }
}

pub(crate) fn origin() -> Origin {
    Origin {
        endpoints: vec![Endpoint {
            id: EndpointId::from_bytes([9; 32]),
            addresses: vec!["10.0.0.2:4433".parse().unwrap()],
            relays: Vec::new(),
        }],
    }
}

pub(crate) fn draft(publisher: Did, seq: u64) -> Draft {
    let images = vec![image("web", "amd64")];
    Draft::new(publisher, seq, now(), site(), images, origin())
}

pub(crate) fn release(key: &SigningKey, seq: u64) -> (Verified<Release>, Signed) {
    signed_release(key, draft(key.did(), seq))
}

pub(crate) fn signed_release(key: &SigningKey, draft: Draft) -> (Verified<Release>, Signed) {
    let publisher = draft.publisher;
    let release = release::assemble(draft).unwrap();
    let signed = sign(&release, key, release.created).unwrap();
    let state = KeyState::implicit(publisher);
    let verified = release::verify(&signed.bytes, &state, now()).unwrap();
    (verified, signed)
}

pub(crate) fn announce(
    key: &SigningKey,
    release: &Verified<Release>,
    created: Timestamp,
) -> (Verified<Announcement>, Signed) {
    let announcement = Announcement::of(release, 4000, created);
    let signed = sign(&announcement, key, created).unwrap();
    let state = KeyState::implicit(key.did());
    let verified = announcement::verify(&signed.bytes, &state, created).unwrap();
    (verified, signed)
}
