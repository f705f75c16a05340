//! The relay's events in SQLite: replacement, deletion and expiry rules; who may write is decided elsewhere.

use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};

use super::Limits;
use crate::event::{Event, EventId, Pubkey, Slot, Version};
use crate::filter::Filter;
use crate::sdk::Authentic;

/// Connections that read at once; one more writes.
const READERS: u32 = 4;
/// Kind of a deletion request (NIP-09).
const DELETION: u16 = 5;

/// The database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the relay's database failed")]
    Sqlite(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the relay's database has a schema that this version cannot use")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insertion {
    /// It is kept.
    Kept,
    /// It was kept already.
    Duplicate,
    /// A newer version is kept, or an equally old one with a lower id.
    Outdated,
    /// Its author deleted it.
    Deleted,
    /// Its author has too many events here.
    AuthorFull,
    /// The relay has too many events.
    RelayFull,
}

#[derive(Debug)]
pub(super) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    limits: Limits,
}

impl Store {
    pub(super) async fn open(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .pragma("secure_delete", "off")
            .busy_timeout(Duration::from_secs(5));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!().run(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.pragma("query_only", "on"))
            .await?;
        Ok(Self {
            writer,
            readers,
            limits,
        })
    }

    /// Keeps an event as NIP-01 and NIP-09 say. It is durable when this returns.
    pub(super) async fn insert(&self, event: &Authentic) -> Result<Insertion, StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let insertion = self.insert_in(&mut transaction, event).await?;
        if insertion == Insertion::Kept {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(insertion)
    }

    async fn insert_in(
        &self,
        connection: &mut SqliteConnection,
        event: &Authentic,
    ) -> Result<Insertion, StoreError> {
        if is_kept(connection, &event.id).await? {
            return Ok(Insertion::Duplicate);
        }
        let slot = event.slot();
        if is_deleted(connection, event, slot.as_ref()).await? {
            return Ok(Insertion::Deleted);
        }
        let mut replaces = false;
        if let Some(slot) = &slot
            && let Some((seq, version)) = current(connection, slot).await?
        {
            if version > Version::from(&**event) {
                return Ok(Insertion::Outdated);
            }
            sqlx::query("DELETE FROM event WHERE seq = ?")
                .bind(seq)
                .execute(&mut *connection)
                .await?;
            replaces = true;
        }
        if !replaces {
            if self.counts(connection, Some(&event.pubkey)).await?
                >= self.limits.events_per_author_max
            {
                return Ok(Insertion::AuthorFull);
            }
            if self.counts(connection, None).await? >= self.limits.events_max {
                return Ok(Insertion::RelayFull);
            }
        }
        write(connection, event, slot.as_ref()).await?;
        if event.kind == DELETION {
            delete(connection, event).await?;
        }
        Ok(Insertion::Kept)
    }

    async fn counts(
        &self,
        connection: &mut SqliteConnection,
        author: Option<&Pubkey>,
    ) -> Result<u64, StoreError> {
        let count: i64 = match author {
            Some(author) => {
                sqlx::query_scalar("SELECT count(*) FROM event WHERE pubkey = ?")
                    .bind(author.as_bytes().as_slice())
                    .fetch_one(connection)
                    .await?
            }
            None => {
                sqlx::query_scalar("SELECT count(*) FROM event")
                    .fetch_one(connection)
                    .await?
            }
        };
        Ok(count.unsigned_abs())
    }

    /// Returns the stored events that meet any of the filters, newest first, then by id.
    pub(super) async fn query(
        &self,
        filters: &[Filter],
        now: u64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut events = Vec::new();
        let mut left = self.limits.reply_bytes_max;
        for filter in filters {
            let mut query = select(filter, self.limits.limit_max, now);
            let mut rows = query.build().fetch(&self.readers);
            while let Some(row) = rows.try_next().await? {
                let stored = StoredEvent {
                    created_at: row.try_get::<i64, _>(0)?.unsigned_abs(),
                    id: row.try_get(1)?,
                    json: row.try_get(2)?,
                };
                if stored.json.len() > left {
                    break;
                }
                left -= stored.json.len();
                events.push(stored);
            }
        }
        events.sort_by(|a, b| {
            b.created_at
                .cmp(&a.created_at)
                .then_with(|| a.id.cmp(&b.id))
        });
        events.dedup_by(|a, b| a.id == b.id);
        Ok(events)
    }

    /// Removes expired events; returns how many.
    pub(super) async fn sweep(&self, now: u64) -> Result<u64, StoreError> {
        let result = sqlx::query("DELETE FROM event WHERE expires <= ?")
            .bind(signed(now))
            .execute(&self.writer)
            .await?;
        Ok(result.rows_affected())
    }

