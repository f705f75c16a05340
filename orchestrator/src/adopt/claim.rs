//! Claiming containers that others made for an app: only a record is written, and letting go only removes the record.

use std::collections::BTreeMap;

use archy_registry::manifest::Manifest;
use archy_registry::release::Release;
use archy_registry::{Slug, Verified};
use jiff::Timestamp;

use super::{AdoptError, Adoption, Foreign, Held, matching};
use crate::desired::{Desired, Stage, Wish};
use crate::install::MachineError;
use crate::instance::Instance;
use crate::orchestrator::Orchestrator;
use crate::preflight::{Purpose, Refusal};
use crate::settings::{PortBinding, Settings};

impl Orchestrator {
    /// Makes containers that run here those of an app, exactly as they are; `chosen` names some of them by name or id,
    /// the others are found by their names. What would be refused to be installed is refused here.
    ///
    /// # Errors
    ///
    /// [`AdoptError`]; nothing has changed.
    pub async fn claim(
        &self,
        release: &Verified<Release>,
        chosen: &BTreeMap<Slug, String>,
    ) -> Result<Instance, AdoptError> {
        let manifest = &release.manifest;
        let slug = &manifest.app.id;
        let _lock = self.lock(slug).await;
        let installed = self.inner.store.load(slug).map_err(MachineError::from)?;
        if let Some(installed) = installed.filter(Desired::is_installed)
            && installed.app == release.app()
        {
            return Err(AdoptError::Refused(Refusal::Installed {
                app: installed.app,
                version: installed.release.manifest.app.version,
            }));
        }
        let foreign = self.adoptable().await?;
        let found = matching(manifest, &foreign, chosen);
        if let Some((container, expected)) = found.missing.into_iter().next() {
            return Err(AdoptError::Unmatched {
                app: slug.clone(),
                container,
                expected,
            });
        }
        let ids: Vec<String> = found.fits.values().cloned().collect();
        self.preflight_among(release, Purpose::Install, None, &ids)
            .await?;
        let mut held: BTreeMap<Slug, &Foreign> = BTreeMap::new();
        for (container, id) in found.fits {
            held.extend(foreign.iter().find(|c| c.id == id).map(|c| (container, c)));
        }
        let settings = Settings {
            ports: published(manifest, &held),
            ..Settings::default()
        };
        let held = held.into_iter().map(|(container, foreign)| {
            let held = Held {
                id: foreign.id.clone(),
                name: foreign.name.clone(),
                origin: foreign.origin.clone(),
            };
            (container, held)
        });
        let adoption = Adoption {
            containers: held.collect(),
            migration: None,
        };
        let desired = Desired::adopted(release, settings, adoption, Timestamp::now());
        self.inner
            .store
            .save(&desired)
            .map_err(MachineError::from)?;
        self.memory(|memory| memory.forget(slug));
        tracing::info!(app = %desired.app, containers = desired.containers().count(), "claimed containers as they are");
        Ok(self.look_at(&desired).await)
    }

    /// Forgets that containers are an app's; they run on.
    pub(crate) fn let_claim_go(&self, desired: &Desired) -> Result<(), MachineError> {
        let mut removed = desired.clone();
        removed.wish = Wish::Removed;
        removed.stage = Stage::Installed;
        removed.adoption = None;
        self.inner.store.save(&removed)?;
        self.memory(|memory| memory.forget(desired.slug()));
        self.forget_if_dataless(&removed)
    }

    /// Why an app cannot be uninstalled now: the old containers would be left without anything that knows of them.
    pub(crate) fn is_between(desired: &Desired) -> bool {
        let adoption = desired.adoption.as_ref();
        adoption.is_some_and(|adoption| adoption.migration.is_some())
    }
}

/// Where the app's ports are found while its containers are those that others made.
pub(super) fn published(manifest: &Manifest, held: &BTreeMap<Slug, &Foreign>) -> Vec<PortBinding> {
    let mut bindings = Vec::new();
    for container in &manifest.containers {
        let Some(foreign) = held.get(&container.name) else {
            continue;
        };
        for port in &container.ports {
            let mut published = foreign.ports.iter();
            let found = published
                .find(|one| one.container == port.container && one.protocol == port.protocol);
            bindings.extend(found.map(|found| PortBinding {
                container: container.name.clone(),
                container_port: port.container,
                protocol: port.protocol,
                host_port: found.host,
            }));
        }
    }
    bindings
}
