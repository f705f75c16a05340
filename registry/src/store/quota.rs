//! How much is taken in, and from whom: bounds what strangers can make this node keep.
//!
//! Asked in this order, the first that is reached refuses: announcements of the app today, announcements of
//! the publisher today, apps of the publisher; and for publishers of whom nothing was ever installed or
//! pinned here also: statements of the Nostr key today, new apps of all strangers today, the size of the
//! database, the size of the catalog. When the catalog is full, apps of strangers whose announcement has
//! expired leave it first, the longest expired before the others.
//!
//! What bears on safety never leaves: counters, first sightings, contradictions, key states, and everything
//! of publishers of whom something is installed. Whether a statement holds is not asked here.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::{Store, StoreError, to_ms};
use crate::id::AppId;

/// How much is taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// New announcements of one app that are kept per day (UTC).
    pub announcements_per_app_and_day: u64,
    /// New announcements of one publisher that are kept per day.
    pub announcements_per_publisher_and_day: u64,
    /// Apps of one publisher in the catalog.
    pub apps_per_publisher: u64,
    /// New announcements per day that a Nostr key may carry for publishers that do not name it.
    pub announcements_per_pubkey_and_day: u64,
    /// Apps of strangers that may come to the catalog per day.
    pub new_apps_per_day: u64,
    /// Apps in the catalog; beyond it only publishers are admitted of whom something is installed.
    pub apps: u64,
    /// Size of the database in bytes from which on strangers are refused.
    pub size_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            announcements_per_app_and_day: 24,
            announcements_per_publisher_and_day: 400,
            apps_per_publisher: 200,
            announcements_per_pubkey_and_day: 400,
            new_apps_per_day: 20_000,
            apps: 250_000,
            size_bytes: 8 * 1024 * 1024 * 1024,
        }
    }
}

/// A limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quota {
    /// [`Limits::announcements_per_app_and_day`].
    AppDay,
    /// [`Limits::announcements_per_publisher_and_day`].
    PublisherDay,
    /// [`Limits::apps_per_publisher`].
    PublisherApps,
    /// [`Limits::announcements_per_pubkey_and_day`].
    PubkeyDay,
    /// [`Limits::new_apps_per_day`].
    NewAppsDay,
    /// [`Limits::size_bytes`].
    Size,
    /// [`Limits::apps`].
    Apps,
}

/// Nothing more is kept of somebody, because a limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} of {limit} is reached", .quota)]
pub struct OverQuota {
    /// Which limit.
    pub quota: Quota,
    /// How much it allows.
    pub limit: u64,
}

impl OverQuota {
    /// Says what a person can do about it.
    pub fn advice(&self) -> &'static str {
        match self.quota {
            Quota::AppDay | Quota::PublisherDay => {
                "Announce less often: the next announcement is taken after midnight UTC"
            }
            Quota::PublisherApps => {
                "Publish further apps under another identity, or let this node's owner install one of them"
            }
            Quota::PubkeyDay => {
                "Name the Nostr key in the publisher's key state (archy identity link-nostr), or wait until \
                 midnight UTC"
            }
            Quota::NewAppsDay => {
                "Wait until midnight UTC; publishers of whom something is installed are not affected"
            }
            Quota::Size | Quota::Apps => {
                "Give the store more room, or install or pin something of this publisher: then it is heard"
            }
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppDay => "the limit of announcements per app and day",
            Self::PublisherDay => "the limit of announcements per publisher and day",
            Self::PublisherApps => "the limit of apps per publisher",
            Self::PubkeyDay => {
                "the limit of announcements per day by a Nostr key that the publisher does not name"
            }
            Self::NewAppsDay => "the limit of new apps by unknown publishers per day",
            Self::Size => "the limit of bytes in the database",
            Self::Apps => "the limit of apps in the catalog",
        })
    }
}

