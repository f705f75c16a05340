//! What the catalog shows and finds.

use archy_registry::manifest::Category;
use archy_registry::store::{CatalogQuery, Source};
use archy_registry::{SigningKey, Store};

use crate::common::{announce, draft, key, now, signed_release};

async fn offer(
    store: &Store,
    key: &SigningKey,
    slug: &str,
    name: &str,
    tagline: &str,
    category: Category,
) {
    let mut draft = draft(key.did(), 1);
    let app = &mut draft.manifest.app;
    app.id = slug.parse().unwrap();
    app.name = name.to_owned();
    app.tagline = tagline.to_owned();
    app.category = category;
    let (release, bytes) = signed_release(key, draft);
    let (announcement, card) = announce(key, &release, now());
    let source = Source {
        relay: "ws://a".to_owned(),
        event_id: String::new(),
    };
    store
        .admit_announcement(&announcement, &card.bytes, &source, now())
        .await
        .unwrap();
    store
        .admit_release(&release, &bytes.bytes, now())
        .await
        .unwrap();
}

async fn shelf() -> Store {
    let store = Store::in_memory().await.unwrap();
    let (one, two) = (key(1), key(2));
    offer(
        &store,
        &one,
        "radicale",
        "Radicale",
        "Calendars and contacts",
        Category::Productivity,
    )
    .await;
    offer(
        &store,
        &one,
        "syncthing",
        "Syncthing",
        "Files in sync, without a cloud",
        Category::Files,
    )
    .await;
    offer(
        &store,
        &one,
        "cafe",
        "Café Finder",
        "Finds a café; 100% offline",
        Category::Other,
    )
    .await;
    offer(
        &store,
        &two,
        "syncthing",
        "SyncThing Pro",
        "The very same, honest",
        Category::Files,
    )
    .await;
    store
}

async fn find(store: &Store, query: CatalogQuery) -> (Vec<String>, u32) {
    let page = store.catalog(&query, now()).await.unwrap();
    let names = page
        .entries
        .iter()
        .map(|entry| entry.announcement.card.name.clone());
    (names.collect(), page.total)
}

fn text(text: &str) -> CatalogQuery {
    CatalogQuery {
        text: Some(text.to_owned()),
        ..CatalogQuery::default()
    }
}

#[tokio::test]
async fn search_finds_words_by_their_start_in_every_field() {
    let store = shelf().await;
    for (query, expected) in [
        ("radi", vec!["Radicale"]),
        ("CONTACTS calen", vec!["Radicale"]),
        ("cafe", vec!["Café Finder"]),
        ("café", vec!["Café Finder"]),
        ("productivity", vec!["Radicale"]),
        ("cloud", vec!["Syncthing"]),
        ("nothing-like-it", vec![]),
        ("calendars cloud", vec![]),
    ] {
        let (names, total) = find(&store, text(query)).await;
        assert_eq!(names, expected, "{query}");
        assert_eq!(total as usize, expected.len(), "{query}");
    }
    let (names, _) = find(&store, text("sync")).await;
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn nothing_that_a_person_types_is_syntax() {
    let store = shelf().await;
    for query in [
        "\"",
        "'",
        "*",
        "name:",
        "NEAR(a b)",
        "a OR",
        "-",
        "^",
        "\0",
        "(((",
        "100%",
        "a\"b",
    ] {
        store.catalog(&text(query), now()).await.unwrap();
    }
    assert_eq!(
        find(&store, text(" \" * ")).await.1,
        4,
        "no word means no search"
    );
    let long = "word ".repeat(10_000);
    assert_eq!(find(&store, text(&long)).await.1, 0);
}

#[tokio::test]
async fn pages_follow_each_other_in_order_of_names() {
    let store = shelf().await;
    let page = |offset, limit| CatalogQuery {
        offset,
        limit,
        ..CatalogQuery::default()
    };
    let (all, total) = find(&store, page(0, 0)).await;
    assert_eq!(
        all,
        ["Café Finder", "Radicale", "Syncthing", "SyncThing Pro"]
    );
    assert_eq!(total, 4);
    assert_eq!(find(&store, page(1, 2)).await, (all[1..3].to_vec(), 4));
    assert_eq!(find(&store, page(4, 2)).await, (vec![], 4));
    let files = CatalogQuery {
        category: Some(Category::Files),
        ..page(0, 1)
    };
    assert_eq!(find(&store, files).await, (vec!["Syncthing".to_owned()], 2));
    let theirs = CatalogQuery {
        publisher: Some(key(2).did()),
        ..page(0, 0)
    };
    assert_eq!(
        find(&store, theirs).await,
        (vec!["SyncThing Pro".to_owned()], 1)
    );
}

#[tokio::test]
async fn an_app_of_the_same_name_is_another_app_and_says_so() {
    let store = shelf().await;
    let page = store.catalog(&text("sync"), now()).await.unwrap();
    for entry in &page.entries {
        let other = if entry.announcement.publisher == key(1).did() {
            key(2)
        } else {
            key(1)
        };
        assert_eq!(entry.same_name_as, [other.did()]);
        assert!(entry.release.is_some());
    }
    let page = store.catalog(&text("radicale"), now()).await.unwrap();
    assert!(page.entries[0].same_name_as.is_empty());
}

#[tokio::test]
async fn a_release_that_is_not_the_announced_one_is_not_shown() {
    let store = Store::in_memory().await.unwrap();
    let key = key(1);
    let (release, bytes) = signed_release(&key, draft(key.did(), 1));
    let mut announcement = announce(&key, &release, now()).0.into_inner();
    announcement.card.name = "Another Name".to_owned();
    let signed = archy_registry::sign(&announcement, &key, now()).unwrap();
    let state = store.key_state(&key.did()).await.unwrap();
    let lying = archy_registry::announcement::verify(&signed.bytes, &state, now()).unwrap();
    let source = Source {
        relay: String::new(),
        event_id: String::new(),
    };
    store
        .admit_announcement(&lying, &signed.bytes, &source, now())
        .await
        .unwrap();
    store
        .admit_release(&release, &bytes.bytes, now())
        .await
        .unwrap();
    let entry = store.app(&lying.app(), now()).await.unwrap().unwrap();
    assert_eq!(entry.release, None);
}
