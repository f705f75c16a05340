//! What this node gives away to others: the owner's policy, what follows from it now, and that the swarm keeps to it.
//!
//! Deciding is pure ([`decide`]); here is the edge that asks the clock, the network and the counters, and tells the
//! swarm. What is published from here is given away whatever the policy says: a release must reach people.

mod check;
mod decide;
mod hours;
mod page;
mod part;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use archy_registry::AppId;
use archy_swarm::{Swarm, Tag, UploadLimits};
use jiff::Zoned;
use tokio::sync::watch;

use crate::api::types::{Problem, SeedingPolicy};
use crate::policy::{Policies, PolicyError};

pub use decide::{Decision, Facts, Given, Reason, decide};
pub(crate) use part::{keep, watch_network};

/// Keeps the swarm to what its owner wants to give away. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Seeding(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policies: Policies<SeedingPolicy>,
    /// What the settings allow at most.
    ceiling: UploadLimits,
    /// Whether the machine says that its network is metered.
    network: watch::Sender<Option<bool>>,
    /// What the swarm was told last.
    told: Mutex<Option<(UploadLimits, BTreeSet<Tag>)>>,
}

impl Seeding {
    /// Reads the owner's policy.
    ///
    /// # Errors
    ///
    /// [`PolicyError`]
    pub fn open(path: &Path, ceiling: UploadLimits) -> Result<Self, PolicyError> {
        Ok(Self(Arc::new(Inner {
            policies: Policies::open(path)?,
            ceiling,
            network: watch::Sender::new(None),
            told: Mutex::new(None),
        })))
    }

    /// Returns the owner's policy.
    pub fn policy(&self) -> SeedingPolicy {
        self.0.policies.now()
    }

    /// Replaces the policy; a pause that is over is none.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the old one then stays.
    pub fn set(&self, mut policy: SeedingPolicy, now: &Zoned) -> Result<(), Problem> {
        let until = policy.paused_until.as_deref();
        let until = until.and_then(|until| until.parse::<jiff::Timestamp>().ok());
        if policy.paused && until.is_some_and(|until| until <= now.timestamp()) {
            policy.paused = false;
            policy.paused_until = None;
        }
        self.0.policies.set(policy)
    }

    /// Notes whether the machine says that its network is metered.
    pub(crate) fn set_network(&self, is_metered: Option<bool>) {
        self.0.network.send_if_modified(|known| {
            let changed = *known != is_metered;
            *known = is_metered;
            changed
        });
    }

    fn network(&self) -> Option<bool> {
        *self.0.network.borrow()
    }

    /// Decides what holds now.
    pub fn decide(&self, swarm: &Swarm, now: &Zoned) -> Decision {
        let policy = self.policy();
        let given = match policy.ratio_max {
            Some(_) => given(swarm),
            None => Vec::new(),
        };
        let facts = Facts {
            month_bytes: swarm.uploaded_since(decide::month(now).first_day),
            network_metered: self.network(),
            given: &given,
        };
        decide(&policy, self.0.ceiling, now, &facts)
    }

    /// Decides what holds now and has the swarm keep to it.
    pub fn apply(&self, swarm: &Swarm, now: &Zoned) -> Decision {
        // Whoever decided last also tells last.
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let decision = self.decide(swarm, now);
        let before = told.as_ref();
        if before.is_none_or(|(_, refused)| *refused != decision.refused) {
            swarm.refuse_uploads(decision.refused.iter().cloned());
        }
        if before.is_none_or(|(limits, _)| *limits != decision.limits) {
            swarm.limit_uploads(decision.limits);
        }
        *told = Some((decision.limits, decision.refused.clone()));
        decision
    }
}

/// Lists the versions of apps that are here, with what was given away of them.
fn given(swarm: &Swarm) -> Vec<Given> {
    let uploads: HashMap<Tag, u64> = swarm.uploads().into_iter().collect();
    let usage = swarm.tags().into_iter();
    let versions = usage.filter(|usage| app_of(&usage.tag).is_some());
    versions
        .map(|usage| Given {
            uploaded_bytes: uploads.get(&usage.tag).copied().unwrap_or(0),
            size_bytes: usage.size_bytes,
            tag: usage.tag,
        })
        .collect()
}

/// The app that a tag of [`app_tag`](crate::install::app_tag) belongs to.
fn app_of(tag: &Tag) -> Option<AppId> {
    let (app, _) = tag.as_str().strip_prefix("app/")?.rsplit_once('/')?;
    let (publisher, slug) = app.rsplit_once('/')?;
    Some(AppId {
        publisher: publisher.parse().ok()?,
        slug: slug.parse().ok()?,
    })
}
