//! Containers that run before the daemon comes: who may claim them, and what the API says of them.

use archy_orchestrator::{Foreign, Origin};
use serde_json::{Value, json};

use crate::bed::scene_with_notes;

pub(crate) fn foreign(name: &str) -> Foreign {
    Foreign {
        id: format!("id-of-{name}"),
        name: name.to_owned(),
        image: "localhost/old:1".to_owned(),
        state: "running".to_owned(),
        started_at: None,
        origin: Origin::Compose {
            project: "mine".to_owned(),
            service: None,
        },
        restart: "always".to_owned(),
        ports: Vec::new(),
        mounts: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_listed_claimed_migrated_and_given_back() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    *node.machine.foreign.lock().unwrap() = vec![foreign("notes"), foreign("other")];
    let list = node.rpc("package.adoptable", json!({})).await.unwrap();
    let [first, second] = &list["containers"].as_array().unwrap()[..] else {
        panic!("{list}");
    };
    assert_eq!(
        (&first["origin"], &first["originName"]),
        (&json!("compose"), &json!("mine"))
    );
    assert_eq!(first["unclaimed"], Value::Null);
    assert!(second["unclaimed"].is_string(), "{second}");
    assert_eq!(list["candidates"][0]["app"], notes);
    assert_eq!(list["candidates"][0]["hindrance"], Value::Null);

    let claimed = node.done("package.adopt", json!({"app": notes})).await;
    assert_eq!(claimed["state"], "succeeded", "{claimed}");
    let status = async || {
        let instance = node.rpc("package.status", json!({"slug": "notes"})).await;
        instance.unwrap()["adoption"]["migrated"].clone()
    };
    assert_eq!(status().await, false);
    assert!(
        node.machine.loaded.lock().unwrap().is_empty(),
        "a claim fetches no image"
    );
    let slug = json!({"slug": "notes"});
    let plan = node.rpc("package.migration", slug.clone()).await.unwrap();
    assert_eq!(plan["slug"], "notes");
    let migrated = node
        .done("package.migrate", json!({"slug": "notes", "accept": ["x"]}))
        .await;
    assert_eq!(migrated["state"], "succeeded", "{migrated}");
    assert_eq!(status().await, true);
    assert!(
        !node.machine.loaded.lock().unwrap().is_empty(),
        "a migration brings the signed image"
    );
    let undone = node.done("package.unmigrate", slug.clone()).await;
    assert_eq!(undone["state"], "succeeded", "{undone}");
    assert_eq!(status().await, false);
    let migrated = node.done("package.migrate", slug.clone()).await;
    assert_eq!(migrated["state"], "succeeded", "{migrated}");
    let finished = node.done("package.finish", slug).await;
    assert_eq!(finished["state"], "succeeded", "{finished}");
    assert_eq!(status().await, Value::Null);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_install_may_not_claim() {
    let (_relay, publisher, node, notes) = scene_with_notes().await;
    *node.machine.foreign.lock().unwrap() = vec![foreign("notes")];
    let publisher = publisher.did().to_string();
    let block = json!({"publisher": publisher, "blocked": true});
    node.rpc("trust.block", block).await.unwrap();
    let install = node.install(&notes).await["problem"].clone();
    let claim = node.done("package.adopt", json!({"app": notes})).await["problem"].clone();
    assert!(install.is_object());
    assert_eq!(claim, install, "the same check, with the same words");
    let unblock = json!({"publisher": publisher, "blocked": false});
    node.rpc("trust.block", unblock).await.unwrap();
    let claimed = node.done("package.adopt", json!({"app": notes})).await;
    assert_eq!(claimed["state"], "succeeded", "{claimed}");
    // What was claimed while it was allowed is not migrated once it is not.
    let block = json!({"publisher": publisher, "blocked": true});
    node.rpc("trust.block", block).await.unwrap();
    let migrated = node.done("package.migrate", json!({"slug": "notes"})).await;
    assert_eq!(migrated["state"], "failed", "{migrated}");
    node.daemon.stop().await;
}
