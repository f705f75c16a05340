//! The deltas of a release: what is accepted, what is refused, and with which words.

use archy_registry::key_state::KeyState;
use archy_registry::release::{self, DELTAS_MAX, DELTAS_PER_LAYER_MAX, Delta, Draft, Tar};
use archy_registry::{Blake3Hash, OciDigest, sign};
use serde_json::{Value, json};

use crate::common::{draft, image, key, now, signed_release};

/// The only layer of the release has 1003 bytes and this diff ID.
const LAYER: [u8; 32] = [4; 32];

fn delta(from: u8, to: [u8; 32]) -> Delta {
    Delta {
        from: OciDigest::from_sha256([from; 32]),
        to: OciDigest::from_sha256(to),
        blake3: Blake3Hash::of(&[from, to[0]]),
        size_bytes: 100 + u64::from(from),
        tar: Tar {
            blake3: Blake3Hash::of(&to),
            size_bytes: 4096,
        },
    }
}

fn with_deltas(deltas: Vec<Delta>) -> Draft {
    let mut draft = draft(key(7).did(), 2);
    draft.deltas = deltas;
    draft
}

#[test]
fn deltas_are_signed_in_one_order_and_read_back() {
    let (release, _) = signed_release(
        &key(7),
        with_deltas(vec![delta(9, LAYER), delta(8, LAYER), delta(1, LAYER)]),
    );
    let from: Vec<u8> = release
        .deltas
        .iter()
        .map(|delta| delta.from.as_bytes()[0])
        .collect();
    assert_eq!(from, [1, 8, 9]);
    assert_eq!(release.deltas[0], delta(1, LAYER));
}

#[test]
fn a_release_without_deltas_has_no_word_of_them() {
    let (_, signed) = signed_release(&key(7), with_deltas(Vec::new()));
    assert!(!String::from_utf8(signed.bytes).unwrap().contains("deltas"));
}

#[test]
fn deltas_are_no_part_of_what_an_install_needs() {
    let (with, _) = signed_release(&key(7), with_deltas(vec![delta(1, LAYER)]));
    let platform = with.images[0].platform.clone();
    assert!(
        with.blobs(&platform)
            .all(|blob| blob.blake3 != with.deltas[0].blake3)
    );
}

