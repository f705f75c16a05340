//! Release blobs: kept as bytes, verified again on every reading.

use jiff::Timestamp;

use super::key_states::{newest, of_seq};
use super::{BEGIN_WRITE, Store, StoreError, from_db, from_ms, index, parse, to_db, to_ms};
use crate::did::Did;
use crate::id::{AppId, Blake3Hash};
use crate::release::{self, Release};
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
        let state = newest(&mut transaction, &release.publisher).await?;
        sqlx::query(
            "INSERT INTO releases (hash, publisher, slug, seq, bytes, key_state_seq, admitted_at)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(release.hash().as_bytes().as_slice())
        .bind(release.publisher.to_string())
        .bind(release.manifest.app.id.as_str())
        .bind(to_db(release.seq))
        .bind(bytes)
        .bind(to_db(state.seq))
        .bind(to_ms(now))
        .execute(&mut *transaction)
        .await?;
        index::describe(&mut transaction, release, release.hash()).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns a release for installing: verified against the publisher's key state of now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Release`] when it is not acceptable any more.
    pub async fn release(
        &self,
        hash: &Blake3Hash,
        now: Timestamp,
    ) -> Result<Option<Verified<Release>>, StoreError> {
        let Some((bytes, publisher, ..)) = self.release_row(hash).await? else {
            return Ok(None);
        };
        let publisher: Did = parse("publisher", &publisher)?;
        let state = self.key_state(&publisher).await?;
        open(&bytes, &state, now, hash).map(Some)
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
        let publisher: Did = parse("publisher", &publisher)?;
        let mut connection = self.pool.acquire().await?;
        let state = of_seq(&mut connection, &publisher, from_db(state_seq)?).await?;
        open(&bytes, &state, from_ms(admitted_at)?, hash).map(Some)
    }

    /// Returns the signed bytes of a release, to hand on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn release_bytes(&self, hash: &Blake3Hash) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.release_row(hash).await?.map(|(bytes, ..)| bytes))
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

fn open(
    bytes: &[u8],
    state: &Verified<crate::key_state::KeyState>,
    now: Timestamp,
    hash: &Blake3Hash,
) -> Result<Verified<Release>, StoreError> {
    release::verify(bytes, state, now).map_err(|source| StoreError::Release {
        hash: *hash,
        source: Box::new(source),
    })
}
