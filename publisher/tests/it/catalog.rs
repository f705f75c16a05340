//! An operator's catalog from folders to a signed file, and the owner's registries.

use std::path::Path;

use archy_registry::catalog;
use archy_registry::key_state::KeyHistory;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::image;
use crate::node::TestNode;
use crate::person::Person;
use crate::publish::{PUBLISH, publisher};

async fn does(person: &Person, arguments: &[&str]) -> Value {
    let answer = person.types(&[&["--json"], arguments].concat()).await;
    assert_eq!(answer.code, 0, "{arguments:?}: {answer:?}");
    answer.json()
}

async fn fails(person: &Person, arguments: &[&str]) -> (i32, Value) {
    let answer = person.types(&[&["--json"], arguments].concat()).await;
    assert_ne!(answer.code, 0, "{arguments:?}: {answer:?}");
    (answer.code, answer.json())
}

/// An operator with an app that nobody signed, and a release that somebody else did.
async fn operator() -> (TestNode, Person, Vec<u8>) {
    let node = TestNode::start().await;
    let other = publisher(&node).await;
    assert_eq!(other.types(&PUBLISH).await.code, 0);
    let release = std::fs::read(other.identity_dir().join("releases/notes.json")).unwrap();
    let states = std::fs::read(other.identity_dir().join("key-state.json")).unwrap();
    let person = publisher(&node).await;
    let folder = person.home().join("others");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("notes.json"), &release).unwrap();
    std::fs::write(folder.join("key-state.json"), states).unwrap();
    (node, person, release)
}

const BUILD: [&str; 9] = [
    "catalog",
    "build",
    "others",
    "--name",
    "Home apps",
    "--app",
    "notes",
    "--image",
    "oci:image",
];

fn read(person: &Person, file: &str) -> Vec<u8> {
    std::fs::read(person.home().join(file)).unwrap()
}

#[tokio::test]
async fn what_is_built_and_signed_holds_every_release_byte_for_byte() {
    let (_node, person, foreign) = operator().await;
    let built = does(&person, &BUILD).await;
    assert_eq!((&built["seq"], &built["hash"]), (&json!(1), &Value::Null));
    assert_eq!(built["releases"].as_array().unwrap().len(), 2);
    let signed = does(&person, &["catalog", "sign"]).await;
    let checked = does(&person, &["catalog", "verify"]).await;
    assert_eq!(signed, checked);

    let bytes = read(&person, "catalog.json");
    let me: archy_registry::Did = built["operator"].as_str().unwrap().parse().unwrap();
    let catalog = catalog::verify(&bytes, &KeyHistory::new(me), Timestamp::now()).unwrap();
    assert_eq!(catalog.hash().to_string(), checked["hash"]);
    let own = read(
        &person,
        ".config/archy/identity/catalog/releases/notes.json",
    );
    let mut expected = [foreign, own];
    let mut inside: Vec<Vec<u8>> = catalog
        .releases
        .iter()
        .map(|one| one.bytes.clone())
        .collect();
    expected.sort();
    inside.sort();
    assert_eq!(inside, expected);
    let own = catalog.releases.iter().find(|one| one.app.publisher == me);
    let keys = catalog
        .key_history(KeyHistory::new(me), Timestamp::now())
        .unwrap();
    let (own, _) = own.unwrap().verify(&keys, None, Timestamp::now()).unwrap();
    assert!(own.origin.endpoints.is_empty() && own.seq == 1);

    // What did not change stays the release that it is; the catalog counts on.
    let again = does(&person, &BUILD).await;
    assert_eq!(
        (&again["seq"], &again["releases"]),
        (&json!(2), &built["releases"])
    );
    image::write(&person.home().join("image"), "amd64", "second");
    let changed = does(&person, &BUILD).await;
    assert_ne!(changed["releases"], built["releases"]);
}

