//! The owner's word on publishers and the policy, against a node whose answers the test writes.

use serde_json::{Value, json};

use crate::node::TestNode;
use crate::person::Person;

const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

fn page() -> Value {
    json!({
        "publisher": {
            "did": DID, "trust": { "points": 7.5, "band": "new" }, "firstSeen": null, "linked": true,
            "pinned": true, "blocked": false,
            "reasons": [{ "code": "pinned", "text": "You vouch for this publisher", "points": 7.5, "evidence": ["event 3"] }],
            "wouldChange": ["More with every day"],
            "notices": [{ "kind": "frozen", "message": "It contradicted itself", "hint": "Ask them", "details": [] }],
        },
        "cap": { "points": 34.0, "text": "Nobody has good experience" },
        "refusal": { "kind": "policyScore", "message": "Your policy asks for 50 points", "hint": "Vouch for them", "details": [] },
        "observations": [{ "reference": "event 3", "kind": "event", "at": "2026-11-21T10:00:00Z",
            "text": "You vouched for the publisher", "eventId": null, "pubkey": null }],
        "apps": ["Notes"],
    })
}

fn policy() -> Value {
    let usual = json!({ "showPointsMin": 0, "installPointsMin": 0, "updatePointsMin": 35, "signaturesMin": 1 });
    json!({
        "policy": usual, "usual": usual, "warnPoints": 35, "pinned": [],
        "blocked": [{ "publisher": DID, "since": "2026-11-21T10:00:00Z", "apps": ["Notes"] }],
    })
}

fn published() -> Value {
    json!({
        "eventId": "ab".repeat(32), "pubkey": "cd".repeat(32), "accepted": ["ws://one/"],
        "refused": ["ws://two/: blocked"], "note": "Sent as a caution",
    })
}

async fn owner() -> (TestNode, Person) {
    let node = TestNode::start().await;
    for method in ["trust.show", "trust.pin", "trust.block"] {
        node.answers(method, Ok(page()));
    }
    let person = Person::with_node(&node.socket);
    (node, person)
}

#[tokio::test]
async fn a_score_is_shown_with_its_evidence_and_what_would_change_it() {
    let (_node, person) = owner().await;
    insta::assert_snapshot!(person.terminal(&["trust", "show", DID]).await);
    let answer = person.types(&["--json", "trust", "show", DID]).await;
    assert_eq!(answer.json(), page());
}

#[tokio::test]
async fn marks_say_what_they_are_of() {
    let (node, person) = owner().await;
    for (command, method, params) in [
        (
            "pin",
            "trust.pin",
            json!({ "publisher": DID, "pinned": true }),
        ),
        (
            "unpin",
            "trust.pin",
            json!({ "publisher": DID, "pinned": false }),
        ),
        (
            "block",
            "trust.block",
            json!({ "publisher": DID, "blocked": true }),
        ),
        (
            "unblock",
            "trust.block",
            json!({ "publisher": DID, "blocked": false }),
        ),
    ] {
        assert_eq!(person.types(&["trust", command, DID]).await.code, 0);
        assert_eq!(node.calls(method).last(), Some(&params), "{command}");
    }
    let nonsense = person
        .types(&["--json", "trust", "pin", "did:key:zzz"])
        .await;
    assert_eq!(nonsense.code, 2, "{nonsense:?}");
}

#[tokio::test]
async fn opinions_say_who_heard_them() {
    let (node, person) = owner().await;
    let published = published();
    node.answers(
        "trust.report",
        Ok(json!({ "page": page(), "published": published })),
    );
    let words = person
        .types(&[
            "trust", "report", DID, "mines", "coins", "--kind", "malware", "--public",
        ])
        .await;
    assert!(
        words.out.contains("said in public, event abab"),
        "{words:?}"
    );
    assert!(
        words
            .out
            .contains("not taken by ws://two/: blocked\nnote: Sent as a caution")
    );
    let asked = json!({
        "publisher": DID, "app": null, "kind": "malware", "text": "mines coins", "public": true,
    });
    assert_eq!(node.calls("trust.report"), [asked]);

    let silent = json!({ "kind": "notPublished", "message": "no relay took it", "hint": null, "details": [] });
    node.answers("trust.vouch", Err(silent));
    let failed = person
        .types(&["--json", "trust", "vouch", DID, "--public"])
        .await;
    assert_eq!(
        (failed.code, &failed.json()["kind"]),
        (1, &json!("notPublished"))
    );
}

