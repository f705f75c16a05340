//! Searching the catalog: what a person types, filters and an order, answered in bounded time.
//!
//! The indexes yield candidates, at most [`CANDIDATES_MAX`] each, texts only when names do not yield enough;
//! `vocabulary` says which whole words a beginning stands for, `rank` puts candidates in order, `spelling` says what
//! a word that finds nothing may mean. Nothing is verified again here: an app whose announcement no longer holds was
//! taken from view when its key state came ([`super::index`]).

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use sqlx::SqliteConnection;

use super::index::{self, words};
use super::{Store, StoreError, from_ms, json, parse};
use crate::announcement::Announcement;
use crate::did::Did;
use crate::id::AppId;
use crate::manifest::Category;
use crate::trust::Band;

mod rank;
mod spelling;
mod vocabulary;

use vocabulary::Vocabulary;

/// Most apps of one page.
pub const SEARCH_LIMIT_MAX: u32 = 200;
/// Apps that one index may propose. Of a word that more apps have, those that were heard of first are looked at.
const CANDIDATES_MAX: u32 = 1000;
/// Most words of a search that count.
const WORDS_MAX: usize = 8;
/// Most characters of a word that count.
const WORD_CHARS_MAX: usize = 40;
/// A single word of fewer characters is looked for in names only: nearly every text has a word that starts so.
const TEXT_CHARS_MIN: usize = 3;
/// Below this total the apps are collected by their filters and sorted; above, they are met in order.
const SPARSE_APPS: u32 = 2000;

/// What to look for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Words that each must start a word of name, slug, tagline, category or description; empty for everything.
    pub text: String,
    /// Only this category.
    pub category: Option<Category>,
    /// Only apps with images for this OCI architecture.
    pub architecture: Option<String>,
    /// Only publishers with at least this many whole points, 0 to 100.
    pub points_min: u8,
    /// Only apps whose newest release needs none of these kinds of rights; leaves out those of which it is unknown.
    pub without_rights: Vec<String>,
    /// Only this publisher.
    pub publisher: Option<Did>,
    /// In which order.
    pub sort: Sort,
    /// Apps to skip.
    pub offset: u32,
    /// Apps to return, at most [`SEARCH_LIMIT_MAX`]; 0 means that many.
    pub limit: u32,
}

/// In which order apps are returned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Best match first; by name when there are no words.
    #[default]
    Relevance,
    /// By name.
    Name,
    /// The latest announced first.
    Newest,
    /// The highest score first.
    Score,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The page.
    pub hits: Vec<Hit>,
    /// How many there are on all pages.
    pub total: u32,
    /// Whether there may be more than `total`: the words are so common that not all apps were looked at.
    pub is_at_least: bool,
    /// How many there are per category, whichever category was asked for.
    pub categories: Vec<(Category, u32)>,
    /// The words that were looked for instead, when those that were asked for are found nowhere.
    pub corrected: Option<String>,
}

/// An app that was found: what a shop window shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The newest announcement, as it was when it was verified and admitted.
    pub announcement: Announcement,
    /// When this node first heard of the app.
    pub first_seen: Timestamp,
    /// When this node first heard the newest announcement.
    pub announced: Timestamp,
    /// The publisher's score as it was set last, in millionths of a point.
    pub micro_points: i64,
    /// The score in a word.
    pub band: Band,
    /// Kinds of rights that the newest release needs, once they were worked out.
    pub rights: Option<Vec<String>>,
    /// Other publishers whose app has the same slug.
    pub same_name_as: Vec<Did>,
    /// Since when the publisher is frozen because it contradicted itself.
    pub frozen_since: Option<Timestamp>,
}

impl Hit {
    /// Returns the app.
    pub fn app(&self) -> AppId {
        self.announcement.app()
    }

    /// Tells whether there is no news of the app since its announcement expired.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.announcement.expires <= now
    }
}

/// The ids of a page and what is told beside them.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) ids: Vec<i64>,
    pub(super) total: u32,
    is_at_least: bool,
    categories: Vec<(Category, u32)>,
    corrected: Option<String>,
}

impl Store {
    /// Searches the catalog. Whatever the text is, it is only words.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn search(&self, search: &Search) -> Result<Found, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let page = page(&mut transaction, search).await?;
        Ok(Found {
            hits: hits(&mut transaction, &page.ids).await?,
            total: page.total,
            is_at_least: page.is_at_least,
            categories: page.categories,
            corrected: page.corrected,
        })
    }
}

