//! Scores as they were computed, with what they were computed from.

use jiff::Timestamp;

use super::{Store, StoreError};
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
        let day = now.as_second().div_euclid(DAY_SECONDS);
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
        .execute(&self.pool)
        .await?;
        Ok(score)
    }
}
