//! A publisher of several keys: whoever has one of them alone publishes nothing.

use std::path::Path;

use archy_registry::Verified;
use archy_registry::key_state::KeyState;
use serde_json::Value;

use crate::identity::{does, fails};
use crate::node::TestNode;
use crate::person::Person;
use crate::publish::{PUBLISH, believed, heard, publisher};

async fn key(person: &Person, file: &str) -> String {
    let made = does(person, &["identity", "key", file, "--new"]).await;
    let shown = does(person, &["identity", "key", file]).await;
    assert_eq!(made, shown);
    made["key"].as_str().unwrap().to_owned()
}

/// What `--json` says of a command that puts a statement aside; returns the file.
pub(crate) async fn waits(person: &Person, arguments: &[&str]) -> String {
    let (code, kind, words) = fails(person, arguments).await;
    assert_eq!((code, kind.as_str()), (3, "cosign"), "{words}");
    let (_, file) = words.split_once("waits in ").unwrap();
    assert!(Path::new(file).is_file(), "{file}");
    file.to_owned()
}

/// Makes `person`'s releases take two of three keys: its own, `b.key` and `c.key`.
pub(crate) async fn shares(person: &Person) -> Value {
    let (b, c) = (key(person, "b.key").await, key(person, "c.key").await);
    let (b_next, c_next) = (key(person, "b2.key").await, key(person, "c2.key").await);
    let commit = ["identity", "rotate", "--commit", &b, "--commit", &c];
    assert_eq!(does(person, &commit).await["keyState"]["threshold"], 1);
    let take = [
        "identity",
        "rotate",
        "--threshold",
        "2",
        "--key",
        &b,
        "--key",
        &c,
    ];
    let next = ["--commit", &b_next, "--commit", &c_next];
    let file = waits(person, &[&take[..], &next].concat()).await;
    let before = does(person, &["identity", "show"]).await;
    assert_eq!(before["keyState"]["threshold"], 1, "nothing changed yet");
    let (code, _, words) = fails(person, &["identity", "accept", &file]).await;
    assert_eq!(code, 3, "{words}");
    let signed = does(person, &["cosign", &file, "--key", "b.key"]).await;
    assert_eq!(
        (&signed["proofs"], &signed["publisher"]),
        (&2.into(), &before["did"])
    );
    let (code, _, words) = fails(person, &["cosign", &file, "--key", "b.key"]).await;
    assert_eq!(code, 1, "{words}");
    does(person, &["identity", "accept", &file]).await
}

#[tokio::test]
async fn two_of_three_keys_publish_and_one_does_not() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let shared = shares(&person).await;
    assert_eq!(shared["keyState"]["threshold"], 2);
    assert_eq!(shared["keyState"]["keys"].as_array().unwrap().len(), 3);

    let publish = &PUBLISH[1..];
    let file = waits(&person, publish).await;
    let again = [publish, &["--release", &file]].concat();
    let (code, _, words) = fails(&person, &again).await;
    assert_eq!(code, 3, "{words}");
    let signed = does(&person, &["cosign", &file, "--key", "c.key"]).await;
    assert_eq!(signed["what"], "release 1 of notes, version 0.1.0");
    let published = does(&person, &again).await;
    assert_eq!(published["seq"], 1);
    let (state, card): (Verified<KeyState>, _) = believed(&heard(&node, 2).await);
    assert_eq!((state.threshold, card.seq), (2, 1));
    assert_eq!(card.release.blake3.to_string(), published["release"]);

    // With a second key at hand it is one command; a third signature is one too many.
    let with = [publish, &["--cosign-with", "b.key"]].concat();
    assert_eq!(does(&person, &with).await["seq"], 2);
    let (code, kind, words) =
        fails(&person, &[&with[..], &["--cosign-with", "c.key"]].concat()).await;
    assert_eq!(code, 3, "{kind}: {words}");

    // What the others signed is what is published, or nothing.
    let file = waits(&person, publish).await;
    does(&person, &["cosign", &file, "--key", "b.key"]).await;
    let manifest = person.home().join("notes/manifest.yml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("version: 0.1.0", "version: 0.1.1")).unwrap();
    let (_, kind, words) = fails(&person, &[publish, &["--release", &file]].concat()).await;
    assert_eq!(kind, "notThis", "{words}");
}

#[tokio::test]
async fn a_publisher_of_several_keys_changes_them_together() {
    let person = Person::new();
    does(&person, &["identity", "new"]).await;
    shares(&person).await;
    let file = waits(&person, &["identity", "renew"]).await;
    does(&person, &["cosign", &file, "--key", "c.key"]).await;
    assert_eq!(
        does(&person, &["identity", "accept", &file]).await["keyState"]["seq"],
        4
    );
    let renew = ["identity", "renew", "--cosign-with", "b.key"];
    assert_eq!(does(&person, &renew).await["keyState"]["seq"], 5);

    // One key alone cannot be left behind by mistake, and can always stop everything.
    let (code, _, words) = fails(&person, &["identity", "rotate"]).await;
    assert_eq!(code, 2, "{words}");
    let revoked = does(&person, &["identity", "revoke", "--yes"]).await;
    assert_eq!(revoked["keyState"]["revoked"], true);
    let alone = [
        "identity",
        "rotate",
        "--threshold",
        "1",
        "--cosign-with",
        "b2.key",
    ];
    let alone = does(&person, &alone).await;
    assert_eq!(alone["keyState"]["threshold"], 1);
    assert_eq!(alone["keyState"]["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_statement_is_not_signed() {
    let person = Person::new();
    key(&person, "b.key").await;
    for text in [
        "",
        "[]",
        "{\"type\":\"archy/announcement/v1\"}",
        "{\"a\":1,\"a\":2}",
    ] {
        std::fs::write(person.home().join("file.json"), text).unwrap();
        let (code, kind, _) = fails(&person, &["cosign", "file.json", "--key", "b.key"]).await;
        assert_eq!((code, kind.as_str()), (3, "malformed"), "{text}");
        let kept = std::fs::read_to_string(person.home().join("file.json")).unwrap();
        assert_eq!(kept, text);
    }
}
