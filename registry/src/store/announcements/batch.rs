//! Reads what is known of a batch of announcements, and writes what it came to: a handful of statements,
//! however many announcements.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::super::index::{self, Indexed};
use super::super::key_states::{Equivocation, frozen_since, record_equivocation};
use super::super::{Store, StoreError, from_db, hash, json, quota, to_db, to_ms};
use super::Arrival;
use super::decide::{App, Decided, Heading, Heard, Publisher};
use crate::announcement::is_listed;
use crate::did::Did;
use crate::id::Blake3Hash;

/// Apps that leave a full catalog at once, so that room is not made one by one.
const EVICTED_AT_ONCE: u64 = 1000;

/// Reads what is known of the announcements and their publishers.
pub(super) async fn read<'a>(
    store: &Store,
    connection: &mut SqliteConnection,
    arrivals: &[Arrival<'a>],
    now: Timestamp,
) -> Result<Heard<'a>, StoreError> {
    let mut heard = Heard::default();
    let mut places: HashMap<Did, usize> = HashMap::new();
    let mut dids = Vec::new();
    let mut histories = Vec::new();
    for arrival in arrivals {
        let did = arrival.announcement.publisher;
        let publisher = *places.entry(did).or_insert_with(|| {
            dids.push(did);
            dids.len() - 1
        });
        if publisher == histories.len() {
            histories.push(store.known_keys(&mut *connection, &did).await?);
        }
        let history = &histories[publisher];
        heard.arrivals.push(Heading {
            arrival: *arrival,
            publisher,
            epoch: history.epoch(&arrival.announcement.slug),
            is_linked: quota::is_linked(history.newest(), arrival.pubkey, now),
        });
    }
    let names: Vec<String> = dids.iter().map(ToString::to_string).collect();
    read_publishers(&mut *connection, &mut heard, names, now).await?;
    for (publisher, history) in heard.publishers.iter_mut().zip(&histories) {
        // Contradictions are rare, and a recovery may have settled them.
        if publisher.counts.frozen_since_ms.is_some() {
            let since = frozen_since(&mut *connection, history).await?;
            publisher.counts.frozen_since_ms = since.map(to_ms);
        }
    }
    read_apps(&mut *connection, &mut heard, now).await?;
    heard.common = quota::common(&mut *connection, now).await?;
    if heard.common.apps >= store.limits.apps && store.tight.may_evict(now) {
        let apps = heard.common.apps - store.limits.apps + EVICTED_AT_ONCE;
        let gone = quota::evict(&mut *connection, apps, now).await?;
        store.tight.evicted(gone, now);
        if gone > 0 {
            heard.common.apps = heard.common.apps.saturating_sub(gone);
            heard.apps.clear();
            heard.known.clear();
            heard.meanings.clear();
            read_apps(&mut *connection, &mut heard, now).await?;
        }
    }
    (heard.next_announcement, heard.next_app) = sqlx::query_as(
        "SELECT IFNULL((SELECT MAX(id) FROM announcements), 0) + 1,
                IFNULL((SELECT MAX(id) FROM apps), 0) + 1",
    )
    .fetch_one(connection)
    .await?;
    Ok(heard)
}

async fn read_publishers(
    connection: &mut SqliteConnection,
    heard: &mut Heard<'_>,
    names: Vec<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    let counts = quota::publisher_counts(&mut *connection, &texts, now).await?;
    let scores: Vec<(Option<i64>, Option<String>)> = sqlx::query_as(
        "SELECT s.micro_points, s.band FROM json_each(?) p
         LEFT JOIN publisher_scores s ON s.publisher = p.value ORDER BY p.key",
    )
    .bind(json(&texts))
    .fetch_all(connection)
    .await?;
    let publishers = names.into_iter().zip(counts).zip(scores);
    heard.publishers = publishers
        .map(|((did, counts), (micro_points, band))| Publisher {
            did,
            counts,
            micro_points: micro_points.unwrap_or(0),
            band: band.unwrap_or_else(|| "new".to_owned()),
        })
        .collect();
    Ok(())
}

