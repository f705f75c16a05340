//! Key states, announcements and releases: what `verify` accepts and what it refuses, and with which words.

use archy_registry::announcement::{self, Announcement};
use archy_registry::key_state::{self, KeyState, NostrKey, commitment};
use archy_registry::release::{self, Release};
use archy_registry::{Blake3Hash, SigningKey, Verified, json, sign};
use serde_json::Value;

use crate::common::{announce, draft, hours_later, image, key, now, release, signed_release};

/// Prints an error with its causes, as a person sees it.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn refuse_release(change: impl FnOnce(&mut Value)) -> String {
    let key = key(7);
    let (release, _) = release(&key, 1);
    let mut value = serde_json::to_value(release.into_inner()).unwrap();
    change(&mut value);
    let signed = sign(&value, &key, now()).unwrap();
    let state = KeyState::implicit(key.did());
    words(&release::verify(&signed.bytes, &state, now()).unwrap_err())
}

fn refuse_announcement(change: impl FnOnce(&mut Value)) -> String {
    let key = key(7);
    let (release, _) = release(&key, 1);
    let (announcement, _) = announce(&key, &release, now());
    let mut value = serde_json::to_value(announcement.into_inner()).unwrap();
    change(&mut value);
    let signed = sign(&value, &key, now()).unwrap();
    let state = KeyState::implicit(key.did());
    words(&announcement::verify(&signed.bytes, &state, now()).unwrap_err())
}

#[test]
fn a_release_signed_by_another_key_is_refused() {
    let (mine, theirs) = (key(7), key(8));
    let (release, _) = release(&mine, 1);
    let forged = sign(&release.into_inner(), &theirs, now()).unwrap();
    let state = KeyState::implicit(mine.did());
    let refused = release::verify(&forged.bytes, &state, now()).unwrap_err();
    let (signer, publisher) = (theirs.did(), mine.did());
    assert_eq!(
        words(&refused),
        format!("signed by {signer}, which does not speak for the publisher {publisher}")
    );
}

#[test]
fn no_byte_of_a_release_can_be_changed() {
    let key = key(7);
    let (_, signed) = release(&key, 1);
    let state = KeyState::implicit(key.did());
    for at in 0..signed.bytes.len() {
        let mut bytes = signed.bytes.clone();
        bytes[at] ^= 1;
        assert!(release::verify(&bytes, &state, now()).is_err(), "byte {at}");
    }
}

#[test]
fn a_release_that_was_signed_long_ago_still_reads_the_same() {
    let bytes = include_bytes!("vectors/release.json");
    let publisher = key(7).did();
    let release = release::verify(bytes, &KeyState::implicit(publisher), now()).unwrap();
    assert_eq!(release.hash(), Blake3Hash::of(bytes));
    let (mine, signed) = self::release(&key(7), 1);
    assert_eq!(mine, release);
    assert_eq!(signed.bytes, bytes, "the format of releases has changed");
}

