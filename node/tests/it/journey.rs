//! One app's way: published, heard, fetched, verified, installed, handed on, removed.

use archyd::daemon::DaemonError;
use serde_json::{Value, json};

use crate::bed::{ICON, Node, Publisher, Relay, app, layer, scene, scene_with_notes};
use crate::machine::Mood;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_travels_from_its_publisher_over_one_node_to_the_next() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let b = Node::start(&relay, &[]).await;
    let notes = app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;

    let page = b.has_release(&notes).await;
    assert_eq!(page["card"]["name"], "Notes 1");
    assert_eq!(page["descriptionHtml"], "<h1>Notes</h1>\n");
    assert_eq!(page["publisher"]["trust"]["band"], "new");
    let job = b.install(&notes).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["percent"], 100.0);
    assert_eq!(b.machine.loaded.lock().unwrap()[0].1, layer("one"));
    let list = b.rpc("package.list", json!({})).await.unwrap();
    assert_eq!(list["instances"][0]["app"], notes);
    assert_eq!(list["instances"][0]["state"], "running");
    let icon = list["instances"][0]["icon"].as_str().unwrap().to_owned();
    assert_eq!(
        icon,
        format!("/assets/{}", archy_registry::Blake3Hash::of(ICON))
    );

    // The publisher goes; whoever installed the app hands it on.
    let endpoint = b.daemon.node.swarm.ready().await.endpoint();
    publisher.swarm.shutdown().await;
    let c = Node::start(&relay, std::slice::from_ref(&endpoint)).await;
    c.has_release(&notes).await;
    let job = c.install(&notes).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(c.machine.loaded.lock().unwrap()[0].1, layer("one"));

    // Removed, it is no longer handed on, but stays in the shop window.
    let removal = b
        .rpc("package.uninstall", json!({"slug": "notes"}))
        .await
        .unwrap();
    let removal = b.ended(removal["job"].as_str().unwrap()).await;
    assert_eq!(removal["state"], "succeeded", "{removal}");
    assert!(b.app_tags().await.is_empty());
    assert_eq!(c.app_tags().await.len(), 1);
    let page = b.has_release(&notes).await;
    assert!(page["instance"].is_null());
    let gone = b
        .rpc("package.stop", json!({"slug": "notes"}))
        .await
        .unwrap_err();
    assert_eq!(gone["kind"], "notInstalled");
    b.daemon.stop().await;
    c.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_comes_from_a_seeder_of_whom_only_a_relay_knows() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let notes = app(&publisher, "notes");
    let announces = ["nostr.announce_seeding=true".to_owned()];
    let quiet = Node::start(&relay, &[]).await;
    let seeder = Node::start_with(&relay, &[], &announces).await;
    let signed = publisher.publish(&relay, "notes", 1, &layer("one")).await;
    for node in [&quiet, &seeder] {
        node.has_release(&notes).await;
        assert_eq!(node.install(&notes).await["state"], "succeeded");
    }
    let options = archy_nostr::FindOptions::default();
    let found = loop {
        let found = archy_nostr::find_seeders(&[relay.url()], &signed.hash, &options).await;
        if !found.is_empty() {
            break found;
        }
    };
    let endpoint = seeder.daemon.node.swarm.ready().await.endpoint();
    assert_eq!(found, [endpoint], "who was not told to keeps quiet");

    publisher.swarm.shutdown().await;
    quiet.daemon.stop().await;
    let alone = ["nostr.find_seeders=false".to_owned()];
    let alone = Node::start_with(&relay, &[], &alone).await;
    let late = Node::start(&relay, &[]).await;
    late.has_release(&notes).await;
    let job = late.install(&notes).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(late.machine.loaded.lock().unwrap()[0].1, layer("one"));
    let page = alone.page(&notes, |page| page["card"].is_object()).await;
    assert!(page["release"].is_null(), "{page}");

    // Who removes it takes back what it said.
    let removal = json!({"slug": "notes"});
    let removal = seeder.rpc("package.uninstall", removal).await.unwrap();
    let removal = seeder.ended(removal["job"].as_str().unwrap()).await;
    assert_eq!(removal["state"], "succeeded", "{removal}");
    let named = async || {
        let found = archy_nostr::find_seeders(&[relay.url()], &signed.hash, &options).await;
        !found.is_empty()
    };
    while named().await {}
    for node in [alone, seeder, late] {
        node.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_catalog_and_goes_on_with_installs() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    *node.machine.mood.lock().unwrap() = Mood::Slow;
    let job = node.begin(json!({"app": notes})).await;
    node.machine.begun.notified().await;

    *node.machine.mood.lock().unwrap() = Mood::Well;
    let node = node.restart().await;
    let found = node
        .rpc("store.search", json!({"query": "note"}))
        .await
        .unwrap();
    assert_eq!(found["total"], 1);
    let ended = node.ended(&job).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_install_leaves_nothing() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    *node.machine.mood.lock().unwrap() = Mood::Slow;
    let job = node.begin(json!({"app": notes})).await;
    node.machine.begun.notified().await;
    node.rpc("job.cancel", json!({"job": job})).await.unwrap();
    let ended = node.ended(&job).await;
    assert_eq!(ended["state"], "cancelled", "{ended}");
    assert!(node.app_tags().await.is_empty());
    let again = node
        .rpc("job.cancel", json!({"job": job}))
        .await
        .unwrap_err();
    assert_eq!(again["kind"], "notCancellable");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_image_stays_of_an_install_that_was_not_done() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    let cases = [
        (Mood::LoadFails, "failed"),
        (Mood::LoadsSlowly, "cancelled"),
        (Mood::Slow, "cancelled"),
        (Mood::NeverHealthy, "failed"),
    ];
    for (mood, state) in cases {
        *node.machine.mood.lock().unwrap() = mood;
        let loaded = || node.machine.loaded.lock().unwrap().len();
        let before = loaded();
        let job = node.begin(json!({"app": notes})).await;
        if state == "cancelled" {
            node.machine.begun.notified().await;
            node.rpc("job.cancel", json!({"job": job})).await.unwrap();
        }
        let ended = node.ended(&job).await;
        assert_eq!(ended["state"], state, "{mood:?}: {ended}");
        // What fails while bytes still arrive is tried again when all are here.
        assert!(loaded() > before, "{mood:?}");
        assert_eq!(*node.machine.images.lock().unwrap(), [], "{mood:?}");
    }
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_known_state_is_shown_with_its_age_while_the_machine_does_not_answer() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let apps = |status: &Value| {
        let components = status["components"].as_array().unwrap().iter();
        let mut apps = components.filter(|component| component["name"] == "apps");
        apps.next().unwrap().clone()
    };
    node.status(|status| apps(status)["state"] == "running")
        .await;
    let list = node.rpc("package.list", json!({})).await.unwrap();
    assert_eq!(list["stale"], false);

    node.machine.answers(Some("cannot reach podman"));
    let status = node
        .status(|status| apps(status)["state"] == "degraded")
        .await;
    assert_eq!(apps(&status)["lastError"], "cannot reach podman");
    let stale = node.rpc("package.list", json!({})).await.unwrap();
    assert_eq!(stale["stale"], true);
    assert_eq!(stale["observed"], list["observed"]);
    assert_eq!(stale["instances"], list["instances"]);
    let health = node.rpc("package.health", json!({"slug": "notes"})).await;
    let health = health.unwrap();
    assert_eq!(
        (&health["stale"], &health["observed"], &health["state"]),
        (&json!(true), &list["observed"], &json!("running"))
    );

    node.machine.answers(None);
    node.status(|status| apps(status)["state"] == "running")
        .await;
    let other = "other".parse().unwrap();
    node.machine.damages(Some((other, "desired.json is torn")));
    let status = node
        .status(|status| apps(status)["state"] == "degraded")
        .await;
    assert_eq!(
        apps(&status)["lastError"],
        "nothing is done to other: desired.json is torn"
    );
    node.machine.damages(None);
    node.status(|status| apps(status)["state"] == "running")
        .await;
    let list = node.rpc("package.list", json!({})).await.unwrap();
    assert_eq!(list["stale"], false);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_never_answers_is_taken_back_and_counts_against_its_publisher() {
    let (relay, publisher, node, notes) = scene().await;
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    let before = node.has_release(&notes).await;
    *node.machine.mood.lock().unwrap() = Mood::NeverHealthy;
    let job = node.install(&notes).await;
    assert_eq!(job["state"], "failed");
    assert_eq!(job["problem"]["kind"], "neverHealthy");
    assert!(node.app_tags().await.is_empty());
    let after = node.has_release(&notes).await;
    let points = |page: &serde_json::Value| page["publisher"]["trust"]["points"].as_f64().unwrap();
    assert!(points(&after) <= points(&before));
    assert_ne!(
        after["publisher"]["reasons"],
        before["publisher"]["reasons"]
    );
    let sum: f64 = after["publisher"]["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason["points"].as_f64().unwrap())
        .sum();
    assert!((sum - points(&after)).abs() < 1e-9);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_updated_goes_back_and_is_taken_back_when_it_does_not_come_up() {
    let (relay, publisher, node, notes) = scene().await;
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    let first = node.has_release(&notes).await["release"]["hash"].clone();
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let slug = json!({"slug": "notes"});
    let nothing = node.rpc("package.rollback", slug.clone()).await.unwrap();
    let ended = node.ended(nothing["job"].as_str().unwrap()).await;
    assert_eq!(ended["problem"]["kind"], "noEarlier", "{ended}");

    publisher.publish(&relay, "notes", 2, &layer("two")).await;
    let release = async || {
        let instance = node.rpc("package.status", json!({"slug": "notes"})).await;
        instance.unwrap()
    };
    let offered = |page: &Value| page["instance"]["offer"]["seq"] == 2;
    node.page(&notes, offered).await;
    *node.machine.mood.lock().unwrap() = Mood::NeverHealthy;
    let run = async |method: &str| {
        let job = node.rpc(method, slug.clone()).await.unwrap();
        node.ended(job["job"].as_str().unwrap()).await
    };
    let failed = run("package.update").await;
    assert_eq!(failed["problem"]["kind"], "takenBack", "{failed}");
    assert_eq!(
        *node.machine.images.lock().unwrap(),
        [],
        "of the version that failed"
    );

    *node.machine.mood.lock().unwrap() = Mood::Well;
    let updated = run("package.update").await;
    assert_eq!(updated["state"], "succeeded", "{updated}");
    let instance = release().await;
    assert_eq!(instance["before"]["release"], first);
    assert_eq!(instance["offer"], Value::Null);
    let back = run("package.rollback").await;
    assert_eq!(back["state"], "succeeded", "{back}");
    let instance = release().await;
    assert_eq!(
        instance["offer"]["seq"], 2,
        "the newer version is still there to have"
    );
    let anew = run("package.reinstall").await;
    assert_eq!(anew["state"], "succeeded", "{anew}");
    let wrong = json!({"slug": "notes", "containers": {"web": {"memory": "much"}}});
    let refused = node.rpc("package.configure", wrong).await.unwrap_err();
    assert_eq!(refused["kind"], "invalid");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_goes_on_after_a_restart_of_the_daemon() {
    let (relay, publisher, node, notes) = scene().await;
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    publisher.publish(&relay, "notes", 2, &layer("two")).await;
    let offered = |page: &Value| page["instance"]["offer"]["seq"] == 2;
    node.page(&notes, offered).await;
    *node.machine.mood.lock().unwrap() = Mood::Slow;
    let job = node.rpc("package.update", json!({"slug": "notes"})).await;
    let job = job.unwrap()["job"].as_str().unwrap().to_owned();
    // Once by the install.
    node.machine.begun.notified().await;
    node.machine.begun.notified().await;
    *node.machine.mood.lock().unwrap() = Mood::Well;
    let node = node.restart().await;
    let ended = node.ended(&job).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gains_nothing_is_updated_unasked_when_the_owner_lets_it() {
    let (relay, publisher, node, notes) = scene().await;
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    publisher.publish(&relay, "notes", 2, &layer("two")).await;
    let offered = |page: &Value| page["instance"]["offer"]["seq"] == 2;
    node.page(&notes, offered).await;
    assert_eq!(node.daemon.node.update_by_itself().await, 0, "a stranger's");
    let page = node.rpc("policy.show", json!({})).await.unwrap();
    let mut policy = page["policy"].clone();
    policy["updatePointsMin"] = json!(0);
    node.rpc("policy.set", policy).await.unwrap();
    // Unless the node's own look, which begins with its start, comes only now and is the one that does it.
    node.daemon.node.update_by_itself().await;
    let jobs = node.rpc("job.list", json!({})).await.unwrap();
    let job = jobs
        .as_array()
        .unwrap()
        .iter()
        .find(|job| job["kind"] == "update");
    let ended = node.ended(job.unwrap()["id"].as_str().unwrap()).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let back = node
        .rpc("package.rollback", json!({"slug": "notes"}))
        .await
        .unwrap();
    let ended = node.ended(back["job"].as_str().unwrap()).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(
        node.daemon.node.update_by_itself().await,
        0,
        "its owner left that version"
    );
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_swarm_broke_ends_so_that_it_is_started_anew() {
    let (_relay, _publisher, node, _notes) = scene_with_notes().await;
    let swarm = node.daemon.node.swarm.ready().await;
    swarm.kill_endpoint().await;
    let error = node.daemon.run(std::future::pending()).await.unwrap_err();
    assert!(matches!(error, DaemonError::Part("swarm")), "{error}");
}
