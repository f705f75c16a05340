//! A shelf of backups without restic: it keeps what it is given, and does as the machine's mood says.

use std::path::PathBuf;
use std::sync::Mutex;

use archy_orchestrator::{
    Backup, BackupId, Keep, Papers, Plan, Proof, Schedule, Shelf, Unrehearsed,
};
use archy_registry::{AppId, Blake3Hash, Slug};
use archyd::api::problem;
use archyd::api::types::{InstanceState, JobPhase, Problem};
use archyd::judge::Allowed;
use archyd::machine::{Installed, Keeper, Machine, MachineError, Progress};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::machine::{Fake, Mood};

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) shelf: Mutex<Shelf>,
    pub(crate) papers: Mutex<Vec<(BackupId, Papers)>>,
    pub(crate) thinned: Mutex<Vec<Keep>>,
}

impl Kept {
    /// Puts a backup on the shelf.
    pub(crate) fn put(&self, app: AppId, version: &str, papers: Papers) -> Backup {
        let mut shelf = self.shelf.lock().unwrap();
        let number = shelf.backups.len();
        let backup = Backup {
            id: format!("{number:08x}").parse().unwrap(),
            app,
            release: Blake3Hash::of(&papers.release),
            version: version.to_owned(),
            taken: Timestamp::now(),
            bytes: 1000,
        };
        shelf.backups.push(backup.clone());
        self.papers
            .lock()
            .unwrap()
            .push((backup.id.clone(), papers));
        backup
    }
}

impl Keeper for Fake {
    fn shelf(&self) -> Shelf {
        self.kept.shelf.lock().unwrap().clone()
    }

    fn list(&self) -> BoxFuture<'_, Result<Shelf, Problem>> {
        Box::pin(async move { Ok(self.shelf()) })
    }

    fn find<'a>(&'a self, id: &'a BackupId) -> BoxFuture<'a, Result<Backup, Problem>> {
        Box::pin(async move {
            let mut backups = self.shelf().backups.into_iter();
            let found = backups.find(|backup| backup.id == *id);
            found.ok_or_else(|| problem("notFound", "no such backup", ""))
        })
    }

    fn papers<'a>(&'a self, backup: &'a Backup) -> BoxFuture<'a, Result<Papers, Problem>> {
        Box::pin(async move {
            let papers = self.kept.papers.lock().unwrap();
            let found = papers.iter().find(|(id, _)| *id == backup.id);
            Ok(found.unwrap().1.clone())
        })
    }

    fn make<'a>(
        &'a self,
        app: &'a Slug,
        papers: &'a Papers,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Backup, MachineError>> {
        Box::pin(async move {
            progress(JobPhase::Storing, "Storing".to_owned());
            let mood = *self.mood.lock().unwrap();
            match mood {
                Mood::LoadFails => {
                    return Err(MachineError::Failed {
                        problem: problem("diskFull", "There is no room", ""),
                        by_app: false,
                    });
                }
                Mood::Slow => {
                    self.begun.notify_one();
                    cancel.cancelled().await;
                    return Err(MachineError::Stopped);
                }
                Mood::Well | Mood::NeverHealthy | Mood::LoadsSlowly => {}
            }
            let installed = self.observed().borrow().find(app).cloned().unwrap();
            Ok(self
                .kept
                .put(installed.app, &installed.version, papers.clone()))
        })
    }

    fn restore<'a>(
        &'a self,
        release: &'a Allowed,
        backup: &'a Backup,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            assert_eq!(release.hash(), backup.release);
            if self.observed().borrow().find(&backup.app.slug).is_none() {
                return self.install(release, progress, cancel).await;
            }
            self.change_apps(&backup.app.slug, |app: &mut Installed| {
                app.release = backup.release;
                app.version.clone_from(&backup.version);
                app.state = InstanceState::Running;
            });
            Ok(())
        })
    }

    fn verify<'a>(
        &'a self,
        release: &'a Allowed,
        backup: &'a Backup,
        _: Progress<'a>,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Proof, MachineError>> {
        Box::pin(async move {
            assert_eq!(release.hash(), backup.release);
            let sick = *self.mood.lock().unwrap() == Mood::NeverHealthy;
            let proof = Proof {
                at: Timestamp::now(),
                took_ms: 1500,
                failure: sick.then(|| "it never answered".to_owned()),
                came_up: None,
            };
            let mut shelf = self.kept.shelf.lock().unwrap();
            shelf.proofs.insert(backup.id.clone(), proof.clone());
            Ok(proof)
        })
    }

    fn unrehearsed(&self, backup: &Backup, reason: String) {
        let at = Timestamp::now();
        if let Some(plan) = self.kept.shelf.lock().unwrap().plans.get_mut(&backup.app) {
            plan.unrehearsed = Some(Unrehearsed { at, reason });
        }
    }

    fn remove<'a>(&'a self, backup: &'a Backup) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let mut shelf = self.kept.shelf.lock().unwrap();
            shelf.backups.retain(|kept| kept.id != backup.id);
            Ok(())
        })
    }

    fn thin<'a>(&'a self, _: &'a AppId, keep: Keep) -> BoxFuture<'a, Result<usize, Problem>> {
        Box::pin(async move {
            self.kept.thinned.lock().unwrap().push(keep);
            Ok(0)
        })
    }

    fn plan(&self, app: &AppId, schedule: Option<Schedule>) -> Result<(), Problem> {
        let mut shelf = self.kept.shelf.lock().unwrap();
        shelf.plans.remove(app);
        if let Some(schedule) = schedule {
            let plan = Plan {
                schedule,
                since: Timestamp::UNIX_EPOCH,
                tried: None,
                failure: None,
                unrehearsed: None,
            };
            shelf.plans.insert(app.clone(), plan);
        }
        Ok(())
    }

    fn note(&self, app: &AppId, failure: Option<String>) {
        if let Some(plan) = self.kept.shelf.lock().unwrap().plans.get_mut(app) {
            plan.tried = Some(Timestamp::now());
            plan.failure = failure;
        }
    }

    fn repository(&self) -> PathBuf {
        PathBuf::from("/backups/restic")
    }

    fn password_file(&self) -> PathBuf {
        PathBuf::from("/keys/backups.password")
    }
}
