//! Key states: every one that was admitted, folded and verified again on every reading.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{BEGIN_WRITE, Store, StoreError, from_db, from_ms, index, to_db, to_ms};
use crate::did::Did;
use crate::id::{Blake3Hash, Slug};
use crate::key_state::{self, KeyHistory, KeyState, KeyStateError, StepError};
use crate::verified::Verified;

/// What became of a chain of key states that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStateAdmission {
    /// It brought the state that counts now.
    Newest(Box<Verified<KeyState>>),
    /// It was known, or changes nothing.
    Known,
    /// It contradicts a state that is as strong: both are kept, the publisher is frozen.
    Equivocation {
        /// The counter that both carry.
        seq: u64,
        /// The state that was known.
        first: Blake3Hash,
        /// The state that was heard now.
        second: Blake3Hash,
    },
}

/// A key state was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmitKeyStateError {
    /// It does not hold.
    #[error(transparent)]
    Invalid(#[from] KeyStateError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Two statements that cannot both be true, on their way into the log.
pub(super) struct Equivocation<'a> {
    pub(super) subject: &'a str,
    pub(super) seq: u64,
    /// For releases: the app and the epoch of its counters.
    pub(super) app: Option<(&'a Slug, u64)>,
    pub(super) first: &'a [u8],
    pub(super) second: &'a [u8],
}

/// A row of equivocations: id, subject, seq, second statement, date, app, epoch.
type Row = (i64, String, i64, Vec<u8>, i64, Option<String>, Option<i64>);

/// A contradiction that stands: no recovery has settled it.
pub(super) struct Standing {
    pub(super) id: i64,
    pub(super) subject: String,
    pub(super) seq: u64,
    pub(super) found: Timestamp,
}

impl Store {
    /// Returns the key state that counts; the implicit one when none was heard.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; also when a stored state no longer holds.
    pub async fn key_state(&self, publisher: &Did) -> Result<Verified<KeyState>, StoreError> {
        Ok(self.key_history(publisher).await?.newest().clone())
    }

    /// Returns all that is known of a publisher's keys.
    ///
    /// # Errors
    ///
    /// As [`Store::key_state`].
    pub async fn key_history(&self, publisher: &Did) -> Result<Arc<KeyHistory>, StoreError> {
        if let Some(history) = self.remembered(publisher) {
            return Ok(history);
        }
        let mut connection = self.pool.acquire().await?;
        self.known_keys(&mut connection, publisher).await
    }

    /// Returns the chain of the key states that count, as it travels ([`key_state::chain`]), to hand on.
    ///
    /// # Errors
    ///
    /// As [`Store::key_state`].
    pub async fn key_state_chain(&self, publisher: &Did) -> Result<Option<Vec<u8>>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let history = history(&mut connection, publisher).await?;
        let mut states = Vec::new();
        for state in history.counted_states() {
            states.push(bytes_of(&mut connection, state.hash()).await?);
        }
        Ok((!states.is_empty()).then(|| key_state::chain::join(&states)))
    }

    /// Returns the signed bytes of both statements of a contradiction, the one that was known first: the proof, to
    /// show to others. `id` is [`crate::trust::Contradiction::id`].
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn contradiction(&self, id: i64) -> Result<Option<[Vec<u8>; 2]>, StoreError> {
        let row: Option<(Vec<u8>, Vec<u8>)> =
            sqlx::query_as("SELECT first, second FROM equivocations WHERE id = ?")
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|(first, second)| [first, second]))
    }

    /// Checks a chain of key states, or one by itself, against those known of `publisher`, and keeps what is new.
    ///
    /// # Errors
    ///
    /// [`AdmitKeyStateError::Invalid`] when a state does not hold, does not follow or comes too late.
    pub async fn admit_key_state(
        &self,
        publisher: &Did,
        chain: &[u8],
        now: Timestamp,
    ) -> Result<KeyStateAdmission, AdmitKeyStateError> {
        let states = key_state::chain::split(chain)?;
        let mut transaction = self
            .pool
            .begin_with(BEGIN_WRITE)
            .await
            .map_err(StoreError::from)?;
        let mut history = history(&mut transaction, publisher).await?;
        let admitted = history.admit(&states, now)?;
        for (state, bytes) in &admitted.added {
            insert(&mut transaction, state, bytes, now).await?;
        }
        for found in &admitted.contradictions {
            let first = bytes_of(&mut transaction, found.first).await?;
            let equivocation = Equivocation {
                subject: found.subject.as_str(),
                seq: found.seq,
                app: None,
                first: &first,
                second: &found.second_bytes,
            };
            record_equivocation(&mut transaction, publisher, &equivocation, now).await?;
        }
        if admitted.is_news {
            // What the new state does not back any more leaves the catalog.
            index::refile(&mut transaction, &history, None).await?;
        }
        transaction.commit().await.map_err(StoreError::from)?;
        self.key_histories.forget(publisher);
        let standing = admitted
            .contradictions
            .iter()
            .rfind(|found| !history.has_settled(found.subject.as_str(), found.seq, &found.second));
        Ok(match standing {
            Some(found) => KeyStateAdmission::Equivocation {
                seq: found.seq,
                first: found.first,
                second: found.second,
            },
            None if admitted.is_news => {
                KeyStateAdmission::Newest(Box::new(history.newest().clone()))
            }
            None => KeyStateAdmission::Known,
        })
    }
}

