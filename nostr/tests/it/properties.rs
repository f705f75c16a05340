//! What must hold of every reader of messages, whatever text it is given: called by the fuzzer (`fuzz/`) with what
//! it makes up and by the tests with the corpus that it left.

use std::collections::HashSet;
use std::sync::LazyLock;

use archy_nostr::event::{Event, Slot};
use archy_nostr::faults;
use archy_nostr::sdk::{Unsigned, authenticate};
use archy_nostr::{Message, NostrKey, RelayUrl, SEEDER_BYTES_MAX, SeederRecord, Subject};
use archy_registry::trust::opinion::{REVIEWERS_MAX, WORDS_BYTES_MAX};
use serde_json::value::RawValue;

/// A property: it returns for every input, or panics with what does not hold.
pub(crate) type Property = fn(&[u8]);

/// Every target that the fuzzer knows, by the name of its corpus.
pub(crate) const ALL: [(&str, Property); 2] = [("message", message), ("event", event)];

/// The clock, in seconds since 1970.
const NOW: u64 = 1_795_262_400;

static KEY: LazyLock<NostrKey> = LazyLock::new(NostrKey::generate);

/// What a relay or a client says: written back it says the same, in one spelling.
pub(crate) fn message(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    for reread in [faults::relay_message, faults::client_message] {
        let Some(written) = reread(text) else {
            continue;
        };
        assert_eq!(reread(&written), Some(written.clone()), "read from {text}");
    }
}

/// An event behind its author's signature, the addresses and labels in it, and what it says of publishers.
pub(crate) fn event(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Some(subject) = Subject::from_d(text) {
        assert_eq!(subject.d(), text);
    }
    if let Ok(url) = text.parse::<RelayUrl>() {
        assert_eq!(url.as_str().parse::<RelayUrl>().as_ref(), Ok(&url));
    }
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else {
        return;
    };
    let Ok(event) = Event::from_json(raw) else {
        return;
    };
    let unsigned = Unsigned {
        created_at: event.created_at,
        kind: event.kind,
        tags: event.tags.clone(),
        content: event.content.clone(),
    };
    let signed = KEY.sign(unsigned).expect("no tag is empty").into_inner();
    let written = serde_json::value::to_raw_value(&signed).expect("an event is JSON");
    assert_eq!(Event::from_json(&written).as_ref(), Ok(&signed));
    if let Some(slot) = event.slot() {
        let text = format!("{}:{}:{}", slot.kind, slot.pubkey, slot.d);
        assert_eq!(text.parse(), Ok::<Slot, _>(slot));
    }
    event.is_expired(event.created_at);
    assert!(
        authenticate(event.clone()).is_err(),
        "a guessed signature holds"
    );
    let mut altered = signed.clone();
    altered.content.push('x');
    assert!(authenticate(altered).is_err(), "an altered event holds");
    assert!(authenticate(signed).is_ok(), "a signed event is refused");
    handed_on(&event);
    seeder_record(&event);
}

/// A record that counts keeps to its limits, and says the same written anew.
fn seeder_record(event: &Event) {
    let Ok(record) = SeederRecord::of(event, NOW) else {
        return;
    };
    assert!(event.content.len() <= SEEDER_BYTES_MAX);
    let endpoint = &record.endpoint;
    assert!(endpoint.addresses.len() + endpoint.relays.len() <= 20);
    let expires = event.expiration().expect("it has an end");
    // Escapes and notations that no writer uses may have made it shorter.
    let Ok(draft) = record.draft(expires) else {
        return;
    };
    let anew = KEY.sign(draft.event(NOW)).expect("it can be signed");
    assert_eq!(SeederRecord::of(&anew, NOW).as_ref(), Ok(&record));
}

/// Whatever is handed on keeps to its limits, and is its author's.
fn handed_on(event: &Event) {
    let unsigned = Unsigned {
        created_at: event.created_at,
        kind: event.kind,
        tags: event.tags.clone(),
        content: event.content.clone(),
    };
    let signed = KEY.sign(unsigned).expect("it was signed before");
    let id = signed.id.to_string();
    let author = KEY.pubkey();
    let relay: RelayUrl = "wss://relay.example.org"
        .parse()
        .expect("it is the URL of a relay");
    match faults::handed_on(relay, signed, NOW) {
        None => {}
        Some(Message::Statement(heard)) => {
            assert_eq!((heard.event_id.to_string(), heard.pubkey), (id, author));
            assert!(heard.content.len() <= heard.subject.content_bytes_max());
        }
        Some(Message::Reviewers(list)) => {
            assert_eq!(
                (list.event_id, list.rater.to_string()),
                (id, author.to_string())
            );
            assert!(list.trusts.len() <= REVIEWERS_MAX);
            let distinct: HashSet<_> = list.trusts.iter().collect();
            assert_eq!(distinct.len(), list.trusts.len(), "a reviewer counts twice");
            assert!(!list.trusts.contains(&list.rater), "it trusts itself");
        }
        Some(Message::Vote(vote)) => {
            assert_eq!(
                (vote.event_id, vote.rater.to_string()),
                (id, author.to_string())
            );
            assert!(vote.words.len() <= WORDS_BYTES_MAX);
        }
    }
}
