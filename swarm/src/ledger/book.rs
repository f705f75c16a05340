//! The ledger on disk: an SQLite file that is the truth, written by one task, change by change.
//!
//! A change is on disk before the picture in memory has it and before whoever asked for it goes on; one that has begun
//! ends even when nobody waits for it any more.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archy_registry::Blake3Hash;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Connection, Row};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;

use super::{Class, Entry, Hold, Ledger, Role};
use crate::tag::Tag;

/// Changes that wait for their turn.
const CHANGES: usize = 64;
/// How often uploads and uses are written down.
const NOTES_EVERY: Duration = Duration::from_secs(60);
/// Starts a transaction that will write.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

/// The ledger on disk failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    #[error("cannot open the ledger {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    #[error("cannot bring the ledger {} up to date", path.display())]
    Migrate {
        path: PathBuf,
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    #[error("cannot write the ledger")]
    Query(#[from] sqlx::Error),
    #[error("the ledger holds an unreadable {what}: {value:?}")]
    Corrupt { what: &'static str, value: String },
    #[error("the ledger is closed")]
    Closed,
}

/// Something that is written as a whole or not at all.
#[derive(Debug)]
pub(crate) enum Change {
    /// A tag holds blobs; when the tag is new it is of that class.
    Hold {
        tag: Tag,
        class: Class,
        blobs: Vec<(Blake3Hash, Entry)>,
    },
    /// A tag is kept for something else from now on.
    Class(Tag, Class),
    /// A tag goes with all that it holds.
    Remove(Tag),
    /// Blobs go from tags; a tag goes with its last blob.
    RemoveBlobs(Vec<(Tag, Blake3Hash)>),
    /// What is on disk of a blob is bad, or is not there any more.
    Damaged(Blake3Hash, bool),
    /// UploadTotals and uses are written down.
    Notes,
}

#[derive(Debug)]
enum Order {
    Write(Change),
    Close,
}

type Asked = (Order, oneshot::Sender<Result<(), BookError>>);

/// A handle to the ledger's writer.
#[derive(Debug)]
pub(crate) struct Book {
    changes: mpsc::Sender<Asked>,
    tasks: TaskTracker,
}

impl Book {
    /// Opens the file, creates it when it is missing, and fills the picture from it.
    pub(crate) async fn open(path: &Path, ledger: Arc<Mutex<Ledger>>) -> Result<Self, BookError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What is held must survive a power cut: nothing else says what the blobs are there for.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let failed = |source| BookError::Open {
            path: path.to_owned(),
            source,
        };
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect_with(options).await.map_err(failed)?;
        let migrated = sqlx::migrate!("./migrations").run(&pool).await;
        migrated.map_err(|source| BookError::Migrate {
            path: path.to_owned(),
            source,
        })?;
        let mut connection = pool.acquire().await.map_err(failed)?.detach();
        pool.close().await;
        load(&mut connection, &ledger).await?;
        let (changes, asked) = mpsc::channel(CHANGES);
        let tasks = TaskTracker::new();
        tasks.spawn(write_all(connection, ledger, asked));
        tasks.close();
        Ok(Self { changes, tasks })
    }

    /// Writes a change; it is on disk and in the picture when this returns without an error.
    pub(crate) async fn write(&self, change: Change) -> Result<(), BookError> {
        self.ask(Order::Write(change)).await
    }

    /// Writes what is left to write and closes the file.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.ask(Order::Close).await {
            tracing::warn!(%error, "could not write down the last uploads");
        }
        self.tasks.wait().await;
    }

    async fn ask(&self, order: Order) -> Result<(), BookError> {
        let (sender, done) = oneshot::channel();
        let sent = self.changes.send((order, sender)).await;
        sent.map_err(|_| BookError::Closed)?;
        done.await.unwrap_or(Err(BookError::Closed))
    }
}

