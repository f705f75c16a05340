//! The owner's word on publishers, drawn from the evidence log: whom they vouch for, and whom they want nothing of.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Store, StoreError, from_ms, parse};
use crate::did::Did;
use crate::trust::Event;

/// What the owner said of publishers, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Whom the owner vouches for.
    pub pinned: BTreeMap<Did, Timestamp>,
    /// Whom the owner wants nothing of.
    pub blocked: BTreeMap<Did, Timestamp>,
}

impl Store {
    /// Returns the owner's pins and blocks; of each the newest word counts.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn marks(&self) -> Result<Marks, StoreError> {
        let mut marks = Marks::default();
        for (yes, no, list) in [
            (Event::Pinned, Event::Unpinned, &mut marks.pinned),
            (Event::Blocked, Event::Unblocked, &mut marks.blocked),
        ] {
            let [yes, no] = [yes, no].map(|event| {
                serde_json::to_string(&event).map_err(|error| StoreError::Corrupt {
                    what: "event",
                    value: error.to_string(),
                })
            });
            let (yes, no) = (yes?, no?);
            // SQLite takes the other columns from the row that holds the maximum.
            let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
                "SELECT publisher, event, at, MAX(id) FROM evidence
                 WHERE event IN (?1, ?2) GROUP BY publisher",
            )
            .bind(&yes)
            .bind(&no)
            .fetch_all(&self.pool)
            .await?;
            for (publisher, event, at, _) in rows {
                if event == yes {
                    list.insert(parse("publisher", &publisher)?, from_ms(at)?);
                }
            }
        }
        Ok(marks)
    }
}
