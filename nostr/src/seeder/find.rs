//! Asks relays who seeds a release; believes none of them.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher as _;
use std::time::Duration;

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::{SeederRecord, filter};
use crate::clock::Clock;
use crate::event::Pubkey;
use crate::link::Link;
use crate::publish::read;
use crate::url::RelayUrl;

/// Most endpoints that one search finds.
pub const SEEDERS_MAX: usize = 16;
/// Relays that are asked.
const RELAYS_MAX: usize = 16;
/// Records asked of one relay: more than are used, because a flood of lies is as easy to write as one.
const RECORDS_MAX: usize = 100;

/// How to search.
#[derive(Debug, Clone)]
pub struct FindOptions {
    /// Time for all relays to answer; what came by then counts.
    pub patience: Duration,
    /// The time of day.
    pub clock: Clock,
}

impl Default for FindOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            clock: Clock::system(),
        }
    }
}

/// Asks every relay for endpoints that say they serve a release; returns up to [`SEEDERS_MAX`], each named by another
/// author, by chance, in turns between the relays: whoever floods one of them does not hide what another has.
pub async fn find_seeders(
    relays: &[RelayUrl],
    release: &Blake3Hash,
    options: &FindOptions,
) -> Vec<Endpoint> {
    let mut named = HashSet::new();
    let relays = relays.iter().filter(|relay| named.insert(*relay));
    let now = options.clock.now();
    let deadline = Instant::now() + options.patience;
    let asks = relays.take(RELAYS_MAX).map(|relay| async move {
        match ask(relay, release, now, deadline).await {
            Ok(records) => records,
            Err(why) => {
                tracing::debug!(%relay, why, "did not tell who seeds a release");
                Vec::new()
            }
        }
    });
    choose(join_all(asks).await)
}

/// One author's newest word at one relay.
type Said = (Pubkey, Endpoint);

async fn ask(
    relay: &RelayUrl,
    release: &Blake3Hash,
    now: u64,
    deadline: Instant,
) -> Result<Vec<Said>, String> {
    let link = timeout_at(deadline, Link::open(relay)).await;
    let link = link.map_err(|_| "did not answer in time".to_owned())?;
    let mut link = link.map_err(|error| error.describe())?;
    let filter = filter(release, RECORDS_MAX, now);
    let events = read(&mut link, "seeders", &filter, deadline).await;
    link.close().await;
    let mut newest: HashMap<Pubkey, (u64, Endpoint)> = HashMap::new();
    for event in events? {
        match SeederRecord::of(&event, now) {
            Ok(record) => {
                let said = newest.get(&event.pubkey);
                if said.is_none_or(|(dated, _)| *dated < event.created_at) {
                    newest.insert(event.pubkey, (event.created_at, record.endpoint));
                }
            }
            Err(why) => tracing::debug!(%relay, %why, "a seeder record was skipped"),
        }
    }
    let said = newest.into_iter();
    Ok(said.map(|(by, (_, endpoint))| (by, endpoint)).collect())
}

fn choose(mut of_relays: Vec<Vec<Said>>) -> Vec<Endpoint> {
    let chance = RandomState::new();
    let mut of_relays: Vec<VecDeque<Said>> = of_relays
        .iter_mut()
        .map(|said| {
            said.sort_by_cached_key(|(by, _)| chance.hash_one(by));
            std::mem::take(said).into()
        })
        .collect();
    let (mut authors, mut ids, mut chosen) = (HashSet::new(), HashSet::new(), Vec::new());
    while of_relays.iter().any(|said| !said.is_empty()) {
        for said in &mut of_relays {
            let mut next = std::iter::from_fn(|| said.pop_front());
            let new = next.find(|(by, said)| !authors.contains(by) && !ids.contains(&said.id));
            let Some((by, endpoint)) = new else { continue };
            authors.insert(by);
            ids.insert(endpoint.id);
            chosen.push(endpoint);
            if chosen.len() >= SEEDERS_MAX {
                return chosen;
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(by: u8, id: u8) -> Said {
        let endpoint = Endpoint {
            id: archy_registry::id::EndpointId::from_bytes([id; 32]),
            addresses: Vec::new(),
            relays: Vec::new(),
        };
        (Pubkey::from_bytes([by; 32]), endpoint)
    }

    #[test]
    fn a_flood_at_one_relay_hides_nobody_at_another() {
        let flood = (0..100).map(|n| said(n, n)).collect();
        let chosen = choose(vec![flood, vec![said(200, 200)], vec![]]);
        assert_eq!(chosen.len(), SEEDERS_MAX);
        assert!(chosen.contains(&said(200, 200).1));
    }

    #[test]
    fn one_author_and_one_endpoint_count_once() {
        let twice = vec![said(1, 1), said(2, 1), said(3, 3)];
        let again = vec![said(1, 9)];
        let mut ids: Vec<u8> = choose(vec![twice, again])
            .iter()
            .map(|endpoint| endpoint.id.as_bytes()[0])
            .collect();
        ids.sort_unstable();
        assert!(ids == [1, 3] || ids == [1, 3, 9], "{ids:?}");
        assert!(choose(vec![]).is_empty());
    }
}
