//! What registries list: which catalog is news, and the releases that it brings into this node's catalog.
//!
//! A listed release is judged by the rules of announced ones (counters, first sightings, contradictions): a
//! registry can bring an app, delay it or leave it out, and never change what its publisher signed.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::announcements::{Arrival, admit};
use super::index::describe;
use super::releases::insert;
use super::{
    Admission, BEGIN_WRITE, SEQ_STEP_MAX, Source, Store, StoreError, from_db, from_ms, hash, to_db,
    to_ms,
};
use crate::announcement::{self, Announcement};
use crate::catalog::Catalog;
use crate::did::Did;
use crate::id::{AppId, Blake3Hash};
use crate::key_state::{KeyHistory, Standing};
use crate::release::{self, Release, ReleaseError};
use crate::verified::Verified;

/// What became of a valid catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogAdmission {
    /// It is the operator's newest now.
    Newest,
    /// It is the one that was known as the newest.
    Known,
    /// A rollback: a newer one was seen before.
    Older {
        /// The highest `seq` known of the operator.
        highest_seq: u64,
    },
    /// Its `seq` is further ahead than [`SEQ_STEP_MAX`].
    FastForward {
        /// The highest `seq` known of the operator.
        highest_seq: u64,
    },
    /// Another catalog with this `seq` was accepted before; that one stays.
    Contradiction {
        /// The counter that both carry.
        seq: u64,
        /// The catalog that was known.
        first: Blake3Hash,
    },
}

/// A catalog as the source of releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// This node's name for the registry.
    pub registry: String,
    /// Whose catalog it is.
    pub operator: Did,
    /// The catalog's counter.
    pub catalog_seq: u64,
    /// When the catalog was signed.
    pub created: Timestamp,
    /// Until when it is news.
    pub expires: Timestamp,
}

impl Listing {
    /// Names a verified catalog by this node's name for its registry.
    pub fn of(registry: &str, catalog: &Verified<Catalog>) -> Self {
        Self {
            registry: registry.to_owned(),
            operator: catalog.publisher,
            catalog_seq: catalog.seq,
            created: catalog.created,
            expires: catalog.expires,
        }
    }
}

/// The registry that has the freshest news of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// This node's name for the registry.
    pub registry: String,
    /// When its catalog was signed.
    pub created: Timestamp,
    /// Until when the catalog is news.
    pub expires: Timestamp,
}

impl Store {
    /// Decides whether a valid catalog is news of its operator, and remembers its `seq` when it is.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn admit_catalog(
        &self,
        catalog: &Verified<Catalog>,
        now: Timestamp,
    ) -> Result<CatalogAdmission, StoreError> {
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        let known: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT seq, hash FROM catalogs WHERE operator = ?")
                .bind(catalog.publisher.to_string())
                .fetch_optional(&mut *transaction)
                .await?;
        if let Some((highest_seq, first)) = known {
            let (highest_seq, first) = (from_db(highest_seq)?, hash(&first)?);
            if catalog.seq < highest_seq {
                return Ok(CatalogAdmission::Older { highest_seq });
            }
            if catalog.seq > highest_seq.saturating_add(SEQ_STEP_MAX) {
                return Ok(CatalogAdmission::FastForward { highest_seq });
            }
            if catalog.seq == highest_seq {
                return Ok(if first == catalog.hash() {
                    CatalogAdmission::Known
                } else {
                    let seq = catalog.seq;
                    CatalogAdmission::Contradiction { seq, first }
                });
            }
        }
        sqlx::query(
            "INSERT INTO catalogs (operator, seq, hash, created, expires, admitted_at)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (operator) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
                 created = excluded.created, expires = excluded.expires, admitted_at = excluded.admitted_at",
        )
        .bind(catalog.publisher.to_string())
        .bind(to_db(catalog.seq))
        .bind(catalog.hash().as_bytes().as_slice())
        .bind(to_ms(catalog.created))
        .bind(to_ms(catalog.expires))
        .bind(to_ms(now))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(CatalogAdmission::Newest)
    }

    /// Decides whether a listed release is news of its app, and keeps it either way.
    ///
    /// A release below its publisher's floor is [`Admission::Older`] and not kept.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn admit_listed(
        &self,
        listing: &Listing,
        release: &Verified<Release>,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Admission, StoreError> {
        if Blake3Hash::of(bytes) != release.hash() {
            return Err(StoreError::OtherBytes(release.hash()));
        }
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        let keys = self
            .known_keys(&mut transaction, &release.publisher)
            .await?;
        if let Some(highest_seq) = below_floor(&keys, release) {
            return Ok(Admission::Older { highest_seq });
        }
        let (card, card_bytes) = announcement::listed(release, bytes.len() as u64)?;
        let source = Source {
            relay: listing.registry.clone(),
            event_id: String::new(),
        };
        insert(&mut transaction, release, bytes, keys.newest().seq, now).await?;
        let arrival = Arrival {
            announcement: &card,
            bytes: &card_bytes,
            source: &source,
            pubkey: None,
        };
        let admission = admit(self, &mut transaction, &[arrival], now)
            .await?
            .remove(0);
        describe(&mut transaction, release, release.hash()).await?;
        if matches!(admission, Admission::Newest | Admission::Known) {
            list(&mut transaction, listing, &card.app(), release.hash()).await?;
        }
        transaction.commit().await?;
        Ok(admission)
    }

    /// Forgets what a registry listed in earlier catalogs than `catalog_seq`; `None` forgets all of it. The
    /// apps stay known; the registry has no news of them any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn withdraw_listings(
        &self,
        registry: &str,
        before_catalog_seq: Option<u64>,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM listings WHERE registry = ? AND (?2 IS NULL OR catalog_seq < ?2)")
            .bind(registry)
            .bind(before_catalog_seq.map(to_db))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Counts the apps that a registry lists now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn listed_apps(&self, registry: &str) -> Result<u32, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT COUNT(*) FROM listings WHERE registry = ?")
                .bind(registry)
                .fetch_one(&self.pool)
                .await?,
        )
    }
}

