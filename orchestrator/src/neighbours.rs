//! Apps that use other apps: who may reach whom, over which network, and who must be there first.
//!
//! An app reaches exactly the containers that the other one names in its exports: for each pair there is a network of
//! their own without a way out, that the containers which use the values are in by their units, and into which the node
//! puts the other app's containers while they run. So two apps that use a third do not see each other, no app's units
//! change because another one comes or goes, and the database behind an exported container stays out of reach.

use std::collections::{BTreeMap, BTreeSet};

use archy_registry::manifest::template::Name;
use archy_registry::manifest::{Container, Dependency, Manifest, NetworkPolicy};
use archy_registry::release::Release;
use archy_registry::{AppId, Slug};

use crate::desired::{Desired, Stage, Wish};
use crate::install::MachineError;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::preflight::Refusal;
use crate::runtime::podman;
use crate::runtime::systemd::Verb;
use crate::settings::Settings;
use crate::surroundings::Surroundings;
use crate::values;

/// Finds the installed app that a manifest means by a slug. Another publisher's app of that name is not it.
pub(crate) fn provider<'d>(
    manifest: &Manifest,
    slug: &Slug,
    desired: &'d [Desired],
) -> Option<&'d Desired> {
    let meant = meant(manifest, slug)?;
    let mut others = desired.iter();
    others.find(|other| other.app == meant && other.wish != Wish::Removed)
}

/// The app that a manifest means by a slug: that of the publisher whom its dependencies name.
fn meant(manifest: &Manifest, slug: &Slug) -> Option<AppId> {
    let mut dependencies = manifest.dependencies.iter();
    let meant = dependencies.find(|dependency| dependency.app == *slug)?;
    Some(AppId {
        publisher: meant.publisher,
        slug: meant.app.clone(),
    })
}

/// Lists the containers that an app lets others reach.
pub(crate) fn reachable(manifest: &Manifest) -> Vec<Slug> {
    let names = manifest
        .exports
        .iter()
        .flat_map(|export| values::names(&export.value));
    let hosts: BTreeSet<Slug> = names
        .filter_map(|name| {
            if let Name::AppHost(container) = name {
                Some(container)
            } else {
                None
            }
        })
        .collect();
    hosts.into_iter().collect()
}

/// Lists the apps whose values a container uses.
pub(crate) fn used_by(container: &Container) -> BTreeSet<Slug> {
    let names = container
        .environment
        .values()
        .flat_map(|text| values::names(text));
    names
        .filter_map(|name| {
            if let Name::Dependency { app, .. } = name {
                Some(app)
            } else {
                None
            }
        })
        .collect()
}

/// Lists the apps that a container has a network with.
pub(crate) fn edges_of(
    manifest: &Manifest,
    container: &Container,
    surroundings: &Surroundings,
) -> Vec<Slug> {
    if manifest.network_policy == NetworkPolicy::Host {
        return Vec::new();
    }
    let reaches = |app: &Slug| {
        let provider = surroundings.providers.get(app);
        provider.is_some_and(|provider| !provider.reachable.is_empty())
    };
    used_by(container)
        .into_iter()
        .filter(|app| reaches(app))
        .collect()
}

/// Lists the apps that an app has a network with, and the containers of theirs that it reaches.
pub(crate) fn edges(manifest: &Manifest, settings: &Settings) -> BTreeMap<Slug, Vec<Slug>> {
    let surroundings = &settings.surroundings;
    let manifest = &settings.applied_to(manifest);
    let apps = manifest
        .containers
        .iter()
        .flat_map(|container| edges_of(manifest, container, surroundings));
    apps.filter_map(|app| {
        let provider = surroundings.providers.get(&app)?;
        Some((app, provider.reachable.clone()))
    })
    .collect()
}

/// One container of another app that should be in a network with this one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Join {
    pub(crate) network: String,
    /// The container's name in podman.
    pub(crate) container: String,
}

