//! Backups over the API: made, listed, put back here and elsewhere, proven, and made by themselves.

use archy_orchestrator::Papers;
use archy_registry::AppId;
use jiff::Zoned;
use serde_json::{Value, json};

use crate::bed::{Node, layer, scene_with_notes};
use crate::machine::Mood;

fn daily() -> Value {
    json!({"every": "daily", "at": "03:30", "rehearse": "each",
        "keep": {"last": 1, "daily": 2, "weekly": 3, "monthly": 4}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_listed_proven_and_put_back() {
    let (relay, publisher, node, notes) = scene_with_notes().await;
    node.install(&notes).await;
    let made = node.done("backup.create", json!({"slug": "notes"})).await;
    assert_eq!(made["state"], "succeeded", "{made}");
    assert_eq!(made["kind"], "backup");
    let list = node.rpc("backup.list", json!({})).await.unwrap();
    let backup = &list["backups"][0];
    assert_eq!(backup["app"], notes);
    assert!(backup["proof"].is_null());
    assert_eq!(list["passwordFile"], "/keys/backups.password");
    assert!(list["unreadable"].is_null());
    let lost = "/data/backups.unreadable.json";
    node.machine.kept.shelf.lock().unwrap().unreadable = Some(lost.into());
    let list = node.rpc("backup.list", json!({})).await.unwrap();
    assert_eq!(list["unreadable"], lost);
    let id = backup["id"].clone();

    let proven = node.done("backup.verify", json!({"slug": "notes"})).await;
    assert_eq!(proven["state"], "succeeded", "{proven}");
    *node.machine.mood.lock().unwrap() = Mood::NeverHealthy;
    let not = node.done("backup.verify", json!({"backup": id})).await;
    assert_eq!(not["problem"]["kind"], "notProven", "{not}");
    let list = node
        .rpc("backup.list", json!({"slug": "notes"}))
        .await
        .unwrap();
    assert_eq!(list["backups"][0]["proof"]["failure"], "it never answered");
    *node.machine.mood.lock().unwrap() = Mood::Well;
    node.done("backup.verify", json!({"backup": id})).await;

    // What is not the backup's fault leaves the proof alone, and is told.
    let params = json!({"slug": "notes", "schedule": daily()});
    node.rpc("backup.schedule", params).await.unwrap();
    let before = node.rpc("backup.list", json!({})).await.unwrap();
    let proof = &before["backups"][0]["proof"];
    assert_eq!(proof["proven"], proof["at"]);
    let publisher_did = notes["publisher"].as_str().unwrap().to_owned();
    let block = async |blocked: bool| {
        let params = json!({"publisher": publisher_did, "blocked": blocked});
        node.rpc("trust.block", params).await.unwrap();
    };
    block(true).await;
    let refused = node.done("backup.verify", json!({"backup": id})).await;
    assert_eq!(refused["state"], "failed", "{refused}");
    let after = node.rpc("backup.list", json!({})).await.unwrap();
    assert_eq!(&after["backups"][0]["proof"], proof);
    assert_eq!(
        after["plans"][0]["unrehearsed"],
        refused["problem"]["message"]
    );
    block(false).await;
    let params = json!({"slug": "notes", "schedule": null});
    node.rpc("backup.schedule", params).await.unwrap();

    // Over a newer version, then after everything is gone.
    publisher.publish(&relay, "notes", 2, &layer("two")).await;
    node.page(&notes, |page| page["release"]["seq"] == 2).await;
    node.done("package.update", json!({"slug": "notes"})).await;
    let version = async || {
        let status = node.rpc("package.status", json!({"slug": "notes"})).await;
        status.unwrap()["version"].clone()
    };
    let newer = version().await;
    let restored = node.done("backup.restore", json!({"backup": id})).await;
    assert_eq!(restored["state"], "succeeded", "{restored}");
    assert_ne!(version().await, newer);
    node.done("package.uninstall", json!({"slug": "notes", "purge": true}))
        .await;
    let restored = node.done("backup.restore", json!({"backup": id})).await;
    assert_eq!(restored["state"], "succeeded", "{restored}");
    assert_eq!(version().await, backup["version"]);
    let left = node.rpc("backup.remove", json!({"backup": id})).await;
    assert_eq!(left.unwrap()["backups"], json!([]));

    for (method, params, kind) in [
        ("backup.create", json!({"slug": "other"}), "notInstalled"),
        ("backup.restore", json!({"backup": "ffffffff"}), "notFound"),
        ("backup.remove", json!({"backup": id}), "notFound"),
        ("backup.remove", json!({"backup": "--all"}), "invalid"),
        ("backup.restore", json!({"backup": "../../etc"}), "invalid"),
        ("backup.restore", json!({"backup": "latest"}), "invalid"),
        ("backup.verify", json!({}), "invalid"),
        ("backup.verify", json!({"slug": "other"}), "notFound"),
    ] {
        let refused = node.rpc(method, params).await.unwrap_err();
        assert_eq!(refused["kind"], kind, "{method} {refused}");
    }
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_heard_of_the_app_checks_the_release_in_the_backup() {
    let (_relay, publisher, node, notes) = scene_with_notes().await;
    node.install(&notes).await;
    node.done("backup.create", json!({"slug": "notes"})).await;
    let (_, papers) = node.machine.kept.papers.lock().unwrap()[0].clone();
    let of: AppId = format!("{}/notes", publisher.did()).parse().unwrap();

    let silence = crate::bed::Relay::start().await;
    let other = Node::start(&silence, &[publisher.endpoint()]).await;
    let good = other.machine.kept.put(of.clone(), "1", papers.clone());
    let restored = other
        .done("backup.restore", json!({"backup": good.id}))
        .await;
    assert_eq!(restored["state"], "succeeded", "{restored}");

    let mut forged: Value = serde_json::from_slice(&papers.release).unwrap();
    forged["manifest"]["app"]["tagline"] = json!("another");
    let forged = Papers {
        release: serde_json::to_vec(&forged).unwrap(),
        keys: None,
    };
    let forged = other.machine.kept.put(of, "1", forged);
    let refused = other
        .done("backup.restore", json!({"backup": forged.id}))
        .await;
    assert_eq!(refused["state"], "failed", "{refused}");
    assert_eq!(refused["problem"]["kind"], "signature", "{refused}");
    let label = AppId {
        publisher: publisher.did(),
        slug: "page".parse().unwrap(),
    };
    let label = other.machine.kept.put(label, "1", papers);
    let refused = other
        .done("backup.restore", json!({"backup": label.id}))
        .await;
    assert_eq!(refused["problem"]["kind"], "wrongApp", "{refused}");
    node.daemon.stop().await;
    other.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_made_one_after_another_and_failures_are_told() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    node.install(&notes).await;
    let schedule = |schedule: Value| {
        let params = json!({"slug": "notes", "schedule": schedule});
        node.rpc("backup.schedule", params)
    };
    let mut wrong = daily();
    wrong["at"] = json!("25:00");
    assert_eq!(schedule(wrong).await.unwrap_err()["kind"], "invalid");
    let planned = schedule(daily()).await.unwrap();
    assert_eq!(planned["plans"][0]["schedule"], daily());
    assert!(planned["plans"][0]["next"].is_string(), "{planned}");

    let daemon = &node.daemon.node;
    let later = |hours| {
        let now = Zoned::now();
        now.checked_add(jiff::Span::new().hours(hours)).unwrap()
    };
    // The daemon's own look may come first, and a job is told to have ended a moment before another may begin.
    let next = async |now: &Zoned, last: &Value| loop {
        daemon.back_up_by_itself(now).await;
        let jobs = node.rpc("job.list", json!({"limit": 1})).await.unwrap();
        if jobs[0]["id"] != last["id"] {
            break node.ended(jobs[0]["id"].as_str().unwrap()).await;
        }
        tokio::task::yield_now().await;
    };
    let installed = node.rpc("job.list", json!({"limit": 1})).await.unwrap()[0].clone();
    *node.machine.mood.lock().unwrap() = Mood::LoadFails;
    let failed = next(&later(0), &installed).await;
    assert_eq!(failed["problem"]["kind"], "diskFull");
    let list = node.rpc("backup.list", json!({})).await.unwrap();
    assert_eq!(list["plans"][0]["failure"], "There is no room");
    let kept = &node.machine.kept;
    assert_eq!(kept.thinned.lock().unwrap().len(), 1, "room may be made");
    let waits = async || daemon.back_up_by_itself(&later(0)).await.is_none();
    assert!(waits().await, "not before an hour has passed");

    *node.machine.mood.lock().unwrap() = Mood::Slow;
    daemon.back_up_by_itself(&later(2)).await.unwrap();
    node.machine.begun.notified().await;
    let slow = node.rpc("job.list", json!({"limit": 1})).await.unwrap()[0].clone();
    let id = json!({"job": slow["id"]});
    node.rpc("job.cancel", id).await.unwrap();
    let cancelled = node.ended(slow["id"].as_str().unwrap()).await;
    assert_eq!(cancelled["state"], "cancelled");
    let list = node.rpc("backup.list", json!({})).await.unwrap();
    assert_eq!(list["plans"][0]["failure"], "It was cancelled");
    assert!(waits().await, "nor after that");

    *node.machine.mood.lock().unwrap() = Mood::Well;
    let made = next(&later(2), &cancelled).await;
    assert_eq!(
        (&made["kind"], &made["state"]),
        (&json!("backup"), &json!("succeeded"))
    );
    assert_eq!(kept.thinned.lock().unwrap().len(), 2);
    let proven = next(&later(0), &made).await;
    assert_eq!(
        (&proven["kind"], &proven["state"]),
        (&json!("verify"), &json!("succeeded"))
    );
    assert_eq!(daemon.back_up_by_itself(&later(0)).await, None);

    assert_eq!(schedule(Value::Null).await.unwrap()["plans"], json!([]));
    node.daemon.stop().await;
}
