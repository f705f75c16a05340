//! How much the store takes in, from whom, and what leaves it first.

use archy_registry::store::{
    Admission, Arrival, Limits, OverQuota, Quota, Search, Source, StoreError,
};
use archy_registry::trust::Event;
use archy_registry::{AppId, SigningKey, Store};
use jiff::Timestamp;

use crate::common::{announce, draft, hours_later, key, now, signed_release};

/// Limits that stop nothing.
fn wide() -> Limits {
    Limits {
        announcements_per_app_and_day: 1000,
        announcements_per_publisher_and_day: 1000,
        apps_per_publisher: 1000,
        announcements_per_pubkey_and_day: 1000,
        new_apps_per_day: 1000,
        apps: 1000,
        size_bytes: u64::MAX,
    }
}

async fn store(limits: Limits) -> Store {
    Store::in_memory().await.unwrap().with_limits(limits)
}

fn app(key: &SigningKey, slug: &str) -> AppId {
    AppId {
        publisher: key.did(),
        slug: slug.parse().unwrap(),
    }
}

async fn hear_by(
    store: &Store,
    key: &SigningKey,
    slug: &str,
    seq: u64,
    pubkey: &str,
    at: Timestamp,
) -> Result<Admission, StoreError> {
    let mut draft = draft(key.did(), seq);
    draft.manifest.app.id = slug.parse().unwrap();
    let (release, _) = signed_release(key, draft);
    let (announcement, signed) = announce(key, &release, at);
    let source = Source {
        relay: "ws://a".to_owned(),
        event_id: String::new(),
    };
    let arrival = Arrival {
        announcement: &announcement,
        bytes: &signed.bytes,
        source: &source,
        pubkey: Some(pubkey),
    };
    Ok(store.admit_announcements(&[arrival], at).await?.remove(0))
}

async fn hear(store: &Store, key: &SigningKey, slug: &str, seq: u64) -> Admission {
    hear_by(store, key, slug, seq, "aa", now()).await.unwrap()
}

fn over(quota: Quota, limit: u64) -> Admission {
    Admission::OverQuota(OverQuota { quota, limit })
}

#[tokio::test]
async fn an_app_is_announced_so_often_a_day_and_again_the_next() {
    let limits = Limits {
        announcements_per_app_and_day: 2,
        ..wide()
    };
    let store = store(limits).await;
    let key = key(1);
    assert_eq!(hear(&store, &key, "one", 1).await, Admission::Newest);
    assert_eq!(hear(&store, &key, "one", 2).await, Admission::Newest);
    assert_eq!(
        store
            .over_quota(&app(&key, "one"), Some("aa"), now())
            .await
            .unwrap(),
        None
    );
    assert_eq!(hear(&store, &key, "one", 3).await, over(Quota::AppDay, 2));
    // From now on it is turned away before its proof is checked.
    let refused = store
        .over_quota(&app(&key, "one"), Some("aa"), now())
        .await
        .unwrap();
    assert_eq!(refused.map(|refused| refused.quota), Some(Quota::AppDay));
    assert_eq!(
        store
            .over_quota(&app(&key, "two"), Some("aa"), now())
            .await
            .unwrap(),
        None
    );
    // What is known costs nothing, and other apps are free.
    assert_eq!(hear(&store, &key, "one", 2).await, Admission::Known);
    assert_eq!(hear(&store, &key, "two", 1).await, Admission::Newest);
    let tomorrow = hours_later(24);
    assert_eq!(
        store
            .over_quota(&app(&key, "one"), Some("aa"), tomorrow)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        hear_by(&store, &key, "one", 3, "aa", tomorrow)
            .await
            .unwrap(),
        Admission::Newest
    );
}

#[tokio::test]
async fn what_is_refused_is_not_kept_and_moves_no_counter() {
    let limits = Limits {
        announcements_per_app_and_day: 1,
        ..wide()
    };
    let store = store(limits).await;
    let key = key(1);
    assert_eq!(hear(&store, &key, "one", 1).await, Admission::Newest);
    assert_eq!(hear(&store, &key, "one", 900).await, over(Quota::AppDay, 1));
    assert_eq!(store.evidence(&key.did()).await.unwrap().sightings.len(), 1);
    let entry = store.app(&app(&key, "one"), now()).await.unwrap().unwrap();
    assert_eq!(entry.announcement.seq, 1);
}

#[tokio::test]
async fn a_publisher_has_so_many_apps_and_announcements() {
    let limits = Limits {
        apps_per_publisher: 2,
        announcements_per_publisher_and_day: 4,
        ..wide()
    };
    let store = store(limits).await;
    let key = key(1);
    assert_eq!(hear(&store, &key, "one", 1).await, Admission::Newest);
    assert_eq!(hear(&store, &key, "two", 1).await, Admission::Newest);
    assert_eq!(
        hear(&store, &key, "three", 1).await,
        over(Quota::PublisherApps, 2)
    );
    let refused = store
        .over_quota(&app(&key, "four"), Some("aa"), now())
        .await
        .unwrap();
    assert_eq!(
        refused.map(|refused| refused.quota),
        Some(Quota::PublisherApps)
    );
    assert_eq!(
        store
            .over_quota(&app(&key, "two"), Some("aa"), now())
            .await
            .unwrap(),
        None
    );
    assert_eq!(hear(&store, &key, "one", 2).await, Admission::Newest);
    assert_eq!(hear(&store, &key, "one", 3).await, Admission::Newest);
    assert_eq!(
        hear(&store, &key, "one", 4).await,
        over(Quota::PublisherDay, 4)
    );
    assert_eq!(
        hear(&store, &self::key(2), "one", 1).await,
        Admission::Newest
    );
}

