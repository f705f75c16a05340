//! The planner: compares what should be with what is and lists the steps between them. Pure; performs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use archy_registry::Slug;

use crate::desired::{Desired, Stage, Wish};
use crate::names;
use crate::neighbours;
use crate::quadlet::{LABEL_APP, LABEL_ROOT};
use crate::runtime::podman;
use crate::runtime::systemd::UnitState;

/// What is, as far as planning needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Loaded units of ours, by name.
    pub(crate) units: BTreeMap<String, UnitState>,
    /// All containers.
    pub(crate) containers: Vec<podman::Container>,
    /// All networks' names.
    pub(crate) networks: BTreeSet<String>,
    /// All volumes' names.
    pub(crate) volumes: BTreeSet<String>,
    /// All secrets' names but those that must be given to podman again.
    pub(crate) secrets: BTreeSet<String>,
    /// Names of secrets with another value than they should have.
    pub(crate) different_secrets: BTreeSet<String>,
    /// Services that run with a container that has not been well for some time.
    pub(crate) ailing: BTreeSet<String>,
    /// Apps whose units depend on something that has changed.
    pub(crate) outdated: BTreeSet<Slug>,
    /// Live unit directories that this node wrote: their files.
    pub(crate) live: BTreeMap<Slug, BTreeMap<String, String>>,
    /// Apps whose `wanted` file is there.
    pub(crate) wanted: BTreeSet<Slug>,
    /// Volumes' directories that are there: app and volume.
    pub(crate) data: BTreeSet<(Slug, Slug)>,
}

/// One step towards what should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Undo an install that was interrupted.
    Undo,
    /// Finish a change that was interrupted, or take it back.
    FinishChange,
    /// Finish taking a change back.
    FinishReturn,
    /// Finish a migration that was interrupted, or take it back.
    FinishMigration,
    /// Finish giving the place back to the containers that others made.
    FinishUndo,
    /// Remove what is left of an app that is not installed; its data stays.
    TearDown,
    /// Let the units start, or keep them from starting.
    Allow(bool),
    /// Have the owner put back the directory with a volume's data; nothing else is done for the app before.
    AskForData(Slug),
    /// Render the app again: what it depends on has changed.
    Refresh,
    /// Give podman a secret, by its name within the app.
    StoreSecret(String),
    /// Put the checked units in place and have systemd read them.
    WriteUnits,
    /// Run the network's or a volume's unit again, because podman lost what it made.
    Remake(String),
    /// Put the containers of other apps into the networks that the app has with them.
    Join,
    /// Stop the service.
    Stop(String),
    /// Start the service.
    Start(String),
}

impl Step {
    /// Tells whether containers may start by it.
    pub(crate) fn starts(&self) -> bool {
        matches!(self, Self::Start(_) | Self::Remake(_))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undo => f.write_str("undo the interrupted install"),
            Self::FinishChange => f.write_str("finish the interrupted change"),
            Self::FinishReturn => f.write_str("finish taking the change back"),
            Self::FinishMigration => f.write_str("finish the interrupted migration"),
            Self::FinishUndo => f.write_str("finish undoing the migration"),
            Self::TearDown => f.write_str("remove what is left, keep the data"),
            Self::Allow(true) => f.write_str("allow it to start"),
            Self::Allow(false) => f.write_str("keep it from starting"),
            Self::AskForData(volume) => {
                write!(f, "ask for the data of volume {volume}, which is gone")
            }
            Self::Refresh => f.write_str("render it again with what it depends on now"),
            Self::StoreSecret(secret) => write!(f, "give podman the secret {secret}"),
            Self::WriteUnits => f.write_str("put the units in place"),
            Self::Remake(unit) => write!(f, "run {unit} again"),
            Self::Join => f.write_str("join the networks with apps that it uses"),
            Self::Stop(unit) => write!(f, "stop {unit}"),
            Self::Start(unit) => write!(f, "start {unit}"),
        }
    }
}

/// The steps, by app; apps do not wait for one another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps in order.
    pub apps: BTreeMap<Slug, Vec<Step>>,
}

impl Plan {
    /// Tells whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (app, steps) in &self.apps {
            writeln!(f, "{app}")?;
            for step in steps {
                writeln!(f, "  {step}")?;
            }
        }
        Ok(())
    }
}

/// Plans for all apps. `root` is this node's mark on what it makes.
pub(crate) fn plan(
    desired: &[Desired],
    damaged: &BTreeSet<Slug>,
    machine: &Machine,
    root: &str,
) -> Plan {
    let mut plan = Plan::default();
    for app in desired {
        let steps = steps(app, machine, root);
        if !steps.is_empty() {
            plan.apps.insert(app.slug().clone(), steps);
        }
    }
    let known: BTreeSet<&Slug> = desired.iter().map(Desired::slug).chain(damaged).collect();
    let orphaned_units = machine.live.keys().cloned();
    let orphaned_containers = machine
        .containers
        .iter()
        .filter(|container| container.label(LABEL_ROOT) == Some(root))
        .filter_map(|container| container.label(LABEL_APP)?.rsplit_once('/')?.1.parse().ok());
    for app in orphaned_units.chain(orphaned_containers) {
        if !known.contains(&app) {
            plan.apps.insert(app, vec![Step::TearDown]);
        }
    }
    plan
}

