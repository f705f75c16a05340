//! What the store accepts as news and what it keeps as evidence.

use archy_registry::announcement::{self, Announcement};
use archy_registry::key_state::{KeyState, Standing, commitment};
use archy_registry::release;
use archy_registry::store::{Admission, CatalogQuery, KeyStateAdmission, Source, StoreError};
use archy_registry::trust::{self, Band, Event};
use archy_registry::{AppId, Signed, SigningKey, Store, Verified, sign};
use jiff::Timestamp;

use crate::common::{announce, draft, hours_later, image, key, now, release, signed_release};

fn relay() -> Source {
    Source {
        relay: "ws://relay.example".to_owned(),
        event_id: "e1".to_owned(),
    }
}

/// Admits the announcement of `seq`, signed at `created`.
async fn hear(store: &Store, key: &SigningKey, seq: u64, created: Timestamp) -> Admission {
    let (release, _) = release(key, seq);
    let (announcement, signed) = announce(key, &release, created);
    store
        .admit_announcement(&announcement, &signed.bytes, &relay(), created)
        .await
        .unwrap()
}

fn site(key: &SigningKey) -> AppId {
    AppId {
        publisher: key.did(),
        slug: "site".parse().unwrap(),
    }
}

async fn shown_seq(store: &Store, key: &SigningKey) -> u64 {
    let entry = store.app(&site(key), now()).await.unwrap().unwrap();
    entry.announcement.seq
}

#[tokio::test]
async fn the_highest_seq_wins_whatever_the_dates_say() {
    let store = Store::in_memory().await.unwrap();
    let key = key(1);
    assert_eq!(hear(&store, &key, 5, now()).await, Admission::Newest);
    assert_eq!(hear(&store, &key, 5, now()).await, Admission::Known);
    let older = Admission::Older { highest_seq: 5 };
    assert_eq!(hear(&store, &key, 4, hours_later(9)).await, older);
    assert_eq!(shown_seq(&store, &key).await, 5);
    assert_eq!(
        hear(&store, &key, 6, hours_later(-9)).await,
        Admission::Newest
    );
    assert_eq!(shown_seq(&store, &key).await, 6);
    // Every version ever seen is kept, the refused one too.
    assert_eq!(store.evidence(&key.did()).await.unwrap().sightings.len(), 3);
}

#[tokio::test]
async fn a_renewed_announcement_replaces_an_older_one_of_the_same_release() {
    let store = Store::in_memory().await.unwrap();
    let key = key(1);
    assert_eq!(hear(&store, &key, 1, now()).await, Admission::Newest);
    assert_eq!(
        hear(&store, &key, 1, hours_later(24)).await,
        Admission::Newest
    );
    assert_eq!(
        hear(&store, &key, 1, hours_later(12)).await,
        Admission::Known
    );
    let entry = store.app(&site(&key), now()).await.unwrap().unwrap();
    assert_eq!(entry.announcement.created, hours_later(24));
    assert_eq!(entry.first_seen, now());
    assert!(!entry.is_stale(hours_later(24 * 30)));
    assert!(entry.is_stale(hours_later(24 * 31)));
}

#[tokio::test]
async fn a_seq_far_ahead_is_not_followed() {
    let store = Store::in_memory().await.unwrap();
    let key = key(1);
    assert_eq!(hear(&store, &key, 10, now()).await, Admission::Newest);
    let refused = Admission::FastForward { highest_seq: 10 };
    assert_eq!(hear(&store, &key, 1011, now()).await, refused);
    assert_eq!(hear(&store, &key, (1 << 53) - 1, now()).await, refused);
    assert_eq!(shown_seq(&store, &key).await, 10);
    assert_eq!(hear(&store, &key, 1010, now()).await, Admission::Newest);
    // Within reach now.
    assert_eq!(hear(&store, &key, 1011, now()).await, Admission::Newest);
}

#[tokio::test]
async fn two_releases_under_one_seq_freeze_the_publisher() {
    let store = Store::in_memory().await.unwrap();
    let key = key(1);
    assert_eq!(hear(&store, &key, 1, now()).await, Admission::Newest);
    assert_eq!(hear(&store, &key, 2, now()).await, Admission::Newest);
    let mut other = draft(key.did(), 1);
    other.images.push(image("web", "arm64"));
    let (other, _) = signed_release(&key, other);
    let (announcement, signed) = announce(&key, &other, now());
    let admission = store
        .admit_announcement(&announcement, &signed.bytes, &relay(), now())
        .await
        .unwrap();
    let (first, _) = release(&key, 1);
    let expected = Admission::Equivocation {
        seq: 1,
        first: first.hash(),
        second: other.hash(),
    };
    assert_eq!(admission, expected);

    let frozen = Admission::Frozen { since: now() };
    assert_eq!(hear(&store, &key, 3, now()).await, frozen);
    assert_eq!(shown_seq(&store, &key).await, 2);
    let entry = store.app(&site(&key), now()).await.unwrap().unwrap();
    assert_eq!(entry.frozen_since, Some(now()));
    let evidence = store.evidence(&key.did()).await.unwrap();
    let score = trust::score(&evidence, now());
    assert_eq!((score.micro_points, score.band), (0, Band::Refused));
    // Other publishers are not touched.
    assert_eq!(
        hear(&store, &self::key(2), 1, now()).await,
        Admission::Newest
    );
}

