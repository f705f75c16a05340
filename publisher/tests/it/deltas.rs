//! Releases after the first: deltas from the last ones, made, served and proved.

use std::path::Path;

use archy_registry::Blake3Hash;
use archy_registry::json;
use archy_registry::release::{Release, SIZE_BYTES_MAX};
use archy_swarm::image::delta;
use serde_json::{Value, json};

use crate::cosign::{shares, waits};
use crate::identity::{does, fails};
use crate::image;
use crate::node::TestNode;
use crate::person::Person;
use crate::publish::{PUBLISH, publisher};

/// A megabyte of lines that compress, of which every version changes a few more.
fn content(version: u32) -> String {
    let mut state = 7_u64;
    let lines = (0..20_000).map(|line| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let changed = line % 1000 < version;
        format!(
            "{state:x} is line {line}{}\n",
            if changed { ", changed" } else { "" }
        )
    });
    lines.collect()
}

fn write(person: &Person, version: u32) {
    image::write(&person.home().join("image"), "amd64", &content(version));
}

async fn publish(person: &Person, version: u32, more: &[&str]) -> Value {
    write(person, version);
    let words: Vec<&str> = PUBLISH.iter().chain(more).copied().collect();
    let published = person.types(&words).await;
    assert_eq!(published.code, 0, "{published:?}");
    published.json()
}

/// The release as the node has it.
async fn release(node: &TestNode, published: &Value) -> Release {
    let hash: Blake3Hash = published["release"].as_str().unwrap().parse().unwrap();
    let bytes = node.swarm.read(hash, SIZE_BYTES_MAX as u64).await.unwrap();
    let mut document = json::parse(&bytes, SIZE_BYTES_MAX).unwrap();
    document.as_object_mut().unwrap().remove("proof");
    serde_json::from_value(document).unwrap()
}

#[tokio::test]
async fn a_release_has_deltas_from_the_last_three_that_the_node_serves() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let first = publish(&person, 1, &[]).await;
    assert_eq!(first["deltas"], json!([]));
    for version in 2..=4 {
        publish(&person, version, &[]).await;
    }
    let fifth = publish(&person, 5, &[]).await;
    let release = release(&node, &fifth).await;
    assert_eq!(release.deltas.len(), 3);
    let layer = &release.images[0].layers[0];
    for delta in &release.deltas {
        assert_eq!(Some(delta.to), layer.diff_id);
        assert!(delta.size_bytes * 20 < layer.size_bytes, "{delta:?}");
        assert!(node.swarm.serves(delta.blake3), "others can fetch it");
    }
    let told: Vec<&Value> = fifth["deltas"].as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0]["layerSizeBytes"], layer.size_bytes);
    // Image, icon, key state and release, and the deltas.
    assert_eq!(fifth["blobsServed"], 3 + 1 + 2 + 3);

    // What is served is what makes the layer.
    let delta = &release.deltas[0];
    let mut made = Vec::new();
    let patch = node
        .swarm
        .read(delta.blake3, delta.size_bytes)
        .await
        .unwrap();
    let bases = (2..=4).map(|version| tar(&person, version));
    let fits = bases.filter(|base| {
        made.clear();
        delta::apply(&base[..], &patch[..], delta, &mut made).is_ok()
    });
    assert_eq!(fits.count(), 1);
}

/// The layer of a version, which is stored plain.
fn tar(person: &Person, version: u32) -> Vec<u8> {
    let dir = person.home().join("again");
    let _ = std::fs::remove_dir_all(&dir);
    image::write(&dir, "amd64", &content(version));
    largest(&dir.join("blobs/sha256"))
}

fn largest(dir: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(dir).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let largest = files.max_by_key(|path| path.metadata().unwrap().len());
    std::fs::read(largest.unwrap()).unwrap()
}

#[tokio::test]
async fn what_saves_nothing_or_is_not_wanted_is_left_out() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    publish(&person, 1, &[]).await;
    let without = publish(&person, 2, &["--no-deltas"]).await;
    assert_eq!(without["deltas"], json!([]));
    let same = publish(&person, 2, &[]).await;
    // Release 2 has the layer, release 1 does not.
    assert_eq!(same["deltas"].as_array().unwrap().len(), 1);

    // Nothing in common: the layer itself is as short.
    image::write(&person.home().join("image"), "amd64", &noise());
    let published = person.types(&PUBLISH).await.json();
    assert_eq!(
        (&published["seq"], &published["deltas"]),
        (&json!(4), &json!([]))
    );
}

/// Text that nothing shortens to less than seven eighths.
fn noise() -> String {
    let mut hash = *Blake3Hash::of(b"").as_bytes();
    let mut text = String::new();
    for _ in 0..10_000 {
        hash = *Blake3Hash::of(&hash).as_bytes();
        text.extend(hash.map(|byte| char::from(byte & 0x7f)));
    }
    text
}

#[tokio::test]
async fn earlier_releases_that_are_not_at_hand_are_told_and_publishing_goes_on() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    publish(&person, 1, &[]).await;
    let tag = node.tags()[0].parse().unwrap();
    node.swarm.withdraw(&tag).await.unwrap();

    write(&person, 2);
    let words: Vec<&str> = PUBLISH[1..].to_vec();
    let published = person.types(&words).await;
    assert_eq!(published.code, 0, "{published:?}");
    assert!(
        published
            .err
            .contains("warning: no delta from release 1, which is not at hand"),
        "{published:?}"
    );
    let third = publish(&person, 3, &[]).await;
    assert_eq!(third["deltas"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_dry_run_says_which_deltas_there_would_be() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    publish(&person, 1, &[]).await;
    let tags = node.tags();
    let dry = publish(&person, 2, &["--dry-run"]).await;
    assert_eq!(dry["deltas"].as_array().unwrap().len(), 1);
    assert_eq!(node.tags(), tags);
}

#[tokio::test]
async fn the_deltas_of_a_release_that_waited_for_signatures_are_made_again() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    publish(&person, 1, &[]).await;
    shares(&person).await;

    write(&person, 2);
    let words = &PUBLISH[1..];
    let file = waits(&person, words).await;
    does(&person, &["cosign", &file, "--key", "c.key"]).await;
    let published = does(&person, &[words, &["--release", &file]].concat()).await;
    assert_eq!(published["seq"], 2);
    assert_eq!(published["deltas"].as_array().unwrap().len(), 1);
    let release = release(&node, &published).await;
    assert!(node.swarm.serves(release.deltas[0].blake3));

    write(&person, 3);
    let file = waits(&person, words).await;
    does(&person, &["cosign", &file, "--key", "c.key"]).await;
    for tag in node.tags() {
        node.swarm.withdraw(&tag.parse().unwrap()).await.unwrap();
    }
    let (code, kind, words) = fails(&person, &[words, &["--release", &file]].concat()).await;
    assert_eq!((code, kind.as_str()), (1, "delta"), "{words}");
    assert!(words.contains("that layer is not at hand"), "{words}");
}
