//! Makes backups and rehearsals at their time, one after another. When is the orchestrator's to say.

use std::path::PathBuf;
use std::time::Duration;

use archy_orchestrator::{Backup, BackupId, newest_backup};
use archy_registry::AppId;
use jiff::Zoned;
use tokio_util::sync::CancellationToken;

use crate::api::types::JobKind;
use crate::components::{Components, State};
use crate::install::keeper;
use crate::jobs::{Manner, Wish};
use crate::node::Node;

/// Time between two looks; a schedule names minutes.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Looks for what is due until stopped.
pub(crate) async fn keep(node: Node, stop: CancellationToken) {
    let looking = async {
        node.jobs.ready().await;
        let machine = node.machine.ready().await;
        // Somebody may have changed the repository while this node was off.
        if let Ok(keeper) = keeper(&*machine)
            && let Err(problem) = keeper.list().await
        {
            tracing::info!("the backups cannot be listed: {}", problem.message);
        }
        let mut told = false;
        loop {
            if let Ok(keeper) = keeper(&*machine) {
                told = tell_unreadable(&node.components, keeper.shelf().unreadable, told);
            }
            if let Some((kind, app)) = node.back_up_by_itself(&Zoned::now()).await {
                tracing::info!(%app, ?kind, "its time has come");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = looking => {}
    }
}

/// Tells the owner what was lost of their schedules, for as long as the file lies there; returns whether it does.
fn tell_unreadable(components: &Components, file: Option<PathBuf>, told: bool) -> bool {
    match &file {
        Some(file) => components.note(
            "backups",
            State::Degraded,
            format!(
                "{} could not be read: no app is backed up by itself that was not planned since; plan it again (`archy backup \
                 schedule APP --every daily`), then remove that file",
                file.display()
            ),
        ),
        None if told => components.set("backups", State::Running),
        None => {}
    }
    file.is_some()
}

impl Node {
    /// Submits the next backup or rehearsal that is due, unless one is under way; returns which.
    pub async fn back_up_by_itself(&self, now: &Zoned) -> Option<(JobKind, AppId)> {
        let (machine, jobs) = (self.machine.now()?, self.jobs.now()?);
        let keeper = keeper(&*machine).ok()?;
        let ours = |kind| matches!(kind, JobKind::Backup | JobKind::Restore | JobKind::Verify);
        let active = jobs.list(true, u32::MAX).await.ok()?;
        if active.iter().any(|job| ours(job.kind)) {
            return None;
        }
        let (shelf, observed) = (keeper.shelf(), self.observed());
        if observed.stale.is_some() {
            return None;
        }
        for (app, plan) in &shelf.plans {
            let installed = observed.find(&app.slug);
            if installed.is_none_or(|found| found.app != *app) || jobs.on(&app.slug).is_some() {
                continue;
            }
            let backups = shelf.backups.iter().filter(|backup| backup.app == *app);
            let backups: Vec<Backup> = backups.cloned().collect();
            let last = newest_backup(&backups, now.timestamp()).map(|backup| backup.taken);
            let proof = |backup: &Backup| shelf.proofs.get(&backup.id).cloned();
            let due: Option<(JobKind, Option<BackupId>)> = if plan.is_due(last, now) {
                Some((JobKind::Backup, None))
            } else {
                let rehearsal = plan.due_rehearsal(&backups, proof, now.timestamp());
                rehearsal.map(|backup| (JobKind::Verify, Some(backup.id.clone())))
            };
            let Some((kind, backup)) = due else {
                continue;
            };
            let wish = Wish {
                kind,
                app: app.clone(),
                name: self.display_name(app).await,
                release: None,
                manner: Manner {
                    backup,
                    ..Manner::default()
                },
            };
            match jobs.submit(wish).await {
                Ok(_) => return Some((kind, app.clone())),
                Err(error) => tracing::debug!(%app, %error, "no backup by itself"),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_schedules_are_told_until_their_file_is_removed() {
        let components = Components::default();
        let state = || components.list().first().map(|part| part.state.clone());
        assert!(!tell_unreadable(&components, None, false));
        assert_eq!(state(), None);
        let file = Some(PathBuf::from("/data/backups.unreadable.json"));
        assert!(tell_unreadable(&components, file, false));
        assert_eq!(state().as_deref(), Some("degraded"));
        assert!(!tell_unreadable(&components, None, true));
        assert_eq!(state().as_deref(), Some("running"));
    }
}
