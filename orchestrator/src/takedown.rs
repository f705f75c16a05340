//! Taking an app down to its data: units, containers, network, podman's volumes and secrets, images.

use archy_registry::Slug;
use futures_util::future::join_all;

use crate::desired::Desired;
use crate::disk;
use crate::install::MachineError;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::quadlet::validate::service_name;
use crate::quadlet::{LABEL_APP, LABEL_ROOT, app_dir};
use crate::runtime::systemd::Verb;

impl Orchestrator {
    pub(crate) async fn stop_containers(&self, desired: &Desired) -> Result<(), MachineError> {
        let app = desired.slug();
        let units: Vec<String> = desired
            .containers()
            .map(|c| names::container_unit(app, c))
            .collect();
        self.stop_units(&units).await
    }

    /// Stops units in the order that systemd knows, and forgets that stopping may count as failing.
    async fn stop_units(&self, units: &[String]) -> Result<(), MachineError> {
        let stop = |unit: &String| {
            let unit = unit.clone();
            async move {
                self.inner.systemd.job(Verb::Stop, &unit).await?;
                self.inner.systemd.reset_failed(&unit).await
            }
        };
        for stopped in join_all(units.iter().map(stop)).await {
            stopped?;
        }
        Ok(())
    }

    /// Takes an app down to its data: units, containers, network, podman's volumes and secrets, images.
    pub(crate) async fn tear_down(&self, desired: &Desired) -> Result<(), MachineError> {
        let app = desired.slug();
        self.allow_if_there(app)?;
        self.take_down_units(app, services(desired)).await?;
        self.remove_containers(&desired.app.to_string(), app)
            .await?;
        self.part_neighbours(desired).await?;
        let podman = &self.inner.podman;
        if desired.has_network() {
            podman.remove_network(&names::network(app)).await?;
        }
        for volume in desired.volumes() {
            podman.remove_volume(&names::volume(app, volume)).await?;
        }
        for secret in desired.podman_secrets() {
            let name = names::secret_named(app, &secret);
            podman.remove_secret(&name).await?;
        }
        for release in desired.versions() {
            self.remove_images(app, &release.images).await;
        }
        Ok(())
    }

    /// Takes down what carries our mark but belongs to no app that is known.
    pub(crate) async fn tear_down_orphan(&self, app: &Slug) -> Result<(), MachineError> {
        let live = self
            .live_units()
            .map_err(MachineError::io(&self.inner.config.unit_dir))?;
        let files = live.get(app).into_iter().flat_map(|files| files.keys());
        let services = files.map(|file| service_name(file)).collect();
        self.take_down_units(app, services).await?;
        self.remove_containers("", app).await
    }

    async fn take_down_units(&self, app: &Slug, services: Vec<String>) -> Result<(), MachineError> {
        // Containers first: stopping the network they require would stop them in any order.
        let (containers, others): (Vec<_>, Vec<_>) = services.into_iter().partition(|unit| {
            !unit.ends_with("-network.service") && !unit.ends_with("-volume.service")
        });
        self.stop_units(&containers).await?;
        self.stop_units(&others).await?;
        let staging = self.staging(app);
        disk::remove_dir(&staging).map_err(MachineError::io(&staging))?;
        let live = self.inner.config.unit_dir.join(app.as_str());
        if live.exists() {
            // Out of Quadlet's sight in one step, then gone.
            std::fs::create_dir_all(&self.inner.config.staging_dir)
                .and_then(|()| std::fs::rename(&live, &staging))
                .and_then(|()| disk::remove_dir(&staging))
                .map_err(MachineError::io(&live))?;
            self.inner.systemd.reload().await?;
        }
        Ok(())
    }

    /// Removes containers of an app of this node that outlived their unit.
    async fn remove_containers(&self, id: &str, app: &Slug) -> Result<(), MachineError> {
        let suffix = format!("/{app}");
        let root = &self.inner.facts.root;
        let (label, value) = match id.is_empty() {
            true => (LABEL_ROOT, root.as_str()),
            false => (LABEL_APP, id),
        };
        let podman = &self.inner.podman;
        for container in podman.containers_labelled(label, value).await? {
            let ours = container.label(LABEL_ROOT) == Some(root);
            let label = container.label(LABEL_APP).unwrap_or_default();
            let same = if id.is_empty() {
                label.ends_with(&suffix)
            } else {
                label == id
            };
            if ours && same {
                podman.remove_container(&container.id).await?;
            }
        }
        Ok(())
    }

    fn allow_if_there(&self, app: &Slug) -> Result<(), MachineError> {
        if app_dir(&self.inner.facts.apps_dir, app).exists() {
            self.allow(app, false)?;
        }
        Ok(())
    }
}

/// Every service that an app's unit files make.
pub(crate) fn services(desired: &Desired) -> Vec<String> {
    desired
        .units
        .keys()
        .map(|file| service_name(file))
        .collect()
}
