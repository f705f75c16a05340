//! Scores as they were computed, with what they were computed from.
//!
//! Searches filter and sort by a copy beside each app, which is written together with the score. Whatever a score
//! rests on notes its publisher as due (the triggers of migration 0006), so that [`Store::rescore_due`] brings the
//! copies up to date without looking at everybody.

use jiff::Timestamp;

use super::{BEGIN_WRITE, Store, StoreError, index, parse};
use crate::did::Did;
use crate::trust::{self, Evidence, Score};

const DAY_SECONDS: i64 = 86_400;

impl Store {
    /// Scores a publisher. A stored score is returned while nothing that it depends on, nor the day, has changed.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn score(&self, publisher: &Did, now: Timestamp) -> Result<Score, StoreError> {
        let evidence = self.evidence(publisher).await?;
        self.score_of(&evidence, now).await
    }

    /// As [`Store::score`], for evidence that was read before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn score_of(&self, evidence: &Evidence, now: Timestamp) -> Result<Score, StoreError> {
        let inputs = trust::inputs_hash(evidence, now);
        let day = day(now);
        let publisher = evidence.publisher.to_string();
        let stored: Option<String> = sqlx::query_scalar(
            "SELECT reasons_json FROM scores
             WHERE publisher = ? AND inputs_hash = ? AND scored_at_day = ?",
        )
        .bind(&publisher)
        .bind(inputs.as_bytes().as_slice())
        .bind(day)
        .fetch_optional(&self.pool)
        .await?;
        if let Some(score) = stored.and_then(|json| serde_json::from_str(&json).ok()) {
            return Ok(score);
        }
        let score = trust::score(evidence, now);
        let json = serde_json::to_string(&score).map_err(|error| StoreError::Corrupt {
            what: "score",
            value: error.to_string(),
        })?;
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        sqlx::query(
            "INSERT OR REPLACE INTO scores
             (publisher, micro_points, band, reasons_json, inputs_hash, scored_at_day)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&publisher)
        .bind(score.micro_points)
        .bind(score.band.as_str())
        .bind(json)
        .bind(inputs.as_bytes().as_slice())
        .bind(day)
        .execute(&mut *transaction)
        .await?;
        index::set_score(&mut transaction, &publisher, score.micro_points, score.band).await?;
        transaction.commit().await?;
        Ok(score)
    }

    /// Scores at most `limit` of the publishers whose score may not be that of now: something that it rests on
    /// changed, or a day passed. Returns how many were due, so that fewer than `limit` means that none is left.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the publisher that could not be scored is due no longer until something else of it changes.
    pub async fn rescore_due(&self, limit: u32, now: Timestamp) -> Result<u32, StoreError> {
        let due: Vec<String> = sqlx::query_scalar(
            "SELECT publisher FROM scores_due
             UNION ALL SELECT publisher FROM scores WHERE scored_at_day < ? LIMIT ?",
        )
        .bind(day(now))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        for publisher in &due {
            // Before its evidence is read: what comes after that is noted again.
            sqlx::query("DELETE FROM scores_due WHERE publisher = ?")
                .bind(publisher)
                .execute(&self.pool)
                .await?;
            self.score(&parse("publisher", publisher)?, now).await?;
        }
        Ok(u32::try_from(due.len()).unwrap_or(u32::MAX))
    }
}

/// Returns the day since 1970-01-01.
fn day(now: Timestamp) -> i64 {
    now.as_second().div_euclid(DAY_SECONDS)
}
