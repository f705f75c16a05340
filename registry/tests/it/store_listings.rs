//! What registries list becomes known by the rules that announcements follow.

use archy_registry::key_state::{KeyHistory, KeyState, Standing};
use archy_registry::release::{Release, ReleaseError};
use archy_registry::statement::StatementError;
use archy_registry::store::{
    Admission, CatalogAdmission, CatalogEntry, CatalogQuery, KeyStateAdmission, Listing, Source,
};
use archy_registry::{Signed, SigningKey, Store, Verified, release};

use crate::catalog::{draft, signed, verify};
use crate::common::{self, announce, hours_later, key, now, signed_release};
use crate::key_history::{first_state, rotation, signed_by};

fn listing(registry: &str, catalog_seq: u64) -> Listing {
    Listing {
        registry: registry.to_owned(),
        operator: key(9).did(),
        catalog_seq,
        created: now(),
        expires: hours_later(24 * 40),
    }
}

async fn list(
    store: &Store,
    registry: &str,
    (release, signed): &(Verified<Release>, Signed),
) -> Admission {
    let listing = listing(registry, 1);
    store
        .admit_listed(&listing, release, &signed.bytes, now())
        .await
        .unwrap()
}

async fn entry(store: &Store, key: &SigningKey, hours: i64) -> Option<CatalogEntry> {
    let app = archy_registry::AppId {
        publisher: key.did(),
        slug: "site".parse().unwrap(),
    };
    store.app(&app, hours_later(hours)).await.unwrap()
}

#[tokio::test]
async fn a_listed_release_is_found_shown_and_fresh_while_its_catalog_is() {
    let store = Store::in_memory().await.unwrap();
    let publisher = key(1);
    let one = common::release(&publisher, 1);
    assert_eq!(list(&store, "home", &one).await, Admission::Newest);
    assert_eq!(list(&store, "home", &one).await, Admission::Known);

    let query = CatalogQuery {
        text: Some("tiny".to_owned()),
        ..CatalogQuery::default()
    };
    let found = store.catalog(&query, now()).await.unwrap();
    assert_eq!(found.total, 1);
    let shown = entry(&store, &publisher, 24 * 39).await.unwrap();
    assert_eq!(shown.release.as_ref().unwrap().hash(), one.0.hash());
    assert_eq!(shown.listed.as_ref().unwrap().registry, "home");
    assert!(!shown.is_stale(hours_later(24 * 39)));
    let old = entry(&store, &publisher, 24 * 41).await.unwrap();
    assert!(
        old.is_stale(hours_later(24 * 41)),
        "no news since, and not gone"
    );
    assert_eq!(old.news_since(), now());

    store.withdraw_listings("home", None).await.unwrap();
    assert_eq!(store.listed_apps("home").await.unwrap(), 0);
    let known = entry(&store, &publisher, 24 * 39).await.unwrap();
    assert!(known.listed.is_none() && known.is_stale(hours_later(24 * 39)));
}

#[tokio::test]
async fn a_registry_can_neither_roll_back_nor_jump_nor_split_an_app() {
    let store = Store::in_memory().await.unwrap();
    let publisher = key(1);
    let (old, new, far) = (
        common::release(&publisher, 4),
        common::release(&publisher, 5),
        common::release(&publisher, 5000),
    );
    assert_eq!(list(&store, "home", &new).await, Admission::Newest);
    assert_eq!(
        list(&store, "evil", &old).await,
        Admission::Older { highest_seq: 5 }
    );
    assert_eq!(
        list(&store, "evil", &far).await,
        Admission::FastForward { highest_seq: 5 }
    );
    assert_eq!(store.listed_apps("evil").await.unwrap(), 0);
    assert_eq!(
        entry(&store, &publisher, 0).await.unwrap().announcement.seq,
        5
    );

    let mut second = common::draft(publisher.did(), 5);
    second.manifest.app.tagline = "Another one".to_owned();
    let second = signed_release(&publisher, second);
    let admitted = list(&store, "evil", &second).await;
    assert!(
        matches!(admitted, Admission::Equivocation { seq: 5, .. }),
        "{admitted:?}"
    );
    assert!(
        entry(&store, &publisher, 0)
            .await
            .unwrap()
            .frozen_since
            .is_some()
    );
}

