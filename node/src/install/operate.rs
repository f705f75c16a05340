//! Starts, stops, restarts and removes installed apps.

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
}
