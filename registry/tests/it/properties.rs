//! What must hold of every reader of the registry, whatever bytes it is given: one function per kind of input,
//! called by the fuzzer (`fuzz/`) with what it makes up and by the tests with the corpus that it left.

use std::sync::LazyLock;

use archy_registry::announcement::{self, Announcement, AnnouncementError};
use archy_registry::catalog::{self, Catalog};
use archy_registry::id::EndpointId;
use archy_registry::json::{self, JsonError};
use archy_registry::key_state::{self, KeyHistory, KeyState, chain, commitment};
use archy_registry::manifest::{self, Manifest, ManifestError};
use archy_registry::proof::ProofError;
use archy_registry::release::{self, Release};
use archy_registry::statement::StatementError;
use archy_registry::{
    AppId, Blake3Hash, Did, OciDigest, Signed, SigningKey, Slug, Verified, add_proof, sign,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::common::{key, now};

/// A property: it returns for every input, or panics with what does not hold.
pub(crate) type Property = fn(&[u8]);

/// Every target that the fuzzer knows, by the name of its corpus.
pub(crate) const ALL: [(&str, Property); 8] = [
    ("names", names),
    ("json", json),
    ("manifest", manifest),
    ("key_state", key_state),
    ("key_chain", key_chain),
    ("announcement", announcement),
    ("release", release),
    ("catalog", catalog),
];

/// Whose keys sign what the fuzzer makes up: a proof cannot be guessed, and behind it most of the code lies.
static KEYS: LazyLock<[SigningKey; 3]> = LazyLock::new(|| [key(1), key(2), key(3)]);

/// DIDs, slugs, hashes and the other short texts: one thing has one spelling.
pub(crate) fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Some(did) = is_spelt_one_way::<Did>(text) {
        assert_eq!(Did::from_key(did.key()), Ok(did));
        assert_eq!(text, format!("did:key:{}", did.multikey()));
    }
    is_spelt_one_way::<Slug>(text);
    is_spelt_one_way::<AppId>(text);
    is_spelt_one_way::<Blake3Hash>(text);
    is_spelt_one_way::<OciDigest>(text);
    is_spelt_one_way::<EndpointId>(text);
}

fn is_spelt_one_way<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    let read: T = text.parse().ok()?;
    assert_eq!(read.to_string(), text, "two spellings of one thing");
    Some(read)
}

/// Strict JSON: what is read has one canonical form, and only that form is accepted where it matters.
pub(crate) fn json(input: &[u8]) {
    let Ok(value) = json::parse(input, release::SIZE_BYTES_MAX) else {
        return;
    };
    let canonical = json::canonical(&value).expect("what was read can be written");
    let again = json::parse_canonical(&canonical, usize::MAX).expect("the canonical form is read");
    assert_eq!(again, value, "the canonical form says something else");
    let accepted = json::parse_canonical(input, release::SIZE_BYTES_MAX).is_ok();
    assert_eq!(accepted, canonical == input, "another spelling is accepted");
}

/// `manifest.yml`: what is accepted holds, and its normal form reads as the same manifest.
pub(crate) fn manifest(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let parsed = match manifest::parse(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            for fault in error.faults() {
                assert!(fault.line >= 1 && fault.column >= 1, "{fault:?}");
            }
            return;
        }
    };
    parsed.manifest.check().expect("an accepted manifest holds");
    let normal = serde_json::to_string(&parsed.manifest).expect("a manifest is JSON");
    let read: Manifest = serde_json::from_str(&normal).expect("the normal form is a manifest");
    assert_eq!(read, parsed.manifest, "the normal form says something else");
    match manifest::parse(&normal) {
        Ok(again) => assert_eq!(again.manifest, parsed.manifest, "{normal}"),
        // The normal form writes out what shorthands leave open.
        Err(ManifestError::Size(_)) => {}
        Err(error) => panic!("the normal form is refused: {error}\n{normal}"),
    }
}

