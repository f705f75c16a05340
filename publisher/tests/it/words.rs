//! What the program says to a person who has nothing yet, or makes a mistake.

use crate::person::Person;

#[tokio::test]
async fn help_lists_the_commands_and_exit_codes() {
    insta::assert_snapshot!(Person::new().terminal(&["help"]).await);
    insta::assert_snapshot!(
        "help_publish",
        Person::new().terminal(&["publish", "--help"]).await
    );
    insta::assert_snapshot!("help_app", Person::new().terminal(&["app", "--help"]).await);
}

#[tokio::test]
async fn mistakes_are_answered_with_what_to_do() {
    let person = Person::new();
    let mut transcript = String::new();
    for arguments in [
        ["status"].as_slice(),
        &["identity", "show"],
        &["publish", "."],
        &["app", "new", "My App"],
        &["app", "new", "notes"],
        &["app", "new", "notes"],
        &["publish", "notes"],
        &["publish", "notes", "--image", "notes.tar"],
        &["--json", "instal", "notes"],
    ] {
        transcript.push_str(&person.terminal(arguments).await);
        transcript.push('\n');
    }
    insta::assert_snapshot!(transcript);
}

#[tokio::test]
async fn a_new_app_is_valid_and_renders() {
    let person = Person::new();
    person.types(&["app", "new", "notes"]).await;
    let valid = person.types(&["app", "validate", "notes"]).await;
    // The rights that follow are the orchestrator's words.
    assert!(
        valid
            .out
            .starts_with("notes 0.1.0 is valid; owners will be told:\n  "),
        "{valid:?}"
    );
    let rendered = person
        .types(&["--json", "app", "render", "notes"])
        .await
        .json();
    let names: Vec<&String> = rendered.as_object().unwrap().keys().collect();
    assert_eq!(names, ["archy.notes.network", "archy.notes.web.container"]);
    assert_eq!(
        person
            .types(&["app", "render", "notes", "--out", "units"])
            .await
            .code,
        0
    );
    assert!(
        person
            .home()
            .join("units/archy.notes.web.container")
            .is_file()
    );
}

#[tokio::test]
async fn keys_are_made_once_and_shown_without_their_secrets() {
    let person = Person::new();
    let made = person.types(&["--json", "identity", "new"]).await.json();
    assert!(made["did"].as_str().unwrap().starts_with("did:key:z6Mk"));
    let again = person.types(&["--json", "identity", "new"]).await;
    assert_eq!((again.code, &again.json()["kind"]), (1, &"exists".into()));
    let shown = person.types(&["--json", "identity", "show"]).await;
    assert_eq!(shown.json()["did"], made["did"]);
    for file in ["publisher.key", "next.key", "nostr.key"] {
        let secret = std::fs::read_to_string(person.identity_dir().join(file)).unwrap();
        assert!(!shown.out.contains(secret.trim()), "{file}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    let key = person.identity_dir().join("publisher.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = person.types(&["identity", "show"]).await;
    assert_eq!(exposed.code, 1);
    assert!(exposed.err.contains("chmod 600"), "{}", exposed.err);
}
