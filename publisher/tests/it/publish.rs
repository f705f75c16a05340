//! `archy publish` to a node, a swarm and a relay, and what others then hear and fetch.

use std::path::Path;
use std::time::Duration;

use archy_nostr::{Config, Follower, Heard, MemoryCursors, Subject};
use archy_registry::key_state::{KeyState, chain};
use archy_registry::release::Platform;
use archy_registry::{Verified, announcement, release};
use archy_swarm::{Class, Discovery, FetchRequest, Role, Swarm, Wanted};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::image;
use crate::node::TestNode;
use crate::person::Person;

/// A time that only a broken relay or swarm needs.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) async fn publisher(node: &TestNode) -> Person {
    let person = Person::with_node(&node.socket);
    assert_eq!(person.types(&["identity", "new"]).await.code, 0);
    assert_eq!(person.types(&["app", "new", "notes"]).await.code, 0);
    image::write(&person.home().join("image"), "amd64", "first");
    person
}

pub(crate) const PUBLISH: [&str; 5] = ["--json", "publish", "notes", "--image", "oci:image"];

/// What a stranger hears from the relay: everything there is, in order.
pub(crate) async fn heard(node: &TestNode, count: usize) -> Vec<Heard> {
    let config = Config::new(vec![node.relay.url().clone()]);
    let (_follower, mut heard) =
        Follower::start(config, MemoryCursors::default(), &CancellationToken::new());
    let mut all = Vec::new();
    while all.len() < count {
        let message = tokio::time::timeout(DEADLINE, heard.recv())
            .await
            .expect("the relay has the events")
            .unwrap();
        all.extend(message.into_statement());
    }
    all
}

/// Believes what was heard as a node does: the key state first, then announcements against it.
pub(crate) fn believed(
    heard: &[Heard],
) -> (Verified<KeyState>, Verified<announcement::Announcement>) {
    let now = Timestamp::now();
    let state = heard
        .iter()
        .find(|one| one.subject == Subject::KeyState)
        .expect("a key state");
    let publisher = chain::claimed_publisher(&state.content).unwrap();
    let history = chain::verify(&state.content, publisher, now).unwrap();
    let state = history.newest().clone();
    let card = heard
        .iter()
        .find(|one| one.subject != Subject::KeyState)
        .expect("an announcement");
    assert!(state.binds_nostr(&card.pubkey.to_string(), now));
    let card = announcement::verify(&card.content, &state, now).unwrap();
    (state, card)
}

async fn stranger(dir: &Path) -> Swarm {
    let config = archy_swarm::Config {
        discovery: Discovery {
            mdns: false,
            n0: false,
            gossip: true,
        },
        ..archy_swarm::Config::new(dir)
    };
    Swarm::start(config, CancellationToken::new())
        .await
        .unwrap()
}

async fn fetch(swarm: &Swarm, origin: &release::Origin, blobs: Vec<Wanted>) {
    let request = FetchRequest {
        tag: "test".parse().unwrap(),
        class: Class::Cache,
        blobs,
        origin: origin.endpoints.clone(),
        peers: Vec::new(),
        share: false,
    };
    swarm
        .fetch(request, &CancellationToken::new())
        .finish()
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_published_is_heard_believed_and_fetched_by_a_stranger() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let published = person.types(&PUBLISH).await;
    assert_eq!(published.code, 0, "{published:?}");
    let published = published.json();
    assert_eq!(published["seq"], 1);
    assert_eq!(published["platforms"], json!(["linux/amd64"]));
    assert_eq!(
        published["announced"]["accepted"],
        json!([node.relay.url().to_string()])
    );

    let (state, card) = believed(&heard(&node, 2).await);
    assert_eq!(card.publisher.to_string(), published["app"]["publisher"]);
    assert_eq!(card.slug.to_string(), "notes");
    assert_eq!(card.release.blake3.to_string(), published["release"]);

    let dir = tempfile::tempdir().unwrap();
    let swarm = stranger(dir.path()).await;
    let wanted = Wanted {
        blake3: card.release.blake3,
        size_bytes: card.release.size_bytes,
        role: Role::Entry,
    };
    fetch(&swarm, &card.origin, vec![wanted]).await;
    let bytes = swarm
        .read(card.release.blake3, card.release.size_bytes)
        .await
        .unwrap();
    let release = release::verify(&bytes, &state, Timestamp::now()).unwrap();
    card.names(&release).unwrap();

    let platform = Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
    };
    let mut blobs: Vec<Wanted> = release.blobs(&platform).map(Wanted::from).collect();
    let icon = release.icon.as_ref().expect("the new app has an icon");
    blobs.push(Wanted {
        blake3: icon.blake3,
        size_bytes: icon.size_bytes,
        role: Role::Entry,
    });
    // Images, icon, key state and release.
    assert_eq!(published["blobsServed"], blobs.len() + 2);
    fetch(&swarm, &release.origin, blobs).await;
    assert_eq!(node.tags(), [format!("release/{}/1", release.app())]);
    swarm.shutdown().await;
}

#[tokio::test]
async fn each_release_has_a_number_of_its_own() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    assert_eq!(person.types(&PUBLISH).await.json()["seq"], 1);
    image::write(&person.home().join("image2"), "amd64", "second");
    let second = person
        .types(&["--json", "publish", "notes", "--image", "web=oci:image2"])
        .await
        .json();
    assert_eq!(second["seq"], 2);

    // The node has heard of a release that another machine made with the same keys.
    let endpoint = node.swarm.endpoint();
    let endpoint = json!({ "id": endpoint.id, "addresses": endpoint.addresses, "relays": [] });
    let state =
        json!({ "highestSeq": 7, "relays": [node.relay.url().to_string()], "endpoint": endpoint });
    node.answers("publish.state", Ok(state));
    assert_eq!(person.types(&PUBLISH).await.json()["seq"], 8);

    let (_, card) = believed(&heard(&node, 2).await);
    assert_eq!(card.seq, 8, "the relay keeps the newest announcement only");
}

