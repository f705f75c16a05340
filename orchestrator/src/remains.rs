//! What is left of an app on this machine, for whoever wants to see that nothing is. Looks, changes nothing.

use archy_registry::Slug;

use crate::install::MachineError;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::quadlet::{LABEL_APP, LABEL_ROOT, app_dir};

impl Orchestrator {
    /// Lists what systemd, podman and the disk have of an app of this data directory, in words. Nothing is left of an app that
    /// was purged; of one that was uninstalled, its directory.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when systemd or podman cannot be asked.
    pub async fn remains(&self, app: &Slug) -> Result<Vec<String>, MachineError> {
        let podman = &self.inner.podman;
        let mut left = Vec::new();
        for pattern in [names::container_units(app), names::network_unit(app)] {
            let units = self.inner.systemd.list(&pattern).await?;
            // A unit that is gone stays in systemd's list while others name it.
            let there = units.into_iter().filter(|unit| unit.active != "inactive");
            left.extend(there.map(|unit| format!("the unit {}", unit.name)));
        }
        let suffix = format!("/{app}");
        for container in podman.containers().await? {
            let is_ours = container.label(LABEL_ROOT) == Some(&self.inner.facts.root);
            let id = container.label(LABEL_APP).unwrap_or_default();
            if is_ours && id.ends_with(&suffix) {
                left.push(format!("the container {}", container.names.join(", ")));
            }
        }
        for (kind, found) in [
            ("network", podman.networks().await?),
            ("volume", podman.volumes().await?),
            ("secret", podman.secrets().await?),
        ] {
            let ours = found.into_iter().filter(|name| names::is_of(app, name));
            left.extend(ours.map(|name| format!("the {kind} {name}")));
        }
        let config = &self.inner.config;
        let directories = [
            config.unit_dir.join(app.as_str()),
            self.staging(app),
            app_dir(&self.inner.facts.apps_dir, app),
            self.inner.snapshots.of(app),
        ];
        let there = directories
            .into_iter()
            .filter(|directory| directory.exists());
        left.extend(there.map(|directory| format!("the directory {}", directory.display())));
        Ok(left)
    }
}
