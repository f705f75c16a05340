//! The attacks that The Update Framework lists, each against the real daemon (docs/src/security.md has the table).
//!
//! The daemon, its database, its relay client and its swarm are the real ones, in this process; only the machine below
//! them is one without podman, because what these tests are about must be refused before anything is installed.

mod compromise;
mod content;
mod counters;
mod freshness;
mod peers;
mod relays;
mod table;

use archy_nostr::event::Event;
use archy_nostr::{Clock, Draft, NostrKey, PublishOptions, Subject};
use archy_registry::key_state::{self, KeyState, chain};
use archy_registry::{SigningKey, Verified, sign};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use crate::bed::{Node, Publisher, Relay, Signed};

/// Signs any statement and puts it into an event of the publisher's, as a relay would have it.
fn event<T: Serialize>(
    publisher: &Publisher,
    slug: &str,
    statement: &T,
    signer: &SigningKey,
) -> Event {
    let signed = sign(statement, signer, Timestamp::now()).unwrap();
    let subject = Subject::Announcement(slug.parse().unwrap());
    let draft = Draft::new(subject, publisher.did(), &signed.bytes, None).unwrap();
    let unsigned = draft.event(Clock::system().now());
    publisher.nostr.sign(unsigned).unwrap().into_inner()
}

/// Puts a card of this release on the relay, changed into anything.
async fn announce(
    publisher: &Publisher,
    relay: &Relay,
    signed: &Signed,
    change: impl FnOnce(&mut archy_registry::announcement::Announcement),
) {
    let mut card = publisher.announcement(signed);
    change(&mut card);
    let slug = card.slug.to_string();
    publisher
        .announce(relay, &slug, &card, &publisher.key)
        .await;
}

/// Signs a key state with any key and puts it on the relay, whatever nodes will say to it.
async fn tell_key_state(
    publisher: &Publisher,
    relay: &Relay,
    state: &KeyState,
    signer: &SigningKey,
) {
    let signed = sign(state, signer, Timestamp::now()).unwrap();
    tell_chain(publisher, &publisher.nostr, relay, &[signed.bytes]).await;
}

/// Puts a chain of key states on the relay, carried by any Nostr key.
async fn tell_chain(publisher: &Publisher, nostr: &NostrKey, relay: &Relay, states: &[Vec<u8>]) {
    let chain = chain::join(states);
    let draft = Draft::new(Subject::KeyState, publisher.did(), &chain, None).unwrap();
    let options = PublishOptions::default();
    let report = archy_nostr::publish(&[relay.url()], nostr, &draft, &options)
        .await
        .unwrap();
    assert_eq!(report.accepted.len(), 1, "{report:?}");
}

/// The publisher's first key state, which commits to the key for later.
async fn first_key_state(
    publisher: &Publisher,
    relay: &Relay,
    next: &SigningKey,
) -> Verified<KeyState> {
    let now = Timestamp::now();
    let expires = now + SignedDuration::from_hours(24);
    let state = KeyState::first(publisher.did(), &[next.did()], Vec::new(), now, expires);
    let signed = sign(&state, &publisher.key, now).unwrap();
    tell_chain(
        publisher,
        &publisher.nostr,
        relay,
        std::slice::from_ref(&signed.bytes),
    )
    .await;
    key_state::verify(&signed.bytes, None, now).unwrap()
}

/// Installs and expects that the check of this kind refuses, with a hint and nothing left behind.
async fn is_refused(node: &Node, app: &Value, kind: &str) -> Value {
    let held = node.app_tags().await;
    let job = node.install(app).await;
    let problem = job["problem"].clone();
    assert_eq!(
        (&job["state"], &problem["kind"]),
        (&json!("failed"), &json!(kind)),
        "{job}"
    );
    assert!(
        problem["hint"]
            .as_str()
            .is_some_and(|hint| !hint.is_empty()),
        "{problem}"
    );
    assert_eq!(
        node.app_tags().await,
        held,
        "something of the refused app is kept"
    );
    problem
}

/// The installed apps and their states.
async fn installed(node: &Node) -> Vec<(String, String)> {
    let list = node.rpc("package.list", json!({})).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let instances = list["instances"].as_array().unwrap().iter();
    instances
        .map(|instance| (text(&instance["app"]["slug"]), text(&instance["state"])))
        .collect()
}