#[tokio::test]
async fn announcement_and_listing_of_one_release_agree_in_any_order() {
    let publisher = key(1);
    let one = common::release(&publisher, 1);
    let (announcement, card) = announce(&publisher, &one.0, now());
    for announced_first in [true, false] {
        let store = Store::in_memory().await.unwrap();
        let source = Source {
            relay: "ws://a".to_owned(),
            event_id: String::new(),
        };
        if !announced_first {
            list(&store, "home", &one).await;
        }
        let heard = store.admit_announcement(&announcement, &card.bytes, &source, now());
        assert_eq!(heard.await.unwrap(), Admission::Newest);
        if announced_first {
            assert_eq!(list(&store, "home", &one).await, Admission::Known);
        }
        let entry = entry(&store, &publisher, 24 * 35).await.unwrap();
        assert_eq!(
            entry.announcement.hash(),
            announcement.hash(),
            "the publisher's own card is shown"
        );
        assert!(entry.listed.is_some() && !entry.is_stale(hours_later(24 * 35)));
    }
}

#[tokio::test]
async fn what_was_listed_before_keys_changed_stays_and_what_is_listed_later_does_not() {
    let (publisher, spare, last) = (key(1), key(2), key(3));
    let first = first_state(&publisher, &[&spare]);
    let first = signed_by(&first, &[&publisher]);
    let mut keys = KeyHistory::new(publisher.did());
    keys.admit(&[&first.bytes], now()).unwrap();
    let plain = rotation(keys.newest(), &[&spare], &[&last], 1);
    let recovery = KeyState {
        floors: [("site".parse().unwrap(), 2)].into(),
        ..plain.clone()
    };
    let revoked = KeyState {
        keys: Vec::new(),
        next: Vec::new(),
        ..plain.clone()
    };
    let since = now();
    let seen = common::release(&publisher, 1);
    let late = common::release(&publisher, 2);
    for (change, standing) in [
        (plain, Standing::SeenBeforeChange { since }),
        (recovery, Standing::KeyChanged { since }),
        (revoked, Standing::SeenBeforeRevocation { since }),
    ] {
        let store = Store::in_memory().await.unwrap();
        let did = publisher.did();
        let hear = async |state: &[u8], hour| {
            let heard = store.admit_key_state(&did, state, hours_later(hour)).await;
            assert!(matches!(heard.unwrap(), KeyStateAdmission::Newest(_)));
        };
        hear(&first.bytes, 0).await;
        list(&store, "home", &seen).await;
        hear(&signed_by(&change, &[&spare]).bytes, 1).await;

        let shown = entry(&store, &publisher, 2).await.unwrap();
        assert_eq!(shown.standing, standing);
        assert_eq!(shown.release.is_some(), standing.is_acceptable());
        let query = CatalogQuery::default();
        let page = store.catalog(&query, hours_later(2)).await.unwrap();
        let in_catalog = page.entries.len() == 1;
        assert_eq!(in_catalog, standing.is_acceptable(), "{standing:?}");

        let bytes = signed(&key(9), draft(&key(9), 1, &[&late.1]));
        let catalog = verify(&bytes, &key(9), now()).unwrap();
        let keys = store.key_history(&did).await.unwrap();
        let refused = catalog.releases[0].verify(&keys, None, hours_later(2));
        assert!(matches!(
            refused,
            Err(ReleaseError::Statement(
                StatementError::KeyChanged { .. } | StatementError::Revoked { .. }
            ))
        ));
    }
}

