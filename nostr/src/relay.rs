//! A small relay over SQLite, for networks without one: off unless configured, and no authority on anything.
//!
//! NIP-01, NIP-09 (deletion), NIP-11 (information document) and NIP-40 (expiration), with limits on
//! everything that a stranger can send. No NIP-42, no NIP-50.

mod info;
mod limits;
mod policy;
mod server;
mod session;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::event::Pubkey;
use crate::url::RelayUrl;

pub use limits::Limits;
pub use store::StoreError;

/// Kinds that are taken by default: archy's statements (30078), deletions (NIP-09), reports (NIP-56),
/// labels (NIP-32), mute lists, sets of pubkeys such as reviewer lists and app curation sets (NIP-51),
/// listings of apps (NIP-82), and the messages of remote signing (NIP-46), which are passed on and not kept.
pub const KINDS: [u16; 11] = [
    5, 1984, 1985, 3063, 10_000, 24_133, 30_000, 30_063, 30_078, 30_267, 32_267,
];

/// Which events are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Of these kinds.
    pub kinds: Vec<u16>,
    /// Of kind 30078, also those of other programs: `d` tags that do not start with `archy:`.
    pub foreign_app_data: bool,
    /// Of these authors, or of all.
    pub authors: Option<Vec<Pubkey>>,
}

impl Default for Accept {
    fn default() -> Self {
        Self {
            kinds: KINDS.to_vec(),
            foreign_app_data: false,
            authors: None,
        }
    }
}

/// How to run the relay.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The database file; made when missing.
    pub database: PathBuf,
    /// Its name in the information document.
    pub name: String,
    /// Which events are taken.
    pub accept: Accept,
    /// What a client may do.
    pub limits: Limits,
    /// The time of day.
    pub clock: Clock,
}

impl Config {
    /// Returns the defaults for an address and a database.
    pub fn new(listen: SocketAddr, database: PathBuf) -> Self {
        Self {
            listen,
            database,
            name: "archy relay".to_owned(),
            accept: Accept::default(),
            limits: Limits::default(),
            clock: Clock::system(),
        }
    }
}

/// The relay could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not to be had.
    #[error(
        "the relay could not listen on {address}; change relay.listen or stop what uses the port"
    )]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The database could not be opened.
    #[error("the relay's database {} could not be opened", path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: StoreError,
    },
}

/// A relay that runs until it is stopped or its token is cancelled.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    url: RelayUrl,
    store: Arc<store::Store>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// Starts the relay; it answers when this returns.
///
/// # Errors
///
/// When the address or the database is not to be had.
pub async fn start(config: Config, cancel: &CancellationToken) -> Result<Relay, StartError> {
    let listen = |source| StartError::Listen {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let store = store::Store::open(&config.database, config.limits.clone())
        .await
        .map_err(|source| StartError::Database {
            path: config.database.clone(),
            source,
        })?;
    let store = Arc::new(store);
    let url = format!("ws://{address}/")
        .parse()
        .expect("a socket address makes a URL");
    let cancel = cancel.child_token();
    let tasks = TaskTracker::new();
    let hub = Arc::new(server::Hub::new(
        config,
        Arc::clone(&store),
        cancel.clone(),
        tasks.clone(),
    ));
    tasks.spawn(server::sweep(Arc::clone(&hub)));
    tasks.spawn(server::accept(hub, listener));
    tracing::info!(%address, "relay listens");
    Ok(Relay {
        address,
        url,
        store,
        cancel,
        tasks,
    })
}

impl Relay {
    /// Returns the address for clients on this machine, or on the network when it listens on one address of it.
    pub fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many events it keeps.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn count(&self) -> Result<u64, StoreError> {
        self.store.count().await
    }

    /// Stops: no new connections, good-bye to clients, the database closed.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.store.close().await;
    }
}
