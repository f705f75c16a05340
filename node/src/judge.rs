//! Asks the registry how a publisher stands and the owner's policy what follows: the one way to every decision.

use std::sync::Arc;

use archy_registry::release::Release;
use archy_registry::{Did, Store, Verified};
use jiff::Timestamp;

use crate::api::types::{Policy, Problem};
use crate::policy::{self, Action, Policies, Reputation};
use crate::problem as explain;

/// Decides what may be done with publishers' apps. Cheap to clone.
#[derive(Clone)]
pub struct Judge {
    /// What is known of publishers.
    pub store: Store,
    /// What the owner wants.
    pub policies: Arc<Policies>,
}

impl Judge {
    /// Returns how a publisher stands now.
    ///
    /// # Errors
    ///
    /// When the registry's database fails.
    pub async fn reputation(&self, publisher: &Did, now: Timestamp) -> Result<Reputation, Problem> {
        let evidence = self.store.evidence(publisher).await;
        let evidence = evidence.map_err(|error| explain::of_store(&error))?;
        let score = self.store.score_of(&evidence, now).await;
        let score = score.map_err(|error| explain::of_store(&error))?;
        Ok(Reputation::new(evidence, score))
    }

    /// Decides as the owner's policy is now; see [`policy::decide`].
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn decide(
        &self,
        action: Action,
        reputation: &Reputation,
        release: Option<&Verified<Release>>,
    ) -> Result<(), Problem> {
        let signatures = release.map(signatures);
        policy::decide(&self.policies.now(), action, reputation, signatures)
    }

    /// Returns the owner's policy.
    pub fn policy(&self) -> Policy {
        self.policies.now()
    }
}

/// Counts the valid proofs on a release, each by another key.
pub fn signatures(release: &Verified<Release>) -> u32 {
    u32::try_from(release.signers().len()).unwrap_or(u32::MAX)
}
