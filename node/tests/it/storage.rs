//! What the node tells the blob store, and how its owner sees and checks what is stored.

use archy_swarm::Class;
use serde_json::{Value, json};

use crate::bed::{Node, layer, scene_with_notes};

/// Waits until the check has ended.
async fn checked(node: &Node) -> Value {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        tick.tick().await;
        let page = node.rpc("storage.show", json!({})).await.unwrap();
        if page["fsck"]["running"] == json!(false) {
            return page;
        }
    }
}

async fn classes(node: &Node) -> Vec<(String, Class)> {
    let swarm = node.daemon.node.swarm.ready().await;
    let tags = swarm.tags().into_iter();
    let tags = tags.filter(|usage| usage.tag.as_str().starts_with("app/"));
    tags.map(|usage| {
        let seq = usage.tag.as_str().rsplit_once('/').unwrap().1.to_owned();
        (seq, usage.class)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_is_kept_checked_and_mended() {
    let (_relay, _publisher, node, notes) = scene_with_notes().await;
    let job = node.install(&notes).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(classes(&node).await, [("1".to_owned(), Class::Installed)]);

    let page = node.rpc("storage.show", json!({})).await.unwrap();
    let installed = &page["classes"][0];
    assert_eq!(installed["class"], "installed");
    assert!(installed["sizeBytes"].as_u64().unwrap() > 200_000, "{page}");
    assert!(
        page["usedBytes"].as_u64() <= page["quotaBytes"].as_u64(),
        "{page}"
    );
    assert!(page["fsck"].is_null());
    let sum = |rows: &Value| -> u64 {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["sizeBytes"].as_u64().unwrap()).sum()
    };
    assert_eq!(
        page["usedBytes"].as_u64().unwrap(),
        sum(&page["classes"]),
        "{page}"
    );
    let sets = page["sets"].as_array().unwrap().iter();
    let mut sets = sets.filter(|set| set["kind"] == "app");
    let set = sets.next().unwrap();
    assert_eq!(set["app"], notes, "{page}");
    let shown = node.has_release(&notes).await;
    for member in ["name", "version"] {
        assert!(set[member].is_string(), "{set}");
        assert_eq!(set[member], shown["card"][member], "{shown}");
    }
    assert_eq!(
        (&set["class"], &set["complete"]),
        (&json!("installed"), &json!(true))
    );
    assert!(set["sizeBytes"].as_u64().unwrap() > 200_000, "{set}");
    assert!(sets.next().is_none() && page["setsMore"] == 0, "{page}");

    let blob = archy_registry::Blake3Hash::of(&layer("one"));
    let data = node.dir.path().join("home/.local/share/archy/blobs/data");
    std::fs::write(data.join(format!("{blob}.data")), vec![0; 200_000]).unwrap();
    node.rpc("storage.fsck", json!({})).await.unwrap();
    let page = checked(&node).await;
    let bad = &page["fsck"]["bad"];
    assert_eq!(bad.as_array().unwrap().len(), 1, "{page}");
    assert_eq!(bad[0]["blob"], blob.to_string());
    assert_eq!(
        (&bad[0]["wrong"], &bad[0]["mended"]),
        (&json!("damaged"), &json!(true))
    );
    assert_eq!(bad[0]["apps"], json!([shown["card"]["name"]]), "{page}");
    let swarm = node.daemon.node.swarm.ready().await;
    assert_eq!(swarm.read(blob, 200_000).await.unwrap(), layer("one"));

    // A daemon that comes back knows it, too.
    drop(swarm);
    let node = node.restart().await;
    assert_eq!(classes(&node).await, [("1".to_owned(), Class::Installed)]);
    node.rpc("storage.fsck", json!({})).await.unwrap();
    let page = checked(&node).await;
    assert_eq!(page["fsck"]["bad"], json!([]), "{page}");
    assert_eq!(page["fsck"]["blobsDone"], page["fsck"]["blobsTotal"]);
    node.rpc("storage.fsck", json!({"stop": true}))
        .await
        .unwrap();
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_that_does_not_fit_says_how_much_is_needed_and_what_to_do() {
    let relay = crate::bed::Relay::start().await;
    let publisher = crate::bed::Publisher::start().await;
    let quota = ["swarm.quota=150 kB".to_owned()];
    let node = Node::start_with(&relay, &[], &quota).await;
    let notes = crate::bed::app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    let job = node.install(&notes).await;
    assert_eq!(job["state"], "failed", "{job}");
    assert_eq!(job["problem"]["kind"], "diskFull");
    let message = job["problem"]["message"].as_str().unwrap();
    assert!(
        message.contains("it needs 0.2 MB") && message.contains("of the 0.1 MB"),
        "{message}"
    );
    assert!(
        job["problem"]["hint"]
            .as_str()
            .unwrap()
            .contains("swarm.quota"),
        "{job}"
    );
    node.daemon.stop().await;
}
