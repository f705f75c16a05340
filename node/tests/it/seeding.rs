//! The owner decides what the node gives away, while it runs.

use archy_registry::Blake3Hash;
use archy_swarm::{Class, FetchError, FetchRequest, Fetched, ProbeError, Role, Swarm, Wanted};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::bed::{Node, Publisher, layer, scene_with_notes};

/// Another node asks this one for a blob.
async fn fetched(by: &Swarm, from: &Swarm, data: &[u8]) -> Result<Fetched, FetchError> {
    let request = FetchRequest {
        tag: "fetched".parse().unwrap(),
        class: Class::Cache,
        blobs: vec![Wanted {
            blake3: Blake3Hash::of(data),
            size_bytes: data.len() as u64,
            role: Role::Other,
        }],
        origin: Vec::new(),
        peers: vec![from.endpoint()],
        share: false,
    };
    by.fetch(request, &CancellationToken::new()).finish().await
}

/// Another node hears that a blob is not here.
async fn refuses(here: &Swarm, by: &Swarm, data: &[u8]) {
    let probed = by.probe(&here.endpoint(), Blake3Hash::of(data)).await;
    assert!(
        matches!(probed, Err(ProbeError::NotServed { .. })),
        "{probed:?}"
    );
}

async fn set(node: &Node, changes: &[(&str, Value)]) -> Result<Value, Value> {
    let mut policy = node.rpc("seeding.show", json!({})).await.unwrap()["policy"].clone();
    for (name, value) in changes {
        policy[name] = value.clone();
    }
    node.rpc("seeding.set", policy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_given_away_exactly_while_its_owner_lets_it() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let swarm = node.daemon.node.swarm.ready().await;
    let (asker, other) = (Publisher::start().await, Publisher::start().await);

    let page = node.rpc("seeding.show", json!({})).await.unwrap();
    assert_eq!(page["state"]["mode"], "unlimited", "{page}");
    assert_eq!(page["policy"], page["usual"]);
    let app = &page["apps"][0];
    assert_eq!(
        (&app["app"], &app["name"], &app["on"]),
        (&notes, &json!("Notes 1"), &json!(true))
    );
    assert!(app["sizeBytes"].as_u64().unwrap() > 200_000, "{app}");

    let page = set(&node, &[("appsOff", json!([notes]))]).await.unwrap();
    assert_eq!(page["apps"][0]["on"], false);
    assert_eq!(page["state"]["mode"], "unlimited", "others are given away");
    refuses(&swarm, &asker.swarm, &layer("one")).await;

    // Whoever comes back finds it as it was left.
    drop(swarm);
    let node = node.restart().await;
    let swarm = node.daemon.node.swarm.ready().await;
    refuses(&swarm, &asker.swarm, &layer("one")).await;
    set(&node, &[("appsOff", json!([]))]).await.unwrap();
    fetched(&asker.swarm, &swarm, &layer("one")).await.unwrap();
    let mut counted = swarm.watch_uploads();
    counted.wait_for(|bytes| *bytes >= 200_000).await.unwrap();

    // It was given away once, which is as often as this allows.
    let size = page["apps"][0]["sizeBytes"].as_f64().unwrap();
    let page = set(&node, &[("ratioMax", json!(200_000.0 / size))])
        .await
        .unwrap();
    assert_eq!(page["apps"][0]["ratioReached"], true, "{page}");
    assert_eq!(page["apps"][0]["uploadedBytes"], 200_000);
    assert_eq!(page["monthBytes"], 200_000);
    refuses(&swarm, &other.swarm, &layer("one")).await;
    let page = set(&node, &[("ratioMax", Value::Null)]).await.unwrap();
    assert_eq!(page["apps"][0]["ratioReached"], false);
    fetched(&other.swarm, &swarm, &layer("one")).await.unwrap();
    drop(swarm);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_budget_and_a_pause_stop_all_but_what_is_published_from_here() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let swarm = node.daemon.node.swarm.ready().await;
    let (asker, other) = (Publisher::start().await, Publisher::start().await);
    let own = vec![7; 300_000];
    let tag = format!("release/{}/own/1", asker.did()).parse().unwrap();
    swarm.provide(&tag, &own[..], None).await.unwrap();

    // The budget is noticed while the daemon runs, not only when something is asked of it.
    set(&node, &[("monthBytesMax", json!(200_000))])
        .await
        .unwrap();
    fetched(&asker.swarm, &swarm, &layer("one")).await.unwrap();
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
    while !swarm.status().upload_limits.is_paused {
        tick.tick().await;
    }
    let page = node.rpc("seeding.show", json!({})).await.unwrap();
    assert_eq!(page["state"]["mode"], "stopped");
    let reason = &page["state"]["reasons"][0];
    assert_eq!(
        (&reason["kind"], &reason["until"]),
        (&json!("budget"), &page["monthEnds"])
    );
    refuses(&swarm, &other.swarm, &layer("one")).await;

    let pause = [
        ("paused", json!(true)),
        ("pausedUntil", json!("2999-01-01T00:00:00Z")),
    ];
    let page = set(&node, &pause).await.unwrap();
    let reasons = page["state"]["reasons"].as_array().unwrap().iter();
    let kinds: Vec<_> = reasons.map(|reason| reason["kind"].clone()).collect();
    assert_eq!(kinds, ["paused", "budget"]);
    fetched(&other.swarm, &swarm, &own).await.unwrap();

    // A pause that is over is none.
    let over = [("pausedUntil", json!("2000-01-01T00:00:00Z"))];
    let page = set(&node, &over).await.unwrap();
    assert_eq!(page["policy"]["paused"], false);
    let page = set(&node, &[("monthBytesMax", Value::Null)]).await.unwrap();
    assert_eq!(page["state"]["mode"], "unlimited");
    fetched(&other.swarm, &swarm, &layer("one")).await.unwrap();
    drop(swarm);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_a_ceiling_and_nonsense_is_answered_with_what_to_do() {
    let relay = crate::bed::Relay::start().await;
    let settings = ["swarm.upload=1 MB".to_owned()];
    let node = Node::start_with(&relay, &[], &settings).await;
    let swarm = node.daemon.node.swarm.ready().await;
    let rate = || {
        let rate = swarm.status().upload_limits.bytes_per_second;
        rate.map(std::num::NonZeroU64::get)
    };
    assert_eq!(rate(), Some(1_000_000));
    for (wished, holds, why) in [
        (json!(5_000_000), 1_000_000, "setting"),
        (json!(400_000), 400_000, "rate"),
        (Value::Null, 1_000_000, "setting"),
    ] {
        let page = set(&node, &[("bytesPerSecond", wished)]).await.unwrap();
        assert_eq!(rate(), Some(holds));
        assert_eq!(page["bytesPerSecondMax"], 1_000_000);
        assert_eq!(page["state"]["reasons"][0]["kind"], why);
    }
    let before = node.rpc("seeding.show", json!({})).await.unwrap();
    for change in [
        ("bytesPerSecond", json!(0)),
        ("ratioMax", json!(-1)),
        (
            "hours",
            json!([{"rule": "only", "days": [], "from": "22:00", "to": "07:00", "bytesPerSecond": null}]),
        ),
        ("appsOff", json!([{"publisher": "me", "slug": "../../etc"}])),
    ] {
        let problem = set(&node, &[change]).await.unwrap_err();
        assert_eq!(problem["kind"], "invalid", "{problem}");
        assert!(!problem["hint"].as_str().unwrap().is_empty(), "{problem}");
    }
    for change in [
        ("bytesPerSecond", json!("fast")),
        ("bytesPerSecond", json!(-5)),
        ("metered", json!("sometimes")),
        ("bytesPerHour", json!(5)),
    ] {
        let problem = set(&node, &[change]).await.unwrap_err();
        assert_eq!(problem["kind"], "invalid", "{problem}");
    }
    let misses = node.rpc("seeding.set", json!({"paused": true})).await;
    assert_eq!(misses.unwrap_err()["kind"], "invalid");
    let after = node.rpc("seeding.show", json!({})).await.unwrap();
    assert_eq!(after["policy"], before["policy"]);
    drop(swarm);
    node.daemon.stop().await;
}