/// Lists the running containers of other apps that are missing from the networks of `desired`. One with a name that a
/// container of `desired` answers to stays out, however it came by it: it would get what is meant for that one.
pub(crate) fn missing_joins(
    desired: &Desired,
    containers: &[podman::Container],
    networks: &BTreeSet<String>,
    root: &str,
) -> Vec<Join> {
    let mut joins = Vec::new();
    let manifest = &desired.release.manifest;
    let own = dns_names(manifest);
    for (other, reachable) in edges(manifest, &desired.settings) {
        let network = names::edge(desired.slug(), &other);
        let Some(other) = meant(manifest, &other) else {
            continue;
        };
        if !networks.contains(&network) {
            continue;
        }
        for container in containers {
            let wanted = is_of(container, &other, &reachable, root) && container.state == "running";
            let joined = container
                .networks
                .iter()
                .flatten()
                .any(|name| *name == network);
            if let (true, false, Some(name)) = (wanted, joined, container.names.first())
                && !own.contains(name)
            {
                joins.push(Join {
                    network: network.clone(),
                    container: name.clone(),
                });
            }
        }
    }
    joins
}

fn is_of(container: &podman::Container, app: &AppId, names: &[Slug], root: &str) -> bool {
    let name = container
        .label(crate::quadlet::LABEL_CONTAINER)
        .unwrap_or_default();
    container.label(crate::quadlet::LABEL_APP) == Some(app.to_string().as_str())
        && container.label(crate::quadlet::LABEL_ROOT) == Some(root)
        && names.iter().any(|wanted| wanted.as_str() == name)
}

/// Refuses a release whose dependencies are not there, or whose names clash with those of an app that it uses or that uses
/// it; `settings` are those that it would have.
pub(crate) fn check(
    release: &Release,
    settings: &Settings,
    desired: &[Desired],
) -> Result<(), Refusal> {
    let manifest = &release.manifest;
    let applied = settings.applied_to(manifest);
    for dependency in &manifest.dependencies {
        let app = &manifest.app.id;
        let other = desired.iter().find(|other| {
            other.slug() == &dependency.app
                && other.app.publisher == dependency.publisher
                && other.stage == Stage::Installed
                && other.wish != Wish::Removed
        });
        let Some(other) = other else {
            return Err(Refusal::DependencyMissing {
                app: app.clone(),
                dependency: Box::new(dependency.clone()),
            });
        };
        let version = &other.release.manifest.app.version;
        if dependency.accepts(version) != Some(true) {
            return Err(Refusal::DependencyVersion {
                app: app.clone(),
                dependency: Box::new(dependency.clone()),
                installed: version.clone(),
            });
        }
        check_exports(manifest, dependency, &other.release.manifest)?;
        check_names(&applied, &other.release.manifest)?;
    }
    for user in desired {
        if user.wish != Wish::Removed && needs(user, &release.app()) {
            check_names(&user.manifest(), manifest)?;
        }
    }
    Ok(())
}

fn check_exports(
    manifest: &Manifest,
    wanted: &Dependency,
    other: &Manifest,
) -> Result<(), Refusal> {
    for name in values::names_in(manifest) {
        if let Name::Dependency { app, name } = name
            && app == wanted.app
            && !other.exports.iter().any(|export| export.name == name)
        {
            return Err(Refusal::ExportMissing {
                app: manifest.app.id.clone(),
                dependency: app,
                name,
            });
        }
    }
    Ok(())
}

/// Two containers of one network must not answer to the same name: one app would get what is meant for the other.
fn check_names(manifest: &Manifest, other: &Manifest) -> Result<(), Refusal> {
    let joining = manifest
        .containers
        .iter()
        .filter(|container| used_by(container).contains(&other.app.id));
    let own: BTreeSet<String> = joining
        .map(|container| names::container(manifest, &container.name))
        .collect();
    let theirs: BTreeSet<String> = reachable(other)
        .iter()
        .map(|container| names::container(other, container))
        .collect();
    let clash = own.intersection(&dns_names(other)).next().cloned();
    let clash = clash.or_else(|| theirs.intersection(&dns_names(manifest)).next().cloned());
    match clash {
        Some(name) => Err(Refusal::NameClash {
            app: manifest.app.id.clone(),
            dependency: other.app.id.clone(),
            name,
        }),
        None => Ok(()),
    }
}