#[test]
fn releases_are_checked_in_every_part() {
    let cases: Vec<(&str, String)> = vec![
        (
            "type",
            refuse_release(|r| r["type"] = "archy/announcement/v1".into()),
        ),
        ("unknown member", refuse_release(|r| r["extra"] = 1.into())),
        (
            "missing member",
            refuse_release(|r| {
                r.as_object_mut().unwrap().remove("origin");
            }),
        ),
        ("seq", refuse_release(|r| r["seq"] = 0.into())),
        (
            "future",
            refuse_release(|r| r["created"] = "2026-11-21T12:15:01Z".into()),
        ),
        (
            "expired",
            refuse_release(|r| {
                r["created"] = "2026-10-01T00:00:00Z".into();
                r["expires"] = "2026-11-21T12:00:00Z".into();
            }),
        ),
        (
            "valid for ever",
            refuse_release(|r| r["expires"] = "2126-01-01T00:00:00Z".into()),
        ),
        (
            "expires before created",
            refuse_release(|r| r["expires"] = "2026-11-21T12:00:00Z".into()),
        ),
        (
            "manifest",
            refuse_release(|r| {
                r["manifest"]["containers"][0]["environment"] =
                    serde_json::json!({"A": "x\n[Service]"});
            }),
        ),
        (
            "no images",
            refuse_release(|r| r["images"] = serde_json::json!([])),
        ),
        (
            "container",
            refuse_release(|r| r["images"][0]["container"] = "db".into()),
        ),
        (
            "os",
            refuse_release(|r| r["images"][0]["platform"]["os"] = "windows".into()),
        ),
        (
            "architecture",
            refuse_release(|r| r["images"][0]["platform"]["architecture"] = "../x".into()),
        ),
        (
            "media type",
            refuse_release(|r| r["images"][0]["layers"][0]["media_type"] = "text/html".into()),
        ),
        (
            "size",
            refuse_release(|r| r["images"][0]["config"]["size_bytes"] = 0.into()),
        ),
        (
            "configuration size",
            refuse_release(|r| {
                r["images"][0]["config"]["size_bytes"] = ((1_u64 << 20) + 1).into();
            }),
        ),
        (
            "diff_id",
            refuse_release(|r| {
                r["images"][0]["layers"][0]
                    .as_object_mut()
                    .unwrap()
                    .remove("diff_id");
            }),
        ),
        (
            "twice",
            refuse_release(|r| {
                let image = r["images"][0].clone();
                r["images"].as_array_mut().unwrap().push(image);
            }),
        ),
        (
            "blob under two names",
            refuse_release(|r| {
                r["images"][0]["layers"][0]["blake3"] = r["images"][0]["config"]["blake3"].clone();
            }),
        ),
        (
            "icon",
            refuse_release(|r| {
                r["icon"] = serde_json::json!({"blake3": "0".repeat(64), "size_bytes": 1, "media_type": "text/html"});
            }),
        ),
        (
            "origin",
            refuse_release(|r| {
                r["origin"]["endpoints"][0]["relays"] = serde_json::json!(["file:///etc/passwd"]);
            }),
        ),
    ];
    let table: Vec<String> = cases
        .into_iter()
        .map(|(case, text)| format!("{case}: {text}"))
        .collect();
    let table = table.join("\n");
    insta::assert_snapshot!(table);
}

#[test]
fn announcements_are_checked_in_every_part() {
    let cases: Vec<(&str, String)> = vec![
        (
            "type",
            refuse_announcement(|a| a["type"] = "archy/release/v1".into()),
        ),
        (
            "publisher",
            refuse_announcement(|a| a["publisher"] = key(9).did().to_string().into()),
        ),
        (
            "slug",
            refuse_announcement(|a| a["slug"] = "../../etc".into()),
        ),
        (
            "31 days",
            refuse_announcement(|a| a["expires"] = "2026-12-22T12:00:00Z".into()),
        ),
        (
            "expired",
            refuse_announcement(|a| {
                a["created"] = "2026-10-25T12:00:00Z".into();
                a["expires"] = "2026-11-20T12:00:00Z".into();
            }),
        ),
        (
            "name",
            refuse_announcement(|a| a["card"]["name"] = "evil\u{202e}eman".into()),
        ),
        (
            "tagline",
            refuse_announcement(|a| a["card"]["tagline"] = "a".repeat(121).into()),
        ),
        (
            "category",
            refuse_announcement(|a| a["card"]["category"] = "malware".into()),
        ),
        (
            "architectures",
            refuse_announcement(|a| a["card"]["architectures"] = serde_json::json!([])),
        ),
        (
            "release size",
            refuse_announcement(|a| a["release"]["size_bytes"] = (1_u64 << 40).into()),
        ),
        (
            "size",
            refuse_announcement(|a| a["card"]["name"] = "a".repeat(9000).into()),
        ),
        (
            "port",
            refuse_announcement(|a| {
                a["origin"]["endpoints"][0]["addresses"] = serde_json::json!(["10.0.0.1:0"]);
            }),
        ),
    ];
    let table: Vec<String> = cases
        .into_iter()
        .map(|(case, text)| format!("{case}: {text}"))
        .collect();
    let table = table.join("\n");
    insta::assert_snapshot!(table);
}