/// A chain of key states, one a line, each behind the digit of the key that signs it: no thief of a current
/// key ever brings keys of its own.
pub(crate) fn key_state(input: &[u8]) {
    let _ = key_state::verify(input, None, now());
    let mut previous: Option<Verified<KeyState>> = None;
    for line in input.split(|byte| *byte == b'\n').take(6) {
        let Some((digit, document)) = line.split_first() else {
            return;
        };
        let signer = &KEYS[usize::from(*digit) % KEYS.len()];
        let Some(signed) = resigned(document, signer, previous.as_ref().map(Verified::hash)) else {
            return;
        };
        let Ok(state) = key_state::verify(&signed.bytes, previous.as_ref(), now()) else {
            return;
        };
        assert_eq!(state.hash(), signed.hash);
        assert_same(&signed, &*state, signer, |bytes| {
            let again = key_state::verify(bytes, previous.as_ref(), now());
            again.expect("the rewritten state is accepted").into_inner()
        });
        let Some(before) = previous else {
            assert_eq!((state.seq, signer.did()), (1, state.publisher));
            previous = Some(state);
            continue;
        };
        assert_eq!(state.seq, before.seq + 1);
        assert_eq!(state.publisher, before.publisher);
        assert_eq!(state.prev, Some(before.hash()));
        let committed = |key: &Did| before.next.contains(&commitment(key));
        assert!(before.keys.contains(&signer.did()) || committed(&signer.did()));
        if !committed(&signer.did()) {
            let kept = state.keys.is_empty() || state.keys == before.keys;
            assert!(kept, "a current key brought others: {state:?}");
            assert_eq!(state.next, before.next, "a current key took the next over");
            assert_eq!(state.floors, before.floors);
        }
        previous = Some(state);
    }
}

/// Key states in any order of hearing, rivals among them: one a line, behind the digits of the keys that sign it, a
/// space and the digit of the state before it. What counts is a chain that anybody can check from its beginning, and
/// nobody without committed keys brought keys into it.
pub(crate) fn key_chain(input: &[u8]) {
    let publisher = KEYS[0].did();
    let _ = chain::verify(input, publisher, now());
    let _ = chain::claimed_publisher(input);
    if let Ok(states) = chain::split(input)
        && input.starts_with(b"[")
    {
        assert_eq!(chain::join(&states), input, "a chain has two spellings");
    }
    let mut history = KeyHistory::new(publisher);
    let mut heard: Vec<(Vec<u8>, Timestamp)> = Vec::new();
    for line in input.split(|byte| *byte == b'\n').take(8) {
        let Some(bytes) = heard_state(line, &heard) else {
            return;
        };
        let before = history.newest().hash();
        let Ok(admitted) = history.admit(&[bytes], now()) else {
            assert_eq!(history.newest().hash(), before, "a refused state counts");
            assert_eq!(history.known_states().count(), heard.len() + 1);
            continue;
        };
        assert_eq!(admitted.is_news, history.newest().hash() != before);
        heard.extend(admitted.added.into_iter().map(|(_, bytes)| (bytes, now())));
        assert_eq!(history.known_states().count(), heard.len() + 1);
        holds(&history, &heard);
    }
}

/// Signs one line of [`key_chain`].
fn heard_state(line: &[u8], heard: &[(Vec<u8>, Timestamp)]) -> Option<Vec<u8>> {
    let space = line.iter().take(5).position(|byte| *byte == b' ')?;
    let (signers, rest) = line.split_at(space);
    let (parent, document) = rest.get(1..)?.split_first()?;
    let prev = heard.get(usize::from(parent.wrapping_sub(b'0')));
    let prev = prev.map(|(bytes, _)| Blake3Hash::of(bytes));
    let mut signers = signers
        .iter()
        .map(|digit| &KEYS[usize::from(*digit) % KEYS.len()]);
    let first = resigned(document, signers.next()?, prev)?.bytes;
    signers.try_fold(first, |bytes, signer| {
        Some(add_proof(&bytes, signer, now()).ok()?.bytes)
    })
}

