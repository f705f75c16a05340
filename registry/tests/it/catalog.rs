//! Catalogs: their form, who may sign them, and that what is embedded stays its publisher's own.

use std::error::Error;

use archy_registry::catalog::{self, Catalog, CatalogError, Draft};
use archy_registry::key_state::{KeyHistory, KeyState};
use archy_registry::release::ReleaseError;
use archy_registry::statement::StatementError;
use archy_registry::{Blake3Hash, Signed, SigningKey, Verified, sign};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::common::{self, hours_later, key, now, signed_release};

/// Signs a release of `slug`, the `seq`th.
pub(crate) fn app(key: &SigningKey, slug: &str, seq: u64) -> Signed {
    let mut draft = common::draft(key.did(), seq);
    draft.manifest.app.id = slug.parse().unwrap();
    signed_release(key, draft).1
}

pub(crate) fn draft(operator: &SigningKey, seq: u64, releases: &[&Signed]) -> Draft {
    Draft {
        publisher: operator.did(),
        seq,
        created: now(),
        expires: hours_later(24 * 30),
        name: "Home apps".to_owned(),
        key_states: Vec::new(),
        releases: releases.iter().map(|signed| signed.bytes.clone()).collect(),
    }
}

pub(crate) fn signed(operator: &SigningKey, draft: Draft) -> Vec<u8> {
    let created = draft.created;
    let statement = catalog::assemble(draft).unwrap();
    sign(&statement, operator, created).unwrap().bytes
}

pub(crate) fn verify(
    bytes: &[u8],
    operator: &SigningKey,
    at: Timestamp,
) -> Result<Verified<Catalog>, CatalogError> {
    catalog::verify(bytes, &KeyHistory::new(operator.did()), at)
}

fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn what_is_embedded_comes_out_as_it_was_signed() {
    let (operator, one, two) = (key(9), key(1), key(2));
    let releases = [
        app(&one, "notes", 3),
        app(&two, "notes", 1),
        app(&one, "chat", 7),
    ];
    let bytes = signed(
        &operator,
        draft(&operator, 4, &releases.iter().collect::<Vec<_>>()),
    );
    let catalog = verify(&bytes, &operator, now()).unwrap();
    assert_eq!(catalog.hash(), Blake3Hash::of(&bytes));
    assert_eq!((catalog.seq, catalog.releases.len()), (4, 3));
    for release in &releases {
        let embedded = catalog
            .releases
            .iter()
            .find(|embedded| embedded.hash() == release.hash)
            .unwrap();
        assert_eq!(embedded.bytes, release.bytes);
        let keys = KeyHistory::new(embedded.app.publisher);
        let (verified, _) = embedded.verify(&keys, None, now()).unwrap();
        assert_eq!(
            (verified.app(), verified.seq),
            (embedded.app.clone(), embedded.seq)
        );
        assert_eq!(verified.hash(), release.hash);
    }
}

#[test]
fn a_catalog_past_its_date_still_speaks() {
    let operator = key(9);
    let bytes = signed(&operator, draft(&operator, 1, &[&app(&key(1), "notes", 1)]));
    let later = hours_later(24 * 31);
    let catalog = verify(&bytes, &operator, later).unwrap();
    assert!(catalog.is_stale(later) && !catalog.is_stale(now()));
}

#[test]
fn a_foreign_release_needs_its_own_publishers_signature() {
    let (operator, victim) = (key(9), key(1));
    let mut forged = common::draft(victim.did(), 5);
    forged.manifest.app.id = "notes".parse().unwrap();
    let release = archy_registry::release::assemble(forged).unwrap();
    let forged = sign(&release, &operator, now()).unwrap();
    let bytes = signed(&operator, draft(&operator, 1, &[&forged]));
    let catalog = verify(&bytes, &operator, now()).unwrap();
    let refused = catalog.releases[0].verify(&KeyHistory::new(victim.did()), None, now());
    assert!(matches!(
        refused,
        Err(ReleaseError::Statement(StatementError::Unauthorised { signer, .. })) if signer == operator.did()
    ));
    // Nor does the operator's own key state help.
    let refused = catalog.releases[0].verify(&KeyHistory::new(operator.did()), None, now());
    assert!(matches!(
        refused,
        Err(ReleaseError::Statement(StatementError::Publisher { .. }))
    ));
}

