//! Who may use the API over TCP: one owner, who claims the node once with a code and then logs in with a password.
//!
//! Knows nothing of HTTP. Passwords are kept as Argon2id hashes, session tokens as BLAKE3 hashes.

mod backoff;
mod secret;
mod session;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use jiff::Timestamp;
use sqlx::SqlitePool;
use tokio::sync::Semaphore;

use backoff::Backoff;
pub(crate) use secret::TOKEN_LENGTH;
use secret::{random_token, same};
pub use session::{Login, Sessions};

/// Shortest password in characters.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Longest password in characters.
pub const PASSWORD_CHARS_MAX: usize = 200;
/// Argon2id memory in KiB, with [`ARGON2_PASSES`] and one lane (RFC 9106 §4, second choice halved for small boards).
const ARGON2_MEMORY_KIB: u32 = 32 * 1024;
const ARGON2_PASSES: u32 = 3;
/// Password checks at once: each takes [`ARGON2_MEMORY_KIB`].
const CHECKS_MAX: usize = 2;

/// A claim or log-in was refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Wrong code or password; which of them it was and whether it exists is not said.
    #[error("that is not right")]
    Wrong,
    /// Too many wrong tries.
    #[error("too many wrong tries; wait {} s", .0.as_secs().max(1))]
    TooMany(Duration),
    /// The node has an owner already.
    #[error("this node has an owner already")]
    Claimed,
    /// The new password is too short or too long.
    #[error("use {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters for the password")]
    PasswordLength,
    /// A file of ours could not be read or written.
    #[error("could not use {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can read a secret.
    #[error("{} can be read by others: run chmod 600 on it", .0.display())]
    Mode(PathBuf),
    /// The database failed.
    #[error("could not use the session database")]
    Database(#[from] sqlx::Error),
    /// Hashing failed.
    #[error("could not hash the password: {0}")]
    Hash(String),
}

/// The owner's password, the claim code and the sessions.
pub struct Auth {
    dir: PathBuf,
    sessions: Sessions,
    backoff: Mutex<Backoff>,
    checks: Semaphore,
    claiming: tokio::sync::Mutex<()>,
}

