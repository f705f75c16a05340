//! Visits trackers in the background and tells them what this node serves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use archy_registry::Blake3Hash;
use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Seeds, Visit};
use crate::tag::Tag;
use crate::transport::{COMPANY_BLOBS_MAX, CompanyError, Question, Transport};

/// Visits at the same time.
const VISITS_MAX: usize = 4;
/// Most questions of one visit, each about up to [`COMPANY_BLOBS_MAX`] blobs.
const QUESTIONS_MAX: usize = 16;
/// Longest that a visit takes once it is connected.
const VISIT_TIME_MAX: Duration = Duration::from_secs(30);

/// What is told to trackers, as it is added to.
#[derive(Debug)]
pub(crate) struct Seeder {
    seeds: Mutex<Seeds>,
    began: Instant,
    changed: Notify,
}

impl Seeder {
    pub(crate) fn new(interval: Duration, seed: u64) -> Self {
        Self {
            seeds: Mutex::new(Seeds::new(interval, seed)),
            began: Instant::now(),
            changed: Notify::new(),
        }
    }

    /// Tells these endpoints of a tag from now on.
    pub(crate) fn add(&self, tag: &Tag, trackers: Vec<Endpoint>) {
        self.seeds().add(tag, trackers, self.began.elapsed());
        self.changed.notify_one();
    }

    /// Looks at once who believes that this node serves what it does not hold any more.
    pub(crate) fn withdrawn(&self, is_held: impl Fn(&Tag) -> bool) {
        self.seeds().retain(is_held, self.began.elapsed());
        self.changed.notify_one();
    }

    fn seeds(&self) -> MutexGuard<'_, Seeds> {
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the visits that are due, for ever. `within` is the time to connect.
pub(crate) async fn keep(seeder: Arc<Seeder>, transport: Arc<Transport>, within: Duration) {
    let mut visits: JoinSet<(EndpointId, Option<BTreeSet<Blake3Hash>>)> = JoinSet::new();
    loop {
        let now = seeder.began.elapsed();
        let (due, next) = {
            let mut seeds = seeder.seeds();
            let room = VISITS_MAX.saturating_sub(visits.len());
            let due = seeds.due(now, room);
            (due, seeds.next_look())
        };
        for visit in due {
            let transport = transport.clone();
            visits.spawn(async move {
                let id = visit.tracker.id;
                (id, tell(&transport, &visit, within).await)
            });
        }
        let is_full = visits.len() >= VISITS_MAX;
        let next = next.filter(|_| !is_full);
        tokio::select! {
            Some(ended) = visits.join_next() => {
                if let Ok((id, told)) = ended {
                    let (store, now) = (transport.store(), seeder.began.elapsed());
                    let mut seeds = seeder.seeds();
                    seeds.ended(&id, told, now);
                    seeds.retain(|tag| !store.blobs(tag).is_empty(), now);
                }
            }
            () = seeder.changed.notified() => {}
            () = sleep_until(seeder.began, next) => {}
        }
    }
}

async fn sleep_until(began: Instant, next: Option<Duration>) {
    match next {
        Some(next) => tokio::time::sleep_until((began + next).into()).await,
        None => std::future::pending().await,
    }
}

/// Returns what the tracker knows now, which may be nothing, if it knows what it should.
async fn tell(
    transport: &Transport,
    visit: &Visit,
    within: Duration,
) -> Option<BTreeSet<Blake3Hash>> {
    let store = transport.store();
    // What is not served now, because its owner paused that, is not spoken of.
    let blobs: BTreeSet<Blake3Hash> = visit
        .tags
        .iter()
        .flat_map(|tag| store.blobs(tag))
        .map(|(blob, _)| blob)
        .filter(|blob| store.serves(blob))
        .collect();
    if visit.tracker.id == transport.local().id {
        return Some(BTreeSet::new());
    }
    let gone: Vec<Blake3Hash> = visit.told.difference(&blobs).copied().collect();
    if blobs.is_empty() && gone.is_empty() {
        return Some(blobs);
    }
    let served: Vec<Blake3Hash> = blobs.iter().copied().collect();
    match announce(transport, &visit.tracker, &served, &gone, within).await {
        Ok(()) => Some(blobs),
        Err(error) => {
            let endpoint = visit.tracker.id;
            tracing::debug!(%endpoint, %error, "a tracker could not be told what is served here");
            None
        }
    }
}

async fn announce(
    transport: &Transport,
    to: &Endpoint,
    served: &[Blake3Hash],
    gone: &[Blake3Hash],
    within: Duration,
) -> Result<(), CompanyError> {
    let mut conversation = transport.converse(to, within).await?;
    let leave = gone.chunks(COMPANY_BLOBS_MAX).map(|blobs| Question::Leave {
        blobs: blobs.to_vec(),
    });
    let serve = served
        .chunks(COMPANY_BLOBS_MAX)
        .map(|blobs| Question::Announce {
            blobs: blobs.to_vec(),
            endpoint: Some(transport.local()),
            rests: true,
        });
    let telling = async {
        for question in leave.chain(serve).take(QUESTIONS_MAX) {
            conversation.ask(&question).await?;
        }
        Ok(())
    };
    let told = tokio::time::timeout(VISIT_TIME_MAX, telling).await;
    told.unwrap_or_else(|_| Err(CompanyError::Broken("it answers too slowly".to_owned())))
}
