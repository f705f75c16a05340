//! The iroh endpoint and blob store behind plain types; the only module that names iroh.
//!
//! Decides nothing about which provider to ask or what to keep: it connects, moves verified bytes
//! between an endpoint and the store, and says precisely how a provider failed.

mod access;
mod company;
mod get;
mod gossip;
mod key;
mod lan;
mod store;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use archy_registry::Blake3Hash;
use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;
use iroh::endpoint::{Builder, Connection, PortmapperConfig, presets};
use iroh::protocol::{AcceptError, ProtocolHandler, Router};
use iroh::{EndpointAddr, PublicKey, RelayUrl};
use iroh_blobs::Hash;
use iroh_blobs::provider::events::EventSender;
use iroh_blobs::provider::handle_connection;
use n0_future::{Stream, StreamExt};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use access::Traffic;
pub(crate) use company::{
    Answer, BLOBS_MAX as COMPANY_BLOBS_MAX, CompanyError, Conversation, Met, Question, modest,
};
pub(crate) use get::{GetFailure, Part};
pub(crate) use gossip::{Happened, MESSAGE_BYTES_MAX, Topic, Topics};
pub(crate) use lan::LanPeers;
pub(crate) use store::{BlobState, BlobStore, ImportFailure, Opened, unix_seconds};

use crate::config::{Config, RelayMode};
use crate::ledger::Ledger;
use crate::reading::Readers;
use crate::storage::Account;
use crate::tag::Tag;
use crate::upload::UploadLimits;

/// Time that an orderly shutdown of the endpoint may take.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(5);

