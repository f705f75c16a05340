//! A stolen key, before and after its owner says so, and a publisher that contradicts itself.

use archy_registry::SigningKey;
use archy_registry::key_state::commitment;
use serde_json::json;

use super::{first_key_state, installed, is_refused, tell_key_state};
use crate::bed::{Node, Publisher, Relay, app, layer};

#[tokio::test(flavor = "multi_thread")]
async fn before_a_revocation_a_stolen_key_publishes_but_cannot_take_the_name_over() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let (later, thief) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let first = first_key_state(&publisher, &relay, &later).await;
    let notes = app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    // Nobody can tell the thief from the owner yet.
    publisher.publish(&relay, "notes", 2, &layer("evil")).await;
    node.page(&notes, |page| page["release"]["seq"] == 2).await;
    // But a key of its own is none that the owner committed to, and neither is another commitment.
    let mut taken = first.clone().into_inner();
    taken.seq = 2;
    taken.prev = Some(first.hash());
    taken.keys = vec![thief.did()];
    tell_key_state(&publisher, &relay, &taken, &publisher.key).await;
    node.refusal("keyState").await;
    taken.keys.clone_from(&first.keys);
    taken.next = vec![commitment(&thief.did())];
    tell_key_state(&publisher, &relay, &taken, &publisher.key).await;
    node.refusal("keyState").await;
    let card = publisher.announcement(&publisher.release("notes", 3, &layer("evil"), &thief).await);
    publisher.announce(&relay, "notes", &card, &thief).await;
    node.refusal("signature").await;
    let page = node.has_release(&notes).await;
    assert_eq!(page["release"]["seq"], 2);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equivocation_freezes_a_publisher_keeps_both_proofs_and_is_shown() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let notes = app(&publisher, "notes");
    let one = publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let two = publisher.publish(&relay, "notes", 1, &layer("two")).await;
    let problem = node.refusal("equivocation").await;
    let details = problem["details"].to_string();
    for hash in [one.hash, two.hash] {
        assert!(details.contains(&hash.to_string()), "{problem}");
    }
    let page = node
        .page(&notes, |page| {
            page["publisher"]["trust"]["band"] == "refused"
        })
        .await;
    let reasons = page["publisher"]["reasons"].as_array().unwrap();
    let shown = reasons
        .iter()
        .find(|reason| reason["code"] == "contradiction")
        .unwrap_or_else(|| panic!("{page}"));
    assert_eq!(shown["evidence"], json!(["contradiction 1"]));

    // Both signed cards are in the evidence log, so that others can be shown them.
    let evidence = node
        .daemon
        .node
        .store
        .evidence(&publisher.did())
        .await
        .unwrap();
    assert_eq!(evidence.contradictions.len(), 1, "{evidence:?}");

    // Nothing more of it is followed; what runs stays.
    publisher.publish(&relay, "diary", 1, &layer("diary")).await;
    node.refusal("frozen").await;
    is_refused(&node, &app(&publisher, "diary"), "frozen").await;
    assert_eq!(
        installed(&node).await,
        [("notes".to_owned(), "running".to_owned())]
    );
    node.daemon.stop().await;
}