/// Finds the apps of a page.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    search: &Search,
) -> Result<Page, StoreError> {
    let asked = asked_words(&search.text);
    if asked.is_empty() {
        return everything(connection, search).await;
    }
    let names_only = asked.len() == 1 && asked[0].chars().count() < TEXT_CHARS_MIN;
    if names_only {
        return matching(
            connection,
            search,
            &format!("\"{}\"*", asked[0]),
            &asked,
            true,
        )
        .await;
    }
    let known = Vocabulary::of(&mut *connection, asked.iter()).await?;
    let query = known.query(&exactly(&asked));
    let page = matching(&mut *connection, search, &query, &asked, false).await?;
    if page.total > 0 || !page.categories.is_empty() {
        return Ok(page);
    }
    let Some(alternatives) = spelling::correct(&mut *connection, &asked, &known).await? else {
        return Ok(page);
    };
    let first: Vec<String> = alternatives.iter().map(|words| words[0].clone()).collect();
    let known = Vocabulary::of(&mut *connection, alternatives.iter().flatten()).await?;
    let query = known.query(&alternatives);
    let mut page = matching(connection, search, &query, &first, false).await?;
    if !page.categories.is_empty() {
        page.corrected = Some(first.join(" "));
    }
    Ok(page)
}

fn exactly(words: &[String]) -> Vec<Vec<String>> {
    words.iter().map(|word| vec![word.clone()]).collect()
}

/// Takes the words from what a person types.
fn asked_words(text: &str) -> Vec<String> {
    // What lies beyond is not even read.
    let chars_max = 4 * WORDS_MAX * WORD_CHARS_MAX;
    let end = text
        .char_indices()
        .nth(chars_max)
        .map_or(text.len(), |(at, _)| at);
    words(&text[..end])
        .take(WORDS_MAX)
        .map(|word| word.chars().take(WORD_CHARS_MAX).collect())
        .collect()
}

/// What apps must be, as conditions on `facets f`: ?1 architecture, ?2 points, ?3 rights as JSON.
const FILTER: &str =
    "(?1 IS NULL OR instr(f.architectures, ' ' || ?1 || ' ') > 0) AND f.points >= ?2
     AND (?3 = '[]' OR (f.rights <> '?' AND NOT EXISTS
          (SELECT 1 FROM json_each(?3) r WHERE instr(f.rights, ' ' || r.value || ' ') > 0)))";

/// Writes what apps must be, as conditions on `apps a`: most searches filter by nothing and need no facet.
fn filter(search: &Search) -> String {
    if is_unfiltered(search) {
        return "a.facet IS NOT NULL".to_owned();
    }
    format!("EXISTS (SELECT 1 FROM facets f WHERE f.id = a.facet AND {FILTER})")
}

fn is_unfiltered(search: &Search) -> bool {
    search.architecture.is_none() && search.points_min == 0 && search.without_rights.is_empty()
}

fn filtered<'q>(
    sql: String,
    search: &'q Search,
) -> sqlx::query::QueryScalar<'q, sqlx::Sqlite, String, sqlx::sqlite::SqliteArguments> {
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(search.architecture.as_deref())
        .bind(i64::from(search.points_min))
        .bind(json(&search.without_rights))
}

fn limit(search: &Search) -> u32 {
    match search.limit {
        0 => SEARCH_LIMIT_MAX,
        limit => limit.min(SEARCH_LIMIT_MAX),
    }
}