#[test]
fn the_operators_keys_may_rotate_inside_the_catalog() {
    let (operator, next, thief) = (key(9), key(10), key(11));
    let expires = hours_later(24 * 365);
    let first = KeyState::first(operator.did(), &[next.did()], Vec::new(), now(), expires);
    let first = sign(&first, &operator, now()).unwrap();
    let second = KeyState {
        seq: 2,
        prev: Some(first.hash),
        keys: vec![next.did()],
        next: Vec::new(),
        ..KeyState::first(operator.did(), &[], Vec::new(), now(), expires)
    };
    let second = sign(&second, &next, now()).unwrap();
    let chain = vec![second.bytes.clone(), first.bytes.clone()];
    let rotated = Draft {
        key_states: chain.clone(),
        ..draft(&operator, 2, &[])
    };
    let bytes = signed(&next, rotated.clone());
    let catalog = verify(&bytes, &operator, now()).unwrap();
    let keys = catalog
        .key_history(KeyHistory::new(operator.did()), now())
        .unwrap();
    assert_eq!(keys.newest().keys, [next.did()]);
    // The key that was left behind signs no more, and nobody else begins.
    for other in [&operator, &thief] {
        let bytes = signed(other, rotated.clone());
        assert!(matches!(
            verify(&bytes, &operator, now()),
            Err(CatalogError::Statement(StatementError::Unauthorised { .. }))
        ));
    }
    // Without the chain the new key is a stranger.
    let bytes = signed(&next, draft(&operator, 2, &[]));
    assert!(verify(&bytes, &operator, now()).is_err());
    // Another operator's catalog is not this registry's.
    let foreign = signed(&thief, draft(&thief, 1, &[]));
    assert!(matches!(
        verify(&foreign, &operator, now()),
        Err(CatalogError::Statement(StatementError::Publisher { .. }))
    ));
}