async fn write_all(
    mut connection: SqliteConnection,
    ledger: Arc<Mutex<Ledger>>,
    mut asked: mpsc::Receiver<Asked>,
) {
    let mut notes = tokio::time::interval(NOTES_EVERY);
    notes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = asked.recv() => match change {
                Some((Order::Close, answer)) => {
                    let written = write(&mut connection, &ledger, Change::Notes).await;
                    answer.send(written).ok();
                    break;
                }
                Some((Order::Write(change), answer)) => {
                    let written = write(&mut connection, &ledger, change).await;
                    answer.send(written).ok();
                }
                None => break,
            },
            _ = notes.tick() => {
                if let Err(error) = write(&mut connection, &ledger, Change::Notes).await {
                    tracing::warn!(%error, "could not write down uploads; they are tried again");
                }
            }
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "could not close the ledger in order");
    }
}

async fn write(
    connection: &mut SqliteConnection,
    ledger: &Mutex<Ledger>,
    change: Change,
) -> Result<(), BookError> {
    match change {
        // A tag is there while it holds something.
        Change::Hold { blobs, .. } if blobs.is_empty() => {}
        Change::Hold { tag, class, blobs } => {
            hold(connection, &tag, class, &blobs).await?;
            let mut ledger = lock(ledger);
            if ledger.class(&tag).is_none() {
                ledger.set_class(&tag, class);
            }
            for (blob, entry) in blobs {
                ledger.set(&tag, blob, entry);
            }
        }
        Change::Class(tag, class) => {
            let query = sqlx::query("UPDATE tags SET class = ? WHERE tag = ?");
            let query = query.bind(class.name()).bind(tag.as_str());
            let done = query.execute(&mut *connection).await?;
            if done.rows_affected() > 0 {
                lock(ledger).set_class(&tag, class);
            }
        }
        Change::Remove(tag) => {
            let query = sqlx::query("DELETE FROM tags WHERE tag = ?").bind(tag.as_str());
            query.execute(&mut *connection).await?;
            lock(ledger).remove(&tag);
        }
        Change::RemoveBlobs(blobs) => {
            remove_blobs(connection, &blobs).await?;
            let mut ledger = lock(ledger);
            for (tag, blob) in blobs {
                ledger.remove_blob(&tag, &blob);
            }
        }
        Change::Damaged(blob, is_damaged) => {
            let query = if is_damaged {
                sqlx::query("INSERT OR IGNORE INTO damaged (blob, found) VALUES (?, unixepoch())")
            } else {
                sqlx::query("DELETE FROM damaged WHERE blob = ?")
            };
            let query = query.bind(blob.as_bytes().as_slice());
            query.execute(&mut *connection).await?;
            lock(ledger).set_damaged(blob, is_damaged);
        }
        Change::Notes => notes(connection, ledger).await?,
    }
    Ok(())
}

async fn hold(
    connection: &mut SqliteConnection,
    tag: &Tag,
    class: Class,
    blobs: &[(Blake3Hash, Entry)],
) -> Result<(), BookError> {
    let mut transaction = connection.begin_with(BEGIN_WRITE).await?;
    let query = sqlx::query("INSERT OR IGNORE INTO tags (tag, class) VALUES (?, ?)");
    let query = query.bind(tag.as_str()).bind(class.name());
    query.execute(&mut *transaction).await?;
    for (blob, entry) in blobs {
        sqlx::query(
            "INSERT INTO holds (tag, blob, hold, role, size_bytes, first_held, last_used)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (tag, blob) DO UPDATE SET hold = excluded.hold, role = excluded.role,
                 size_bytes = excluded.size_bytes, last_used = excluded.last_used",
        )
        .bind(tag.as_str())
        .bind(blob.as_bytes().as_slice())
        .bind(entry.hold.name())
        .bind(entry.role.name())
        .bind(to_i64(entry.size_bytes))
        .bind(to_i64(entry.first_held))
        .bind(to_i64(entry.last_used))
        .execute(&mut *transaction)
        .await?;
    }
    Ok(transaction.commit().await?)
}

