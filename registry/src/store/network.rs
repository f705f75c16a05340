//! The owner's seeds, and what the word of everybody within their reach weighs.
//!
//! Weights are drawn from seeds and reviewer lists and kept in a table. They are drawn again when a seed or the
//! list of somebody within reach changed, not before somebody asks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{BEGIN_WRITE, Store, StoreError, rater, to_db, to_ms};
use crate::trust::network::{Network, Standing};
use crate::trust::opinion::Rater;

/// Rows of one insert; SQLite takes 32,766 parameters.
const ROWS_PER_INSERT: usize = 5000;

impl Store {
    /// Makes a rater one of the owner's own reviewers, or takes that back. Returns whether that is new.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn set_seed(
        &self,
        rater: &Rater,
        trusted: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        let is_seed: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM seeds WHERE rater = ?)")
                .bind(rater.as_bytes().as_slice())
                .fetch_one(&mut *transaction)
                .await?;
        if is_seed == trusted {
            return Ok(false);
        }
        sqlx::query("INSERT INTO seed_choices (rater, trusted, at) VALUES (?, ?, ?)")
            .bind(rater.as_bytes().as_slice())
            .bind(trusted)
            .bind(to_ms(now))
            .execute(&mut *transaction)
            .await?;
        mark_stale(&mut transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Lists the owner's own reviewers, in order of their keys.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn seeds(&self) -> Result<Vec<Rater>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        Ok(seeds(&mut connection).await?.into_iter().collect())
    }

    /// Weighs everybody within reach again, if seeds or lists changed since the last time.
    pub(super) async fn weigh_if_stale(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        if !is_stale(&mut connection).await? {
            return Ok(());
        }
        drop(connection);
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        weigh(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Notes that seeds or lists changed.
pub(super) async fn mark_stale(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE network SET stale = 1")
        .execute(connection)
        .await?;
    Ok(())
}

/// Weighs everybody within reach, unless that holds already; needs a transaction that may write.
pub(super) async fn weigh(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    if !is_stale(&mut *connection).await? {
        return Ok(());
    }
    let seeds = seeds(&mut *connection).await?;
    let lists = lists(&mut *connection).await?;
    let network = Network::weigh(&seeds, &lists);
    let counted: BTreeMap<Rater, Standing> = network
        .standings()
        .filter(|(_, standing)| standing.weight > 0)
        .map(|(rater, standing)| (*rater, *standing))
        .collect();
    let before = reached(&mut *connection).await?;
    replace_standings(&mut *connection, &counted).await?;
    for rater in counted.keys().filter(|rater| !before.contains(rater)) {
        mark_reached(&mut *connection, rater, true).await?;
    }
    for rater in before.iter().filter(|rater| !counted.contains_key(rater)) {
        mark_reached(&mut *connection, rater, false).await?;
    }
    sqlx::query("UPDATE network SET stale = 0")
        .execute(connection)
        .await?;
    Ok(())
}

/// Tells whether a rater was within reach when weights were last drawn.
pub(super) async fn is_reached(
    connection: &mut SqliteConnection,
    rater: &Rater,
) -> Result<bool, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM standings WHERE rater = ?)")
            .bind(rater.as_bytes().as_slice())
            .fetch_one(connection)
            .await?,
    )
}

async fn is_stale(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT stale FROM network")
        .fetch_one(connection)
        .await?)
}

async fn seeds(connection: &mut SqliteConnection) -> Result<BTreeSet<Rater>, StoreError> {
    let rows: Vec<Vec<u8>> = sqlx::query_scalar("SELECT rater FROM seeds")
        .fetch_all(connection)
        .await?;
    rows.iter().map(|bytes| rater(bytes)).collect()
}

async fn lists(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<Rater, Vec<Rater>>, StoreError> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT rater, trusts FROM reviewer_lists WHERE live = 1")
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(by, trusts)| {
            let named: Result<Vec<Rater>, StoreError> = trusts.chunks(32).map(rater).collect();
            Ok((rater(&by)?, named?))
        })
        .collect()
}

async fn reached(connection: &mut SqliteConnection) -> Result<BTreeSet<Rater>, StoreError> {
    let rows: Vec<Vec<u8>> = sqlx::query_scalar("SELECT rater FROM standings")
        .fetch_all(connection)
        .await?;
    rows.iter().map(|bytes| rater(bytes)).collect()
}

async fn replace_standings(
    connection: &mut SqliteConnection,
    standings: &BTreeMap<Rater, Standing>,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM standings")
        .execute(&mut *connection)
        .await?;
    let rows: Vec<(&Rater, &Standing)> = standings.iter().collect();
    for rows in rows.chunks(ROWS_PER_INSERT) {
        let mut insert: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO standings (rater, weight, hops, introducer) ");
        insert.push_values(rows, |mut row, (rater, standing)| {
            row.push_bind(rater.as_bytes().to_vec())
                .push_bind(to_db(standing.weight))
                .push_bind(i64::from(standing.hops))
                .push_bind(standing.introducer.as_bytes().to_vec());
        });
        insert.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn mark_reached(
    connection: &mut SqliteConnection,
    rater: &Rater,
    reached: bool,
) -> Result<(), StoreError> {
    for update in [
        "UPDATE votes SET reached = ?1 WHERE rater = ?2",
        "UPDATE reviewer_lists SET reached = ?1 WHERE rater = ?2",
    ] {
        sqlx::query(update)
            .bind(reached)
            .bind(rater.as_bytes().as_slice())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
