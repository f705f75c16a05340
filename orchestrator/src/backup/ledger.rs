//! What a node knows of its backups without asking the repository, in one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use archy_registry::AppId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Backup, BackupId, Schedule, Shelf};
use crate::disk;
use crate::install::MachineError;

/// What came of a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// Why the backup did not come up; `None` when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// When an app is backed up by itself, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the owner wants.
    pub schedule: Schedule,
    /// Since when there is a plan.
    pub since: Timestamp,
    /// The last try, by whomever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Timestamp>,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Plan {
    pub(super) fn new(schedule: Schedule, now: Timestamp) -> Self {
        Self {
            schedule,
            since: now,
            tried: None,
            failure: None,
        }
    }

    pub(super) fn note(&mut self, now: Timestamp, failure: Option<String>) {
        self.tried = Some(now);
        self.failure = failure;
    }
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    #[serde(default)]
    pub(super) backups: Vec<Backup>,
    #[serde(default)]
    pub(super) listed: Option<Timestamp>,
    /// Where they are.
    #[serde(default)]
    pub(super) repository: Option<PathBuf>,
    #[serde(default)]
    pub(super) proofs: BTreeMap<BackupId, Proof>,
    #[serde(default)]
    pub(super) plans: BTreeMap<AppId, Plan>,
}

/// What is known, in memory and on disk.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    known: Mutex<Option<Known>>,
}

impl Ledger {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            known: Mutex::new(None),
        }
    }

    /// Returns all of it.
    pub(super) fn read(&self) -> Shelf {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known {
            backups,
            listed,
            repository: _,
            proofs,
            plans,
        } = known.get_or_insert_with(|| self.load()).clone();
        Shelf {
            backups,
            listed,
            proofs,
            plans,
        }
    }

    /// Tells whether backups were seen in that repository.
    pub(super) fn expects(&self, repository: &Path) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_with(|| self.load());
        known.repository.as_deref() == Some(repository) && !known.backups.is_empty()
    }

    /// Changes it; what cannot be written down is not so.
    pub(super) fn change(&self, change: impl FnOnce(&mut Known)) -> Result<(), MachineError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = known.get_or_insert_with(|| self.load()).clone();
        change(&mut changed);
        let text = serde_json::to_vec_pretty(&changed).expect("what is known is plain data");
        disk::replace(&self.path, &text, 0o600).map_err(MachineError::io(&self.path))?;
        *known = Some(changed);
        Ok(())
    }

    /// A file that makes no sense is as good as none: the repository knows what backups there are.
    fn load(&self) -> Known {
        let Ok(text) = std::fs::read(&self.path) else {
            return Known::default();
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::error!(path = %self.path.display(), %error, "what was known of the backups and their schedules cannot be read");
            let aside = self.path.with_extension("unreadable.json");
            if let Err(error) = std::fs::rename(&self.path, &aside) {
                tracing::warn!(%error, "it could not be set aside");
            }
            Known::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_outlives_the_node() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("backups.json");
        let app: AppId = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes"
            .parse()
            .unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let ledger = Ledger::new(path.clone());
        let planned = ledger.change(|known| {
            let mut plan = Plan::new(Schedule::default(), now);
            plan.note(now, Some("no room".to_owned()));
            known.plans.insert(app.clone(), plan);
        });
        planned.unwrap();
        let again = Ledger::new(path.clone()).read();
        assert_eq!(again, ledger.read());
        assert_eq!(again.plans[&app].failure.as_deref(), Some("no room"));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Ledger::new(path.clone()).read(), Shelf::default());
        assert!(root.path().join("backups.unreadable.json").exists());
    }
}
