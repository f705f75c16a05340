//! Peers that send too much, too slowly, or something else.

use std::net::SocketAddr;
use std::time::Duration;

use archy_nostr::faults::Fault as RelayFault;
use archy_swarm::faults::{BadPeer, Fault};

use super::{announce, event};
use crate::bed::{Node, Publisher, Relay, Signed, app, layer};

/// A peer that has a release and its layer, and misbehaves.
async fn bad_peer(signed: &Signed, layer: &[u8], fault: Fault) -> BadPeer {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    BadPeer::start(loopback, &[&signed.bytes, layer], fault)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_data_is_cut_off_at_the_signed_size() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    for (slug, fault) in [("notes", Fault::Endless), ("diary", Fault::Claims(1 << 40))] {
        let layer = layer(slug);
        let signed = publisher.release(slug, 1, &layer, &publisher.key).await;
        let peer = bad_peer(&signed, &layer, fault).await;
        let node = Node::start(&relay, &[publisher.endpoint()]).await;
        announce(&publisher, &relay, &signed, |card| {
            card.origin.endpoints = vec![peer.endpoint()];
        })
        .await;
        let app = app(&publisher, slug);
        node.has_release(&app).await;
        let job = node.install(&app).await;
        assert_eq!(job["state"], "succeeded", "{fault:?}: {job}");
        assert_eq!(node.machine.loaded.lock().unwrap()[0].1, layer);
        node.daemon.stop().await;
    }
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
    let job = node.install(&notes).await;
    assert_eq!(job["state"], "failed", "{job}");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_one_byte_per_second_is_left_for_another() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let layer = layer("one");
    let signed = publisher.release("notes", 1, &layer, &publisher.key).await;
    let slow = bad_peer(&signed, &layer, Fault::Trickles(Duration::from_secs(1))).await;
    let node = Node::start(&relay, &[publisher.endpoint()]).await;
    announce(&publisher, &relay, &signed, |card| {
        card.origin.endpoints = vec![slow.endpoint()];
    })
    .await;
    let notes = app(&publisher, "notes");
    node.has_release(&notes).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    node.daemon.stop().await;
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
    let node = Node::following(&relays, &peers).await;
    announce(&publisher, &relay, &new, |_| {}).await;
    let notes = app(&publisher, "notes");
    let page = node.page(&notes, |page| page["release"]["seq"] == 2).await;
    assert_eq!(page["release"]["hash"], new.hash.to_string());
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    assert_eq!(node.machine.loaded.lock().unwrap()[0].1, layer);
    node.daemon.stop().await;
}