#[test]
fn an_announcement_names_exactly_one_release() {
    let key = key(7);
    let (first, _) = release(&key, 1);
    let (announcement, _) = announce(&key, &first, now());
    assert_eq!(announcement.names(&first), Ok(()));

    let (second, _) = release(&key, 2);
    let (theirs, _) = release(&self::key(8), 1);
    let mut other = draft(key.did(), 1);
    other.manifest.app.id = "other".parse().unwrap();
    let (other_app, _) = signed_release(&key, other);
    let mut renamed = draft(key.did(), 1);
    renamed.manifest.app.version = "1.0.1".to_owned();
    let (other_version, _) = signed_release(&key, renamed);
    let mut wider = draft(key.did(), 1);
    wider.images.push(image("web", "arm64"));
    let (other_bytes, _) = signed_release(&key, wider);
    for (release, field) in [
        (second, "seq"),
        (theirs, "publisher"),
        (other_app, "slug"),
        (other_version, "version"),
        (other_bytes, "hash"),
    ] {
        assert_eq!(announcement.names(&release).unwrap_err().field, field);
    }

    let mut card: Announcement = announcement.into_inner();
    card.card.name = "Trusted Bank".to_owned();
    let signed = sign(&card, &key, now()).unwrap();
    let state = KeyState::implicit(key.did());
    let lying = announcement::verify(&signed.bytes, &state, now()).unwrap();
    insta::assert_snapshot!(lying.names(&first).unwrap_err(), @r#"the release is not the announced one: the announcement says name "Trusted Bank", the release "Tiny Site""#);
}

#[test]
fn the_card_counts_each_blob_once_for_the_largest_platform() {
    let key = key(7);
    let mut wide = draft(key.did(), 1);
    let mut arm = image("web", "arm64");
    arm.layers[0].size_bytes += 5;
    arm.layers[0].blake3 = Blake3Hash::of(b"arm");
    arm.layers.push(arm.layers[0].clone());
    wide.images.push(arm);
    let (release, _) = signed_release(&key, wide);
    let (announcement, _) = announce(&key, &release, now());
    assert_eq!(
        announcement.card.download_size_bytes,
        1001 + 1002 + 1003 + 5
    );
    assert_eq!(announcement.card.architectures, ["amd64", "arm64"]);
}

fn first(key: &SigningKey, next: &[&SigningKey]) -> (Verified<KeyState>, KeyState) {
    let next: Vec<_> = next.iter().map(|key| key.did()).collect();
    let state = KeyState::first(key.did(), &next, Vec::new(), now(), hours_later(24 * 365));
    (admit(&state, key, None).unwrap(), state)
}

fn admit(
    state: &KeyState,
    signer: &SigningKey,
    previous: Option<&Verified<KeyState>>,
) -> Result<Verified<KeyState>, String> {
    let signed = sign(state, signer, now()).unwrap();
    key_state::verify(&signed.bytes, previous, now()).map_err(|error| words(&error))
}

fn after(previous: &Verified<KeyState>) -> KeyState {
    KeyState {
        seq: previous.seq + 1,
        prev: Some(previous.hash()),
        ..previous.clone().into_inner()
    }
}

#[test]
fn a_rotation_brings_only_committed_keys_and_ends_the_old_ones() {
    let (origin, spare, thief) = (key(1), key(2), key(3));
    let (state, _) = first(&origin, &[&spare]);
    let rotation = KeyState {
        keys: vec![spare.did()],
        next: vec![commitment(&key(4).did())],
        floors: [("site".parse().unwrap(), 5)].into(),
        ..after(&state)
    };
    let rotated = admit(&rotation, &spare, Some(&state)).unwrap();
    assert!(
        admit(&rotation, &origin, Some(&state))
            .unwrap_err()
            .contains("signed by new keys")
    );

    let stolen = KeyState {
        keys: vec![thief.did()],
        ..rotation.clone()
    };
    for signer in [&origin, &thief] {
        assert!(
            admit(&stolen, signer, Some(&state))
                .unwrap_err()
                .contains("did not commit")
        );
    }
    let kept = KeyState {
        keys: vec![origin.did(), spare.did()],
        ..rotation
    };
    assert!(
        admit(&kept, &spare, Some(&state))
            .unwrap_err()
            .contains("did not commit")
    );

    let release = release::assemble(draft(origin.did(), 5)).unwrap();
    let old = sign(&release, &origin, now()).unwrap();
    assert!(release::verify(&old.bytes, &state, now()).is_ok());
    assert!(release::verify(&old.bytes, &rotated, now()).is_err());
    let new = sign(&release, &spare, now()).unwrap();
    let release = release::verify(&new.bytes, &rotated, now()).unwrap();

    let mut announcement = Announcement::of(&release, 4000, now());
    let verify = |announcement: &Announcement| {
        let signed = sign(announcement, &spare, now()).unwrap();
        announcement::verify(&signed.bytes, &rotated, now())
    };
    assert!(verify(&announcement).is_ok());
    announcement.seq = 4;
    let refused = verify(&announcement).unwrap_err().to_string();
    assert!(refused.contains("below 5, the lowest"), "{refused}");
}

#[test]
fn a_thief_of_the_current_key_can_renew_and_revoke_but_not_keep_the_publisher_out() {
    let (origin, spare) = (key(1), key(2));
    let (state, _) = first(&origin, &[&spare]);
    let nostr = vec![NostrKey {
        pubkey: "ab".repeat(32),
        expires: hours_later(1),
    }];
    let renewal = KeyState {
        nostr,
        ..after(&state)
    };
    let renewed = admit(&renewal, &origin, Some(&state)).unwrap();
    assert!(renewed.binds_nostr(&"ab".repeat(32), now()));
    assert!(!renewed.binds_nostr(&"ab".repeat(32), hours_later(2)));

    let own_next = KeyState {
        next: vec![commitment(&key(3).did())],
        ..after(&state)
    };
    assert!(
        admit(&own_next, &origin, Some(&state))
            .unwrap_err()
            .contains("must keep commitments")
    );
    let own_floor = KeyState {
        floors: [("site".parse().unwrap(), 99)].into(),
        ..after(&state)
    };
    assert!(
        admit(&own_floor, &origin, Some(&state))
            .unwrap_err()
            .contains("must keep commitments")
    );
    let lock_out = KeyState {
        keys: Vec::new(),
        next: Vec::new(),
        ..after(&state)
    };
    assert!(
        admit(&lock_out, &origin, Some(&state))
            .unwrap_err()
            .contains("keep the commitments")
    );

    let revocation = KeyState {
        keys: Vec::new(),
        ..after(&state)
    };
    let revoked = admit(&revocation, &origin, Some(&state)).unwrap();
    assert!(revoked.is_revoked());
    assert!(
        admit(&revocation, &key(3), Some(&state))
            .unwrap_err()
            .contains("current or a committed key")
    );
    let (_, signed) = release(&origin, 1);
    let refused = release::verify(&signed.bytes, &revoked, now()).unwrap_err();
    assert!(refused.to_string().contains("has revoked its keys"));

    let reopening = KeyState {
        keys: vec![spare.did()],
        next: Vec::new(),
        ..after(&revoked)
    };
    assert!(admit(&reopening, &spare, Some(&revoked)).is_ok());
    assert!(admit(&reopening, &origin, Some(&revoked)).is_err());
}

#[test]
fn a_reaffirmed_release_outlives_its_key() {
    let (origin, spare) = (key(1), key(2));
    let (state, _) = first(&origin, &[&spare]);
    let (release, signed) = release(&origin, 1);
    let rotation = KeyState {
        keys: vec![spare.did()],
        next: Vec::new(),
        reaffirm: vec![release.hash()],
        ..after(&state)
    };
    let rotated = admit(&rotation, &spare, Some(&state)).unwrap();
    assert_eq!(
        release::verify(&signed.bytes, &rotated, now()).unwrap(),
        release
    );
}

#[test]
fn key_states_follow_without_gaps_and_without_other_histories() {
    let (origin, spare) = (key(1), key(2));
    let (state, plain) = first(&origin, &[&spare]);
    let far = KeyState {
        seq: 3,
        ..after(&state)
    };
    assert!(
        admit(&far, &origin, Some(&state))
            .unwrap_err()
            .contains("lacks those between")
    );
    assert!(
        admit(&far, &origin, None)
            .unwrap_err()
            .contains("lacks those between")
    );
    assert!(
        admit(&plain, &origin, Some(&state))
            .unwrap_err()
            .contains("not newer")
    );
    let other = KeyState {
        prev: Some(Blake3Hash::of(b"x")),
        ..after(&state)
    };
    assert!(
        admit(&other, &origin, Some(&state))
            .unwrap_err()
            .contains("another history")
    );
    let foreign = KeyState {
        publisher: spare.did(),
        ..after(&state)
    };
    assert!(
        admit(&foreign, &spare, Some(&state))
            .unwrap_err()
            .contains("another publisher")
    );

    let not_origin = KeyState {
        keys: vec![key(9).did()],
        ..plain.clone()
    };
    assert!(
        admit(&not_origin, &origin, None)
            .unwrap_err()
            .contains("only key is the origin key")
    );
    assert!(
        admit(&plain, &spare, None)
            .unwrap_err()
            .contains("signed by the origin key")
    );
    let twice = KeyState {
        keys: vec![origin.did(); 2],
        ..plain.clone()
    };
    assert!(
        admit(&twice, &origin, None)
            .unwrap_err()
            .contains("different keys")
    );
    let short = KeyState {
        next: vec!["ab".to_owned()],
        ..plain
    };
    assert!(
        admit(&short, &origin, None)
            .unwrap_err()
            .contains("64 lower-case")
    );
}

#[test]
fn a_statement_is_accepted_in_its_canonical_bytes_only() {
    let key = key(7);
    let (_, signed) = release(&key, 1);
    let state = KeyState::implicit(key.did());
    let value: Value = serde_json::from_slice(&signed.bytes).unwrap();
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    let refused = release::verify(&pretty, &state, now()).unwrap_err();
    assert!(
        words(&refused).contains("not in canonical form"),
        "{refused}"
    );
    assert_eq!(json::canonical(&value).unwrap(), signed.bytes);
}

#[test]
fn an_oversized_release_is_refused_before_it_is_read() {
    let state = KeyState::implicit(key(7).did());
    let bytes = vec![b'['; release::SIZE_BYTES_MAX + 1];
    let refused = release::verify(&bytes, &state, now()).unwrap_err();
    assert!(
        words(&refused).contains("262145 bytes of JSON where at most 262144"),
        "{refused}"
    );
}

#[test]
fn assembling_refuses_what_no_node_would_accept() {
    let publisher = key(7).did();
    let mut bad = draft(publisher, 1);
    bad.images.clear();
    assert!(release::assemble(bad).is_err());
    let mut bad = draft(publisher, 1);
    bad.manifest.app.name = "a\nb".to_owned();
    assert!(release::assemble(bad).is_err());
    assert!(release::assemble(draft(publisher, 0)).is_err());
    let good: Release = release::assemble(draft(publisher, 1)).unwrap();
    assert_eq!(good.platforms().len(), 1);
}
