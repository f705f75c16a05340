//! What a node's database makes of key states: gaps, thefts, freezes and recoveries.

use archy_registry::announcement::{self, Announcement};
use archy_registry::key_state::{KeyState, Standing, chain};
use archy_registry::release;
use archy_registry::store::{
    Admission, AdmitKeyStateError, CatalogQuery, KeyStateAdmission, Source, StoreError,
};
use archy_registry::trust::{self, Band};
use archy_registry::{AppId, Blake3Hash, SigningKey, Store, Verified, sign};
use jiff::Timestamp;

use crate::common::{announce, draft, hours_later, image, key, now, release, signed_release};
use crate::key_history::{after, first_state, rotation, signed_by};

/// A publisher, its node's database, and the chain that it publishes.
struct Bed {
    store: Store,
    origin: SigningKey,
    states: Vec<Vec<u8>>,
}

impl Bed {
    /// Knows the first state, committed to `spare`.
    async fn new(origin: SigningKey, spare: &SigningKey) -> Self {
        let first = signed_by(&first_state(&origin, &[spare]), &[&origin]);
        let bed = Self {
            store: Store::in_memory().await.unwrap(),
            origin,
            states: vec![first.bytes],
        };
        let admitted = bed.hear_chain(now()).await.unwrap();
        assert!(matches!(admitted, KeyStateAdmission::Newest(_)));
        bed
    }

    async fn newest(&self) -> Verified<KeyState> {
        self.store.key_state(&self.origin.did()).await.unwrap()
    }

    /// Hears the whole chain.
    async fn hear_chain(&self, at: Timestamp) -> Result<KeyStateAdmission, AdmitKeyStateError> {
        let wire = chain::join(&self.states);
        self.store
            .admit_key_state(&self.origin.did(), &wire, at)
            .await
    }

    /// Hears one state by itself.
    async fn hear(
        &self,
        state: &KeyState,
        signer: &SigningKey,
        at: Timestamp,
    ) -> Result<KeyStateAdmission, AdmitKeyStateError> {
        let signed = signed_by(state, &[signer]);
        self.store
            .admit_key_state(&self.origin.did(), &signed.bytes, at)
            .await
    }

    /// Announces a release of `seq` that `signer` signed, and keeps it.
    async fn release(&self, signer: &SigningKey, seq: u64, at: Timestamp) -> Blake3Hash {
        let state = self.newest().await;
        let release = release::assemble(draft(self.origin.did(), seq)).unwrap();
        let signed = sign(&release, signer, now()).unwrap();
        let release = release::verify(&signed.bytes, &state, at).unwrap();
        let card = sign(&Announcement::of(&release, 4000, at), signer, at).unwrap();
        let announcement = announcement::verify(&card.bytes, &state, at).unwrap();
        let admitted = self
            .store
            .admit_announcement(&announcement, &card.bytes, &relay(), at)
            .await;
        assert_eq!(admitted.unwrap(), Admission::Newest);
        self.store
            .admit_release(&release, &signed.bytes, at)
            .await
            .unwrap();
        release.hash()
    }

    async fn is_refused(&self) -> bool {
        let evidence = self.store.evidence(&self.origin.did()).await.unwrap();
        trust::score(&evidence, now()).band == Band::Refused
    }

    fn app(&self) -> AppId {
        AppId {
            publisher: self.origin.did(),
            slug: "site".parse().unwrap(),
        }
    }
}

fn relay() -> Source {
    Source {
        relay: "ws://relay.example".to_owned(),
        event_id: "e1".to_owned(),
    }
}

