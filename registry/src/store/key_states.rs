//! Key states: the chain per publisher, verified again on every reading.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{BEGIN_WRITE, Store, StoreError, from_ms, index, to_db, to_ms};
use crate::did::Did;
use crate::id::Blake3Hash;
use crate::key_state::{self, KeyState, KeyStateError, StepError};
use crate::verified::Verified;

/// What became of a key state that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStateAdmission {
    /// It is the publisher's newest state now.
    Newest(Box<Verified<KeyState>>),
    /// It was known.
    Known,
    /// Another valid state has the same `seq`: both are kept, the publisher is frozen.
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

impl Store {
    /// Returns a publisher's key state; the implicit one when none was heard.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; also when a stored state no longer holds.
    pub async fn key_state(&self, publisher: &Did) -> Result<Verified<KeyState>, StoreError> {
        if let Some(state) = self.remembered(publisher) {
            return Ok(state);
        }
        let mut connection = self.pool.acquire().await?;
        let chain = self.chain(&mut connection, publisher).await?;
        let newest = chain.last().cloned();
        Ok(newest.unwrap_or_else(|| KeyState::implicit(*publisher)))
    }

    /// Checks a key state against the chain known of `publisher` and adds it when it is the next one.
    ///
    /// # Errors
    ///
    /// [`AdmitKeyStateError::Invalid`] when it does not hold or does not follow.
    pub async fn admit_key_state(
        &self,
        publisher: &Did,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<KeyStateAdmission, AdmitKeyStateError> {
        let mut transaction = self
            .pool
            .begin_with(BEGIN_WRITE)
            .await
            .map_err(StoreError::from)?;
        let chain = chain(&mut transaction, publisher).await?;
        let heard = Blake3Hash::of(bytes);
        if chain.iter().any(|state| state.hash() == heard) {
            return Ok(KeyStateAdmission::Known);
        }
        let implicit = KeyState::implicit(*publisher);
        let newest = chain.last().unwrap_or(&implicit);
        let refusal = match check(bytes, publisher, newest, now) {
            Ok(state) => {
                insert(&mut transaction, &state, bytes, now).await?;
                // What the new state does not back any more leaves the catalog.
                index::refile(&mut transaction, publisher, None, &state).await?;
                transaction.commit().await.map_err(StoreError::from)?;
                self.chains.forget(publisher);
                return Ok(KeyStateAdmission::Newest(Box::new(state)));
            }
            Err(refusal) => refusal,
        };
        let KeyStateError::Step(StepError::NotNewer { found, .. }) = &refusal else {
            return Err(refusal.into());
        };
        let Some(at) = chain.iter().position(|state| state.seq == *found) else {
            return Err(refusal.into());
        };
        // A second valid state of one seq is a proof against the publisher; an invalid one is merely refused.
        let before = at.checked_sub(1).map_or(&implicit, |before| &chain[before]);
        let second = check(bytes, publisher, before, now)?;
        let (seq, first) = (second.seq, chain[at].hash());
        let proof = bytes_of(&mut transaction, first).await?;
        record_equivocation(
            &mut transaction,
            publisher,
            "key_state",
            seq,
            &proof,
            bytes,
            now,
        )
        .await?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(KeyStateAdmission::Equivocation {
            seq,
            first,
            second: second.hash(),
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

fn check(
    bytes: &[u8],
    publisher: &Did,
    previous: &Verified<KeyState>,
    now: Timestamp,
) -> Result<Verified<KeyState>, KeyStateError> {
    let state = key_state::verify(bytes, Some(previous), now)?;
    if state.publisher == *publisher {
        Ok(state)
    } else {
        Err(StepError::Publisher(state.publisher).into())
    }
}

/// Returns the newest state of a publisher.
pub(super) async fn newest(
    connection: &mut SqliteConnection,
    publisher: &Did,
) -> Result<Verified<KeyState>, StoreError> {
    let newest = chain(connection, publisher).await?.pop();
    Ok(newest.unwrap_or_else(|| KeyState::implicit(*publisher)))
}

/// Returns the state of `seq` of a publisher; 0 is the implicit one.
pub(super) async fn of_seq(
    connection: &mut SqliteConnection,
    publisher: &Did,
    seq: u64,
) -> Result<Verified<KeyState>, StoreError> {
    let chain = chain(connection, publisher).await?;
    Ok(chain
        .into_iter()
        .find(|state| state.seq == seq)
        .unwrap_or_else(|| KeyState::implicit(*publisher)))
}

/// Returns every state of a publisher, oldest first, each verified against the one before.
pub(super) async fn chain(
    connection: &mut SqliteConnection,
    publisher: &Did,
) -> Result<Vec<Verified<KeyState>>, StoreError> {
    let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "SELECT bytes, admitted_at FROM key_states WHERE publisher = ? ORDER BY seq",
    )
    .bind(publisher.to_string())
    .fetch_all(connection)
    .await?;
    let mut chain: Vec<Verified<KeyState>> = Vec::with_capacity(rows.len());
    for (bytes, admitted_at) in rows {
        let state =
            key_state::verify(&bytes, chain.last(), from_ms(admitted_at)?).map_err(|source| {
                StoreError::KeyState {
                    publisher: *publisher,
                    source: Box::new(source),
                }
            })?;
        chain.push(state);
    }
    Ok(chain)
}

/// Returns since which key state the counters of an app count: the last one that changed its floor.
pub(super) fn epoch(chain: &[Verified<KeyState>], slug: &crate::id::Slug) -> u64 {
    let mut epoch = 0;
    let mut floor = None;
    for state in chain {
        let next = state.floors.get(slug);
        if next.is_some() && next != floor {
            epoch = state.seq;
        }
        floor = next;
    }
    epoch
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
    subject: &str,
    seq: u64,
    first: &[u8],
    second: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO equivocations (publisher, subject, seq, first, second, found_at)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (second) DO NOTHING",
    )
    .bind(publisher.to_string())
    .bind(subject)
    .bind(to_db(seq))
    .bind(first)
    .bind(second)
    .bind(to_ms(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// Tells since when a publisher is frozen because it contradicted itself.
pub(super) async fn frozen_since(
    connection: &mut SqliteConnection,
    publisher: &Did,
) -> Result<Option<Timestamp>, StoreError> {
    let found_at: Option<i64> =
        sqlx::query_scalar("SELECT MIN(found_at) FROM equivocations WHERE publisher = ?")
            .bind(publisher.to_string())
            .fetch_one(connection)
            .await?;
    found_at.map(from_ms).transpose()
}
