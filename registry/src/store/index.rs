//! The text indexes and the columns that searches go by: what of an app is found, and under which words.
//!
//! How words are looked for is [`super::search`]'s.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::catalog::{is_listed, read_announcement};
use super::{Store, StoreError, from_ms, json, parse, rows};
use crate::announcement::Announcement;
use crate::did::Did;
use crate::id::{AppId, Blake3Hash};
use crate::json::Object;
use crate::key_state::KeyHistory;
use crate::release::Release;
use crate::trust::{Band, POINT};

/// Characters of a description that are indexed.
const DESCRIPTION_CHARS_MAX: usize = 4000;
/// Apps that are indexed in one transaction.
const APPS_AT_ONCE: i64 = 500;
/// Shortest and longest word, in characters, that a misspelling may stand for.
const WORD_CHARS: std::ops::RangeInclusive<usize> = 4..=32;

/// An app as the indexes hold it.
#[derive(Debug, Clone)]
pub(super) struct Indexed<'a> {
    pub(super) id: i64,
    pub(super) name: &'a str,
    pub(super) slug: &'a str,
    pub(super) tagline: &'a str,
    pub(super) category: &'a str,
    pub(super) description: String,
}

/// What an app is filtered by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Facet {
    pub(super) category: String,
    pub(super) architectures: String,
    pub(super) rights: Option<String>,
    pub(super) points: i64,
}

impl Facet {
    pub(super) fn of(announcement: &Announcement, rights: Option<&str>, micro_points: i64) -> Self {
        Self {
            category: announcement.card.category.clone(),
            architectures: set(announcement.card.architectures.iter().map(String::as_str)),
            rights: rights.map(str::to_owned),
            points: whole_points(micro_points),
        }
    }
}

/// Returns the whole points of a score, from 0 to 100.
pub(super) fn whole_points(micro_points: i64) -> i64 {
    (micro_points / POINT).clamp(0, 100)
}

/// Writes a set of short names as ` a b `, so that ` a ` is found in it.
pub(super) fn set<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    format!(" {} ", names.join(" "))
}

/// Returns the letters and digits of a text in lower case.
pub(super) fn name_key(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Returns the name under which a band is stored.
fn band_name(band: Band) -> &'static str {
    match band {
        Band::Refused => "refused",
        Band::New => "new",
        Band::Unproven => "unproven",
        Band::SomeTrust => "some_trust",
        Band::Trusted => "trusted",
    }
}

/// Reads the name of a band.
pub(super) fn band(name: &str) -> Result<Band, StoreError> {
    [
        Band::Refused,
        Band::New,
        Band::Unproven,
        Band::SomeTrust,
        Band::Trusted,
    ]
    .into_iter()
    .find(|band| band_name(*band) == name)
    .ok_or_else(|| StoreError::Corrupt {
        what: "band",
        value: name.to_owned(),
    })
}

/// Splits a text into its words, in lower case.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Makes sure that every combination has its row, and returns the rows' ids.
pub(super) async fn insert_facets<'a>(
    connection: &mut SqliteConnection,
    facets: impl Iterator<Item = &'a Facet>,
) -> Result<HashMap<&'a Facet, i64>, StoreError> {
    let mut facets: Vec<&Facet> = facets.collect();
    facets.sort_unstable();
    facets.dedup();
    if facets.is_empty() {
        return Ok(HashMap::new());
    }
    rows::insert(
        &mut *connection,
        "INSERT OR IGNORE INTO facets (category, architectures, rights, points)",
        &facets,
        "",
        |mut row, facet| {
            row.push_bind(facet.category.as_str())
                .push_bind(facet.architectures.as_str())
                .push_bind(facet.rights.as_deref().unwrap_or("?"))
                .push_bind(facet.points);
        },
    )
    .await?;
    let asked: Vec<_> = facets
        .iter()
        .map(|facet| {
            let rights = facet.rights.as_deref().unwrap_or("?");
            (&facet.category, &facet.architectures, rights, facet.points)
        })
        .collect();
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT f.id FROM json_each(?) w
         JOIN facets f ON f.category = w.value ->> 0 AND f.architectures = w.value ->> 1
                      AND f.rights = w.value ->> 2 AND f.points = w.value ->> 3
         ORDER BY w.key",
    )
    .bind(json(&asked))
    .fetch_all(connection)
    .await?;
    Ok(facets.into_iter().zip(ids).collect())
}

