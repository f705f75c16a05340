//! The node owner's commands against a node whose answers the test writes.

use serde_json::{Value, json};

use crate::node::TestNode;
use crate::person::Person;

const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

fn card(publisher: &str) -> Value {
    json!({
        "app": { "publisher": publisher, "slug": "notes" },
        "name": "Notes", "tagline": "Keeps notes", "category": "other", "version": "1.2",
        "icon": null, "downloadSizeBytes": 1_234_567, "architectures": ["amd64"],
        "trust": { "points": 12.0, "band": "unproven" },
        "installed": null, "sameNameAs": [], "firstSeen": "2025-01-01T00:00:00Z",
        "announced": "2025-01-01T00:00:00Z", "stale": false,
    })
}

fn job(state: &str, problem: Value) -> Value {
    json!({
        "id": "7", "kind": "install", "app": { "publisher": DID, "slug": "notes" }, "name": "Notes",
        "state": state, "phase": "done", "percent": 100.0, "message": "Done", "transfer": null,
        "problem": problem, "cancellable": false,
        "created": "2025-01-01T00:00:00Z", "updated": "2025-01-01T00:00:00Z",
    })
}

fn instance(state: &str) -> Value {
    json!({
        "app": { "publisher": DID, "slug": "notes" }, "name": "Notes", "version": "1.2", "icon": null,
        "state": state, "problem": null,
        "containers": [{ "name": "web", "state": state, "health": "healthy", "restarts": 1, "since": null }],
        "interfaces": [{ "name": "Notes", "kind": "ui", "port": 8081, "path": "/" }],
        "installed": "2025-01-01T00:00:00Z", "update": null, "job": null, "dataDir": "/data/notes",
    })
}

async fn owner() -> (TestNode, Person) {
    let node = TestNode::start().await;
    node.answers(
        "store.search",
        Ok(json!({ "apps": [card(DID)], "total": 1, "categories": [] })),
    );
    node.answers("package.install", Ok(json!({ "job": "7" })));
    node.answers("job.show", Ok(job("succeeded", Value::Null)));
    node.answers("package.status", Ok(instance("running")));
    let person = Person::with_node(&node.socket);
    (node, person)
}

