//! `archy publish --nostr-signer`: the Nostr key stays where the remote signer keeps it. And `--nip82`.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use archy_nostr::sdk::Unsigned;
use archy_nostr::{Clock, KIND_REMOTE_SIGNING, NostrKey};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::image;
use crate::node::TestNode;
use crate::person::Person;

/// A remote signer on the node's relay that agrees to everything.
struct RemoteSigner {
    address: String,
    user: NostrKey,
    methods: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl RemoteSigner {
    async fn start(node: &TestNode) -> Self {
        let (signer, user) = (NostrKey::generate(), NostrKey::generate());
        let relay = node.relay.url().to_string();
        let methods = Arc::new(Mutex::new(Vec::new()));
        let (mut socket, _) = tokio_tungstenite::connect_async(&relay).await.unwrap();
        let filter = json!({"kinds": [KIND_REMOTE_SIGNING], "#p": [signer.pubkey()]});
        let subscribe = json!(["REQ", "requests", filter]).to_string();
        socket.send(Message::text(subscribe)).await.unwrap();
        let eose = socket.next().await.unwrap().unwrap();
        assert!(eose.to_text().unwrap().contains("EOSE"));

        let address = format!("bunker://{}?relay={relay}&secret=hunter2", signer.pubkey());
        let (author, noted) = (user.clone(), Arc::clone(&methods));
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                let message: Value =
                    serde_json::from_str(message.to_text().unwrap_or_default()).unwrap_or_default();
                if message[0] != "EVENT" {
                    continue;
                }
                let from = message[2]["pubkey"].as_str().unwrap().parse().unwrap();
                let sealed = message[2]["content"].as_str().unwrap();
                let request: Value =
                    serde_json::from_str(&signer.unseal(&from, sealed).unwrap()).unwrap();
                let method = request["method"].as_str().unwrap();
                noted.lock().unwrap().push(method.to_owned());
                let answer = json!({"id": request["id"], "result": answer(&author, method, &request["params"])});
                let unsigned = Unsigned {
                    created_at: Clock::system().now(),
                    kind: KIND_REMOTE_SIGNING,
                    tags: vec![vec!["p".to_owned(), from.to_string()]],
                    content: signer.seal(&from, &answer.to_string()).unwrap(),
                };
                let event = signer.sign(unsigned).unwrap().into_inner();
                let text = json!(["EVENT", event]).to_string();
                socket.send(Message::text(text)).await.unwrap();
            }
        });
        Self {
            address,
            user,
            methods,
            _task: task,
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.methods.lock().unwrap())
    }
}

fn answer(user: &NostrKey, method: &str, parameters: &Value) -> String {
    match method {
        "connect" => "ack".to_owned(),
        "get_public_key" => user.pubkey().to_string(),
        _ => {
            let asked: Value = serde_json::from_str(parameters[0].as_str().unwrap()).unwrap();
            let unsigned = Unsigned {
                created_at: asked["created_at"].as_u64().unwrap(),
                kind: u16::try_from(asked["kind"].as_u64().unwrap()).unwrap(),
                tags: serde_json::from_value(asked["tags"].clone()).unwrap(),
                content: asked["content"].as_str().unwrap().to_owned(),
            };
            json!(user.sign(unsigned).unwrap().into_inner()).to_string()
        }
    }
}

async fn publisher(node: &TestNode) -> Person {
    let person = Person::with_node(&node.socket);
    assert_eq!(person.types(&["identity", "new"]).await.code, 0);
    assert_eq!(person.types(&["app", "new", "notes"]).await.code, 0);
    image::write(&person.home().join("image"), "amd64", "first");
    person
}

const PUBLISH: [&str; 5] = ["--json", "publish", "notes", "--image", "oci:image"];

#[tokio::test]
async fn a_remote_signer_signs_what_is_announced() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let signer = RemoteSigner::start(&node).await;
    let command: Vec<&str> = PUBLISH
        .into_iter()
        .chain(["--nostr-signer", &signer.address])
        .collect();
    let published = person.types(&command).await;
    assert_eq!(published.code, 0, "{published:?}");
    let published = published.json();
    assert_eq!(
        published["announced"]["pubkey"],
        json!(signer.user.pubkey())
    );
    assert_eq!(
        signer.asked(),
        ["connect", "get_public_key", "sign_event", "sign_event"]
    );

    // The signer knows this machine now, by a key that only its owner can read.
    let files = std::fs::read_dir(person.identity_dir()).unwrap();
    let mut keys = files
        .map(|file| file.unwrap())
        .filter(|file| file.file_name().to_string_lossy().starts_with("signer-"));
    let mode = keys
        .next()
        .unwrap()
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!((mode & 0o777, keys.count()), (0o600, 0));
    let again = person.types(&command[1..]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(
        again
            .err
            .contains("your key state does not name the Nostr key"),
        "{again:?}"
    );
    assert_eq!(
        signer.asked(),
        ["get_public_key", "sign_event", "sign_event"]
    );
}

#[tokio::test]
async fn what_is_no_signer_is_refused_without_showing_the_secret() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let command: Vec<&str> = PUBLISH
        .into_iter()
        .chain(["--nostr-signer", "bunker://abc?secret=hunter2"])
        .collect();
    let answer = person.types(&command).await;
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(node.calls("publish.state").is_empty());
    assert!(answer.out.contains("copy it from the signer"), "{answer:?}");
    assert!(!answer.out.contains("hunter2"), "{answer:?}");
}

#[tokio::test]
async fn other_stores_are_told_when_asked_to() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let published = person.types(&PUBLISH).await.json();
    assert_eq!(published.get("listed"), None);
    assert_eq!(node.relay.count().await.unwrap(), 2);
    let command: Vec<&str> = PUBLISH.into_iter().chain(["--nip82"]).collect();
    let published = person.types(&command).await.json();
    let listed = &published["listed"];
    assert_eq!(listed["assets"].as_array().unwrap().len(), 1, "{published}");
    assert_eq!(listed["failed"], json!([]));
    assert_eq!(node.relay.count().await.unwrap(), 5);
}