#[tokio::test]
async fn a_nostr_key_that_nobody_names_carries_so_much_a_day() {
    let limits = Limits {
        announcements_per_pubkey_and_day: 2,
        ..wide()
    };
    let store = store(limits).await;
    for seed in 1..=2 {
        assert_eq!(hear(&store, &key(seed), "one", 1).await, Admission::Newest);
    }
    assert_eq!(
        hear(&store, &key(3), "one", 1).await,
        over(Quota::PubkeyDay, 2)
    );
    let by_another = hear_by(&store, &key(3), "one", 1, "bb", now())
        .await
        .unwrap();
    assert_eq!(by_another, Admission::Newest);
    // A publisher whose app is installed is heard through whoever carries it.
    store
        .record(&key(4).did(), &Event::Pinned, now())
        .await
        .unwrap();
    assert_eq!(hear(&store, &key(4), "one", 1).await, Admission::Newest);
}

#[tokio::test]
async fn strangers_do_not_crowd_out_those_whose_apps_are_wanted() {
    let limits = Limits {
        new_apps_per_day: 2,
        ..wide()
    };
    let store = store(limits).await;
    for seed in 1..=2 {
        assert_eq!(hear(&store, &key(seed), "one", 1).await, Admission::Newest);
    }
    assert_eq!(
        hear(&store, &key(3), "one", 1).await,
        over(Quota::NewAppsDay, 2)
    );
    // Those who are in the catalog go on.
    assert_eq!(hear(&store, &key(1), "one", 2).await, Admission::Newest);
    store
        .record(&key(3).did(), &Event::Pinned, now())
        .await
        .unwrap();
    assert_eq!(
        store
            .over_quota(&app(&key(3), "one"), Some("aa"), now())
            .await
            .unwrap(),
        None
    );
    assert_eq!(hear(&store, &key(3), "one", 1).await, Admission::Newest);
}

#[tokio::test]
async fn a_full_database_takes_nothing_more_of_strangers() {
    let limits = Limits {
        size_bytes: 1,
        ..wide()
    };
    let store = store(limits).await;
    assert_eq!(hear(&store, &key(1), "one", 1).await, over(Quota::Size, 1));
    store
        .record(&key(2).did(), &Event::Pinned, now())
        .await
        .unwrap();
    assert_eq!(hear(&store, &key(2), "one", 1).await, Admission::Newest);
}

#[tokio::test]
async fn expired_apps_of_strangers_leave_a_full_catalog_but_their_counters_stay() {
    let limits = Limits { apps: 2, ..wide() };
    let store = store(limits).await;
    let (pinned, gone) = (key(1), key(2));
    store
        .record(&pinned.did(), &Event::Pinned, now())
        .await
        .unwrap();
    assert_eq!(hear(&store, &pinned, "one", 1).await, Admission::Newest);
    assert_eq!(hear(&store, &gone, "one", 5).await, Admission::Newest);
    assert_eq!(hear(&store, &key(3), "one", 1).await, over(Quota::Apps, 2));

    let later = hours_later(31 * 24);
    let admitted = hear_by(&store, &key(3), "one", 1, "aa", later)
        .await
        .unwrap();
    assert_eq!(admitted, Admission::Newest);
    assert_eq!(store.app(&app(&gone, "one"), later).await.unwrap(), None);
    assert!(
        store
            .app(&app(&pinned, "one"), later)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(store.search(&Search::default()).await.unwrap().total, 2);
    // Whoever left and comes back goes on from where it was.
    store
        .record(&gone.did(), &Event::Pinned, later)
        .await
        .unwrap();
    let older = hear_by(&store, &gone, "one", 4, "aa", later).await.unwrap();
    assert_eq!(older, Admission::Older { highest_seq: 5 });
    let next = hear_by(&store, &gone, "one", 6, "aa", later).await.unwrap();
    assert_eq!(next, Admission::Newest);
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    for quota in [
        Quota::AppDay,
        Quota::PublisherDay,
        Quota::PublisherApps,
        Quota::PubkeyDay,
        Quota::NewAppsDay,
        Quota::Size,
        Quota::Apps,
    ] {
        let refused = OverQuota { quota, limit: 7 };
        assert!(
            refused.to_string().starts_with("the limit of "),
            "{refused}"
        );
        assert!(
            refused.to_string().ends_with(" of 7 is reached"),
            "{refused}"
        );
        assert!(!refused.advice().is_empty());
    }
}