#[tokio::test]
async fn histories_and_reviewers_are_lists() {
    let (node, person) = owner().await;
    let rows = page()["observations"].clone();
    node.answers(
        "trust.history",
        Ok(json!({ "observations": rows, "next": "17 event 3" })),
    );
    insta::assert_snapshot!(person.terminal(&["trust", "history", DID]).await, @"
    $ archy trust history did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK
    WHEN                  WHAT
    2026-11-21T10:00:00Z  You vouched for the publisher (event 3)
    older: --before '17 event 3'
    ");
    node.answers(
        "trust.reviewers",
        Ok(json!({ "reviewers": [], "own": null })),
    );
    let none = person.types(&["trust", "reviewers"]).await;
    assert!(none.out.starts_with("no reviewers"), "{none:?}");
    let pubkey = "ab".repeat(32);
    node.answers(
        "trust.reviewer",
        Ok(json!({ "reviewers": [pubkey], "own": "cd".repeat(32), "published": published() })),
    );
    let told = person
        .types(&["trust", "reviewer", &pubkey, "--remove", "--public"])
        .await;
    assert!(told.out.contains("said in public, event abab"), "{told:?}");
    let asked = json!({ "pubkey": pubkey, "trusted": false, "public": true });
    assert_eq!(node.calls("trust.reviewer"), [asked]);
}

#[tokio::test]
async fn a_policy_is_changed_where_it_is_named() {
    let (node, person) = owner().await;
    node.answers("policy.show", Ok(policy()));
    node.answers("policy.set", Ok(policy()));
    insta::assert_snapshot!(person.terminal(&["policy", "show"]).await, @"
    $ archy policy show
    show        from 0 points
    install     from 0 points, with a warning below 35
    update      by itself from 35 points
    signatures  1 on a release
    blocked     did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK (Notes)
    ");
    assert_eq!(
        person
            .types(&["policy", "set", "--install", "20"])
            .await
            .code,
        0
    );
    let asked = json!({ "showPointsMin": 0, "installPointsMin": 20, "updatePointsMin": 35, "signaturesMin": 1 });
    assert_eq!(node.calls("policy.set"), [asked]);
    assert_eq!(person.types(&["policy", "set"]).await.code, 2);
    assert_eq!(
        person
            .types(&["policy", "set", "--install", "101"])
            .await
            .code,
        2
    );
}

#[tokio::test]
async fn storage_is_shown_and_checked() {
    let (node, person) = owner().await;
    let mut page = json!({
        "usedBytes": 3_200_000_000_u64, "reservedBytes": 0, "freeableBytes": 1_200_000_000,
        "quotaBytes": 50_000_000_000_u64, "freeBytes": 80_000_000_000_u64, "keptBytes": 1_000_000_000,
        "classes": [{ "class": "installed", "sets": 1, "blobs": 9, "sizeBytes": 2_000_000_000 }],
        "fsck": null,
    });
    node.answers("storage.show", Ok(page.clone()));
    insta::assert_snapshot!(person.terminal(&["storage", "show"]).await, @"
    $ archy storage show
    downloads   3.2 GB, at most 50.0 GB
    freeable    1.2 GB
    disk        80.0 GB free, of which 1.0 GB stay free
    installed   2.0 GB in 9 blobs
    ");
    page["quotaBytes"] = Value::Null;
    page["fsck"] = json!({
        "running": true, "began": "2026-11-21T10:00:00Z", "ended": null, "blobsDone": 3, "blobsTotal": 9,
        "bytesDone": 5, "bytesTotal": 10, "unheldBytes": 0, "problem": null,
        "bad": [
            { "blob": "ab".repeat(32), "sizeBytes": 1000, "wrong": "damaged", "sets": ["app/x/1"], "mended": true, "hint": null },
            { "blob": "cd".repeat(32), "sizeBytes": 1000, "wrong": "missing", "sets": ["release/x/1"], "mended": false, "hint": "Publish again" },
        ],
    });
    node.answers("storage.fsck", Ok(page));
    insta::assert_snapshot!(person.terminal(&["storage", "check"]).await, @"
    $ archy storage check
    downloads   3.2 GB, no quota
    freeable    1.2 GB
    disk        80.0 GB free, of which 1.0 GB stay free
    installed   2.0 GB in 9 blobs
    check       under way since 2026-11-21T10:00:00Z; 3 of 9 blobs, 2 bad; 0 B of files that nothing needs
      damaged abababababababababababababababababababababababababababababababab (1.0 kB) of app/x/1; fetched again
      missing cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd (1.0 kB) of release/x/1; Publish again
    `archy storage show` says how far the check is
    ");
    person.types(&["storage", "check", "--stop"]).await;
    assert_eq!(
        node.calls("storage.fsck"),
        [json!({ "stop": false }), json!({ "stop": true })]
    );
}

#[tokio::test]
async fn a_refusal_by_the_policy_is_a_refusal() {
    let (node, person) = owner().await;
    let refusal =
        json!({ "kind": "policyScore", "message": "too few points", "hint": null, "details": [] });
    node.answers("package.install", Err(refusal));
    let answer = person
        .types(&["--json", "install", &format!("{DID}/notes")])
        .await;
    assert_eq!(
        (answer.code, &answer.json()["kind"]),
        (3, &json!("policyScore"))
    );
}

#[tokio::test]
async fn searches_ask_for_filters_and_say_what_the_policy_hides() {
    let (node, person) = owner().await;
    let found =
        json!({ "apps": [], "total": 1, "hidden": 1, "corrected": "notes", "categories": [] });
    node.answers("store.search", Ok(found));
    let words = person
        .types(&[
            "store",
            "search",
            "nots",
            "--architecture",
            "arm64",
            "--points",
            "35",
            "--without",
            "device",
            "--without",
            "network",
            "--sort",
            "score",
        ])
        .await;
    assert_eq!(
        words.out,
        "nothing is called that; this is of notes\nno app found\nyour policy hides 1 app: `archy policy show`\n"
    );
    let asked = json!({
        "query": "nots", "category": null, "architecture": "arm64", "pointsMin": 35,
        "withoutRights": ["device", "network"], "sort": "score", "limit": 100,
    });
    assert_eq!(node.calls("store.search"), [asked]);
    let hidden = person.types(&["--json", "trust", "unblock", "notes"]).await;
    assert_eq!(
        (hidden.code, &hidden.json()["kind"]),
        (5, &json!("notFound")),
        "{hidden:?}"
    );
    assert!(hidden.out.contains("Name it in full"), "{hidden:?}");
}
