//! A stolen key, before and after its owner says so, and a publisher that contradicts itself.

use archy_nostr::NostrKey;
use archy_registry::key_state::{self, KeyState, commitment};
use archy_registry::{SigningKey, Verified, add_proof, announcement, sign};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{first_key_state, installed, is_refused, tell_chain, tell_key_state};
use crate::bed::{Node, Publisher, Relay, Signed, app, layer};

/// A publisher that committed to a key for later, with `notes` installed on a node; and a thief of its current key.
struct Theft {
    relay: Relay,
    publisher: Publisher,
    node: Node,
    notes: Value,
    later: SigningKey,
    first: Verified<KeyState>,
    /// The Nostr key of the thief.
    thief: NostrKey,
}

impl Theft {
    async fn of_the_current_key() -> Self {
        let relay = Relay::start().await;
        let publisher = Publisher::start().await;
        let node = Node::start(&relay, &[]).await;
        let later = SigningKey::generate().unwrap();
        let first = first_key_state(&publisher, &relay, &later).await;
        let notes = app(&publisher, "notes");
        publisher.publish(&relay, "notes", 1, &layer("one")).await;
        node.has_release(&notes).await;
        assert_eq!(node.install(&notes).await["state"], "succeeded");
        let thief = NostrKey::generate();
        Self {
            relay,
            publisher,
            node,
            notes,
            later,
            first,
            thief,
        }
    }

    /// Signs the state that follows `previous` with the current key.
    fn stolen(
        &self,
        previous: &Verified<KeyState>,
        change: impl FnOnce(&mut KeyState),
    ) -> (Verified<KeyState>, Vec<u8>) {
        follow(previous, &self.publisher.key, change)
    }

    /// The state by which the owner replaces the stolen key, after `previous`.
    fn rotation(&self, previous: &Verified<KeyState>) -> (Verified<KeyState>, Vec<u8>) {
        follow(previous, &self.later, |state| {
            state.keys = vec![self.later.did()];
            state.next.clear();
        })
    }

    async fn owner_tells(&self, state: Vec<u8>) {
        let nostr = &self.publisher.nostr;
        tell_chain(&self.publisher, nostr, &self.relay, &[state]).await;
    }

    async fn thief_tells(&self, state: Vec<u8>) {
        tell_chain(&self.publisher, &self.thief, &self.relay, &[state]).await;
    }

    /// Waits until this state counts on the node.
    async fn counts(&self, state: &Verified<KeyState>) {
        let store = &self.node.daemon.node.store;
        let mut events = self.node.daemon.node.follow.hub().subscribe();
        while store.key_state(&self.publisher.did()).await.unwrap().hash() != state.hash() {
            events.recv().await.unwrap();
        }
    }

    /// The thief announces an app of its own: once it is refused, all that was told before was heard.
    async fn thief_publishes(&self, slug: &str, kind: &str) {
        self.publisher
            .publish(&self.relay, slug, 1, &layer("evil"))
            .await;
        let evil = app(&self.publisher, slug);
        self.node.page(&evil, |page| page["kind"] == kind).await;
        is_refused(&self.node, &evil, kind).await;
    }

    /// The owner publishes the next release of `notes` with the key that it committed to, and it is followed.
    async fn owner_publishes(&self, seq: u64) {
        let (publisher, key) = (&self.publisher, &self.later);
        let signed = publisher
            .release("notes", seq, &layer("owner's"), key)
            .await;
        let card = publisher.announcement(&signed);
        publisher.announce(&self.relay, "notes", &card, key).await;
        let page = self
            .node
            .page(&self.notes, |page| page["release"]["seq"] == seq)
            .await;
        assert_eq!(page["release"]["hash"], signed.hash.to_string());
    }

    /// What the owner of the node is told of `notes`, which runs as before.
    async fn is_told(&self) -> Value {
        assert_eq!(
            installed(&self.node).await,
            [("notes".to_owned(), "running".to_owned())]
        );
        let list = self.node.rpc("package.list", json!({})).await.unwrap();
        list["instances"][0]["problem"]["kind"].clone()
    }
}

