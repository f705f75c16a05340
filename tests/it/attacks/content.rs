//! Software that is not what its publisher signed, or not what was asked for.

use archy_registry::{SigningKey, sign};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{announce, is_refused};
use crate::bed::{Node, Publisher, Relay, Signed, app, layer};

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_software_is_refused() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let thief = SigningKey::generate().unwrap();
    // The card is the publisher's own, and a release of somebody else's making lies behind its hash.
    let forged = publisher.release("notes", 1, &layer("evil"), &thief).await;
    announce(&publisher, &relay, &forged, |_| {}).await;
    let notes = app(&publisher, "notes");
    let page = node.page(&notes, |page| page["problem"].is_object()).await;
    assert!(page["release"].is_null(), "{page}");
    let problem = is_refused(&node, &notes, "signature").await;
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains(&thief.did().to_string()), "{message}");
    // The card itself is somebody else's making: it never reaches the catalog.
    let card = publisher.announcement(&publisher.release("diary", 1, &layer("evil"), &thief).await);
    publisher.announce(&relay, "diary", &card, &thief).await;
    node.refusal("signature").await;
    is_refused(&node, &app(&publisher, "diary"), "signature").await;
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_software_is_refused() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    // Genuine, by the same publisher, and of another app.
    let other = publisher
        .release("other", 1, &layer("other"), &publisher.key)
        .await;
    announce(&publisher, &relay, &other, |card| {
        card.slug = "notes".parse().unwrap();
    })
    .await;
    let notes = app(&publisher, "notes");
    node.page(&notes, |page| page["problem"]["kind"] == "wrongApp")
        .await;
    is_refused(&node, &notes, "wrongApp").await;
    // A genuine card under the label of another app.
    let card = publisher.announcement(&other);
    publisher
        .announce(&relay, "diary", &card, &publisher.key)
        .await;
    node.refusal("wrongApp").await;
    is_refused(&node, &app(&publisher, "diary"), "wrongApp").await;
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_and_a_release_of_different_versions_are_not_mixed() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let old = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    let new = publisher
        .release("notes", 2, &layer("two"), &publisher.key)
        .await;
    // The card of the new release, and behind its hash the old one.
    announce(&publisher, &relay, &new, |card| {
        card.release.blake3 = old.hash;
        card.release.size_bytes = old.bytes.len() as u64;
    })
    .await;
    let notes = app(&publisher, "notes");
    node.page(&notes, |page| page["problem"].is_object()).await;
    is_refused(&node, &notes, "rollback").await;
    // The right release under a card that shows another version.
    let diary = publisher
        .release("diary", 1, &layer("diary"), &publisher.key)
        .await;
    announce(&publisher, &relay, &diary, |card| {
        card.version = "9.9.9".to_owned();
    })
    .await;
    let diary = app(&publisher, "diary");
    node.page(&diary, |page| page["problem"].is_object()).await;
    is_refused(&node, &diary, "notAnnounced").await;
    node.daemon.stop().await;
}

/// A release whose manifest was changed before the publisher signed it.
async fn changed(publisher: &Publisher, slug: &str, change: impl FnOnce(&mut Value)) -> Signed {
    let made = publisher
        .release(slug, 1, &layer(slug), &publisher.key)
        .await;
    let mut release = serde_json::to_value(&made.release).unwrap();
    change(&mut release["manifest"]);
    let signed = sign(&release, &publisher.key, Timestamp::now()).unwrap();
    let tag = "test".parse().unwrap();
    publisher
        .swarm
        .provide(&tag, signed.bytes.as_slice(), None)
        .await
        .unwrap();
    Signed {
        bytes: signed.bytes,
        hash: signed.hash,
        ..made
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_is_a_publisher_and_a_slug_never_a_name() {
    let relay = Relay::start().await;
    let (publisher, squatter) = (Publisher::start().await, Publisher::start().await);
    let node = Node::start(&relay, &[]).await;
    // Whoever takes the name first would be installed with it.
    squatter
        .publish(&relay, "database", 1, &layer("evil"))
        .await;
    node.has_release(&app(&squatter, "database")).await;
    let by_name = changed(&publisher, "notes", |manifest| {
        manifest["dependencies"] = json!([{"app": "database"}]);
    })
    .await;
    announce(&publisher, &relay, &by_name, |_| {}).await;
    let notes = app(&publisher, "notes");
    node.page(&notes, |page| page["problem"].is_object()).await;
    let problem = is_refused(&node, &notes, "malformed").await;
    let details = problem["details"].to_string();
    assert!(details.contains("publisher"), "{problem}");
    assert!(super::installed(&node).await.is_empty());
    node.daemon.stop().await;
}