/// What the store holds of one arrival.
#[derive(sqlx::FromRow)]
struct Row {
    known: Option<i64>,
    meaning: Option<Vec<u8>>,
    seq_highest: Option<i64>,
    app: Option<i64>,
    name: Option<String>,
    tagline: Option<String>,
    category: Option<String>,
    rights: Option<String>,
    described: Option<Vec<u8>>,
    created: Option<i64>,
    followed: Option<Vec<u8>>,
    app_today: i64,
    pubkey_today: i64,
}

const READ: &str = "WITH heard AS MATERIALIZED (
        SELECT key, unhex(value ->> 0) AS hash, value ->> 1 AS publisher, value ->> 2 AS slug,
               value ->> 3 AS epoch, value ->> 4 AS seq, value ->> 5 AS pubkey
        FROM json_each(?1))
    SELECT a.id AS known, m.release_hash AS meaning, c.seq_highest, p.id AS app, p.name, p.tagline, p.category,
           p.rights, p.described, f.created, f.hash AS followed, IFNULL(ia.kept, 0) AS app_today,
           IFNULL(ik.kept, 0) AS pubkey_today
    FROM heard h
    LEFT JOIN announcements a ON a.hash = h.hash
    LEFT JOIN first_seen m
           ON m.publisher = h.publisher AND m.slug = h.slug AND m.epoch = h.epoch AND m.seq = h.seq
    LEFT JOIN counters c ON c.publisher = h.publisher AND c.slug = h.slug AND c.epoch = h.epoch
    LEFT JOIN apps p ON p.publisher = h.publisher AND p.slug = h.slug
    LEFT JOIN announcements f ON f.id = p.announcement
    LEFT JOIN intake ia ON ia.day = ?2 AND ia.subject = 'app ' || h.publisher || '/' || h.slug
    LEFT JOIN intake ik ON ik.day = ?2 AND ik.subject = 'key ' || h.pubkey
    ORDER BY h.key";

async fn read_apps(
    connection: &mut SqliteConnection,
    heard: &mut Heard<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let asked: Vec<_> = heard
        .arrivals
        .iter()
        .map(|heading| {
            let announcement = heading.arrival.announcement;
            (
                announcement.hash().to_string(),
                &heard.publishers[heading.publisher].did,
                announcement.slug.as_str(),
                heading.epoch,
                announcement.seq,
                heading.arrival.pubkey,
            )
        })
        .collect();
    let rows: Vec<Row> = sqlx::query_as(READ)
        .bind(json(&asked))
        .bind(quota::day(now))
        .fetch_all(connection)
        .await?;
    for (heading, row) in heard.arrivals.iter().zip(rows) {
        let announcement = heading.arrival.announcement;
        let slug = announcement.slug.as_str();
        if let Some(id) = row.known {
            heard.known.insert(announcement.hash(), id);
        }
        if let Some(meaning) = row.meaning {
            let key = (heading.publisher, slug, announcement.seq);
            heard.meanings.insert(key, hash(&meaning)?);
        }
        if let Some(pubkey) = heading.arrival.pubkey {
            heard
                .pubkeys
                .insert(pubkey, row.pubkey_today.unsigned_abs());
        }
        let seq_highest = row.seq_highest.map(from_db).transpose()?;
        let texts = (row.name, row.tagline, row.category);
        heard.apps.insert(
            (heading.publisher, slug),
            App {
                id: row.app,
                followed: row.created.zip(row.followed),
                shown: match texts {
                    (Some(name), Some(tagline), Some(category)) => Some([name, tagline, category]),
                    _ => None,
                },
                rights: row.rights,
                described: row.described,
                seq_highest: seq_highest
                    .map(|seq| (heading.epoch, seq))
                    .into_iter()
                    .collect(),
                today: row.app_today.unsigned_abs(),
                change: None,
            },
        );
    }
    Ok(())
}

