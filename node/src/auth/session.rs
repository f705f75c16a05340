//! Sessions: pairs of random tokens of which only hashes are kept; they survive restarts and expire.
//!
//! Cookies do not know ports, so whoever serves a page on this host may hold the cookie. It is half of a session: the other
//! half comes in a header, and is told once, to who logs in.

use std::net::IpAddr;
use std::time::Duration;

use archy_registry::Blake3Hash;
use jiff::Timestamp;
use sqlx::{Row, SqlitePool};
use tokio::sync::watch;

use super::{TOKEN_LENGTH, random_token, same};

/// However busy, a session ends after so many idle spans.
const LIFETIME_IN_IDLE_SPANS: u32 = 10;
/// `used` is written at most so often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Sessions at once; the one not used for longest ends first.
const SESSIONS_MAX: i64 = 64;

/// A session that has just begun.
#[derive(Clone)]
pub struct Login {
    /// For the cookie.
    pub token: String,
    /// For the header of every request.
    pub csrf: String,
}

/// A session that is open.
struct Open {
    csrf_hash: String,
    idle: Duration,
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
            "INSERT INTO session (token_hash, csrf_hash, address, created_s, used_s) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(hash(&login.token))
        .bind(hash(&login.csrf))
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

    /// Returns whether both tokens are of one open session, and notes that it was used.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn admits(
        &self,
        token: &str,
        csrf: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        let Some(open) = self.look_up(token, from, now).await? else {
            return Ok(false);
        };
        if !same(&open.csrf_hash, &hash(csrf)) {
            return Ok(false);
        }
        if open.idle > TOUCH_EVERY {
            sqlx::query("UPDATE session SET used_s = ? WHERE token_hash = ?")
                .bind(now.as_second())
                .bind(hash(token))
                .execute(&self.pool)
                .await?;
        }
        Ok(true)
    }

    /// Returns whether a cookie's session is still open; looking does not keep it open.
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
        Ok(self.look_up(token, from, now).await?.is_some())
    }

    async fn look_up(
        &self,
        token: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Option<Open>, sqlx::Error> {
        if token.len() != TOKEN_LENGTH {
            return Ok(None);
        }
        let hash = hash(token);
        let row = sqlx::query(
            "SELECT csrf_hash, created_s, used_s FROM session \
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
        let idle = age("used_s")?;
        if idle > self.idle || age("created_s")? > self.idle * LIFETIME_IN_IDLE_SPANS {
            self.remove(&hash).await?;
            return Ok(None);
        }
        Ok(Some(Open {
            csrf_hash: row.try_get("csrf_hash")?,
            idle,
        }))
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
        sqlx::query("DELETE FROM session WHERE used_s < ?")
            .bind(now.as_second().saturating_sub(idle))
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
