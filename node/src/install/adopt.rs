//! Claims containers that run here for an app; what would not be installed is not claimed either.

use super::{Installer, Stop, already, check_standing, stop_if_asked, wait};
use crate::api::types::JobPhase;
use crate::jobs::Context;
use crate::storage;

impl Installer {
    pub(super) async fn adopt(&self, context: &Context) -> Result<(), Stop> {
        let app = &context.wish().app;
        context
            .enter(JobPhase::Checking, "Checking what the publisher signed")
            .await;
        let machine = self.machine(context).await?;
        if already(&*machine, context).is_some() {
            // A kill between the last step and the job's end.
            return Ok(());
        }
        let swarm = wait(context, self.swarm.ready()).await?;
        let entry = self.entry(app).await?;
        check_standing(&entry)?;
        self.check_policy(app).await?;
        let release = self.release(context, &swarm, &entry).await?;
        let release = self.judge.allow(release).await?;
        self.hold_statement(&swarm, &release).await?;
        stop_if_asked(context)?;
        context
            .enter(JobPhase::Preparing, "Claiming what runs here, as it is")
            .await;
        machine
            .claim(&release, &context.wish().manner.chosen)
            .await?;
        storage::mark_installed(&swarm, &release).await;
        Ok(())
    }
}