async fn list(
    connection: &mut SqliteConnection,
    listing: &Listing,
    app: &AppId,
    release: Blake3Hash,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO listings
         (registry, publisher, slug, release_hash, operator, catalog_seq, created, expires)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (registry, publisher, slug) DO UPDATE SET
             release_hash = excluded.release_hash, operator = excluded.operator,
             catalog_seq = excluded.catalog_seq, created = excluded.created, expires = excluded.expires",
    )
    .bind(&listing.registry)
    .bind(app.publisher.to_string())
    .bind(app.slug.as_str())
    .bind(release.as_bytes().as_slice())
    .bind(listing.operator.to_string())
    .bind(to_db(listing.catalog_seq))
    .bind(to_ms(listing.created))
    .bind(to_ms(listing.expires))
    .execute(connection)
    .await?;
    Ok(())
}

/// Verifies the release behind a card that a catalog brought, as of the day it was listed, and makes the card
/// again; tells how the release stands with the keys of now. `None` when it never held.
pub(super) fn read_listed(
    bytes: &[u8],
    history: &KeyHistory,
    listed: Timestamp,
) -> Result<Option<(Verified<Announcement>, Standing)>, StoreError> {
    let (release, standing) = match release::verify_seen(bytes, history, Some(listed), listed) {
        Ok(read) => read,
        Err(ReleaseError::Statement(error)) => {
            let then = history
                .known_states()
                .find_map(|state| release::verify(bytes, state, listed).ok());
            match then.zip(Standing::of_refusal(&error)) {
                Some(read) => read,
                None => return Ok(None),
            }
        }
        Err(_) => return Ok(None),
    };
    if standing.is_acceptable() && below_floor(history, &release).is_some() {
        return Ok(None);
    }
    let (card, _) = announcement::listed(&release, bytes.len() as u64)?;
    Ok(Some((card, standing)))
}

/// Returns the lowest `seq` that the publisher still stands for, when the release is below it.
fn below_floor(history: &KeyHistory, release: &Release) -> Option<u64> {
    let floor = history.newest().floors.get(&release.manifest.app.id)?;
    Some(*floor).filter(|floor| release.seq < *floor)
}

/// Returns which registry has the freshest news of an app's release.
pub(super) async fn freshest(
    connection: &mut SqliteConnection,
    app: &AppId,
    release: Blake3Hash,
) -> Result<Option<Listed>, StoreError> {
    let row: Option<(String, i64, i64)> = sqlx::query_as(
        "SELECT registry, created, expires FROM listings
         WHERE publisher = ? AND slug = ? AND release_hash = ? ORDER BY expires DESC, registry LIMIT 1",
    )
    .bind(app.publisher.to_string())
    .bind(app.slug.as_str())
    .bind(release.as_bytes().as_slice())
    .fetch_optional(connection)
    .await?;
    row.map(|(registry, created, expires)| {
        Ok(Listed {
            registry,
            created: from_ms(created)?,
            expires: from_ms(expires)?,
        })
    })
    .transpose()
}
