//! A remote signer over our own relay: one that agrees, and those that refuse, stall or cheat.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use archy_nostr::relay::Relay;
use archy_nostr::sdk::Unsigned;
use archy_nostr::{
    Bunker, BunkerError, BunkerOptions, BunkerUrl, Clock, KIND_REMOTE_SIGNING, NostrKey,
    NostrSigner, PublishError, PublishOptions, RelayUrl, SignError, Signer as _, publish,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::*;

/// What a signer answers to a method with these parameters: `{result}` or `{error}`, or several, or nothing.
type Manner = Box<dyn Fn(&NostrKey, &str, &[String]) -> Vec<Value> + Send>;

/// A remote signer and the relay on which it listens.
struct Bed {
    relay: Relay,
    signer: NostrKey,
    user: NostrKey,
    tasks: JoinSet<()>,
    _dir: TempDir,
}

impl Bed {
    async fn start(manner: Manner) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let relay = start_relay(relay_config(dir.path())).await;
        let (signer, user) = (NostrKey::generate(), NostrKey::generate());
        let mut tasks = JoinSet::new();
        let mut client = RawClient::connect(relay.url()).await;
        let filter = json!({"kinds": [KIND_REMOTE_SIGNING], "#p": [signer.pubkey()]});
        client.send(json!(["REQ", "requests", filter])).await;
        assert_eq!(client.next().await.unwrap()[0], "EOSE");
        tasks.spawn(serve(client, signer.clone(), user.clone(), manner));
        Self {
            relay,
            signer,
            user,
            tasks,
            _dir: dir,
        }
    }

    fn url(&self) -> BunkerUrl {
        let text = format!(
            "bunker://{}?relay={}&secret=hunter2",
            self.signer.pubkey(),
            self.relay.url()
        );
        text.parse().unwrap()
    }

    async fn connect(&self) -> Bunker {
        let url = self.url();
        let connecting = Bunker::connect(&url, NostrKey::generate(), patient());
        soon("the signer", connecting).await.unwrap()
    }
}

async fn serve(mut client: RawClient, signer: NostrKey, user: NostrKey, manner: Manner) {
    while let Some(message) = client.next().await {
        if message[0] != "EVENT" {
            continue;
        }
        let from = message[2]["pubkey"].as_str().unwrap().parse().unwrap();
        let sealed = message[2]["content"].as_str().unwrap();
        let request: Value = serde_json::from_str(&signer.unseal(&from, sealed).unwrap()).unwrap();
        let parameters: Vec<String> = serde_json::from_value(request["params"].clone()).unwrap();
        for mut answer in manner(&user, request["method"].as_str().unwrap(), &parameters) {
            if answer.get("id").is_none() {
                answer["id"] = request["id"].clone();
            }
            let content = signer.seal(&from, &answer.to_string()).unwrap();
            let unsigned = Unsigned {
                created_at: Clock::system().now(),
                kind: KIND_REMOTE_SIGNING,
                tags: vec![vec!["p".to_owned(), from.to_string()]],
                content,
            };
            let event = signer.sign(unsigned).unwrap().into_inner();
            client.send(json!(["EVENT", event])).await;
        }
    }
}

/// Agrees to everything, as the NIP says.
fn honest(user: &NostrKey, method: &str, parameters: &[String]) -> Vec<Value> {
    let result = match method {
        "connect" if parameters[1] == "hunter2" => "ack".to_owned(),
        "get_public_key" => user.pubkey().to_string(),
        "sign_event" => {
            let asked: Value = serde_json::from_str(&parameters[0]).unwrap();
            let unsigned = Unsigned {
                created_at: asked["created_at"].as_u64().unwrap(),
                kind: u16::try_from(asked["kind"].as_u64().unwrap()).unwrap(),
                tags: serde_json::from_value(asked["tags"].clone()).unwrap(),
                content: asked["content"].as_str().unwrap().to_owned(),
            };
            json!(user.sign(unsigned).unwrap().into_inner()).to_string()
        }
        _ => return vec![json!({"error": format!("cannot {method}")})],
    };
    vec![json!({"result": result})]
}

