//! Keeps a service of the owner's from starting while an app has taken its place: one file beside its units, which is
//! all that has to go for it to start again.

use std::path::PathBuf;

use archy_registry::Slug;

use super::Adoption;
use super::Origin;
use crate::disk;
use crate::install::MachineError;
use crate::orchestrator::Orchestrator;

const FILE: &str = "50-archy-migrated.conf";

impl Orchestrator {
    /// Keeps the services of old containers from starting, also at boot, or lets them start again. One that runs goes on.
    pub(super) async fn block_units(
        &self,
        app: &Slug,
        adoption: &Adoption,
        blocked: bool,
    ) -> Result<(), MachineError> {
        let mut changed = false;
        for unit in units(adoption) {
            let file = self.drop_in(unit);
            let text = text(app);
            if blocked {
                if std::fs::read_to_string(&file).is_ok_and(|found| found == text) {
                    continue;
                }
                let parent = file.parent().unwrap_or(&file);
                std::fs::create_dir_all(parent)
                    .and_then(|()| disk::replace(&file, text.as_bytes(), 0o644))
                    .map_err(MachineError::io(&file))?;
            } else if file.exists() {
                disk::remove_file(&file).map_err(MachineError::io(&file))?;
                // Others may have files there.
                let _ = file.parent().map(std::fs::remove_dir);
            } else {
                continue;
            }
            changed = true;
        }
        if changed {
            self.inner.systemd.reload().await?;
        }
        Ok(())
    }

    fn drop_in(&self, unit: &str) -> PathBuf {
        let directory = self.inner.config.user_unit_dir.join(format!("{unit}.d"));
        directory.join(FILE)
    }
}

fn text(app: &Slug) -> String {
    format!(
        "# The app {app} runs instead of this service. `archy adopt undo {app}` brings the service back; afterwards, or once\n\
         # that is out of the question, this file can go.\n[Unit]\nConditionPathExists=!/\n"
    )
}

fn units(adoption: &Adoption) -> impl Iterator<Item = &String> {
    let held = adoption.containers.values();
    held.filter_map(|held| match &held.origin {
        Origin::Unit { unit, .. } => Some(unit),
        Origin::Run | Origin::Compose { .. } => None,
    })
}
