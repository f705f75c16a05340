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
async fn what_archyd_knows_is_handed_over_to_it() {
    // Its words, what it says on the side, and its exit code.
    let person = Person::with_archyd("echo \"$@\"; echo aside >&2; exit \"${#2}\"");
    let table = [
        (["setup", ""].as_slice(), 0, "", "setup \naside\n"),
        (&["doctor"], 0, "doctor\n", "aside\n"),
        (&["diagnostics", ""], 0, "diagnostics \n", "aside\n"),
        (
            &["doctor", "x"],
            1,
            "doctor x\n",
            "aside\nerror: archyd doctor ended with exit status: 1\n",
        ),
        (
            &["diagnostics", "-x"],
            2,
            "diagnostics -x\n",
            "aside\nerror: archyd diagnostics ended with exit status: 2\n",
        ),
    ];
    for (arguments, code, out, err) in table {
        let arguments = [&["node"], arguments].concat();
        let answer = person.types(&arguments).await;
        assert_eq!((answer.code, &*answer.out, &*answer.err), (code, out, err));
    }
    let answer = person.types(&["--json", "node", "doctor", "x"]).await;
    assert_eq!((answer.code, &*answer.err), (1, "doctor x\naside\n"));
    let problem: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(problem["kind"], "doctor");
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
