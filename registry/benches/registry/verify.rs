//! Announcements as a node hears them, from the event's bytes to the row on disk, against the bare cost of the two
//! signature checks that nobody can spare: one Schnorr, one Ed25519.
//!
//! Not counted on either side: reading the event's JSON off the wire.

use std::time::Instant;

use archy_registry::announcement::{self, Announcement, Card, ReleaseRef};
use archy_registry::id::EndpointId;
use archy_registry::release::{Endpoint, Origin};
use archy_registry::store::{Admission, Arrival, BATCH_MAX, Source};
use archy_registry::{Blake3Hash, SigningKey, Store, sign};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use jiff::Timestamp;
use secp256k1::{Keypair, Message, SECP256K1, SecretKey, XOnlyPublicKey, schnorr};
use sha2::{Digest, Sha256};

/// Publishers, apps of each, and releases that each app announces: a third of what is heard are new apps.
const PUBLISHERS: usize = 160;
const APPS: usize = 12;
const RELEASES: u64 = 3;
/// Announcements between two looks at the bare cost.
const ROUND: usize = BATCH_MAX;

pub(crate) struct Verified {
    pub(crate) bare_us: f64,
    pub(crate) pipeline_us: f64,
    /// By the wall's clock, with waiting for the disk and for others.
    pub(crate) wall_us: f64,
    /// Bare cost divided by the pipeline's: the median over the rounds.
    pub(crate) ratio: f64,
}

/// An event of Nostr that carries an announcement, read off the wire.
struct Event {
    id: [u8; 32],
    pubkey: [u8; 32],
    created_at: u64,
    tags: Vec<Vec<String>>,
    content: String,
    sig: [u8; 64],
}

/// What one bare Ed25519 verification needs.
struct Bare {
    key: [u8; 32],
    message: [u8; 64],
    signature: [u8; 64],
}

pub(crate) async fn measure() -> Verified {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let (events, bare) = events(now);
    let dir = tempfile::tempdir_in(crate::target()).unwrap();
    let store = Store::open(&dir.path().join("registry.db")).await.unwrap();
    let mut rounds = Vec::new();
    for (events, bare) in events.chunks(ROUND).zip(bare.chunks(ROUND)) {
        let began = crate::cpu_time();
        for (event, bare) in events.iter().zip(bare) {
            check_bare(event, bare);
        }
        let bare_us = micros(crate::cpu_time() - began, events.len());
        let (began, began_wall) = (crate::cpu_time(), Instant::now());
        for events in events.chunks(BATCH_MAX) {
            hear(&store, events, now).await;
        }
        let pipeline_us = micros(crate::cpu_time() - began, events.len());
        let wall_us = micros(began_wall.elapsed(), events.len());
        rounds.push((bare_us / pipeline_us, bare_us, pipeline_us, wall_us));
    }
    store.close().await;
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, bare_us, pipeline_us, wall_us) = rounds[rounds.len() / 2];
    Verified {
        bare_us,
        pipeline_us,
        wall_us,
        ratio,
    }
}

fn micros(took: std::time::Duration, times: usize) -> f64 {
    took.as_secs_f64() * 1e6 / times as f64
}

/// What nobody can spare: both signatures, from the keys' bytes on.
fn check_bare(event: &Event, bare: &Bare) {
    let key = XOnlyPublicKey::from_slice(&event.pubkey).unwrap();
    let signature = schnorr::Signature::from_slice(&event.sig).unwrap();
    SECP256K1
        .verify_schnorr(&signature, &Message::from_digest(event.id), &key)
        .unwrap();
    VerifyingKey::from_bytes(&bare.key)
        .unwrap()
        .verify_strict(&bare.message, &Signature::from_bytes(&bare.signature))
        .unwrap();
}

