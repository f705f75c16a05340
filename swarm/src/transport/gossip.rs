//! Topics of iroh-gossip: broadcast trees between those who know one of each other; gives no meaning to what is said.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use bytes::Bytes;
use iroh::EndpointId;
use iroh::address_lookup::memory::MemoryLookup;
use iroh_gossip::TopicId;
use iroh_gossip::api::{Event, GossipReceiver, GossipSender};
use iroh_gossip::net::Gossip;
use n0_future::StreamExt;

use super::to_addr;

/// Name of the protocol, with its version; not iroh-gossip's own, so that nobody else's topics are carried.
pub(super) const ALPN: &[u8] = b"archy/gossip/1";
/// Longest message in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;
/// Domain of the hash that a topic is.
const DOMAIN: &str = "archy/gossip/1 ";
/// Endpoints whose addresses are remembered.
const ADDRESSES_MAX: usize = 256;

/// The topics of this endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    gossip: Gossip,
    addresses: MemoryLookup,
    remembered: Arc<Mutex<VecDeque<EndpointId>>>,
}

/// One topic, until it is dropped.
#[derive(Debug)]
pub(crate) struct Topic {
    topics: Topics,
    sender: GossipSender,
    receiver: GossipReceiver,
}

/// What happens in a topic.
#[derive(Debug)]
pub(crate) enum Happened {
    /// Somebody is connected.
    Neighbour,
    /// Somebody, who need not be a neighbour, said something.
    Said(Bytes),
    /// Nothing more will be heard.
    Over,
}

impl Topics {
    pub(super) fn start(endpoint: &iroh::Endpoint) -> Self {
        let gossip = Gossip::builder()
            .alpn(ALPN)
            .max_message_size(MESSAGE_BYTES_MAX)
            .spawn(endpoint.clone());
        let addresses = MemoryLookup::new();
        if let Ok(services) = endpoint.address_lookup() {
            services.add(addresses.clone());
        }
        Self {
            gossip,
            addresses,
            remembered: Arc::default(),
        }
    }

    pub(super) fn handler(&self) -> Gossip {
        self.gossip.clone()
    }

    /// Joins the topic with this name through whoever is known; `None` when the endpoint is closed.
    pub(crate) async fn join(&self, name: &str, through: &[Endpoint]) -> Option<Topic> {
        let topic = Blake3Hash::of(format!("{DOMAIN}{name}").as_bytes());
        let through = self.remember(through);
        let topic = TopicId::from_bytes(*topic.as_bytes());
        let joined = self.gossip.subscribe(topic, through).await.ok()?;
        let (sender, receiver) = joined.split();
        Some(Topic {
            topics: self.clone(),
            sender,
            receiver,
        })
    }

    fn remember(&self, endpoints: &[Endpoint]) -> Vec<EndpointId> {
        let addrs = endpoints.iter().filter_map(|known| to_addr(known).ok());
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut ids = Vec::new();
        for addr in addrs {
            ids.push(addr.id);
            if !remembered.contains(&addr.id) {
                remembered.push_back(addr.id);
            }
            self.addresses.set_endpoint_info(addr);
        }
        while remembered.len() > ADDRESSES_MAX {
            if let Some(oldest) = remembered.pop_front() {
                self.addresses.remove_endpoint_info(oldest);
            }
        }
        ids
    }
}

impl Topic {
    /// Says something to everybody; returns whether the topic still is.
    pub(crate) async fn say(&self, message: Vec<u8>) -> bool {
        self.sender.broadcast(message.into()).await.is_ok()
    }

    /// Connects to more endpoints.
    pub(crate) async fn join_through(&self, endpoints: &[Endpoint]) {
        let ids = self.topics.remember(endpoints);
        if let Err(error) = self.sender.join_peers(ids).await {
            tracing::debug!(%error, "a topic cannot be joined through more endpoints");
        }
    }

    /// Tells whether anybody is connected.
    pub(crate) fn is_joined(&self) -> bool {
        self.receiver.is_joined()
    }

    /// Waits for what happens next.
    pub(crate) async fn next(&mut self) -> Happened {
        loop {
            match self.receiver.next().await {
                Some(Ok(Event::NeighborUp(_))) => return Happened::Neighbour,
                Some(Ok(Event::Received(message))) => return Happened::Said(message.content),
                Some(Ok(Event::NeighborDown(_))) => {}
                Some(Ok(Event::Lagged) | Err(_)) | None => return Happened::Over,
            }
        }
    }
}
