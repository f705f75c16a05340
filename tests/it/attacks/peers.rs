//! Peers that send too much, too slowly, or something else.

use std::net::SocketAddr;
use std::time::Duration;

use archy_nostr::faults::Fault as RelayFault;
use archy_swarm::faults::{BadPeer, Fault};
use jiff::SignedDuration;

use super::{announce, event, is_refused};
use crate::bed::{Node, Publisher, Relay, Signed, app, layer};

/// A peer that has a release and its layer, and misbehaves.
async fn bad_peer(signed: &Signed, layer: &[u8], fault: Fault) -> BadPeer {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    BadPeer::start(loopback, &[&signed.bytes, layer], fault)
        .await
        .unwrap()
}

/// A node that knows no provider of a release but a bad one, and asks it; then the publisher names itself.
async fn is_left_for_the_publisher(fault: Fault) {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let layer = layer("one");
    let signed = publisher.release("notes", 1, &layer, &publisher.key).await;
    let bad = bad_peer(&signed, &layer, fault).await;
    let node = Node::start(&relay, &[]).await;
    announce(&publisher, &relay, &signed, |card| {
        card.origin.endpoints = vec![bad.endpoint()];
    })
    .await;
    let notes = app(&publisher, "notes");
    let page = node.page(&notes, |page| page["card"].is_object()).await;
    assert!(page["release"].is_null(), "{page}");
    while bad.requests() == 0 {
        tokio::task::yield_now().await;
    }
    announce(&publisher, &relay, &signed, |card| {
        card.created += SignedDuration::from_secs(5);
    })
    .await;
    let page = node.has_release(&notes).await;
    assert_eq!(page["release"]["hash"], signed.hash.to_string());
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    assert_eq!(node.machine.loaded.lock().unwrap()[0].1, layer);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_data_is_cut_off_at_the_signed_size() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let layer = layer("one");
    let signed = publisher.release("notes", 1, &layer, &publisher.key).await;
    let endless = bad_peer(&signed, &layer, Fault::Endless).await;
    let node = Node::start(&relay, &[]).await;
    announce(&publisher, &relay, &signed, |card| {
        card.origin.endpoints = vec![endless.endpoint()];
    })
    .await;
    let notes = app(&publisher, "notes");
    let page = node.has_release(&notes).await;
    assert_eq!(page["release"]["hash"], signed.hash.to_string());
    assert!(endless.requests() > 0, "nobody else has the release");
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    assert_eq!(node.machine.loaded.lock().unwrap()[0].1, layer);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_claims_another_size_is_left_for_another() {
    is_left_for_the_publisher(Fault::Claims(1 << 40)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_lies_about_the_size_of_its_release_brings_nothing() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let signed = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    announce(&publisher, &relay, &signed, |card| {
        card.release.size_bytes = 10;
    })
    .await;
    let notes = app(&publisher, "notes");
    node.page(&notes, |page| page["card"].is_object()).await;
    let problem = is_refused(&node, &notes, "noProvider").await;
    let details = problem["details"].to_string();
    let complaint = format!("{} bytes instead of 10", signed.bytes.len());
    assert!(details.contains(&complaint), "{problem}");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_one_byte_per_second_is_left_for_another() {
    is_left_for_the_publisher(Fault::Trickles(Duration::from_secs(1))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_of_hostile_relays_and_peers_neither_hides_nor_changes_an_app() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let layer = layer("two");
    let old = publisher.release("notes", 1, b"old", &publisher.key).await;
    let new = publisher.release("notes", 2, &layer, &publisher.key).await;
    let stale = event(
        &publisher,
        "notes",
        &publisher.announcement(&old),
        &publisher.key,
    );
    let withholding = RelayFault::Withholds.relay(vec![]).await.unwrap();
    let stale = RelayFault::Replays(2).relay(vec![stale]).await.unwrap();
    let (liar, silent) = (
        bad_peer(&new, &layer, Fault::Lies(100)).await,
        bad_peer(&new, &layer, Fault::HangsUp).await,
    );
    let relays = [withholding.url().clone(), stale.url().clone(), relay.url()];
    let peers = [liar.endpoint(), silent.endpoint()];
    let node = Node::following(&relays, &peers, &[]).await;
    announce(&publisher, &relay, &new, |_| {}).await;
    let notes = app(&publisher, "notes");
    let page = node.page(&notes, |page| page["release"]["seq"] == 2).await;
    assert_eq!(page["release"]["hash"], new.hash.to_string());
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    assert_eq!(node.machine.loaded.lock().unwrap()[0].1, layer);
    node.daemon.stop().await;
}