impl Auth {
    /// Uses `dir` for the password's hash and the claim code, `pool` for sessions.
    ///
    /// # Errors
    ///
    /// [`AuthError::File`] when the directory cannot be made.
    pub fn open(dir: &Path, pool: SqlitePool, idle: Duration) -> Result<Self, AuthError> {
        make_private_dir(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            sessions: Sessions::new(pool, idle),
            backoff: Mutex::default(),
            checks: Semaphore::new(CHECKS_MAX),
            claiming: tokio::sync::Mutex::new(()),
        })
    }

    /// Returns the sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Returns whether somebody has set a password.
    pub fn is_claimed(&self) -> bool {
        self.password_file().exists()
    }

    /// Returns the claim code of a node without owner, making it on the first call; `None` once claimed.
    ///
    /// # Errors
    ///
    /// [`AuthError::File`] or [`AuthError::Mode`].
    pub fn claim_code(&self) -> Result<Option<ClaimCode>, AuthError> {
        if self.is_claimed() {
            return Ok(None);
        }
        let path = self.claim_file();
        if let Some(code) = read_private(&path)? {
            return Ok(Some(ClaimCode { code, fresh: false }));
        }
        let code = secret::claim_code();
        write_private(&path, &code)?;
        Ok(Some(ClaimCode { code, fresh: true }))
    }

    /// Makes whoever knows the code the owner and logs them in.
    ///
    /// # Errors
    ///
    /// [`AuthError::Wrong`], [`AuthError::TooMany`], [`AuthError::Claimed`], [`AuthError::PasswordLength`].
    pub async fn claim(
        &self,
        from: IpAddr,
        code: &str,
        password: String,
        now: Timestamp,
    ) -> Result<Login, AuthError> {
        let _only_one = self.claiming.lock().await;
        self.may_try(from, now)?;
        let Some(expected) = self.claim_code()? else {
            return Err(AuthError::Claimed);
        };
        if !same(
            &secret::normalise_code(code),
            &secret::normalise_code(&expected.code),
        ) {
            self.failed(from, now);
            return Err(AuthError::Wrong);
        }
        let chars = password.chars().count();
        if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
            return Err(AuthError::PasswordLength);
        }
        let hash = self.hash(password).await?;
        self.sessions.end_all().await?;
        write_private(&self.password_file(), &hash)?;
        remove(&self.claim_file())?;
        self.succeeded(from);
        Ok(self.sessions.begin(from, now).await?)
    }

    /// Logs the owner in.
    ///
    /// # Errors
    ///
    /// [`AuthError::Wrong`] also on a node without owner; [`AuthError::TooMany`].
    pub async fn login(
        &self,
        from: IpAddr,
        password: String,
        now: Timestamp,
    ) -> Result<Login, AuthError> {
        self.may_try(from, now)?;
        // Counted before the check, so that tries made at the same time do not all get in.
        self.failed(from, now);
        let stored = read_private(&self.password_file())?;
        let right = self.verify(password, stored).await?;
        if !right {
            return Err(AuthError::Wrong);
        }
        self.succeeded(from);
        Ok(self.sessions.begin(from, now).await?)
    }

    /// Forgets the password and ends every session, so that the node can be claimed again.
    ///
    /// # Errors
    ///
    /// [`AuthError::File`] when a file cannot be removed.
    pub async fn reset(&self) -> Result<(), AuthError> {
        remove(&self.password_file())?;
        remove(&self.claim_file())?;
        self.sessions.end_all().await?;
        Ok(())
    }

    fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    fn claim_file(&self) -> PathBuf {
        self.dir.join("claim-code")
    }

    fn may_try(&self, from: IpAddr, now: Timestamp) -> Result<(), AuthError> {
        let backoff = self
            .backoff
            .lock()
            .expect("nothing panics while it holds the lock");
        match backoff.wait(from, now) {
            Some(wait) => Err(AuthError::TooMany(wait)),
            None => Ok(()),
        }
    }

    fn failed(&self, from: IpAddr, now: Timestamp) {
        let mut backoff = self
            .backoff
            .lock()
            .expect("nothing panics while it holds the lock");
        backoff.failed(from, now);
    }

    fn succeeded(&self, from: IpAddr) {
        let mut backoff = self
            .backoff
            .lock()
            .expect("nothing panics while it holds the lock");
        backoff.succeeded(from);
    }

    async fn hash(&self, password: String) -> Result<String, AuthError> {
        let _permit = self
            .checks
            .acquire()
            .await
            .expect("the semaphore is never closed");
        blocking(move || {
            let salt = SaltString::encode_b64(&secret::random_bytes::<16>())
                .map_err(|error| AuthError::Hash(error.to_string()))?;
            argon2()
                .hash_password(password.as_bytes(), &salt)
                .map(|hash| hash.to_string())
                .map_err(|error| AuthError::Hash(error.to_string()))
        })
        .await
    }

    /// Takes as long for a node without password as for one with it.
    async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, AuthError> {
        let _permit = self
            .checks
            .acquire()
            .await
            .expect("the semaphore is never closed");
        blocking(move || {
            let exists = stored.is_some();
            let stored = stored.unwrap_or_else(|| DECOY.to_owned());
            let hash =
                PasswordHash::new(&stored).map_err(|error| AuthError::Hash(error.to_string()))?;
            let right = argon2().verify_password(password.as_bytes(), &hash).is_ok();
            Ok(right && exists)
        })
        .await
    }
}

/// The code that makes its reader the owner.
#[derive(Clone)]
pub struct ClaimCode {
    /// As shown to the owner.
    pub code: String,
    /// Whether it was made just now.
    pub fresh: bool,
}

/// A hash of nothing anybody knows, with the same cost as a real one.
const DECOY: &str = "$argon2id$v=19$m=32768,t=3,p=1$YXJjaHlkLWRlY295LXNhbHQ$WTRlPZcoGLQ1JiHIgbCrkPTQqPXlmC6aUP0WCYQcJnM";

fn argon2() -> Argon2<'static> {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, 1, None)
        .expect("the constants are within Argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
) -> Result<T, AuthError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| AuthError::Hash(error.to_string()))?
}

fn make_private_dir(dir: &Path) -> Result<(), AuthError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let file = |source| AuthError::File {
        path: dir.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(file)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(file)
}

/// Reads a secret; refuses it when others can read it too.
fn read_private(path: &Path) -> Result<Option<String>, AuthError> {
    use std::os::unix::fs::PermissionsExt;
    let file = |source| AuthError::File {
        path: path.to_owned(),
        source,
    };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(file(source)),
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(AuthError::Mode(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(file)?;
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// Writes a secret so that it is there whole, mode 0600, or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), AuthError> {
    use std::io::Write;
    let file = |source| AuthError::File {
        path: path.to_owned(),
        source,
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(dir).map_err(file)?;
    temporary.write_all(text.as_bytes()).map_err(file)?;
    temporary.write_all(b"\n").map_err(file)?;
    temporary.as_file().sync_all().map_err(file)?;
    temporary.persist(path).map_err(|error| file(error.error))?;
    Ok(())
}

fn remove(path: &Path) -> Result<(), AuthError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(AuthError::File {
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}
