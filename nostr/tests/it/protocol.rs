//! The page of examples in the book is what the code makes: a second implementation can be checked against it.
//!
//! `UPDATE_DOCS=1` writes the page again. Signatures of events are random (BIP-340), so those on the page stay as
//! long as they sign the event.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use archy_nostr::event::{Event, EventId};
use archy_nostr::listing::Listing;
use archy_nostr::sdk::{authenticate, npub};
use archy_nostr::{Draft, Label, NostrKey};
use archy_registry::Signed;
use archy_registry::json::canonical;
use archy_registry::key_state::{chain, commitment};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::example;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/src/protocol/examples.md")
}

/// The page as it grows, and the signed events of the page as it was.
struct Page {
    text: String,
    known: HashMap<EventId, Event>,
}

impl Page {
    fn new(before: &str) -> Self {
        let events = before
            .lines()
            .filter_map(|line| serde_json::from_str::<Event>(line).ok())
            .map(|event| (event.id, event));
        Self {
            text: String::new(),
            known: events.collect(),
        }
    }

    fn say(&mut self, text: &str) {
        self.text.push_str(text.trim());
        self.text.push_str("\n\n");
    }

    fn show(&mut self, language: &str, text: &str) {
        write!(self.text, "```{language}\n{text}\n```\n\n").unwrap();
    }

    /// Shows the bytes of a statement and their hash.
    fn statement(&mut self, signed: &Signed) {
        let text = std::str::from_utf8(&signed.bytes).unwrap();
        self.show("json", text);
        self.say(&format!(
            "{} bytes, BLAKE3 `{}`.",
            signed.bytes.len(),
            signed.hash
        ));
    }

