//! Sessions: random tokens of which only hashes are kept; they survive restarts, expire and rotate.

use std::net::IpAddr;
use std::time::Duration;

use archy_registry::Blake3Hash;
use jiff::Timestamp;
use sqlx::{Row, SqlitePool};
use tokio::sync::watch;

use super::{random_token, same};

/// However busy, a session ends after so many idle spans.
const LIFETIME_IN_IDLE_SPANS: u32 = 10;
/// A token older than this is replaced at the next visit.
const ROTATE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// A replaced token still works for so long, for requests that were on their way.
const ROTATED_GRACE: Duration = Duration::from_secs(60);
/// `used` is written at most so often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Sessions at once; the one not used for longest ends first.
const SESSIONS_MAX: i64 = 64;

/// A session that has just begun.
#[derive(Clone)]
pub struct Login {
    /// For the cookie.
    pub token: String,
    /// For the header of requests that change something.
    pub csrf: String,
}

/// A session that is open.
#[derive(Clone)]
pub struct SessionInfo {
    /// For the header of requests that change something.
    pub csrf: String,
    /// Whether the token should be replaced now.
    pub due: bool,
}

impl SessionInfo {
    /// Returns whether `csrf` is this session's.
    pub fn csrf_is(&self, csrf: &str) -> bool {
        same(&self.csrf, csrf)
    }
}

/// All sessions.
pub struct Sessions {
    pool: SqlitePool,
    idle: Duration,
    ended: watch::Sender<()>,
}

impl Sessions {
    pub(super) fn new(pool: SqlitePool, idle: Duration) -> Self {
        Self {
            pool,
            idle,
            ended: watch::Sender::new(()),
        }
    }

    /// Returns a receiver that changes when sessions end, for streams that outlive a request.
    pub fn ended(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }

    /// Opens a session.
    pub(super) async fn begin(&self, from: IpAddr, now: Timestamp) -> Result<Login, sqlx::Error> {
        self.sweep(now).await?;
        let login = Login {
            token: random_token(),
            csrf: random_token(),
        };
        sqlx::query(
            "INSERT INTO session (token_hash, csrf, address, created_s, used_s) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(hash(&login.token))
        .bind(&login.csrf)
        .bind(address(from))
        .bind(now.as_second())
        .bind(now.as_second())
        .execute(&self.pool)
        .await?;
        sqlx::query(
            "DELETE FROM session WHERE token_hash IN \
             (SELECT token_hash FROM session ORDER BY used_s DESC, rowid DESC LIMIT -1 OFFSET ?)",
        )
        .bind(SESSIONS_MAX)
        .execute(&self.pool)
        .await?;
        Ok(login)
    }

    /// Finds the open session of a token and notes that it was used.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn find(
        &self,
        token: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Option<SessionInfo>, sqlx::Error> {
        self.look_up(token, from, now, true).await
    }

    /// Returns whether a session is still open; looking does not keep it open.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn is_open(
        &self,
        token: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        Ok(self.look_up(token, from, now, false).await?.is_some())
    }

    async fn look_up(
        &self,
        token: &str,
        from: IpAddr,
        now: Timestamp,
        touch: bool,
    ) -> Result<Option<SessionInfo>, sqlx::Error> {
        if token.len() != 64 {
            return Ok(None);
        }
        let hash = hash(token);
        let row = sqlx::query(
            "SELECT csrf, created_s, used_s, rotated_s FROM session \
             WHERE token_hash = ? AND address = ?",
        )
        .bind(&hash)
        .bind(address(from))
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let now_s = now.as_second();
        let age = |column: &str| -> Result<Duration, sqlx::Error> {
            let then: i64 = row.try_get(column)?;
            Ok(Duration::from_secs(
                u64::try_from(now_s - then).unwrap_or_default(),
            ))
        };
        let (created, used) = (age("created_s")?, age("used_s")?);
        let rotated = row
            .try_get::<Option<i64>, _>("rotated_s")?
            .map(|_| age("rotated_s"))
            .transpose()?;
        if used > self.idle
            || created > self.idle * LIFETIME_IN_IDLE_SPANS
            || rotated.is_some_and(|age| age > ROTATED_GRACE)
        {
            self.remove(&hash).await?;
            return Ok(None);
        }
        if touch && used > TOUCH_EVERY {
            sqlx::query("UPDATE session SET used_s = ? WHERE token_hash = ?")
                .bind(now_s)
                .bind(&hash)
                .execute(&self.pool)
                .await?;
        }
        Ok(Some(SessionInfo {
            csrf: row.try_get("csrf")?,
            due: rotated.is_none() && created > ROTATE_AFTER,
        }))
    }

    /// Replaces a session's token; its age starts again.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn rotate(
        &self,
        token: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Login, sqlx::Error> {
        let login = self.begin(from, now).await?;
        sqlx::query("UPDATE session SET rotated_s = ? WHERE token_hash = ?")
            .bind(now.as_second())
            .bind(hash(token))
            .execute(&self.pool)
            .await?;
        Ok(login)
    }

    /// Ends the session of a token.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn end(&self, token: &str) -> Result<(), sqlx::Error> {
        self.remove(&hash(token)).await?;
        self.ended.send_replace(());
        Ok(())
    }

    pub(super) async fn end_all(&self) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM session")
            .execute(&self.pool)
            .await?;
        self.ended.send_replace(());
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), sqlx::Error> {
        let idle = i64::try_from(self.idle.as_secs()).unwrap_or(i64::MAX);
        sqlx::query("DELETE FROM session WHERE used_s < ? OR rotated_s < ?")
            .bind(now.as_second().saturating_sub(idle))
            .bind(now.as_second() - 60)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn remove(&self, hash: &str) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM session WHERE token_hash = ?")
            .bind(hash)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn hash(token: &str) -> String {
    Blake3Hash::of(token.as_bytes()).to_string()
}

/// One text per address; all loopback addresses are one, because `localhost` may be either family.
fn address(from: IpAddr) -> String {
    let canonical = from.to_canonical();
    if canonical.is_loopback() {
        "loopback".to_owned()
    } else {
        canonical.to_string()
    }
}
