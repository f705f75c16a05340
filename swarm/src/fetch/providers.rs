//! Who is asked in a fetch: endpoints, connections, and what each did, in words.

use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;

use super::ProviderKind;
use super::report::ProviderReport;
use crate::schedule::ProviderId;
use crate::transport::{GetFailure, Link};

/// Distinct failures that are remembered per provider.
const FAILURES_MAX: usize = 8;

/// Most providers that one fetch ever asks.
const EVER_MAX: usize = 256;

/// What became of a provider taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It is new.
    New,
    /// It is known and has a new address.
    Again(ProviderId),
    /// It is known, or there are too many.
    Known,
}

#[derive(Debug)]
struct Provider {
    endpoint: Endpoint,
    kind: ProviderKind,
    link: Option<Link>,
    bytes: u64,
    lied: bool,
    damaged: bool,
    failures: Vec<String>,
}

/// The providers of one fetch, in the order in which they were taken in.
#[derive(Debug, Default)]
pub(super) struct Providers {
    list: Vec<Provider>,
}

impl Providers {
    /// Takes in a provider, unless there are `most`. A known one gains the addresses that are new.
    pub(super) fn add(&mut self, endpoint: Endpoint, kind: ProviderKind, most: usize) -> Added {
        let known = self.find(&endpoint.id);
        let Some(id) = known else {
            if self.list.len() >= most.min(EVER_MAX) {
                return Added::Known;
            }
            self.list.push(Provider {
                endpoint,
                kind,
                link: None,
                bytes: 0,
                lied: false,
                damaged: false,
                failures: Vec::new(),
            });
            return Added::New;
        };
        let known = &mut self.list[id].endpoint.addresses;
        let before = known.len();
        for address in endpoint.addresses {
            if !known.contains(&address) {
                known.push(address);
            }
        }
        if known.len() > before {
            Added::Again(id)
        } else {
            Added::Known
        }
    }

    fn find(&self, endpoint: &EndpointId) -> Option<ProviderId> {
        let mut list = self.list.iter();
        list.position(|provider| provider.endpoint.id == *endpoint)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = ProviderKind> + '_ {
        self.list.iter().map(|provider| provider.kind)
    }

    pub(super) fn kind(&self, id: ProviderId) -> ProviderKind {
        self.list[id].kind
    }

    pub(super) fn endpoint(&self, id: ProviderId) -> &Endpoint {
        &self.list[id].endpoint
    }

    /// Returns the peers that gave most; those of the local network find each other.
    pub(super) fn best_peers(&self, most: usize) -> Vec<Endpoint> {
        let gave = |provider: &&Provider| provider.kind == ProviderKind::Peer && provider.bytes > 0;
        let mut gave: Vec<&Provider> = self.list.iter().filter(gave).collect();
        gave.sort_by_key(|provider| std::cmp::Reverse(provider.bytes));
        let peers = gave.into_iter().take(most);
        peers.map(|provider| provider.endpoint.clone()).collect()
    }

    /// Returns the open connection to a provider.
    pub(super) fn link(&self, id: ProviderId) -> Option<Link> {
        let link = self.list[id].link.clone();
        link.filter(Link::is_open)
    }

    /// Records how a dial ended.
    pub(super) fn dialled(&mut self, id: ProviderId, link: Result<Link, String>) {
        let provider = &mut self.list[id];
        match link {
            Ok(link) => provider.link = Some(link),
            Err(reason) => provider.failed(format!("cannot be reached: {reason}")),
        }
    }

    /// Records verified bytes.
    pub(super) fn received(&mut self, id: ProviderId, bytes: u64) {
        self.list[id].bytes += bytes;
    }

    /// Records how a request failed.
    pub(super) fn failed(&mut self, id: ProviderId, failure: &GetFailure) {
        let provider = &mut self.list[id];
        provider.lied |= *failure == GetFailure::WrongData;
        provider.damaged |= *failure == GetFailure::Damaged;
        provider.failed(failure.to_string());
    }

    /// Lists what each did.
    pub(super) fn reports(&self) -> Vec<ProviderReport> {
        self.list
            .iter()
            .map(|provider| ProviderReport {
                id: provider.endpoint.id,
                kind: provider.kind,
                bytes: provider.bytes,
                lied: provider.lied,
                damaged: provider.damaged,
                failures: provider.failures.clone(),
            })
            .collect()
    }
}

impl Provider {
    fn failed(&mut self, failure: String) {
        if self.failures.len() < FAILURES_MAX && !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }
}