#[tokio::test]
async fn a_dry_run_sends_nothing_and_uses_up_no_number() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let dry: Vec<&str> = PUBLISH.into_iter().chain(["--dry-run"]).collect();
    for _ in 0..2 {
        let answer = person.types(&dry).await.json();
        assert_eq!(
            (&answer["seq"], &answer["announced"]),
            (&json!(1), &Value::Null)
        );
    }
    assert_eq!(node.relay.count().await.unwrap(), 0);
    assert_eq!(node.tags(), [""; 0]);
}

#[tokio::test]
async fn nothing_is_announced_that_the_node_does_not_serve() {
    let node = TestNode::forgetful().await;
    let person = publisher(&node).await;
    let answer = person.types(&PUBLISH).await;
    assert_eq!(answer.code, 1);
    let failure = answer.json();
    assert_eq!(failure["kind"], "notServed");
    assert!(
        failure["error"]
            .as_str()
            .unwrap()
            .contains("does not serve blob"),
        "{failure}"
    );
    assert_eq!(node.relay.count().await.unwrap(), 0);
}

#[tokio::test]
async fn a_relay_that_is_away_is_named_and_the_others_count() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    // Bound and never answered: nobody else can take the port meanwhile.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("ws://{}/", deaf.local_addr().unwrap());
    drop(deaf);

    let only_gone: Vec<&str> = PUBLISH.into_iter().chain(["--relay", &gone]).collect();
    let answer = person.types(&only_gone).await;
    assert_eq!(answer.code, 1);
    let failure = answer.json();
    assert_eq!(failure["kind"], "notAnnounced");
    assert!(
        failure["details"][0].as_str().unwrap().starts_with(&gone),
        "{failure}"
    );

    let alive = node.relay.url().to_string();
    let both: Vec<&str> = PUBLISH
        .into_iter()
        .chain(["--relay", &gone, "--relay", &alive])
        .collect();
    let published = person.types(&both).await.json();
    assert_eq!(published["announced"]["accepted"], json!([alive]));
    assert_eq!(published["announced"]["failed"][0]["relay"], gone);
}

#[tokio::test]
async fn what_no_node_would_run_is_refused_before_anything_is_asked() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let path = person.home().join("notes/manifest.yml");
    let manifest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, manifest.replace("readonly_root", "read_only_root")).unwrap();
    let answer = person.types(&PUBLISH).await;
    assert_eq!(answer.code, 3);
    let failure = answer.json();
    assert_eq!(failure["kind"], "manifest");
    assert!(
        failure["details"][0]
            .as_str()
            .unwrap()
            .contains("line 19, column 5: containers[0].read_only_root"),
        "{failure}"
    );
    assert!(node.calls("publish.state").is_empty());
}

#[tokio::test]
async fn a_damaged_image_is_refused() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let blobs = person.home().join("image/blobs/sha256");
    let largest = std::fs::read_dir(blobs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().len());
    let layer = largest.unwrap();
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes[600] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let answer = person.types(&PUBLISH).await;
    assert_eq!(answer.code, 3, "{answer:?}");
    assert_eq!(answer.json()["kind"], "image");
    assert_eq!(node.tags(), [""; 0]);
}

#[tokio::test]
async fn a_release_is_for_every_platform_that_it_has_an_image_for() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    image::write(&person.home().join("arm"), "arm64", "first");
    let published = person
        .types(&[
            "--json",
            "publish",
            "notes",
            "--image",
            "oci:image",
            "--image",
            "oci:arm",
        ])
        .await
        .json();
    assert_eq!(
        published["platforms"],
        json!(["linux/amd64", "linux/arm64"])
    );
    let only = [
        "--json",
        "publish",
        "notes",
        "--image",
        "oci:image",
        "--platform",
        "linux/riscv64",
    ];
    let answer = person.types(&only).await;
    assert_eq!(answer.code, 5);
    let identity = std::fs::read_dir(person.identity_dir().join("seq"))
        .unwrap()
        .count();
    assert_eq!(identity, 1);
}

#[tokio::test]
async fn what_was_published_is_announced_again_with_new_dates_only() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let nothing = person.types(&["--json", "announce"]).await;
    assert_eq!(
        (nothing.code, nothing.json()["kind"].clone()),
        (5, json!("notFound"))
    );
    let published = person.types(&PUBLISH).await.json();
    let (_, before) = believed(&heard(&node, 2).await);

    // Events are dated in whole seconds, and the later one replaces the earlier at the relay.
    let again = person.types(&["--json", "announce", "notes"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(again.json()[0]["seq"], published["seq"]);
    assert_eq!(again.json()[0]["app"], published["app"]);
    let (_, after) = believed(&heard(&node, 2).await);
    assert_eq!((after.seq, &after.release), (before.seq, &before.release));
    assert!(after.expires >= before.expires);

    // The node has heard of a newer release: announcing the older one would be a rollback.
    let endpoint = node.swarm.endpoint();
    let endpoint = json!({ "id": endpoint.id, "addresses": endpoint.addresses, "relays": [] });
    let state =
        json!({ "highestSeq": 7, "relays": [node.relay.url().to_string()], "endpoint": endpoint });
    node.answers("publish.state", Ok(state));
    let refused = person.types(&["--json", "announce"]).await;
    assert_eq!(
        (refused.code, refused.json()["kind"].clone()),
        (3, json!("rollback"))
    );
}
