//! A database of the first version, with data, opened by this one.

use std::path::{Path, PathBuf};

use archy_registry::store::{
    Admission, Arrival, Limits, LogEntry, OverQuota, Quota, Search, Source,
};
use archy_registry::{Blake3Hash, SigningKey, Store};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};

use crate::common::{announce, draft, hours_later, key, now, signed_release};

/// Makes a database as it was when `migrations` were all there were.
async fn database(dir: &Path, migrations: &[&str]) -> (PathBuf, SqliteConnection) {
    let then = dir.join("migrations");
    std::fs::create_dir(&then).unwrap();
    let now = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    for name in migrations {
        std::fs::copy(format!("{now}/{name}"), then.join(name)).unwrap();
    }
    let path = dir.join("archy.db");
    let mut old = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    let migrator = Migrator::new(then).await.unwrap();
    migrator.run(&mut old).await.unwrap();
    (path, old)
}

#[tokio::test]
async fn the_indexes_are_filled_from_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut old) = database(dir.path(), &["0001_store.sql"]).await;

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

/// Hears an announcement of `seq` of an app.
async fn hear(store: &Store, key: &SigningKey, slug: &str, seq: u64) -> Admission {
    let mut draft = draft(key.did(), seq);
    draft.manifest.app.id = slug.parse().unwrap();
    let (release, _) = signed_release(key, draft);
    let (announcement, signed) = announce(key, &release, now());
    let source = Source {
        relay: "ws://a".to_owned(),
        event_id: String::new(),
    };
    let arrival = Arrival {
        announcement: &announcement,
        bytes: &signed.bytes,
        source: &source,
        pubkey: None,
    };
    let mut admitted = store.admit_announcements(&[arrival], now()).await.unwrap();
    admitted.remove(0)
}

