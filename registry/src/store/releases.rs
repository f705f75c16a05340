//! Release blobs: kept as bytes, verified again on every reading.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::key_states::history;
use super::{BEGIN_WRITE, Store, StoreError, from_db, from_ms, index, parse, to_db, to_ms};
use crate::did::Did;
use crate::id::{AppId, Blake3Hash};
use crate::key_state::Standing;
use crate::release::{self, Release, ReleaseError};
use crate::statement::StatementError;
use crate::verified::Verified;

/// A stored release: bytes, publisher, key state's seq, date of admission.
type Row = (Vec<u8>, String, i64, i64);

impl Store {
    /// Keeps the bytes of a release, with the key state that vouches for it now.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn admit_release(
        &self,
        release: &Verified<Release>,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if Blake3Hash::of(bytes) != release.hash() {
            return Err(StoreError::OtherBytes(release.hash()));
        }
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        let history = history(&mut transaction, &release.publisher).await?;
        insert(&mut transaction, release, bytes, history.newest().seq, now).await?;
        index::describe(&mut transaction, release, release.hash()).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns a release for installing: verified against all that is known of the publisher's keys now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Release`] when it is not acceptable any more.
    pub async fn release(
        &self,
        hash: &Blake3Hash,
        now: Timestamp,
    ) -> Result<Option<Verified<Release>>, StoreError> {
        let verified = self.verify_release(hash, now).await?;
        verified
            .transpose()
            .map(|verified| verified.map(|(release, _)| release))
            .map_err(|source| refused(hash, source))
    }

    /// Tells how a release that this node keeps stands with its publisher's keys now, whatever its own date.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; `None` when the release is not kept here.
    pub async fn release_standing(
        &self,
        hash: &Blake3Hash,
        now: Timestamp,
    ) -> Result<Option<Standing>, StoreError> {
        match self.verify_release(hash, now).await? {
            None => Ok(None),
            Some(Ok((_, standing))) => Ok(Some(standing)),
            Some(Err(ReleaseError::Statement(error))) => {
                let standing = Standing::of_refusal(&error);
                Ok(Some(match (standing, error) {
                    (Some(standing), _) => standing,
                    // Its own time is over: the keys were found to be in order before.
                    (None, StatementError::Expired { .. }) => Standing::Current,
                    (None, error) => return Err(refused(hash, error.into())),
                }))
            }
            Some(Err(source)) => Err(refused(hash, source)),
        }
    }

    /// Returns a release for what runs already: verified as on the day that it was admitted, so that a
    /// revoked key or a passed date does not stop a running app.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn release_as_admitted(
        &self,
        hash: &Blake3Hash,
    ) -> Result<Option<Verified<Release>>, StoreError> {
        let Some((bytes, publisher, state_seq, admitted_at)) = self.release_row(hash).await? else {
            return Ok(None);
        };
        let history = self.key_history(&parse("publisher", &publisher)?).await?;
        let admitted_at = from_ms(admitted_at)?;
        // A state that counted then may have been superseded since by another one of the same seq.
        let mut result = release::verify_seen(&bytes, &history, Some(admitted_at), admitted_at)
            .map(|(release, _)| release);
        for state in history.states_of(from_db(state_seq)?) {
            if result.is_err() {
                result = release::verify(&bytes, state, admitted_at);
            }
        }
        result.map(Some).map_err(|source| refused(hash, source))
    }

    async fn verify_release(
        &self,
        hash: &Blake3Hash,
        now: Timestamp,
    ) -> Result<Option<Result<(Verified<Release>, Standing), ReleaseError>>, StoreError> {
        let Some((bytes, publisher, _, admitted_at)) = self.release_row(hash).await? else {
            return Ok(None);
        };
        let publisher: Did = parse("publisher", &publisher)?;
        let mut connection = self.pool.acquire().await?;
        let history = history(&mut connection, &publisher).await?;
        let announced = first_announced(&mut connection, hash).await?;
        let admitted = from_ms(admitted_at)?;
        let seen = announced.map_or(admitted, |announced| announced.min(admitted));
        Ok(Some(release::verify_seen(
            &bytes,
            &history,
            Some(seen),
            now,
        )))
    }

    /// Returns when a valid announcement first named a release on this node.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn release_first_announced(
        &self,
        hash: &Blake3Hash,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        first_announced(&mut connection, hash).await
    }

    /// Returns the signed bytes of a release, to hand on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn release_bytes(&self, hash: &Blake3Hash) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.release_row(hash).await?.map(|(bytes, ..)| bytes))
    }

    /// Returns the version that the release kept here under a `seq` of an app names; of two, that of the newer one. For
    /// people to read: the release was verified when it was admitted and is not verified again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn release_version(
        &self,
        app: &AppId,
        seq: u64,
    ) -> Result<Option<String>, StoreError> {
        let version: Option<Option<String>> = sqlx::query_scalar(
            "SELECT json_extract(CAST(bytes AS TEXT), '$.manifest.app.version') FROM releases
             WHERE publisher = ? AND slug = ? AND seq = ? ORDER BY admitted_at DESC LIMIT 1",
        )
        .bind(app.publisher.to_string())
        .bind(app.slug.as_str())
        .bind(to_db(seq))
        .fetch_optional(&self.pool)
        .await?;
        Ok(version.flatten())
    }

    /// Returns the highest `seq` of an app among the releases kept here; what a publisher counts on from.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn highest_release_seq(&self, app: &AppId) -> Result<Option<u64>, StoreError> {
        let highest: Option<i64> =
            sqlx::query_scalar("SELECT MAX(seq) FROM releases WHERE publisher = ? AND slug = ?")
                .bind(app.publisher.to_string())
                .bind(app.slug.as_str())
                .fetch_one(&self.pool)
                .await?;
        highest.map(from_db).transpose()
    }

    async fn release_row(&self, hash: &Blake3Hash) -> Result<Option<Row>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT bytes, publisher, key_state_seq, admitted_at FROM releases WHERE hash = ?",
        )
        .bind(hash.as_bytes().as_slice())
        .fetch_optional(&self.pool)
        .await?)
    }
}

/// Returns when a valid announcement first named a release.
pub(super) async fn first_announced(
    connection: &mut SqliteConnection,
    release: &Blake3Hash,
) -> Result<Option<Timestamp>, StoreError> {
    let first: Option<i64> =
        sqlx::query_scalar("SELECT MIN(first_seen_at) FROM announcements WHERE release_hash = ?")
            .bind(release.as_bytes().as_slice())
            .fetch_one(connection)
            .await?;
    first.map(from_ms).transpose()
}

fn refused(hash: &Blake3Hash, source: ReleaseError) -> StoreError {
    StoreError::Release {
        hash: *hash,
        source: Box::new(source),
    }
}

/// Keeps a release that state `key_state_seq` of its publisher vouches for.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    release: &Verified<Release>,
    bytes: &[u8],
    key_state_seq: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO releases (hash, publisher, slug, seq, bytes, key_state_seq, admitted_at)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING",
    )
    .bind(release.hash().as_bytes().as_slice())
    .bind(release.publisher.to_string())
    .bind(release.manifest.app.id.as_str())
    .bind(to_db(release.seq))
    .bind(bytes)
    .bind(to_db(key_state_seq))
    .bind(to_ms(now))
    .execute(connection)
    .await?;
    Ok(())
}