#[tokio::test]
async fn a_node_that_was_away_across_several_rotations_catches_up() {
    let mut bed = Bed::new(key(1), &key(2)).await;
    let mut owner = archy_registry::key_state::KeyHistory::new(bed.origin.did());
    owner.admit(&bed.states, now()).unwrap();
    for seed in 2..6 {
        let state = rotation(owner.newest(), &[&key(seed)], &[&key(seed + 1)], 1);
        let signed = signed_by(&state, &[&key(seed)]);
        owner.admit(&[&signed.bytes], now()).unwrap();
        bed.states.push(signed.bytes);
    }
    // One that comes alone cannot be checked, and says that the others are missing.
    let alone = bed
        .store
        .admit_key_state(&bed.origin.did(), &bed.states[4], now())
        .await
        .unwrap_err();
    assert!(alone.is_gap(), "{alone}");
    assert_eq!(bed.newest().await.seq, 1);

    let admitted = bed.hear_chain(now()).await.unwrap();
    let KeyStateAdmission::Newest(newest) = admitted else {
        panic!("{admitted:?}")
    };
    assert_eq!((newest.seq, newest.hash()), (5, owner.newest().hash()));
    let again = bed.hear_chain(now()).await.unwrap();
    assert_eq!(again, KeyStateAdmission::Known);
    let handed_on = bed.store.key_state_chain(&bed.origin.did()).await.unwrap();
    assert_eq!(handed_on, Some(chain::join(&bed.states)));
    assert_eq!(
        bed.store.key_state_chain(&key(9).did()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_stolen_key_is_recovered_from() {
    let (origin, spare, last) = (key(1), key(2), key(3));
    let bed = Bed::new(key(1), &spare).await;
    let good = bed.release(&origin, 1, hours_later(1)).await;
    // The thief publishes, and renews for good measure.
    let evil = bed.release(&origin, 2, hours_later(2)).await;
    let stolen = KeyState {
        expires: hours_later(99),
        ..after(&bed.newest().await)
    };
    let state = bed.newest().await;
    bed.hear(&stolen, &origin, hours_later(3)).await.unwrap();

    // The owner knows nothing of the renewal, and recovers.
    let recovery = KeyState {
        floors: [("site".parse().unwrap(), 1)].into(),
        reaffirm: vec![good],
        ..rotation(&state, &[&spare], &[&last], 1)
    };
    let admitted = bed.hear(&recovery, &spare, hours_later(4)).await.unwrap();
    assert!(matches!(admitted, KeyStateAdmission::Newest(_)));
    assert_eq!(bed.newest().await.keys, [spare.did()]);

    let at = hours_later(5);
    let since = now();
    assert_eq!(
        bed.store.release_standing(&good, at).await.unwrap(),
        Some(Standing::Current)
    );
    assert_eq!(
        bed.store.release_standing(&evil, at).await.unwrap(),
        Some(Standing::KeyChanged { since })
    );
    assert_eq!(
        bed.store
            .release_standing(&Blake3Hash::of(b""), at)
            .await
            .unwrap(),
        None
    );
    assert!(bed.store.release(&good, at).await.unwrap().is_some());
    assert!(matches!(
        bed.store.release(&evil, at).await,
        Err(StoreError::Release { .. })
    ));
    // What runs goes on, also from a state that lost.
    for hash in [good, evil] {
        let running = bed.store.release_as_admitted(&hash).await.unwrap();
        assert_eq!(running.unwrap().hash(), hash);
    }
    let entry = bed.store.app(&bed.app(), at).await.unwrap().unwrap();
    assert_eq!(entry.standing, Standing::KeyChanged { since });
    assert_eq!((entry.announcement.seq, entry.release), (2, None));
    let listed = bed.store.catalog(&CatalogQuery::default(), at).await;
    assert_eq!(listed.unwrap().entries, []);

    // The owner's next release counts from the floor, and what the thief signs later is refused.
    let next = bed.release(&spare, 1, hours_later(6)).await;
    let entry = bed.store.app(&bed.app(), at).await.unwrap().unwrap();
    assert_eq!(entry.standing, Standing::Current);
    assert_eq!(entry.release.map(|release| release.hash()), Some(next));
    let late = bed.hear(&stolen, &origin, hours_later(7)).await.unwrap();
    assert_eq!(late, KeyStateAdmission::Known);
    let rival = KeyState {
        expires: hours_later(98),
        ..stolen
    };
    let late = bed.hear(&rival, &origin, hours_later(7)).await;
    assert!(late.unwrap_err().to_string().contains("had replaced"));
    assert!(!bed.is_refused().await);
}

#[tokio::test]
async fn a_plain_rotation_leaves_what_was_seen_before() {
    let (origin, spare, last) = (key(1), key(2), key(3));
    let bed = Bed::new(key(1), &spare).await;
    let seen = bed.release(&origin, 1, hours_later(1)).await;
    let state = bed.newest().await;
    let rotation = rotation(&state, &[&spare], &[&last], 1);
    bed.hear(&rotation, &spare, hours_later(2)).await.unwrap();
    let standing = Standing::SeenBeforeChange { since: now() };
    let at = hours_later(3);
    assert_eq!(
        bed.store.release_standing(&seen, at).await.unwrap(),
        Some(standing)
    );
    let page = bed.store.catalog(&CatalogQuery::default(), at).await;
    let entry = &page.unwrap().entries[0];
    assert_eq!(entry.standing, standing);
    assert_eq!(entry.release.as_ref().map(Verified::hash), Some(seen));

    // A node that hears of the release only now refuses it.
    let (release, signed) = release(&origin, 1);
    assert_eq!(release.hash(), seen);
    let fresh = Bed::new(key(1), &spare).await;
    fresh.hear(&rotation, &spare, hours_later(2)).await.unwrap();
    let history = fresh.store.key_history(&origin.did()).await.unwrap();
    let refused = release::verify_seen(&signed.bytes, &history, None, at).unwrap_err();
    assert!(refused.to_string().contains("replaced on"), "{refused}");
    let (_, card) = announce(&origin, &release, now());
    assert!(announcement::verify_seen(&card.bytes, &history, None, at).is_err());
}

#[tokio::test]
async fn keys_that_expire_stop_installs_and_nothing_else() {
    let bed = Bed::new(key(1), &key(2)).await;
    let hash = bed.release(&key(1), 1, hours_later(1)).await;
    let expires = bed.newest().await.expires;
    let expired = Standing::KeysExpired { since: expires };
    let standing = bed.store.release_standing(&hash, expires).await;
    assert_eq!(standing.unwrap(), Some(expired));
    assert!(bed.store.release(&hash, expires).await.is_err());
    assert!(
        bed.store
            .release_as_admitted(&hash)
            .await
            .unwrap()
            .is_some()
    );
    let page = bed.store.catalog(&CatalogQuery::default(), expires).await;
    let entry = &page.unwrap().entries[0];
    assert_eq!((entry.standing, &entry.release), (expired, &None));
}

#[tokio::test]
async fn a_contradiction_freezes_until_committed_keys_settle_it() {
    let (origin, spare, last) = (key(1), key(2), key(3));
    let bed = Bed::new(key(1), &spare).await;
    let state = bed.newest().await;
    let [one, other] = [9, 8].map(|hours| KeyState {
        expires: hours_later(hours),
        ..after(&state)
    });
    bed.hear(&one, &origin, now()).await.unwrap();
    let found = bed.hear(&other, &origin, now()).await.unwrap();
    assert!(matches!(
        found,
        KeyStateAdmission::Equivocation { seq: 2, .. }
    ));
    assert!(bed.is_refused().await);
    // Somebody else's rival is merely refused, and a state of another publisher is not taken for ours.
    let forged = bed.hear(&one, &key(7), now()).await;
    assert!(matches!(forged, Err(AdmitKeyStateError::Invalid(_))));
    let foreign = signed_by(&first_state(&key(5), &[]), &[&key(5)]);
    let publisher = origin.did();
    let foreign = bed.store.admit_key_state(&publisher, &foreign.bytes, now());
    assert!(matches!(foreign.await, Err(AdmitKeyStateError::Invalid(_))));

    let rotated = rotation(&state, &[&spare], &[&last], 1);
    let admitted = bed.hear(&rotated, &spare, now()).await.unwrap();
    assert!(matches!(admitted, KeyStateAdmission::Newest(_)));
    assert!(!bed.is_refused().await);
}

#[tokio::test]
async fn two_releases_under_one_seq_are_settled_by_a_recovery_of_that_app_only() {
    let (origin, spare, last) = (key(1), key(2), key(3));
    let bed = Bed::new(key(1), &spare).await;
    bed.release(&origin, 1, now()).await;
    let mut other = draft(origin.did(), 1);
    other.images.push(image("web", "arm64"));
    let (other, _) = signed_release(&origin, other);
    let (announcement, signed) = announce(&origin, &other, now());
    let found = bed
        .store
        .admit_announcement(&announcement, &signed.bytes, &relay(), now())
        .await;
    assert!(matches!(found, Ok(Admission::Equivocation { seq: 1, .. })));
    assert!(bed.is_refused().await);

    let state = bed.newest().await;
    let elsewhere = KeyState {
        floors: [("other".parse().unwrap(), 1)].into(),
        ..rotation(&state, &[&spare], &[&last], 1)
    };
    bed.hear(&elsewhere, &spare, now()).await.unwrap();
    assert!(bed.is_refused().await);
    let recovery = KeyState {
        floors: [("site".parse().unwrap(), 2)].into(),
        ..rotation(&bed.newest().await, &[&last], &[], 1)
    };
    bed.hear(&recovery, &last, hours_later(1)).await.unwrap();
    assert!(!bed.is_refused().await);
    bed.release(&last, 2, hours_later(2)).await;
}

#[tokio::test]
async fn the_history_survives_a_restart_in_the_order_of_hearing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archy.db");
    let (origin, spare) = (key(1), key(2));
    let first = signed_by(&first_state(&origin, &[&spare]), &[&origin]);
    let store = Store::open(&path).await.unwrap();
    let admit = |store: Store, bytes: Vec<u8>| async move {
        store
            .admit_key_state(&key(1).did(), &bytes, now())
            .await
            .unwrap()
    };
    admit(store.clone(), first.bytes).await;
    let state = store.key_state(&origin.did()).await.unwrap();
    for hours in [9, 8] {
        let renewal = KeyState {
            expires: hours_later(hours),
            ..after(&state)
        };
        admit(store.clone(), signed_by(&renewal, &[&origin]).bytes).await;
    }
    let before = store.key_state(&origin.did()).await.unwrap();
    assert_eq!(before.expires, hours_later(9));
    store.close().await;

    let store = Store::open(&path).await.unwrap();
    assert_eq!(store.key_state(&origin.did()).await.unwrap(), before);
    let rotation = signed_by(&rotation(&state, &[&spare], &[], 1), &[&spare]);
    admit(store.clone(), rotation.bytes).await;
    assert_eq!(
        store.key_state(&origin.did()).await.unwrap().keys,
        [spare.did()]
    );
}
