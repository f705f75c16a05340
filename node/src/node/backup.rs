//! The API's words for backups.

use std::collections::BTreeMap;

use archy_orchestrator::{
    Backup, BackupId, Every, Keep, Plan, Proof, Rehearse, Schedule, Shelf, newest_backup,
};
use archy_registry::{AppId, Slug};
use jiff::civil::Time;
use jiff::{Timestamp, Zoned};

use super::{Node, not_installed, parse_slug};
use crate::api::problem;
use crate::api::types::{
    AppRef, BackupEvery, BackupInfo, BackupKeep, BackupListParams, BackupPage, BackupPlan,
    BackupProof, BackupRehearse, BackupSchedule, BackupScheduleParams, BackupVerifyParams,
    FailedBackup, JobKind, JobRef, Problem,
};
use crate::install::{keeper, no_backup};
use crate::jobs::{Manner, Wish};
use crate::machine::Keeper;

/// When apps are backed up by themselves, and what came of it.
pub(super) type Plans = BTreeMap<AppId, Plan>;

/// Says why an app's last scheduled backup failed, if it did.
pub(super) fn failed_backup(plan: &Plan) -> Option<FailedBackup> {
    Some(FailedBackup {
        reason: plan.failure.clone()?,
        at: plan.tried?.to_string(),
    })
}

impl Node {
    /// Returns the plans of this node's backups; none where it makes none.
    pub(super) fn backup_plans(&self) -> Plans {
        let machine = self.machine.now();
        let keeper = machine.as_deref().and_then(|machine| machine.keeper());
        keeper.map_or_else(Plans::new, |keeper| keeper.shelf().plans)
    }

    pub(super) async fn backup_page(
        &self,
        params: &BackupListParams,
    ) -> Result<BackupPage, Problem> {
        let slug = params.slug.as_deref().map(parse_slug).transpose()?;
        let machine = self.machine()?;
        let keeper = keeper(&*machine)?;
        let shelf = match params.refresh {
            true => keeper.list().await?,
            false => keeper.shelf(),
        };
        Ok(page(keeper, &shelf, slug.as_ref(), &Zoned::now()))
    }

    pub(super) async fn restore_backup(&self, name: &str) -> Result<JobRef, Problem> {
        let machine = self.machine()?;
        let backup = keeper(&*machine)?.find(&parse_id(name)?).await?;
        self.submit_for(JobKind::Restore, backup).await
    }

    pub(super) async fn verify_backup(
        &self,
        params: &BackupVerifyParams,
    ) -> Result<JobRef, Problem> {
        let machine = self.machine()?;
        let keeper = keeper(&*machine)?;
        let backup = match (&params.backup, &params.slug) {
            (Some(name), _) => keeper.find(&parse_id(name)?).await?,
            (None, Some(slug)) => {
                let slug = parse_slug(slug)?;
                let backups = keeper.shelf().backups;
                let of_app = backups.iter().filter(|backup| backup.app.slug == slug);
                let newest = newest_backup(of_app, Timestamp::now());
                newest.cloned().ok_or_else(|| no_backup(&slug))?
            }
            (None, None) => {
                return Err(problem("invalid", "Name a backup, or an app", ""));
            }
        };
        self.submit_for(JobKind::Verify, backup).await
    }

    pub(super) async fn remove_kept(&self, name: &str) -> Result<BackupPage, Problem> {
        let machine = self.machine()?;
        let keeper = keeper(&*machine)?;
        let backup = keeper.find(&parse_id(name)?).await?;
        keeper.remove(&backup).await?;
        let slug = Some(&backup.app.slug);
        Ok(page(keeper, &keeper.shelf(), slug, &Zoned::now()))
    }

    async fn submit_for(&self, kind: JobKind, backup: Backup) -> Result<JobRef, Problem> {
        let name = self.display_name(&backup.app).await;
        self.submit(Wish {
            kind,
            app: backup.app,
            name,
            release: None,
            manner: Manner {
                backup: Some(backup.id),
                ..Manner::default()
            },
        })
        .await
    }

