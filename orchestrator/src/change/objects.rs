//! What a change does to units and to podman's networks and volumes.
//!
//! `podman network create --ignore` and its like leave what exists as it is, so what changed is removed first.

use std::collections::BTreeMap;

use archy_registry::Slug;

use crate::desired::{DataMove, Desired};
use crate::install::MachineError;
use crate::names;
use crate::neighbours::edges;
use crate::orchestrator::Orchestrator;
use crate::quadlet::validate::service_name;

impl Orchestrator {
    /// Puts the units of `after` in place while `before` still runs, if stopping works with the new units as with the
    /// old: then only the start is left to wait for once the app stands still.
    pub(super) async fn place_early(
        &self,
        before: &Desired,
        after: &Desired,
    ) -> Result<(), MachineError> {
        if stops_alike(before, after) && !self.is_live(after)? {
            self.write_units(after).await?;
        }
        Ok(())
    }

    /// Puts the units of `after` in place of those of `before`, which stands still.
    pub(super) async fn put_in_place(
        &self,
        before: &Desired,
        after: &Desired,
    ) -> Result<(), MachineError> {
        if self.is_live(after)? {
            return Ok(());
        }
        let gone = before
            .units
            .keys()
            .filter(|file| !after.units.contains_key(*file));
        for file in gone {
            self.stop_unit(&service_name(file)).await?;
        }
        self.write_units(after).await
    }

    fn is_live(&self, desired: &Desired) -> Result<bool, MachineError> {
        let live = self
            .live_units()
            .map_err(MachineError::io(&self.inner.config.unit_dir))?;
        Ok(live.get(desired.slug()) == Some(&desired.units))
    }

    /// Removes the network and volumes that the units of `after` would make otherwise, or on other data. The app must
    /// stand still; its data is not touched.
    pub(super) async fn remove_stale_objects(
        &self,
        before: &Desired,
        after: &Desired,
        data: &DataMove,
    ) -> Result<(), MachineError> {
        let app = after.slug();
        let moves = matches!(data, DataMove::Exchanged(_));
        let stale = |file: &String| {
            before.units.get(file).is_some_and(|text| {
                after
                    .units
                    .get(file)
                    .is_none_or(|new| essence(new) != essence(text))
            })
        };
        let network = names::network_file(app);
        if stale(&network) {
            self.stop_unit(&service_name(&network)).await?;
            self.inner
                .podman
                .remove_network(&names::network(app))
                .await?;
        }
        for other in edges(&before.release.manifest, &before.settings).into_keys() {
            if stale(&names::edge_file(app, &other)) {
                self.stop_unit(&names::edge_unit(app, &other)).await?;
                self.part(&names::edge(app, &other)).await?;
            }
        }
        for volume in &before.volumes() {
            let file = names::volume_file(app, volume);
            if moves || stale(&file) {
                self.remove_volume(app, volume).await?;
            }
        }
        Ok(())
    }

    /// Removes an app's networks and all its volumes from podman. The app must stand still; its data is not touched.
    pub(super) async fn remove_objects(&self, desired: &Desired) -> Result<(), MachineError> {
        let app = desired.slug();
        for other in edges(&desired.release.manifest, &desired.settings).into_keys() {
            self.stop_unit(&names::edge_unit(app, &other)).await?;
        }
        self.part_neighbours(desired).await?;
        if desired.has_network() {
            self.stop_unit(&names::network_unit(app)).await?;
            self.inner
                .podman
                .remove_network(&names::network(app))
                .await?;
        }
        for volume in &desired.volumes() {
            self.remove_volume(app, volume).await?;
        }
        Ok(())
    }

    async fn remove_volume(&self, app: &Slug, volume: &Slug) -> Result<(), MachineError> {
        self.stop_unit(&names::volume_unit(app, volume)).await?;
        self.inner
            .podman
            .remove_volume(&names::volume(app, volume))
            .await?;
        Ok(())
    }
}

/// Tells whether the services of both are the same and run containers of the same names.
fn stops_alike(before: &Desired, after: &Desired) -> bool {
    let container_names = |desired: &Desired| -> BTreeMap<String, Option<String>> {
        let name = |text: &String| {
            let mut lines = text.lines();
            lines
                .find(|line| line.starts_with("ContainerName="))
                .map(str::to_owned)
        };
        let units = desired.units.iter();
        units
            .map(|(file, text)| (file.clone(), name(text)))
            .collect()
    };
    container_names(before) == container_names(after)
}

/// A network's or volume's unit without what changes with every release and leaves the object as it is.
fn essence(text: &str) -> Vec<&str> {
    let beside_the_point = ["Label=", "Release="];
    let lines = text.lines();
    lines
        .filter(|line| !beside_the_point.iter().any(|start| line.starts_with(start)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_alone_makes_no_other_network() {
        let one = "[X-Archy]\nRelease=a\n[Network]\nInternal=true\nLabel=io.archy.release=a\n";
        let two = "[X-Archy]\nRelease=b\n[Network]\nInternal=true\nLabel=io.archy.release=b\n";
        assert_eq!(essence(one), essence(two));
        assert_ne!(essence(one), essence(&two.replace("true", "false")));
    }
}