    /// Shows a signed event; returns it.
    fn event(&mut self, draft: &Draft, key: &NostrKey) -> Event {
        let created_at = example::now().as_second().unsigned_abs();
        let fresh = key.sign(draft.event(created_at)).unwrap().into_inner();
        let event = match self.known.remove(&fresh.id) {
            Some(event) if authenticate(event.clone()).is_ok() => event,
            Some(_) | None => fresh,
        };
        self.show("json", &serde_json::to_string(&event).unwrap());
        event
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Shows how a statement's signature came about, computed anew from its bytes.
fn proof_steps(page: &mut Page, signed: &Signed) {
    let mut document: Value = serde_json::from_slice(&signed.bytes).unwrap();
    let mut options = document.as_object_mut().unwrap().remove("proof").unwrap();
    options.as_object_mut().unwrap().remove("proofValue");
    let (options, document) = (canonical(&options).unwrap(), canonical(&document).unwrap());
    page.say("The proof options, canonical:");
    page.show("json", std::str::from_utf8(&options).unwrap());
    page.say("The statement without its proof, canonical:");
    page.show("json", std::str::from_utf8(&document).unwrap());
    page.say("Signed are these 64 bytes, the SHA-256 of the first and that of the second:");
    let text = format!("{}{}", sha256(&options), sha256(&document));
    page.show("text", &text);
}

fn keys(page: &mut Page) {
    let (state, _) = example::key_state();
    let next = archy_registry::SigningKey::from_seed(&[2; 32]).did();
    page.say("## Keys");
    page.say(
        "Seeds and secrets are one byte, repeated 32 times. Nobody uses them for anything else.",
    );
    let author = example::nostr_key(3).pubkey();
    let rater = example::nostr_key(4).pubkey();
    let rows = [
        ("publisher, Ed25519 seed `01…`", state.publisher.to_string()),
        ("its next key, Ed25519 seed `02…`", next.to_string()),
        ("commitment to the next key", commitment(&next)),
        (
            "the publisher's Nostr key, secret `03…`",
            author.to_string(),
        ),
        ("the same as npub", npub(&author)),
        ("a rater's Nostr key, secret `04…`", rater.to_string()),
        (
            "a registry's operator, Ed25519 seed `06…`",
            archy_registry::SigningKey::from_seed(&example::OPERATOR_SEED)
                .did()
                .to_string(),
        ),
    ];
    page.text.push_str("| what | value |\n|---|---|\n");
    for (what, value) in rows {
        writeln!(page.text, "| {what} | `{value}` |").unwrap();
    }
    page.text.push('\n');
}

fn statements(page: &mut Page) {
    let (state, signed) = example::key_state();
    page.say("## Key state");
    page.say("The first one: it commits to the next key and binds a Nostr key.");
    page.statement(&signed);
    proof_steps(page, &signed);
    assert_eq!(state.hash(), signed.hash);

    page.say("## Release");
    page.say("One container for one platform; digests and hashes are made up.");
    let (_, signed) = example::release(&["amd64"]);
    page.statement(&signed);

    page.say("## Release with a delta");
    page.say("The next one, whose layer can be made of the one before.");
    page.statement(&example::release_with_delta());

    page.say("## Announcement");
    page.say("Of the first of these releases.");
    let (_, signed) = example::announcement();
    page.statement(&signed);

    page.say("## Catalog");
    page.say("It holds the key state and the first release of above, byte for byte.");
    page.statement(&example::catalog());
}

fn statement_events(page: &mut Page) {
    let key = example::nostr_key(3);
    let (state, signed) = example::key_state();
    page.say("## Event of the key state");
    page.say("Signed by the Nostr key that the state binds, so that each names the other.");
    let chain = chain::join(&[&signed.bytes]);
    let event = page.event(&Draft::key_states(state.publisher, &chain).unwrap(), &key);
    page.say("Its id is the SHA-256 of this array (NIP-01):");
    let array = json!([
        0,
        event.pubkey,
        event.created_at,
        event.kind,
        event.tags,
        event.content
    ]);
    let array = array.to_string();
    assert_eq!(sha256(array.as_bytes()), event.id.to_string());
    page.show("json", &array);

    page.say("## Event of the announcement");
    let (announcement, signed) = example::announcement();
    let draft = Draft::announcement(&announcement, &signed.bytes).unwrap();
    page.event(&draft, &key);
}

fn opinion_events(page: &mut Page) {
    let key = example::nostr_key(4);
    let suspect = example::nostr_key(3).pubkey();
    let app = "notes".parse().unwrap();
    page.say("## Reviewer list");
    page.say("The rater trusts one other as a reviewer.");
    let reviewer = example::nostr_key(5).pubkey();
    page.event(&Draft::reviewers(&[reviewer]).unwrap(), &key);
    page.say("## Votes");
    page.say("A recommendation with one app in mind, and the same taken back.");
    let words = "Does what it says.";
    let vote = Draft::vote(example::did(), Some(&app), Label::Recommend, words).unwrap();
    page.event(&vote, &key);
    let withdrawn = Draft::vote(example::did(), None, Label::Withdrawn, "").unwrap();
    page.event(&withdrawn, &key);
    page.say("## Report of malware");
    let words = "Mines coins.";
    let report = Draft::malware_report(example::did(), Some(&app), &suspect, words).unwrap();
    page.event(&report, &key);
}

fn listing_events(page: &mut Page) {
    let key = example::nostr_key(3);
    let listing = Listing::of(&example::release(&["amd64"]).0);
    page.say("## Listing in other stores");
    page.say("Asset, release and application.");
    let assets: Vec<_> = listing
        .assets()
        .iter()
        .map(|asset| page.event(asset, &key).id)
        .collect();
    page.event(&listing.release(&assets), &key);
    page.event(listing.application(), &key);
}

#[test]
fn the_examples_in_the_book_are_what_the_code_makes() {
    let before = std::fs::read_to_string(path()).unwrap_or_default();
    let mut page = Page::new(&before);
    page.say("# Examples");
    page.say(&format!(
        "A test makes this page. Everything is signed at `{}`; the bytes of statements are exactly\nthose shown, \
         without the line end. Ed25519 signatures come out the same every time, those of events need\nnot: check \
         them instead.",
        example::NOW
    ));
    keys(&mut page);
    statements(&mut page);
    statement_events(&mut page);
    opinion_events(&mut page);
    listing_events(&mut page);
    let page = format!("{}\n", page.text.trim_end());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path(), &page).unwrap();
        return;
    }
    assert!(
        page == before,
        "docs/src/protocol/examples.md is not what the code makes; write it again with: \
         UPDATE_DOCS=1 cargo nextest run -p archy-nostr the_examples_in_the_book"
    );
}
