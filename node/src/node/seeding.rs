//! What the node gives away to others: `seeding.*`.

use archy_registry::AppId;
use jiff::Zoned;

use super::{Node, parse_app};
use crate::api::types::{Problem, SeedingPage, SeedingPolicy};

impl Node {
    pub(super) async fn seeding_page(&self) -> Result<SeedingPage, Problem> {
        let swarm = self.swarm_ready()?;
        let mut page = self.seeding.page(&swarm, &Zoned::now());
        for app in &mut page.apps {
            let id: AppId = parse_app(&app.app)?;
            app.name = self.display_name(&id).await;
        }
        page.apps.sort_by_key(|app| app.name.to_lowercase());
        Ok(page)
    }

    /// Replaces the policy; it holds when this returns.
    pub(super) async fn change_seeding(
        &self,
        policy: SeedingPolicy,
    ) -> Result<SeedingPage, Problem> {
        let swarm = self.swarm_ready()?;
        let now = Zoned::now();
        self.seeding.set(policy, &now)?;
        self.seeding.apply(&swarm, &now);
        self.seeding_page().await
    }
}
