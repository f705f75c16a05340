//! Installs that have most of the bytes already.

use std::io::Cursor;

use archy_registry::Blake3Hash;
use archy_registry::release::Delta;
use archy_swarm::image::delta;
use serde_json::{Value, json};

use crate::bed::{Node, Publisher, Relay, app, sha256};

/// Tars of a megabyte that differ in a few places.
fn tar(version: u8) -> Vec<u8> {
    let mut hash = *Blake3Hash::of(b"tar").as_bytes();
    let mut tar = Vec::new();
    for number in 0..32_000 {
        hash = *Blake3Hash::of(&hash).as_bytes();
        tar.extend_from_slice(&hash);
        if number % 5000 == 7 {
            tar.extend_from_slice(&[version; 512]);
        }
    }
    tar
}

/// Publishes `notes` with one tar and `more` with another that a delta leads to; `change` may spoil the patch, and
/// `provided` tells whether anybody has it.
async fn published(
    relay: &Relay,
    publisher: &Publisher,
    change: impl FnOnce(&mut Vec<u8>),
    provided: bool,
) -> Delta {
    let (old, new) = (tar(1), tar(2));
    let layer = publisher.zstd_layer(&old).await;
    publisher
        .publish_of(relay, "notes", layer, Vec::new())
        .await;
    let mut patch = Vec::new();
    let mut delta = delta::make(Cursor::new(&old), &new[..], u64::MAX, &mut patch).unwrap();
    change(&mut patch);
    delta.blake3 = Blake3Hash::of(&patch);
    delta.size_bytes = patch.len() as u64;
    if provided {
        publisher.provide(&patch).await;
    }
    let layer = publisher.zstd_layer(&new).await;
    publisher
        .publish_of(relay, "more", layer, vec![delta.clone()])
        .await;
    delta
}

/// What the node noted of bad deltas: the rows of the publisher's log, and those on which its score rests.
async fn noted(node: &Node, publisher: &Publisher) -> [Vec<String>; 2] {
    let of = json!({"publisher": publisher.did().to_string()});
    let history = node.rpc("trust.history", of.clone()).await.unwrap();
    let page = node.rpc("trust.show", of).await.unwrap();
    [&history["observations"], &page["observations"]].map(|rows| {
        let rows = rows.as_array().unwrap().iter();
        let texts = rows.map(|row| row["text"].as_str().unwrap().to_owned());
        texts.filter(|text| text.contains("delta")).collect()
    })
}

/// Installs both, one after the other; returns the second job.
async fn installs(node: &Node, publisher: &Publisher) -> Value {
    let (notes, more) = (app(publisher, "notes"), app(publisher, "more"));
    for app in [&notes, &more] {
        node.has_release(app).await;
    }
    let job = node.install(&notes).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let job = node.install(&more).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    job
}

fn last_loaded(node: &Node) -> (String, Vec<u8>) {
    node.machine.loaded.lock().unwrap().last().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_made_of_an_earlier_one_and_a_delta() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let delta = published(&relay, &publisher, |_| {}, true).await;
    let job = installs(&node, &publisher).await;

    let (digest, bytes) = last_loaded(&node);
    assert!(bytes == tar(2));
    assert_eq!(digest, delta.to.to_string());
    let fetched = job["transfer"]["totalBytes"].as_u64().unwrap();
    assert!(fetched < delta.size_bytes + 2000, "{job}");
    let swarm = node.daemon.node.swarm.ready().await;
    for shared in [delta.blake3, delta.tar.blake3] {
        assert!(swarm.serves(shared));
    }

    // Removed, nothing of it is handed on.
    let removal = node
        .rpc("package.uninstall", json!({"slug": "more"}))
        .await
        .unwrap();
    node.ended(removal["job"].as_str().unwrap()).await;
    for shared in [delta.blake3, delta.tar.blake3] {
        assert!(!swarm.serves(shared));
    }
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_that_is_bad_or_nowhere_costs_an_install_nothing_but_bytes() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change, bool, Option<&str>); 3] = [
        (
            "spoilt",
            |patch| *patch.last_mut().unwrap() ^= 1,
            true,
            Some(""),
        ),
        (
            "cut off",
            |patch| patch.truncate(40),
            true,
            Some("it is cut off"),
        ),
        ("nowhere", |_| {}, false, None),
    ];
    for (case, change, provided, fault) in cases {
        let relay = Relay::start().await;
        let publisher = Publisher::start().await;
        let node = Node::start(&relay, &[]).await;
        let delta = published(&relay, &publisher, change, provided).await;
        installs(&node, &publisher).await;
        let (digest, bytes) = last_loaded(&node);
        assert_ne!(
            digest,
            delta.to.to_string(),
            "{case}: the layer as it was signed"
        );
        assert_eq!(sha256(&bytes).to_string(), digest);
        let swarm = node.daemon.node.swarm.ready().await;
        assert!(!swarm.has(delta.tar.blake3).await.unwrap(), "{case}");

        // It is known and counts, once, however often it is tried.
        let removal = json!({"slug": "more"});
        let removal = node.rpc("package.uninstall", removal).await.unwrap();
        node.ended(removal["job"].as_str().unwrap()).await;
        let job = node.install(&app(&publisher, "more")).await;
        assert_eq!(job["state"], "succeeded", "{case}: {job}");
        for texts in noted(&node, &publisher).await {
            let expected = fault.map(|fault| {
                format!(
                    "A delta of more that the publisher signed does not make the layer that it signed: {fault}"
                )
            });
            assert_eq!(texts.len(), expected.iter().len(), "{case}: {texts:?}");
            for (text, expected) in texts.iter().zip(expected) {
                assert!(text.starts_with(&expected), "{case}: {text}");
            }
        }
        node.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_layer_in_another_form_is_not_fetched_again() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let plain = publisher.layer(&tar(1)).await;
    let packed = publisher.zstd_layer(&tar(1)).await;
    publisher
        .publish_of(&relay, "notes", plain.clone(), Vec::new())
        .await;
    publisher
        .publish_of(&relay, "more", packed, Vec::new())
        .await;
    let job = installs(&node, &publisher).await;
    assert_eq!(last_loaded(&node).0, plain.digest.to_string());
    assert!(
        job["transfer"]["totalBytes"].as_u64().unwrap() < 2000,
        "{job}"
    );
    node.daemon.stop().await;
}