#[tokio::test]
async fn an_install_is_awaited_and_says_where_the_app_opens() {
    let (node, person) = owner().await;
    insta::assert_snapshot!(person.terminal(&["install", "notes"]).await, @"
    $ archy install notes
    100 % Done
    install notes: done
    open Notes: http://localhost:8081/
    ");
    let asked = json!({ "app": { "publisher": DID, "slug": "notes" }, "release": null });
    assert_eq!(node.calls("package.install"), [asked]);
    let answer = person
        .types(&["--json", "install", &format!("{DID}/notes")])
        .await;
    assert_eq!(answer.json()["state"], "succeeded");
}

#[tokio::test]
async fn a_refused_release_is_told_with_its_exit_code() {
    let (node, person) = owner().await;
    let problem = json!({
        "kind": "signature", "message": "The release is signed by another key",
        "hint": "Do not install it", "details": ["release 00ff"],
    });
    node.answers("job.show", Ok(job("failed", problem)));
    insta::assert_snapshot!(person.terminal(&["install", "notes"]).await, @"
    $ archy install notes
    100 % Done
    error: The release is signed by another key
      release 00ff
    hint: Do not install it
    [exit code 3]
    ");
    assert_eq!(
        person.types(&["--json", "install", "notes"]).await.json()["kind"],
        "signature"
    );
}

#[tokio::test]
async fn a_name_that_two_publishers_use_must_be_written_in_full() {
    let (node, person) = owner().await;
    let other = "did:key:z6MkwYMhwTvsq376YBAcJHy3vyRWzBgn5vKfVqqDCgm7XVKU";
    node.answers(
        "store.search",
        Ok(json!({ "apps": [card(DID), card(other)], "total": 2, "categories": [] })),
    );
    let answer = person.types(&["--json", "install", "notes"]).await;
    assert_eq!(answer.code, 2);
    assert_eq!(answer.json()["details"].as_array().unwrap().len(), 2);
    node.answers(
        "store.search",
        Ok(json!({ "apps": [], "total": 0, "categories": [] })),
    );
    assert_eq!(person.types(&["--json", "install", "notes"]).await.code, 5);
}

#[tokio::test]
async fn lists_are_tables_and_json_is_the_nodes_own_answer() {
    let (node, person) = owner().await;
    insta::assert_snapshot!(person.terminal(&["store", "search"]).await, @"
    $ archy store search
    APP    VERSION  SIZE    PUBLISHER        TRUST        WHAT
    notes  1.2      1.2 MB  z6MkhaXg…ta2doK  12 unproven  Keeps notes
    ");
    insta::assert_snapshot!(person.terminal(&["status", "notes"]).await, @"
    $ archy status notes
    Notes 1.2: running
    app   did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes
    data  /data/notes
    container web: running, healthy, 1 restart
    open Notes: http://localhost:8081/
    ");
    let whole = person.types(&["--json", "status", "notes"]).await.json();
    assert_eq!(whole, instance("running"));
    node.answers("job.list", Ok(json!([job("cancelled", Value::Null)])));
    insta::assert_snapshot!(person.terminal(&["job", "list"]).await, @"
    $ archy job list
    JOB  WHAT     APP    STATE
    7    install  notes  cancelled
    ");
}

#[tokio::test]
async fn purge_is_asked_for_only_when_written() {
    let (node, person) = owner().await;
    node.answers("package.uninstall", Ok(json!({ "job": "7" })));
    person.types(&["uninstall", "notes"]).await;
    person.types(&["uninstall", "notes", "--purge"]).await;
    person.types(&["uninstall", "notes", "--force"]).await;
    let asked =
        |purge: bool, force: bool| json!({ "slug": "notes", "purge": purge, "force": force });
    assert_eq!(
        node.calls("package.uninstall"),
        [asked(false, false), asked(true, false), asked(false, true)]
    );
}

#[tokio::test]
async fn a_strangers_words_cannot_steer_the_terminal() {
    let (node, person) = owner().await;
    let mut evil = card(DID);
    evil["tagline"] = json!("nice\u{1b}[2J\u{1b}[1;1Happ");
    node.answers(
        "store.search",
        Ok(json!({ "apps": [evil], "total": 1, "categories": [] })),
    );
    assert!(
        !person
            .types(&["store", "search"])
            .await
            .out
            .contains('\u{1b}')
    );
}

#[tokio::test]
async fn a_migration_shows_what_it_would_lose_and_waits_for_it_to_be_accepted() {
    let (node, person) = owner().await;
    node.answers(
        "package.migration",
        Ok(json!({
            "slug": "notes", "version": "1.2",
            "items": [{
                "id": "web.right.NET_ADMIN", "container": "web", "topic": "right", "effect": "loses",
                "words": "it has the capability NET_ADMIN, which the app does not ask for",
            }],
        })),
    );
    node.answers("package.migrate", Ok(json!({ "job": "7" })));
    insta::assert_snapshot!(person.terminal(&["adopt", "migrate", "notes"]).await, @"
    $ archy adopt migrate notes
    error: the migration would lose what you did not accept
      loses    web: it has the capability NET_ADMIN, which the app does not ask for  [web.right.NET_ADMIN]
    hint: accept each with --accept and what is in brackets; --plan shows all
    [exit code 2]
    ");
    assert!(node.calls("package.migrate").is_empty());
    let accepted = [
        "adopt",
        "migrate",
        "notes",
        "--accept",
        "web.right.NET_ADMIN",
    ];
    let said = person.types(&accepted).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(
        node.calls("package.migrate"),
        [json!({ "slug": "notes", "accept": ["web.right.NET_ADMIN"] })]
    );
}