/// What was taken in so far, as far as one announcement is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// Whether the app is in the catalog.
    pub(super) has_app: bool,
    /// Whether something of the publisher was ever installed or pinned.
    pub(super) is_known: bool,
    /// Whether the publisher names the Nostr key that carried it, or none did.
    pub(super) is_linked: bool,
    pub(super) app_today: u64,
    pub(super) publisher_today: u64,
    pub(super) publisher_apps: u64,
    pub(super) pubkey_today: u64,
    pub(super) new_apps_today: u64,
    pub(super) apps: u64,
    pub(super) size_bytes: u64,
}

/// Says which limit refuses one more announcement.
pub(super) fn judge(standing: &Standing, limits: &Limits) -> Result<(), OverQuota> {
    let stranger = !standing.is_known;
    let newcomer = stranger && !standing.has_app;
    let rules = [
        (
            true,
            standing.app_today,
            limits.announcements_per_app_and_day,
            Quota::AppDay,
        ),
        (
            true,
            standing.publisher_today,
            limits.announcements_per_publisher_and_day,
            Quota::PublisherDay,
        ),
        (
            !standing.has_app,
            standing.publisher_apps,
            limits.apps_per_publisher,
            Quota::PublisherApps,
        ),
        (
            stranger && !standing.is_linked,
            standing.pubkey_today,
            limits.announcements_per_pubkey_and_day,
            Quota::PubkeyDay,
        ),
        (
            newcomer,
            standing.new_apps_today,
            limits.new_apps_per_day,
            Quota::NewAppsDay,
        ),
        (
            stranger,
            standing.size_bytes,
            limits.size_bytes,
            Quota::Size,
        ),
        (newcomer, standing.apps, limits.apps, Quota::Apps),
    ];
    for (applies, used, limit, quota) in rules {
        if applies && used >= limit {
            return Err(OverQuota { quota, limit });
        }
    }
    Ok(())
}

/// Returns the day that intake is counted under: days since 1970 (UTC).
pub(super) fn day(now: Timestamp) -> i64 {
    now.as_second().div_euclid(24 * 60 * 60)
}

pub(super) fn pubkey_subject(pubkey: &str) -> String {
    format!("key {pubkey}")
}

/// The subject under which new apps of strangers are counted.
pub(super) const NEW_APPS: &str = "new";

/// How long nothing is looked for to leave a full catalog after nothing was found.
const EVICTION_PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// Who was refused today: lets a flood be turned away before its signatures are checked.
#[derive(Debug, Default)]
pub(super) struct Tight {
    inner: Mutex<(i64, HashSet<String>)>,
    evict_after: Mutex<Option<Timestamp>>,
}

/// Subjects that are remembered; beyond it, newcomers are checked like everybody.
const TIGHT_MAX: usize = 65_536;

impl Tight {
    /// Tells whether it is worth looking for apps that may leave the catalog.
    pub(super) fn may_evict(&self, now: Timestamp) -> bool {
        let after = *self
            .evict_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        after.is_none_or(|after| after <= now)
    }

    /// Notes how many apps left the catalog.
    pub(super) fn evicted(&self, apps: u64, now: Timestamp) {
        let after = (apps == 0).then(|| now.checked_add(EVICTION_PAUSE).unwrap_or(Timestamp::MAX));
        *self
            .evict_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = after;
    }

    /// Notes whom a refusal concerns.
    pub(super) fn note(&self, refusal: OverQuota, app: &AppId, pubkey: Option<&str>, day: i64) {
        let subject = match refusal.quota {
            Quota::AppDay => format!("app {app}"),
            Quota::PublisherDay | Quota::PublisherApps => format!("publisher {}", app.publisher),
            Quota::PubkeyDay => pubkey_subject(pubkey.unwrap_or_default()),
            Quota::NewAppsDay | Quota::Size | Quota::Apps => NEW_APPS.to_owned(),
        };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.0 != day {
            *inner = (day, HashSet::new());
        }
        if inner.1.len() < TIGHT_MAX {
            inner.1.insert(subject);
        }
    }