/// Writes texts into the indexes, in place of what was there.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    apps: &[Indexed<'_>],
) -> Result<(), StoreError> {
    rows::insert(
        &mut *connection,
        "INSERT OR REPLACE INTO app_names (rowid, name, slug)",
        apps,
        "",
        |mut row, app| {
            row.push_bind(app.id)
                .push_bind(app.name)
                .push_bind(app.slug);
        },
    )
    .await?;
    rows::insert(
        &mut *connection,
        "INSERT OR REPLACE INTO app_texts (rowid, name, slug, tagline, category, description)",
        apps,
        "",
        |mut row, app| {
            row.push_bind(app.id)
                .push_bind(app.name)
                .push_bind(app.slug)
                .push_bind(app.tagline)
                .push_bind(app.category)
                .push_bind(app.description.as_str());
        },
    )
    .await?;
    let mut spelled: Vec<String> = apps
        .iter()
        .flat_map(|app| words(app.name))
        .filter(|word| WORD_CHARS.contains(&word.chars().count()))
        .collect();
    spelled.sort_unstable();
    spelled.dedup();
    rows::insert(
        connection,
        "INSERT OR IGNORE INTO name_words (word)",
        &spelled,
        "",
        |mut row, word| {
            row.push_bind(word.as_str());
        },
    )
    .await
}

/// Takes apps out of the catalog and its indexes.
pub(super) async fn remove(connection: &mut SqliteConnection, ids: &str) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM app_names WHERE rowid IN (SELECT value FROM json_each(?))",
        "DELETE FROM app_texts WHERE rowid IN (SELECT value FROM json_each(?))",
        "DELETE FROM apps WHERE id IN (SELECT value FROM json_each(?))",
    ] {
        sqlx::query(statement)
            .bind(ids)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Returns what of a release's description is indexed.
pub(super) fn description(release: &Release) -> String {
    let text = release.manifest.app.description.chars();
    text.take(DESCRIPTION_CHARS_MAX).collect()
}

/// Returns the indexed part of the description in a stored release, which was verified when it was stored.
pub(super) async fn stored_description(
    connection: &mut SqliteConnection,
    release: &[u8],
) -> Result<String, StoreError> {
    let bytes: Option<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM releases WHERE hash = ?")
        .bind(release)
        .fetch_optional(connection)
        .await?;
    let release: Option<Release> = bytes.and_then(|bytes| read(&bytes));
    Ok(release.as_ref().map(description).unwrap_or_default())
}

/// Returns the description that is indexed of an app.
pub(super) async fn indexed_description(
    connection: &mut SqliteConnection,
    app: i64,
) -> Result<String, StoreError> {
    let release: Option<Vec<u8>> = sqlx::query_scalar("SELECT described FROM apps WHERE id = ?")
        .bind(app)
        .fetch_optional(&mut *connection)
        .await?
        .flatten();
    match release {
        Some(release) => stored_description(connection, &release).await,
        None => Ok(String::new()),
    }
}

/// Reads a statement of the database without checking its proof again.
pub(super) fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    if let Some(statement) = Object::read(bytes) {
        return serde_json::from_slice(&statement.without("proof").concat()).ok();
    }
    let mut value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    value.as_object_mut()?.remove("proof");
    serde_json::from_value(value).ok()
}

impl Store {
    /// Puts every app that is not yet in the indexes into them.
    pub(super) async fn index_all(&self) -> Result<(), StoreError> {
        while self.index_some().await? {}
        Ok(())
    }

