//! Stopping an app so that it stays stopped, and taking it down to its data: units, containers, network, podman's volumes
//! and secrets, images.

use archy_registry::Slug;
use futures_util::future::join_all;

use crate::desired::Desired;
use crate::disk;
use crate::install::MachineError;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::quadlet::validate::service_name;
use crate::quadlet::{LABEL_APP, LABEL_ROOT, app_dir};
use crate::runtime::systemd::{JobResult, Verb};

/// How often a unit is stopped that something else starts meanwhile.
const STOPS_MAX: usize = 10;

impl Orchestrator {
    /// Stops an app so that nothing starts it again meanwhile: no boot, and no app whose units want this one's.
    pub(crate) async fn hold_still(&self, desired: &Desired) -> Result<(), MachineError> {
        self.allow(desired.slug(), false)?;
        self.stop_containers(desired).await
    }

    pub(crate) async fn stop_containers(&self, desired: &Desired) -> Result<(), MachineError> {
        let app = desired.slug();
        let units: Vec<String> = desired
            .containers()
            .map(|c| names::container_unit(app, c))
            .collect();
        self.stop_units(&units).await
    }

    /// Stops units in the order that systemd knows.
    async fn stop_units(&self, units: &[String]) -> Result<(), MachineError> {
        for stopped in join_all(units.iter().map(|unit| self.stop_unit(unit))).await {
            stopped?;
        }
        Ok(())
    }

    /// Stops a unit, and forgets that stopping may count as failing.
    pub(crate) async fn stop_unit(&self, unit: &str) -> Result<(), MachineError> {
        let canceled = JobResult::Other("canceled".to_owned());
        for _ in 0..STOPS_MAX {
            // A start that something else asks for takes the place of a stop that is under way.
            if self.inner.systemd.job(Verb::Stop, unit).await? != canceled {
                return Ok(self.inner.systemd.reset_failed(unit).await?);
            }
        }
        Err(MachineError::KeptUp(unit.to_owned()))
    }

    /// Takes an app down to its data: units, containers, network, podman's volumes and secrets, images.
    pub(crate) async fn tear_down(&self, desired: &Desired) -> Result<(), MachineError> {
        let app = desired.slug();
        self.allow_if_there(app)?;
        self.take_down_units(app, services(desired)).await?;
        let id = desired.app.to_string();
        self.remove_containers((LABEL_APP, &id), |label| label == id)
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
        // By whose release is not known; the last part of the label is the app.
        let suffix = format!("/{app}");
        let root = (LABEL_ROOT, self.inner.facts.root.as_str());
        self.remove_containers(root, |label| label.ends_with(&suffix))
            .await
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

    /// Removes containers of an app of this node that outlived their unit: of those that carry a label, the ones whose
    /// app `is_of` knows.
    async fn remove_containers(
        &self,
        (label, value): (&str, &str),
        is_of: impl Fn(&str) -> bool,
    ) -> Result<(), MachineError> {
        let root = &self.inner.facts.root;
        let podman = &self.inner.podman;
        for container in podman.containers_labelled(label, value).await? {
            let ours = container.label(LABEL_ROOT) == Some(root);
            if ours && container.label(LABEL_APP).is_some_and(&is_of) {
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
