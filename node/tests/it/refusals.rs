//! What is wrong is refused with words that say which check failed, and nothing of it stays.

use std::os::unix::fs::FileExt;
use std::path::Path;

use archy_registry::SigningKey;
use serde_json::{Value, json};

use crate::bed::{Node, Publisher, Relay, app, layer, scene, scene_with_notes, sha256};

async fn failed(node: &Node, app: &Value, kind: &str) -> Value {
    let job = node.install(app).await;
    assert_eq!(job["state"], "failed", "{job}");
    assert_eq!(job["problem"]["kind"], kind, "{job}");
    assert!(node.app_tags().await.is_empty());
    let list = node.rpc("package.list", json!({})).await.unwrap();
    assert_eq!(list["instances"], json!([]));
    job["problem"].clone()
}

/// Flips one bit in the last quarter of the stored copy of the one blob of this size: so far in that the sender
/// comes to it only after the receiver has read, because no stream carries so much unread.
fn flip_a_bit(dir: &Path, size_bytes: u64) {
    let place = size_bytes / 4 * 3;
    let mut flipped = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                dirs.push(entry.path());
            } else if metadata.len() == size_bytes {
                let file = std::fs::File::options()
                    .read(true)
                    .write(true)
                    .open(entry.path())
                    .unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, place).unwrap();
                file.write_all_at(&[byte[0] ^ 1], place).unwrap();
                flipped += 1;
            }
        }
    }
    assert_eq!(
        flipped, 1,
        "the blob store keeps a large blob in a file of its own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_names_the_node_that_sent_it() {
    let (relay, publisher, node, notes) = scene().await;
    let large = layer("one").repeat(40);
    publisher.publish(&relay, "notes", 1, &large).await;
    node.has_release(&notes).await;
    flip_a_bit(publisher.dir.path(), large.len() as u64);
    let problem = failed(&node, &notes, "content").await;
    let blob = archy_registry::Blake3Hash::of(&large).to_string();
    assert!(problem["details"].to_string().contains(&blob), "{problem}");
    let message = problem["message"].as_str().unwrap();
    assert!(
        message.contains(&publisher.endpoint().id.to_string()),
        "{message}"
    );
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_contradicts_itself_or_its_release_never_reaches_podman() {
    type Change = fn(&mut Value, &mut Value);
    let cases: [(&str, Change); 3] = [
        ("another layer is named", |config, _| {
            config["rootfs"]["diff_ids"][0] = sha256(b"of another app").to_string().into();
        }),
        ("more layers are named", |config, _| {
            let more = config["rootfs"]["diff_ids"][0].clone();
            config["rootfs"]["diff_ids"]
                .as_array_mut()
                .unwrap()
                .push(more);
        }),
        ("the manifest has fewer", |_, manifest| {
            manifest["layers"] = json!([])
        }),
    ];
    for (case, change) in cases {
        let (relay, publisher, node, notes) = scene().await;
        let layer = publisher.layer(&layer("one")).await;
        let key = &publisher.key;
        let signed = publisher.release_changed("notes", 1, layer, Vec::new(), key, change);
        publisher
            .announce_release(&relay, "notes", &signed.await)
            .await;
        node.has_release(&notes).await;
        let problem = failed(&node, &notes, "content").await;
        assert_eq!(
            problem["message"], "The image of container notes contradicts itself",
            "{case}"
        );
        assert!(node.machine.loaded.lock().unwrap().is_empty(), "{case}");
        node.daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_signed_by_another_key_is_not_the_publishers() {
    let (relay, publisher, node, notes) = scene().await;
    let thief = SigningKey::generate().unwrap();
    let forged = publisher.release("notes", 1, &layer("evil"), &thief).await;
    let card = publisher.announcement(&forged);
    publisher
        .announce(&relay, "notes", &card, &publisher.key)
        .await;
    let page = node.page(&notes, |page| page["problem"].is_object()).await;
    assert_eq!(page["problem"]["kind"], "signature");
    assert!(page["release"].is_null());
    let problem = failed(&node, &notes, "signature").await;
    let message = format!(
        "The release is signed by {}, which does not speak for its publisher",
        thief.did()
    );
    assert_eq!(problem["message"], message);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_signed_by_another_key_never_reaches_the_catalog() {
    let (relay, publisher, node, notes) = scene().await;
    let thief = SigningKey::generate().unwrap();
    let release = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    let card = publisher.announcement(&release);
    publisher.announce(&relay, "notes", &card, &thief).await;
    let problem = node.refusal("signature").await;
    let message = format!(
        "The announcement is signed by {}, which does not speak for its publisher",
        thief.did()
    );
    assert_eq!(problem["message"], message);
    let found = node.rpc("store.search", json!({})).await.unwrap();
    assert_eq!(found["total"], 0);
    failed(&node, &notes, "signature").await;
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_release_announced_again_is_a_rollback() {
    let (relay, publisher, node, notes) = scene().await;
    let old = publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    publisher.publish(&relay, "notes", 2, &layer("two")).await;
    node.page(&notes, |page| page["release"]["seq"] == 2).await;

    // Signed by the publisher's own key, dated now.
    let card = publisher.announcement(&old);
    publisher
        .announce(&relay, "notes", &card, &publisher.key)
        .await;
    let problem = node.refusal("rollback").await;
    assert_eq!(
        problem["message"],
        "Release 1 of the app is older than release 2, which this node has seen"
    );
    let page = node.has_release(&notes).await;
    assert_eq!(page["release"]["seq"], 2);

    let job = node
        .begin(json!({"app": notes, "release": old.hash.to_string()}))
        .await;
    let ended = node.ended(&job).await;
    assert_eq!(ended["state"], "failed");
    assert_eq!(ended["problem"]["kind"], "rollback", "{ended}");

    // A newer number on the card, the old release behind it.
    let mut card = publisher.announcement(&old);
    card.seq = 3;
    publisher
        .announce(&relay, "notes", &card, &publisher.key)
        .await;
    node.page(&notes, |page| page["problem"]["kind"] == "rollback")
        .await;
    failed(&node, &notes, "rollback").await;
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_names_another_publishers_release_is_refused() {
    let relay = Relay::start().await;
    let (publisher, other) = (Publisher::start().await, Publisher::start().await);
    let node = Node::start(&relay, &[]).await;
    let others = other.release("notes", 1, &layer("other"), &other.key).await;
    let mut card = publisher.announcement(&others);
    card.publisher = publisher.did();
    publisher
        .announce(&relay, "notes", &card, &publisher.key)
        .await;
    let notes = app(&publisher, "notes");
    node.page(&notes, |page| page["problem"].is_object()).await;
    let problem = failed(&node, &notes, "wrongPublisher").await;
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains(&other.did().to_string()), "{message}");
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_publishers_app_under_the_same_slug_is_another_app() {
    let relay = Relay::start().await;
    let (first, second) = (Publisher::start().await, Publisher::start().await);
    let node = Node::start(&relay, &[]).await;
    let (mine, theirs) = (app(&first, "notes"), app(&second, "notes"));
    first.publish(&relay, "notes", 1, &layer("one")).await;
    second.publish(&relay, "notes", 1, &layer("two")).await;
    node.has_release(&mine).await;
    let page = node.page(&theirs, |page| page["release"].is_object()).await;
    assert_eq!(page["card"]["sameNameAs"], json!([first.did().to_string()]));
    assert_eq!(node.install(&mine).await["state"], "succeeded");
    let job = node.install(&theirs).await;
    assert_eq!(job["problem"]["kind"], "slugTaken", "{job}");
    let list = node.rpc("package.list", json!({})).await.unwrap();
    assert_eq!(list["instances"].as_array().unwrap().len(), 1);
    assert_eq!(list["instances"][0]["app"], mine);
    assert_eq!(node.app_tags().await.len(), 1);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_names_another_apps_release_is_refused() {
    let (relay, publisher, node, notes) = scene().await;
    let other = publisher
        .release("other", 1, &layer("other"), &publisher.key)
        .await;
    let mut card = publisher.announcement(&other);
    card.slug = "notes".parse().unwrap();
    publisher
        .announce(&relay, "notes", &card, &publisher.key)
        .await;
    node.page(&notes, |page| page["problem"]["kind"] == "wrongApp")
        .await;
    failed(&node, &notes, "wrongApp").await;

    // Relabelled by whoever carries it: the statement inside says what it is.
    let card = publisher.announcement(&other);
    publisher
        .announce(&relay, "tracker", &card, &publisher.key)
        .await;
    node.refusal("wrongApp").await;
    let unknown = failed(&node, &app(&publisher, "calendar"), "notFound").await;
    assert!(unknown["hint"].is_string());
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_under_one_number_end_the_trust_in_a_publisher() {
    let (relay, publisher, node, notes) = scene_with_notes().await;
    publisher
        .publish(&relay, "notes", 1, &layer("another one"))
        .await;
    node.refusal("equivocation").await;
    let page = node.page(&notes, |page| page["problem"].is_object()).await;
    assert_eq!(page["problem"]["kind"], "refused");
    assert_eq!(page["publisher"]["trust"]["band"], "refused");
    failed(&node, &notes, "refused").await;
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_to_fetch_from_is_said_and_can_be_tried_again() {
    let (_relay, publisher, node, notes) = scene_with_notes().await;
    publisher.swarm.shutdown().await;
    let job = node.install(&notes).await;
    assert_eq!(job["state"], "failed");
    assert_eq!(job["problem"]["kind"], "noProvider", "{job}");
    node.daemon.stop().await;
}