    /// Tells whether any refusal of the day may concern this.
    fn concerns(&self, app: &AppId, pubkey: Option<&str>, day: i64) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 == day
            && !inner.1.is_empty()
            && (inner.1.contains(NEW_APPS)
                || inner.1.contains(&format!("publisher {}", app.publisher))
                || inner.1.contains(&format!("app {app}"))
                || pubkey.is_some_and(|pubkey| inner.1.contains(&pubkey_subject(pubkey))))
    }
}

impl Store {
    /// Tells whether an announcement of `app`, carried by the Nostr key `pubkey`, would be refused because a
    /// limit is reached. Cheap, so that it can be asked before any signature of the statement is checked.
    ///
    /// Answers `None` for a statement that was not refused before today: admitting it counts again.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn over_quota(
        &self,
        app: &AppId,
        pubkey: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<OverQuota>, StoreError> {
        if !self.tight.concerns(app, pubkey, day(now)) {
            return Ok(None);
        }
        let mut connection = self.pool.acquire().await?;
        let publisher = app.publisher.to_string();
        let history = self.known_keys(&mut connection, &app.publisher).await?;
        let is_linked = is_linked(history.newest(), pubkey, now);
        let (common, counts) = (
            common(&mut connection, now).await?,
            publisher_counts(&mut connection, &[publisher.as_str()], now).await?,
        );
        let counts = counts.into_iter().next().unwrap_or_default();
        let (app_today, pubkey_today, has_app): (i64, i64, bool) = sqlx::query_as(
            "SELECT IFNULL((SELECT kept FROM app_intake WHERE day = ?1 AND app =
                            (SELECT id FROM app_ids WHERE publisher = ?3 AND slug = ?4)), 0),
                    IFNULL((SELECT kept FROM intake WHERE day = ?1 AND subject = ?2), 0),
                    EXISTS (SELECT 1 FROM apps WHERE publisher = ?3 AND slug = ?4)",
        )
        .bind(day(now))
        .bind(pubkey.map(pubkey_subject))
        .bind(&publisher)
        .bind(app.slug.as_str())
        .fetch_one(&mut *connection)
        .await?;
        let standing = Standing {
            has_app,
            is_known: counts.is_known,
            is_linked,
            app_today: app_today.unsigned_abs(),
            publisher_today: counts.today,
            publisher_apps: counts.apps,
            pubkey_today: pubkey_today.unsigned_abs(),
            ..common
        };
        Ok(judge(&standing, &self.limits).err())
    }
}

/// Tells whether a publisher's newest key state names a Nostr key, or none carried the statement.
pub(super) fn is_linked(
    state: &crate::key_state::KeyState,
    pubkey: Option<&str>,
    now: Timestamp,
) -> bool {
    pubkey.is_none_or(|pubkey| state.binds_nostr(pubkey, now))
}

/// What was taken in of a publisher, and its score.
#[derive(Debug, Clone, Default)]
pub(super) struct PublisherCounts {
    pub(super) is_known: bool,
    pub(super) apps: u64,
    pub(super) today: u64,
    pub(super) frozen_since_ms: Option<i64>,
    pub(super) micro_points: i64,
    pub(super) band: String,
}

/// Reads what was taken in of all together.
pub(super) async fn common(
    connection: &mut sqlx::SqliteConnection,
    now: Timestamp,
) -> Result<Standing, StoreError> {
    let (apps, new_apps_today, size_bytes): (i64, i64, i64) = sqlx::query_as(
        "SELECT IFNULL((SELECT SUM(apps) FROM facets), 0),
                IFNULL((SELECT kept FROM intake WHERE day = ? AND subject = ?), 0),
                (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size())",
    )
    .bind(day(now))
    .bind(NEW_APPS)
    .fetch_one(connection)
    .await?;
    Ok(Standing {
        apps: apps.unsigned_abs(),
        new_apps_today: new_apps_today.unsigned_abs(),
        size_bytes: size_bytes.unsigned_abs(),
        ..Standing::default()
    })
}

