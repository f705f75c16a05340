//! Reads what is known of a batch of announcements, and writes what it came to: a handful of statements,
//! however many announcements.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::Deserialize;
use sqlx::SqliteConnection;

use super::super::index::{self, Indexed};
use super::super::key_states::{Equivocation, frozen_since, record_equivocation};
use super::super::{Store, StoreError, from_db, json, parse, quota, rows, to_db, to_ms};
use super::Arrival;
use super::decide::{Decided, Heading, Heard, Publisher};
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
    read_pubkeys(&mut *connection, &mut heard, now).await?;
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
                IFNULL((SELECT MAX(id) FROM app_ids), 0) + 1",
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
    let counts = quota::publisher_counts(connection, &texts, now).await?;
    heard.publishers = names
        .into_iter()
        .zip(counts)
        .map(|(did, counts)| Publisher { did, counts })
        .collect();
    Ok(())
}

/// What the store holds of an arrival, in the order in which [`READ`] writes it.
#[derive(Deserialize)]
struct Row<'a> {
    place: usize,
    known: Option<i64>,
    app: Option<i64>,
    #[serde(borrow)]
    meaning: &'a str,
    seq_highest: Option<i64>,
    is_shown: u8,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tagline: Option<Cow<'a, str>>,
    #[serde(borrow)]
    category: Option<Cow<'a, str>>,
    #[serde(borrow)]
    rights: Option<Cow<'a, str>>,
    facet: Option<i64>,
    created: Option<i64>,
    #[serde(borrow)]
    followed: &'a str,
    app_today: i64,
}

const HEARD: &str = "WITH heard (place, hash, publisher, slug, epoch, seq) AS (";

// One answer as JSON: handing rows through the driver takes longer than reading them. What is followed matters for
// the same seq only.
const READ: &str = ") SELECT json_group_array(json_array(
           h.place, a.id, k.id, lower(hex(m.release_hash)), c.seq_highest, p.id IS NOT NULL, p.name, p.tagline,
           p.category, p.rights, p.facet, f.created, lower(hex(f.hash)), IFNULL(i.kept, 0)))
    FROM heard h
    LEFT JOIN announcements a ON a.hash = h.hash
    LEFT JOIN app_ids k ON k.publisher = h.publisher AND k.slug = h.slug
    LEFT JOIN first_seen m ON m.app = k.id AND m.epoch = h.epoch AND m.seq = h.seq
    LEFT JOIN counters c ON c.app = k.id AND c.epoch = h.epoch
    LEFT JOIN apps p ON p.id = k.id
    LEFT JOIN announcements f ON f.id = iif(c.seq_highest = h.seq, p.announcement, NULL)
    LEFT JOIN app_intake i ON i.app = k.id AND i.day = ";

async fn read_apps(
    connection: &mut SqliteConnection,
    heard: &mut Heard<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let places: Vec<usize> = (0..heard.arrivals.len()).collect();
    let answers = rows::ask(
        connection,
        HEARD,
        &places,
        |mut row, place| {
            let heading = &heard.arrivals[*place];
            let announcement = heading.arrival.announcement;
            row.push_bind(to_db(*place as u64))
                .push_bind(announcement.hash().as_bytes().as_slice())
                .push_bind(heard.publishers[heading.publisher].did.as_str())
                .push_bind(announcement.slug.as_str())
                .push_bind(to_db(heading.epoch))
                .push_bind(to_db(announcement.seq));
        },
        |question| {
            question.push(READ).push_bind(quota::day(now));
        },
    )
    .await?;
    for answer in &answers {
        let rows: Vec<Row<'_>> = super::super::answer("catalog", answer)?;
        for row in rows {
            take_in(heard, row)?;
        }
    }
    Ok(())
}

fn take_in(heard: &mut Heard<'_>, row: Row<'_>) -> Result<(), StoreError> {
    let heading = &heard.arrivals[row.place];
    let announcement = heading.arrival.announcement;
    let slug = announcement.slug.as_str();
    if let Some(id) = row.known {
        heard.known.insert(announcement.hash(), id);
    }
    if !row.meaning.is_empty() {
        let key = (heading.publisher, slug, announcement.seq);
        heard.meanings.insert(key, parse("hash", row.meaning)?);
    }
    let app = heard.apps.entry((heading.publisher, slug)).or_default();
    if let Some(created) = row.created {
        app.followed = Some((created, parse("hash", row.followed)?));
    }
    if let Some(seq_highest) = row.seq_highest {
        app.seq_highest.insert(heading.epoch, from_db(seq_highest)?);
    }
    app.id = row.app;
    app.is_shown = row.is_shown != 0;
    app.facet = row.facet;
    app.today = row.app_today.unsigned_abs();
    app.rights = row.rights.map(Cow::into_owned);
    app.shown = match (row.name, row.tagline, row.category) {
        (Some(name), Some(tagline), Some(category)) => {
            Some([name, tagline, category].map(|text| Cow::Owned(text.into_owned())))
        }
        _ => None,
    };
    Ok(())
}

