//! What others say of publishers and reviewers, on its way into the store. What it is worth is decided there.

use archy_registry::store::StoreError;
use archy_registry::trust::opinion::{ReviewerList, Vote};
use jiff::Timestamp;

use super::Follow;
use crate::api::types::Event;

impl Follow {
    /// Keeps whom somebody trusts as reviewers.
    pub(super) async fn reviewers(&self, list: &ReviewerList, now: Timestamp) {
        let admitted = self.store.admit_reviewer_list(list, now).await;
        tracing::debug!(rater = %list.rater, event = list.event_id, reviewers = list.trusts.len(), ?admitted, "heard whom somebody trusts as reviewers");
        self.said(admitted, &list.event_id);
    }

    /// Keeps what somebody says of a publisher.
    pub(super) async fn vote(&self, vote: &Vote, now: Timestamp) {
        let admitted = self.store.admit_vote(vote, now).await;
        tracing::debug!(rater = %vote.rater, event = vote.event_id, publisher = %vote.publisher, opinion = ?vote.opinion, ?admitted, "heard what somebody says of a publisher");
        self.said(admitted, &vote.event_id);
    }

    fn said(&self, admitted: Result<bool, StoreError>, event: &str) {
        match admitted {
            // Scores may have changed, and with them what the store shows.
            Ok(true) => self.hub.send(Event::Catalog),
            Ok(false) => {}
            Err(error) => tracing::warn!(event, %error, "could not keep what somebody says"),
        }
    }
}
