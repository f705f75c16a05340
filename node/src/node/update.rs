//! What a newer release of an installed app would change, and whether it waits for its owner. Updates nothing.

use archy_registry::store::CatalogEntry;
use jiff::Timestamp;

use super::Node;
use crate::api::problem;
use crate::api::types::{Problem, UpdateOffer};
use crate::judge::signatures;
use crate::machine::{Compared, Installed};
use crate::policy::may_update_by_itself;
use crate::problem as explain;

impl Node {
    /// Returns the newer release of an installed app, if the catalog has one.
    pub(crate) async fn offer(
        &self,
        installed: &Installed,
    ) -> Result<Option<UpdateOffer>, Problem> {
        let now = Timestamp::now();
        let entry = self.store.app(&installed.app, now).await;
        let entry = entry.map_err(|error| explain::of_store(&error))?;
        let Some(entry) =
            entry.filter(|entry| entry.announcement.release.blake3 != installed.release)
        else {
            return Ok(None);
        };
        let reputation = self.judge.reputation(&installed.app.publisher, now).await?;
        let compared = self.compared(&entry);
        let proofs = entry.release.as_ref().map_or(0, signatures);
        let rights = compared.as_ref().map(|compared| &compared.rights);
        let decided = may_update_by_itself(rights, &self.judge.policy(), &reputation, proofs);
        let mut waits = decided.err().unwrap_or_default();
        waits.extend(self.judge.forgot.clone());
        let (diff, kept, notices) = match compared {
            Ok(compared) => (Some(compared.rights), compared.kept, compared.notices),
            Err(_) => (None, Vec::new(), Vec::new()),
        };
        let announcement = &entry.announcement;
        Ok(Some(UpdateOffer {
            version: announcement.version.clone(),
            seq: announcement.seq,
            release: announcement.release.blake3.to_string(),
            announced: entry.announced.to_string(),
            diff,
            kept,
            by_itself: waits.is_empty() && notices.is_empty(),
            notices,
            waits,
        }))
    }

    fn compared(&self, entry: &CatalogEntry) -> Result<Compared, Problem> {
        let Some(release) = &entry.release else {
            return Err(self
                .follow
                .is_bad(&entry.announcement.release.blake3)
                .unwrap_or_else(|| {
                    problem(
                        "notFetched",
                        "The new version has not been fetched yet, so what it may do is not known",
                        "Wait until a node that has it is reached",
                    )
                }));
        };
        let compared = self.machine()?.compare(release)?;
        compared.ok_or_else(|| super::not_installed(&release.manifest.app.id))
    }
}
