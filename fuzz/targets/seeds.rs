//! Writes the first inputs of every target into `corpus/`, from the statements that the tests use and the apps that
//! ship; the fuzzer grows them.

use std::path::{Path, PathBuf};

use archy_registry::catalog::Draft;
use archy_registry::key_state::KeyState;
use archy_registry::{Blake3Hash, OciDigest, Signed, sign};
use jiff::SignedDuration;
use serde_json::json;

use crate::common::{self, announce, image, key, now, origin, release};

/// Writes them.
pub(crate) fn write_all() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    names(here);
    manifests(here);
    statements(here);
    messages(here);
}

fn write(here: &Path, target: &str, name: &str, bytes: &[u8]) {
    let folder: PathBuf = here.join("corpus").join(target);
    std::fs::create_dir_all(&folder).expect("the corpus can be written");
    std::fs::write(folder.join(name), bytes).expect("the corpus can be written");
}

fn names(here: &Path) {
    let did = key(1).did().to_string();
    let hash = Blake3Hash::of(b"x").to_string();
    let texts = [
        did.clone(),
        format!("{did}/site"),
        "my-site-2".to_owned(),
        hash.clone(),
        format!("sha256:{hash}"),
    ];
    for (number, text) in texts.iter().enumerate() {
        write(here, "names", &format!("seed-{number}"), text.as_bytes());
    }
    let json = r#"{"a":[1,-9007199254740991,"\u00e9\n\ud83d\ude00",null,true,{}],"b":1.5,"\u20ac":"","1":{"a":1}}"#;
    write(here, "json", "seed", json.as_bytes());
}

fn manifests(here: &Path) {
    write(here, "manifest", "seed-site", common::SITE.as_bytes());
    let apps = std::fs::read_dir(here.join("../apps")).expect("the apps are here");
    for app in apps {
        let folder = app.expect("the apps can be listed").path();
        let Ok(yaml) = std::fs::read(folder.join("manifest.yml")) else {
            continue;
        };
        let name = folder.file_name().expect("a folder has a name");
        write(here, "manifest", &format!("seed-{}", name.display()), &yaml);
    }
}

fn statements(here: &Path) {
    let key = key(1);
    let (verified, signed) = release(&key, 3);
    write(here, "release", "seed", &without_proof(&signed));
    let mut two = common::draft(key.did(), 4);
    two.images.push(image("web", "arm64"));
    let asset =
        json!({"blake3": Blake3Hash::of(b"icon"), "size_bytes": 900, "media_type": "image/png"});
    two.icon = serde_json::from_value(asset).expect("an asset");
    two.screenshots.extend(two.icon.clone());
    two.origin.endpoints.extend(origin().endpoints);
    let tar = json!({"blake3": Blake3Hash::of(b"tar"), "size_bytes": 4096});
    for from in [8_u8, 9] {
        let delta = json!({
            "from": OciDigest::from_sha256([from; 32]), "to": two.images[0].layers[0].diff_id,
            "blake3": Blake3Hash::of(&[from]), "size_bytes": 100, "tar": tar,
        });
        two.deltas.push(serde_json::from_value(delta).expect("a delta"));
    }
    let two = archy_registry::release::assemble(two).expect("a release");
    let signed = sign(&two, &key, now()).expect("a release can be signed");
    write(here, "release", "seed-two", &without_proof(&signed));
    for app in ["hello", "radicale", "wordpress"] {
        let file = here.join("../apps").join(app).join("manifest.yml");
        let yaml = std::fs::read_to_string(file).expect("the apps are here");
        let mut draft = common::draft(key.did(), 1);
        draft.manifest = archy_registry::manifest::parse(&yaml)
            .expect("it ships")
            .manifest;
        draft.manifest.app.icon = None;
        draft.manifest.app.screenshots.clear();
        draft.manifest.app.description.truncate(60);
        let names = draft.manifest.containers.iter();
        draft.images = names.map(|c| image(c.name.as_str(), "amd64")).collect();
        let signed = archy_registry::release::assemble(draft)
            .map(|release| sign(&release, &key, now()).expect("a release can be signed"));
        if let Ok(signed) = signed {
            write(
                here,
                "release",
                &format!("seed-{app}"),
                &without_proof(&signed),
            );
        }
    }
    let (_, signed) = announce(&key, &verified, now());
    write(here, "announcement", "seed", &without_proof(&signed));
    key_states(here);
    catalogs(here);
}

