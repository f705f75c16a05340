//! A publisher whose news is held back: the owner is told since when, and nothing new is installed.

use archy_nostr::faults::Fault;
use jiff::{SignedDuration, Timestamp};

use super::{announce, event, installed, is_refused};
use crate::bed::{Node, Publisher, Relay, app, layer};

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_is_told_and_stops_installs_but_nothing_that_runs() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    publisher.publish(&relay, "notes", 1, &layer("notes")).await;
    let notes = app(&publisher, "notes");
    node.has_release(&notes).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");

    // The last that is heard of the diary holds for a few seconds more, and nothing follows it.
    let last = publisher
        .release("diary", 1, &layer("diary"), &publisher.key)
        .await;
    let expires = Timestamp::now() + SignedDuration::from_secs(4);
    announce(&publisher, &relay, &last, |card| {
        card.expires = Timestamp::from_second(expires.as_second()).unwrap();
    })
    .await;
    let diary = app(&publisher, "diary");
    node.has_release(&diary).await;
    let page = loop {
        let page = node.rpc("store.show", diary.clone()).await.unwrap();
        if page["card"]["stale"] == true {
            break page;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(page["problem"]["kind"], "expired", "{page}");
    let message = page["problem"]["message"].as_str().unwrap();
    assert!(message.contains("no news of this app since"), "{message}");
    is_refused(&node, &diary, "expired").await;
    assert_eq!(
        installed(&node).await,
        [("notes".to_owned(), "running".to_owned())]
    );
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_has_only_what_has_expired_brings_nothing_into_the_store() {
    let publisher = Publisher::start().await;
    let release = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    let mut card = publisher.announcement(&release);
    let hours_ago = |hours| card.created - SignedDuration::from_hours(hours);
    (card.created, card.expires) = (hours_ago(48), hours_ago(24));
    let expired = event(&publisher, "notes", &card, &publisher.key);
    let relay = Fault::None.relay(vec![expired]).await.unwrap();
    let node = Node::following(std::slice::from_ref(relay.url()), &[], &[]).await;
    node.refusal("expired").await;
    is_refused(&node, &app(&publisher, "notes"), "expired").await;
    node.daemon.stop().await;
}