#[tokio::test]
async fn bytes_must_be_those_of_the_statement() {
    let store = Store::in_memory().await.unwrap();
    let key = key(1);
    let (release, signed) = release(&key, 1);
    let (announcement, card) = announce(&key, &release, now());
    let swapped = store
        .admit_announcement(&announcement, &signed.bytes, &relay(), now())
        .await;
    assert!(matches!(swapped, Err(StoreError::OtherBytes(_))));
    let swapped = store.admit_release(&release, &card.bytes, now()).await;
    assert!(matches!(swapped, Err(StoreError::OtherBytes(_))));
}

#[tokio::test]
async fn counters_and_evidence_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archy.db");
    let key = key(1);
    let store = Store::open(&path).await.unwrap();
    assert_eq!(hear(&store, &key, 7, now()).await, Admission::Newest);
    let pinned = store
        .record(&key.did(), &Event::Pinned, now())
        .await
        .unwrap();
    assert!(pinned.is_some());
    store.set_relay_cursor("ws://a", 5, now()).await.unwrap();
    store.set_relay_cursor("ws://a", 9, now()).await.unwrap();
    store.close().await;

    let store = Store::open(&path).await.unwrap();
    let older = Admission::Older { highest_seq: 7 };
    assert_eq!(hear(&store, &key, 6, now()).await, older);
    assert_eq!(
        store.evidence(&key.did()).await.unwrap().events[0].event,
        Event::Pinned
    );
    assert_eq!(store.relay_cursor("ws://a").await.unwrap(), Some(9));
    assert_eq!(store.relay_cursor("ws://b").await.unwrap(), None);
    assert_eq!(store.publishers().await.unwrap(), [key.did()]);
}

#[tokio::test]
async fn days_bad_deltas_and_links_count_once() {
    let store = Store::in_memory().await.unwrap();
    let did = key(1).did();
    let day = Event::HealthyDay {
        app: "site".parse().unwrap(),
        day: "2026-11-20".parse().unwrap(),
    };
    assert!(store.record(&did, &day, now()).await.unwrap().is_some());
    assert!(store.record(&did, &day, now()).await.unwrap().is_none());
    let bad = |delta: &[u8], reason: &str| Event::BadDelta {
        app: "site".parse().unwrap(),
        release: archy_registry::Blake3Hash::of(b"release"),
        delta: archy_registry::Blake3Hash::of(delta),
        reason: reason.to_owned(),
    };
    for (delta, reason, is_new) in [
        (&b"one"[..], "it is cut off", true),
        (b"one", "in other words", false),
        (b"two", "it is cut off", true),
    ] {
        let recorded = store.record(&did, &bad(delta, reason), now()).await;
        assert_eq!(recorded.unwrap().is_some(), is_new, "{reason}");
    }
    assert!(
        store
            .record(&key(2).did(), &day, now())
            .await
            .unwrap()
            .is_some()
    );
    for event in [Event::Pinned, Event::Unpinned, Event::Pinned] {
        assert!(store.record(&did, &event, now()).await.unwrap().is_some());
    }
    let events = store.evidence(&did).await.unwrap().events;
    assert_eq!(events.len(), 6);
    assert!(events.is_sorted_by_key(|recorded| recorded.id));
}

#[tokio::test]
async fn releases_are_verified_again_when_they_are_read() {
    let store = Store::in_memory().await.unwrap();
    let (origin, spare) = (key(1), key(2));
    let (release, signed) = release(&origin, 1);
    store
        .admit_release(&release, &signed.bytes, now())
        .await
        .unwrap();
    store
        .admit_release(&release, &signed.bytes, now())
        .await
        .unwrap();
    let hash = release.hash();
    assert_eq!(
        store.release(&hash, now()).await.unwrap().as_ref(),
        Some(&release)
    );
    assert_eq!(
        store.release_bytes(&hash).await.unwrap(),
        Some(signed.bytes)
    );
    assert_eq!(
        store.highest_release_seq(&site(&origin)).await.unwrap(),
        Some(1)
    );
    for (seq, version) in [(1, Some(release.manifest.app.version.clone())), (2, None)] {
        let known = store.release_version(&site(&origin), seq).await;
        assert_eq!(known.unwrap(), version);
    }

    let expired = store.release(&hash, hours_later(24 * 366 * 3)).await;
    assert!(matches!(expired, Err(StoreError::Release { .. })));

    rotate(&store, &origin, &spare, []).await;
    let rotated = store.release(&hash, now()).await;
    assert!(matches!(rotated, Err(StoreError::Release { .. })));
    // What runs goes on.
    assert_eq!(
        store.release_as_admitted(&hash).await.unwrap(),
        Some(release)
    );
    assert_eq!(
        store
            .release(&archy_registry::Blake3Hash::of(b""), now())
            .await
            .unwrap(),
        None
    );
}