/// An empty catalog, and one of two apps with a key state.
fn catalogs(here: &Path) {
    let (publisher, operator) = (key(1), key(3));
    let state = KeyState::first(publisher.did(), &[], Vec::new(), now(), now() + SignedDuration::from_hours(24));
    let state = sign(&state, &publisher, now()).expect("a key state can be signed");
    let mut other = common::draft(publisher.did(), 9);
    other.manifest.app.id = "notes".parse().expect("a slug");
    let other = archy_registry::release::assemble(other).expect("a release");
    let other = sign(&other, &publisher, now()).expect("a release can be signed");
    let draft = |key_states, releases| Draft {
        publisher: operator.did(),
        seq: 7,
        created: now(),
        expires: now() + SignedDuration::from_hours(30 * 24),
        name: "Home apps".to_owned(),
        key_states,
        releases,
    };
    let two = draft(vec![state.bytes], vec![release(&publisher, 3).1.bytes, other.bytes]);
    for (name, draft) in [("seed", two), ("seed-empty", draft(Vec::new(), Vec::new()))] {
        let statement = archy_registry::catalog::assemble(draft).expect("a catalog");
        let bytes = serde_json::to_vec(&statement).expect("JSON");
        write(here, "catalog", name, &bytes);
    }
}

fn without_proof(signed: &Signed) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_slice(&signed.bytes).expect("JSON");
    value.as_object_mut().expect("an object").remove("proof");
    serde_json::to_vec(&value).expect("JSON")
}

/// First state, rotation, renewal, revocation: each line behind the digit of its signer (0 is key 1).
fn key_states(here: &Path) {
    let (first_key, next_key) = (key(1), key(2));
    let expires = now() + SignedDuration::from_hours(365 * 24);
    let pubkey = json!([{"pubkey": "ab".repeat(32), "expires": expires}]);
    let nostr = serde_json::from_value(pubkey).expect("a Nostr key");
    let first = KeyState::first(first_key.did(), &[next_key.did()], nostr, now(), expires);
    let mut rotated = first.clone();
    rotated.seq = 2;
    rotated.prev = Some(Blake3Hash::of(b"the fuzzer writes the true one"));
    rotated.keys = vec![next_key.did()];
    rotated.next = vec![archy_registry::key_state::commitment(&key(3).did())];
    rotated.floors = [("site".parse().expect("a slug"), 7)].into();
    rotated.reaffirm = vec![Blake3Hash::of(b"kept")];
    let mut revoked = rotated.clone();
    revoked.seq = 3;
    revoked.keys.clear();
    let mut renewed = first.clone();
    renewed.seq = 2;
    renewed.prev = rotated.prev;
    renewed.nostr.clear();
    let line = |digit: u8, state: &KeyState| {
        let mut line = vec![digit];
        line.extend(serde_json::to_vec(state).expect("JSON"));
        line.push(b'\n');
        line
    };
    let rotation = [
        line(b'0', &first),
        line(b'1', &rotated),
        line(b'1', &revoked),
    ]
    .concat();
    let renewal = [line(b'0', &first), line(b'0', &renewed)].concat();
    let hear = |signers: &str, parent: u8, state: &KeyState| {
        let mut heard = signers.as_bytes().to_vec();
        heard.push(b' ');
        heard.extend(line(parent, state));
        heard
    };
    let mut stolen = renewed.clone();
    stolen.created = now() + SignedDuration::from_mins(1);
    let mut stopped = stolen.clone();
    stopped.keys.clear();
    let rivals = [
        hear("0", b'0', &first),
        hear("0", b'0', &stolen),
        hear("0", b'0', &stopped),
        hear("1", b'0', &rotated),
        hear("1", b'3', &revoked),
    ];
    write(here, "key_chain", "seed-rivals", &rivals.concat());
    let mut shared = first.clone();
    shared
        .next
        .push(archy_registry::key_state::commitment(&key(3).did()));
    let mut by_two = rotated.clone();
    by_two.keys.push(key(3).did());
    by_two.next.clear();
    by_two.threshold = 2;
    let together = [hear("0", b'0', &shared), hear("12", b'0', &by_two)].concat();
    write(here, "key_chain", "seed-two-of-two", &together);
    let chain = archy_registry::key_state::chain::join(&[sign(&first, &first_key, now())
        .expect("a state can be signed")
        .bytes]);
    write(here, "key_chain", "seed-chain", &chain);
    write(here, "key_state", "seed-rotation", &rotation);
    write(here, "key_state", "seed-renewal", &renewal);
}