const READ_PUBKEYS: &str = "SELECT json_group_array(json_array(k.key, i.kept))
    FROM json_each(?1) k CROSS JOIN intake i ON i.day = ?2 AND i.subject = 'key ' || k.value";

/// Reads what the Nostr keys of the batch carried today.
async fn read_pubkeys(
    connection: &mut SqliteConnection,
    heard: &mut Heard<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Of linked keys nothing is counted.
    let unlinked = heard.arrivals.iter().filter(|heading| !heading.is_linked);
    let mut pubkeys: Vec<&str> = unlinked
        .filter_map(|heading| heading.arrival.pubkey)
        .collect();
    pubkeys.sort_unstable();
    pubkeys.dedup();
    if pubkeys.is_empty() {
        return Ok(());
    }
    let answer: String = sqlx::query_scalar(READ_PUBKEYS)
        .bind(json(&pubkeys))
        .bind(quota::day(now))
        .fetch_one(connection)
        .await?;
    let carried: Vec<(usize, i64)> = super::super::answer("intake", &answer)?;
    heard.pubkeys = carried
        .into_iter()
        .filter_map(|(place, kept)| Some((*pubkeys.get(place)?, kept.unsigned_abs())))
        .collect();
    Ok(())
}

/// Writes what a batch came to.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    decided: &Decided<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    write_numbers(&mut *connection, decided).await?;
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
    rows::insert(
        &mut *connection,
        "INSERT OR FAIL INTO announcements
         (id, publisher, slug, seq, hash, release_hash, created, expires, bytes, first_seen_at)",
        &decided.announcements,
        "",
        |mut row, (id, place)| {
            let heading = &heard.arrivals[*place];
            let announcement = heading.arrival.announcement;
            row.push_bind(*id)
                .push_bind(heard.publishers[heading.publisher].did.as_str())
                .push_bind(announcement.slug.as_str())
                .push_bind(to_db(announcement.seq))
                .push_bind(announcement.hash().as_bytes().as_slice())
                .push_bind(announcement.release.blake3.as_bytes().as_slice())
                .push_bind(to_ms(announcement.created))
                .push_bind(to_ms(announcement.expires))
                .push_bind(heading.arrival.bytes)
                .push_bind(to_ms(now));
        },
    )
    .await?;
    rows::insert(
        connection,
        "INSERT OR IGNORE INTO hearings (announcement, relay, event_id, heard_at)",
        &decided.hearings,
        "",
        |mut row, (id, place)| {
            let source = heard.arrivals[*place].arrival.source;
            row.push_bind(*id)
                .push_bind(source.relay.as_str())
                .push_bind(source.event_id.as_str())
                .push_bind(to_ms(now));
        },
    )
    .await
}

/// Writes the numbers that apps got.
async fn write_numbers(
    connection: &mut SqliteConnection,
    decided: &Decided<'_>,
) -> Result<(), StoreError> {
    let heard = &decided.heard;
    let unheard_of = heard.apps.iter().filter(|(_, app)| app.is_unheard_of);
    let mut numbered: Vec<_> = unheard_of
        .filter_map(|((publisher, slug), app)| Some((app.id?, *publisher, *slug)))
        .collect();
    numbered.sort_unstable();
    rows::insert(
        connection,
        "INSERT OR FAIL INTO app_ids (id, publisher, slug)",
        &numbered,
        "",
        |mut row, (id, publisher, slug)| {
            row.push_bind(*id)
                .push_bind(heard.publishers[*publisher].did.as_str())
                .push_bind(*slug);
        },
    )
    .await
}

async fn write_counters(
    connection: &mut SqliteConnection,
    decided: &Decided<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let heard = &decided.heard;
    let mut sightings = decided.sightings.clone();
    sightings.sort_unstable();
    rows::insert(
        &mut *connection,
        "INSERT OR FAIL INTO first_seen (app, epoch, seq, release_hash, first_seen_at)",
        &sightings,
        "",
        |mut row, (app, place)| {
            let heading = &heard.arrivals[*place];
            let announcement = heading.arrival.announcement;
            row.push_bind(*app)
                .push_bind(to_db(heading.epoch))
                .push_bind(to_db(announcement.seq))
                .push_bind(announcement.release.blake3.as_bytes().as_slice())
                .push_bind(to_ms(now));
        },
    )
    .await?;
    let publishers = sightings
        .iter()
        .map(|(_, place)| heard.arrivals[*place].publisher);
    let due: BTreeSet<usize> = publishers.collect();
    let due: Vec<usize> = due.into_iter().collect();
    rows::insert(
        &mut *connection,
        "INSERT OR IGNORE INTO scores_due (publisher)",
        &due,
        "",
        |mut row, publisher| {
            row.push_bind(heard.publishers[*publisher].did.as_str());
        },
    )
    .await?;
    let mut counters: Vec<_> = decided.counters.iter().collect();
    counters.sort_unstable();
    rows::insert(
        &mut *connection,
        "INSERT INTO counters (app, epoch, seq_highest)",
        &counters,
        " ON CONFLICT DO UPDATE SET seq_highest = excluded.seq_highest",
        |mut row, ((app, epoch), highest)| {
            row.push_bind(*app)
                .push_bind(to_db(*epoch))
                .push_bind(to_db(**highest));
        },
    )
    .await?;
    write_intake(connection, decided, now).await
}