fn patient() -> BunkerOptions {
    BunkerOptions::new(|address| panic!("nobody has to agree at {address}"))
}

fn note() -> Unsigned {
    draft("notes", "\"Größe\"\n🎈").event(1_700_000_000)
}

#[tokio::test]
async fn a_remote_signer_signs_what_is_published() {
    let bed = Bed::start(Box::new(honest)).await;
    let bunker = bed.connect().await;
    assert_eq!(bunker.pubkey(), bed.user.pubkey());
    assert_ne!(bunker.pubkey(), bed.signer.pubkey());
    let signer = NostrSigner::Bunker(Box::new(bunker));
    let urls = std::slice::from_ref(bed.relay.url());
    let (draft, options) = (draft("notes", "signed far away"), PublishOptions::default());
    let publishing = publish(urls, &signer, &draft, &options);
    let report = soon("publishing", publishing).await.unwrap();
    assert_eq!(
        (report.pubkey, report.accepted.as_slice()),
        (bed.user.pubkey(), urls)
    );

    let mut following = Following::start(urls);
    assert_eq!(following.next().await, "signed far away");
    following.follower.stop().await;
    // The messages between client and signer were passed on and not kept.
    assert_eq!(bed.relay.count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_client_that_is_known_needs_no_introduction() {
    let methods = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&methods);
    let bed = Bed::start(Box::new(move |user, method, parameters| {
        noted.lock().unwrap().push(method.to_owned());
        honest(user, method, parameters)
    }))
    .await;
    let client = NostrKey::generate();
    Bunker::connect(&bed.url(), client.clone(), patient())
        .await
        .unwrap();
    let mut url = bed.url();
    url.secret = None;
    let again = Bunker::resume(&url, client, patient()).await.unwrap();
    assert_eq!(again.pubkey(), bed.user.pubkey());
    assert_eq!(
        *methods.lock().unwrap(),
        ["connect", "get_public_key", "get_public_key"]
    );
    let error = Bunker::connect(&url, NostrKey::generate(), patient())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the remote signer refused connect: cannot connect"
    );
}

#[tokio::test]
async fn who_has_to_agree_in_a_browser_is_told_where_once() {
    let bed = Bed::start(Box::new(|user, method, parameters| {
        let mut answers = honest(user, method, parameters);
        if method == "sign_event" {
            let ask =
                json!({"result": "auth_url", "error": "https://signer.example/agree\u{1b}[31m"});
            answers.splice(0..0, [ask.clone(), ask]);
        }
        answers
    }))
    .await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let options = BunkerOptions::new(move |address| noted.lock().unwrap().push(address.to_owned()));
    let bunker = Bunker::connect(&bed.url(), NostrKey::generate(), options)
        .await
        .unwrap();
    let event = bunker.sign(note()).await.unwrap();
    assert_eq!(event.content, note().content);
    assert_eq!(*told.lock().unwrap(), ["https://signer.example/agree [31m"]);
}

#[tokio::test]
async fn who_did_not_agree_in_time_is_told_where_again() {
    let bed = Bed::start(Box::new(|_, _, _| {
        vec![json!({"result": "auth_url", "error": "https://signer.example/agree"})]
    }))
    .await;
    let mut options = BunkerOptions::new(|_| {});
    options.patience = Duration::from_millis(300);
    let error = Bunker::connect(&bed.url(), NostrKey::generate(), options)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("it waits for you at https://signer.example/agree"),
        "{text}"
    );
}

