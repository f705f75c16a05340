//! What an owner may do with an installed app whatever became of its publisher: start, stop, restart and remove it, and give
//! back what was adopted.

use tokio_util::sync::CancellationToken;

use super::change::until_ended;
use super::{Installer, Stop, enter_all, reporter};
use crate::api::types::{JobKind, JobPhase};
use crate::jobs::Context;
use crate::machine::Progress;

impl Installer {
    pub(super) async fn operate(&self, context: &Context) -> Result<(), Stop> {
        let wish = context.wish();
        let slug = &wish.app.slug;
        let kind = wish.kind;
        let (phase, message) = match kind {
            JobKind::Start => (JobPhase::Starting, "Starting"),
            JobKind::Install
            | JobKind::Uninstall
            | JobKind::Purge
            | JobKind::Stop
            | JobKind::Restart
            | JobKind::Update
            | JobKind::Rollback
            | JobKind::Reinstall
            | JobKind::Configure
            | JobKind::Adopt
            | JobKind::Migrate
            | JobKind::Unmigrate
            | JobKind::Finish
            | JobKind::Backup
            | JobKind::Restore
            | JobKind::Verify => (JobPhase::Stopping, "Stopping"),
        };
        context.enter(phase, message).await;
        let machine = self.machine(context).await?;
        let (report, reported) = reporter();
        let working = async {
            let progress: Progress<'_> = &report;
            let cancel = context.token();
            let result = match kind {
                JobKind::Start => machine.start(slug, progress, cancel).await,
                JobKind::Stop => machine.stop(slug, cancel).await,
                JobKind::Restart => machine.restart(slug, progress, cancel).await,
                JobKind::Uninstall => machine.remove(slug, false, progress, cancel).await,
                JobKind::Purge => machine.remove(slug, true, progress, cancel).await,
                JobKind::Install
                | JobKind::Update
                | JobKind::Rollback
                | JobKind::Reinstall
                | JobKind::Configure
                | JobKind::Adopt
                | JobKind::Migrate
                | JobKind::Unmigrate
                | JobKind::Finish
                | JobKind::Backup
                | JobKind::Restore
                | JobKind::Verify => Ok(()),
            };
            drop(report);
            result
        };
        let (worked, ()) = tokio::join!(working, enter_all(context, reported));
        worked?;
        if matches!(kind, JobKind::Uninstall | JobKind::Purge) {
            self.stop_seeding(&wish.app).await;
        }
        Ok(())
    }

    /// Gives back what was there before a migration, or removes it. When the daemon ends, it is left where it is: the next
    /// start goes on with it.
    pub(super) async fn settle(&self, context: &Context) -> Result<(), Stop> {
        let wish = context.wish();
        let is_finish = wish.kind == JobKind::Finish;
        let words = match is_finish {
            true => "Removing what was there before",
            false => "Bringing back what was there before",
        };
        context.enter(JobPhase::Preparing, words).await;
        let machine = self.machine(context).await?;
        let (report, reported) = reporter();
        let slug = &wish.app.slug;
        let settling = async {
            let settled = match is_finish {
                true => machine.finish_adoption(slug).await,
                false => machine.unmigrate(slug, &report).await,
            };
            drop(report);
            settled
        };
        until_ended(context, reported, &CancellationToken::new(), settling).await
    }
}