/// What is told of a publisher: whether something of it was installed, apps, announcements today, first contradiction,
/// score, band.
type PublisherRow = (i64, i64, i64, Option<i64>, Option<i64>, Option<String>);

/// Reads what was taken in of each publisher, in their order.
pub(super) async fn publisher_counts(
    connection: &mut sqlx::SqliteConnection,
    publishers: &[&str],
    now: Timestamp,
) -> Result<Vec<PublisherCounts>, StoreError> {
    // One answer as JSON: handing rows through the driver takes longer than reading them.
    let answer: String = sqlx::query_scalar(
        "SELECT json_group_array(json_array(is_known, apps, today, frozen_since, micro_points, band)) FROM (
             SELECT EXISTS (SELECT 1 FROM evidence WHERE publisher = p.value
                            AND event ->> 'kind' IN ('installed', 'pinned')) AS is_known,
                    (SELECT COUNT(*) FROM apps WHERE publisher = p.value) AS apps,
                    IFNULL((SELECT SUM(kept) FROM app_ids k CROSS JOIN app_intake i ON i.day = ?2 AND i.app = k.id
                            WHERE k.publisher = p.value), 0) AS today,
                    (SELECT MIN(found_at) FROM equivocations WHERE publisher = p.value) AS frozen_since,
                    s.micro_points, s.band
             FROM json_each(?1) p LEFT JOIN publisher_scores s ON s.publisher = p.value ORDER BY p.key)",
    )
    .bind(super::json(&publishers))
    .bind(day(now))
    .fetch_one(connection)
    .await?;
    let rows: Vec<PublisherRow> = super::answer("publishers", &answer)?;
    let counts = rows.into_iter().map(
        |(is_known, apps, today, frozen_since_ms, micro_points, band)| PublisherCounts {
            is_known: is_known != 0,
            apps: apps.unsigned_abs(),
            today: today.unsigned_abs(),
            frozen_since_ms,
            micro_points: micro_points.unwrap_or(0),
            band: band.unwrap_or_else(|| "new".to_owned()),
        },
    );
    Ok(counts.collect())
}

/// Makes room in a full catalog: takes up to `apps` expired apps of strangers out, the longest expired first.
/// Returns how many left.
pub(super) async fn evict(
    connection: &mut sqlx::SqliteConnection,
    apps: u64,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let rows: Vec<(i64,)> = sqlx::query_as(
        "SELECT apps.id FROM apps JOIN announcements a ON a.id = apps.announcement
         WHERE a.expires < ?1 AND NOT EXISTS (SELECT 1 FROM evidence WHERE publisher = apps.publisher
               AND event ->> 'kind' IN ('installed', 'pinned'))
           AND NOT EXISTS (SELECT 1 FROM listings l WHERE l.publisher = apps.publisher AND l.slug = apps.slug)
         ORDER BY a.expires, apps.id LIMIT ?2",
    )
    .bind(to_ms(now))
    .bind(super::to_db(apps))
    .fetch_all(&mut *connection)
    .await?;
    let ids: Vec<i64> = rows.into_iter().map(|(id,)| id).collect();
    let ids_json = super::json(&ids);
    sqlx::query(
        "DELETE FROM releases WHERE (publisher, slug) IN
             (SELECT publisher, slug FROM apps WHERE id IN (SELECT value FROM json_each(?)))",
    )
    .bind(&ids_json)
    .execute(&mut *connection)
    .await?;
    super::index::remove(connection, &ids_json).await?;
    Ok(ids.len() as u64)
}

/// Forgets how much was taken in on days that are over.
pub(super) async fn forget_days(
    connection: &mut sqlx::SqliteConnection,
    now: Timestamp,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM intake WHERE day < ?",
        "DELETE FROM app_intake WHERE day < ?",
    ] {
        sqlx::query(statement)
            .bind(day(now))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