/// Finds apps by words.
async fn matching(
    connection: &mut SqliteConnection,
    search: &Search,
    query: &str,
    words: &[String],
    names_only: bool,
) -> Result<Page, StoreError> {
    let wanted = rank::Wanted::new(words);
    let filter = filter(search);
    // One answer as JSON: handing thousands of rows through the driver takes longer than finding them.
    let sql = format!(
        "WITH named AS MATERIALIZED (SELECT rowid AS id FROM app_names WHERE app_names MATCH ?4 LIMIT {CANDIDATES_MAX}),
              shop AS MATERIALIZED
                  (SELECT rowid AS id FROM app_texts
                   WHERE NOT ?5 AND app_texts MATCH '- description : (' || ?4 || ')'
                   LIMIT iif((SELECT COUNT(*) FROM named) < {CANDIDATES_MAX}, {CANDIDATES_MAX}, 0)),
              texts AS MATERIALIZED
                  (SELECT rowid AS id FROM app_texts WHERE NOT ?5 AND app_texts MATCH ?4
                   LIMIT iif((SELECT COUNT(*) FROM named) + (SELECT COUNT(*) FROM shop) < {CANDIDATES_MAX}, {CANDIDATES_MAX}, 0)),
              begun AS MATERIALIZED
                  (SELECT id FROM apps WHERE name_key >= ?6 AND name_key < ?6 || char(0x10ffff)
                   ORDER BY name_key LIMIT 200),
              slugs AS MATERIALIZED (SELECT id FROM apps WHERE slug = ?7 LIMIT 200),
              found(id, place) AS (
                  SELECT id, 0 FROM named UNION ALL SELECT id, 0 FROM begun UNION ALL SELECT id, 0 FROM slugs
                  UNION ALL SELECT id, 1 FROM shop UNION ALL SELECT id, 2 FROM texts),
              best(id, place) AS MATERIALIZED (SELECT id, MIN(place) FROM found GROUP BY id)
         SELECT json_object('full', (SELECT COUNT(*) FROM named) + (SELECT COUNT(*) FROM shop) >= {CANDIDATES_MAX}
                                    OR (SELECT COUNT(*) FROM texts) >= {CANDIDATES_MAX},
             'candidates', json((SELECT json_group_array(json_array(
                 a.id, best.place, a.category, a.name_key, a.slug, a.micro_points, a.announced_at))
             FROM best JOIN apps a USING (id)
             WHERE {filter} AND (?8 IS NULL OR a.publisher = ?8))))"
    );
    let answer = filtered(sql, search)
        .bind(query)
        .bind(names_only)
        .bind(&wanted.name_key)
        .bind(&wanted.slug)
        .bind(search.publisher.map(|publisher| publisher.to_string()))
        .fetch_one(connection)
        .await?;
    let answer: Candidates<'_> = super::answer("catalog", &answer)?;
    let mut counts = [0_u32; Category::ALL.len()];
    for candidate in &answer.candidates {
        let place = Category::ALL
            .iter()
            .position(|category| category.as_str() == candidate.category);
        if let Some(place) = place {
            counts[place] += 1;
        }
    }
    let mut candidates = answer.candidates;
    if let Some(category) = search.category {
        candidates.retain(|candidate| candidate.category == category.as_str());
    }
    rank::order(&mut candidates, &wanted, search.sort);
    let page = candidates
        .iter()
        .skip(search.offset as usize)
        .take(limit(search) as usize);
    Ok(Page {
        ids: page.map(|candidate| candidate.id).collect(),
        total: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
        is_at_least: answer.full != 0,
        categories: Category::ALL
            .into_iter()
            .zip(counts)
            .filter(|(_, apps)| *apps > 0)
            .collect(),
        corrected: None,
    })
}

#[derive(Deserialize)]
struct Candidates<'a> {
    full: u8,
    #[serde(borrow)]
    candidates: Vec<rank::Candidate<'a>>,
}