/// Signs the state that follows `previous`.
fn follow(
    previous: &Verified<KeyState>,
    signer: &SigningKey,
    change: impl FnOnce(&mut KeyState),
) -> (Verified<KeyState>, Vec<u8>) {
    let now = Timestamp::now();
    let mut state = KeyState::after(previous, now, now + SignedDuration::from_hours(24));
    change(&mut state);
    let signed = sign(&state, signer, now).unwrap();
    let state = key_state::verify(&signed.bytes, Some(previous), now).unwrap();
    (state, signed.bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_revocation_a_stolen_key_publishes_but_cannot_take_the_name_over() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let (later, thief) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let first = first_key_state(&publisher, &relay, &later).await;
    let notes = app(&publisher, "notes");
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    // Nobody can tell the thief from the owner yet.
    publisher.publish(&relay, "notes", 2, &layer("evil")).await;
    node.page(&notes, |page| page["release"]["seq"] == 2).await;
    // But a key of its own is none that the owner committed to, and neither is another commitment.
    let mut taken = first.clone().into_inner();
    taken.seq = 2;
    taken.prev = Some(first.hash());
    taken.keys = vec![thief.did()];
    tell_key_state(&publisher, &relay, &taken, &publisher.key).await;
    node.refusal("keyState").await;
    taken.keys.clone_from(&first.keys);
    taken.next = vec![commitment(&thief.did())];
    tell_key_state(&publisher, &relay, &taken, &publisher.key).await;
    node.refusal("keyState").await;
    let card = publisher.announcement(&publisher.release("notes", 3, &layer("evil"), &thief).await);
    publisher.announce(&relay, "notes", &card, &thief).await;
    node.refusal("signature").await;
    let page = node.has_release(&notes).await;
    assert_eq!(page["release"]["seq"], 2);
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_keys_than_the_threshold_release_nothing() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let [one, other] = [(); 2].map(|()| SigningKey::generate().unwrap());
    two_of_two(&publisher, &relay, &one, &other).await;
    let notes = app(&publisher, "notes");
    let announce = async |signed: &Signed| {
        let card = publisher.announcement(signed);
        publisher.announce(&relay, "notes", &card, &one).await;
    };

    // A thief of one of the two keys.
    let evil = publisher.release("notes", 1, &layer("evil"), &one).await;
    announce(&evil).await;
    node.page(&notes, |page| page["problem"]["kind"] == "signature")
        .await;
    let problem = is_refused(&node, &notes, "signature").await;
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains("where 2 must sign"), "{message}");

    let half = publisher.release("notes", 2, &layer("two"), &one).await;
    let whole = add_proof(&half.bytes, &other, half.release.created).unwrap();
    let tag = "test".parse().unwrap();
    let bytes = whole.bytes.as_slice();
    publisher.swarm.provide(&tag, bytes, None).await.unwrap();
    announce(&Signed {
        bytes: whole.bytes,
        hash: whole.hash,
        release: half.release,
    })
    .await;
    node.page(&notes, |page| page["release"]["seq"] == 2).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    node.daemon.stop().await;
}