/// The names by which an app's containers find each other.
fn dns_names(manifest: &Manifest) -> BTreeSet<String> {
    let containers = manifest.containers.iter();
    let names = containers.flat_map(|container| {
        let aliases = container.network_aliases.iter().map(Slug::to_string);
        aliases.chain([container.name.to_string()])
    });
    names.collect()
}

/// Lists the installed apps that need `app`.
pub(crate) fn dependents(app: &Desired, desired: &[Desired]) -> Vec<Slug> {
    let others = desired.iter();
    let others = others.filter(|other| other.wish != Wish::Removed && needs(other, &app.app));
    others.map(|other| other.slug().clone()).collect()
}

fn needs(user: &Desired, app: &AppId) -> bool {
    let mut dependencies = user.release.manifest.dependencies.iter();
    dependencies.any(|needed| needed.app == app.slug && needed.publisher == app.publisher)
}

/// Lists the installed apps that need another version of `app` than that of `manifest`, and have what they need now.
pub(crate) fn unmet(
    app: &Desired,
    manifest: &Manifest,
    desired: &[Desired],
) -> Vec<(Slug, Dependency)> {
    let (from, to) = (&app.release.manifest.app.version, &manifest.app.version);
    let others = desired.iter().filter(|other| other.wish != Wish::Removed);
    let of = |other: &Desired| {
        let mut needed = other.release.manifest.dependencies.iter();
        let needed = needed.find(|needed| {
            needed.app == *app.slug()
                && needed.publisher == app.app.publisher
                && needed.accepts(from) == Some(true)
                && needed.accepts(to) != Some(true)
        })?;
        Some((other.slug().clone(), needed.clone()))
    };
    others.filter_map(of).collect()
}

impl Orchestrator {
    /// Lists the installed apps that depend on an app.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when desired state cannot be read.
    pub fn dependents(&self, app: &Slug) -> Result<Vec<Slug>, MachineError> {
        let found = self.inner.store.load_all()?;
        let provider = found.desired.iter().find(|other| other.slug() == app);
        let provider = provider.filter(|provider| provider.wish != Wish::Removed);
        Ok(provider.map_or_else(Vec::new, |provider| dependents(provider, &found.desired)))
    }

    /// Makes the networks with the apps that an app uses, and puts these apps' running containers into them. What
    /// cannot be done now is left for the reconciler: it must not keep the app from starting.
    pub(crate) async fn join_neighbours(&self, desired: &Desired) {
        for other in edges(&desired.release.manifest, &desired.settings).into_keys() {
            let unit = names::edge_unit(desired.slug(), &other);
            if let Err(error) = self.inner.systemd.job(Verb::Start, &unit).await {
                tracing::warn!(app = %desired.app, other = %other, error = &error as &dyn std::error::Error, "no network with an app that it uses");
            }
        }
        if let Err(error) = self.join_missing(desired).await {
            tracing::warn!(app = %desired.app, error = &error as &dyn std::error::Error, "an app that it uses could not be put into their network");
        }
    }

    async fn join_missing(&self, desired: &Desired) -> Result<(), podman::PodmanError> {
        if edges(&desired.release.manifest, &desired.settings).is_empty() {
            return Ok(());
        }
        let podman = &self.inner.podman;
        let containers = podman.containers().await?;
        let networks: BTreeSet<String> = podman.networks().await?.into_iter().collect();
        let root = &self.inner.facts.root;
        for join in missing_joins(desired, &containers, &networks, root) {
            podman.join_network(&join.network, &join.container).await?;
        }
        Ok(())
    }

    /// Removes the networks that an app had with others, which stay as they are.
    pub(crate) async fn part_neighbours(&self, desired: &Desired) -> Result<(), MachineError> {
        for other in edges(&desired.release.manifest, &desired.settings).into_keys() {
            self.part(&names::edge(desired.slug(), &other)).await?;
        }
        Ok(())
    }

    /// Removes the network of two apps, after everybody left it.
    pub(crate) async fn part(&self, network: &str) -> Result<(), MachineError> {
        let podman = &self.inner.podman;
        for container in podman.containers().await? {
            let mut networks = container.networks.iter().flatten();
            if networks.any(|name| name == network) {
                podman.leave_network(network, &container.id).await?;
            }
        }
        podman.remove_network(network).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