/// Lists apps by filters alone.
async fn everything(
    connection: &mut SqliteConnection,
    search: &Search,
) -> Result<Page, StoreError> {
    let publisher = search.publisher.map(|publisher| publisher.to_string());
    let counts = match publisher {
        None if is_unfiltered(search) => {
            "SELECT f.category, SUM(f.apps) AS apps FROM facets f WHERE f.apps > 0 GROUP BY 1"
                .to_owned()
        }
        // By the index that the categories are in order of, every row would be looked up.
        None => format!(
            "SELECT f.category, SUM(f.apps) AS apps FROM facets f NOT INDEXED WHERE f.apps > 0 AND {FILTER} GROUP BY 1"
        ),
        Some(_) => format!(
            "SELECT f.category, COUNT(*) AS apps FROM apps a JOIN facets f ON f.id = a.facet
             WHERE a.publisher = ?4 AND {FILTER} GROUP BY 1"
        ),
    };
    let sql = format!("SELECT json_group_array(json_array(category, apps)) FROM ({counts})");
    let counts = filtered(sql, search)
        .bind(&publisher)
        .fetch_one(&mut *connection)
        .await?;
    let counts: Vec<(String, u32)> = super::answer("catalog", &counts)?;
    let mut categories = Vec::with_capacity(counts.len());
    for (category, apps) in counts {
        categories.push((parse::<Category>("category", &category)?, apps));
    }
    let total = categories
        .iter()
        .filter(|(category, _)| search.category.is_none_or(|wanted| wanted == *category))
        .map(|(_, apps)| apps)
        .sum();
    let order = match search.sort {
        Sort::Relevance | Sort::Name => "a.name_key, a.id",
        Sort::Newest => "a.announced_at DESC, a.id DESC",
        Sort::Score => "a.micro_points DESC, a.id DESC",
    };
    let index = match search.sort {
        Sort::Relevance | Sort::Name => "apps_name",
        Sort::Newest => "apps_announced",
        Sort::Score => "apps_points",
    };
    let wanted = format!("{FILTER} AND (?4 IS NULL OR f.category = ?4)");
    let is_everything = is_unfiltered(search) && search.category.is_none();
    // Few apps are collected by their facets, many are met in order: neither way walks far.
    let from = match (&publisher, total < SPARSE_APPS) {
        (Some(_), _) => {
            format!("apps a JOIN facets f ON f.id = a.facet WHERE {wanted} AND a.publisher = ?5")
        }
        (None, true) => {
            format!(
                "facets f CROSS JOIN apps a INDEXED BY apps_facet ON a.facet = f.id WHERE {wanted}"
            )
        }
        (None, false) if is_everything => {
            format!("apps a INDEXED BY {index} WHERE a.facet IS NOT NULL")
        }
        (None, false) => {
            format!(
                "apps a INDEXED BY {index} CROSS JOIN facets f ON f.id = a.facet WHERE {wanted}"
            )
        }
    };
    // A number bound as the limit itself would have the statement prepared anew each time.
    let sql = format!(
        "SELECT json_group_array(id) FROM (SELECT a.id FROM {from} ORDER BY {order} LIMIT CAST(?6 AS INTEGER) OFFSET CAST(?7 AS INTEGER))"
    );
    let ids = filtered(sql, search)
        .bind(search.category.map(Category::as_str))
        .bind(&publisher)
        .bind(limit(search))
        .bind(search.offset)
        .fetch_one(connection)
        .await?;
    Ok(Page {
        ids: super::answer("catalog", &ids)?,
        total,
        is_at_least: false,
        categories,
        corrected: None,
    })
}

/// What is told of an app, in the order in which the query of [`hits`] writes it.
#[derive(Deserialize)]
struct HitRow<'a> {
    #[serde(borrow)]
    announcement: Cow<'a, str>,
    first_seen_at: i64,
    announced_at: i64,
    micro_points: i64,
    #[serde(borrow)]
    band: Cow<'a, str>,
    #[serde(borrow)]
    rights: Option<Cow<'a, str>>,
    same_name: Vec<Did>,
    frozen_since: Option<i64>,
}

/// Reads what is shown of apps, in their order.
async fn hits(connection: &mut SqliteConnection, ids: &[i64]) -> Result<Vec<Hit>, StoreError> {
    let rows: String = sqlx::query_scalar(
        "SELECT json_group_array(json_array(CAST(n.bytes AS TEXT), a.first_seen_at, a.announced_at, a.micro_points,
                a.band, a.rights,
                (SELECT json_group_array(publisher) FROM (SELECT o.publisher FROM apps o
                 WHERE o.slug = a.slug AND o.publisher <> a.publisher ORDER BY o.first_seen_at, o.id LIMIT 20)),
                (SELECT MIN(found_at) FROM equivocations e WHERE e.publisher = a.publisher)) ORDER BY i.key)
         FROM json_each(?) i JOIN apps a ON a.id = i.value JOIN announcements n ON n.id = a.announcement",
    )
    .bind(json(&ids))
    .fetch_one(connection)
    .await?;
    let rows: Vec<HitRow<'_>> = super::answer("catalog", &rows)?;
    rows.into_iter().map(hit).collect()
}

fn hit(row: HitRow<'_>) -> Result<Hit, StoreError> {
    let announcement = index::read(row.announcement.as_bytes());
    Ok(Hit {
        announcement: announcement.ok_or_else(|| StoreError::Corrupt {
            what: "announcement",
            value: row.announcement.chars().take(200).collect(),
        })?,
        first_seen: from_ms(row.first_seen_at)?,
        announced: from_ms(row.announced_at)?,
        micro_points: row.micro_points,
        band: index::band(&row.band)?,
        rights: row
            .rights
            .map(|rights| rights.split_whitespace().map(str::to_owned).collect()),
        same_name_as: row.same_name,
        frozen_since: row.frozen_since.map(from_ms).transpose()?,
    })
}
