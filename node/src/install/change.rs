//! Changes installed apps: to a newer release, back to the version before, to other settings, or to the same made anew.

use archy_orchestrator::{Copy, RollbackData};
use archy_registry::key_state::Standing;
use archy_registry::release::Release;
use archy_registry::{Blake3Hash, Verified, trust};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Installer, Stop, app_tag, check_standing, enter_all, reporter, stop_if_asked, wait};
use crate::api::types::{JobKind, JobPhase, Problem};
use crate::api::{not_found, problem};
use crate::jobs::{Context, Ending};
use crate::judge::Allowed;
use crate::machine::{Change, Installed, Machine, MachineError};
use crate::problem as explain;
use crate::storage;

impl Installer {
    pub(super) async fn change(&self, context: &Context) -> Result<(), Stop> {
        context
            .enter(JobPhase::Checking, "Checking what the publisher signed")
            .await;
        let machine = self.machine(context).await?;
        let swarm = wait(context, self.swarm.ready()).await?;
        let wish = context.wish();
        let installed = installed(&*machine, context)?;
        let (release, change) = match wish.kind {
            JobKind::Update => {
                let entry = self.entry(&wish.app).await?;
                check_standing(&entry)?;
                self.check_policy(&wish.app).await?;
                let copy = match wish.manner.without_copy {
                    true => Copy::None,
                    false => Copy::First,
                };
                let release = self.release(context, &swarm, &entry).await?;
                (release, Change::Update { copy })
            }
            JobKind::Rollback => {
                let to = wish.release.ok_or_else(no_earlier)?;
                if context.resumed() && installed.release == to {
                    // A kill between the last step and the job's end.
                    return Ok(());
                }
                let data = match wish.manner.keep_data {
                    true => RollbackData::Present,
                    false => RollbackData::Earlier,
                };
                let release = self.kept_release(&to).await?;
                (release, Change::Rollback { data })
            }
            JobKind::Migrate => {
                let accept = wish.manner.accept.clone();
                let release = self.kept_release(&installed.release).await?;
                (release, Change::Migrate { accept })
            }
            JobKind::Configure
            | JobKind::Adopt
            | JobKind::Unmigrate
            | JobKind::Finish
            | JobKind::Reinstall
            | JobKind::Install
            | JobKind::Uninstall
            | JobKind::Purge
            | JobKind::Start
            | JobKind::Stop
            | JobKind::Restart
            | JobKind::Backup
            | JobKind::Restore
            | JobKind::Verify => {
                let release = self.kept_release(&installed.release).await?;
                let change = wish.manner.edit.clone().map(Change::Configure);
                (release, change.unwrap_or(Change::Reinstall))
            }
        };
        let release = self.judge.allow(release).await?;
        if wish.kind != JobKind::Migrate {
            // A migration has the claimed containers' names to itself, and checks that.
            machine.preflight_change(&release).await?;
        }
        stop_if_asked(context)?;
        // Until podman has it, nothing of it goes to make room for something else.
        let _using = swarm.use_tag(&app_tag(&release));
        let brought = self.bring(context, &swarm, &*machine, &release).await;
        if let Err(stop) = brought {
            let suspended = matches!(stop, Stop::Asked) && context.ending() == Ending::Stop;
            if !suspended {
                machine.drop_images(&wish.app.slug).await;
            }
            return Err(stop);
        }
        self.hold_statement(&swarm, &release).await?;
        let changed = perform(context, &*machine, &release, &change).await;
        if let Err(stop) = changed {
            machine.drop_images(&wish.app.slug).await;
            self.note_failure(&release, &stop).await;
            return Err(stop);
        }
        storage::mark_installed(&swarm, &release).await;
        if matches!(wish.kind, JobKind::Update | JobKind::Migrate) {
            let event = trust::Event::Installed {
                app: wish.app.slug.clone(),
                release: release.hash(),
            };
            self.record(&wish.app, &event).await;
        }
        Ok(())
    }

    /// Loads a release that was verified when it was installed, whatever its own date, unless its keys no longer count.
    pub(super) async fn kept_release(
        &self,
        hash: &Blake3Hash,
    ) -> Result<Verified<Release>, Problem> {
        let failed = |error| explain::of_store(&error);
        let standing = self.store.release_standing(hash, Timestamp::now()).await;
        let standing = standing.map_err(failed)?.unwrap_or(Standing::Current);
        if !standing.is_acceptable()
            && let Some(problem) = explain::of_standing(standing)
        {
            return Err(problem);
        }
        let release = self.store.release_as_admitted(hash).await.map_err(failed)?;
        release.ok_or_else(no_release)
    }

    async fn note_failure(&self, release: &Verified<Release>, stop: &Stop) {
        let Stop::Failed { problem, by_app } = stop else {
            return;
        };
        let event = trust::Event::InstallFailed {
            app: release.manifest.app.id.clone(),
            release: release.hash(),
            reason: problem.message.clone(),
            publishers_fault: *by_app,
        };
        self.record(&release.app(), &event).await;
    }
}

fn no_release() -> Problem {
    not_found(
        "This node no longer has what the publisher signed for that version",
        "Update the app to the newest version",
    )
}

fn no_earlier() -> Problem {
    problem(
        "noEarlier",
        "There is no earlier version on this node to go back to",
        "Only the version before the installed one is kept, from an update on",
    )
}

pub(super) fn installed(machine: &dyn Machine, context: &Context) -> Result<Installed, Problem> {
    let observed = machine.observed();
    let observed = observed.borrow();
    let app = &context.wish().app;
    let found = observed.find(&app.slug).filter(|known| known.app == *app);
    found.cloned().ok_or_else(|| {
        not_found(
            format!("{} is not installed", app.slug),
            "`archy status` lists what is",
        )
    })
}

/// Has the machine do it. When the daemon ends, it is left where it is: the next start goes on with it.
async fn perform(
    context: &Context,
    machine: &dyn Machine,
    release: &Allowed,
    change: &Change,
) -> Result<(), Stop> {
    let cancelled_by_owner = CancellationToken::new();
    let (report, reported) = reporter();
    let changing = async {
        let changed = machine
            .change(release, change, &report, &cancelled_by_owner)
            .await;
        drop(report);
        changed
    };
    until_ended(context, reported, &cancelled_by_owner, changing).await
}

/// Awaits what the machine does, which is told when the owner cancels it. When the daemon ends, it is dropped.
pub(super) async fn until_ended<T>(
    context: &Context,
    reported: mpsc::Receiver<(JobPhase, String)>,
    cancelled_by_owner: &CancellationToken,
    doing: impl Future<Output = Result<T, MachineError>>,
) -> Result<T, Stop> {
    let ending = async {
        context.token().cancelled().await;
        if context.ending() == Ending::Cancel {
            cancelled_by_owner.cancel();
            std::future::pending::<()>().await;
        }
    };
    let working = async {
        let (done, ()) = tokio::join!(doing, enter_all(context, reported));
        done
    };
    tokio::select! {
        biased;
        done = working => done.map_err(Stop::from),
        () = ending => Err(Stop::Asked),
    }
}
