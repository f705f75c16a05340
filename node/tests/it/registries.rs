//! Registries: what a signed catalog brings to a node, over real TLS, and what no registry can do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use archy_registry::catalog::{self, Draft};
use archy_registry::{SigningKey, sign};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::bed::{Node, Publisher, Relay, app, layer};

/// What the web server does with the next requests.
#[derive(Clone)]
enum Answer {
    Catalog { bytes: Vec<u8>, etag: &'static str },
    Redirect(String),
    Declares(u64),
    Broken,
}

/// A web server with a certificate of the owner's own authority.
struct Web {
    address: SocketAddr,
    dir: tempfile::TempDir,
    answer: Arc<Mutex<Answer>>,
    /// `If-None-Match` of each request, in order.
    asked: Arc<Mutex<Vec<Option<String>>>>,
    _task: AbortOnDropHandle<()>,
}

impl Web {
    async fn start(answer: Answer) -> Self {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("authority.pem"), certified.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::default());
        let task = serve(listener, acceptor, Arc::clone(&answer), Arc::clone(&asked));
        let task = tokio_util::task::TaskTracker::new().spawn(task);
        Self {
            address,
            dir,
            answer,
            asked,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn url(&self) -> String {
        format!("https://{}/catalog.json", self.address)
    }

    /// The setting by which a node trusts this server's certificate.
    fn authority(&self) -> String {
        format!(
            "registries.authority={}",
            self.dir.path().join("authority.pem").display()
        )
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<Option<String>>>>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else {
            continue;
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let etag = head
            .lines()
            .find_map(|line| line.strip_prefix("if-none-match: "))
            .map(str::to_owned);
        asked.lock().unwrap().push(etag.clone());
        let answer = answer.lock().unwrap().clone();
        let reply = match answer {
            Answer::Catalog { etag: current, .. } if etag.as_deref() == Some(current) => {
                b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()
            }
            Answer::Catalog { bytes, etag } => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {}\r\n\r\n",
                    bytes.len()
                );
                [head.into_bytes(), bytes].concat()
            }
            Answer::Redirect(to) => {
                format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
                    .into_bytes()
            }
            Answer::Declares(bytes) => {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{{").into_bytes()
            }
            Answer::Broken => b"HTTP/1.1 500 Oh No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        };
        // Whoever hangs up has heard enough.
        let _ = stream.write_all(&reply).await;
        let _ = stream.shutdown().await;
    }
}

fn catalog(operator: &SigningKey, seq: u64, releases: &[&[u8]]) -> Vec<u8> {
    let created = Timestamp::now();
    let draft = Draft {
        publisher: operator.did(),
        seq,
        created,
        expires: created + SignedDuration::from_hours(24 * 7),
        name: "Home apps".to_owned(),
        key_states: Vec::new(),
        releases: releases.iter().map(|bytes| bytes.to_vec()).collect(),
    };
    sign(&catalog::assemble(draft).unwrap(), operator, created)
        .unwrap()
        .bytes
}

/// Waits until a registry is as wished.
async fn registry(node: &Node, name: &str, wished: impl Fn(&Value) -> bool) -> Value {
    let mut events = node.daemon.node.follow.hub().subscribe();
    loop {
        let list = node.rpc("registry.list", json!({})).await.unwrap();
        let entries = list["registries"].as_array().unwrap().iter();
        if let Some(entry) = entries
            .clone()
            .find(|entry| entry["name"] == name && wished(entry))
        {
            return entry.clone();
        }
        let _ = events.recv().await;
    }
}

/// Makes every registry due at the next start.
fn forget_tries(root: &Path) {
    let path = root.join("home/.local/share/archy/registries.json");
    let mut lists: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for entry in lists["registries"].as_array_mut().unwrap() {
        entry["lastTry"] = Value::Null;
    }
    std::fs::write(&path, lists.to_string()).unwrap();
}

fn taken(entry: &Value, seq: u64) -> bool {
    entry["catalog"]["seq"] == seq
}

#[tokio::test]
async fn an_app_that_nobody_announced_is_installed_from_a_catalog() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let operator = SigningKey::generate().unwrap();
    let signed = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    let bytes = catalog(&operator, 1, &[&signed.bytes]);
    let web = Web::start(Answer::Catalog {
        bytes,
        etag: "\"one\"",
    })
    .await;
    let node = Node::start_with(&relay, &[], &[web.authority()]).await;

    let list = node
        .rpc("registry.add", json!({"url": web.url(), "name": "home"}))
        .await
        .unwrap();
    assert_eq!(
        list["registries"][0]["operator"],
        operator.did().to_string(),
        "pinned"
    );
    let entry = registry(&node, "home", |entry| taken(entry, 1)).await;
    assert_eq!(
        (&entry["catalog"]["releases"], &entry["lastError"]),
        (&json!(1), &Value::Null)
    );

    let app = app(&publisher, "notes");
    let found = node
        .rpc("store.search", json!({"query": "notes"}))
        .await
        .unwrap();
    assert_eq!(
        (&found["total"], &found["apps"][0]["stale"]),
        (&json!(1), &json!(false))
    );
    node.has_release(&app).await;
    let job = node.install(&app).await;
    assert_eq!(job["state"], "succeeded", "{job}");

    // Nothing new: the server is asked with the ETag and says so; the app stays.
    let node = node.restart_after(forget_tries).await;
    let again = registry(&node, "home", |now| now["lastFetch"] != entry["lastFetch"]).await;
    assert_eq!(web.asked().last().unwrap().as_deref(), Some("\"one\""));
    assert_eq!(
        (&again["catalog"], &again["lastError"]),
        (&entry["catalog"], &Value::Null)
    );

    let left = node
        .rpc("registry.remove", json!({"name": "home"}))
        .await
        .unwrap();
    assert_eq!(left["registries"], json!([]));
    assert!(
        node.rpc("store.show", app).await.is_ok(),
        "what is known stays known"
    );
}

#[tokio::test]
async fn broken_registries_do_not_hide_a_good_one() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let operator = SigningKey::generate().unwrap();
    let signed = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    let node = Node::start(&relay, &[]).await;
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = files.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (rubbish, good) = (
        file("rubbish.json", b"[[[[[[["),
        file("good.json", &catalog(&operator, 1, &[&signed.bytes])),
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let operator = operator.did().to_string();
    for (name, url) in [
        ("rubbish", rubbish),
        ("closed", format!("https://{closed}/catalog.json")),
        ("inside", "https://localhost/catalog.json".to_owned()),
        ("missing", "/nowhere/catalog.json".to_owned()),
        ("good", good.clone()),
    ] {
        let params = json!({"url": url, "name": name, "operator": operator});
        node.rpc("registry.add", params).await.unwrap();
    }
    for (name, kind) in [
        ("rubbish", "malformed"),
        ("closed", "unreachable"),
        ("inside", "privateAddress"),
        ("missing", "file"),
    ] {
        let entry = registry(&node, name, |entry| entry["lastError"].is_object()).await;
        assert_eq!(entry["lastError"]["kind"], kind, "{entry}");
        assert!(entry["lastError"]["hint"].is_string(), "{entry}");
    }
    registry(&node, "good", |entry| taken(entry, 1)).await;
    node.has_release(&app(&publisher, "notes")).await;
    let test = node
        .rpc("registry.test", json!({"name": "good"}))
        .await
        .unwrap();
    assert_eq!(
        (&test["operator"], &test["problem"]),
        (&json!(operator), &Value::Null)
    );
    let test = node
        .rpc("registry.test", json!({"name": "rubbish"}))
        .await
        .unwrap();
    assert_eq!(test["problem"]["kind"], "malformed");
    let moved = node
        .rpc("registry.move", json!({"name": "good", "position": 1}))
        .await
        .unwrap();
    assert_eq!(moved["registries"][0]["name"], "good");
    for (params, kind) in [
        (json!({"url": "http://example.org/c.json"}), "invalid"),
        (json!({"url": "/nowhere/c.json"}), "file"),
        (json!({"url": good, "operator": operator}), "taken"),
        (
            json!({"url": "/a", "operator": operator, "ttlSeconds": 1}),
            "invalid",
        ),
        (json!({"url": "/a", "operator": "did:key:z6Mk"}), "invalid"),
    ] {
        let refused = node.rpc("registry.add", params.clone()).await.unwrap_err();
        assert_eq!(refused["kind"], kind, "{params}: {refused}");
    }
    let refused = node
        .rpc("registry.remove", json!({"name": "none"}))
        .await
        .unwrap_err();
    assert_eq!(refused["kind"], "notFound");
}

#[tokio::test]
async fn a_registry_goes_neither_back_nor_over_to_another_operator() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let (operator, thief) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let signed = publisher
        .release("notes", 5, &layer("one"), &publisher.key)
        .await;
    let old = publisher
        .release("notes", 4, &layer("old"), &publisher.key)
        .await;
    let serve = |bytes, etag| Answer::Catalog { bytes, etag };
    let web = Web::start(serve(catalog(&operator, 7, &[&signed.bytes]), "\"a\"")).await;
    let node = Node::start_with(&relay, &[], &[web.authority()]).await;
    node.rpc("registry.add", json!({"url": web.url(), "name": "home"}))
        .await
        .unwrap();
    registry(&node, "home", |entry| taken(entry, 7)).await;

    let mut node = node;
    for (bytes, kind) in [
        (catalog(&operator, 6, &[&old.bytes]), "rollback"),
        (catalog(&operator, 5000, &[&signed.bytes]), "fastForward"),
        (catalog(&operator, 7, &[]), "equivocation"),
        (catalog(&thief, 8, &[&signed.bytes]), "wrongOperator"),
        (b"{}".to_vec(), "malformed"),
    ] {
        web.set(serve(bytes, "\"b\""));
        node = node.restart_after(forget_tries).await;
        let entry = registry(&node, "home", |entry| entry["lastError"]["kind"] == kind).await;
        assert_eq!(entry["catalog"]["seq"], 7, "{kind}");
        assert_eq!(entry["operator"], operator.did().to_string());
    }
    for (answer, kind) in [
        (Answer::Broken, "status"),
        (Answer::Declares(100 << 20), "tooLarge"),
        (
            Answer::Redirect("http://example.org/".to_owned()),
            "redirect",
        ),
        (
            Answer::Redirect("https://localhost/".to_owned()),
            "privateAddress",
        ),
        (
            Answer::Redirect("https://169.254.169.254/".to_owned()),
            "privateAddress",
        ),
        (Answer::Redirect(web.url()), "redirect"),
    ] {
        web.set(answer);
        let test = node
            .rpc("registry.test", json!({"name": "home"}))
            .await
            .unwrap();
        assert_eq!(test["problem"]["kind"], kind, "{test}");
    }
    // A newer catalog that lists an older release takes nothing back.
    web.set(serve(catalog(&operator, 8, &[&old.bytes]), "\"c\""));
    let node = node.restart_after(forget_tries).await;
    let entry = registry(&node, "home", |entry| taken(entry, 8)).await;
    assert_eq!(
        (&entry["catalog"]["refused"], &entry["lastError"]),
        (&json!(1), &Value::Null)
    );
    let page = node.has_release(&app(&publisher, "notes")).await;
    assert_eq!(page["release"]["seq"], 5);
}

#[tokio::test]
async fn a_hostile_registry_cannot_replace_another_publishers_app() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let mut thief = Publisher::start().await;
    thief.key = SigningKey::generate().unwrap();
    let honest = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    // The victim's name under the thief's signature, and the thief's own app of the same slug.
    let forged = publisher
        .release("notes", 2, &layer("evil"), &thief.key)
        .await;
    let lookalike = thief
        .release("notes", 900, &layer("evil"), &thief.key)
        .await;
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| {
        let path = files.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let node = Node::start(&relay, &[]).await;
    let good = SigningKey::generate().unwrap();
    let good = write("good.json", catalog(&good, 1, &[&honest.bytes]));
    node.rpc("registry.add", json!({"url": good, "name": "good"}))
        .await
        .unwrap();
    registry(&node, "good", |entry| taken(entry, 1)).await;

    let evil = write(
        "evil.json",
        catalog(&thief.key, 1, &[&forged.bytes, &lookalike.bytes]),
    );
    let test = node
        .rpc("registry.test", json!({"url": evil}))
        .await
        .unwrap();
    assert_eq!(test["refused"][0]["app"], app(&publisher, "notes"));
    assert_eq!(test["refused"][0]["problem"]["kind"], "signature");
    let params = json!({"url": evil, "name": "evil", "position": 1});
    node.rpc("registry.add", params).await.unwrap();
    let entry = registry(&node, "evil", |entry| taken(entry, 1)).await;
    assert_eq!(
        (&entry["catalog"]["releases"], &entry["catalog"]["refused"]),
        (&json!(2), &json!(1))
    );

    let page = node.has_release(&app(&publisher, "notes")).await;
    assert_eq!(page["release"]["hash"], honest.hash.to_string());
    assert_eq!(page["card"]["sameNameAs"], json!([thief.did().to_string()]));
    let own = node.has_release(&app(&thief, "notes")).await;
    assert_eq!(own["release"]["hash"], lookalike.hash.to_string());
}

#[tokio::test]
async fn a_catalog_comes_as_a_blob_from_another_node_and_a_release_from_the_disk() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let operator = SigningKey::generate().unwrap();
    let listed = publisher
        .release("notes", 1, &layer("one"), &publisher.key)
        .await;
    let on_disk = publisher
        .release("chat", 3, &layer("two"), &publisher.key)
        .await;
    let newer = publisher
        .release("notes", 2, &layer("three"), &publisher.key)
        .await;
    let bytes = catalog(&operator, 1, &[&listed.bytes]);
    let tag = "catalog-of-operator".parse().unwrap();
    let provided = publisher
        .swarm
        .provide(&tag, &bytes[..], None)
        .await
        .unwrap();
    publisher.swarm.share(&tag, true).await.unwrap();
    let node = Node::start(&relay, &[publisher.endpoint()]).await;
    node.daemon.node.swarm.ready().await;
    let params = json!({"url": format!("blob:{}", provided.blake3)});
    node.rpc("registry.add", params).await.unwrap();
    let name = format!("blob-{}", &provided.blake3.to_string()[..8]);
    registry(&node, &name, |entry| taken(entry, 1)).await;
    node.has_release(&app(&publisher, "notes")).await;

