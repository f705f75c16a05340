//! The life of a publisher's keys, as its owner types it, and what nodes make of it.

use std::os::unix::fs::PermissionsExt as _;

use archy_nostr::Heard;
use archy_registry::key_state::{KeyHistory, chain};
use jiff::Timestamp;
use serde_json::Value;

use crate::node::TestNode;
use crate::person::Person;
use crate::publish::{PUBLISH, believed, heard, publisher};

/// Types a command that must work, and returns its JSON.
pub(crate) async fn does(person: &Person, arguments: &[&str]) -> Value {
    let answer = person.types(&[&["--json"], arguments].concat()).await;
    assert_eq!(answer.code, 0, "{arguments:?}: {answer:?}");
    answer.json()
}

/// Types a command that must fail, and returns its exit code, kind and words.
pub(crate) async fn fails(person: &Person, arguments: &[&str]) -> (i32, String, String) {
    let answer = person.types(&[&["--json"], arguments].concat()).await;
    let json = answer.json();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    (answer.code, text("kind"), text("error"))
}

/// What a stranger makes of the published file.
fn history(person: &Person) -> KeyHistory {
    let bytes = std::fs::read(person.identity_dir().join("key-state.json")).unwrap();
    let publisher = chain::claimed_publisher(&bytes).unwrap();
    chain::verify(&bytes, publisher, Timestamp::now()).unwrap()
}

