//! Backs up apps, puts backups in place and proves them.

use archy_orchestrator::{Backup, BackupId, Papers};
use archy_registry::release::{self, Release};
use archy_registry::{Verified, trust};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::change::{installed, until_ended};
use super::{Installer, Stop, app_tag, enter_all, reporter, stop_if_asked, wait};
use crate::api::types::{JobPhase, Problem};
use crate::api::{not_found, problem};
use crate::jobs::{Context, Ending};
use crate::machine::{Keeper, Machine};
use crate::problem as explain;
use crate::storage;

impl Installer {
    pub(super) async fn back_up(&self, context: &Context) -> Result<(), Stop> {
        context
            .enter(JobPhase::Checking, "Opening the repository")
            .await;
        let machine = self.machine(context).await?;
        let keeper = keeper(&*machine)?;
        let app = &context.wish().app;
        let made = self.make_backup(context, &*machine, keeper).await;
        match &made {
            Ok(()) => keeper.note(app, None),
            Err(Stop::Failed { problem, .. }) => keeper.note(app, Some(problem.message.clone())),
            // Not at once again, although its time has come.
            Err(Stop::Asked) => {
                if context.ending() == Ending::Cancel {
                    keeper.note(app, Some("It was cancelled".to_owned()));
                }
                return made;
            }
        }
        if let Some(plan) = keeper.shelf().plans.get(app) {
            context
                .enter(JobPhase::Storing, "Letting go of old backups")
                .await;
            // Also when none was made, for want of room it may be. What is kept too long for now goes after the next one.
            if let Err(problem) = keeper.thin(app, plan.schedule.keep).await {
                tracing::warn!(%app, "old backups stay: {}", problem.message);
            }
        }
        made
    }

    async fn make_backup(
        &self,
        context: &Context,
        machine: &dyn Machine,
        keeper: &dyn Keeper,
    ) -> Result<(), Stop> {
        let installed = installed(machine, context)?;
        let failed = |error| explain::of_store(&error);
        let bytes = self.store.release_bytes(&installed.release).await;
        let release = bytes.map_err(failed)?.ok_or_else(no_papers)?;
        let keys = self.store.key_state_chain(&installed.app.publisher).await;
        let papers = Papers {
            release,
            keys: keys.map_err(failed)?,
        };
        let (report, reported) = reporter();
        // It is not dropped when the daemon ends: the app may stand still just then.
        let making = async {
            let slug = &installed.app.slug;
            let made = keeper.make(slug, &papers, &report, context.token()).await;
            drop(report);
            made
        };
        let (made, ()) = tokio::join!(making, enter_all(context, reported));
        made?;
        Ok(())
    }

    pub(super) async fn restore(&self, context: &Context) -> Result<(), Stop> {
        context
            .enter(JobPhase::Checking, "Checking what the publisher signed")
            .await;
        let machine = self.machine(context).await?;
        let keeper = keeper(&*machine)?;
        let backup = chosen(context, keeper).await?;
        let slug = &backup.app.slug;
        let found = machine.observed().borrow().find(slug).cloned();
        let found = found.filter(|found| found.app == backup.app);
        if context.resumed()
            && found.as_ref().is_some_and(|found| {
                found.release == backup.release && found.installed > context.created()
            })
        {
            // A kill between the last step and the job's end.
            return Ok(());
        }
        let swarm = wait(context, self.swarm.ready()).await?;
        let release = self.release_of(keeper, &backup).await?;
        let release = self.judge.allow(release).await?;
        match found {
            Some(_) => machine.preflight_change(&release).await?,
            None => machine.preflight(&release).await?,
        }
        stop_if_asked(context)?;
        // Until podman has it, nothing of it goes to make room for something else.
        let _using = swarm.use_tag(&app_tag(&release));
        if let Err(stop) = self.bring(context, &swarm, &*machine, &release).await {
            let suspended = matches!(stop, Stop::Asked) && context.ending() == Ending::Stop;
            if !suspended {
                machine.drop_images(slug).await;
            }
            return Err(stop);
        }
        let (report, reported) = reporter();
        let cancel = CancellationToken::new();
        let restoring = async {
            let restored = keeper.restore(&release, &backup, &report, &cancel).await;
            drop(report);
            restored
        };
        let restored = until_ended(context, reported, &cancel, restoring).await;
        if let Err(stop) = restored {
            machine.drop_images(slug).await;
            return Err(stop);
        }
        self.hold_statement(&swarm, &release).await?;
        storage::mark_installed(&swarm, &release).await;
        let event = trust::Event::Installed {
            app: slug.clone(),
            release: release.hash(),
        };
        self.record(&backup.app, &event).await;
        Ok(())
    }