fn messages(here: &Path) {
    let event = json!({
        "id": "00".repeat(32), "pubkey": "ab".repeat(32), "created_at": 1_790_000_000_u64, "kind": 30_078,
        "tags": [["d", "archy:app:site"], ["t", "archy"], ["expiration", "1800000000"]],
        "content": "{}", "sig": "cd".repeat(64),
    });
    write(here, "event", "seed", event.to_string().as_bytes());
    let did = key(1).did().to_string();
    let opinions = [
        (
            30_000,
            json!([
                ["d", "archy:reviewers"],
                ["t", "archy"],
                ["p", "ab".repeat(32)],
                ["p", "cd".repeat(32)]
            ]),
        ),
        (
            1985,
            json!([
                ["t", "archy"],
                ["L", "archy"],
                ["l", "caution", "archy"],
                ["r", did],
                ["r", format!("{did}/site")]
            ]),
        ),
        (
            1984,
            json!([
                ["t", "archy"],
                ["p", "ab".repeat(32), "malware"],
                ["r", did]
            ]),
        ),
    ];
    for (kind, tags) in opinions {
        let mut said = event.clone();
        said["kind"] = kind.into();
        said["tags"] = tags;
        said["content"] = "words".into();
        write(
            here,
            "event",
            &format!("seed-{kind}"),
            said.to_string().as_bytes(),
        );
    }
    let content = json!({"type": "archy/seeder/v1", "endpoint": {
        "id": "07".repeat(32), "addresses": ["192.0.2.1:8481", "[2001:db8::1]:8481"],
        "relays": ["https://relay.example.org/"],
    }});
    let mut seeder = event.clone();
    seeder["created_at"] = 1_795_262_000_u64.into();
    seeder["tags"] = json!([
        ["d", format!("archy:seeder:{}", "12".repeat(32))],
        ["expiration", "1795300000"]
    ]);
    seeder["content"] = content.to_string().into();
    write(here, "event", "seed-seeder", seeder.to_string().as_bytes());
    write(here, "event", "seed-subject", b"archy:app:site");
    write(here, "event", "seed-identity", b"archy:identity");
    write(
        here,
        "event",
        "seed-url",
        b"wss://relay.example.org:7777/path",
    );
    let filter = json!({"ids": ["00".repeat(32)], "authors": ["ab".repeat(32)], "kinds": [30_078], "#t": ["archy"], "since": 1, "until": 2, "limit": 3});
    let messages = [
        json!(["EVENT", "page-0", event]),
        json!(["OK", "00".repeat(32), true, "words"]),
        json!(["EOSE", "page-0"]),
        json!(["CLOSED", "page-0", "auth-required: no"]),
        json!(["NOTICE", "words"]),
        json!(["AUTH", "challenge"]),
        json!(["EVENT", event]),
        json!(["REQ", "page-0", filter, {}]),
        json!(["CLOSE", "page-0"]),
    ];
    for (number, message) in messages.iter().enumerate() {
        let name = format!("seed-{number}");
        write(here, "message", &name, message.to_string().as_bytes());
    }
}