    pub(super) fn schedule_backups(
        &self,
        params: &BackupScheduleParams,
    ) -> Result<BackupPage, Problem> {
        let slug = parse_slug(&params.slug)?;
        let machine = self.machine()?;
        let keeper = keeper(&*machine)?;
        let installed = self.observed().find(&slug).map(|found| found.app.clone());
        let planned = || {
            let mut plans = keeper.shelf().plans.into_keys();
            plans.find(|app| app.slug == slug)
        };
        let app = match &params.schedule {
            Some(_) => installed,
            // What is uninstalled can still be let go of.
            None => installed.or_else(planned),
        };
        let app = app.ok_or_else(|| not_installed(&slug))?;
        keeper.plan(&app, params.schedule.as_ref().map(schedule).transpose()?)?;
        Ok(page(keeper, &keeper.shelf(), Some(&slug), &Zoned::now()))
    }
}

fn parse_id(text: &str) -> Result<BackupId, Problem> {
    text.parse()
        .map_err(|reason: &str| problem("invalid", reason, ""))
}

fn page(keeper: &dyn Keeper, shelf: &Shelf, slug: Option<&Slug>, now: &Zoned) -> BackupPage {
    let wanted = |app: &AppId| slug.is_none_or(|slug| app.slug == *slug);
    let backups = shelf.backups.iter().rev();
    let plans = shelf.plans.iter();
    BackupPage {
        backups: backups
            .filter(|backup| wanted(&backup.app))
            .map(|backup| info(backup, shelf.proofs.get(&backup.id)))
            .collect(),
        plans: plans
            .filter(|(app, _)| wanted(app))
            .map(|(app, plan)| plan_of(app, plan, shelf, now))
            .collect(),
        listed: shelf.listed.map(|at| at.to_string()),
        repository: keeper.repository().display().to_string(),
        password_file: keeper.password_file().display().to_string(),
        unreadable: shelf
            .unreadable
            .as_ref()
            .map(|file| file.display().to_string()),
    }
}

fn info(backup: &Backup, proof: Option<&Proof>) -> BackupInfo {
    BackupInfo {
        id: backup.id.to_string(),
        app: reference(&backup.app),
        version: backup.version.clone(),
        taken: backup.taken.to_string(),
        size_bytes: backup.bytes,
        proof: proof.map(|proof| BackupProof {
            at: proof.at.to_string(),
            seconds: proof.took_ms as f64 / 1000.0,
            failure: proof.failure.clone(),
            proven: proof.proven().map(|at| at.to_string()),
        }),
    }
}

fn plan_of(app: &AppId, plan: &Plan, shelf: &Shelf, now: &Zoned) -> BackupPlan {
    let backups = shelf.backups.iter().filter(|backup| backup.app == *app);
    let last = newest_backup(backups, now.timestamp()).map(|backup| backup.taken);
    let Schedule {
        every,
        at,
        keep,
        rehearse,
    } = &plan.schedule;
    BackupPlan {
        app: reference(app),
        schedule: BackupSchedule {
            every: match every {
                Every::Daily => BackupEvery::Daily,
                Every::Weekly => BackupEvery::Weekly,
            },
            at: at.strftime("%H:%M").to_string(),
            keep: BackupKeep {
                last: keep.last,
                daily: keep.daily,
                weekly: keep.weekly,
                monthly: keep.monthly,
            },
            rehearse: match rehearse {
                Rehearse::Off => BackupRehearse::Off,
                Rehearse::Monthly => BackupRehearse::Monthly,
                Rehearse::Each => BackupRehearse::Each,
            },
        },
        next: plan.next(last, now).map(|next| next.to_string()),
        tried: plan.tried.map(|at| at.to_string()),
        failure: plan.failure.clone(),
        unrehearsed: plan.unrehearsed.as_ref().map(|last| last.reason.clone()),
    }
}

fn reference(app: &AppId) -> AppRef {
    AppRef {
        publisher: app.publisher.to_string(),
        slug: app.slug.to_string(),
    }
}

fn schedule(wished: &BackupSchedule) -> Result<Schedule, Problem> {
    let invalid = |_| {
        let message = format!("{:?} is not a time: write it as in 03:30", wished.at);
        problem("invalid", message, "")
    };
    Ok(Schedule {
        every: match wished.every {
            BackupEvery::Daily => Every::Daily,
            BackupEvery::Weekly => Every::Weekly,
        },
        at: Time::strptime("%H:%M", &wished.at).map_err(invalid)?,
        keep: Keep {
            last: wished.keep.last,
            daily: wished.keep.daily,
            weekly: wished.keep.weekly,
            monthly: wished.keep.monthly,
        },
        rehearse: match wished.rehearse {
            BackupRehearse::Off => Rehearse::Off,
            BackupRehearse::Monthly => Rehearse::Monthly,
            BackupRehearse::Each => Rehearse::Each,
        },
    })
}
