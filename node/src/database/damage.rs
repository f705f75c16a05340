//! SQLite files that a disk spoiled: found before they are opened, renamed and never deleted, so that the daemon starts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{BUSY_TIMEOUT, DatabaseError};

/// What is appended to the name of a damaged file, before the time.
const MARK: &str = ".damaged-";
/// SQLite's files of one database beside it: what is not in it yet, and who reads that.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];
/// Result codes of a file that is torn, and of one that is no database (sqlite.org/rescode.html).
const DAMAGED: [i64; 2] = [11, 26];

/// Most bytes of a file that are all looked through: more would take a slow disk longer than systemd waits for a start.
const WHOLE_BYTES_MAX: u64 = 256 << 20;

/// How far a file is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// All of it, always: for a small one.
    Whole,
    /// All of it when the daemon did not end in order and it is not large, else its beginning.
    AfterCrash,
}

/// Renames a database that is damaged, with the files that belong to it; returns how it is called now. `None` when it is
/// whole, or not there.
///
/// # Errors
///
/// When it cannot be looked at for another reason, or not be renamed.
pub async fn set_aside(
    path: &Path,
    look: Look,
    now: Timestamp,
) -> Result<Option<PathBuf>, DatabaseError> {
    if !path.exists() {
        return Ok(None);
    }
    // SQLite removes it when the last one closes the database.
    let crashed = beside(path, COMPANIONS[0]).exists();
    let is_small = || {
        path.metadata()
            .is_ok_and(|file| file.len() <= WHOLE_BYTES_MAX)
    };
    let is_whole = look == Look::Whole || (crashed && is_small());
    let failed = |source| DatabaseError::Open {
        path: path.display().to_string(),
        source,
    };
    let Some(damage) = damage(path, is_whole).await.map_err(failed)? else {
        return Ok(None);
    };
    let aside = beside(
        path,
        &format!("{MARK}{}", now.strftime("%Y%m%dT%H%M%S.%3fZ")),
    );
    let moved = COMPANIONS.iter().try_for_each(|companion| {
        match std::fs::rename(beside(path, companion), beside(&aside, companion)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            moved => moved,
        }
    });
    // Itself last: as long as it is here, all of it is found damaged again.
    moved
        .and_then(|()| std::fs::rename(path, &aside))
        .map_err(|source| DatabaseError::SetAside {
            path: path.display().to_string(),
            source,
        })?;
    tracing::error!(database = %path.display(), aside = %aside.display(), damage, "a database is damaged and was set aside");
    Ok(Some(aside))
}

/// Returns the newest file that a database was set aside as and that is still there.
pub fn aside(path: &Path) -> Option<PathBuf> {
    let name = format!("{}{MARK}", path.file_name()?.to_str()?);
    let files = std::fs::read_dir(path.parent()?).ok()?.flatten();
    let ours = files.filter(|file| {
        let file = file.file_name();
        let file = file.to_string_lossy();
        file.starts_with(&name) && !COMPANIONS.iter().any(|companion| file.ends_with(companion))
    });
    ours.map(|file| file.path()).max()
}

/// Says what is wrong with a database, if it is damaged.
async fn damage(path: &Path, is_whole: bool) -> Result<Option<String>, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT);
    let question = if is_whole {
        "PRAGMA quick_check(1)"
    } else {
        "SELECT 'ok' FROM (SELECT count(*) FROM sqlite_schema)"
    };
    let asked = async {
        let mut connection = options.connect().await?;
        let said: String = sqlx::query_scalar(question)
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(said)
    };
    match asked.await {
        Ok(said) if said == "ok" => Ok(None),
        Ok(said) => Ok(Some(said)),
        Err(sqlx::Error::Database(error)) if is_damage(&*error) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

fn is_damage(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<i64>().ok());
    // An extended code has the plain one in its lowest byte.
    code.is_some_and(|code| DAMAGED.contains(&(code & 0xff)))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of many pages, closed in order.
    async fn database(path: &Path) {
        let pool = super::super::open(path).await.unwrap();
        sqlx::query("CREATE TABLE filler (text TEXT)")
            .execute(&pool)
            .await
            .unwrap();
        for _ in 0..50 {
            sqlx::query("INSERT INTO filler VALUES (hex(randomblob(2000)))")
                .execute(&pool)
                .await
                .unwrap();
        }
        pool.close().await;
    }

    fn tear(path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        // Not the first page, which every opening reads.
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0xa5);
        std::fs::write(path, bytes).unwrap();
    }

    #[tokio::test]
    async fn what_is_damaged_is_set_aside_and_what_is_whole_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db");
        let now = Timestamp::UNIX_EPOCH;
        let look = async |look| set_aside(&path, look, now).await.unwrap();
        assert_eq!(look(Look::Whole).await, None);
        database(&path).await;
        assert_eq!(look(Look::Whole).await, None);
        assert_eq!(aside(&path), None);

        tear(&path);
        assert_eq!(look(Look::AfterCrash).await, None);
        let torn = std::fs::read(&path).unwrap();
        std::fs::write(beside(&path, "-wal"), "").unwrap();
        let found = look(Look::AfterCrash).await.unwrap();
        assert_eq!(
            found,
            dir.path().join("node.db.damaged-19700101T000000.000Z")
        );
        assert_eq!(std::fs::read(&found).unwrap(), torn);
        assert_eq!(aside(&path).as_ref(), Some(&found));
        assert!(!path.exists() && !beside(&path, "-wal").exists());

        database(&path).await;
        std::fs::write(
            &path,
            "no database at all, but long enough to be taken for one",
        )
        .unwrap();
        let later = Timestamp::from_second(1).unwrap();
        let second = set_aside(&path, Look::AfterCrash, later).await.unwrap();
        assert_eq!(aside(&path), second);
        assert!(found.exists() && second.is_some());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db");
        std::fs::create_dir(&path).unwrap();
        let error = set_aside(&path, Look::Whole, Timestamp::UNIX_EPOCH).await;
        assert!(
            matches!(error, Err(DatabaseError::Open { .. })),
            "{error:?}"
        );
        assert!(path.exists());
    }
}
