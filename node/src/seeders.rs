//! Seeder records on relays: finds who seeds a release that nobody known gives, and says, if the owner wants others to
//! know, that this node seeds what is installed here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use archy_nostr::{FindOptions, RelayUrl, SeederRecord, find_seeders};
use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use archy_swarm::{Finder, Swarm};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::install::app_tag;
use crate::machine::Observed;
use crate::node::Node;

/// How often a record is written anew.
const RENEW: SignedDuration = SignedDuration::from_hours(6);
/// How long it holds: one renewal may fail.
const VALID: SignedDuration = SignedDuration::from_hours(14);
/// Pause after no relay took it.
const RETRY: SignedDuration = SignedDuration::from_mins(15);
/// How often it is looked whether there is something to say, e.g. because this node has another address.
const LOOK: Duration = Duration::from_secs(60);

/// Looks on relays for those who seed a release.
#[derive(Debug, Clone)]
pub struct Seekers {
    relays: Option<watch::Receiver<Vec<RelayUrl>>>,
}

impl Seekers {
    /// Looks on these relays.
    pub fn on(relays: watch::Receiver<Vec<RelayUrl>>) -> Self {
        Self {
            relays: Some(relays),
        }
    }

    /// Looks nowhere.
    pub fn off() -> Self {
        Self { relays: None }
    }

    /// Returns what finds those who seed a release.
    pub(crate) fn finder(&self, release: Blake3Hash) -> Finder {
        let relays = self.relays.clone();
        Finder::new(move || {
            let relays = relays.as_ref().map(|relays| relays.borrow().clone());
            async move {
                let relays = relays.unwrap_or_default();
                let found = find_seeders(&relays, &release, &FindOptions::default()).await;
                if !found.is_empty() {
                    tracing::info!(release.hash = %release, endpoints = found.len(), "relays name nodes that say they have it");
                }
                found
            }
        })
    }
}

/// What was said of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    endpoint: Endpoint,
    /// When to say it again, or try to take it back again.
    again: Timestamp,
    /// Until when relays keep it.
    expires: Timestamp,
    /// Whether it is not so any more.
    is_gone: bool,
}