/// Checks what must hold of every history.
fn holds(history: &KeyHistory, heard: &[(Vec<u8>, Timestamp)]) {
    let newest = history.newest().hash();
    let mut before = KeyState::implicit(history.publisher());
    let mut counted = Vec::new();
    for state in history.counted_states() {
        let committed = |key: &Did| before.next.contains(&commitment(key));
        assert!(
            state.keys == before.keys || state.keys.iter().all(committed),
            "keys that nobody committed to count: {state:?}"
        );
        let of = |(bytes, _): &&(Vec<u8>, Timestamp)| Blake3Hash::of(bytes) == state.hash();
        counted.push(&heard.iter().find(of).expect("what counts was heard").0);
        before = state.clone();
    }
    if !counted.is_empty() {
        let chain = chain::join(&counted);
        let again = chain::verify(&chain, history.publisher(), now());
        assert_eq!(
            again.expect("what counts can be checked").newest().hash(),
            newest
        );
    }
    let again = KeyHistory::restore(history.publisher(), heard).expect("what was heard is kept");
    assert_eq!(
        again.newest().hash(),
        newest,
        "after a restart other keys count"
    );
}

/// An announcement, behind the publisher's proof.
pub(crate) fn announcement(input: &[u8]) {
    let state = KeyState::implicit(KEYS[0].did());
    let verify = |bytes: &[u8]| announcement::verify(bytes, &state, now());
    let _ = verify(input);
    let Some(signed) = resigned(input, &KEYS[0], None) else {
        return;
    };
    let Ok(announcement) = verify(&signed.bytes) else {
        return;
    };
    assert_eq!(announcement.publisher, state.publisher);
    assert!(announcement.expires > now());
    assert!(announcement.created < announcement.expires);
    let other = KeyState::implicit(KEYS[1].did());
    assert!(announcement::verify(&signed.bytes, &other, now()).is_err());
    assert_same(&signed, &*announcement, &KEYS[0], |bytes| {
        let again = verify(bytes).expect("the rewritten announcement is accepted");
        again.into_inner()
    });
}

/// A release, behind the publisher's proof: what is accepted can be announced, and the announcement names it.
pub(crate) fn release(input: &[u8]) {
    let state = KeyState::implicit(KEYS[0].did());
    let verify = |bytes: &[u8]| release::verify(bytes, &state, now());
    let _ = verify(input);
    let Some(signed) = resigned(input, &KEYS[0], None) else {
        return;
    };
    let Ok(release) = verify(&signed.bytes) else {
        return;
    };
    assert_eq!(release.publisher, state.publisher);
    release
        .manifest
        .check()
        .expect("an accepted manifest holds");
    let other = KeyState::implicit(KEYS[1].did());
    assert!(release::verify(&signed.bytes, &other, now()).is_err());
    assert_same(&signed, &*release, &KEYS[0], |bytes| {
        let again = verify(bytes).expect("the rewritten release is accepted");
        again.into_inner()
    });
    can_be_announced(&release, signed.bytes.len(), &state);
}

