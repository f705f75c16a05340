//! How far each relay was read.

use jiff::Timestamp;

use super::{Store, StoreError, to_ms};

impl Store {
    /// Returns how far a relay was read, if it ever was; the meaning of the number is the reader's.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn relay_cursor(&self, relay: &str) -> Result<Option<i64>, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT cursor FROM relay_cursors WHERE relay = ?")
                .bind(relay)
                .fetch_optional(&self.pool)
                .await?,
        )
    }

    /// Remembers how far a relay was read.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn set_relay_cursor(
        &self,
        relay: &str,
        cursor: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO relay_cursors (relay, cursor, updated_at) VALUES (?, ?, ?)
             ON CONFLICT (relay) DO UPDATE SET cursor = excluded.cursor, updated_at = excluded.updated_at",
        )
        .bind(relay)
        .bind(cursor)
        .bind(to_ms(now))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