    pub(super) async fn verify(&self, context: &Context) -> Result<(), Stop> {
        context
            .enter(JobPhase::Checking, "Checking what the publisher signed")
            .await;
        let machine = self.machine(context).await?;
        let keeper = keeper(&*machine)?;
        let backup = chosen(context, keeper).await?;
        let verified = self
            .verify_backup(context, &*machine, keeper, &backup)
            .await;
        machine.drop_images(&backup.app.slug).await;
        match &verified {
            Err(Stop::Failed { problem, .. }) if problem.kind != "notProven" => {
                keeper.unrehearsed(&backup, problem.message.clone());
            }
            Err(Stop::Asked) if context.ending() == Ending::Cancel => {
                keeper.unrehearsed(&backup, "It was cancelled".to_owned());
            }
            Ok(()) | Err(_) => {}
        }
        verified
    }

    async fn verify_backup(
        &self,
        context: &Context,
        machine: &dyn Machine,
        keeper: &dyn Keeper,
        backup: &Backup,
    ) -> Result<(), Stop> {
        let swarm = wait(context, self.swarm.ready()).await?;
        let release = self.release_of(keeper, backup).await?;
        let release = self.judge.allow(release).await?;
        stop_if_asked(context)?;
        let _using = swarm.use_tag(&app_tag(&release));
        self.bring(context, &swarm, machine, &release).await?;
        let (report, reported) = reporter();
        let verifying = async {
            let token = context.token();
            let verified = keeper.verify(&release, backup, &report, token).await;
            drop(report);
            verified
        };
        let (verified, ()) = tokio::join!(verifying, enter_all(context, reported));
        match verified?.failure {
            None => Ok(()),
            Some(reason) => Err(problem(
                "notProven",
                format!("The backup did not come up: {reason}"),
                "The app itself was not touched; make another backup, and look at the app's log",
            )
            .into()),
        }
    }

    /// Loads a backup's release: the one that this node knows, or else the one in the backup, if it holds.
    async fn release_of(
        &self,
        keeper: &dyn Keeper,
        backup: &Backup,
    ) -> Result<Verified<Release>, Problem> {
        match self.kept_release(&backup.release).await {
            Err(problem) if problem.kind == "notFound" => {}
            kept => return kept.and_then(|release| of_app(release, backup)),
        }
        let papers = keeper.papers(backup).await?;
        let (publisher, now) = (&backup.app.publisher, Timestamp::now());
        if let Some(chain) = &papers.keys
            && let Err(error) = self.store.admit_key_state(publisher, chain, now).await
        {
            // What is known already may be newer; the release is checked against that.
            tracing::info!(%publisher, %error, "a backup's key states are not taken");
        }
        let failed = |error| explain::of_store(&error);
        let keys = self.store.key_history(publisher).await.map_err(failed)?;
        let verified = release::verify_seen(&papers.release, &keys, None, now);
        let (release, standing) = verified.map_err(|error| explain::of_release(&error))?;
        if !standing.is_acceptable()
            && let Some(problem) = explain::of_standing(standing)
        {
            return Err(problem);
        }
        let release = of_app(release, backup)?;
        let admitted = self.store.admit_release(&release, &papers.release, now);
        admitted.await.map_err(failed)?;
        Ok(release)
    }
}

fn of_app(release: Verified<Release>, backup: &Backup) -> Result<Verified<Release>, Problem> {
    if release.app() == backup.app && release.hash() == backup.release {
        return Ok(release);
    }
    Err(problem(
        "wrongApp",
        format!(
            "The backup says that it is of {}, but its release is not",
            backup.app
        ),
        "Choose another backup",
    ))
}

pub(crate) fn keeper(machine: &dyn Machine) -> Result<&dyn Keeper, Problem> {
    machine.keeper().ok_or_else(|| {
        problem(
            "noEngine",
            "This machine keeps no backups",
            "Run `archyd doctor`",
        )
    })
}

/// Finds the backup that the job is about.
async fn chosen(context: &Context, keeper: &dyn Keeper) -> Result<Backup, Problem> {
    let wish = context.wish();
    let id: BackupId = match wish.manner.backup.clone() {
        Some(id) => id,
        None => return Err(no_backup(&wish.app.slug)),
    };
    let backup = keeper.find(&id).await?;
    match backup.app == wish.app {
        true => Ok(backup),
        false => Err(no_backup(&wish.app.slug)),
    }
}

pub(crate) fn no_backup(slug: &archy_registry::Slug) -> Problem {
    not_found(
        format!("There is no such backup of {slug}"),
        "`archy backup list` shows the backups there are",
    )
}

fn no_papers() -> Problem {
    not_found(
        "This node no longer has what the publisher signed for the installed version",
        "Update the app, then back it up",
    )
}
