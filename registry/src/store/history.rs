//! The whole log of a publisher, newest first: what happened here, what it signed, what reviewers say of it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, from_ms};
use crate::did::Did;
use crate::id::Slug;
use crate::trust::opinion::{Opinion, Rater};
use crate::trust::{Event, EvidenceRef};

/// Most rows of one page.
pub const HISTORY_LIMIT_MAX: u32 = 200;

/// A row of a publisher's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// When this node noted it.
    pub at: Timestamp,
    /// What it is.
    pub entry: LogEntry,
    /// Its place; what is before it comes on the next page.
    pub cursor: LogCursor,
}

/// What a row of a publisher's log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LogEntry {
    /// Something happened on this node.
    Event {
        /// Its number.
        id: i64,
        /// What.
        event: Event,
    },
    /// The publisher contradicted itself.
    Contradiction {
        /// Its number.
        id: i64,
        /// `release` or `key_state`.
        subject: String,
        /// The `seq` that both statements carry.
        seq: u64,
    },
    /// The publisher's key state changed.
    KeyState {
        /// Its `seq`.
        seq: u64,
    },
    /// A release was heard of for the first time.
    FirstSeen {
        /// The app.
        app: Slug,
        /// The release's `seq`.
        seq: u64,
    },
    /// A rater within reach said something.
    Vote {
        /// Who.
        rater: Rater,
        /// Id of the Nostr event.
        event_id: String,
        /// About which app, if not about all.
        app: Option<Slug>,
        /// What.
        opinion: Opinion,
        /// In the rater's words; untrusted text.
        words: String,
        /// Whether it is the rater's newest word, which counts.
        newest: bool,
    },
}

impl LogRow {
    /// Returns how a reason refers to this row.
    pub fn reference(&self) -> EvidenceRef {
        match &self.entry {
            LogEntry::Event { id, .. } => EvidenceRef::Event { id: *id },
            LogEntry::Contradiction { id, .. } => EvidenceRef::Contradiction { id: *id },
            LogEntry::KeyState { seq } => EvidenceRef::KeyState { seq: *seq },
            LogEntry::FirstSeen { app, seq } => EvidenceRef::FirstSeen {
                app: app.clone(),
                seq: *seq,
            },
            LogEntry::Vote {
                rater, event_id, ..
            } => EvidenceRef::Vote {
                rater: *rater,
                event_id: event_id.clone(),
            },
        }
    }
}

/// A place in a publisher's log. Written as text; what it means is the store's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCursor {
    at_ms: i64,
    key: String,
}

/// A text is not a place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place in a log: hand back the cursor of the last row as it came")]
pub struct LogCursorError;

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at_ms, self.key)
    }
}

impl FromStr for LogCursor {
    type Err = LogCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at_ms, key) = text.split_once(' ').ok_or(LogCursorError)?;
        Ok(Self {
            at_ms: at_ms.parse().map_err(|_| LogCursorError)?,
            key: key.to_owned(),
        })
    }
}

/// Every row of a publisher as date, key and JSON of its [`LogEntry`]. Keys make rows of one date differ, and
/// numbers in them are padded so that they sort.
const ROWS: &str = "SELECT at, key, entry FROM (
    SELECT at, 'event ' || printf('%020d', id) AS key,
           json_object('kind', 'event', 'id', id, 'event', json(event)) AS entry
    FROM evidence WHERE publisher = ?1
    UNION ALL
    SELECT found_at, 'contradiction ' || printf('%020d', id),
           json_object('kind', 'contradiction', 'id', id, 'subject', subject, 'seq', seq)
    FROM equivocations WHERE publisher = ?1
    UNION ALL
    SELECT admitted_at, 'key-state ' || printf('%020d', seq),
           json_object('kind', 'key_state', 'seq', seq)
    FROM key_states WHERE publisher = ?1
    UNION ALL
    SELECT first_seen_at, 'first-seen ' || slug || printf(' %020d %020d', epoch, seq),
           json_object('kind', 'first_seen', 'app', slug, 'seq', seq)
    FROM app_ids CROSS JOIN first_seen ON app = app_ids.id WHERE publisher = ?1
    UNION ALL
    SELECT heard_at, 'vote ' || printf('%020d', id),
           json_object('kind', 'vote', 'rater', lower(hex(rater)), 'event_id', lower(hex(event_id)),
                       'app', slug, 'opinion', opinion, 'words', words,
                       'newest', json('true'))
    FROM votes WHERE publisher = ?1 AND reached = 1 AND live = 1
    UNION ALL
    SELECT heard_at, 'vote ' || printf('%020d', id),
           json_object('kind', 'vote', 'rater', lower(hex(rater)), 'event_id', lower(hex(event_id)),
                       'app', slug, 'opinion', opinion, 'words', words,
                       'newest', json('false'))
    FROM votes WHERE publisher = ?1 AND reached = 1 AND live = 0
) WHERE (at, key) < (?2, ?3) ORDER BY at DESC, key DESC LIMIT ?4";

impl Store {
    /// Returns rows of a publisher's log, newest first: those before `before`, or the newest ones; at most
    /// [`HISTORY_LIMIT_MAX`], which 0 means too. Of raters only those within reach are listed.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn history(
        &self,
        publisher: &Did,
        limit: u32,
        before: Option<&LogCursor>,
    ) -> Result<Vec<LogRow>, StoreError> {
        self.weigh_if_stale().await?;
        let limit = match limit {
            0 => HISTORY_LIMIT_MAX,
            limit => limit.min(HISTORY_LIMIT_MAX),
        };
        let rows: Vec<(i64, String, String)> = sqlx::query_as(ROWS)
            .bind(publisher.to_string())
            .bind(before.map_or(i64::MAX, |before| before.at_ms))
            .bind(before.map_or("", |before| before.key.as_str()))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|(at_ms, key, entry)| {
                Ok(LogRow {
                    at: from_ms(at_ms)?,
                    entry: serde_json::from_str(&entry).map_err(|_| StoreError::Corrupt {
                        what: "row of the log",
                        value: entry.chars().take(200).collect(),
                    })?,
                    cursor: LogCursor { at_ms, key },
                })
            })
            .collect()
    }
}
