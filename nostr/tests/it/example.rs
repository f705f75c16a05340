//! One publisher with fixed keys and dates, and what it signs: the same bytes on every machine.

use archy_nostr::NostrKey;
use archy_registry::announcement::{self, Announcement};
use archy_registry::catalog;
use archy_registry::id::EndpointId;
use archy_registry::key_state::{self, KeyHistory, KeyState, chain};
use archy_registry::manifest;
use archy_registry::release::{
    self, Delta, Descriptor, Draft, Endpoint, Image, Origin, Platform, Release, Tar,
};
use archy_registry::{Blake3Hash, Did, OciDigest, Signed, SigningKey, Verified, sign};
use jiff::Timestamp;

/// When everything is signed.
pub(crate) const NOW: &str = "2026-11-21T12:00:00Z";
/// Seed of the publisher's key.
pub(crate) const PUBLISHER_SEED: [u8; 32] = [1; 32];
/// Seed of the key that may replace it.
const NEXT_SEED: [u8; 32] = [2; 32];
/// Seed of the key of a registry's operator.
pub(crate) const OPERATOR_SEED: [u8; 32] = [6; 32];

const MANIFEST: &str = "
app:
  id: notes
  name: Notes
  version: 1.2.0
  tagline: Write things down
  description: |
    Notes in *Markdown*.
  category: productivity
  website: https://notes.example/
  source: https://git.example/notes
  license: MIT
  release_notes: Faster.
containers:
  - name: web
    source: {type: pull, image: docker.io/example/notes:1.2.0}
    ports: [{container: 8080, host: 8081}]
interfaces:
  - {name: Notes, port: 8080, type: ui}
";

pub(crate) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// The publisher.
pub(crate) fn did() -> Did {
    SigningKey::from_seed(&PUBLISHER_SEED).did()
}

/// The Nostr key with the secret `fill` 32 times, read like a user's.
pub(crate) fn nostr_key(fill: u8) -> NostrKey {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nostr.key");
    std::fs::write(&path, hex::encode([fill; 32])).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    NostrKey::load(&path).unwrap()
}

/// The first key state: commits to a next key, binds a Nostr key.
pub(crate) fn key_state() -> (Verified<KeyState>, Signed) {
    let key = SigningKey::from_seed(&PUBLISHER_SEED);
    let next = SigningKey::from_seed(&NEXT_SEED).did();
    let expires = "2028-11-21T12:00:00Z".parse().unwrap();
    let binding = key_state::NostrKey {
        pubkey: nostr_key(3).pubkey().to_string(),
        expires,
    };
    let state = KeyState::first(key.did(), &[next], vec![binding], now(), expires);
    let signed = sign(&state, &key, now()).unwrap();
    let verified = key_state::verify(&signed.bytes, None, now()).unwrap();
    (verified, signed)
}

/// As many key states as a chain has room for: the first and its renewals.
pub(crate) fn longest_chain() -> Vec<u8> {
    let key = SigningKey::from_seed(&PUBLISHER_SEED);
    let (mut state, signed) = key_state();
    let mut states = vec![signed.bytes];
    loop {
        let renewal = KeyState::after(&state, now(), state.expires);
        let signed = sign(&renewal, &key, now()).unwrap();
        states.push(signed.bytes.clone());
        let chain = chain::join(&states);
        if chain.len() > chain::SIZE_BYTES_MAX {
            states.pop();
            return chain::join(&states);
        }
        state = key_state::verify(&signed.bytes, Some(&state), now()).unwrap();
    }
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

fn image(architecture: &str, content: u8) -> Image {
    let layer = blob("application/vnd.oci.image.layer.v1.tar+gzip", content + 2);
    Image {
        container: "web".parse().unwrap(),
        platform: Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
        },
        manifest: blob("application/vnd.oci.image.manifest.v1+json", content),
        config: blob("application/vnd.oci.image.config.v1+json", content + 1),
        layers: vec![Descriptor {
            diff_id: Some(OciDigest::from_sha256([content + 3; 32])),
            ..layer
        }],
    }
}

/// The third release of an app, for these architectures.
pub(crate) fn release(architectures: &[&str]) -> (Verified<Release>, Signed) {
    let key = SigningKey::from_seed(&PUBLISHER_SEED);
    let images = architectures
        .iter()
        .zip(1_u8..)
        .map(|(architecture, n)| image(architecture, n << 4))
        .collect();
    let origin = Origin {
        endpoints: vec![Endpoint {
            id: EndpointId::from_bytes([9; 32]),
            addresses: vec!["192.0.2.1:4433".parse().unwrap()],
            relays: Vec::new(),
        }],
    };
    let manifest = manifest::parse(MANIFEST).unwrap().manifest;
    let draft = Draft::new(key.did(), 3, now(), manifest, images, origin);
    let signed = sign(&release::assemble(draft).unwrap(), &key, now()).unwrap();
    let verified = release::verify(&signed.bytes, &key_state().0, now()).unwrap();
    (verified, signed)
}

/// The release after it: its layer can be made of the one before.
pub(crate) fn release_with_delta() -> Signed {
    let key = SigningKey::from_seed(&PUBLISHER_SEED);
    let before = release(&["amd64"]).0.into_inner();
    let image = image("amd64", 0x20);
    let from = before.images[0].layers[0].diff_id.unwrap();
    let to = image.layers[0].diff_id.unwrap();
    let mut draft = Draft::new(
        key.did(),
        4,
        now(),
        before.manifest,
        vec![image],
        before.origin,
    );
    draft.manifest.app.version = "1.2.1".to_owned();
    draft.deltas = vec![Delta {
        from,
        to,
        blake3: Blake3Hash::of(b"patch"),
        size_bytes: 120,
        tar: Tar {
            blake3: Blake3Hash::of(b"tar"),
            size_bytes: 4096,
        },
    }];
    sign(&release::assemble(draft).unwrap(), &key, now()).unwrap()
}

/// A catalog of an operator with the seed `06…` that lists it, and the key state that it needs.
pub(crate) fn catalog() -> Signed {
    let operator = SigningKey::from_seed(&OPERATOR_SEED);
    let statement = catalog::assemble(catalog::Draft {
        publisher: operator.did(),
        seq: 1,
        created: now(),
        expires: "2026-12-21T12:00:00Z".parse().unwrap(),
        name: "Home apps".to_owned(),
        key_states: vec![key_state().1.bytes],
        releases: vec![release(&["amd64"]).1.bytes],
    });
    let signed = sign(&statement.unwrap(), &operator, now()).unwrap();
    let keys = KeyHistory::new(operator.did());
    let catalog = catalog::verify(&signed.bytes, &keys, now()).unwrap();
    let publisher = catalog.key_history(KeyHistory::new(did()), now()).unwrap();
    catalog.releases[0].verify(&publisher, None, now()).unwrap();
    signed
}

/// Its announcement.
pub(crate) fn announcement() -> (Verified<Announcement>, Signed) {
    let key = SigningKey::from_seed(&PUBLISHER_SEED);
    let (release, bytes) = release(&["amd64"]);
    let announcement = Announcement::of(&release, bytes.bytes.len() as u64, now());
    let signed = sign(&announcement, &key, now()).unwrap();
    let verified = announcement::verify(&signed.bytes, &key_state().0, now()).unwrap();
    (verified, signed)
}
