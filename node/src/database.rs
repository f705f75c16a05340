//! The daemon's own SQLite file: jobs and sessions. What exists and who vouches for it is the registry's.

pub mod damage;

use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Opening or creating it failed.
    #[error("could not open the database {path}")]
    Open {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// It is damaged, and stands where a new one would be.
    #[error("the database {path} is damaged and could not be renamed; move it elsewhere yourself")]
    SetAside {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its tables could not be brought up to date.
    #[error("could not bring the database {path} up to date")]
    Migrate {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
}

/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the file, creates it when it is missing and brings its tables up to date.
///
/// # Errors
///
/// [`DatabaseError`] names the file.
pub async fn open(path: &Path) -> Result<SqlitePool, DatabaseError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A job's final state must survive a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    let path = path.display().to_string();
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .connect_with(options)
        .await
        .map_err(|source| DatabaseError::Open {
            path: path.clone(),
            source,
        })?;
    sqlx::migrate!("./migrations")
        .run(&pool)
        .await
        .map_err(|source| DatabaseError::Migrate { path, source })?;
    Ok(pool)
}