async fn remove_blobs(
    connection: &mut SqliteConnection,
    blobs: &[(Tag, Blake3Hash)],
) -> Result<(), BookError> {
    let mut transaction = connection.begin_with(BEGIN_WRITE).await?;
    for (tag, blob) in blobs {
        let query = sqlx::query("DELETE FROM holds WHERE tag = ? AND blob = ?");
        let query = query.bind(tag.as_str()).bind(blob.as_bytes().as_slice());
        query.execute(&mut *transaction).await?;
    }
    let empty =
        "DELETE FROM tags WHERE NOT EXISTS (SELECT 1 FROM holds WHERE holds.tag = tags.tag)";
    sqlx::query(empty).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

async fn notes(connection: &mut SqliteConnection, ledger: &Mutex<Ledger>) -> Result<(), BookError> {
    let (uploads, used) = {
        let mut ledger = lock(ledger);
        (ledger.uploads().take_unwritten(), ledger.take_used())
    };
    if uploads.is_empty() && used.is_empty() {
        return Ok(());
    }
    let writing = async {
        let mut transaction = connection.begin_with(BEGIN_WRITE).await?;
        for ((day, tag), bytes) in &uploads {
            sqlx::query(
                "INSERT INTO uploads (day, tag, bytes) VALUES (?, ?, ?)
                 ON CONFLICT (day, tag) DO UPDATE SET bytes = bytes + excluded.bytes",
            )
            .bind(i64::from(*day))
            .bind(tag.as_str())
            .bind(to_i64(*bytes))
            .execute(&mut *transaction)
            .await?;
        }
        for (tag, blob, last_used) in &used {
            sqlx::query("UPDATE holds SET last_used = ? WHERE tag = ? AND blob = ?")
                .bind(to_i64(*last_used))
                .bind(tag.as_str())
                .bind(blob.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    };
    let written = writing.await;
    if written.is_err() {
        lock(ledger).uploads().put_back(uploads);
    }
    Ok(written?)
}

async fn load(connection: &mut SqliteConnection, ledger: &Mutex<Ledger>) -> Result<(), BookError> {
    let tags = sqlx::query("SELECT tag, class FROM tags");
    let tags = tags.fetch_all(&mut *connection).await?;
    let holds =
        sqlx::query("SELECT tag, blob, hold, role, size_bytes, first_held, last_used FROM holds");
    let holds = holds.fetch_all(&mut *connection).await?;
    let damaged = sqlx::query("SELECT blob FROM damaged");
    let damaged = damaged.fetch_all(&mut *connection).await?;
    let uploads = sqlx::query("SELECT day, tag, bytes FROM uploads");
    let uploads = uploads.fetch_all(&mut *connection).await?;
    let mut ledger = lock(ledger);
    for row in tags {
        let class = named("class", row.try_get("class")?, |name| {
            Class::ALL.into_iter().find(|class| class.name() == name)
        })?;
        ledger.set_class(&tag(&row)?, class);
    }
    for row in holds {
        let entry = Entry {
            hold: named("hold", row.try_get("hold")?, |name| {
                Hold::ALL.into_iter().find(|hold| hold.name() == name)
            })?,
            // One of a later version is only less exact.
            role: {
                let name: String = row.try_get("role")?;
                let mut roles = Role::ALL.into_iter();
                roles.find(|role| role.name() == name).unwrap_or_default()
            },
            size_bytes: to_u64(row.try_get("size_bytes")?),
            first_held: to_u64(row.try_get("first_held")?),
            last_used: to_u64(row.try_get("last_used")?),
        };
        ledger.set(&tag(&row)?, blob(&row)?, entry);
    }
    for row in damaged {
        ledger.set_damaged(blob(&row)?, true);
    }
    for row in uploads {
        let day = u32::try_from(row.try_get::<i64, _>("day")?).unwrap_or(0);
        let bytes = to_u64(row.try_get("bytes")?);
        ledger.uploads().restore(&tag(&row)?, bytes, day);
    }
    Ok(())
}

fn tag(row: &SqliteRow) -> Result<Tag, BookError> {
    named("tag", row.try_get("tag")?, |name| name.parse().ok())
}

fn blob(row: &SqliteRow) -> Result<Blake3Hash, BookError> {
    let bytes: Vec<u8> = row.try_get("blob")?;
    let hash = <[u8; 32]>::try_from(bytes.as_slice()).map(Blake3Hash::from_bytes);
    hash.map_err(|_| BookError::Corrupt {
        what: "hash",
        value: hex::encode(bytes),
    })
}

fn named<T>(
    what: &'static str,
    name: String,
    find: impl Fn(&str) -> Option<T>,
) -> Result<T, BookError> {
    find(&name).ok_or(BookError::Corrupt { what, value: name })
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn to_u64(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