#[test]
fn catalogs_are_checked_in_every_part() {
    let operator = key(9);
    let one = app(&key(1), "notes", 1);
    let bytes = signed(&operator, draft(&operator, 1, &[&one]));
    let text = String::from_utf8(bytes.clone()).unwrap();
    let again = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        value.as_object_mut().unwrap().remove("proof");
        edit(&mut value);
        sign(&value, &operator, now()).unwrap().bytes
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a list", b"[]".to_vec()),
        ("a release", one.bytes.clone()),
        (
            "a space",
            text.replacen(",\"name\"", ", \"name\"", 1).into_bytes(),
        ),
        ("a line more", [bytes.as_slice(), b"\n"].concat()),
        (
            "a member twice",
            text.replacen("{\"created\"", "{\"seq\":1,\"created\"", 1)
                .into_bytes(),
        ),
        (
            "an escape that nobody needs",
            text.replacen("Home apps", "Home\\u0020apps", 1)
                .into_bytes(),
        ),
        ("a member more", again(&|value| value["more"] = 1.into())),
        ("no proof", {
            let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            value.as_object_mut().unwrap().remove("proof");
            serde_json::to_vec(&value).unwrap()
        }),
        ("seq 0", again(&|value| value["seq"] = 0.into())),
        (
            "valid for a year",
            again(&|value| value["expires"] = "2027-11-21T12:00:00Z".into()),
        ),
        (
            "tomorrow's",
            again(&|value| {
                value["created"] = "2026-11-22T12:00:00Z".into();
            }),
        ),
        (
            "two lines of name",
            again(&|value| value["name"] = "a\nb".into()),
        ),
        (
            "an announcement inside",
            again(&|value| {
                value["releases"][0]["type"] = "archy/announcement/v1".into();
            }),
        ),
        (
            "a release without an app",
            again(&|value| {
                value["releases"][0]["manifest"] = serde_json::json!({});
            }),
        ),
        (
            "an app twice",
            again(&|value| {
                let first = value["releases"][0].clone();
                value["releases"].as_array_mut().unwrap().push(first);
            }),
        ),
        (
            "a number inside",
            again(&|value| value["releases"][0] = 1.into()),
        ),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|(name, bytes)| {
            let error = verify(bytes, &operator, now()).expect_err(name);
            format!("{name}: {}", words(&error))
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn limits_hold_before_anything_is_built() {
    let operator = key(9);
    let mut endless = br#"{"releases":["#.to_vec();
    endless.resize(catalog::SIZE_BYTES_MAX + 1, b'0');
    assert!(words(&verify(&endless, &operator, now()).unwrap_err()).contains("at most 67108864"));

    let zeros = vec!["0"; catalog::RELEASES_MAX + 1].join(",");
    let many = format!(
        r#"{{"created":0,"expires":0,"key_states":[],"name":0,"proof":0,"publisher":0,"releases":[{zeros}],"seq":0,"type":"{}"}}"#,
        catalog::TYPE
    );
    let told = words(&verify(many.as_bytes(), &operator, now()).unwrap_err());
    assert!(told.contains("more than 10000 statements"), "{told}");

    let deep = format!(
        r#"{{"created":0,"expires":0,"key_states":[],"name":0,"proof":{{}},"publisher":0,"releases":[{}{}],"seq":0,"type":"{}"}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000),
        catalog::TYPE
    );
    let told = words(&verify(deep.as_bytes(), &operator, now()).unwrap_err());
    assert!(told.contains("nested deeper"), "{told}");
}

#[test]
fn a_draft_is_refused_before_it_is_signed() {
    let operator = key(9);
    let (one, other) = (app(&key(1), "notes", 1), app(&key(1), "notes", 2));
    let two = catalog::assemble(draft(&operator, 1, &[&one, &other])).unwrap_err();
    assert!(words(&two).contains("given twice"), "{}", words(&two));
    // The same one twice is one.
    let once = signed(&operator, draft(&operator, 1, &[&one, &one]));
    assert_eq!(verify(&once, &operator, now()).unwrap().releases.len(), 1);
    let mut loose = draft(&operator, 1, &[&one]);
    loose.releases[0].push(b' ');
    assert!(matches!(
        catalog::assemble(loose),
        Err(CatalogError::Embedded { .. })
    ));
    let mut long = draft(&operator, 1, &[]);
    long.expires = hours_later(24 * 91);
    assert!(catalog::assemble(long).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_is_refused(position in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let operator = key(9);
        let mut bytes = signed(&operator, draft(&operator, 1, &[&app(&key(1), "notes", 1)]));
        let at = position.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(verify(&bytes, &operator, now()).is_err(), "byte {}", at);
    }

    #[test]
    fn order_and_choice_never_change_what_is_inside(
        slugs in prop::collection::btree_set("[a-z]{3,6}", 0..5), seed in any::<u64>(),
    ) {
        let operator = key(9);
        let releases: Vec<Signed> = slugs
            .iter()
            .enumerate()
            .map(|(n, slug)| app(&key((n % 3) as u8 + 1), slug, n as u64 + 1))
            .collect();
        let sorted = signed(&operator, draft(&operator, 1, &releases.iter().collect::<Vec<_>>()));
        let mut shuffled: Vec<&Signed> = releases.iter().collect();
        let turn = if shuffled.is_empty() { 0 } else { (seed % shuffled.len() as u64) as usize };
        shuffled.rotate_left(turn);
        if seed.is_multiple_of(2) {
            shuffled.reverse();
        }
        prop_assert_eq!(&signed(&operator, draft(&operator, 1, &shuffled)), &sorted);
        let catalog = verify(&sorted, &operator, now()).unwrap();
        let mut inside: Vec<Blake3Hash> = catalog.releases.iter().map(|one| one.hash()).collect();
        let mut given: Vec<Blake3Hash> = releases.iter().map(|one| one.hash).collect();
        inside.sort();
        given.sort();
        prop_assert_eq!(inside, given);
    }

    #[test]
    fn rubbish_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify(&bytes, &key(9), now()).is_err());
        let head = format!("{{\"type\":\"{}\",", catalog::TYPE).into_bytes();
        prop_assert!(verify(&[head, bytes].concat(), &key(9), now()).is_err());
    }
}