#[tokio::test]
async fn an_event_that_the_signer_changed_is_not_taken() {
    let changes: [fn(&mut Unsigned); 4] = [
        |event| event.content.push('!'),
        |event| event.created_at += 1,
        |event| event.kind = 1,
        |event| event.tags.truncate(1),
    ];
    for change in changes {
        let bed = Bed::start(Box::new(move |user, method, parameters| {
            if method != "sign_event" {
                return honest(user, method, parameters);
            }
            let mut event = note();
            change(&mut event);
            vec![json!({"result": json!(user.sign(event).unwrap().into_inner()).to_string()})]
        }))
        .await;
        let error = bed.connect().await.sign(note()).await.unwrap_err();
        assert!(matches!(error, BunkerError::Altered), "{error}");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_told_as_such() {
    let table = [
        (json!({"result": "no JSON"}), "something else: no JSON"),
        (json!({"result": "{}"}), "something else: no event"),
        (json!({"error": "not\nnow"}), "refused sign_event: not now"),
        (json!({}), "refused sign_event: no reason given"),
    ];
    for (answer, expected) in table {
        let bed = Bed::start(Box::new(move |user, method, parameters| {
            if method == "sign_event" {
                // An answer to another request changes nothing.
                return vec![json!({"id": "other", "result": "x"}), answer.clone()];
            }
            honest(user, method, parameters)
        }))
        .await;
        let signer = bed.connect().await;
        let error = signer.sign_event(note()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(error, SignError::Remote(_)));
    }
    let unsigned = Bed::start(Box::new(|user, method, parameters| {
        let mut answers = honest(user, method, parameters);
        if method == "sign_event" {
            let text = answers[0]["result"].as_str().unwrap();
            let mut event: Value = serde_json::from_str(text).unwrap();
            event["sig"] = json!("00".repeat(64));
            answers[0]["result"] = json!(event.to_string());
        }
        answers
    }))
    .await;
    let error = unsigned.connect().await.sign(note()).await.unwrap_err();
    assert!(
        error.to_string().contains("an event that is not signed"),
        "{error}"
    );
}

#[tokio::test]
async fn a_signer_that_is_away_is_named_with_its_relays() {
    let mut bed = Bed::start(Box::new(honest)).await;
    let bunker_url = bed.url();
    bed.tasks.shutdown().await;
    let dead = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let gone: RelayUrl = format!("ws://{}", dead.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(dead);
    let mut url = bunker_url;
    url.relays.push(gone.clone());
    let mut options = patient();
    options.patience = Duration::from_millis(300);
    let error = Bunker::connect(&url, NostrKey::generate(), options)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("{} (no answer in time)", bed.relay.url())),
        "{text}"
    );
    assert!(
        text.contains(&format!("{gone} (could not connect")),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn one_relay_that_is_away_does_not_matter() {
    let bed = Bed::start(Box::new(honest)).await;
    let mut url = bed.url();
    // Bound and never answered.
    let deaf = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let silent = format!("ws://{}", deaf.local_addr().unwrap());
    url.relays.insert(0, silent.parse().unwrap());
    let connecting = Bunker::connect(&url, NostrKey::generate(), patient());
    let bunker = soon("the signer", connecting).await.unwrap();
    assert_eq!(bunker.pubkey(), bed.user.pubkey());
}

#[tokio::test]
async fn what_is_too_large_is_not_sent_to_anybody() {
    let bed = Bed::start(Box::new(honest)).await;
    let bunker = bed.connect().await;
    for size_bytes in [46_000, 70_000] {
        let mut event = note();
        event.content = "x".repeat(size_bytes);
        let error = bunker.sign(event).await.unwrap_err();
        assert!(matches!(error, BunkerError::TooLarge(_)), "{error}");
    }
    let did = crate::opinions::DID.parse().unwrap();
    let large = "\"".repeat(40_000);
    let draft =
        archy_nostr::Draft::new(archy_nostr::Subject::KeyState, did, large.as_bytes(), None)
            .unwrap();
    let urls = std::slice::from_ref(bed.relay.url());
    let error = publish(urls, &bunker, &draft, &PublishOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::TooLarge(_)), "{error}");
}
