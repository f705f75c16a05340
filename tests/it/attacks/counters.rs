//! Releases put before their time or after it: the publisher's own counter decides, no date and no relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use archy_nostr::faults::{BadRelay, Fault};
use archy_registry::SigningKey;
use serde_json::json;

use super::{announce, event, first_key_state, tell_key_state};
use crate::bed::{Node, Publisher, Relay, app, layer};

#[tokio::test(flavor = "multi_thread")]
async fn rollback_is_refused() {
    let publisher = Publisher::start().await;
    let old = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    let new = publisher
        .release("notes", 2, &layer("two"), &publisher.key)
        .await;
    // A relay that has the newest card until it turns; then it has the older one, in an event of a later date.
    let held = |signed| {
        let card = publisher.announcement(signed);
        Arc::new(vec![event(&publisher, "notes", &card, &publisher.key)])
    };
    let (honest, stale) = (held(&new), held(&old));
    let turned = Arc::new(AtomicBool::new(false));
    let turn = Arc::clone(&turned);
    let relay = BadRelay::start(move |message| {
        if turned.load(Ordering::SeqCst) {
            Fault::Replays(3).answer(message, &stale)
        } else {
            Fault::None.answer(message, &honest)
        }
    })
    .await
    .unwrap();
    let node = Node::following(std::slice::from_ref(relay.url()), &[], &[]).await;
    let notes = app(&publisher, "notes");
    node.page(&notes, |page| page["release"]["seq"] == 2).await;
    turn.store(true, Ordering::SeqCst);
    let node = node.restart().await;
    let problem = node.refusal("rollback").await;
    assert_eq!(
        problem["message"],
        "Release 1 of the app is older than release 2, which this node has seen"
    );
    let page = node.has_release(&notes).await;
    assert_eq!(page["release"]["seq"], 2);
    let by_hash = json!({"app": notes, "release": old.hash.to_string()});
    let job = node.begin(by_hash).await;
    let ended = node.ended(&job).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_forward_is_refused_and_a_rotation_recovers_from_it() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let later = SigningKey::generate().unwrap();
    let first = first_key_state(&publisher, &relay, &later).await;
    let notes = app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;

    // A thief of the key would use up the counter in one step.
    let far = publisher
        .release("notes", 1_002, &layer("far"), &publisher.key)
        .await;
    announce(&publisher, &relay, &far, |_| {}).await;
    node.refusal("fastForward").await;
    let page = node.has_release(&notes).await;
    assert_eq!(page["release"]["seq"], 1);

    // As far as one step may be, it goes.
    let near = publisher
        .release("notes", 1_001, &layer("near"), &publisher.key)
        .await;
    announce(&publisher, &relay, &near, |_| {}).await;
    node.page(&notes, |page| page["release"]["seq"] == 1_001)
        .await;

    // The owner's next key counts on from where the owner was.
    let mut rotated = first.clone().into_inner();
    rotated.seq = 2;
    rotated.prev = Some(first.hash());
    rotated.keys = vec![later.did()];
    rotated.next = Vec::new();
    rotated.floors = [("notes".parse().unwrap(), 2)].into();
    tell_key_state(&publisher, &relay, &rotated, &later).await;
    let owned = publisher.release("notes", 2, &layer("two"), &later).await;
    let card = publisher.announcement(&owned);
    publisher.announce(&relay, "notes", &card, &later).await;
    let page = node.page(&notes, |page| page["release"]["seq"] == 2).await;
    assert_eq!(page["release"]["hash"], owned.hash.to_string());

    // What the stolen key signs says nothing any more.
    announce(&publisher, &relay, &near, |_| {}).await;
    node.refusal("keyChanged").await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let loaded = node.machine.loaded.lock().unwrap()[0].1.clone();
    assert_eq!(loaded, layer("two"));
    node.daemon.stop().await;
}
