//! Announcements: which one is news.
//!
//! The highest valid `seq` wins, whatever the dates say. What a `seq` once meant it means for ever.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::key_states::{Equivocation, frozen_since, history, record_equivocation};
use super::{BEGIN_WRITE, SEQ_STEP_MAX, Store, StoreError, from_db, hash, to_db, to_ms};
use crate::announcement::Announcement;
use crate::id::Blake3Hash;
use crate::verified::Verified;

/// From where an announcement was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The relay's URL, or another name for the way it came.
    pub relay: String,
    /// Id of the Nostr event; empty when it came another way.
    pub event_id: String,
}

/// What became of a valid announcement that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is the app's newest announcement now.
    Newest,
    /// It was known, or says nothing newer about the same release.
    Known,
    /// A rollback: a newer release was heard before. Kept, not followed.
    Older {
        /// The highest `seq` known of the app.
        highest_seq: u64,
    },
    /// Its `seq` is further ahead than [`SEQ_STEP_MAX`]. Kept, not followed.
    FastForward {
        /// The highest `seq` known of the app.
        highest_seq: u64,
    },
    /// The publisher signed two releases under one `seq`: both are kept, the publisher is frozen.
    Equivocation {
        /// The counter that both carry.
        seq: u64,
        /// The release that was known.
        first: Blake3Hash,
        /// The release that was announced now.
        second: Blake3Hash,
    },
    /// The publisher contradicted itself earlier; nothing of it is followed. Kept.
    Frozen {
        /// When the contradiction was found.
        since: Timestamp,
    },
}

impl Store {
    /// Decides whether a valid announcement is news, and keeps it either way.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn admit_announcement(
        &self,
        announcement: &Verified<Announcement>,
        bytes: &[u8],
        source: &Source,
        now: Timestamp,
    ) -> Result<Admission, StoreError> {
        if Blake3Hash::of(bytes) != announcement.hash() {
            return Err(StoreError::OtherBytes(announcement.hash()));
        }
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        let (id, known) = keep(&mut transaction, announcement, bytes, source, now).await?;
        let admission = decide(&mut transaction, announcement, bytes, known, now).await?;
        if admission == Admission::Newest {
            follow(&mut transaction, announcement, id, now).await?;
        }
        transaction.commit().await?;
        Ok(admission)
    }
}

