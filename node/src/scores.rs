//! Keeps the scores that searches go by those of now. What a score is, and whose is due, is the registry's to say.

use std::time::Duration;

use archy_registry::Store;
use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::api::Hub;
use crate::api::types::Event;
use crate::components::{Components, State};

/// Name of this part in the node's status.
pub(crate) const PART: &str = "scores";
/// Publishers scored before it is looked whether the daemon stops.
const BATCH: u32 = 100;
/// Longest time until what nobody announced is noticed: a day that passed, an app's healthy day.
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);

/// Scores whoever is due, whenever the catalog changes, until stopped.
pub(crate) async fn keep(
    store: &Store,
    hub: &Hub,
    components: &Components,
    stop: &CancellationToken,
) {
    let mut changes = hub.subscribe();
    loop {
        match catch_up(store, stop).await {
            Ok(scored) => {
                components.set(PART, State::Running);
                if scored > 0 {
                    tracing::debug!(publishers = scored, "scored publishers again");
                    hub.send(Event::Catalog);
                }
            }
            Err(error) => components.fail(PART, State::Degraded, &error),
        }
        let changed = async {
            loop {
                match changes.recv().await {
                    Ok(Event::Catalog) | Err(RecvError::Lagged(_)) => return,
                    Ok(_) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Scores until nobody is due. Returns how many were.
async fn catch_up(
    store: &Store,
    stop: &CancellationToken,
) -> Result<u32, archy_registry::store::StoreError> {
    let mut scored = 0;
    while !stop.is_cancelled() {
        let due = store.rescore_due(BATCH, Timestamp::now()).await?;
        scored += due;
        if due < BATCH {
            break;
        }
    }
    Ok(scored)
}