/// Says on every relay which installed releases this node serves, and where, until stopped.
pub(crate) async fn announce(node: Node, stop: CancellationToken) {
    let announcing = async {
        let swarm = node.swarm.ready().await;
        let machine = node.machine.ready().await;
        let mut relays = node.publish_on.clone();
        let mut observed = machine.observed();
        let mut told: BTreeMap<[u8; 32], Told> = BTreeMap::new();
        loop {
            let on = relays.borrow_and_update().clone();
            let now = observed.borrow_and_update().clone();
            let releases = seeded(&node, &swarm, &now).await;
            // A pause is no farewell.
            if !swarm.status().upload_limits.is_paused {
                withdraw(&node, &mut told, &releases, &on).await;
            }
            for release in releases {
                let endpoint = outward(swarm.endpoint());
                let now = Timestamp::now();
                let known = told.get(release.as_bytes());
                if on.is_empty() || !is_due(known, &endpoint, now) {
                    continue;
                }
                let record = SeederRecord { release, endpoint };
                let expires = now + VALID;
                let seconds = expires.as_second().unsigned_abs();
                let pause = match node.voice.seed(&record, seconds, &on).await {
                    Ok(()) => RENEW,
                    Err(problem) => {
                        tracing::info!(release.hash = %release, reasons = ?problem.details, "others could not be told that this node has a release; trying again later");
                        RETRY
                    }
                };
                let said = Told {
                    endpoint: record.endpoint,
                    again: now + pause,
                    expires,
                    is_gone: false,
                };
                told.insert(*release.as_bytes(), said);
            }
            tokio::select! {
                changed = observed.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                changed = relays.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = announcing => {}
    }
}

/// Takes back what was said of releases that are not installed and served any more, until a relay takes that or the record
/// has expired.
async fn withdraw(
    node: &Node,
    told: &mut BTreeMap<[u8; 32], Told>,
    releases: &[Blake3Hash],
    on: &[RelayUrl],
) {
    let now = Timestamp::now();
    let is_there = |hash: &[u8; 32]| releases.iter().any(|release| release.as_bytes() == hash);
    told.retain(|hash, said| is_there(hash) || now < said.expires);
    let gone = told.iter_mut().filter(|(hash, _)| !is_there(hash));
    let mut taken_back = Vec::new();
    for (hash, said) in gone {
        if on.is_empty() || said.is_gone && now < said.again {
            continue;
        }
        let release = Blake3Hash::from_bytes(*hash);
        let seconds = said.expires.as_second().unsigned_abs();
        match node.voice.withdraw(&release, seconds, on).await {
            Ok(()) => taken_back.push(*hash),
            Err(problem) => {
                tracing::info!(release.hash = %release, reasons = ?problem.details, "others could not be told that this node no longer has a release; trying again later");
                (said.is_gone, said.again) = (true, now + RETRY);
            }
        }
    }
    told.retain(|hash, _| !taken_back.contains(hash));
}

/// Lists the installed releases that are wholly here and served.
async fn seeded(node: &Node, swarm: &Swarm, observed: &Observed) -> Vec<Blake3Hash> {
    if swarm.status().upload_limits.is_paused {
        return Vec::new();
    }
    let served: Vec<_> = swarm
        .tags()
        .into_iter()
        .filter(|usage| usage.complete && usage.shared)
        .map(|usage| usage.tag)
        .collect();
    let mut seeded = Vec::new();
    for app in &observed.apps {
        if let Ok(Some(release)) = node.store.release_as_admitted(&app.release).await
            && served.contains(&app_tag(&release))
        {
            seeded.push(release.hash());
        }
    }
    seeded
}

fn is_due(told: Option<&Told>, endpoint: &Endpoint, now: Timestamp) -> bool {
    told.is_none_or(|told| told.is_gone || told.endpoint != *endpoint || now >= told.again)
}

/// Leaves out the addresses that only neighbours can use, unless there are no others: then so can those who read the same
/// relay.
fn outward(mut endpoint: Endpoint) -> Endpoint {
    let is_outward = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_private() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unique_local() && !ip.is_unicast_link_local(),
    };
    if !endpoint.relays.is_empty() || endpoint.addresses.iter().any(is_outward) {
        endpoint.addresses.retain(is_outward);
    }
    endpoint.addresses.sort_unstable();
    endpoint.addresses.truncate(16);
    endpoint.relays.truncate(4);
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(addresses: &[&str], relays: &[&str]) -> Endpoint {
        Endpoint {
            id: archy_registry::id::EndpointId::from_bytes([7; 32]),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            relays: relays.iter().map(|&r| r.to_owned()).collect(),
        }
    }

    #[test]
    fn addresses_at_home_are_told_only_when_there_are_no_others() {
        let home = ["127.0.0.1:1", "192.168.1.2:1", "[fd00::1]:1", "[fe80::1]:1"];
        assert_eq!(outward(endpoint(&home, &[])).addresses.len(), 4);
        for public in ["192.0.2.1:1", "[2001:db8::1]:1"] {
            let told = outward(endpoint(&[&home[..], &[public]].concat(), &[]));
            assert_eq!(told, endpoint(&[public], &[]));
        }
        let relay = ["https://relay.example.org/"];
        assert_eq!(outward(endpoint(&home, &relay)), endpoint(&[], &relay));
    }

    #[test]
    fn a_record_is_written_anew_in_time_and_when_the_node_moved() {
        let now = Timestamp::now();
        let told = Told {
            endpoint: endpoint(&["192.0.2.1:1"], &[]),
            again: now + RENEW,
            expires: now + VALID,
            is_gone: false,
        };
        let back = Told {
            is_gone: true,
            ..told.clone()
        };
        assert!(is_due(Some(&back), &told.endpoint, now));
        assert!(is_due(None, &told.endpoint, now));
        assert!(!is_due(Some(&told), &told.endpoint, now));
        assert!(is_due(Some(&told), &told.endpoint, now + RENEW));
        assert!(is_due(Some(&told), &endpoint(&["192.0.2.2:1"], &[]), now));
        assert!(VALID > RENEW + RENEW);
        let valid_max = archy_nostr::SEEDER_SECONDS_MAX.cast_signed();
        assert!(VALID.as_secs() <= valid_max);
    }
}
