//! Backups of installed apps: an app's data as it stood still, its secrets, its settings and what its publisher signed,
//! encrypted in a directory that the owner names; put back on this node or another, and proven by starting them apart.
//!
//! What is known of them lies in a file beside, so that asking for them waits for nobody.

use std::path::{Path, PathBuf};

use archy_registry::{AppId, Blake3Hash, Slug};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod contents;
mod create;
mod engine;
mod ledger;
mod rehearse;
mod restore;
mod schedule;

pub use contents::{Papers, TornError};
pub use engine::EngineError;
pub use rehearse::RehearseError;
pub use restore::RestoreError;
pub use schedule::{Every, Keep, Rehearse, Schedule, newest_backup};

use crate::change::UpdateError;
use crate::install::MachineError;
use crate::orchestrator::Orchestrator;
use crate::runtime::transient::Transient;
use crate::snapshot::{SnapshotError, SnapshotStore};
use engine::Engine;
use ledger::Ledger;
pub use ledger::{Plan, Proof, Unrehearsed};

/// Names a backup: the engine's own name for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(String);

/// Shortest beginning of a name that is taken for the whole.
const SHORT_LEN: usize = 8;
/// Room that stays free where backups are written, and where they are read to.
const SPARE_BYTES: u64 = 64 << 20;

impl std::fmt::Display for BackupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.0
    }
}

impl TryFrom<String> for BackupId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let length = (SHORT_LEN..=64).contains(&text.len());
        let digits = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match length && digits {
            true => Ok(Self(text)),
            false => Err(
                "a backup is named by 8 to 64 hexadecimal digits, as `archy backup list` shows them",
            ),
        }
    }
}

impl std::str::FromStr for BackupId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

/// One backup of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Its name.
    pub id: BackupId,
    /// The app.
    pub app: AppId,
    /// The release that wrote the data.
    pub release: Blake3Hash,
    /// That release's version, for people.
    pub version: String,
    /// When the app stood still for it.
    pub taken: Timestamp,
    /// Bytes of the data.
    pub bytes: u64,
}

/// All that is known of the backups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf {
    /// The backups, oldest first.
    pub backups: Vec<Backup>,
    /// When the repository was last asked; nothing is known before.
    pub listed: Option<Timestamp>,
    /// What came of the last rehearsal of each.
    pub proofs: std::collections::BTreeMap<BackupId, Proof>,
    /// When apps are backed up by themselves, and what came of it.
    pub plans: std::collections::BTreeMap<AppId, Plan>,
    /// What could not be read of schedules and proofs, and is as if it had never been: the file, for as long as it lies there.
    pub unreadable: Option<PathBuf>,
}

/// An app was not backed up, or its backups could not be told.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No such app.
    #[error("{0} is not installed")]
    NotInstalled(Slug),
    /// The app was changed meanwhile.
    #[error("{0} has another version by now")]
    OtherRelease(Slug),
    /// No such backup.
    #[error("there is no backup {0}")]
    Missing(BackupId),
    /// The beginning of a name fits several.
    #[error("several backups begin with {0}: write more of its name")]
    Ambiguous(BackupId),
    /// Not enough room.
    #[error(
        "not enough room in {directory}: a backup takes up to {needed_mib} MiB and {free_mib} MiB are free"
    )]
    Room {
        /// Where.
        directory: PathBuf,
        /// What it takes.
        needed_mib: u64,
        /// What there is.
        free_mib: u64,
    },
    /// The repository is not where it was.
    #[error(
        "the backups that were in {0} are not there; if they are on a disk of their own, it may not be mounted"
    )]
    Gone(PathBuf),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A backup is not whole.
    #[error(transparent)]
    Torn(#[from] TornError),
    /// The data could not be copied; the app runs on.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// A change that was interrupted could be neither finished nor taken back.
    #[error(transparent)]
    Unsettled(Box<UpdateError>),
    /// The owner changed their mind.
    #[error("the backup was cancelled")]
    Cancelled,
    /// Something of this machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl BackupError {
    /// Tells whether a backup itself is to blame, and not this machine.
    fn is_damage(&self) -> bool {
        match self {
            Self::Torn(_) => true,
            Self::Engine(error) => error.is_damage(),
            Self::NotInstalled(_)
            | Self::OtherRelease(_)
            | Self::Missing(_)
            | Self::Ambiguous(_)
            | Self::Room { .. }
            | Self::Gone(_)
            | Self::Snapshot(_)
            | Self::Unsettled(_)
            | Self::Cancelled
            | Self::Machine(_) => false,
        }
    }
}

