//! Relays that misbehave in every way there is a name for, one after the other and all at once.

use archy_nostr::faults::{BadRelay, Fault};
use archy_registry::SigningKey;
use serde_json::json;

use super::{announce, event};
use crate::bed::{Node, Publisher, Relay, app, layer};

/// Events of a flood.
const FLOOD: usize = 100_000;
/// How much larger a node under floods may become, in bytes; the relays that flood are part of the same process.
const GROWTH_BYTES_MAX: u64 = 200 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_any_relay_reaches_the_store() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let thief = SigningKey::generate().unwrap();
    let old = publisher.release("notes", 1, b"old", &publisher.key).await;
    let new = publisher
        .release("notes", 2, &layer("two"), &publisher.key)
        .await;
    let evil = publisher.release("notes", 3, b"evil", &thief).await;
    let held = vec![
        event(
            &publisher,
            "notes",
            &publisher.announcement(&old),
            &publisher.key,
        ),
        event(&publisher, "notes", &publisher.announcement(&evil), &thief),
    ];
    let mut bad: Vec<BadRelay> = Vec::new();
    for fault in Fault::all(FLOOD) {
        bad.push(fault.relay(held.clone()).await.unwrap());
    }
    let mut urls: Vec<_> = bad.iter().map(|relay| relay.url().clone()).collect();
    urls.push(relay.url());
    let node = Node::following(&urls, &[], &[]).await;
    announce(&publisher, &relay, &new, |_| {}).await;
    let notes = app(&publisher, "notes");
    let page = node.page(&notes, |page| page["release"]["seq"] == 2).await;
    assert_eq!(page["release"]["hash"], new.hash.to_string());
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    assert_eq!(node.machine.loaded.lock().unwrap()[0].1, layer("two"));
    let found = node.rpc("store.search", json!({})).await.unwrap();
    assert_eq!(found["total"], 1, "{found}");
    for relay in &bad {
        assert!(relay.connections() > 0, "{} was never asked", relay.url());
    }
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_100_000_events_leaves_the_node_small_and_answering() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let signed = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    let known = event(
        &publisher,
        "known",
        &publisher.announcement(&signed),
        &publisher.key,
    );
    let floods = [
        Fault::Floods(FLOOD)
            .relay(vec![known.clone()])
            .await
            .unwrap(),
        Fault::FloodsForged(FLOOD).relay(vec![known]).await.unwrap(),
    ];
    let mut urls: Vec<_> = floods.iter().map(|relay| relay.url().clone()).collect();
    urls.push(relay.url());
    let before = resident_bytes();
    let node = Node::following(&urls, &[], &[]).await;
    // More than what is read at once: from here on the node holds the floods back.
    let mut answers = 0;
    while floods[0].replies() < 5_000 {
        let status = node.rpc("node.status", json!({})).await.unwrap();
        assert!(status["relays"].is_array(), "{status}");
        answers += 1;
    }
    assert!(answers > 0, "the floods were over before they began");
    // Beside them an app is heard of, fetched and installed.
    announce(&publisher, &relay, &signed, |_| {}).await;
    let notes = app(&publisher, "notes");
    node.has_release(&notes).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    for flood in &floods {
        assert!(
            flood.replies() < FLOOD,
            "{} was read to its end",
            flood.url()
        );
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "the node grew by {grown} bytes");
    let status = node.rpc("node.status", json!({})).await.unwrap();
    let refused = status["refused"].as_array().unwrap();
    assert!(!refused.is_empty() && refused.len() <= 50, "{status}");
    node.daemon.stop().await;
}

/// Memory of this process that is in use (VmRSS).
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}
