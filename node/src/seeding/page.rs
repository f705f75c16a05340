//! Shows what is given away, for the API.

use std::collections::{BTreeMap, BTreeSet};

use archy_registry::AppId;
use archy_swarm::{Class, Swarm};
use jiff::Zoned;

use super::{Given, Seeding, app_of, decide, given};
use crate::api::types::{AppRef, SeedingApp, SeedingPage, SeedingPolicy};

impl Seeding {
    /// Describes what holds now and what was given away; apps are named by their slugs.
    pub(crate) fn page(&self, swarm: &Swarm, now: &Zoned) -> SeedingPage {
        let mut policy = self.policy();
        let decision = self.decide(swarm, now);
        let is_paused = decision
            .reasons
            .iter()
            .any(|reason| matches!(reason, decide::Reason::Paused { .. }));
        if !is_paused {
            // A pause that is over is none.
            policy.paused = false;
            policy.paused_until = None;
        }
        let month = decide::month(now);
        let ceiling = self.0.ceiling;
        SeedingPage {
            apps: apps(&policy, swarm),
            policy,
            usual: SeedingPolicy::default(),
            bytes_per_second_max: ceiling.bytes_per_second.map(Into::into),
            peer_bytes_per_second_max: ceiling.peer_bytes_per_second.map(Into::into),
            state: decision.state(now),
            network_metered: self.network(),
            month_bytes: swarm.uploaded_since(month.first_day),
            month_ends: month.end.to_string(),
        }
    }
}

/// Lists the apps of which something is here, and those that are switched off.
fn apps(policy: &SeedingPolicy, swarm: &Swarm) -> Vec<SeedingApp> {
    let off: BTreeSet<AppId> = policy.apps_off.iter().filter_map(id).collect();
    let mut versions: BTreeMap<AppId, Vec<Given>> =
        off.iter().map(|app| (app.clone(), Vec::new())).collect();
    for given in given(swarm) {
        if let Some(app) = app_of(&given.tag) {
            versions.entry(app).or_default().push(given);
        }
    }
    let usage = swarm.tags().into_iter();
    let own = usage.filter(|usage| usage.class == Class::Publishing);
    let own: Vec<String> = own.map(|usage| usage.tag.to_string()).collect();
    let versions = versions.into_iter().map(|(app, versions)| {
        let published = format!("release/{app}/");
        let is_reached = |ratio| versions.iter().all(|version| version.reaches(ratio));
        SeedingApp {
            name: app.slug.to_string(),
            on: !off.contains(&app),
            published: own.iter().any(|tag| tag.starts_with(&published)),
            size_bytes: versions.iter().map(|version| version.size_bytes).sum(),
            uploaded_bytes: versions.iter().map(|version| version.uploaded_bytes).sum(),
            ratio_reached: !versions.is_empty() && policy.ratio_max.is_some_and(is_reached),
            app: AppRef {
                publisher: app.publisher.to_string(),
                slug: app.slug.to_string(),
            },
        }
    });
    versions.collect()
}

fn id(app: &AppRef) -> Option<AppId> {
    Some(AppId {
        publisher: app.publisher.parse().ok()?,
        slug: app.slug.parse().ok()?,
    })
}