async fn bytes_of(
    connection: &mut SqliteConnection,
    state: Blake3Hash,
) -> Result<Vec<u8>, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT bytes FROM key_states WHERE hash = ?")
            .bind(state.as_bytes().as_slice())
            .fetch_one(connection)
            .await?,
    )
}

/// Returns all that is known of a publisher's keys, each state verified again as on the day it was heard.
pub(super) async fn history(
    connection: &mut SqliteConnection,
    publisher: &Did,
) -> Result<KeyHistory, StoreError> {
    let rows: Vec<(Vec<u8>, i64)> =
        sqlx::query_as("SELECT bytes, admitted_at FROM key_states WHERE publisher = ? ORDER BY id")
            .bind(publisher.to_string())
            .fetch_all(connection)
            .await?;
    let broken = |source| StoreError::KeyState {
        publisher: *publisher,
        source: Box::new(source),
    };
    let heard = rows
        .into_iter()
        .map(|(bytes, admitted_at)| Ok((bytes, from_ms(admitted_at)?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    KeyHistory::restore(*publisher, &heard).map_err(broken)
}

async fn insert(
    connection: &mut SqliteConnection,
    state: &Verified<KeyState>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO key_states (publisher, seq, hash, bytes, admitted_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(state.publisher.to_string())
    .bind(to_db(state.seq))
    .bind(state.hash().as_bytes().as_slice())
    .bind(bytes)
    .bind(to_ms(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps two statements that cannot both be true.
pub(super) async fn record_equivocation(
    connection: &mut SqliteConnection,
    publisher: &Did,
    equivocation: &Equivocation<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO equivocations (publisher, subject, seq, first, second, found_at, slug, epoch)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (second) DO NOTHING",
    )
    .bind(publisher.to_string())
    .bind(equivocation.subject)
    .bind(to_db(equivocation.seq))
    .bind(equivocation.first)
    .bind(equivocation.second)
    .bind(to_ms(now))
    .bind(equivocation.app.map(|(slug, _)| slug.as_str()))
    .bind(equivocation.app.map(|(_, epoch)| to_db(epoch)))
    .execute(connection)
    .await?;
    Ok(())
}

/// Lists the contradictions of a publisher that no recovery has settled, oldest first.
///
/// One of key states is settled by a rotation that committed keys signed, one of releases by a key state that
/// starts the app's counters anew.
pub(super) async fn contradictions(
    connection: &mut SqliteConnection,
    history: &KeyHistory,
) -> Result<Vec<Standing>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, subject, seq, second, found_at, slug, epoch FROM equivocations
         WHERE publisher = ? ORDER BY id",
    )
    .bind(history.publisher().to_string())
    .fetch_all(connection)
    .await?;
    let mut standing = Vec::new();
    for (id, subject, seq, second, found_at, slug, epoch) in rows {
        let seq = from_db(seq)?;
        let is_settled = match (slug, epoch) {
            (Some(slug), Some(epoch)) => {
                history.epoch(&super::parse("slug", &slug)?) > from_db(epoch)?
            }
            _ => history.has_settled(&subject, seq, &Blake3Hash::of(&second)),
        };
        if !is_settled {
            standing.push(Standing {
                id,
                subject,
                seq,
                found: from_ms(found_at)?,
            });
        }
    }
    Ok(standing)
}

/// Tells since when a publisher is frozen because it contradicted itself.
pub(super) async fn frozen_since(
    connection: &mut SqliteConnection,
    history: &KeyHistory,
) -> Result<Option<Timestamp>, StoreError> {
    let contradictions = contradictions(connection, history).await?;
    Ok(contradictions.iter().map(|found| found.found).min())
}

impl AdmitKeyStateError {
    /// Tells whether states in between are missing: the whole chain would tell.
    pub fn is_gap(&self) -> bool {
        matches!(
            self,
            Self::Invalid(KeyStateError::Step(StepError::Gap { .. }))
        )
    }
}
