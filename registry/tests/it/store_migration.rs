//! A database of the first version, with data, opened by this one.

use archy_registry::store::{Search, Source};
use archy_registry::{Blake3Hash, Store};
use sqlx::ConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;

use crate::common::{announce, draft, key, now, signed_release};

#[tokio::test]
async fn the_indexes_are_filled_from_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("first");
    std::fs::create_dir(&first).unwrap();
    let migrations = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let name = "0001_store.sql";
    std::fs::copy(format!("{migrations}/{name}"), first.join(name)).unwrap();
    let path = dir.path().join("archy.db");
    let mut old = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    Migrator::new(first)
        .await
        .unwrap()
        .run(&mut old)
        .await
        .unwrap();

    let key = key(1);
    let mut draft = draft(key.did(), 3);
    draft.manifest.app.description = "Serves a page about lighthouses.".to_owned();
    let (release, bytes) = signed_release(&key, draft);
    let (announcement, card) = announce(&key, &release, now());
    let (hash, publisher) = (Blake3Hash::of(&card.bytes), key.did().to_string());
    sqlx::query(
        "INSERT INTO announcements (id, publisher, slug, seq, hash, release_hash, created, expires, bytes,
                                    first_seen_at) VALUES (7, ?, 'site', 3, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&publisher)
    .bind(hash.as_bytes().as_slice())
    .bind(release.hash().as_bytes().as_slice())
    .bind(announcement.created.as_millisecond())
    .bind(announcement.expires.as_millisecond())
    .bind(&card.bytes)
    .bind(now().as_millisecond())
    .execute(&mut old)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO releases (hash, publisher, slug, seq, bytes, key_state_seq, admitted_at)
         VALUES (?, ?, 'site', 3, ?, 0, ?)",
    )
    .bind(release.hash().as_bytes().as_slice())
    .bind(&publisher)
    .bind(&bytes.bytes)
    .bind(now().as_millisecond())
    .execute(&mut old)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO apps (publisher, slug, name, category, announcement, first_seen_at)
         VALUES (?, 'site', 'Tiny Site', 'publishing', 7, ?)",
    )
    .bind(&publisher)
    .bind(now().as_millisecond())
    .execute(&mut old)
    .await
    .unwrap();
    sqlx::Connection::close(old).await.unwrap();

    let store = Store::open(&path).await.unwrap();
    for text in ["", "tin", "hello", "lighthouses", "publishing", "tniy"] {
        let search = Search {
            text: text.to_owned(),
            ..Search::default()
        };
        let found = store.search(&search).await.unwrap();
        assert_eq!(found.total, 1, "{text}");
        assert_eq!(found.hits[0].announcement, *announcement);
    }
    // And it lives on: the same announcement is known, heard of elsewhere or not.
    let source = Source {
        relay: "ws://b".to_owned(),
        event_id: String::new(),
    };
    store
        .admit_announcement(&announcement, &card.bytes, &source, now())
        .await
        .unwrap();
    assert_eq!(store.search(&Search::default()).await.unwrap().total, 1);
}
