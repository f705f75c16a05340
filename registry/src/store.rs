//! What this node heard and did, in SQLite: an append-only evidence log and the catalog drawn from it.
//!
//! Decides whether something valid is also news (rollback, fast-forward, equivocation). Whether it is valid
//! is decided before, by the `verify` functions; how far a publisher is trusted after, by [`crate::trust`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::did::Did;
use crate::id::{AppId, Blake3Hash};
use crate::key_state::KeyStateError;
use crate::release::ReleaseError;
use crate::trust::opinion::Rater;

mod announcements;
mod catalog;
mod cursors;
mod evidence;
mod history;
mod index;
mod key_histories;
mod key_states;
mod listings;
mod marks;
mod network;
mod opinions;
mod quota;
mod releases;
mod rows;
mod scores;
mod search;

pub use announcements::{Admission, Arrival, BATCH_MAX, Source};
pub use catalog::{CATALOG_LIMIT_MAX, CatalogEntry, CatalogPage, CatalogQuery};
pub use history::{HISTORY_LIMIT_MAX, LogCursor, LogCursorError, LogEntry, LogRow};
pub use key_states::{AdmitKeyStateError, KeyStateAdmission};
pub use listings::{CatalogAdmission, Listed, Listing};
pub use marks::Marks;
pub use opinions::OpinionQuota;
pub use quota::{Limits, OverQuota, Quota};
pub use search::{Found, Hit, SEARCH_LIMIT_MAX, Search, Sort};

/// How far ahead of the highest known `seq` a new one may be.
pub const SEQ_STEP_MAX: u64 = 1000;

const CONNECTIONS_MAX: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory that each connection may keep pages in, in KiB: the indexes of 100 000 apps are read from there.
const CACHE_KIB: u32 = 32 * 1024;
/// Pages of 4 KiB in the log before they are copied into the database: pages that change often are copied once.
const WAL_PAGES: u32 = 4096;

/// Prepared statements that each connection keeps.
const STATEMENTS: usize = 200;

/// The node's registry database. Cheap to clone; all clones share one pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    opinion_quota: OpinionQuota,
    key_histories: Arc<key_histories::KeyHistories>,
    limits: Arc<Limits>,
    tight: Arc<quota::Tight>,
}

/// The database failed, or holds what it should not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be opened.
    #[error("cannot open the database {path}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The database's tables could not be brought up to date.
    #[error("cannot bring the database {path} up to date")]
    Migrate {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A query failed.
    #[error("the database failed")]
    Query(#[from] sqlx::Error),
    /// A stored key state no longer holds.
    #[error("the database holds a key state of {publisher} that does not hold")]
    KeyState {
        /// The publisher.
        publisher: Did,
        /// Why.
        #[source]
        source: Box<KeyStateError>,
    },
    /// A stored release is not acceptable now, e.g. because it has expired or its key was revoked.
    #[error("the stored release {hash} is not acceptable")]
    Release {
        /// The release.
        hash: Blake3Hash,
        /// Why.
        #[source]
        source: Box<ReleaseError>,
    },
    /// A stored value does not parse.
    #[error("the database holds an unreadable {what}: {value:?}")]
    Corrupt {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// A value cannot be written.
    #[error("cannot write a listing")]
    Write(#[from] crate::json::JsonError),
    /// The bytes handed in are not those of the verified statement.
    #[error("the bytes handed to the store are not those of statement {0}")]
    OtherBytes(Blake3Hash),
    /// A reviewer list or vote handed in is beyond its limits.
    #[error("{what} of event {event_id} is beyond its limits")]
    Opinion {
        /// What is wrong with it.
        what: &'static str,
        /// The event.
        event_id: String,
    },
}

impl Store {
    /// Opens (or creates) the database file and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`StoreError::Open`], [`StoreError::Migrate`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A counter lost in a power cut would be a rollback accepted.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .pragma("wal_autocheckpoint", WAL_PAGES.to_string())
            // What a statement would need to be undone alone is not worth a file.
            .pragma("temp_store", "MEMORY")
            .statement_cache_capacity(STATEMENTS)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            // A file does not hang up; asking each time costs as much as a query.
            .test_before_acquire(false);
        Self::connect(pool, options, path.display().to_string()).await
    }

    /// Makes a database that lives as long as this value.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub async fn in_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .in_memory(true)
            .foreign_keys(true);
        // A second connection would see a second database, a closed one loses it.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        Self::connect(pool, options, "in memory".to_owned()).await
    }

    async fn connect(
        pool: SqlitePoolOptions,
        options: SqliteConnectOptions,
        path: String,
    ) -> Result<Self, StoreError> {
        let pool = pool
            .connect_with(options)
            .await
            .map_err(|source| StoreError::Open {
                path: path.clone(),
                source,
            })?;
        sqlx::migrate!("./migrations")
            .run(&pool)
            .await
            .map_err(|source| StoreError::Migrate { path, source })?;
        let store = Self {
            pool,
            opinion_quota: OpinionQuota::default(),
            key_histories: Arc::default(),
            limits: Arc::default(),
            tight: Arc::default(),
        };
        store.index_all().await?;
        Ok(store)
    }

    /// Bounds what is kept of reviewer lists and votes.
    #[must_use]
    pub fn with_opinion_quota(self, opinion_quota: OpinionQuota) -> Self {
        Self {
            opinion_quota,
            ..self
        }
    }

    /// Takes in no more than `limits` allow.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self {
            limits: Arc::new(limits),
            ..self
        }
    }

    /// Waits until everything is written and closes the database.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Starts a transaction that will write, so that two of them wait instead of failing half-way.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

/// Writes what a statement is given as one parameter.
fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("lists of texts and numbers have a JSON form")
}

/// Reads what a statement answered as JSON.
fn answer<'a, T: serde::Deserialize<'a>>(
    what: &'static str,
    answer: &'a str,
) -> Result<T, StoreError> {
    serde_json::from_str(answer).map_err(|error| StoreError::Corrupt {
        what,
        value: error.to_string(),
    })
}

fn to_ms(date: Timestamp) -> i64 {
    date.as_millisecond()
}

fn from_ms(ms: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(ms).map_err(|_| StoreError::Corrupt {
        what: "date",
        value: ms.to_string(),
    })
}

fn to_db(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn from_db(seq: i64) -> Result<u64, StoreError> {
    u64::try_from(seq).map_err(|_| StoreError::Corrupt {
        what: "counter",
        value: seq.to_string(),
    })
}

fn rater(bytes: &[u8]) -> Result<Rater, StoreError> {
    bytes
        .try_into()
        .map(Rater::from_bytes)
        .map_err(|_| StoreError::Corrupt {
            what: "rater",
            value: hex::encode(bytes),
        })
}

fn hash(bytes: &[u8]) -> Result<Blake3Hash, StoreError> {
    bytes
        .try_into()
        .map(Blake3Hash::from_bytes)
        .map_err(|_| StoreError::Corrupt {
            what: "hash",
            value: hex::encode(bytes),
        })
}

fn app_id(publisher: &str, slug: &str) -> Result<AppId, StoreError> {
    Ok(AppId {
        publisher: parse("publisher", publisher)?,
        slug: parse("slug", slug)?,
    })
}

fn parse<T: std::str::FromStr>(what: &'static str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_| StoreError::Corrupt {
        what,
        value: value.chars().take(200).collect(),
    })
}
