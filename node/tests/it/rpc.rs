//! JSON-RPC 2.0 as clients see it.

use serde_json::{Value, json};

use crate::backend::{Bed, Owner};
use crate::http::Request;

async fn rpc(bed: &Bed, owner: &Owner, body: &str) -> (u16, Value) {
    let request = Request::new("POST", "/rpc/v1")
        .header("Content-Type", "application/json")
        .body(body);
    let answer = bed.send(owner.sign(request)).await;
    let value = if answer.body.is_empty() {
        Value::Null
    } else {
        answer.json()
    };
    (answer.status, value)
}

#[tokio::test]
async fn methods_answer() {
    let bed = Bed::start().await;
    let app = json!({"publisher": "did:key:z6Mk", "slug": "notes"});
    let calls = [
        ("store.search", json!({"query": "x", "offset": 3})),
        ("store.search", json!({})),
        ("store.show", app.clone()),
        ("package.install", json!({"app": app})),
        ("package.uninstall", json!({"slug": "notes"})),
        ("package.start", json!({"slug": "notes"})),
        ("package.stop", json!({"slug": "notes"})),
        ("package.restart", json!({"slug": "notes"})),
        (
            "package.update",
            json!({"slug": "notes", "withoutCopy": true}),
        ),
        (
            "package.rollback",
            json!({"slug": "notes", "keepData": true}),
        ),
        ("package.reinstall", json!({"slug": "notes"})),
        (
            "package.configure",
            json!({"slug": "notes", "containers": {"web": {"memory": "1G"}}}),
        ),
        ("package.settings", json!({"slug": "notes"})),
        ("package.adoptable", json!({})),
        (
            "package.adopt",
            json!({"app": app, "containers": {"web": "notes"}}),
        ),
        ("package.migration", json!({"slug": "notes"})),
        (
            "package.migrate",
            json!({"slug": "notes", "accept": ["web.right.NET_ADMIN"]}),
        ),
        ("package.unmigrate", json!({"slug": "notes"})),
        ("package.finish", json!({"slug": "notes"})),
        ("package.list", json!({})),
        ("package.status", json!({"slug": "notes"})),
        ("package.logs", json!({"slug": "notes"})),
        ("package.health", json!({"slug": "notes"})),
        ("backup.create", json!({"slug": "notes"})),
        ("backup.list", json!({})),
        ("backup.restore", json!({"backup": "0123abcd"})),
        ("backup.verify", json!({"slug": "notes"})),
        ("backup.remove", json!({"backup": "0123abcd"})),
        (
            "backup.schedule",
            json!({"slug": "notes", "schedule": null}),
        ),
        ("job.list", json!({})),
        ("job.show", json!({"job": "1"})),
        ("job.cancel", json!({"job": "1"})),
        ("node.status", json!({})),
        ("publish.state", app),
        ("publish.missing", json!({"blobs": ["00"]})),
        ("registry.list", json!({})),
        ("registry.add", json!({"url": "/srv/catalog.json"})),
        ("registry.remove", json!({"name": "home"})),
        ("registry.move", json!({"name": "home", "position": 1})),
        ("registry.test", json!({"name": "home"})),
    ];
    let mut answers = Vec::new();
    for (method, params) in calls {
        let answer = bed.unix(Request::rpc(method, &params)).await;
        assert_eq!(answer.status, 200);
        answers.push(json!({"method": method, "params": params, "answer": answer.json()}));
    }
    insta::assert_json_snapshot!(answers);
}

#[tokio::test]
async fn envelopes_follow_the_specification() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"package.list"}"#;
    let table: Vec<(&str, &str, i64)> = vec![
        ("not JSON", "{", -32700),
        ("not UTF-8 escaped", "\"\\ud800\"", -32700),
        ("a text", "\"x\"", -32600),
        ("no version", r#"{"id":1,"method":"package.list"}"#, -32600),
        (
            "another version",
            r#"{"jsonrpc":"1.0","id":1,"method":"package.list"}"#,
            -32600,
        ),
        ("no method", r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        ("an empty batch", "[]", -32600),
        ("a broken batch", "[", -32700),
        (
            "an unknown method",
            r#"{"jsonrpc":"2.0","id":1,"method":"package.hack"}"#,
            -32601,
        ),
        (
            "wrong parameters",
            r#"{"jsonrpc":"2.0","id":1,"method":"package.start","params":{"slug":1}}"#,
            -32602,
        ),
        (
            "missing parameters",
            r#"{"jsonrpc":"2.0","id":1,"method":"package.start"}"#,
            -32602,
        ),
        (
            "a refusal",
            r#"{"jsonrpc":"2.0","id":1,"method":"node.status"}"#,
            -32000,
        ),
    ];
    for (what, body, code) in table {
        let (status, answer) = rpc(&bed, &owner, body).await;
        assert_eq!(status, 200, "{what}");
        assert_eq!(answer["error"]["code"], code, "{what}: {answer}");
        assert_eq!(answer["jsonrpc"], "2.0", "{what}");
    }
    let (_, answer) = rpc(
        &bed,
        &owner,
        r#"{"jsonrpc":"2.0","id":"a","method":"node.status"}"#,
    )
    .await;
    assert_eq!(answer["id"], "a");
    assert_eq!(answer["error"]["data"]["hint"], "Try again in a moment");

    let notification = r#"{"jsonrpc":"2.0","method":"package.list"}"#;
    assert_eq!(rpc(&bed, &owner, notification).await, (204, Value::Null));
    let (_, batch) = rpc(&bed, &owner, &format!("[{list},{notification},1]")).await;
    assert_eq!(batch.as_array().unwrap().len(), 2);
    assert_eq!(batch[1]["error"]["code"], -32600);

    let most = vec![list; 20].join(",");
    let (_, batch) = rpc(&bed, &owner, &format!("[{most}]")).await;
    assert_eq!(batch.as_array().unwrap().len(), 20);
    let (_, refused) = rpc(&bed, &owner, &format!("[{most},{list}]")).await;
    assert_eq!(refused["error"]["code"], -32600);
}

#[tokio::test]
async fn a_publisher_hands_blobs_over_the_unix_socket() {
    let bed = Bed::start().await;
    let hash = archy_registry::Blake3Hash::of(b"layer");
    let put = |body: &str| Request::new("PUT", &format!("/blobs/{hash}?tag=release/x")).body(body);
    let answer = bed.unix(put("layer")).await;
    assert_eq!(
        answer.json(),
        json!({"hash": hash.to_string(), "sizeBytes": 5})
    );
    let flipped = bed.unix(put("lbyer")).await;
    assert_eq!((flipped.status, flipped.kind().as_str()), (422, "content"));
    let untagged = bed
        .unix(Request::new("PUT", &format!("/blobs/{hash}")).body("layer"))
        .await;
    assert_eq!(untagged.status, 400);
    let unnamed = bed
        .unix(Request::new("PUT", "/blobs/..%2f..%2fx?tag=a").body("layer"))
        .await;
    assert_eq!(unnamed.status, 400);
    let session = bed.unix(Request::get("/session")).await;
    assert_eq!(session.json()["state"], "open");
}