impl From<UpdateError> for BackupError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::NotInstalled(app) => Self::NotInstalled(app),
            UpdateError::Machine(error) => Self::Machine(error),
            error @ (UpdateError::NoEarlier(_)
            | UpdateError::Refused(_)
            | UpdateError::ImageMissing { .. }
            | UpdateError::Snapshot(_)
            | UpdateError::Hook(_)
            | UpdateError::Claimed(_)
            | UpdateError::Adoption(_)
            | UpdateError::TakenBack { .. }
            | UpdateError::Cancelled) => Self::Unsettled(Box::new(error)),
        }
    }
}

/// What backups need on this node.
pub(crate) struct Backups {
    engine: Engine,
    ledger: Ledger,
    /// Copies on their way into a backup.
    staging: SnapshotStore,
    /// Everything of instances that run apart.
    apart: PathBuf,
    /// One of them at a time.
    stage: tokio::sync::Mutex<()>,
    /// The repository has one user at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Backups {
    pub(crate) fn new(config: &crate::Config, transient: &Transient) -> Self {
        let work = config.data_dir.join("backup-work");
        Self {
            engine: Engine::new(config, transient),
            ledger: Ledger::new(config.data_dir.join("backups.json")),
            staging: SnapshotStore::at(work.join("staging"), config, transient),
            apart: work.join("apart"),
            stage: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

impl Orchestrator {
    /// Returns what is known of the backups, at once.
    pub fn shelf(&self) -> Shelf {
        self.inner.backups.ledger.read()
    }

    /// Asks the repository which backups there are. One that does not exist yet has none.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; what was known stays.
    pub async fn list_backups(&self) -> Result<Shelf, BackupError> {
        let backups = &self.inner.backups;
        let _turn = backups.turn.lock().await;
        self.list_again().await?;
        Ok(backups.ledger.read())
    }

    /// Finds a backup by its name or the beginning of it.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub async fn find_backup(&self, id: &BackupId) -> Result<Backup, BackupError> {
        if let Ok(found) = named(&self.shelf().backups, id) {
            return Ok(found);
        }
        named(&self.list_backups().await?.backups, id)
    }

    /// Returns what its publisher signed for the version in a backup.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub async fn backup_papers(&self, backup: &Backup) -> Result<Papers, BackupError> {
        let backups = &self.inner.backups;
        let _turn = backups.turn.lock().await;
        backups.engine.open().await?;
        let description = contents::CONTENTS;
        let text = backups
            .engine
            .read(&backup.id, description.name, description.bytes_max);
        let contents = contents::parse(&text.await?)?;
        contents.is_of(backup)?;
        let file = contents::RELEASE;
        let release = backups
            .engine
            .read(&backup.id, file.name, file.bytes_max)
            .await?;
        let file = contents::KEYS;
        let keys = match contents.keys {
            true => Some(
                backups
                    .engine
                    .read(&backup.id, file.name, file.bytes_max)
                    .await?,
            ),
            false => None,
        };
        Ok(Papers { release, keys })
    }

    /// Reads all of the repository's own structure. When something of it is missing or damaged, the backup is not proven: that is
    /// kept, and returned.
    ///
    /// # Errors
    ///
    /// [`BackupError`] when that could not be found out.
    pub async fn check_backup(&self, backup: &Backup) -> Result<Option<Proof>, BackupError> {
        let began = Timestamp::now();
        let backups = &self.inner.backups;
        let _turn = backups.turn.lock().await;
        self.check_place()?;
        backups.engine.open().await?;
        match backups.engine.check().await {
            Ok(()) => Ok(None),
            Err(error) if error.is_damage() => {
                let failure = Some(error.to_string());
                Ok(Some(self.keep_proof(backup, began, failure)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets go of an app's backups that its schedule does not keep; returns how many.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub async fn thin_backups(&self, app: &AppId, keep: Keep) -> Result<usize, BackupError> {
        let backups = &self.inner.backups;
        let _turn = backups.turn.lock().await;
        let (before, ahead) = {
            let now = Timestamp::now();
            let known = backups.ledger.read();
            let ahead = |backup: &&Backup| backup.app == *app && backup.taken > now;
            (
                known.backups.len(),
                known.backups.iter().filter(ahead).count(),
            )
        };
        backups.engine.open().await?;
        backups.engine.thin(app, keep, ahead).await?;
        self.list_again().await?;
        Ok(before.saturating_sub(backups.ledger.read().backups.len()))
    }

    /// Lets go of one backup.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub async fn remove_backup(&self, backup: &Backup) -> Result<(), BackupError> {
        let backups = &self.inner.backups;
        let _turn = backups.turn.lock().await;
        self.check_place()?;
        backups.engine.open().await?;
        backups.engine.remove(&backup.id).await?;
        self.list_again().await?;
        tracing::info!(app = %backup.app, backup = %backup.id, "removed a backup");
        Ok(())
    }

    /// Decides when an app is backed up by itself.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when that cannot be written down.
    pub fn plan_backups(
        &self,
        app: &AppId,
        schedule: Option<Schedule>,
    ) -> Result<(), MachineError> {
        let now = Timestamp::now();
        self.inner.backups.ledger.change(|known| match schedule {
            None => {
                known.plans.remove(app);
            }
            Some(schedule) => {
                let fresh = Plan::new(schedule.clone(), now);
                let plan = known.plans.entry(app.clone()).or_insert(fresh);
                plan.schedule = schedule;
            }
        })
    }

    /// Notes what came of a try to back up an app that has a plan: `None` is success.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when that cannot be written down.
    pub fn note_backup(&self, app: &AppId, failure: Option<String>) -> Result<(), MachineError> {
        let now = Timestamp::now();
        self.inner.backups.ledger.change(|known| {
            if let Some(plan) = known.plans.get_mut(app) {
                plan.note(now, failure);
            }
        })
    }

    /// Notes why a backup of an app that has a plan could not be rehearsed, which says nothing of the backup.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when that cannot be written down.
    pub fn note_rehearsal(&self, app: &AppId, reason: String) -> Result<(), MachineError> {
        let at = Timestamp::now();
        self.inner.backups.ledger.change(|known| {
            if let Some(plan) = known.plans.get_mut(app) {
                plan.unrehearsed = Some(Unrehearsed { at, reason });
            }
        })
    }

    /// Returns the file with the password of the backups.
    pub fn backup_password_file(&self) -> &Path {
        self.inner.backups.engine.password_file()
    }

    /// Returns the repository's directory.
    pub fn backup_repository(&self) -> &Path {
        self.inner.backups.engine.repository()
    }

    /// Asks the repository; its turn must be ours.
    async fn list_again(&self) -> Result<(), BackupError> {
        let backups = &self.inner.backups;
        self.check_place()?;
        let found = match backups.engine.exists() {
            true => {
                backups.engine.open().await?;
                backups.engine.list().await?
            }
            false => Vec::new(),
        };
        let now = Timestamp::now();
        backups.ledger.change(|known| {
            known
                .proofs
                .retain(|id, _| found.iter().any(|backup| backup.id == *id));
            known.backups = found;
            known.listed = Some(now);
            known.repository = Some(backups.engine.repository().to_owned());
        })?;
        Ok(())
    }

    /// Refuses to take an empty directory for the repository that was there: a disk that is not mounted leaves one.
    fn check_place(&self) -> Result<(), BackupError> {
        let backups = &self.inner.backups;
        let repository = backups.engine.repository();
        match backups.ledger.expects(repository) && !backups.engine.exists() {
            true => Err(BackupError::Gone(repository.to_owned())),
            false => Ok(()),
        }
    }

    /// Clears up after a killed node. Called once, before anything else.
    pub(crate) async fn recover_backups(&self) {
        let backups = &self.inner.backups;
        if let Err(error) = backups.staging.clear().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a copy of data for a backup stays"
            );
        }
        self.recover_restores().await;
        self.recover_apart().await;
    }
}

/// Finds a backup by its name or the beginning of it.
fn named(backups: &[Backup], id: &BackupId) -> Result<Backup, BackupError> {
    let mut fitting = backups
        .iter()
        .filter(|backup| backup.id.0.starts_with(&id.0));
    match (fitting.next(), fitting.next()) {
        (Some(backup), None) => Ok(backup.clone()),
        (None, _) => Err(BackupError::Missing(id.clone())),
        (Some(_), Some(_)) => Err(BackupError::Ambiguous(id.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_named_by_digits_and_nothing_else() {
        for good in ["0123abcd", &"f".repeat(64)] {
            assert!(good.parse::<BackupId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "abc",
            "latest",
            "--help01",
            "0123ABCD",
            "../../..",
            "0123abcd:/",
            &"f".repeat(65),
        ] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_beginning_of_a_name_must_fit_one_backup() {
        let backup = |id: &str| Backup {
            id: id.parse().unwrap(),
            app: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes"
                .parse()
                .unwrap(),
            release: Blake3Hash::of(b"r"),
            version: "1".to_owned(),
            taken: Timestamp::UNIX_EPOCH,
            bytes: 0,
        };
        let all = [
            backup("0123456789ab"),
            backup("0123456789cd"),
            backup("ffffffffffff"),
        ];
        let find = |id: &str| named(&all, &id.parse().unwrap());
        assert_eq!(find("ffffffff").unwrap(), all[2]);
        assert_eq!(find("0123456789cd").unwrap(), all[1]);
        assert!(matches!(find("01234567"), Err(BackupError::Ambiguous(_))));
        assert!(matches!(find("11111111"), Err(BackupError::Missing(_))));
    }
}
