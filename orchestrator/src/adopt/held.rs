//! Claimed containers as they are: found again, started and stopped the way that their maker meant, never made anew by us.

use std::collections::BTreeMap;

use archy_registry::Slug;

use super::{AdoptError, Adopted, Adoption, Held, Origin};
use crate::desired::{Desired, Stage, Wish};
use crate::install::MachineError;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::quadlet::LABEL_ROOT;
use crate::runtime::podman::{Container, Inspection};
use crate::runtime::systemd::{JobResult, Verb};

impl Held {
    /// Finds the container in podman's list: by its id, or by its name where its maker made it anew.
    pub(crate) fn find<'c>(&self, containers: &'c [Container]) -> Option<&'c Container> {
        let mut by_id = containers
            .iter()
            .filter(|container| container.id == self.id);
        by_id
            .next()
            .or_else(|| containers.iter().find(|container| self.is(container)))
    }

    /// Tells whether a container is this one, or has its name and is not ours.
    pub(super) fn is(&self, container: &Container) -> bool {
        container.id == self.id
            || container.names.contains(&self.name) && container.label(LABEL_ROOT).is_none()
    }

    /// The name under which the container is kept while ours runs in its place.
    pub(super) fn kept_name(&self) -> String {
        let id: String = self.id.chars().take(12).collect();
        format!("{}.before-archy.{id}", self.name)
    }
}

impl Adoption {
    /// What people are told.
    pub(crate) fn shown(&self) -> Adopted {
        Adopted {
            migrated: self.migration.is_some(),
            containers: self.containers.clone(),
        }
    }
}

/// What is to happen to claimed containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Start,
    Stop,
    Restart,
}

impl Orchestrator {
    /// Loads an app whose containers are claimed and still those that others made.
    pub(crate) fn claimed(&self, app: &Slug) -> Result<Option<Desired>, MachineError> {
        let desired = self.inner.store.load(app)?;
        Ok(desired.filter(|d| d.stage == Stage::Adopted && d.wish != Wish::Removed))
    }

    /// Starts or stops claimed containers, through the service that runs them where there is one.
    pub(crate) async fn act_on_claimed(
        &self,
        mut desired: Desired,
        act: Act,
    ) -> Result<Desired, AdoptError> {
        let adoption = desired.adoption.clone().unwrap_or_default();
        desired.wish = match act {
            Act::Start | Act::Restart => Wish::Running,
            Act::Stop => Wish::Stopped,
        };
        self.inner
            .store
            .save(&desired)
            .map_err(MachineError::from)?;
        if act != Act::Start {
            self.stop_held(&desired, &adoption, false).await?;
        }
        if act != Act::Stop {
            self.start_held(&desired, &adoption).await?;
        }
        Ok(desired)
    }

    /// Starts old containers in the manifest's order.
    pub(super) async fn start_held(
        &self,
        desired: &Desired,
        adoption: &Adoption,
    ) -> Result<(), AdoptError> {
        for held in in_order(desired, adoption) {
            match &held.origin {
                Origin::Unit { unit, .. } => {
                    let systemd = &self.inner.systemd;
                    systemd
                        .reset_failed(unit)
                        .await
                        .map_err(MachineError::from)?;
                    let result = systemd.job(Verb::Start, unit).await;
                    if result.map_err(MachineError::from)? != JobResult::Done {
                        return Err(AdoptError::Unit { unit: unit.clone() });
                    }
                }
                Origin::Run | Origin::Compose { .. } => {
                    let found = self.inspect_held(held).await?;
                    let found = found.ok_or_else(|| gone(held))?;
                    let started = self.inner.podman.start_foreign(&found.id).await;
                    started.map_err(MachineError::from)?;
                }
            }
        }
        Ok(())
    }

    /// Stops old containers against the manifest's order. One that would be gone with that is stopped only by its own
    /// service, which makes it anew, or when `anyway`.
    pub(super) async fn stop_held(
        &self,
        desired: &Desired,
        adoption: &Adoption,
        anyway: bool,
    ) -> Result<(), AdoptError> {
        for held in in_order(desired, adoption).into_iter().rev() {
            match &held.origin {
                Origin::Unit { unit, .. } => {
                    let systemd = &self.inner.systemd;
                    systemd
                        .job(Verb::Stop, unit)
                        .await
                        .map_err(MachineError::from)?;
                    systemd
                        .reset_failed(unit)
                        .await
                        .map_err(MachineError::from)?;
                    // Somebody may have started it beside its service.
                    if let Some(found) = self.inspect_held(held).await?
                        && found.state.running
                    {
                        if found.host_config.auto_remove && !anyway {
                            let name = held.name.clone();
                            return Err(AdoptError::WouldVanish { name });
                        }
                        let stopped = self.inner.podman.stop_foreign(&found.id).await;
                        stopped.map_err(MachineError::from)?;
                    }
                }
                Origin::Run | Origin::Compose { .. } => {
                    let Some(found) = self.inspect_held(held).await? else {
                        continue;
                    };
                    if found.host_config.auto_remove && !anyway {
                        let name = held.name.clone();
                        return Err(AdoptError::WouldVanish { name });
                    }
                    let stopped = self.inner.podman.stop_foreign(&found.id).await;
                    stopped.map_err(MachineError::from)?;
                }
            }
        }
        Ok(())
    }

    /// Removes old containers and leaves their volumes. Their services are kept from starting, because that would make
    /// them anew.
    pub(crate) async fn discard_held(&self, desired: &Desired) -> Result<(), AdoptError> {
        let Some(adoption) = &desired.adoption else {
            return Ok(());
        };
        self.block_units(desired.slug(), adoption, true).await?;
        self.stop_held(desired, adoption, true).await?;
        for held in adoption.containers.values() {
            // By its id only: what has its name by now may be another's, or ours.
            let removed = self.inner.podman.remove_keeping_volumes(&held.id).await;
            removed.map_err(MachineError::from)?;
        }
        Ok(())
    }

    pub(super) async fn inspect_held(
        &self,
        held: &Held,
    ) -> Result<Option<Inspection>, MachineError> {
        let containers = self.inner.podman.containers().await?;
        match held.find(&containers) {
            Some(container) => Ok(self.inner.podman.inspect(&container.id).await?),
            None => Ok(None),
        }
    }

    /// podman's names of claimed containers, each with the unit that ours would have.
    pub(crate) fn claimed_logs(desired: &Desired, only: Option<&Slug>) -> BTreeMap<String, String> {
        let adoption = desired.adoption.iter();
        let held = adoption.flat_map(|adoption| &adoption.containers);
        held.filter(|(container, _)| only.is_none_or(|only| only == *container))
            .map(|(container, held)| {
                let unit = names::container_unit(desired.slug(), container);
                (held.name.clone(), unit)
            })
            .collect()
    }
}

pub(super) fn gone(held: &Held) -> AdoptError {
    AdoptError::Gone {
        name: held.name.clone(),
    }
}

fn in_order<'a>(desired: &'a Desired, adoption: &'a Adoption) -> Vec<&'a Held> {
    let containers = desired.containers();
    containers
        .filter_map(|container| adoption.containers.get(container))
        .collect()
}