/// A swarm could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The secret key is unusable.
    #[error(transparent)]
    Key(#[from] key::KeyError),
    /// The blob store could not be opened.
    #[error("cannot open the blob store in {dir}: {reason}; is another archyd using it?")]
    Store {
        /// The store's directory.
        dir: PathBuf,
        /// What the store said.
        reason: String,
    },
    /// No socket could be bound.
    #[error("cannot listen for peers on {addresses:?}: {reason}")]
    Bind {
        /// The addresses asked for.
        addresses: Vec<SocketAddr>,
        /// What the endpoint said.
        reason: String,
    },
    /// A configured relay or peer is malformed.
    #[error("cannot use {what}: {reason}")]
    Setting {
        /// Which setting.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The OCI endpoint could not listen on the loopback interface.
    #[error("cannot listen on 127.0.0.1 for podman")]
    OciEndpoint(#[source] io::Error),
}

/// An endpoint could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConnectError(pub(crate) String);

/// An open connection to another endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Link(Connection);

impl Link {
    /// Says whether requests can still be made.
    pub(crate) fn is_open(&self) -> bool {
        self.0.close_reason().is_none()
    }
}

/// The running endpoint with its store.
#[derive(Debug)]
pub(crate) struct Transport {
    endpoint: iroh::Endpoint,
    router: Router,
    store: Arc<BlobStore>,
    lan: LanPeers,
    traffic: Arc<Traffic>,
    limits: watch::Sender<UploadLimits>,
    company: company::Host,
    topics: Option<Topics>,
    readers: Readers,
}

impl Transport {
    /// Opens the store, binds the endpoint and begins to serve what the ledger shares.
    pub(crate) async fn start(
        config: &Config,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Result<Self, StartError> {
        let secret = key::load_or_create(&config.key_file)?;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let account = Account::new(&config.dir, config.room);
        let store = BlobStore::open(&config.dir, config.gc_interval, account, ledger.clone());
        let store = store.await.map_err(|reason| StartError::Store {
            dir: config.dir.clone(),
            reason,
        })?;
        let store = Arc::new(store);
        store.keep(tasks, cancel);
        let bind_error = |reason: String| StartError::Bind {
            addresses: config.bind.clone(),
            reason,
        };
        let builder = builder(config)?.secret_key(secret);
        let endpoint = bind(builder, config)
            .map_err(bind_error)?
            .bind()
            .await
            .map_err(|error| bind_error(format!("{error:#}")))?;
        let lan = LanPeers::start(&endpoint, config.discovery.mdns, tasks, cancel);
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| bind_error(error.to_string()))?;
        let company = company::Host::new(ledger.clone(), u64::from_le_bytes(seed));
        store.pause(config.uploads.is_paused);
        let (limits, limited) = watch::channel(config.uploads);
        let (events, traffic) = access::start(ledger, company.tracker(), limited, tasks, cancel);
        let blobs = Server {
            store: store.clone(),
            events,
        };
        let topics = config.discovery.gossip.then(|| Topics::start(&endpoint));
        let mut router = Router::builder(endpoint.clone())
            .accept(iroh_blobs::ALPN, blobs)
            .accept(company::ALPN, company.clone());
        if let Some(topics) = &topics {
            router = router.accept(gossip::ALPN, topics.handler());
        }
        let router = router.spawn();
        Ok(Self {
            endpoint,
            router,
            store,
            lan,
            traffic,
            limits,
            company,
            topics,
            readers: Readers::default(),
        })
    }

    /// Returns the store.
    pub(crate) fn store(&self) -> &Arc<BlobStore> {
        &self.store
    }

    /// Returns who reads blobs that are not whole.
    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Returns the nodes seen on the local network.
    pub(crate) fn lan(&self) -> &LanPeers {
        &self.lan
    }

    /// Returns the counters of what was served.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Keeps to other limits from now on.
    pub(crate) fn limit_uploads(&self, limits: UploadLimits) {
        self.store.pause(limits.is_paused);
        self.limits.send_replace(limits);
    }

    /// Refuses what these tags hold from now on, and breaks off what is being sent of it.
    pub(crate) fn refuse_uploads(&self, tags: HashSet<Tag>) {
        self.store.refuse(tags);
        // Whoever answers requests looks again at what is under way.
        self.limits.send_modify(|_| ());
    }

    /// Returns the limits that hold now.
    pub(crate) fn upload_limits(&self) -> UploadLimits {
        *self.limits.borrow()
    }

    /// Returns this endpoint's id and the ways to reach it now.
    pub(crate) fn local(&self) -> Endpoint {
        from_addr(&self.endpoint.addr())
    }

    /// Connects to another endpoint.
    pub(crate) async fn connect(
        &self,
        to: &Endpoint,
        within: Duration,
    ) -> Result<Link, ConnectError> {
        let connection = connect(&self.endpoint, to, iroh_blobs::ALPN, within).await?;
        Ok(Link(connection))
    }

    /// Begins to talk with another endpoint about who else fetches what.
    pub(crate) async fn converse(
        &self,
        with: &Endpoint,
        within: Duration,
    ) -> Result<Conversation, CompanyError> {
        let connection = connect(&self.endpoint, with, company::ALPN, within).await;
        let connection = connection.map_err(|error| CompanyError::Broken(error.0))?;
        Conversation::open(connection).await
    }

    /// Returns the topics of this endpoint, unless its owner wants none.
    pub(crate) fn topics(&self) -> Option<&Topics> {
        self.topics.as_ref()
    }

    /// Has the fetches under way know of somebody who says that it has blobs.
    pub(crate) fn meet(&self, met: Met) {
        self.company.meet(met);
    }

    /// Returns who announces itself to this node from now on.
    pub(crate) fn met(&self) -> broadcast::Receiver<Met> {
        self.company.met()
    }

    /// Fetches a part of a blob into the store; `on_progress` gets the end of what is verified so far. When
    /// `stop` is cancelled, what arrived by then is stored and nothing more is read.
    pub(crate) async fn get(
        &self,
        link: &Link,
        part: &Part,
        stop: &CancellationToken,
        on_progress: impl Fn(u64) + Send,
    ) -> Result<(), GetFailure> {
        let open = self.store.now().await.map_err(GetFailure::Local)?;
        let getting = get::part(&open.store, &link.0, part, stop, on_progress);
        match open.over.run_until_cancelled(getting).await {
            Some(got) => got,
            None => Err(GetFailure::Local(
                "the blob store was opened again".to_owned(),
            )),
        }
    }

    /// Follows what a provider says that it has of a blob: ranges in bytes, all at first and then what is new.
    pub(crate) fn claims(
        &self,
        link: &Link,
        blob: Blake3Hash,
    ) -> impl Stream<Item = Vec<Range<u64>>> + use<> {
        let link = link.0.clone();
        let store = self.store.clone();
        // What is told of a provider is told through the store, though it is not about the store.
        let told = async move { store.now().await.ok() };
        n0_future::stream::once_future(told)
            .filter_map(|open| open)
            .flat_map(move |open| {
                let claims = get::claims(&open.store, &link, blob);
                futures_util::StreamExt::take_until(claims, open.over.cancelled_owned())
            })
    }

    /// Asks an endpoint to prove that it serves the end of a blob; returns the blob's size.
    ///
    /// Works for this very endpoint too: a second one with a passing key asks it over the network.
    pub(crate) async fn probe(
        &self,
        to: &Endpoint,
        blob: Blake3Hash,
        within: Duration,
    ) -> Result<u64, ProbeFailure> {
        if to.id != from_key(self.endpoint.id()) {
            return probe(&self.endpoint, to, blob, within).await;
        }
        let asker = iroh::Endpoint::builder(presets::Minimal)
            .relay_mode(iroh::RelayMode::Disabled)
            .portmapper_config(PortmapperConfig::Disabled)
            .bind()
            .await
            .map_err(|error| ProbeFailure::Connect(ConnectError(format!("{error:#}"))))?;
        let outcome = probe(&asker, to, blob, within).await;
        asker.close().await;
        outcome
    }

    /// Waits until the endpoint is closed.
    pub(crate) async fn closed(&self) {
        self.endpoint.closed().await;
    }

    /// Closes the endpoint, as an error in it would.
    #[cfg(feature = "faults")]
    pub(crate) async fn kill_endpoint(&self) {
        self.endpoint.close().await;
    }

    /// Stops serving, closes connections and flushes the store.
    pub(crate) async fn shutdown(&self) {
        let stop = async {
            if let Err(error) = self.router.shutdown().await {
                tracing::warn!(%error, "the endpoint did not stop cleanly");
            }
        };
        if tokio::time::timeout(SHUTDOWN_TIME_MAX, stop).await.is_err() {
            tracing::warn!("the endpoint did not stop in time and was abandoned");
        }
    }
}

/// Answers requests for blobs out of the store that is open now.
#[derive(Debug, Clone)]
struct Server {
    store: Arc<BlobStore>,
    events: EventSender,
}

impl ProtocolHandler for Server {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let Ok(open) = self.store.now().await else {
            connection.close(1_u32.into(), b"closed");
            return Ok(());
        };
        let serving = handle_connection(
            connection.clone(),
            open.store.clone().into(),
            self.events.clone(),
        );
        if open.over.run_until_cancelled(serving).await.is_none() {
            // Whoever fetches connects again and goes on.
            connection.close(0_u32.into(), b"again");
        }
        Ok(())
    }

    async fn shutdown(&self) {
        self.store.close().await;
    }
}

/// Why a probe got no answer that proves the blob.
#[derive(Debug)]
pub(crate) enum ProbeFailure {
    Connect(ConnectError),
    Get(GetFailure),
}

async fn probe(
    endpoint: &iroh::Endpoint,
    to: &Endpoint,
    blob: Blake3Hash,
    within: Duration,
) -> Result<u64, ProbeFailure> {
    let connection = connect(endpoint, to, iroh_blobs::ALPN, within)
        .await
        .map_err(ProbeFailure::Connect)?;
    let proof = get::verified_size(&connection, to_hash(blob));
    let outcome = match tokio::time::timeout(within, proof).await {
        Ok(outcome) => outcome,
        Err(_) => Err(GetFailure::Stalled { within }),
    };
    connection.close(0u32.into(), b"done");
    outcome.map_err(ProbeFailure::Get)
}

async fn connect(
    endpoint: &iroh::Endpoint,
    to: &Endpoint,
    protocol: &[u8],
    within: Duration,
) -> Result<Connection, ConnectError> {
    let addr = to_addr(to).map_err(ConnectError)?;
    match tokio::time::timeout(within, endpoint.connect(addr, protocol)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(ConnectError(format!("{error:#}"))),
        Err(_) => Err(ConnectError(format!(
            "no answer within {:.1} s",
            within.as_secs_f64()
        ))),
    }
}

/// Applies everything that decides which services outside this machine are used.
fn builder(config: &Config) -> Result<Builder, StartError> {
    let builder = if config.discovery.n0 {
        iroh::Endpoint::builder(presets::N0)
    } else {
        iroh::Endpoint::builder(presets::Minimal).portmapper_config(PortmapperConfig::Disabled)
    };
    let relay_mode = match &config.relay_mode {
        RelayMode::Disabled => iroh::RelayMode::Disabled,
        RelayMode::N0 => iroh::RelayMode::Default,
        RelayMode::Custom(urls) => {
            iroh::RelayMode::custom(urls.iter().cloned().map(RelayUrl::from))
        }
    };
    for peer in &config.peers {
        to_addr(peer).map_err(|reason| StartError::Setting {
            what: format!("peer {}", peer.id),
            reason,
        })?;
    }
    let builder = config
        .advertise
        .iter()
        .fold(builder, |builder, address| builder.external_addr(*address));
    Ok(builder.relay_mode(relay_mode))
}

fn bind(builder: Builder, config: &Config) -> Result<Builder, String> {
    if config.bind.is_empty() {
        return Ok(builder);
    }
    config
        .bind
        .iter()
        .try_fold(builder.clear_ip_transports(), |builder, address| {
            builder
                .bind_addr(*address)
                .map_err(|error| format!("{address}: {error:#}"))
        })
}

fn to_hash(blob: Blake3Hash) -> Hash {
    Hash::from_bytes(*blob.as_bytes())
}

fn from_hash(hash: &Hash) -> Blake3Hash {
    Blake3Hash::from_bytes(*hash.as_bytes())
}

fn from_key(key: PublicKey) -> EndpointId {
    EndpointId::from_bytes(*key.as_bytes())
}

fn to_addr(endpoint: &Endpoint) -> Result<EndpointAddr, String> {
    let key = PublicKey::from_bytes(endpoint.id.as_bytes())
        .map_err(|_| format!("{} is not an Ed25519 public key", endpoint.id))?;
    let mut addr = EndpointAddr::new(key);
    for address in &endpoint.addresses {
        addr = addr.with_ip_addr(*address);
    }
    for relay in &endpoint.relays {
        let url: RelayUrl = relay
            .parse()
            .map_err(|error| format!("iroh relay {relay:?}: {error}"))?;
        addr = addr.with_relay_url(url);
    }
    Ok(addr)
}

fn from_addr(addr: &EndpointAddr) -> Endpoint {
    Endpoint {
        id: from_key(addr.id),
        addresses: addr.ip_addrs().copied().collect(),
        relays: addr.relay_urls().map(ToString::to_string).collect(),
    }
}