    pub(super) async fn count(&self) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM event")
            .fetch_one(&self.readers)
            .await?;
        Ok(count.unsigned_abs())
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredEvent {
    pub(super) created_at: u64,
    pub(super) id: Vec<u8>,
    pub(super) json: String,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn is_kept(connection: &mut SqliteConnection, id: &EventId) -> Result<bool, StoreError> {
    let found = sqlx::query("SELECT 1 FROM event WHERE id = ?")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

async fn is_deleted(
    connection: &mut SqliteConnection,
    event: &Event,
    slot: Option<&Slot>,
) -> Result<bool, StoreError> {
    let by_id = sqlx::query("SELECT 1 FROM deleted_event WHERE id = ? AND pubkey = ?")
        .bind(event.id.as_bytes().as_slice())
        .bind(event.pubkey.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    if by_id.is_some() {
        // A deletion of a deletion has no effect (NIP-09).
        return Ok(event.kind != DELETION);
    }
    let Some(slot) = slot else { return Ok(false) };
    let by_slot = sqlx::query(
        "SELECT 1 FROM deleted_slot WHERE pubkey = ? AND kind = ? AND d = ? AND until >= ?",
    )
    .bind(slot.pubkey.as_bytes().as_slice())
    .bind(slot.kind)
    .bind(&slot.d)
    .bind(signed(event.created_at))
    .fetch_optional(connection)
    .await?;
    Ok(by_slot.is_some())
}

async fn current(
    connection: &mut SqliteConnection,
    slot: &Slot,
) -> Result<Option<(i64, Version)>, StoreError> {
    let row = sqlx::query(
        "SELECT seq, created_at, id FROM event WHERE pubkey = ? AND kind = ? AND d = ?",
    )
    .bind(slot.pubkey.as_bytes().as_slice())
    .bind(slot.kind)
    .bind(&slot.d)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let id: Vec<u8> = row.try_get(2)?;
    let version = Version {
        created_at: row.try_get::<i64, _>(1)?.unsigned_abs(),
        id: EventId::from_bytes(id.try_into().unwrap_or([0; 32])),
    };
    Ok(Some((row.try_get(0)?, version)))
}

async fn write(
    connection: &mut SqliteConnection,
    event: &Event,
    slot: Option<&Slot>,
) -> Result<(), StoreError> {
    let json = serde_json::to_string(event).expect("an event is plain data");
    let seq = sqlx::query(
        "INSERT INTO event (id, pubkey, kind, created_at, d, expires, json) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(event.id.as_bytes().as_slice())
    .bind(event.pubkey.as_bytes().as_slice())
    .bind(event.kind)
    .bind(signed(event.created_at))
    .bind(slot.map(|slot| slot.d.as_str()))
    .bind(event.expiration().map(signed))
    .bind(json)
    .execute(&mut *connection)
    .await?
    .last_insert_rowid();
    for tag in &event.tags {
        let [name, value, ..] = tag.as_slice() else {
            continue;
        };
        let mut letters = name.chars();
        if let (Some('a'..='z' | 'A'..='Z'), None) = (letters.next(), letters.next()) {
            sqlx::query("INSERT OR IGNORE INTO tag (event, name, value) VALUES (?, ?, ?)")
                .bind(seq)
                .bind(name)
                .bind(value)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// Does what a deletion request asks for, as far as it is about its own author's events (NIP-09).
async fn delete(connection: &mut SqliteConnection, request: &Event) -> Result<(), StoreError> {
    let author = request.pubkey.as_bytes().as_slice();
    for id in request.tag_values("e") {
        let Ok(id) = id.parse::<EventId>() else {
            continue;
        };
        sqlx::query("DELETE FROM event WHERE id = ? AND pubkey = ? AND kind != ?")
            .bind(id.as_bytes().as_slice())
            .bind(author)
            .bind(DELETION)
            .execute(&mut *connection)
            .await?;
        sqlx::query("INSERT OR IGNORE INTO deleted_event (id, pubkey) VALUES (?, ?)")
            .bind(id.as_bytes().as_slice())
            .bind(author)
            .execute(&mut *connection)
            .await?;
    }
    for slot in request.tag_values("a") {
        let Ok(slot) = slot.parse::<Slot>() else {
            continue;
        };
        if slot.pubkey != request.pubkey {
            continue;
        }
        let until = signed(request.created_at);
        sqlx::query(
            "DELETE FROM event WHERE pubkey = ? AND kind = ? AND d = ? AND created_at <= ?",
        )
        .bind(author)
        .bind(slot.kind)
        .bind(&slot.d)
        .bind(until)
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "INSERT INTO deleted_slot (pubkey, kind, d, until) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
        )
        .bind(author)
        .bind(slot.kind)
        .bind(&slot.d)
        .bind(until)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn select(filter: &Filter, limit_max: usize, now: u64) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(
        "SELECT created_at, id, json FROM event WHERE (expires IS NULL OR expires > ",
    );
    query.push_bind(signed(now)).push(")");
    if let Some(ids) = &filter.ids {
        any_of(
            &mut query,
            "id",
            ids.iter().map(|id| id.as_bytes().to_vec()),
        );
    }
    if let Some(authors) = &filter.authors {
        let authors = authors.iter().map(|author| author.as_bytes().to_vec());
        any_of(&mut query, "pubkey", authors);
    }
    if let Some(kinds) = &filter.kinds {
        any_of(&mut query, "kind", kinds.iter().copied());
    }
    if let Some(since) = filter.since {
        query.push(" AND created_at >= ").push_bind(signed(since));
    }
    if let Some(until) = filter.until {
        query.push(" AND created_at <= ").push_bind(signed(until));
    }
    for (letter, values) in &filter.tags {
        query
            .push(" AND EXISTS (SELECT 1 FROM tag WHERE tag.event = event.seq AND name = ")
            .push_bind(letter.to_string());
        any_of(&mut query, "value", values.iter().cloned());
        query.push(")");
    }
    let limit = filter.limit.unwrap_or(limit_max).min(limit_max);
    query
        .push(" ORDER BY created_at DESC, id LIMIT ")
        .push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    query
}

fn any_of<T>(query: &mut QueryBuilder<Sqlite>, column: &str, values: impl Iterator<Item = T>)
where
    T: 'static + Send + sqlx::Encode<'static, Sqlite> + sqlx::Type<Sqlite>,
{
    query.push(" AND ").push(column).push(" IN (");
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value);
    }
    query.push(")");
}

#[cfg(test)]
mod tests;