#[tokio::test]
async fn a_release_below_its_publishers_floor_is_not_listed() {
    let store = Store::in_memory().await.unwrap();
    let publisher = key(1);
    let spare = key(2);
    let first = signed_by(&first_state(&publisher, &[&spare]), &[&publisher]);
    let mut keys = KeyHistory::new(publisher.did());
    keys.admit(&[&first.bytes], now()).unwrap();
    let recovery = KeyState {
        floors: [("site".parse().unwrap(), 5)].into(),
        ..rotation(keys.newest(), &[&spare], &[], 1)
    };
    let recovery = signed_by(&recovery, &[&spare]);
    keys.admit(&[&recovery.bytes], now()).unwrap();
    for state in [&first, &recovery] {
        let admitted = store
            .admit_key_state(&publisher.did(), &state.bytes, now())
            .await;
        assert!(matches!(admitted.unwrap(), KeyStateAdmission::Newest(_)));
    }
    let release = |seq| {
        let release = release::assemble(common::draft(publisher.did(), seq)).unwrap();
        let signed = signed_by(&release, &[&spare]);
        let verified = release::verify(&signed.bytes, keys.newest(), now()).unwrap();
        (verified, signed)
    };
    assert_eq!(
        list(&store, "home", &release(4)).await,
        Admission::Older { highest_seq: 5 }
    );
    assert!(entry(&store, &publisher, 0).await.is_none());
    assert_eq!(list(&store, "home", &release(5)).await, Admission::Newest);
}

#[tokio::test]
async fn the_same_slug_from_another_origin_is_another_app() {
    let store = Store::in_memory().await.unwrap();
    let (publisher, operator) = (key(1), key(9));
    list(&store, "home", &common::release(&publisher, 1)).await;
    assert_eq!(
        list(&store, "evil", &common::release(&operator, 900)).await,
        Admission::Newest
    );
    let kept = entry(&store, &publisher, 0).await.unwrap();
    assert_eq!(
        (kept.announcement.seq, kept.same_name_as),
        (1, vec![operator.did()])
    );
}

#[tokio::test]
async fn an_operators_catalogs_only_go_forward() {
    let store = Store::in_memory().await.unwrap();
    let operator = key(9);
    let catalog = |seq| {
        let bytes = signed(&operator, draft(&operator, seq, &[]));
        verify(&bytes, &operator, now()).unwrap()
    };
    let admit = async |catalog: &Verified<_>| store.admit_catalog(catalog, now()).await.unwrap();
    assert_eq!(admit(&catalog(7)).await, CatalogAdmission::Newest);
    assert_eq!(admit(&catalog(7)).await, CatalogAdmission::Known);
    assert_eq!(
        admit(&catalog(6)).await,
        CatalogAdmission::Older { highest_seq: 7 }
    );
    assert_eq!(
        admit(&catalog(1008)).await,
        CatalogAdmission::FastForward { highest_seq: 7 }
    );
    let mut other = draft(&operator, 7, &[]);
    other.name = "Other apps".to_owned();
    let other = verify(&signed(&operator, other), &operator, now()).unwrap();
    let first = catalog(7).hash();
    assert_eq!(
        admit(&other).await,
        CatalogAdmission::Contradiction { seq: 7, first }
    );
    assert_eq!(admit(&catalog(8)).await, CatalogAdmission::Newest);
}

#[tokio::test]
async fn bytes_that_are_not_the_releases_are_not_taken() {
    let store = Store::in_memory().await.unwrap();
    let (one, two) = (common::release(&key(1), 1), common::release(&key(1), 2));
    let listing = listing("home", 1);
    assert!(
        store
            .admit_listed(&listing, &one.0, &two.1.bytes, now())
            .await
            .is_err()
    );
    let state = KeyState::implicit(key(1).did());
    assert!(release::verify(&one.1.bytes, &state, now()).is_ok());
    assert!(store.release_bytes(&two.0.hash()).await.unwrap().is_none());
}