    async fn index_some(&self) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_with(super::BEGIN_WRITE).await?;
        let rows: Vec<(i64, String, Vec<u8>, i64)> = sqlx::query_as(
            "SELECT apps.id, apps.publisher, a.bytes, a.first_seen_at
             FROM apps JOIN announcements a ON a.id = apps.announcement
             WHERE apps.indexed = 0 ORDER BY apps.id LIMIT ?",
        )
        .bind(APPS_AT_ONCE)
        .fetch_all(&mut *transaction)
        .await?;
        let found = !rows.is_empty();
        for (id, publisher, bytes, announced_at) in rows {
            let publisher: Did = parse("publisher", &publisher)?;
            let announcement: Announcement = read(&bytes).ok_or_else(|| StoreError::Corrupt {
                what: "announcement",
                value: String::from_utf8_lossy(&bytes).chars().take(200).collect(),
            })?;
            sqlx::query(
                "UPDATE apps SET indexed = 1, name_key = ?2, tagline = ?3, announced_at = ?4,
                        described = (SELECT hash FROM releases WHERE hash = ?5)
                 WHERE id = ?1",
            )
            .bind(id)
            .bind(name_key(&announcement.card.name))
            .bind(&announcement.card.tagline)
            .bind(announced_at)
            .bind(announcement.release.blake3.as_bytes().as_slice())
            .execute(&mut *transaction)
            .await?;
            let release = announcement.release.blake3;
            let description = stored_description(&mut transaction, release.as_bytes()).await?;
            let texts = Indexed {
                id,
                name: &announcement.card.name,
                slug: announcement.slug.as_str(),
                tagline: &announcement.card.tagline,
                category: &announcement.card.category,
                description,
            };
            write(&mut transaction, &[texts]).await?;
            let history = super::key_states::history(&mut transaction, &publisher).await?;
            refile(&mut transaction, &history, Some(&announcement.slug)).await?;
        }
        transaction.commit().await?;
        Ok(found)
    }

    /// Notes which kinds of rights the newest release of an app needs, so that searches can leave it out.
    ///
    /// The kinds are opaque here: short words without spaces, such as `device`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn set_app_rights(&self, app: &AppId, kinds: &[String]) -> Result<(), StoreError> {
        let rights = set(kinds.iter().map(String::as_str));
        let publisher = app.publisher.to_string();
        let mut transaction = self.pool.begin_with(super::BEGIN_WRITE).await?;
        let changed = sqlx::query(
            "UPDATE apps SET rights = ?3 WHERE publisher = ?1 AND slug = ?2 AND rights IS NOT ?3",
        )
        .bind(&publisher)
        .bind(app.slug.as_str())
        .bind(rights)
        .execute(&mut *transaction)
        .await?;
        if changed.rows_affected() > 0 {
            file_again(&mut transaction, &publisher).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Notes a publisher's score, by which searches filter and sort. [`Store::score`] does so by itself.
    ///
    /// # Errors
    ///
    /// [`StoreError::Query`].
    pub async fn set_score(
        &self,
        publisher: &Did,
        micro_points: i64,
        band: Band,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with(super::BEGIN_WRITE).await?;
        set_score(&mut transaction, &publisher.to_string(), micro_points, band).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Notes a publisher's score beside its apps; needs a transaction that may write.
pub(super) async fn set_score(
    connection: &mut SqliteConnection,
    publisher: &str,
    micro_points: i64,
    band: Band,
) -> Result<(), StoreError> {
    let changed = sqlx::query(
        "INSERT INTO publisher_scores (publisher, micro_points, band) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET micro_points = ?2, band = ?3
         WHERE micro_points <> ?2 OR band <> ?3",
    )
    .bind(publisher)
    .bind(micro_points)
    .bind(band_name(band))
    .execute(&mut *connection)
    .await?;
    if changed.rows_affected() > 0 {
        sqlx::query("UPDATE apps SET micro_points = ?2, band = ?3 WHERE publisher = ?1")
            .bind(publisher)
            .bind(micro_points)
            .bind(band_name(band))
            .execute(&mut *connection)
            .await?;
        file_again(connection, publisher).await?;
    }
    Ok(())
}

/// Files the apps of a publisher that are shown under what they are filtered by now.
async fn file_again(connection: &mut SqliteConnection, publisher: &str) -> Result<(), StoreError> {
    const NOW: &str =
        "SELECT a.id AS app, f.category, f.architectures, IFNULL(a.rights, '?') AS rights,
                MIN(MAX(a.micro_points / 1000000, 0), 100) AS points
         FROM apps a JOIN facets f ON f.id = a.facet WHERE a.publisher = ?1";
    for statement in [
        format!(
            "INSERT OR IGNORE INTO facets (category, architectures, rights, points)
             SELECT DISTINCT category, architectures, rights, points FROM ({NOW})"
        ),
        format!(
            "UPDATE apps SET facet = f.id FROM ({NOW}) n JOIN facets f
                 USING (category, architectures, rights, points)
             WHERE apps.id = n.app"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(publisher)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A listed or hidden app: id, announcement's bytes, release's bytes, when it was heard, rights, points.
type Filed = (i64, Vec<u8>, Option<Vec<u8>>, i64, Option<String>, i64);

/// Shows or hides apps of a publisher, as its keys back their announcements or not.
pub(super) async fn refile(
    connection: &mut SqliteConnection,
    history: &KeyHistory,
    only: Option<&crate::id::Slug>,
) -> Result<(), StoreError> {
    let rows: Vec<Filed> = sqlx::query_as(
        "SELECT apps.id, a.bytes, r.bytes, a.first_seen_at, apps.rights, apps.micro_points
         FROM apps JOIN announcements a ON a.id = apps.announcement
         LEFT JOIN releases r ON r.hash = a.release_hash
         WHERE apps.publisher = ?1 AND (?2 IS NULL OR apps.slug = ?2)",
    )
    .bind(history.publisher().to_string())
    .bind(only.map(crate::id::Slug::as_str))
    .fetch_all(&mut *connection)
    .await?;
    for (id, bytes, release, heard_at, rights, micro_points) in rows {
        let heard = from_ms(heard_at)?;
        let facet = read_announcement(&bytes, release.as_deref(), history, heard, heard)?
            .filter(|(_, standing)| is_listed(*standing))
            .map(|(announcement, _)| Facet::of(&announcement, rights.as_deref(), micro_points));
        insert_facets(&mut *connection, facet.iter()).await?;
        sqlx::query(
            "UPDATE apps SET facet = (SELECT id FROM facets WHERE category = ? AND architectures = ?
                 AND rights = ? AND points = ?)
             WHERE id = ?",
        )
        .bind(facet.as_ref().map(|facet| facet.category.clone()))
        .bind(facet.as_ref().map(|facet| facet.architectures.clone()))
        .bind(facet.as_ref().map(|facet| facet.rights.clone().unwrap_or_else(|| "?".to_owned())))
        .bind(facet.as_ref().map(|facet| facet.points))
        .bind(id)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Indexes the description of a release that came, when it is the announced one.
pub(super) async fn describe(
    connection: &mut SqliteConnection,
    release: &Release,
    hash: Blake3Hash,
) -> Result<(), StoreError> {
    let app: Option<(i64, String, String, String)> = sqlx::query_as(
        "SELECT apps.id, apps.name, apps.tagline, apps.category
         FROM apps JOIN announcements a ON a.id = apps.announcement
         WHERE apps.publisher = ? AND apps.slug = ? AND a.release_hash = ?3 AND apps.described IS NOT ?3",
    )
    .bind(release.publisher.to_string())
    .bind(release.manifest.app.id.as_str())
    .bind(hash.as_bytes().as_slice())
    .fetch_optional(&mut *connection)
    .await?;
    let Some((id, name, tagline, category)) = app else {
        return Ok(());
    };
    let texts = Indexed {
        id,
        name: &name,
        slug: release.manifest.app.id.as_str(),
        tagline: &tagline,
        category: &category,
        description: description(release),
    };
    write(&mut *connection, &[texts]).await?;
    sqlx::query("UPDATE apps SET described = ? WHERE id = ?")
        .bind(hash.as_bytes().as_slice())
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}
