//! The store's pages: search and one app.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use archy_registry::announcement::Announcement;
use archy_registry::manifest::Category;
use archy_registry::store::{CatalogEntry, SEARCH_LIMIT_MAX, Search, Sort};
use archy_registry::{AppId, Did};
use jiff::Timestamp;

use super::Node;
use crate::api::types::{
    AppPage, CategoryCount, Instance, Problem, SearchParams, SearchResult, SearchSort,
};
use crate::api::{not_found, problem};
use crate::policy::{self, Action, Reputation};
use crate::problem as explain;
use crate::view::{self, PageParts, Surroundings};

/// Cards of one page unless asked otherwise.
const CARDS: u32 = 48;
/// Most cards of one page.
const CARDS_MAX: u32 = 100;
/// Publishers scored again before a search that goes by scores; what is left is scored behind it.
const SCORED_MAX: u32 = 100;

impl Node {
    pub(super) async fn search_store(&self, params: SearchParams) -> Result<SearchResult, Problem> {
        let now = Timestamp::now();
        let category: Option<Category> = match params.category.as_deref().filter(|c| !c.is_empty())
        {
            Some(text) => Some(
                text.parse()
                    .map_err(|error| problem("invalid", format!("{error}"), ""))?,
            ),
            None => None,
        };
        let search = Search {
            text: params.query,
            category,
            architecture: params.architecture.filter(|text| !text.is_empty()),
            points_min: params.points_min,
            without_rights: params.without_rights,
            publisher: None,
            sort: match params.sort {
                SearchSort::Relevance => Sort::Relevance,
                SearchSort::Name => Sort::Name,
                SearchSort::Newest => Sort::Newest,
                SearchSort::Score => Sort::Score,
            },
            offset: params.offset,
            limit: params.limit.unwrap_or(CARDS).clamp(1, CARDS_MAX),
        };
        if search.points_min > 0 || search.sort == Sort::Score {
            // What changed a moment ago counts already, unless it is of very many.
            let scored = self.store.rescore_due(SCORED_MAX, now).await;
            scored.map_err(|error| explain::of_store(&error))?;
        }
        let found = self
            .store
            .search(&search)
            .await
            .map_err(|error| explain::of_store(&error))?;
        let observed = self.observed();
        let mut known: HashMap<Did, Reputation> = HashMap::new();
        let mut apps = Vec::with_capacity(found.hits.len());
        let mut hidden = 0;
        for hit in &found.hits {
            let app = hit.app();
            let reputation = match known.entry(app.publisher) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    unknown.insert(self.judge.reputation(&app.publisher, now).await?)
                }
            };
            let shown = self.judge.decide(Action::Show, reputation, None);
            if shown.is_err()
                && observed
                    .find(&app.slug)
                    .is_none_or(|known| known.app != app)
            {
                hidden += 1;
                continue;
            }
            let around = Surroundings {
                reputation,
                installed: observed.find(&app.slug).filter(|known| known.app == app),
                has_icon: self.has_icon(&hit.announcement).await,
                now,
            };
            apps.push(view::card(hit, &around));
        }
        let categories = found.categories.into_iter();
        Ok(SearchResult {
            apps,
            total: found.total,
            hidden,
            total_is_at_least: found.is_at_least,
            categories: categories
                .map(|(category, apps)| CategoryCount {
                    category: category.to_string(),
                    apps,
                })
                .collect(),
            corrected: found.corrected,
        })
    }

    pub(super) async fn show_app(&self, app: &AppId) -> Result<AppPage, Problem> {
        let now = Timestamp::now();
        let entry = self
            .store
            .app(app, now)
            .await
            .map_err(|error| explain::of_store(&error))?;
        let Some(entry) = entry else {
            return Err(self.follow.refusals.of(app).unwrap_or_else(|| {
                not_found(
                    "This node has not heard of that app",
                    "News of an app takes a moment to arrive; look at the node's relays",
                )
            }));
        };
        let reputation = self.judge.reputation(&app.publisher, now).await?;
        let observed = self.observed();
        let installed = observed.find(&app.slug);
        let own = installed.filter(|known| known.app == *app);
        let instance = match own {
            Some(installed) => Some(Instance {
                offer: self.offer(installed).await?,
                ..self.instance_view(installed, &self.backup_plans()).await
            }),
            None => None,
        };
        let parts = PageParts {
            problem: match own {
                Some(_) => None,
                None => self.why_not(&entry, &reputation, now).await,
            },
            warning: match own {
                Some(_) => None,
                None => policy::warning(&reputation),
            },
            screenshots: self.pictures(&entry).await,
            rights: match (&entry.release, self.machine.now()) {
                (Some(release), Some(machine)) => machine.rights(&release.manifest),
                _ => Vec::new(),
            },
            missing_size_bytes: self.missing_bytes(&entry).await,
            disk_free_bytes: self
                .machine
                .now()
                .and_then(|machine| machine.disk_free_bytes()),
            instance,
        };
        let around = Surroundings {
            reputation: &reputation,
            installed: own,
            has_icon: self.has_icon(&entry.announcement).await,
            now,
        };
        let keys = self.store.key_history(&app.publisher).await;
        let keys = keys.map_err(|error| explain::of_store(&error))?;
        Ok(view::page(&entry, &keys, &self.platform, &around, parts))
    }

    /// Says why an install would be refused now; the job checks all of it again.
    async fn why_not(
        &self,
        entry: &CatalogEntry,
        reputation: &Reputation,
        now: Timestamp,
    ) -> Option<Problem> {
        if !entry.standing.is_acceptable() {
            return explain::of_standing(entry.standing);
        }
        let release = entry.release.as_ref();
        if let Err(refusal) = self.judge.decide(Action::Install, reputation, release) {
            return Some(refusal);
        }
        if let Some(bad) = self.follow.is_bad(&entry.announcement.release.blake3) {
            return Some(bad);
        }
        if entry.is_stale(now) {
            return Some(problem(
                "expired",
                format!(
                    "There has been no news of this app since {}",
                    explain::day(entry.news_since())
                ),
                "Wait until the publisher announces it again",
            ));
        }
        if !entry
            .announcement
            .card
            .architectures
            .contains(&self.platform.architecture)
        {
            return Some(problem(
                "architecture",
                format!(
                    "The app has no image for this machine ({})",
                    self.platform.architecture
                ),
                "Ask the publisher for one",
            ));
        }
        let release = entry.release.as_ref()?;
        self.machine.now()?.preflight(release).await.err()
    }

    pub(super) async fn has_icon(&self, announcement: &Announcement) -> bool {
        match (&announcement.card.icon, self.swarm.now()) {
            (Some(icon), Some(swarm)) => swarm.has(icon.blake3).await.unwrap_or(false),
            _ => false,
        }
    }

    async fn pictures(&self, entry: &CatalogEntry) -> Vec<String> {
        let mut paths = Vec::new();
        let (Some(release), Some(swarm)) = (&entry.release, self.swarm.now()) else {
            return paths;
        };
        for asset in &release.screenshots {
            if swarm.has(asset.blake3).await.unwrap_or(false) {
                paths.push(format!("/assets/{}", asset.blake3));
            }
        }
        paths
    }

    async fn missing_bytes(&self, entry: &CatalogEntry) -> u64 {
        let (Some(release), Some(swarm)) = (&entry.release, self.swarm.now()) else {
            return entry.announcement.card.download_size_bytes;
        };
        let mut missing = 0;
        for blob in release.blobs(&self.platform) {
            if !swarm.has(blob.blake3).await.unwrap_or(false) {
                missing += blob.size_bytes;
            }
        }
        missing
    }
}

// The limits of a page fit into the registry's.
const _: () = assert!(CARDS_MAX <= SEARCH_LIMIT_MAX);
