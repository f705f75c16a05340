//! Keeps job records in SQLite; nothing here decides what a job does next.

use jiff::Timestamp;
use sqlx::{Row, SqlitePool};

use super::machine::{Record, Step, Wish};

/// Ended jobs that are kept.
const ENDED_KEPT: i64 = 500;

/// The job database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("could not use the job database")]
    Database(#[from] sqlx::Error),
    /// A record is not what this version writes.
    #[error("job {id} cannot be read")]
    Record {
        /// Which job.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Stored jobs.
#[derive(Debug, Clone)]
pub struct JobStore {
    pool: SqlitePool,
}

impl JobStore {
    /// Uses the tables in `pool`.
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Stores a new job.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn create(&self, wish: Wish, now: Timestamp) -> Result<Record, StoreError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| sqlx::Error::Io(error.into()))?;
        let record = Record::new(hex::encode(random), wish, now);
        sqlx::query(
            "INSERT INTO job (id, ordinal, slug, ended, record) \
             VALUES (?, (SELECT coalesce(max(ordinal), 0) + 1 FROM job), ?, 0, ?)",
        )
        .bind(&record.id)
        .bind(record.wish.app.slug.as_str())
        .bind(encode(&record)?)
        .execute(&self.pool)
        .await?;
        Ok(record)
    }

    /// Stores a job's new state. A job that has ended in the database is never overwritten.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn save(&self, record: &Record) -> Result<(), StoreError> {
        sqlx::query("UPDATE job SET ended = ?, record = ? WHERE id = ? AND ended = 0")
            .bind(record.ended())
            .bind(encode(record)?)
            .bind(&record.id)
            .execute(&self.pool)
            .await?;
        if record.ended() {
            sqlx::query(
                "DELETE FROM job WHERE ended = 1 AND ordinal <= \
                 (SELECT max(ordinal) FROM job) - ?",
            )
            .bind(ENDED_KEPT)
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }

    /// Reads one job.
    ///
    /// # Errors
    ///
    /// When the database fails or holds what this version cannot read.
    pub async fn find(&self, id: &str) -> Result<Option<Record>, StoreError> {
        let row = sqlx::query("SELECT id, record FROM job WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| decode(&row)).transpose()
    }

    /// Lists jobs, newest first.
    ///
    /// # Errors
    ///
    /// When the database fails or holds what this version cannot read.
    pub async fn list(&self, active: bool, limit: u32) -> Result<Vec<Record>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, record FROM job WHERE ended <= ? ORDER BY ordinal DESC LIMIT ?",
        )
        .bind(!active)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(decode).collect()
    }

    /// Lists the jobs that have not ended, oldest first. One that cannot be read is ended as failed.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn unfinished(&self) -> Result<Vec<Record>, StoreError> {
        let rows = sqlx::query("SELECT id, record FROM job WHERE ended = 0 ORDER BY ordinal")
            .fetch_all(&self.pool)
            .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            match decode(row) {
                Ok(record) => records.push(record),
                Err(StoreError::Record { id, source }) => {
                    tracing::error!(job.id = %id, error = %source, "forgetting a job that cannot be read");
                    sqlx::query("DELETE FROM job WHERE id = ?")
                        .bind(id)
                        .execute(&self.pool)
                        .await?;
                }
                Err(error @ StoreError::Database(_)) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Applies a step to a stored job.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn apply(
        &self,
        record: &mut Record,
        step: Step,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = record.apply(step, now);
        if changed {
            self.save(record).await?;
        }
        Ok(changed)
    }
}

fn encode(record: &Record) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|source| StoreError::Record {
        id: record.id.clone(),
        source,
    })
}

fn decode(row: &sqlx::sqlite::SqliteRow) -> Result<Record, StoreError> {
    let text: String = row.try_get("record")?;
    serde_json::from_str(&text).or_else(|source| {
        Err(StoreError::Record {
            id: row.try_get("id")?,
            source,
        })
    })
}