fn steps(desired: &Desired, machine: &Machine, root: &str) -> Vec<Step> {
    match (desired.stage, desired.wish) {
        (Stage::Installing, _) => vec![Step::Undo],
        (Stage::Changing, _) => vec![Step::FinishChange],
        (Stage::Returning, _) => vec![Step::FinishReturn],
        (Stage::Adopted, _) => Vec::new(),
        (Stage::Migrating, _) => vec![Step::FinishMigration],
        (Stage::Unmigrating, _) => vec![Step::FinishUndo],
        (Stage::Installed, Wish::Removed) if leaves_anything(desired, machine) => {
            vec![Step::TearDown]
        }
        (Stage::Installed, Wish::Removed) => Vec::new(),
        (Stage::Installed, Wish::Stopped) => steps_to_stop(desired, machine),
        (Stage::Installed, Wish::Running) if machine.outdated.contains(desired.slug()) => {
            vec![Step::Refresh]
        }
        (Stage::Installed, Wish::Running) => steps_to_run(desired, machine, root),
    }
}

/// Tells whether an app for which there are no steps is as wished, and not merely on its way.
pub(crate) fn is_settled(desired: &Desired, machine: &Machine) -> bool {
    let is_active = |container: &Slug| {
        let unit = names::container_unit(desired.slug(), container);
        let unit = machine.units.get(&unit);
        unit.is_some_and(|unit| unit.active == "active")
    };
    (desired.stage, desired.wish) != (Stage::Installed, Wish::Running)
        || desired.containers().all(is_active)
}

/// Tells whether an uninstalled app has left more than its data.
fn leaves_anything(desired: &Desired, machine: &Machine) -> bool {
    let app = desired.slug();
    let id = desired.app.to_string();
    machine.live.contains_key(app)
        || machine.wanted.contains(app)
        || machine
            .containers
            .iter()
            .any(|c| c.label(LABEL_APP) == Some(&id))
        || machine.networks.contains(&names::network(app))
        || desired
            .volumes()
            .iter()
            .any(|volume| machine.volumes.contains(&names::volume(app, volume)))
        || neighbours::edges(&desired.release.manifest, &desired.settings)
            .keys()
            .any(|other| machine.networks.contains(&names::edge(app, other)))
        || desired
            .podman_secrets()
            .iter()
            .any(|secret| machine.secrets.contains(&names::secret_named(app, secret)))
}

fn steps_to_stop(desired: &Desired, machine: &Machine) -> Vec<Step> {
    let app = desired.slug();
    let mut steps = Vec::new();
    if machine.wanted.contains(app) {
        steps.push(Step::Allow(false));
    }
    for container in desired.containers() {
        let unit = names::container_unit(app, container);
        if machine.units.get(&unit).is_some_and(is_up) {
            steps.push(Step::Stop(unit));
        }
    }
    steps
}

fn steps_to_run(desired: &Desired, machine: &Machine, root: &str) -> Vec<Step> {
    let app = desired.slug();
    let is_gone = |volume: &&Slug| !machine.data.contains(&(app.clone(), (*volume).clone()));
    // An app that finds an empty directory begins anew, and then there are two of its data.
    if let Some(volume) = desired.volumes().into_iter().find(is_gone) {
        return vec![Step::AskForData(volume.clone())];
    }
    let mut steps = Vec::new();
    if !machine.wanted.contains(app) {
        steps.push(Step::Allow(true));
    }
    // Stopped first: a node that is killed in between finds them down, and starts them with what is right.
    let stale = drift::stale_units(desired, machine, root);
    steps.extend(stale.iter().cloned().map(Step::Stop));
    for secret in desired.podman_secrets() {
        let name = names::secret_named(app, &secret);
        if !machine.secrets.contains(&name) || machine.different_secrets.contains(&name) {
            steps.push(Step::StoreSecret(secret));
        }
    }
    let unloaded = |unit: &String| {
        machine
            .units
            .get(unit)
            .is_some_and(|unit| unit.load == "not-found")
    };
    let units: Vec<String> = desired
        .containers()
        .map(|container| names::container_unit(app, container))
        .collect();
    if machine.live.get(app) != Some(&desired.units) || units.iter().any(unloaded) {
        steps.push(Step::WriteUnits);
    }
    let made = |unit: &String| {
        machine
            .units
            .get(unit)
            .is_some_and(|unit| unit.active == "active")
    };
    let mut remade = false;
    if desired.has_network() {
        let unit = names::network_unit(app);
        if made(&unit) && !machine.networks.contains(&names::network(app)) {
            steps.push(Step::Remake(unit));
            remade = true;
        }
    }
    for other in neighbours::edges(&desired.release.manifest, &desired.settings).keys() {
        let unit = names::edge_unit(app, other);
        if made(&unit) && !machine.networks.contains(&names::edge(app, other)) {
            steps.push(Step::Remake(unit));
            remade = true;
        }
    }
    if !neighbours::missing_joins(desired, &machine.containers, &machine.networks, root).is_empty()
    {
        steps.push(Step::Join);
    }
    for volume in desired.volumes() {
        let unit = names::volume_unit(app, volume);
        if made(&unit) && !machine.volumes.contains(&names::volume(app, volume)) {
            steps.push(Step::Remake(unit));
            remade = true;
        }
    }
    // Starting one brings up those that it requires; starting what is up already does nothing.
    for unit in units {
        let needs_start = machine.units.get(&unit).is_none_or(|unit| !is_up(unit));
        if remade || needs_start || stale.contains(&unit) {
            steps.push(Step::Start(unit));
        }
    }
    steps
}

/// Up, on its way up, or being started again by systemd.
fn is_up(unit: &UnitState) -> bool {
    matches!(unit.active.as_str(), "active" | "activating" | "reloading")
}

mod drift;

#[cfg(test)]
mod tests;
