//! Keeps what the owner decided in files beside the databases.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::check;
use crate::api::types::{Policy, Problem};
use crate::problem as explain;

/// The policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file.
    #[error("could not read the policy {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no policy.
    #[error("the policy {} is not one; mend it, or remove it to have the usual one", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It asks for something that cannot be.
    #[error("the policy {} cannot be met: {message}; mend it, or remove it to have the usual one", path.display())]
    Senseless {
        /// Which file.
        path: PathBuf,
        /// What.
        message: String,
    },
}

/// What an owner decides; the usual is its default.
pub trait Decided: Clone + Default + Serialize + DeserializeOwned {
    /// Checks that it asks for something that can be.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check(&self) -> Result<(), Problem>;
}

impl Decided for Policy {
    fn check(&self) -> Result<(), Problem> {
        check(self)
    }
}

/// The owner's policy, as it is now.
#[derive(Debug)]
pub struct Policies<P = Policy> {
    path: PathBuf,
    now: watch::Sender<P>,
}

impl<P: Decided> Policies<P> {
    /// Reads the file; without one the policy is the usual one.
    ///
    /// # Errors
    ///
    /// [`PolicyError`]: a policy that cannot be read must not silently become a laxer one.
    pub fn open(path: &Path) -> Result<Self, PolicyError> {
        let path = path.to_owned();
        let policy = match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<P>(&bytes) {
                Ok(policy) => policy,
                Err(source) => return Err(PolicyError::Malformed { path, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => P::default(),
            Err(source) => return Err(PolicyError::Read { path, source }),
        };
        if let Err(problem) = policy.check() {
            let message = problem.message;
            return Err(PolicyError::Senseless { path, message });
        }
        let now = watch::Sender::new(policy);
        Ok(Self { path, now })
    }

    /// Returns the policy.
    pub fn now(&self) -> P {
        self.now.borrow().clone()
    }

    /// Returns a receiver that changes with the policy.
    pub fn watch(&self) -> watch::Receiver<P> {
        self.now.subscribe()
    }

    /// Replaces the policy, on disk first.
    ///
    /// # Errors
    ///
    /// When it makes no sense or cannot be written; the old one then stays.
    pub fn set(&self, policy: P) -> Result<(), Problem> {
        policy.check()?;
        write(&self.path, &policy).map_err(|error| explain::internal("keep the policy", &error))?;
        self.now.send_replace(policy);
        Ok(())
    }
}

/// Writes the whole file beside its place, and moves it there once the disk has it.
fn write(path: &Path, policy: &impl Serialize) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let text = serde_json::to_string_pretty(policy).map_err(io::Error::other)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(directory)?.sync_all()
}