#[tokio::test]
async fn what_seqs_mean_and_how_far_they_came_is_known_after_apps_got_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let before = [
        "0001_store.sql",
        "0002_keys.sql",
        "0003_trust.sql",
        "0004_search.sql",
        "0005_registries.sql",
        "0006_scores_due.sql",
    ];
    let (path, mut old) = database(dir.path(), &before).await;
    let (one, two) = (key(1), key(2));
    let (publisher, other) = (one.did().to_string(), two.did().to_string());
    let day = now().as_second() / (24 * 60 * 60);
    let release_of = |key: &SigningKey, slug: &str, seq| {
        let mut draft = draft(key.did(), seq);
        draft.manifest.app.id = slug.parse().unwrap();
        signed_release(key, draft).0.hash()
    };
    // Two publishers with an app of one name, one of them in the catalog; an app that was only seen.
    let seen = Blake3Hash::of(b"another release");
    for (id, slug, seq, release) in [
        (3, "site", 6, release_of(&one, "site", 6)),
        (4, "seen", 9, seen),
    ] {
        sqlx::query(
            "INSERT INTO announcements (id, publisher, slug, seq, hash, release_hash, created, expires, bytes,
                                        first_seen_at) VALUES (?, ?, ?, ?, randomblob(32), ?, 0, 0, x'7b7d', 0)",
        )
        .bind(id)
        .bind(&publisher)
        .bind(slug)
        .bind(seq)
        .bind(release.as_bytes().as_slice())
        .execute(&mut old)
        .await
        .unwrap();
    }
    sqlx::query(
        "INSERT INTO apps (id, publisher, slug, name, category, announcement, first_seen_at, indexed)
         VALUES (41, ?, 'site', 'Site', 'other', 3, 0, 1)",
    )
    .bind(&publisher)
    .execute(&mut old)
    .await
    .unwrap();
    for (publisher, slug, seq, release) in [
        (&publisher, "site", 5, release_of(&one, "site", 5)),
        (&publisher, "site", 6, release_of(&one, "site", 6)),
        (&publisher, "seen", 9, seen),
        (&other, "site", 2, release_of(&two, "site", 2)),
    ] {
        sqlx::query("INSERT INTO first_seen VALUES (?, ?, 0, ?, ?, ?)")
            .bind(publisher)
            .bind(slug)
            .bind(seq)
            .bind(release.as_bytes().as_slice())
            .bind(now().as_millisecond())
            .execute(&mut old)
            .await
            .unwrap();
    }
    for (publisher, slug, highest) in [(&publisher, "site", 6), (&other, "site", 2)] {
        sqlx::query("INSERT INTO counters VALUES (?, ?, 0, ?)")
            .bind(publisher)
            .bind(slug)
            .bind(highest)
            .execute(&mut old)
            .await
            .unwrap();
    }
    for (subject, kept) in [
        (format!("app {publisher}/site"), 3),
        (format!("app {other}/site"), 1),
        ("new".to_owned(), 2),
        (format!("key {}", "a".repeat(64)), 4),
    ] {
        sqlx::query("INSERT INTO intake VALUES (?, ?, ?)")
            .bind(day)
            .bind(subject)
            .bind(kept)
            .execute(&mut old)
            .await
            .unwrap();
    }
    sqlx::Connection::close(old).await.unwrap();

    let limits = Limits {
        announcements_per_app_and_day: 5,
        ..Limits::default()
    };
    let store = Store::open(&path).await.unwrap().with_limits(limits);
    // No seq goes back, and none means another release than it did.
    assert_eq!(
        hear(&store, &one, "site", 4).await,
        Admission::Older { highest_seq: 6 }
    );
    assert_eq!(hear(&store, &two, "site", 3).await, Admission::Newest);
    assert_eq!(hear(&store, &one, "site", 7).await, Admission::Newest);
    // Three were taken in before, two since.
    let refused = OverQuota {
        quota: Quota::AppDay,
        limit: 5,
    };
    assert_eq!(
        hear(&store, &one, "site", 8).await,
        Admission::OverQuota(refused)
    );
    let seen = store.evidence(&one.did()).await.unwrap().sightings;
    let mut seen: Vec<_> = seen
        .iter()
        .map(|sighting| (sighting.app.to_string(), sighting.seq))
        .collect();
    seen.sort();
    let site = |seq| ("site".to_owned(), seq);
    assert_eq!(
        seen,
        [("seen".to_owned(), 9), site(4), site(5), site(6), site(7)]
    );
    let log = store.history(&two.did(), 0, None).await.unwrap();
    let logged = log.iter().filter_map(|row| match &row.entry {
        LogEntry::FirstSeen { app, seq } => Some((app.to_string(), *seq)),
        LogEntry::Event { .. }
        | LogEntry::Contradiction { .. }
        | LogEntry::KeyState { .. }
        | LogEntry::Vote { .. } => None,
    });
    assert_eq!(logged.collect::<Vec<_>>(), [site(3), site(2)]);
    // Whose score rests on what was seen is scored again.
    assert!(store.rescore_due(10, hours_later(1)).await.unwrap() >= 2);
    assert!(matches!(
        hear(&store, &one, "seen", 9).await,
        Admission::Equivocation { seq: 9, .. }
    ));
    store.close().await;

    let mut raw = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    let number = "SELECT id FROM app_ids WHERE publisher = ? AND slug = 'site'";
    let number: i64 = sqlx::query_scalar(number)
        .bind(&publisher)
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(number, 41);
    let kept: i64 = sqlx::query_scalar("SELECT SUM(kept) FROM intake")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    // The second app of the second publisher is new in the catalog.
    assert_eq!(kept, 4 + 2 + 1);
    for statement in ["UPDATE app_ids SET slug = 'x'", "DELETE FROM app_ids"] {
        let refused = sqlx::query(statement).execute(&mut raw).await.unwrap_err();
        assert!(refused.to_string().contains("never"), "{statement}");
    }
}
