//! Nodes on the local network, found by multicast DNS (RFC 6762); claims nothing about what they hold.

use std::collections::BTreeMap;
use std::time::Duration;

use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;
use iroh::PublicKey;
use iroh::address_lookup::{AddressLookup, EndpointData, Error, Item};
use iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup};
use n0_future::boxed::BoxStream;
use n0_future::{StreamExt, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{from_addr, from_key, to_addr};

/// Most nodes of the local network that are remembered; anyone there can announce many.
pub(crate) const LAN_PEERS_MAX: usize = 64;
/// The DNS-SD service name, so that only archy nodes find each other.
const SERVICE_NAME: &str = "archy";
/// Time between queries on the local network.
const CADENCE: Duration = Duration::from_secs(1);
/// How long a node whose addresses are asked for may take to show up.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(10);

/// The nodes seen on the local network now.
#[derive(Debug, Clone)]
pub(crate) struct LanPeers {
    seen: watch::Receiver<BTreeMap<EndpointId, Endpoint>>,
    enabled: bool,
}

impl LanPeers {
    /// Begins to announce `endpoint` and to listen for others; a machine without a usable network
    /// goes on without.
    pub(super) fn start(
        endpoint: &iroh::Endpoint,
        enabled: bool,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let (seen_sender, seen) = watch::channel(BTreeMap::new());
        let mdns = enabled.then(|| announce(endpoint, &seen)).flatten();
        let enabled = mdns.is_some();
        if let Some(mdns) = mdns {
            tasks.spawn(cancel.clone().run_until_cancelled_owned(async move {
                listen(mdns, seen_sender).await;
            }));
        }
        Self { seen, enabled }
    }

    /// Says whether nodes can still show up.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Lists the nodes seen now.
    pub(crate) fn list(&self) -> Vec<Endpoint> {
        self.seen.borrow().values().cloned().collect()
    }

    /// Returns a receiver that changes when a node appears or goes.
    pub(crate) fn watch(&self) -> watch::Receiver<BTreeMap<EndpointId, Endpoint>> {
        self.seen.clone()
    }
}

/// The addresses of those who were seen.
///
/// Multicast DNS is not asked itself: whoever shows up while its addresses are asked for there is told of to the asker
/// alone, and to no subscriber until it has gone and come back.
#[derive(Debug)]
struct Lookup {
    mdns: MdnsAddressLookup,
    seen: watch::Receiver<BTreeMap<EndpointId, Endpoint>>,
}

impl AddressLookup for Lookup {
    fn publish(&self, data: &EndpointData) {
        self.mdns.publish(data);
    }

    fn resolve(&self, key: PublicKey) -> Option<BoxStream<Result<Item, Error>>> {
        let (mut seen, id) = (self.seen.clone(), from_key(key));
        let shown = async move {
            let shows = seen.wait_for(|seen| seen.contains_key(&id));
            let seen = tokio::time::timeout(RESOLVE_TIME_MAX, shows).await.ok()?;
            let addr = to_addr(seen.ok()?.get(&id)?).ok()?;
            Some(Ok(Item::new(addr.into(), SERVICE_NAME, None)))
        };
        Some(stream::once_future(shown).filter_map(|item| item).boxed())
    }
}

fn announce(
    endpoint: &iroh::Endpoint,
    seen: &watch::Receiver<BTreeMap<EndpointId, Endpoint>>,
) -> Option<MdnsAddressLookup> {
    let built = MdnsAddressLookup::builder()
        .service_name(SERVICE_NAME)
        .discovery_cadence(CADENCE)
        .build(endpoint.id());
    let mdns = match built {
        Ok(mdns) => mdns,
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "nodes on the local network cannot be found");
            return None;
        }
    };
    match endpoint.address_lookup() {
        Ok(services) => services.add(Lookup {
            mdns: mdns.clone(),
            seen: seen.clone(),
        }),
        Err(error) => {
            tracing::warn!(%error, "nodes on the local network cannot be found");
            return None;
        }
    }
    Some(mdns)
}

async fn listen(mdns: MdnsAddressLookup, seen: watch::Sender<BTreeMap<EndpointId, Endpoint>>) {
    let mut events = mdns.subscribe().await;
    while let Some(event) = events.next().await {
        match event {
            DiscoveryEvent::Discovered { endpoint_info, .. } => {
                let endpoint = from_addr(&endpoint_info.to_endpoint_addr());
                seen.send_if_modified(|seen| {
                    let room = seen.len() < LAN_PEERS_MAX || seen.contains_key(&endpoint.id);
                    room && seen.insert(endpoint.id, endpoint.clone()).as_ref() != Some(&endpoint)
                });
            }
            DiscoveryEvent::Expired { endpoint_id } => {
                seen.send_if_modified(|seen| seen.remove(&from_key(endpoint_id)).is_some());
            }
            _ => {}
        }
    }
}