/// The publisher hands over to two keys that must sign together.
async fn two_of_two(publisher: &Publisher, relay: &Relay, one: &SigningKey, other: &SigningKey) {
    let now = Timestamp::now();
    let expires = now + SignedDuration::from_hours(24);
    let committed = [one.did(), other.did()];
    let first = KeyState::first(publisher.did(), &committed, Vec::new(), now, expires);
    let first = sign(&first, &publisher.key, now).unwrap();
    let previous = key_state::verify(&first.bytes, None, now).unwrap();
    let mut together = KeyState::after(&previous, now, expires);
    together.keys = committed.to_vec();
    together.next.clear();
    together.threshold = 2;
    let half = sign(&together, one, now).unwrap();
    let both = add_proof(&half.bytes, other, now).unwrap();
    let chain = [first.bytes, both.bytes];
    tell_chain(publisher, &publisher.nostr, relay, &chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_keys_put_a_thief_aside_whatever_was_heard_first_and_what_runs_stays() {
    let theft = Theft::of_the_current_key().await;
    // The thief is first with the second state; nobody can tell it from the owner's.
    let (renewal, bytes) = theft.stolen(&theft.first, |_| {});
    theft.thief_tells(bytes).await;
    theft.counts(&renewal).await;

    let (rotation, bytes) = theft.rotation(&theft.first);
    theft.owner_tells(bytes).await;
    theft.counts(&rotation).await;

    // What the old key goes on signing makes no history, and is no software.
    let (_, bytes) = theft.stolen(&renewal, |_| {});
    theft.thief_tells(bytes).await;
    theft.node.refusal("keyChanged").await;
    theft.thief_publishes("diary", "keyChanged").await;
    theft.owner_publishes(2).await;
    assert_eq!(theft.is_told().await, Value::Null);

    let did = theft.publisher.did();
    let node = theft.node.restart().await;
    let state = node.daemon.node.store.key_state(&did).await.unwrap();
    assert_eq!(state.hash(), rotation.hash());
    node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_release_that_is_installed_is_told_and_goes_on_running() {
    let theft = Theft::of_the_current_key().await;
    let evil = theft
        .publisher
        .publish(&theft.relay, "diary", 1, &layer("evil"))
        .await;
    let diary = app(&theft.publisher, "diary");
    theft.node.has_release(&diary).await;
    assert_eq!(theft.node.install(&diary).await["state"], "succeeded");

    // The owner stands for none of it any more.
    let (recovery, bytes) = follow(&theft.first, &theft.later, |state| {
        state.keys = vec![theft.later.did()];
        state.next.clear();
        state.floors = [("diary".parse().unwrap(), 2)].into();
    });
    theft.owner_tells(bytes).await;
    theft.counts(&recovery).await;
    let list = theft.node.rpc("package.list", json!({})).await.unwrap();
    let told = |slug| {
        let mut instances = list["instances"].as_array().unwrap().iter();
        let found = instances.find(|instance| instance["app"]["slug"] == slug);
        let found = found.unwrap_or_else(|| panic!("{slug} is gone: {list}"));
        (found["state"].clone(), found["problem"]["kind"].clone())
    };
    assert_eq!(told("diary"), (json!("running"), json!("keyChanged")));
    assert_eq!(told("notes"), (json!("running"), Value::Null));
    // Nor is it installed where it is asked for by its hash.
    let purge = json!({"slug": "diary", "purge": true});
    let job = theft.node.rpc("package.uninstall", purge).await.unwrap();
    theft.node.ended(job["job"].as_str().unwrap()).await;
    let by_hash = json!({"app": diary, "release": evil.hash.to_string()});
    let job = theft.node.begin(by_hash).await;
    assert_eq!(theft.node.ended(&job).await["state"], "failed");
    theft.node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_revocation_nothing_is_installed_until_committed_keys_reopen() {
    let theft = Theft::of_the_current_key().await;
    let diary = app(&theft.publisher, "diary");
    theft
        .publisher
        .publish(&theft.relay, "diary", 1, &layer("diary"))
        .await;
    theft.node.has_release(&diary).await;

    let (revoked, bytes) = theft.stolen(&theft.first, |state| state.keys.clear());
    theft.owner_tells(bytes).await;
    theft.counts(&revoked).await;
    assert_eq!(theft.is_told().await, "revoked");
    // A renewal of the state before does not bring the key back.
    let (_, bytes) = theft.stolen(&theft.first, |_| {});
    theft.thief_tells(bytes).await;
    theft.thief_publishes("evil", "revoked").await;
    theft.counts(&revoked).await;
    let problem = is_refused(&theft.node, &diary, "refused").await;
    assert!(problem["details"].to_string().contains("revoked its keys"));

    let (reopened, bytes) = theft.rotation(&revoked);
    theft.owner_tells(bytes).await;
    theft.counts(&reopened).await;
    theft.owner_publishes(2).await;
    theft.thief_publishes("evil", "keyChanged").await;
    assert_eq!(theft.node.install(&diary).await["state"], "succeeded");
    theft.node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_renewals_of_one_state_freeze_a_publisher_until_committed_keys_settle_it() {
    let theft = Theft::of_the_current_key().await;
    let (owners, bytes) = theft.stolen(&theft.first, |_| {});
    theft.owner_tells(bytes).await;
    theft.counts(&owners).await;
    let (_, bytes) = theft.stolen(&theft.first, |state| {
        state.expires -= SignedDuration::from_hours(1);
    });
    theft.thief_tells(bytes).await;
    theft.node.refusal("equivocation").await;
    theft.thief_publishes("diary", "frozen").await;
    let refused = |page: &Value| page["publisher"]["trust"]["band"] == "refused";
    theft.node.page(&theft.notes, refused).await;

    let (rotation, bytes) = theft.rotation(&theft.first);
    theft.owner_tells(bytes).await;
    theft.counts(&rotation).await;
    theft.owner_publishes(2).await;
    let page = theft.node.page(&theft.notes, |page| !refused(page)).await;
    let reasons = page["publisher"]["reasons"].to_string();
    assert!(!reasons.contains("contradiction"), "{reasons}");
    assert_eq!(theft.is_told().await, Value::Null);
    theft.node.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equivocation_freezes_a_publisher_keeps_both_proofs_and_is_shown() {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let notes = app(&publisher, "notes");
    let one = publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    assert_eq!(node.install(&notes).await["state"], "succeeded");
    let two = publisher.publish(&relay, "notes", 1, &layer("two")).await;
    let problem = node.refusal("equivocation").await;
    let details = problem["details"].to_string();
    for hash in [one.hash, two.hash] {
        assert!(details.contains(&hash.to_string()), "{problem}");
    }
    let page = node
        .page(&notes, |page| {
            page["publisher"]["trust"]["band"] == "refused"
        })
        .await;
    let reasons = page["publisher"]["reasons"].as_array().unwrap();
    let shown = reasons
        .iter()
        .find(|reason| reason["code"] == "contradiction")
        .unwrap_or_else(|| panic!("{page}"));
    assert_eq!(shown["evidence"], json!(["contradiction 1"]));

    // Both signed cards are kept: whoever sees them can check that one key signed both.
    let store = &node.daemon.node.store;
    let evidence = store.evidence(&publisher.did()).await.unwrap();
    let [found] = &evidence.contradictions[..] else {
        panic!("{evidence:?}");
    };
    let proof = store.contradiction(found.id).await.unwrap().unwrap();
    let state = KeyState::implicit(publisher.did());
    let releases = proof.map(|bytes| {
        let card = announcement::verify(&bytes, &state, Timestamp::now()).unwrap();
        assert_eq!((card.slug.as_str(), card.seq), ("notes", 1));
        card.release.blake3
    });
    assert_eq!(releases, [one.hash, two.hash]);

    // Nothing more of it is followed; what runs stays.
    publisher.publish(&relay, "diary", 1, &layer("diary")).await;
    node.refusal("frozen").await;
    is_refused(&node, &app(&publisher, "diary"), "frozen").await;
    assert_eq!(
        installed(&node).await,
        [("notes".to_owned(), "running".to_owned())]
    );
    node.daemon.stop().await;
}