    // Where a catalog has news of an app, it wins over what lies on the disk.
    let node = node
        .restart_after(|root| {
            let dir = root.join("home/.local/share/archy/manifests");
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("chat.json"), &on_disk.bytes).unwrap();
            std::fs::write(dir.join("notes.json"), &newer.bytes).unwrap();
            std::fs::write(dir.join("rubbish.json"), b"{}").unwrap();
        })
        .await;
    node.has_release(&app(&publisher, "chat")).await;
    let page = node.has_release(&app(&publisher, "notes")).await;
    assert_eq!(page["release"]["seq"], 1);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_no_secure_connection() {
    let relay = Relay::start().await;
    let operator = SigningKey::generate().unwrap();
    let bytes = catalog(&operator, 1, &[]);
    let web = Web::start(Answer::Catalog {
        bytes,
        etag: "\"one\"",
    })
    .await;
    let node = Node::start(&relay, &[]).await;
    let refused = node
        .rpc("registry.add", json!({"url": web.url()}))
        .await
        .unwrap_err();
    assert_eq!(refused["kind"], "tls", "{refused}");
    assert!(web.asked().is_empty());
}

#[tokio::test]
async fn registries_of_images_are_a_list_of_their_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let relay = Relay::start().await;
    let node = Node::start(&relay, &[]).await;
    let secrets = tempfile::tempdir().unwrap();
    let path = secrets.path().join("hub");
    std::fs::write(&path, "ann:verysecret").unwrap();
    let add = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let params = json!({
            "url": "docker.io", "name": "hub", "oci": true, "credentialsFile": path.to_str().unwrap(),
        });
        node.rpc("registry.add", params)
    };
    let refused = add(0o644).await.unwrap_err();
    assert_eq!(refused["kind"], "credentials");
    add(0o600).await.unwrap();
    let params = json!({"url": "10.0.0.5:5000/mirror", "oci": true, "position": 1});
    let list = node.rpc("registry.add", params).await.unwrap();
    assert_eq!(
        list["oci"],
        json!([
            {"name": "registry-10-0-0-5-5000-mirror", "place": "10.0.0.5:5000/mirror", "credentials": false}
        ,
            {"name": "hub", "place": "docker.io", "credentials": true}
        ])
    );
    assert!(!list.to_string().contains("verysecret"));
    let node = node.restart().await;
    assert_eq!(node.rpc("registry.list", json!({})).await.unwrap(), list);
    let move_hub = json!({"name": "hub", "position": 1, "oci": true});
    let moved = node.rpc("registry.move", move_hub).await.unwrap();
    assert_eq!(moved["oci"][0]["name"], "hub");
    let remove = json!({"name": "registry-10-0-0-5-5000-mirror", "oci": true});
    let left = node.rpc("registry.remove", remove).await.unwrap();
    assert_eq!(left["oci"].as_array().unwrap().len(), 1);
}