async fn write_intake(
    connection: &mut SqliteConnection,
    decided: &Decided<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if decided.kept.is_empty() {
        return Ok(());
    }
    let day = quota::day(now);
    quota::forget_days(&mut *connection, now).await?;
    let mut apps: Vec<_> = decided.kept.iter().collect();
    apps.sort_unstable();
    rows::insert(
        &mut *connection,
        "INSERT INTO app_intake (day, app, kept)",
        &apps,
        " ON CONFLICT DO UPDATE SET kept = kept + excluded.kept",
        |mut row, (app, kept)| {
            row.push_bind(day).push_bind(**app).push_bind(to_db(**kept));
        },
    )
    .await?;
    let pubkeys = decided.carried.iter();
    let pubkeys = pubkeys.map(|(pubkey, kept)| (quota::pubkey_subject(pubkey), *kept));
    let new_apps = [(quota::NEW_APPS.to_owned(), decided.new_apps)];
    let new_apps = new_apps.into_iter().filter(|(_, apps)| *apps > 0);
    let subjects: Vec<(String, u64)> = pubkeys.chain(new_apps).collect();
    rows::insert(
        connection,
        "INSERT INTO intake (day, subject, kept)",
        &subjects,
        " ON CONFLICT DO UPDATE SET kept = kept + excluded.kept",
        |mut row, (subject, kept)| {
            row.push_bind(day)
                .push_bind(subject.as_str())
                .push_bind(to_db(*kept));
        },
    )
    .await
}

async fn write_apps(
    connection: &mut SqliteConnection,
    decided: &Decided<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let heard = &decided.heard;
    let mut changes: Vec<_> = heard
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
    changes.sort_unstable_by_key(|(_, _, _, id, _)| *id);
    let facets = changes.iter().map(|(.., change)| &change.facet);
    let facets = index::insert_facets(&mut *connection, facets).await?;
    // Most of what is heard is a newer version of a known app: its texts, and what it is filtered by, stay.
    let (same, changed): (Vec<_>, Vec<_>) = changes.iter().partition(|(_, _, app, _, change)| {
        !change.texts && app.facet.is_some() && app.facet == facets.get(&change.facet).copied()
    });
    let followed: Vec<_> = same
        .iter()
        .map(|(_, _, _, id, change)| (id, change.announcement))
        .collect();
    if !followed.is_empty() {
        sqlx::query(
            "UPDATE apps SET announcement = f.value ->> 1, announced_at = ?2 FROM json_each(?1) f
             WHERE apps.id = f.value ->> 0",
        )
        .bind(json(&followed))
        .bind(to_ms(now))
        .execute(&mut *connection)
        .await?;
    }
    rows::insert(
        &mut *connection,
        "INSERT INTO apps (id, publisher, slug, name, category, announcement, first_seen_at, indexed, name_key,
                           tagline, announced_at, micro_points, band, rights, facet)",
        &changed,
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name, category = excluded.category,
              announcement = excluded.announcement, name_key = excluded.name_key, tagline = excluded.tagline,
              announced_at = excluded.announced_at, rights = excluded.rights,
              facet = excluded.facet",
        |mut row, (publisher, slug, app, id, change)| {
            let card = &change.arrival.announcement.card;
            row.push_bind(*id)
                .push_bind(publisher.did.as_str())
                .push_bind(*slug)
                .push_bind(card.name.as_str())
                .push_bind(card.category.as_str())
                .push_bind(change.announcement)
                .push_bind(to_ms(now))
                .push("1")
                .push_bind(index::name_key(&card.name))
                .push_bind(card.tagline.as_str())
                .push_bind(to_ms(now))
                .push_bind(publisher.counts.micro_points)
                .push_bind(publisher.counts.band.as_str())
                .push_bind(app.rights.as_deref())
                .push_bind(facets.get(&change.facet).copied());
        },
    )
    .await?;
    let mut texts = Vec::new();
    for (_, slug, _, id, change) in changes.iter().filter(|(.., change)| change.texts) {
        // The description stays that of the earlier release until the new one is here.
        let description = if change.is_new {
            String::new()
        } else {
            index::indexed_description(&mut *connection, *id).await?
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
