//! The catalog: what this node knows is installable.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::key_states::{frozen_since, history};
use super::releases::first_announced;
use super::search::{self, Search};
use super::{Store, StoreError, app_id, from_ms, json, parse};
use crate::announcement::{self, Announcement, AnnouncementError};
use crate::did::Did;
use crate::id::AppId;
use crate::key_state::{KeyHistory, Standing};
use crate::manifest::Category;
use crate::release::{self, Release, ReleaseError};
use crate::verified::Verified;

/// Most entries of one page.
pub const CATALOG_LIMIT_MAX: u32 = super::SEARCH_LIMIT_MAX;
/// Which part of the catalog to return.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogQuery {
    /// Words that each must start a word of name, slug, tagline, category or description.
    pub text: Option<String>,
    /// Only this category.
    pub category: Option<Category>,
    /// Only this publisher.
    pub publisher: Option<Did>,
    /// Entries to skip.
    pub offset: u32,
    /// Entries to return, at most [`CATALOG_LIMIT_MAX`]; 0 means that many.
    pub limit: u32,
}

/// A page of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogPage {
    /// The entries, best match first, then by name.
    pub entries: Vec<CatalogEntry>,
    /// How many there are on all pages.
    pub total: u32,
}

/// An app that this node knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// The newest announcement.
    pub announcement: Verified<Announcement>,
    /// The announced release, once it was fetched, is acceptable now and is what was announced.
    pub release: Option<Verified<Release>>,
    /// When this node first heard of the app.
    pub first_seen: Timestamp,
    /// When this node first heard the newest announcement.
    pub announced: Timestamp,
    /// Other publishers whose app has the same slug.
    pub same_name_as: Vec<Did>,
    /// Since when the publisher is frozen because it contradicted itself.
    pub frozen_since: Option<Timestamp>,
    /// How the announced release stands with the publisher's keys now.
    pub standing: Standing,
}

impl CatalogEntry {
    /// Returns the app.
    pub fn app(&self) -> AppId {
        self.announcement.app()
    }

    /// Tells whether there is no news of the app since its announcement expired.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.announcement.expires <= now
    }
}

/// What the catalog's query returns per app.
type Row = (i64, String, String, i64);

impl Store {
    /// Returns a page of the catalog. Apps announced by keys that no longer count are left out.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn catalog(
        &self,
        query: &CatalogQuery,
        now: Timestamp,
    ) -> Result<CatalogPage, StoreError> {
        let search = Search {
            text: query.text.clone().unwrap_or_default(),
            category: query.category,
            publisher: query.publisher,
            offset: query.offset,
            limit: query.limit,
            ..Search::default()
        };
        let mut transaction = self.pool.begin().await?;
        let page = search::page(&mut transaction, &search).await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT a.announcement, a.publisher, a.slug, a.first_seen_at
             FROM json_each(?) i JOIN apps a ON a.id = i.value ORDER BY i.key",
        )
        .bind(json(&page.ids))
        .fetch_all(&mut *transaction)
        .await?;
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            let entry = entry(&mut transaction, row, now).await?;
            entries.extend(entry.filter(|entry| is_listed(entry.standing)));
        }
        Ok(CatalogPage {
            entries,
            total: page.total,
        })
    }

    /// Returns one app of the catalog, also when the keys that announced it no longer count: its
    /// [`CatalogEntry::standing`] says so, and it has no release to install.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn app(
        &self,
        app: &AppId,
        now: Timestamp,
    ) -> Result<Option<CatalogEntry>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let row: Option<Row> = sqlx::query_as(
            "SELECT announcement, publisher, slug, first_seen_at FROM apps
             WHERE publisher = ? AND slug = ?",
        )
        .bind(app.publisher.to_string())
        .bind(app.slug.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        match row {
            Some(row) => entry(&mut transaction, row, now).await,
            None => Ok(None),
        }
    }
}

/// Reads an announcement and what belongs to it; `None` when it never held.
async fn entry(
    connection: &mut SqliteConnection,
    (id, publisher, slug, first_seen_at): Row,
    now: Timestamp,
) -> Result<Option<CatalogEntry>, StoreError> {
    let app = app_id(&publisher, &slug)?;
    let (bytes, heard_at): (Vec<u8>, i64) =
        sqlx::query_as("SELECT bytes, first_seen_at FROM announcements WHERE id = ?")
            .bind(id)
            .fetch_one(&mut *connection)
            .await?;
    let history = history(&mut *connection, &app.publisher).await?;
    let announced = from_ms(heard_at)?;
    let Some((announcement, mut standing)) = read_announcement(&bytes, &history, announced, now)
    else {
        return Ok(None);
    };
    let release: Option<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM releases WHERE hash = ?")
        .bind(announcement.release.blake3.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    let mut verified = None;
    if let Some(bytes) = release.filter(|_| standing.is_acceptable()) {
        let seen = first_announced(&mut *connection, &announcement.release.blake3).await?;
        match release::verify_seen(&bytes, &history, seen, now) {
            Ok((release, of_release)) => {
                standing = of_release;
                verified = Some(release).filter(|release| announcement.names(release).is_ok());
            }
            Err(ReleaseError::Statement(error)) => {
                standing = Standing::of_refusal(&error).unwrap_or(standing);
            }
            Err(_) => {}
        }
    }
    Ok(Some(CatalogEntry {
        release: verified,
        first_seen: from_ms(first_seen_at)?,
        announced,
        same_name_as: same_name(&mut *connection, &app).await?,
        frozen_since: frozen_since(&mut *connection, &history).await?,
        announcement,
        standing,
    }))
}

/// Verifies an announcement as of the day it was heard, because an old one is shown, marked with its age; and
/// says how it stands with the keys of now.
pub(super) fn read_announcement(
    bytes: &[u8],
    history: &KeyHistory,
    heard: Timestamp,
    now: Timestamp,
) -> Option<(Verified<Announcement>, Standing)> {
    let expired = (!history.newest().is_revoked() && history.newest().expires <= now).then_some(
        Standing::KeysExpired {
            since: history.newest().expires,
        },
    );
    match announcement::verify_seen(bytes, history, Some(heard), heard) {
        Ok((announcement, standing)) => Some((announcement, expired.unwrap_or(standing))),
        Err(AnnouncementError::Statement(error)) => {
            let standing = Standing::of_refusal(&error)?;
            let then = announcement::verify_as_heard(bytes, history, heard)?;
            Some((then, standing))
        }
        Err(_) => None,
    }
}

/// Tells whether what stands so is in the catalog. Expired keys are the publisher's delay; keys that were replaced
/// or revoked speak for nobody.
pub(super) fn is_listed(standing: Standing) -> bool {
    !matches!(
        standing,
        Standing::KeyChanged { .. } | Standing::Revoked { .. }
    )
}

async fn same_name(connection: &mut SqliteConnection, app: &AppId) -> Result<Vec<Did>, StoreError> {
    let publishers: Vec<String> = sqlx::query_scalar(
        "SELECT publisher FROM apps WHERE slug = ? AND publisher <> ? ORDER BY first_seen_at, id LIMIT 20",
    )
    .bind(app.slug.as_str())
    .bind(app.publisher.to_string())
    .fetch_all(connection)
    .await?;
    publishers
        .iter()
        .map(|publisher| parse("publisher", publisher))
        .collect()
}