/// Stores the announcement unless it is known; returns its row and whether it was known.
async fn keep(
    connection: &mut SqliteConnection,
    announcement: &Verified<Announcement>,
    bytes: &[u8],
    source: &Source,
    now: Timestamp,
) -> Result<(i64, bool), StoreError> {
    let known: Option<i64> = sqlx::query_scalar("SELECT id FROM announcements WHERE hash = ?")
        .bind(announcement.hash().as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    let id = match known {
        Some(id) => id,
        None => sqlx::query(
            "INSERT INTO announcements
             (publisher, slug, seq, hash, release_hash, created, expires, bytes, first_seen_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(announcement.publisher.to_string())
        .bind(announcement.slug.as_str())
        .bind(to_db(announcement.seq))
        .bind(announcement.hash().as_bytes().as_slice())
        .bind(announcement.release.blake3.as_bytes().as_slice())
        .bind(to_ms(announcement.created))
        .bind(to_ms(announcement.expires))
        .bind(bytes)
        .bind(to_ms(now))
        .execute(&mut *connection)
        .await?
        .last_insert_rowid(),
    };
    sqlx::query(
        "INSERT INTO hearings (announcement, relay, event_id, heard_at) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(&source.relay)
    .bind(&source.event_id)
    .bind(to_ms(now))
    .execute(&mut *connection)
    .await?;
    Ok((id, known.is_some()))
}

async fn decide(
    connection: &mut SqliteConnection,
    announcement: &Verified<Announcement>,
    bytes: &[u8],
    known: bool,
    now: Timestamp,
) -> Result<Admission, StoreError> {
    let publisher = announcement.publisher;
    let history = history(&mut *connection, &publisher).await?;
    let epoch = history.epoch(&announcement.slug);
    let seq = announcement.seq;
    let (first, second) = (
        meaning(&mut *connection, announcement, epoch, now).await?,
        announcement.release.blake3,
    );
    if first != second {
        let proof = earliest(&mut *connection, announcement, first).await?;
        let equivocation = Equivocation {
            subject: "release",
            seq,
            app: Some((&announcement.slug, epoch)),
            first: &proof,
            second: bytes,
        };
        record_equivocation(&mut *connection, &publisher, &equivocation, now).await?;
        return Ok(Admission::Equivocation { seq, first, second });
    }
    if let Some(since) = frozen_since(&mut *connection, &history).await? {
        return Ok(Admission::Frozen { since });
    }
    let highest: Option<i64> = sqlx::query_scalar(
        "SELECT seq_highest FROM counters WHERE publisher = ? AND slug = ? AND epoch = ?",
    )
    .bind(publisher.to_string())
    .bind(announcement.slug.as_str())
    .bind(to_db(epoch))
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(highest_seq) = highest.map(from_db).transpose()? {
        if seq < highest_seq {
            return Ok(Admission::Older { highest_seq });
        }
        if seq > highest_seq.saturating_add(SEQ_STEP_MAX) {
            return Ok(Admission::FastForward { highest_seq });
        }
        if seq == highest_seq && (known || !renews(&mut *connection, announcement).await?) {
            return Ok(Admission::Known);
        }
    }
    sqlx::query(
        "INSERT INTO counters (publisher, slug, epoch, seq_highest) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET seq_highest = excluded.seq_highest",
    )
    .bind(publisher.to_string())
    .bind(announcement.slug.as_str())
    .bind(to_db(epoch))
    .bind(to_db(seq))
    .execute(&mut *connection)
    .await?;
    Ok(Admission::Newest)
}

/// Returns the release that the announced `seq` means: the first one that was heard under it.
async fn meaning(
    connection: &mut SqliteConnection,
    announcement: &Verified<Announcement>,
    epoch: u64,
    now: Timestamp,
) -> Result<Blake3Hash, StoreError> {
    sqlx::query(
        "INSERT INTO first_seen (publisher, slug, epoch, seq, release_hash, first_seen_at)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(announcement.publisher.to_string())
    .bind(announcement.slug.as_str())
    .bind(to_db(epoch))
    .bind(to_db(announcement.seq))
    .bind(announcement.release.blake3.as_bytes().as_slice())
    .bind(to_ms(now))
    .execute(&mut *connection)
    .await?;
    let meant: Vec<u8> = sqlx::query_scalar(
        "SELECT release_hash FROM first_seen
         WHERE publisher = ? AND slug = ? AND epoch = ? AND seq = ?",
    )
    .bind(announcement.publisher.to_string())
    .bind(announcement.slug.as_str())
    .bind(to_db(epoch))
    .bind(to_db(announcement.seq))
    .fetch_one(connection)
    .await?;
    hash(&meant)
}

/// Returns the bytes of the first announcement that gave the announced `seq` to `release`.
async fn earliest(
    connection: &mut SqliteConnection,
    announcement: &Verified<Announcement>,
    release: Blake3Hash,
) -> Result<Vec<u8>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT bytes FROM announcements
         WHERE publisher = ? AND slug = ? AND seq = ? AND release_hash = ? ORDER BY id LIMIT 1",
    )
    .bind(announcement.publisher.to_string())
    .bind(announcement.slug.as_str())
    .bind(to_db(announcement.seq))
    .bind(release.as_bytes().as_slice())
    .fetch_one(connection)
    .await?)
}

/// Tells whether an announcement of the same release is younger than the one that is followed.
async fn renews(
    connection: &mut SqliteConnection,
    announcement: &Verified<Announcement>,
) -> Result<bool, StoreError> {
    let followed: Option<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT a.created, a.hash FROM apps JOIN announcements a ON a.id = apps.announcement
         WHERE apps.publisher = ? AND apps.slug = ?",
    )
    .bind(announcement.publisher.to_string())
    .bind(announcement.slug.as_str())
    .fetch_optional(connection)
    .await?;
    let Some((created, hash)) = followed else {
        return Ok(true);
    };
    // Of two signed in one second the lower hash counts, so that every node follows the same one.
    let youngest_first = |created: i64, hash: &[u8]| (std::cmp::Reverse(created), hash.to_vec());
    let heard = youngest_first(to_ms(announcement.created), announcement.hash().as_bytes());
    Ok(heard < youngest_first(created, &hash))
}

/// Makes an announcement the one that the catalog shows.
async fn follow(
    connection: &mut SqliteConnection,
    announcement: &Verified<Announcement>,
    id: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let card = &announcement.card;
    let app: i64 = sqlx::query_scalar(
        "INSERT INTO apps (publisher, slug, name, category, announcement, first_seen_at)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (publisher, slug) DO UPDATE SET
             name = excluded.name, category = excluded.category, announcement = excluded.announcement
         RETURNING id",
    )
    .bind(announcement.publisher.to_string())
    .bind(announcement.slug.as_str())
    .bind(&card.name)
    .bind(&card.category)
    .bind(id)
    .bind(to_ms(now))
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT OR REPLACE INTO apps_text (rowid, name, tagline, category, slug) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(app)
    .bind(&card.name)
    .bind(&card.tagline)
    .bind(&card.category)
    .bind(announcement.slug.as_str())
    .execute(connection)
    .await?;
    Ok(())
}