#[tokio::test]
async fn what_no_node_would_take_is_not_signed() {
    let (_node, person, _) = operator().await;
    does(&person, &BUILD).await;
    let unsigned = read(&person, "catalog.unsigned.json");
    let write = |name: &str, bytes: &[u8]| std::fs::write(person.home().join(name), bytes).unwrap();

    let pretty: Value = serde_json::from_slice(&unsigned).unwrap();
    write(
        "pretty.json",
        serde_json::to_string_pretty(&pretty).unwrap().as_bytes(),
    );
    let (code, told) = fails(&person, &["catalog", "sign", "pretty.json"]).await;
    assert_eq!((code, &told["kind"]), (3, &json!("catalog")), "{told}");

    let mut forged = pretty.clone();
    forged["releases"][0]["seq"] = json!(99);
    write(
        "forged.json",
        serde_json::to_string(&forged).unwrap().as_bytes(),
    );
    let (code, told) = fails(&person, &["catalog", "sign", "forged.json"]).await;
    assert_eq!(code, 3, "{told}");
    assert!(!person.home().join("catalog.json").exists());

    does(&person, &["catalog", "sign"]).await;
    let (code, told) = fails(&person, &["catalog", "sign", "catalog.json"]).await;
    assert_eq!(code, 3, "{told}");
    let text = String::from_utf8(read(&person, "catalog.json")).unwrap();
    write(
        "renamed.json",
        text.replace("Home apps", "Evil apps").as_bytes(),
    );
    let (code, told) = fails(&person, &["catalog", "verify", "renamed.json"]).await;
    assert_eq!((code, &told["kind"]), (3, &json!("catalog")), "{told}");
    let stranger = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    let (code, _) = fails(&person, &["catalog", "verify", "--operator", stranger]).await;
    assert_eq!(code, 3);

    write("rubbish.json", b"{}");
    let (code, told) = fails(
        &person,
        &["catalog", "build", "rubbish.json", "--name", "x"],
    )
    .await;
    assert_eq!((code, &told["kind"]), (3, &json!("catalog")), "{told}");
}

#[tokio::test]
async fn the_owner_keeps_both_lists_of_registries() {
    let node = TestNode::start().await;
    let person = Person::with_node(&node.socket);
    let did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    let problem = json!({"kind": "unreachable", "message": "The registry cannot be reached", "hint": null, "details": []});
    let catalog = json!({
        "name": "Home apps", "seq": 7, "created": "2026-01-01T00:00:00Z", "expires": "2026-02-01T00:00:00Z",
        "stale": true, "releases": 12, "refused": 1,
    });
    let lists = json!({
        "registries": [{
            "name": "home", "url": "https://apps.example.org/catalog.json", "operator": did, "ttlSeconds": 3600,
            "lastTry": null, "lastFetch": null, "lastError": problem, "catalog": catalog,
        }],
        "oci": [{"name": "hub", "place": "docker.io", "credentials": true}],
    });
    for method in [
        "registry.list",
        "registry.add",
        "registry.remove",
        "registry.move",
    ] {
        node.answers(method, Ok(lists.clone()));
    }
    insta::assert_snapshot!(person.terminal(&["registry", "list"]).await);
    let here = std::fs::canonicalize(person.home()).unwrap();
    let path = |name: &str| Path::new(&here).join(name).to_str().unwrap().to_owned();
    does(
        &person,
        &[
            "registry",
            "add",
            "catalog.json",
            "--name",
            "home",
            "--operator",
            did,
            "--position",
            "1",
        ],
    )
    .await;
    does(
        &person,
        &[
            "registry",
            "add",
            "docker.io",
            "--oci",
            "--credentials",
            "hub",
        ],
    )
    .await;
    does(&person, &["registry", "add", "./images", "--oci"]).await;
    let calls = node.calls("registry.add");
    assert_eq!(calls[2]["url"], json!(path("images")));
    assert_eq!(
        calls[0],
        json!({"url": path("catalog.json"), "name": "home", "operator": did, "ttlSeconds": null, "position": 1, "oci": false, "credentialsFile": null})
    );
    assert_eq!(
        (
            &calls[1]["url"],
            &calls[1]["credentialsFile"],
            &calls[1]["oci"]
        ),
        (&json!("docker.io"), &json!(path("hub")), &json!(true))
    );
    does(&person, &["registry", "move", "hub", "1", "--oci"]).await;
    assert_eq!(
        node.calls("registry.move"),
        [json!({"name": "hub", "position": 1, "oci": true})]
    );
    does(&person, &["registry", "remove", "home"]).await;
    assert_eq!(
        node.calls("registry.remove"),
        [json!({"name": "home", "oci": false})]
    );

    let test = json!({"operator": did, "catalog": catalog, "refused": [{"app": {"publisher": did, "slug": "notes"}, "problem": problem}], "problem": null});
    node.answers("registry.test", Ok(test));
    insta::assert_snapshot!(
        "test_of_a_registry",
        person.terminal(&["registry", "test", "home"]).await
    );
    let failed = json!({"operator": null, "catalog": null, "refused": [], "problem": problem});
    node.answers("registry.test", Ok(failed));
    let (code, told) = fails(&person, &["registry", "test", "https://apps.example.org/"]).await;
    assert_eq!((code, &told["kind"]), (1, &json!("unreachable")));
    let asked = node.calls("registry.test");
    assert_eq!(asked[0], json!({"name": "home", "oci": false}));
    assert_eq!(
        asked[1],
        json!({"url": "https://apps.example.org/", "oci": false})
    );
    let (code, _) = fails(
        &person,
        &["registry", "add", "docker.io", "--credentials", "hub"],
    )
    .await;
    assert_eq!(code, 2);
}
