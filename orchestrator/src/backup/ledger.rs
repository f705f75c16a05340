//! What a node knows of its backups without asking the repository, in one file and its twin. Members that this version does
//! not know are a later one's, and passed over: going back to this version ends nobody's schedule.

use std::collections::BTreeMap;
use std::io;
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
pub struct Proof {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// Why the backup did not come up; `None` when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it had come up before, where it no longer does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_up: Option<Timestamp>,
}

impl Proof {
    pub(super) fn new(began: Timestamp, at: Timestamp, failure: Option<String>) -> Self {
        Self {
            at,
            took_ms: u64::try_from(at.duration_since(began).as_millis()).unwrap_or(0),
            failure,
            came_up: None,
        }
    }

    /// When the backup last came up.
    pub fn proven(&self) -> Option<Timestamp> {
        match self.failure {
            None => Some(self.at),
            Some(_) => self.came_up,
        }
    }
}

/// A rehearsal that could not be made, which says nothing of the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrehearsed {
    /// When it was tried.
    pub at: Timestamp,
    /// Why it could not.
    pub reason: String,
}

/// When an app is backed up by itself, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The last rehearsal, if it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrehearsed: Option<Unrehearsed>,
}

impl Plan {
    pub(super) fn new(schedule: Schedule, now: Timestamp) -> Self {
        Self {
            schedule,
            since: now,
            tried: None,
            failure: None,
            unrehearsed: None,
        }
    }

    pub(super) fn note(&mut self, now: Timestamp, failure: Option<String>) {
        self.tried = Some(now);
        self.failure = failure;
    }
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl Known {
    /// Keeps what came of a rehearsal, and when the backup had come up before.
    pub(super) fn prove(&mut self, backup: &Backup, mut proof: Proof) {
        if proof.failure.is_some() {
            proof.came_up = self.proofs.get(&backup.id).and_then(Proof::proven);
        }
        self.proofs.insert(backup.id.clone(), proof);
        if let Some(plan) = self.plans.get_mut(&backup.app) {
            plan.unrehearsed = None;
        }
    }
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
        let aside = self.aside();
        Shelf {
            backups,
            listed,
            proofs,
            plans,
            unreadable: aside.exists().then_some(aside),
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
        self.save(&changed).map_err(MachineError::io(&self.path))?;
        *known = Some(changed);
        Ok(())
    }

    fn save(&self, known: &Known) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(known).expect("what is known is plain data");
        disk::replace(&self.path, &text, 0o600)?;
        disk::replace_unsynced(&disk::twin(&self.path), &text, 0o600)
    }

    /// Where a file is put that makes no sense, until its owner has seen it.
    fn aside(&self) -> PathBuf {
        self.path.with_extension("unreadable.json")
    }

    /// Reads the file, or makes it anew from its twin. Where both make no sense, the repository knows what backups there are, but
    /// schedules and proofs are lost: the file is set aside, and its owner is told for as long as it lies there.
    fn load(&self) -> Known {
        let twin = disk::twin(&self.path);
        let (first, second) = (read(&self.path), read(&twin));
        let (spoiled, error) = match (first, second) {
            (Ok(Some(known)), _) => return known,
            (first, Ok(Some(known))) => {
                tracing::warn!(reason = ?first.err(), "what is known of the backups was spoiled, and is made anew from its twin");
                if let Err(error) = self.save(&known) {
                    tracing::warn!(%error, "it could not be written");
                }
                return known;
            }
            (Ok(None), Ok(None)) => return Known::default(),
            (Err(error), _) => (&self.path, error),
            (Ok(None), Err(error)) => (&twin, error),
        };
        tracing::error!(path = %spoiled.display(), %error, "what was known of the backups and their schedules cannot be read");
        if let Err(error) = std::fs::rename(spoiled, self.aside()) {
            tracing::warn!(%error, "it could not be set aside");
        }
        Known::default()
    }
}

