//! Containers that run here already, and the known apps that could claim them.

use std::collections::BTreeMap;

use archy_orchestrator::Foreign;
use archy_orchestrator::adopt::matching;
use archy_registry::store::{CatalogEntry, CatalogQuery};
use archy_registry::{AppId, Slug};
use jiff::Timestamp;

use super::{Node, parse_app, parse_release, parse_slug};
use crate::api::types::{
    AdoptCandidate, AdoptParams, AdoptableList, AppRef, JobKind, JobRef, MigrateParams,
    MigrationPlan, Problem,
};
use crate::jobs::{Manner, Wish};
use crate::machine::foreign_container;
use crate::problem as explain;

/// Apps of the catalog that are looked through.
const APPS_MAX: u32 = 5000;

impl Node {
    pub(super) async fn adoptable_list(&self) -> Result<AdoptableList, Problem> {
        let foreign = self.machine()?.adoptable().await?;
        let query = CatalogQuery {
            limit: APPS_MAX,
            ..CatalogQuery::default()
        };
        let page = match foreign.is_empty() {
            true => Vec::new(),
            false => {
                let page = self.store.catalog(&query, Timestamp::now()).await;
                page.map_err(|error| explain::of_store(&error))?.entries
            }
        };
        let observed = self.observed();
        let installed = |slug: &Slug| observed.find(slug).map(|installed| installed.app.clone());
        let candidates: Vec<AdoptCandidate> = page
            .iter()
            .filter_map(|entry| candidate(entry, &foreign, &installed))
            .collect();
        let containers = foreign.iter().map(|one| {
            let mut shown = foreign_container(one);
            shown.unclaimed = unclaimed(one, &candidates);
            shown
        });
        Ok(AdoptableList {
            containers: containers.collect(),
            candidates,
        })
    }

    pub(super) async fn submit_adopt(&self, params: AdoptParams) -> Result<JobRef, Problem> {
        let app = parse_app(&params.app)?;
        let release = parse_release(params.release.as_deref())?;
        let mut chosen = BTreeMap::new();
        for (container, name) in params.containers {
            chosen.insert(parse_slug(&container)?, name);
        }
        let name = self.display_name(&app).await;
        self.submit(Wish {
            kind: JobKind::Adopt,
            app,
            name,
            release,
            manner: Manner {
                chosen,
                ..Manner::default()
            },
        })
        .await
    }

    pub(super) async fn migration_of(&self, slug: &str) -> Result<MigrationPlan, Problem> {
        let (slug, _) = self.installed(slug)?;
        self.machine()?.migration(&slug).await
    }

    pub(super) async fn submit_migrate(&self, params: MigrateParams) -> Result<JobRef, Problem> {
        let manner = Manner {
            accept: params.accept.into_iter().collect(),
            ..Manner::default()
        };
        self.change(&params.slug, JobKind::Migrate, None, manner)
            .await
    }
}

/// Tells what an app could claim; `None` when nothing here is its.
fn candidate(
    entry: &CatalogEntry,
    foreign: &[Foreign],
    installed: &dyn Fn(&Slug) -> Option<AppId>,
) -> Option<AdoptCandidate> {
    let app = entry.app();
    let card = &entry.announcement.card;
    let mut found = AdoptCandidate {
        app: AppRef {
            publisher: app.publisher.to_string(),
            slug: app.slug.to_string(),
        },
        name: card.name.clone(),
        containers: BTreeMap::new(),
        missing: BTreeMap::new(),
        hindrance: None,
    };
    match &entry.release {
        Some(release) => {
            let fit = matching(&release.manifest, foreign, &BTreeMap::new());
            let name = |id: &String| {
                let mut foreign = foreign.iter();
                foreign
                    .find(|one| one.id == *id)
                    .map(|one| one.name.clone())
            };
            found.containers = fit
                .fits
                .iter()
                .filter_map(|(container, id)| Some((container.to_string(), name(id)?)))
                .collect();
            let missing = fit.missing.into_iter();
            found.missing = missing
                .map(|(container, name)| (container.to_string(), name))
                .collect();
        }
        // Its containers are not known yet; one of its name is likely to be its.
        None => {
            let slug = app.slug.to_string();
            let mut like = foreign.iter().filter(|one| one.exists());
            let like = like.find(|one| one.name == slug)?;
            found.containers.insert(slug, like.name.clone());
        }
    }
    if found.containers.is_empty() {
        return None;
    }
    found.hindrance = match installed(&app.slug) {
        Some(other) if other == app => Some("It is installed already".to_owned()),
        Some(_) => Some("Another publisher's app has its name here".to_owned()),
        None if !found.missing.is_empty() => {
            let names: Vec<&str> = found.missing.values().map(String::as_str).collect();
            Some(format!("No container named {} is here", names.join(", ")))
        }
        None => None,
    };
    Some(found)
}

/// Says why no app can claim a container, if none can.
fn unclaimed(one: &Foreign, candidates: &[AdoptCandidate]) -> Option<String> {
    if !one.exists() {
        return Some("Its service does not run: start it to claim the container".to_owned());
    }
    let fits = |candidate: &&AdoptCandidate| candidate.containers.values().any(|n| *n == one.name);
    let fitting: Vec<&AdoptCandidate> = candidates.iter().filter(fits).collect();
    if fitting
        .iter()
        .any(|candidate| candidate.hindrance.is_none())
    {
        return None;
    }
    match fitting.first() {
        Some(candidate) => {
            let hindrance = candidate.hindrance.as_deref().unwrap_or_default();
            Some(format!("{}: {hindrance}", candidate.name))
        }
        None => Some("No known app has a container of this name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use archy_orchestrator::Origin;

    use super::*;

    fn foreign(name: &str) -> Foreign {
        Foreign {
            id: format!("id-{name}"),
            name: name.to_owned(),
            image: String::new(),
            state: "running".to_owned(),
            started_at: None,
            origin: Origin::Run,
            restart: "no".to_owned(),
            ports: Vec::new(),
            mounts: Vec::new(),
        }
    }

    #[test]
    fn who_cannot_be_claimed_is_told_why() {
        let candidate = |container: &str, hindrance: Option<&str>| AdoptCandidate {
            app: AppRef {
                publisher: "did:key:z".to_owned(),
                slug: "notes".to_owned(),
            },
            name: "Notes".to_owned(),
            containers: BTreeMap::from([("web".to_owned(), container.to_owned())]),
            missing: BTreeMap::new(),
            hindrance: hindrance.map(str::to_owned),
        };
        let table = [
            (vec![], Some("No known app has a container of this name")),
            (
                vec![candidate("other", None)],
                Some("No known app has a container of this name"),
            ),
            (
                vec![candidate("notes", Some("It is installed already"))],
                Some("Notes: It is installed already"),
            ),
            (
                vec![candidate("notes", Some("no")), candidate("notes", None)],
                None,
            ),
        ];
        for (candidates, wanted) in table {
            assert_eq!(unclaimed(&foreign("notes"), &candidates).as_deref(), wanted);
        }
    }
}