/// Writes what a batch came to.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    decided: &Decided<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    write_announcements(&mut *connection, decided, now).await?;
    write_counters(&mut *connection, decided, now).await?;
    write_apps(&mut *connection, decided, now).await?;
    for (place, first) in &decided.contradictions {
        let heading = &decided.heard.arrivals[*place];
        let announcement = heading.arrival.announcement;
        let proof: Vec<u8> = sqlx::query_scalar(
            "SELECT bytes FROM announcements
             WHERE publisher = ? AND slug = ? AND seq = ? AND release_hash = ? ORDER BY id LIMIT 1",
        )
        .bind(&decided.heard.publishers[heading.publisher].did)
        .bind(announcement.slug.as_str())
        .bind(to_db(announcement.seq))
        .bind(first.as_bytes().as_slice())
        .fetch_one(&mut *connection)
        .await?;
        let proof = signed(&mut *connection, proof, *first).await?;
        let release = announcement.release.blake3;
        let second = signed(&mut *connection, heading.arrival.bytes.to_vec(), release).await?;
        let equivocation = Equivocation {
            subject: "release",
            seq: announcement.seq,
            app: Some((&announcement.slug, heading.epoch)),
            first: &proof,
            second: &second,
        };
        record_equivocation(
            &mut *connection,
            &announcement.publisher,
            &equivocation,
            now,
        )
        .await?;
    }
    Ok(())
}

/// Returns what the publisher signed: the announcement, or behind the card of a listed release the release.
async fn signed(
    connection: &mut SqliteConnection,
    card: Vec<u8>,
    release: Blake3Hash,
) -> Result<Vec<u8>, StoreError> {
    if !is_listed(&card) {
        return Ok(card);
    }
    let kept: Option<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM releases WHERE hash = ?")
        .bind(release.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(kept.unwrap_or(card))
}

async fn write_announcements(
    connection: &mut SqliteConnection,
    decided: &Decided<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let heard = &decided.heard;
    if !decided.announcements.is_empty() {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO announcements
             (id, publisher, slug, seq, hash, release_hash, created, expires, bytes, first_seen_at) ",
        );
        insert.push_values(&decided.announcements, |mut row, (id, place)| {
            let heading = &heard.arrivals[*place];
            let announcement = heading.arrival.announcement;
            row.push_bind(*id)
                .push_bind(heard.publishers[heading.publisher].did.as_str())
                .push_bind(announcement.slug.as_str())
                .push_bind(to_db(announcement.seq))
                .push_bind(announcement.hash().as_bytes().to_vec())
                .push_bind(announcement.release.blake3.as_bytes().as_slice())
                .push_bind(to_ms(announcement.created))
                .push_bind(to_ms(announcement.expires))
                .push_bind(heading.arrival.bytes)
                .push_bind(to_ms(now));
        });
        insert
            .build()
            .persistent(false)
            .execute(&mut *connection)
            .await?;
    }
    if !decided.hearings.is_empty() {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT OR IGNORE INTO hearings (announcement, relay, event_id, heard_at) ",
        );
        insert.push_values(&decided.hearings, |mut row, (id, place)| {
            let source = heard.arrivals[*place].arrival.source;
            row.push_bind(*id)
                .push_bind(source.relay.as_str())
                .push_bind(source.event_id.as_str())
                .push_bind(to_ms(now));
        });
        insert.build().persistent(false).execute(connection).await?;
    }
    Ok(())
}