/// Signs a release whose JSON was changed after it was put together, and returns why it is refused.
fn refused(change: impl FnOnce(&mut Value)) -> String {
    let key = key(7);
    let (release, _) = signed_release(&key, with_deltas(vec![delta(1, LAYER), delta(2, LAYER)]));
    let mut value = serde_json::to_value(release.into_inner()).unwrap();
    change(&mut value);
    let signed = sign(&value, &key, now()).unwrap();
    match release::verify(&signed.bytes, &KeyState::implicit(key.did()), now()) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn set(path: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |release| *release["deltas"][0].pointer_mut(path).unwrap() = value
}

fn many(count: usize) -> Value {
    let deltas = (1..=count).map(|n| {
        let mut from = [0; 32];
        from[..2].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
        Delta {
            from: OciDigest::from_sha256(from),
            blake3: Blake3Hash::of(&from),
            ..delta(1, LAYER)
        }
    });
    serde_json::to_value(deltas.collect::<Vec<_>>()).unwrap()
}

#[test]
fn deltas_are_checked_in_every_part() {
    type Change = Box<dyn FnOnce(&mut Value)>;
    let digest = |content: u8| OciDigest::from_sha256([content; 32]).to_string();
    let cases: Vec<(&str, Change)> = vec![
        ("untouched", Box::new(|_| {})),
        (
            "unknown member",
            Box::new(|r| r["deltas"][0]["extra"] = 1.into()),
        ),
        (
            "unknown member of the tar",
            Box::new(|r| r["deltas"][0]["tar"]["extra"] = 1.into()),
        ),
        (
            "missing member",
            Box::new(|r| {
                r["deltas"][0].as_object_mut().unwrap().remove("tar");
            }),
        ),
        ("no digest", Box::new(set("/from", "sha256:ab".into()))),
        (
            "to the digest of a layer",
            Box::new(set("/to", digest(3).into())),
        ),
        ("to a configuration", Box::new(set("/to", digest(2).into()))),
        (
            "to itself",
            Box::new(|r| r["deltas"][1]["from"] = r["deltas"][1]["to"].clone()),
        ),
        ("empty", Box::new(set("/size_bytes", 0.into()))),
        (
            "as long as the layer",
            Box::new(set("/size_bytes", 1003.into())),
        ),
        (
            "just shorter than the layer",
            Box::new(set("/size_bytes", 1002.into())),
        ),
        ("negative", Box::new(set("/size_bytes", (-1).into()))),
        ("empty tar", Box::new(set("/tar/size_bytes", 0.into()))),
        (
            "tar without end",
            Box::new(set("/tar/size_bytes", ((64_u64 << 30) + 1).into())),
        ),
        (
            "another tar for one layer",
            Box::new(set("/tar/size_bytes", 4097.into())),
        ),
        (
            "twice",
            Box::new(|r| r["deltas"][1] = r["deltas"][0].clone()),
        ),
        (
            "out of order",
            Box::new(|r| r["deltas"].as_array_mut().unwrap().reverse()),
        ),
        (
            "one patch of two lengths",
            Box::new(|r| r["deltas"][1]["blake3"] = r["deltas"][0]["blake3"].clone()),
        ),
        (
            "one patch from two layers",
            Box::new(|r| {
                for member in ["blake3", "size_bytes"] {
                    r["deltas"][1][member] = r["deltas"][0][member].clone();
                }
            }),
        ),
        (
            "the patch is a layer",
            Box::new(|r| r["deltas"][0]["blake3"] = r["images"][0]["layers"][0]["blake3"].clone()),
        ),
        (
            "most for one layer",
            Box::new(|r| r["deltas"] = many(DELTAS_PER_LAYER_MAX)),
        ),
        (
            "too many for one layer",
            Box::new(|r| r["deltas"] = many(DELTAS_PER_LAYER_MAX + 1)),
        ),
        ("too many", Box::new(|r| r["deltas"] = many(DELTAS_MAX + 1))),
        (
            "another tar than the plain layer",
            Box::new(|r| {
                let diff_id = r["images"][0]["layers"][0]["diff_id"].clone();
                r["images"][0]["layers"][0]["digest"] = diff_id;
            }),
        ),
    ];
    let table: Vec<String> = cases
        .into_iter()
        .map(|(case, change)| format!("{case}: {}", refused(change)))
        .collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn two_layers_never_share_a_tar_or_a_patch() {
    let mut draft = draft(key(7).did(), 2);
    let mut other = image("web", "arm64");
    other.layers[0].diff_id = Some(OciDigest::from_sha256([5; 32]));
    other.layers[0].digest = OciDigest::from_sha256([6; 32]);
    other.layers[0].blake3 = Blake3Hash::of(b"other");
    draft.images.push(other);
    draft.deltas = vec![delta(1, LAYER), delta(1, [5; 32])];
    release::assemble(draft.clone()).unwrap();
    let refused = |change: fn(&mut [Delta])| {
        let mut draft = draft.clone();
        change(&mut draft.deltas);
        release::assemble(draft).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|deltas| deltas[1].tar = deltas[0].tar),
        "the release's deltas[1].tar must be one for each layer"
    );
    assert_eq!(
        refused(|deltas| {
            deltas[1].blake3 = deltas[0].blake3;
            deltas[1].size_bytes = deltas[0].size_bytes;
        }),
        "the release's deltas[1].blake3 must be of no other blob of the release"
    );
}

#[test]
fn a_plain_layer_is_its_own_tar() {
    let mut draft = with_deltas(vec![delta(1, LAYER)]);
    let layer = &mut draft.images[0].layers[0];
    layer.digest = OciDigest::from_sha256(LAYER);
    let tar = json!({"blake3": layer.blake3, "size_bytes": layer.size_bytes});
    draft.deltas[0].tar = serde_json::from_value(tar).unwrap();
    release::assemble(draft).unwrap();
}