/// A catalog behind its operator's proof, its releases behind the first key's: what is embedded comes out as it was
/// signed, and the catalog can be made again of what it holds.
pub(crate) fn catalog(input: &[u8]) {
    let keys = KeyHistory::new(KEYS[2].did());
    let verify = |bytes: &[u8]| catalog::verify(bytes, &keys, now());
    let _ = verify(input);
    let Some(document) = with_signed_releases(input) else {
        return;
    };
    let Some(signed) = resigned(&document, &KEYS[2], None) else {
        return;
    };
    let Ok(catalog) = verify(&signed.bytes) else {
        return;
    };
    assert_eq!(catalog.publisher, KEYS[2].did());
    assert_eq!(catalog.hash(), signed.hash);
    let other = KeyHistory::new(KEYS[1].did());
    assert!(catalog::verify(&signed.bytes, &other, now()).is_err());
    let publisher = KeyHistory::new(KEYS[0].did());
    for embedded in &catalog.releases {
        let alone = release::verify(&embedded.bytes, publisher.newest(), now());
        let inside = embedded.verify(&publisher, None, now());
        assert_eq!(
            alone.is_ok(),
            inside.is_ok(),
            "embedding changes the verdict"
        );
        if let Ok((release, _)) = inside {
            assert_eq!(release.hash(), embedded.hash());
            assert_eq!(
                (release.app(), release.seq),
                (embedded.app.clone(), embedded.seq)
            );
        }
    }
    let bytes = made_again(&catalog);
    let again = verify(&bytes).expect("a catalog made again is accepted");
    assert_eq!((&again.name, again.seq), (&catalog.name, catalog.seq));
    assert_eq!(again.key_states, catalog.key_states);
    assert_eq!(again.releases, catalog.releases);
}

fn made_again(catalog: &Catalog) -> Vec<u8> {
    let draft = catalog::Draft {
        publisher: catalog.publisher,
        seq: catalog.seq,
        created: now(),
        expires: now() + SignedDuration::from_hours(24),
        name: catalog.name.clone(),
        key_states: catalog
            .key_states
            .iter()
            .map(|one| one.bytes.clone())
            .collect(),
        releases: catalog
            .releases
            .iter()
            .map(|one| one.bytes.clone())
            .collect(),
    };
    let statement = catalog::assemble(draft).expect("an accepted catalog can be made");
    let signed = sign(&statement, &KEYS[2], now()).expect("a catalog can be signed");
    signed.bytes
}

/// Signs the releases inside a catalog that the fuzzer made up.
fn with_signed_releases(document: &[u8]) -> Option<Vec<u8>> {
    let mut value = json::parse(document, release::SIZE_BYTES_MAX).ok()?;
    for release in value.get_mut("releases")?.as_array_mut()? {
        let bytes = serde_json::to_vec(release).ok()?;
        if let Some(signed) = resigned(&bytes, &KEYS[0], None) {
            *release = serde_json::from_slice(&signed.bytes).ok()?;
        }
    }
    serde_json::to_vec(&value).ok()
}

fn can_be_announced(release: &Verified<Release>, size_bytes: usize, state: &Verified<KeyState>) {
    let card = Announcement::of(release, size_bytes as u64, now());
    card.names(release).expect("the card names its release");
    let signed = sign(&card, &KEYS[0], now()).expect("a card can be signed");
    match announcement::verify(&signed.bytes, state, now()) {
        Ok(_) => {}
        // Eight endpoints with all their addresses do not fit into a card.
        Err(AnnouncementError::Statement(StatementError::Proof(ProofError::Json(
            JsonError::Size { .. },
        )))) => {}
        Err(error) => panic!("an accepted release cannot be announced: {error}"),
    }
}

/// Signs what the fuzzer made up, with the true hash of the state before where it names one.
fn resigned(document: &[u8], key: &SigningKey, prev: Option<Blake3Hash>) -> Option<Signed> {
    let mut value: Value = serde_json::from_slice(document).ok()?;
    let members = value.as_object_mut()?;
    members.remove("proof");
    if let (Some(hash), Some(prev)) = (prev, members.get_mut("prev")) {
        *prev = Value::String(hash.to_string());
    }
    sign(&value, key, now()).ok()
}

/// What was accepted is canonical, and written and signed again it says the same.
fn assert_same<T: serde::Serialize + Clone + PartialEq + std::fmt::Debug>(
    signed: &Signed,
    statement: &T,
    key: &SigningKey,
    verify: impl Fn(&[u8]) -> T,
) {
    json::parse_canonical(&signed.bytes, usize::MAX).expect("what is accepted is canonical");
    let date: Timestamp = now();
    let rewritten = sign(statement, key, date).expect("what was read can be written");
    assert_eq!(verify(&rewritten.bytes), *statement);
}