async fn write_counters(
    connection: &mut SqliteConnection,
    decided: &Decided<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let heard = &decided.heard;
    if !decided.sightings.is_empty() {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO first_seen (publisher, slug, epoch, seq, release_hash, first_seen_at) ",
        );
        insert.push_values(&decided.sightings, |mut row, place| {
            let heading = &heard.arrivals[*place];
            let announcement = heading.arrival.announcement;
            row.push_bind(heard.publishers[heading.publisher].did.as_str())
                .push_bind(announcement.slug.as_str())
                .push_bind(to_db(heading.epoch))
                .push_bind(to_db(announcement.seq))
                .push_bind(announcement.release.blake3.as_bytes().as_slice())
                .push_bind(to_ms(now));
        });
        insert
            .build()
            .persistent(false)
            .execute(&mut *connection)
            .await?;
    }
    if !decided.counters.is_empty() {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT OR REPLACE INTO counters (publisher, slug, epoch, seq_highest) ",
        );
        insert.push_values(&decided.counters, |mut row, (key, epoch)| {
            let highest = heard
                .apps
                .get(key)
                .and_then(|app| app.seq_highest.get(epoch));
            row.push_bind(heard.publishers[key.0].did.as_str())
                .push_bind(key.1)
                .push_bind(to_db(*epoch))
                .push_bind(to_db(highest.copied().unwrap_or_default()));
        });
        insert
            .build()
            .persistent(false)
            .execute(&mut *connection)
            .await?;
    }
    if !decided.intake.is_empty() {
        quota::forget_days(&mut *connection, now).await?;
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO intake (day, subject, kept) ");
        insert.push_values(&decided.intake, |mut row, (subject, kept)| {
            row.push_bind(quota::day(now))
                .push_bind(subject.as_str())
                .push_bind(to_db(*kept));
        });
        insert.push(" ON CONFLICT DO UPDATE SET kept = kept + excluded.kept");
        insert.build().persistent(false).execute(connection).await?;
    }
    Ok(())
}

async fn write_apps(
    connection: &mut SqliteConnection,
    decided: &Decided<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let heard = &decided.heard;
    let changes: Vec<_> = heard
        .apps
        .iter()
        .filter_map(|((publisher, slug), app)| {
            let change = app.change.as_ref()?;
            Some((&heard.publishers[*publisher], *slug, app, app.id?, change))
        })
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    let facets = changes.iter().map(|(.., change)| &change.facet);
    let facets = index::insert_facets(&mut *connection, facets).await?;
    let mut insert = QueryBuilder::<Sqlite>::new(
        "INSERT INTO apps (id, publisher, slug, name, category, announcement, first_seen_at, indexed, name_key,
                           tagline, announced_at, micro_points, band, rights, facet) ",
    );
    insert.push_values(&changes, |mut row, (publisher, slug, app, id, change)| {
        let card = &change.arrival.announcement.card;
        row.push_bind(*id)
            .push_bind(publisher.did.as_str())
            .push_bind(*slug)
            .push_bind(card.name.as_str())
            .push_bind(card.category.as_str())
            .push_bind(change.announcement)
            .push_bind(to_ms(now))
            .push("1")
            .push_bind(change.name_key.as_str())
            .push_bind(card.tagline.as_str())
            .push_bind(to_ms(now))
            .push_bind(publisher.micro_points)
            .push_bind(publisher.band.as_str())
            .push_bind(app.rights.as_deref())
            .push_bind(facets.get(&change.facet).copied());
    });
    insert.push(
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name, category = excluded.category,
              announcement = excluded.announcement, name_key = excluded.name_key, tagline = excluded.tagline,
              announced_at = excluded.announced_at, rights = excluded.rights,
              facet = excluded.facet",
    );
    insert
        .build()
        .persistent(false)
        .execute(&mut *connection)
        .await?;
    let mut texts = Vec::new();
    for (_, slug, app, id, change) in changes.iter().filter(|(.., change)| change.texts) {
        // The description stays that of the earlier release until the new one is here.
        let description = match &app.described {
            Some(release) => index::stored_description(&mut *connection, release).await?,
            None => String::new(),
        };
        let card = &change.arrival.announcement.card;
        texts.push(Indexed {
            id: *id,
            name: &card.name,
            slug,
            tagline: &card.tagline,
            category: &card.category,
            description,
        });
    }
    index::write(connection, &texts).await
}
