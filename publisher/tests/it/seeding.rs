//! What the node gives away, shown and chosen.

use serde_json::{Value, json};

use crate::node::TestNode;
use crate::person::Person;

const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

fn page() -> Value {
    json!({
        "policy": {
            "paused": false, "pausedUntil": null, "bytesPerSecond": null, "peerBytesPerSecond": null,
            "ratioMax": 2.0, "monthBytesMax": 200_000_000_000_u64,
            "hours": [
                { "rule": "only", "days": ["saturday", "sunday"], "from": "22:00", "to": "07:00", "bytesPerSecond": null },
            ],
            "metered": "never", "meteredBytesPerSecond": null, "treatAsMetered": false,
            "appsOff": [{ "publisher": DID, "slug": "photos" }],
        },
        "usual": {}, "bytesPerSecondMax": null, "peerBytesPerSecondMax": null,
        "state": {
            "mode": "stopped", "bytesPerSecond": null, "peerBytesPerSecond": null,
            "reasons": [{ "kind": "hours", "text": "outside the seeding hours; seeding goes on at 22:00", "until": null }],
        },
        "networkMetered": null, "monthBytes": 124_300_000_000_u64, "monthEnds": "2026-12-01T00:00:00Z",
        "apps": [
            {
                "app": { "publisher": DID, "slug": "notes" }, "name": "Notes", "on": true, "published": false,
                "sizeBytes": 400_000_000, "uploadedBytes": 300_000_000, "ratioReached": false,
            },
            {
                "app": { "publisher": DID, "slug": "photos" }, "name": "Photos", "on": false, "published": false,
                "sizeBytes": 0, "uploadedBytes": 0, "ratioReached": false,
            },
        ],
    })
}

async fn owner() -> (TestNode, Person) {
    let node = TestNode::start().await;
    let person = Person::with_node(&node.socket);
    (node, person)
}

#[tokio::test]
async fn seeding_is_shown_with_its_reason() {
    let (node, person) = owner().await;
    node.answers("seeding.show", Ok(page()));
    insta::assert_snapshot!(person.terminal(&["seeding", "show"]).await, @"
    $ archy seeding show
    seeding     stopped; what you publish is given away all the same
                outside the seeding hours; seeding goes on at 22:00
    this month  124.3 GB of 200.0 GB
    ratio       at most 2 of each version of an app
    only        saturday, sunday 22:00–07:00
    metered     nothing is given away while the network is metered; the machine does not say whether its network is metered

    APP     GIVEN AWAY  SIZE      RATIO
    notes   300.0 MB    400.0 MB  0.75
    photos  0 B         0 B              off
    ");
}

#[tokio::test]
async fn what_is_named_is_changed_and_the_rest_stays() {
    let (node, person) = owner().await;
    node.answers("seeding.show", Ok(page()));
    node.answers("seeding.set", Ok(page()));
    let mut expected = Vec::new();
    let mut changed = async |words: &[&str], changes: &[(&str, Value)]| {
        let outcome = person.types(words).await;
        assert_eq!(outcome.code, 0, "{words:?}");
        let mut policy = page()["policy"].clone();
        for (name, value) in changes {
            policy[name] = value.clone();
        }
        expected.push(policy);
        assert_eq!(node.calls("seeding.set"), expected, "{words:?}");
    };
    changed(
        &["seeding", "pause", "--until", "2999-01-01T00:00:00Z"],
        &[
            ("paused", json!(true)),
            ("pausedUntil", json!("2999-01-01T00:00:00Z")),
        ],
    )
    .await;
    changed(&["seeding", "pause"], &[("paused", json!(true))]).await;
    changed(&["seeding", "resume"], &[]).await;
    changed(
        &[
            "seeding", "set", "--rate", "2.5MB", "--budget", "none", "--ratio", "1.5",
        ],
        &[
            ("bytesPerSecond", json!(2_500_000)),
            ("monthBytesMax", Value::Null),
            ("ratioMax", json!(1.5)),
        ],
    )
    .await;
    changed(
        &[
            "seeding",
            "set",
            "--metered",
            "200kB",
            "--treat-as-metered",
            "yes",
        ],
        &[
            ("metered", json!("limited")),
            ("meteredBytesPerSecond", json!(200_000)),
            ("treatAsMetered", json!(true)),
        ],
    )
    .await;
    changed(
        &["seeding", "set", "--slow", "mon@08:00-18:00=1MB"],
        &[(
            "hours",
            json!([{
                "rule": "slow", "days": ["monday"], "from": "08:00", "to": "18:00",
                "bytesPerSecond": 1_000_000,
            }]),
        )],
    )
    .await;
    changed(&["seeding", "set", "--any-hour"], &[("hours", json!([]))]).await;
    changed(
        &["seeding", "app", "photos", "on"],
        &[("appsOff", json!([]))],
    )
    .await;
    let both =
        json!([{ "publisher": DID, "slug": "photos" }, { "publisher": DID, "slug": "notes" }]);
    changed(
        &["seeding", "app", "notes", "off"],
        &[("appsOff", both.clone())],
    )
    .await;
    let full = format!("{DID}/notes");
    changed(&["seeding", "app", &full, "off"], &[("appsOff", both)]).await;
}

#[tokio::test]
async fn what_makes_no_sense_never_reaches_the_node() {
    let (node, person) = owner().await;
    node.answers("seeding.show", Ok(page()));
    for words in [
        &["seeding", "set"][..],
        &["seeding", "set", "--rate", "fast"],
        &["seeding", "set", "--only", "daily"],
        &[
            "seeding",
            "set",
            "--any-hour",
            "--only",
            "daily@22:00-07:00",
        ],
        &["seeding", "pause", "--until", "2000-01-01T00:00:00Z"],
        &["seeding", "app", "notes"],
    ] {
        assert_eq!(person.types(words).await.code, 2, "{words:?}");
    }
    assert!(node.calls("seeding.set").is_empty());
}