#[tokio::test]
async fn keys_are_renewed_rotated_revoked_and_reopened_under_one_did() {
    let person = Person::new();
    let made = does(&person, &["identity", "new"]).await;
    let renewed = does(&person, &["identity", "renew"]).await;
    assert_eq!(renewed["keyState"]["seq"], 2);
    assert_eq!(renewed["keyState"]["keys"], made["keyState"]["keys"]);

    // The next key lies in a drawer.
    let (here, drawer) = (
        person.identity_dir().join("next.key"),
        person.home().join("drawer.key"),
    );
    std::fs::rename(&here, &drawer).unwrap();
    let (code, _, words) = fails(&person, &["identity", "rotate"]).await;
    assert_eq!(code, 5, "{words}");
    let rotate = ["identity", "rotate", "--next-key", "drawer.key"];
    let rotated = does(&person, &rotate).await;
    assert_eq!(rotated["did"], made["did"]);
    assert_eq!(rotated["keyState"]["seq"], 3);
    assert_ne!(rotated["keyState"]["keys"], made["keyState"]["keys"]);
    assert!(here.exists());
    for file in ["publisher.key", "next.key"] {
        let mode = std::fs::metadata(person.identity_dir().join(file)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{file}");
    }
    // A key is the next one once.
    let (code, kind, _) = fails(&person, &rotate).await;
    assert_eq!((code, kind.as_str()), (3, "notCommitted"));

    assert_eq!(fails(&person, &["identity", "revoke"]).await.0, 2);
    let revoked = does(&person, &["identity", "revoke", "--yes"]).await;
    assert_eq!(revoked["keyState"]["revoked"], true);
    assert!(history(&person).newest().is_revoked());
    let (code, kind, _) = fails(&person, &["identity", "renew"]).await;
    assert_eq!((code, kind.as_str()), (3, "revoked"));
    let reopened = does(&person, &["identity", "recover", "--floor", "notes=7"]).await;
    assert_eq!(reopened["did"], made["did"]);
    assert_eq!(reopened["keyState"]["revoked"], false);
    assert_eq!(reopened["keyState"]["floors"]["notes"], 7);
    let (code, _, words) = fails(&person, &["identity", "recover", "--floor", "notes=7"]).await;
    assert_eq!(code, 2, "{words}");

    let history = history(&person);
    assert_eq!(history.publisher().to_string(), made["did"]);
    assert_eq!(history.newest().seq, 5);
    assert_eq!(history.counted_states().count(), 5);
}

#[tokio::test]
async fn several_nostr_keys_announce_until_a_date() {
    let person = Person::new();
    let made = does(&person, &["identity", "new"]).await;
    let other = "ab".repeat(32);
    let link = |arguments: &[&str]| {
        let all = [&["identity", "link-nostr"], arguments].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let typed = link(&["--add", &other, "--expires", "2999-01-01T00:00:00Z"]);
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    let linked = does(&person, &typed).await;
    assert_eq!(linked["linked"].as_array().unwrap().len(), 2);
    let state = history(&person).newest().clone();
    assert!(state.binds_nostr(&other, Timestamp::now()));
    assert!(!state.binds_nostr(&other, "2999-01-01T00:00:00Z".parse().unwrap()));

    let own = made["nostr"].as_str().unwrap().to_owned();
    for (arguments, code) in [
        (vec!["--remove", own.as_str()], 2),
        (vec!["--add", "npub"], 2),
        (
            vec!["--add", other.as_str(), "--expires", "2001-01-01T00:00:00Z"],
            2,
        ),
        (vec![], 2),
    ] {
        let typed = [&["identity", "link-nostr"], &arguments[..]].concat();
        assert_eq!(fails(&person, &typed).await.0, code, "{arguments:?}");
    }
    let unlinked = does(&person, &["identity", "link-nostr", "--remove", &other]).await;
    assert_eq!(unlinked["linked"].as_array().unwrap().len(), 1);
    let again = ["identity", "link-nostr", "--remove", other.as_str()];
    assert_eq!(fails(&person, &again).await.0, 5);
}

#[tokio::test]
async fn keys_behind_a_passphrase_need_it() {
    let person = Person::new();
    let write = |name: &str, text: &str, mode: u32| {
        let path = person.home().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("right", "correct horse\n", 0o600);
    write("wrong", "correct horsf\n", 0o600);
    write("short", "horse\n", 0o600);
    write("open", "correct horse\n", 0o644);
    let new = ["identity", "new", "--encrypt", "--passphrase-file"];
    assert_eq!(fails(&person, &[&new[..], &["short"]].concat()).await.0, 2);
    let (_, _, words) = fails(&person, &[&new[..], &["open"]].concat()).await;
    assert!(words.contains("chmod 600"), "{words}");
    let made = does(&person, &[&new[..], &["right"]].concat()).await;
    let key = std::fs::read_to_string(person.identity_dir().join("publisher.key")).unwrap();
    assert!(key.contains("argon2id") && !key.contains("z3u2"));

    // What is public needs no passphrase; what signs does.
    assert_eq!(
        does(&person, &["identity", "show"]).await["did"],
        made["did"]
    );
    let (code, kind, words) = fails(&person, &["identity", "renew"]).await;
    assert_eq!((code, kind.as_str()), (1, "passphrase"), "{words}");
    let renew = ["identity", "renew", "--passphrase-file"];
    let (code, kind, words) = fails(&person, &[&renew[..], &["wrong"]].concat()).await;
    assert_eq!((code, kind.as_str()), (3, "passphrase"));
    assert!(words.contains("wrong passphrase"), "{words}");
    does(&person, &[&renew[..], &["right"]].concat()).await;
    let rotate = ["identity", "rotate", "--passphrase-file", "right"];
    assert_eq!(does(&person, &rotate).await["keyState"]["seq"], 3);
    let key = std::fs::read_to_string(person.identity_dir().join("publisher.key")).unwrap();
    assert!(key.contains("argon2id"));
}

#[tokio::test]
async fn an_export_is_public_unless_the_private_keys_are_asked_for() {
    let person = Person::new();
    does(&person, &["identity", "new"]).await;
    does(&person, &["identity", "export", "public"]).await;
    let names = |folder: &str| {
        let mut names: Vec<String> = std::fs::read_dir(person.home().join(folder))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("public"), ["key-state.json"]);
    does(&person, &["identity", "export", "backup", "--private"]).await;
    let all = ["key-state.json", "next.key", "nostr.key", "publisher.key"];
    assert_eq!(names("backup"), all);
    // A backup is an identity.
    let shown = does(&person, &["--identity", "backup", "identity", "show"]).await;
    assert_eq!(
        shown["did"],
        does(&person, &["identity", "show"]).await["did"]
    );
    assert_eq!(fails(&person, &["identity", "export", "backup"]).await.0, 1);
}

#[tokio::test]
async fn an_interrupted_rotation_is_finished() {
    let person = Person::new();
    does(&person, &["identity", "new"]).await;
    let dir = person.identity_dir();
    let before = std::fs::read(dir.join("key-state.json")).unwrap();
    let old = ["publisher.key", "next.key"].map(|name| std::fs::read(dir.join(name)).unwrap());
    does(&person, &["identity", "rotate"]).await;
    // As a power cut leaves it between the mark and the rest.
    std::fs::rename(dir.join("key-state.json"), dir.join("rotating.json")).unwrap();
    std::fs::write(dir.join("key-state.json"), before).unwrap();
    for (name, old) in ["publisher.key", "next.key"].iter().zip(old) {
        std::fs::rename(dir.join(name), dir.join(format!("{name}.new"))).unwrap();
        std::fs::write(dir.join(name), old).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(dir.join(name), private).unwrap();
    }
    let shown = does(&person, &["identity", "show"]).await;
    assert_eq!(shown["keyState"]["seq"], 2);
    assert!(!dir.join("rotating.json").exists());
    does(&person, &["identity", "renew"]).await;
}

#[tokio::test]
async fn after_a_theft_the_owner_goes_on_and_says_what_still_counts() {
    let node = TestNode::start().await;
    let person = publisher(&node).await;
    let first = does(&person, &PUBLISH[1..]).await;
    let before = Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let shown = does(&person, &["identity", "show"]).await;
    let recover = ["identity", "recover", "--reaffirm-before"];
    let before = before.to_string();
    let recovered = does(&person, &[&recover[..], &[&before]].concat()).await;
    assert_eq!(recovered["keyState"]["floors"]["notes"], 2);
    assert_eq!(
        recovered["keyState"]["reaffirm"],
        serde_json::json!([first["release"]])
    );
    let told = does(&person, &["identity", "publish"]).await;
    assert_eq!(told["accepted"][0], node.relay.url().to_string());

    // The new Nostr key announces in places of its own, where the thief's cannot. Whoever hears only its newest
    // event knows the whole chain.
    assert_ne!(recovered["nostr"], shown["nostr"]);
    assert_eq!(recovered["linked"].as_array().unwrap().len(), 1);
    let own = |mut events: Vec<Heard>| {
        events.retain(|event| recovered["nostr"] == event.pubkey.to_string());
        events
    };
    let events = own(heard(&node, 3).await);
    assert_eq!(events.len(), 1);
    assert_eq!(chain::split(&events[0].content).unwrap().len(), 2);
    let second = does(&person, &PUBLISH[1..]).await;
    assert_eq!(second["seq"], 2);
    let (state, card) = believed(&own(heard(&node, 4).await));
    assert_eq!((state.seq, card.seq), (2, 2));
}