fn read(path: &Path) -> io::Result<Option<Known>> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> AppId {
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes"
            .parse()
            .unwrap()
    }

    /// A ledger with a plan in it, and where it is.
    fn planned() -> (tempfile::TempDir, PathBuf, Ledger) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("backups.json");
        let now = Timestamp::UNIX_EPOCH;
        let ledger = Ledger::new(path.clone());
        let planned = ledger.change(|known| {
            let mut plan = Plan::new(Schedule::default(), now);
            plan.note(now, Some("no room".to_owned()));
            known.plans.insert(app(), plan);
        });
        planned.unwrap();
        (root, path, ledger)
    }

    #[test]
    fn what_is_known_outlives_the_node() {
        let (_root, path, ledger) = planned();
        let again = Ledger::new(path).read();
        assert_eq!(again, ledger.read());
        assert_eq!(again.plans[&app()].failure.as_deref(), Some("no room"));
    }

    #[test]
    fn a_spoiled_file_is_made_anew_from_its_twin() {
        let (root, path, ledger) = planned();
        for spoil in ["", "{", "\0\0"] {
            std::fs::write(&path, spoil).unwrap();
            assert_eq!(Ledger::new(path.clone()).read(), ledger.read(), "{spoil}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Ledger::new(path.clone()).read(), ledger.read());
        std::fs::write(root.path().join("backups.twin.json"), "{").unwrap();
        let again = Ledger::new(path.clone()).read();
        assert_eq!(again, ledger.read(), "the first was written again");
        assert_eq!(again.unreadable, None);
    }

    #[test]
    fn what_is_spoiled_twice_is_told_until_its_owner_has_seen_it() {
        let (root, path, _) = planned();
        for name in ["backups.json", "backups.twin.json"] {
            std::fs::write(root.path().join(name), "{").unwrap();
        }
        let aside = root.path().join("backups.unreadable.json");
        let ledger = Ledger::new(path.clone());
        let lost = Shelf {
            unreadable: Some(aside.clone()),
            ..Shelf::default()
        };
        assert_eq!(ledger.read(), lost);
        ledger
            .change(|known| known.listed = Some(Timestamp::UNIX_EPOCH))
            .unwrap();
        let again = Ledger::new(path.clone());
        assert_eq!(again.read().unreadable, Some(aside.clone()));
        std::fs::remove_file(&aside).unwrap();
        assert_eq!(again.read().unreadable, None);
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let (_root, path, ledger) = planned();
        let text = std::fs::read(&path).unwrap();
        let mut later: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let plan = format!("/plans/{}", app().to_string().replace('/', "~1"));
        for place in [
            "",
            &plan,
            &format!("{plan}/schedule"),
            &format!("{plan}/schedule/keep"),
        ] {
            later.pointer_mut(place).unwrap()["later"] = true.into();
        }
        std::fs::write(&path, later.to_string()).unwrap();
        std::fs::remove_file(disk::twin(&path)).unwrap();
        assert_eq!(Ledger::new(path).read(), ledger.read());
    }

    #[test]
    fn a_failed_rehearsal_does_not_forget_when_the_backup_came_up() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let backup = Backup {
            id: "0123abcd".parse().unwrap(),
            app: app(),
            release: archy_registry::Blake3Hash::of(b"r"),
            version: "1".to_owned(),
            taken: at(0),
            bytes: 0,
        };
        let mut known = Known::default();
        let mut plan = Plan::new(Schedule::default(), at(0));
        plan.unrehearsed = Some(Unrehearsed {
            at: at(1),
            reason: "offline".to_owned(),
        });
        known.plans.insert(app(), plan);
        let failed = || Some("it never answered".to_owned());
        for (second, failure, proven) in [
            (1, failed(), None),
            (2, None, Some(2)),
            (3, failed(), Some(2)),
            (4, failed(), Some(2)),
            (5, None, Some(5)),
        ] {
            known.prove(&backup, Proof::new(at(0), at(second), failure));
            let found = known.proofs[&backup.id].proven();
            assert_eq!(found, proven.map(at), "{second}");
        }
        assert_eq!(known.plans[&app()].unrehearsed, None);
    }
}
