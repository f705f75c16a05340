//! Asks the registry how a publisher stands and the owner's policy what follows: the one way to every decision.

use std::ops::Deref;
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
    /// Why nothing new may run here, whoever published it: what was known of publishers is lost.
    pub forgot: Option<Problem>,
}

/// A release that the owner's policy lets run here. Whatever writes an app's units takes this, and [`Judge::allow`] alone
/// makes it: no way of changing what runs passes by the policy.
#[derive(Debug, Clone)]
pub struct Allowed(Verified<Release>);

impl Deref for Allowed {
    type Target = Verified<Release>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Judge {
    /// Lets a release run here, if the owner's policy as it is now says so.
    ///
    /// # Errors
    ///
    /// Why not; see [`policy::decide`].
    pub async fn allow(&self, release: Verified<Release>) -> Result<Allowed, Problem> {
        let publisher = release.app().publisher;
        let reputation = self.reputation(&publisher, Timestamp::now()).await?;
        self.decide(Action::Install, &reputation, Some(&release))?;
        Ok(Allowed(release))
    }

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
        if let (Action::Install | Action::Update, Some(forgot)) = (action, &self.forgot) {
            return Err(forgot.clone());
        }
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