/// Admits a first state and a rotation to `spare` with `floors`.
async fn rotate<const N: usize>(
    store: &Store,
    origin: &SigningKey,
    spare: &SigningKey,
    floors: [(&str, u64); N],
) {
    let publisher = origin.did();
    let first = KeyState::first(
        publisher,
        &[spare.did()],
        Vec::new(),
        now(),
        hours_later(9000),
    );
    let signed = sign(&first, origin, now()).unwrap();
    let admission = store
        .admit_key_state(&publisher, &signed.bytes, now())
        .await
        .unwrap();
    let KeyStateAdmission::Newest(state) = admission else {
        panic!("{admission:?}")
    };
    assert_eq!(store.key_state(&publisher).await.unwrap(), *state);
    let known = store
        .admit_key_state(&publisher, &signed.bytes, now())
        .await
        .unwrap();
    assert_eq!(known, KeyStateAdmission::Known);
    let rotation = KeyState {
        seq: 2,
        prev: Some(state.hash()),
        keys: vec![spare.did()],
        next: vec![commitment(&key(99).did())],
        floors: floors
            .into_iter()
            .map(|(slug, seq)| (slug.parse().unwrap(), seq))
            .collect(),
        ..state.into_inner()
    };
    let signed = sign(&rotation, spare, now()).unwrap();
    let admission = store
        .admit_key_state(&publisher, &signed.bytes, now())
        .await
        .unwrap();
    assert!(matches!(admission, KeyStateAdmission::Newest(_)));
}

#[tokio::test]
async fn a_recovery_starts_counting_at_its_floor() {
    let store = Store::in_memory().await.unwrap();
    let (origin, spare) = (key(1), key(2));
    for seq in [40, 1040, 2040] {
        assert_eq!(hear(&store, &origin, seq, now()).await, Admission::Newest);
    }
    rotate(&store, &origin, &spare, [("site", 41)]).await;
    let old = store.app(&site(&origin), now()).await.unwrap().unwrap();
    assert_eq!(old.standing, Standing::KeyChanged { since: now() });
    assert_eq!(old.release, None);
    let listed = store.catalog(&CatalogQuery::default(), now()).await;
    assert_eq!(listed.unwrap().entries, []);

    let (announcement, signed) = announce_as(&store, &origin, &spare, 41).await;
    let admission = store
        .admit_announcement(&announcement, &signed.bytes, &relay(), now())
        .await;
    assert_eq!(admission.unwrap(), Admission::Newest);
    assert_eq!(shown_seq(&store, &origin).await, 41);
}

/// Announces a release of `origin`'s app that its later key signed.
async fn announce_as(
    store: &Store,
    origin: &SigningKey,
    signer: &SigningKey,
    seq: u64,
) -> (Verified<Announcement>, Signed) {
    let state = store.key_state(&origin.did()).await.unwrap();
    let release = release::assemble(draft(origin.did(), seq)).unwrap();
    let signed = sign(&release, signer, now()).unwrap();
    let release = release::verify(&signed.bytes, &state, now()).unwrap();
    let signed = sign(&Announcement::of(&release, 4000, now()), signer, now()).unwrap();
    let verified = announcement::verify(&signed.bytes, &state, now()).unwrap();
    (verified, signed)
}

#[tokio::test]
async fn the_log_cannot_be_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archy.db");
    let key = key(1);
    let store = Store::open(&path).await.unwrap();
    hear(&store, &key, 7, now()).await;
    store
        .record(&key.did(), &Event::Blocked, now())
        .await
        .unwrap();
    rotate(&store, &key, &self::key(2), []).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let raw = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for statement in [
        "UPDATE evidence SET at = 0",
        "DELETE FROM evidence",
        "UPDATE announcements SET seq = 1",
        "DELETE FROM announcements",
        "UPDATE first_seen SET first_seen_at = 0",
        "DELETE FROM first_seen",
        "UPDATE counters SET seq_highest = 1",
        "DELETE FROM counters",
        "UPDATE key_states SET seq = 9",
        "DELETE FROM key_states",
    ] {
        let refused = sqlx::query(statement).execute(&raw).await.unwrap_err();
        assert!(
            refused.to_string().contains("never"),
            "{statement}: {refused}"
        );
    }
}

#[tokio::test]
async fn announcements_heard_at_once_are_admitted_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("archy.db")).await.unwrap();
    let key = std::sync::Arc::new(key(1));
    let mut set = tokio::task::JoinSet::new();
    for seq in 1..=24 {
        let (store, key) = (store.clone(), key.clone());
        set.spawn(async move { hear(&store, &key, seq, now()).await });
    }
    let admissions = set.join_all().await;
    assert!(admissions.contains(&Admission::Newest));
    assert_eq!(shown_seq(&store, &key).await, 24);
}
