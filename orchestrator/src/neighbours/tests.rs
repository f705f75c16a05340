use super::*;
use crate::samples::{PUBLISHER, installed, release};
use crate::surroundings::{NodeFacts, look};
use crate::values::Value;

const OTHER: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

const CONTAINER: &str = "source: {type: pull, image: localhost/a}";

fn bank() -> Release {
    release(
        "bank",
        &format!(
            "  - {{name: api, {CONTAINER}}}\n  - {{name: db, {CONTAINER}, network_aliases: [store]}}\n\
             generated_secrets: [{{name: token, kind: hex16}}]\n\
             exports:\n  - {{name: url, value: 'http://${{app.host.api}}/'}}\n  - {{name: token, value: '${{secret.token}}'}}\n"
        ),
    )
}

fn user(slug: &str, container: &str, publisher: &str, version: &str, value: &str) -> Release {
    release(
        slug,
        &format!(
            "  - {{name: {container}, {CONTAINER}, environment: {{X: '${{dependency.bank.{value}}}'}}}}\n  - {{name: alone, {CONTAINER}}}\n\
             dependencies:\n  - {{publisher: '{publisher}', app: bank, version: '{version}'}}\n"
        ),
    )
}

#[test]
fn a_dependency_must_be_there_in_a_version_that_will_do() {
    let running = [installed(bank(), Wish::Running)];
    let removed = [installed(bank(), Wish::Removed)];
    let check = |user: Release, around: &[Desired]| {
        super::check(&user, &Settings::default(), around).map_err(|error| error.to_string())
    };
    let fits = || user("teller", "web", PUBLISHER, ">=1.2", "url");
    assert_eq!(check(fits(), &running), Ok(()));
    for (user, around, words) in [
        (fits(), &[][..], "needs the app bank"),
        (fits(), &removed, "install that first"),
        (user("teller", "web", OTHER, ">=1", "url"), &running, OTHER),
        (
            user("teller", "web", PUBLISHER, ">=2", "url"),
            &running,
            "1.2.0 is installed",
        ),
        (
            user("teller", "web", PUBLISHER, ">=1", "nothing"),
            &running,
            "nothing of bank",
        ),
        // A stack's container is called APP-CONTAINER by others, so that only such a name could mean two things.
        (
            user("teller", "bank-api", PUBLISHER, ">=1", "url"),
            &running,
            "the name bank-api",
        ),
    ] {
        let error = check(user, around).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

fn plain_bank(extra: &str) -> Release {
    let rest = format!(
        "  - {{name: api, {CONTAINER}, network_aliases: [teller-alone]}}\n\
         exports: [{{name: url, value: 'http://${{app.host.api}}/'}}]\n{extra}"
    );
    release("bank", &rest)
}

fn teller() -> Desired {
    let mut teller = release(
        "teller",
        &format!(
            "  - {{name: web, {CONTAINER}, environment: {{X: '${{dependency.bank.url}}'}}}}\n\
             \x20 - {{name: db, {CONTAINER}, network_aliases: [store]}}\n  - {{name: alone, {CONTAINER}}}\n\
             dependencies:\n  - {{publisher: '{PUBLISHER}', app: bank}}\n"
        ),
    );
    // Whose app it is does not matter.
    teller.publisher = OTHER.parse().unwrap();
    installed(teller, Wish::Running)
}

fn clash(checked: Result<(), Refusal>) -> Option<String> {
    match checked {
        Ok(()) => None,
        Err(Refusal::NameClash {
            app,
            dependency,
            name,
        }) => Some(format!("{app} {dependency} {name}")),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn an_update_takes_no_name_of_an_app_that_uses_it() {
    let nothing_set = Settings::default();
    let around = [installed(plain_bank(""), Wish::Running), teller()];
    for (name, expected) in [
        ("vault", None),
        ("db", Some("teller bank db")),
        ("store", Some("teller bank store")),
        ("web", Some("teller bank web")),
    ] {
        let next = plain_bank(&format!("extensions: {{container_name: {name}}}\n"));
        let found = clash(super::check(&next, &nothing_set, &around));
        assert_eq!(found.as_deref(), expected);
        let mut gone = around.clone();
        gone[1].wish = Wish::Removed;
        assert_eq!(clash(super::check(&next, &nothing_set, &gone)), None);
        // Another publisher's app of that name is no concern of theirs.
        let mut others = next.clone();
        others.publisher = OTHER.parse().unwrap();
        assert_eq!(clash(super::check(&others, &nothing_set, &around)), None);
    }
}

#[test]
fn a_container_that_its_owner_lets_use_an_app_is_checked_too() {
    let mut teller = teller();
    let bank = installed(plain_bank(""), Wish::Running);
    let check = |settings: &Settings| {
        clash(super::check(
            &teller.release,
            settings,
            std::slice::from_ref(&bank),
        ))
    };
    assert_eq!(check(&Settings::default()), None);
    let edit = serde_json::json!({"containers": {"alone": {"environment": {"X": "${dependency.bank.url}"}}}});
    let edit = serde_json::from_value(edit).unwrap();
    let edited = teller.settings.edited(&edit, &teller.release.manifest);
    let edited = edited.unwrap();
    let expected = Some("teller bank teller-alone".to_owned());
    assert_eq!(check(&edited), expected);
    teller.settings = edited;
    let next = super::check(&bank.release, &Settings::default(), &[teller]);
    assert_eq!(clash(next), expected);
}

fn running(app: &Desired, container: &str, name: &str) -> podman::Container {
    let json = serde_json::json!({
        "Id": name,
        "Names": [name],
        "State": "running",
        "Labels": {
            crate::quadlet::LABEL_APP: app.app.to_string(),
            crate::quadlet::LABEL_ROOT: "root",
            crate::quadlet::LABEL_CONTAINER: container,
        },
    });
    serde_json::from_value(json).unwrap()
}

/// The containers that would be put into networks of `user`.
fn joined(user: &Desired, containers: &[podman::Container]) -> Vec<String> {
    let networks = BTreeSet::from(["archy.teller.uses.bank".to_owned()]);
    let joins = missing_joins(user, containers, &networks, "root");
    joins.into_iter().map(|join| join.container).collect()
}

#[test]
fn no_container_is_joined_under_a_name_that_is_taken_there() {
    let mut teller = teller();
    let bank = installed(plain_bank(""), Wish::Running);
    let (facts, node) = (crate::quadlet::tests_facts(), NodeFacts::default());
    let none = Surroundings::default();
    let around = std::slice::from_ref(&bank);
    teller.settings.surroundings = look(&teller.release.manifest, &none, &node, around, &facts);
    assert_eq!(joined(&teller, &[running(&bank, "api", "bank")]), ["bank"]);
    assert!(joined(&teller, &[running(&bank, "api", "db")]).is_empty());
    assert!(joined(&teller, &[running(&bank, "api", "store")]).is_empty());
}

#[test]
fn another_publishers_app_of_that_name_is_not_the_one_that_is_meant() {
    let mut user = installed(user("teller", "web", PUBLISHER, "*", "url"), Wish::Running);
    let (facts, node) = (crate::quadlet::tests_facts(), NodeFacts::default());
    let mut others = bank();
    others.publisher = OTHER.parse().unwrap();
    let others = installed(others, Wish::Running);
    let manifest = user.release.manifest.clone();
    let look = |previous: &Surroundings, around: &Desired| {
        look(
            &manifest,
            previous,
            &node,
            std::slice::from_ref(around),
            &facts,
        )
    };
    let none = Surroundings::default();
    assert_eq!(look(&none, &others), none);
    // What was recorded of the one that is gone stays.
    let meant = installed(bank(), Wish::Running);
    user.settings.surroundings = look(&none, &meant);
    let recorded = &user.settings.surroundings;
    assert_eq!(look(recorded, &others), *recorded);
    let api = |app: &Desired| joined(&user, &[running(app, "api", "bank-api")]);
    assert_eq!(api(&meant), ["bank-api"]);
    assert!(api(&others).is_empty());
}

#[test]
fn who_needs_another_version_than_an_update_brings_is_known() {
    let bank = installed(bank(), Wish::Running);
    let needs = |slug: &str, publisher: &str, version: &str, wish: Wish| {
        installed(user(slug, "web", publisher, version, "url"), wish)
    };
    let all = [
        bank.clone(),
        needs("teller", PUBLISHER, "^1", Wish::Running),
        needs("stopped", PUBLISHER, "<2", Wish::Stopped),
        needs("any", PUBLISHER, "*", Wish::Running),
        needs("gone", PUBLISHER, "^1", Wish::Removed),
        needs("others", OTHER, "^1", Wish::Running),
        // It has not what it needs now either: no news.
        needs("late", PUBLISHER, "^0.9", Wish::Running),
    ];
    let to = |version: &str| {
        let mut manifest = bank.release.manifest.clone();
        version.clone_into(&mut manifest.app.version);
        let unmet = unmet(&bank, &manifest, &all);
        let names: Vec<_> = unmet.iter().map(|(app, _)| app.to_string()).collect();
        names
    };
    assert_eq!(to("2.0"), ["teller", "stopped"]);
    assert_eq!(to("1.3"), [""; 0]);
}

#[test]
fn only_who_uses_a_value_is_in_the_network_and_only_what_is_exported() {
    let bank = installed(bank(), Wish::Running);
    let mut teller = installed(user("teller", "web", PUBLISHER, "*", "url"), Wish::Running);
    let facts = crate::quadlet::tests_facts();
    let manifest = &teller.release.manifest;
    let around = [bank.clone()];
    let seen = look(
        manifest,
        &Surroundings::default(),
        &NodeFacts::default(),
        &around,
        &facts,
    );
    let expected = Value::Text("http://bank-api/".to_owned());
    assert_eq!(seen.values["dependency.bank.url"], expected);
    teller.settings.surroundings = seen;
    let manifest = &teller.release.manifest;
    let edges_of = |index: usize| {
        edges_of(
            manifest,
            &manifest.containers[index],
            &teller.settings.surroundings,
        )
    };
    assert_eq!(edges_of(0), [bank.slug().clone()]);
    assert!(edges_of(1).is_empty());
    assert_eq!(
        edges(manifest, &teller.settings)[bank.slug()],
        ["api".parse().unwrap()]
    );
    assert_eq!(
        dependents(&bank, &[bank.clone(), teller.clone()]),
        ["teller".parse().unwrap()]
    );
    // What its owner set counts as what its publisher wrote.
    let edit = serde_json::json!({"containers": {"web": {"environment": {"X": "mine"}}}});
    let edited = serde_json::from_value(edit).unwrap();
    let edited = teller.settings.edited(&edited, manifest).unwrap();
    assert!(edges(manifest, &edited).is_empty());
    // What was recorded stays while the other app is away.
    let recorded = &teller.settings.surroundings;
    let gone = look(manifest, recorded, &NodeFacts::default(), &[], &facts);
    assert_eq!(gone, *recorded);
}

#[test]
fn a_value_with_a_secret_of_another_app_is_never_recorded() {
    let teller = user("teller", "web", PUBLISHER, "*", "token");
    let around = [installed(bank(), Wish::Running)];
    let facts = crate::quadlet::tests_facts();
    let none = Surroundings::default();
    let seen = look(
        &teller.manifest,
        &none,
        &NodeFacts::default(),
        &around,
        &facts,
    );
    assert_eq!(seen.values["dependency.bank.token"], Value::Secret);
}