/// The pipeline: event id and Schnorr as the follower does it, then the publisher's proof, then the store.
async fn hear(store: &Store, events: &[Event], now: Timestamp) {
    let mut heard = Vec::with_capacity(events.len());
    for event in events {
        assert_eq!(id(event), event.id);
        let key = XOnlyPublicKey::from_slice(&event.pubkey).unwrap();
        let signature = schnorr::Signature::from_slice(&event.sig).unwrap();
        SECP256K1
            .verify_schnorr(&signature, &Message::from_digest(event.id), &key)
            .unwrap();
        let app = archy_registry::AppId {
            publisher: announcement::claimed_publisher(event.content.as_bytes()).unwrap(),
            slug: event.tags[0][1]["archy:app:".len()..].parse().unwrap(),
        };
        let pubkey = hex::encode(event.pubkey);
        assert_eq!(
            store.over_quota(&app, Some(&pubkey), now).await.unwrap(),
            None
        );
        let keys = store.key_history(&app.publisher).await.unwrap();
        let (announcement, _) =
            announcement::verify_seen(event.content.as_bytes(), &keys, None, now).unwrap();
        let source = Source {
            relay: "wss://relay.example/".to_owned(),
            event_id: hex::encode(event.id),
        };
        heard.push((announcement, pubkey, source));
    }
    let arrivals: Vec<Arrival<'_>> = heard
        .iter()
        .zip(events)
        .map(|((announcement, pubkey, source), event)| Arrival {
            announcement,
            bytes: event.content.as_bytes(),
            source,
            pubkey: Some(pubkey),
        })
        .collect();
    let admitted = store.admit_announcements(&arrivals, now).await.unwrap();
    assert!(
        admitted
            .iter()
            .all(|admission| *admission == Admission::Newest)
    );
}

/// NIP-01: the SHA-256 of the event's canonical form.
fn id(event: &Event) -> [u8; 32] {
    let canonical = serde_json::to_vec(&(
        0,
        hex::encode(event.pubkey),
        event.created_at,
        30_078,
        &event.tags,
        &event.content,
    ))
    .unwrap();
    Sha256::digest(canonical).into()
}

fn events(now: Timestamp) -> (Vec<Event>, Vec<Bare>) {
    let mut events = Vec::new();
    let mut bare = Vec::new();
    for seq in 1..=RELEASES {
        for app in 0..APPS {
            for publisher in 0..PUBLISHERS {
                let mut seed = [7; 32];
                seed[..8].copy_from_slice(&(publisher as u64).to_be_bytes());
                let event = event(&seed, app, publisher, seq, now);
                let ed25519 = ed25519_dalek::SigningKey::from_bytes(&seed);
                let message: [u8; 64] = std::array::from_fn(|at| event.id[at % 32] ^ at as u8);
                bare.push(Bare {
                    key: ed25519.verifying_key().to_bytes(),
                    message,
                    signature: ed25519.sign(&message).to_bytes(),
                });
                events.push(event);
            }
        }
    }
    (events, bare)
}

fn event(seed: &[u8; 32], app: usize, publisher: usize, seq: u64, now: Timestamp) -> Event {
    let key = SigningKey::from_seed(seed);
    let name = crate::search::name(app * PUBLISHERS + publisher);
    let slug = format!("app-{app}");
    let announcement = Announcement {
        r#type: announcement::TYPE.to_owned(),
        publisher: key.did(),
        slug: slug.parse().unwrap(),
        version: format!("1.{seq}.0"),
        seq,
        created: now,
        expires: now + announcement::VALIDITY_MAX,
        release: ReleaseRef {
            blake3: Blake3Hash::of(format!("{publisher} {app} {seq}").as_bytes()),
            size_bytes: 9000,
        },
        card: Card {
            name,
            tagline: crate::search::tagline(app * PUBLISHERS + publisher),
            category: "media".to_owned(),
            download_size_bytes: 120_000_000,
            architectures: vec!["amd64".to_owned(), "arm64".to_owned()],
            icon: None,
        },
        origin: Origin {
            endpoints: vec![Endpoint {
                id: EndpointId::from_bytes([9; 32]),
                addresses: vec!["192.0.2.7:4433".parse().unwrap()],
                relays: vec!["https://relay.example/".to_owned()],
            }],
        },
    };
    let signed = sign(&announcement, &key, now).unwrap();
    let keypair = Keypair::from_secret_key(SECP256K1, &SecretKey::from_slice(seed).unwrap());
    let tag = |name: &str, value: String| vec![name.to_owned(), value];
    let mut event = Event {
        id: [0; 32],
        pubkey: keypair.x_only_public_key().0.serialize(),
        created_at: now.as_second().unsigned_abs(),
        tags: vec![
            tag("d", format!("archy:app:{slug}")),
            tag("t", "archy".to_owned()),
            tag("did", key.did().to_string()),
            tag("expiration", announcement.expires.as_second().to_string()),
        ],
        content: String::from_utf8(signed.bytes).unwrap(),
        sig: [0; 64],
    };
    event.id = id(&event);
    let message = Message::from_digest(event.id);
    event.sig = SECP256K1
        .sign_schnorr_no_aux_rand(&message, &keypair)
        .serialize();
    event
}
