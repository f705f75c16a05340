//! Keeps the swarm to the policy while the daemon runs, and asks the machine about its network.

use std::time::Duration;

use archy_orchestrator::runtime::network::{self, Metered};
use jiff::Zoned;
use tokio_util::sync::CancellationToken;

use super::Seeding;
use crate::api::types::SeedingMode;
use crate::node::Node;

/// Shortest time between two looks at what was given away.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Longest time until a time of day is looked at again: the clock may be set, and a machine that slept does not know how long.
const CLOCK_EVERY: Duration = Duration::from_secs(60);
/// Wait before the system's bus is asked again.
const RETRY: Duration = Duration::from_secs(60);

/// Has the swarm keep to the policy until stopped.
pub(crate) async fn keep(node: Node, stop: CancellationToken) {
    let keeping = async {
        let swarm = node.swarm.ready().await;
        let seeding = &node.seeding;
        let mut policy = seeding.0.policies.watch();
        let mut network = seeding.0.network.subscribe();
        let mut uploads = swarm.watch_uploads();
        let mut told = None;
        loop {
            let is_counted = {
                let policy = policy.borrow_and_update();
                policy.month_bytes_max.is_some() || policy.ratio_max.is_some()
            };
            network.mark_unchanged();
            uploads.mark_unchanged();
            let now = Zoned::now();
            let decision = seeding.apply(&swarm, &now);
            let state = decision.state(&now);
            let said = (state.mode, state.reasons);
            if told.as_ref() != Some(&said) {
                tell(&said.0, said.1.first().map_or("", |reason| &reason.text));
                told = Some(said);
            }
            let look = decision.look_again.map(|at| {
                let wait = Duration::try_from(at.duration_since(now.timestamp()));
                wait.unwrap_or_default().min(CLOCK_EVERY)
            });
            let more = async {
                tokio::time::sleep(COUNT_EVERY).await;
                uploads.changed().await
            };
            tokio::select! {
                Ok(()) = policy.changed() => {}
                Ok(()) = network.changed() => {}
                Ok(()) = more, if is_counted => {}
                () = tokio::time::sleep(look.unwrap_or_default()), if look.is_some() => {}
                else => return std::future::pending::<()>().await,
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keeping => {}
    }
}

fn tell(mode: &SeedingMode, why: &str) {
    match mode {
        SeedingMode::Stopped => tracing::info!(why, "apps are not given away to other nodes now"),
        SeedingMode::Limited => tracing::info!(why, "apps are given away to other nodes slowly"),
        SeedingMode::Unlimited => tracing::info!("apps are given away to other nodes"),
    }
}

/// Asks the machine whether its network is metered, and follows that, until stopped.
pub(crate) async fn watch_network(seeding: Seeding, stop: CancellationToken) {
    let following = async {
        loop {
            let followed = network::follow(|metered| {
                seeding.set_network(match metered {
                    Metered::Yes => Some(true),
                    Metered::No => Some(false),
                    Metered::Unknown => None,
                });
            });
            if let Err(error) = followed.await {
                tracing::debug!(%error, "nobody says whether the network is metered");
            }
            seeding.set_network(None);
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
    }
}
