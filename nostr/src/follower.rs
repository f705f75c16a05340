//! Follows several relays at once and hands on every authentic statement and opinion; what counts is not
//! decided here.
//!
//! One task per relay. What a connection asks for and how it behaves is decided in `session` and `conduct`
//! without I/O; `reader` performs it.

mod conduct;
mod reader;
mod session;
mod status;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::cursor::CursorStore;
use crate::seen::{SEEN_MAX, Seen};
use crate::topic::Message;
use crate::url::RelayUrl;

pub use status::{RelayState, RelayStatus};

/// Messages that wait for the reader of the channel; beyond it the relays are read no faster.
pub(crate) const HEARD_CAPACITY: usize = 256;

/// How to follow.
#[derive(Debug, Clone)]
pub struct Config {
    /// The relays; one that is named twice is followed once.
    pub relays: Vec<RelayUrl>,
    /// How far before the cursor a relay is read again: covers clocks that differ, events that were
    /// published some time after their date, and what was handed on but not kept when the process died.
    pub overlap: Duration,
    /// How often a relay is read from its beginning, so that nothing stays unheard for good.
    pub full_read_every: Duration,
    /// Waits between attempts to connect.
    pub backoff: Backoff,
    /// Waits after a relay misbehaved.
    pub misconduct_backoff: Backoff,
    /// A connection on which nothing came for so long is asked for a sign of life, and ended after the
    /// same time again.
    pub idle: Duration,
    /// Spreads the waits; `None` draws one from the system.
    pub seed: Option<u64>,
    /// The time of day.
    pub clock: Clock,
}

impl Config {
    /// Returns the defaults for these relays.
    pub fn new(relays: Vec<RelayUrl>) -> Self {
        Self {
            relays,
            overlap: Duration::from_secs(24 * 60 * 60),
            full_read_every: Duration::from_secs(24 * 60 * 60),
            backoff: Backoff::default(),
            misconduct_backoff: Backoff {
                first: Duration::from_secs(5 * 60),
                longest: Duration::from_secs(2 * 60 * 60),
            },
            idle: Duration::from_secs(45),
            seed: None,
            clock: Clock::system(),
        }
    }
}

/// What all readers share.
#[derive(Debug)]
struct Shared<C> {
    config: Config,
    cursors: C,
    seen: Arc<Mutex<Seen>>,
    heard: mpsc::Sender<Message>,
    /// Counts the calls of [`Follower::read_again`].
    read_again: watch::Receiver<u64>,
    cancel: CancellationToken,
    seed: u64,
}

/// Follows relays until it is stopped or its token is cancelled.
#[derive(Debug)]
pub struct Follower {
    statuses: Vec<watch::Receiver<RelayStatus>>,
    read_again: watch::Sender<u64>,
    seen: Arc<Mutex<Seen>>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl<C> Shared<C> {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Follower {
    /// Begins to follow. The channel yields each authentic event once, from whichever relay hands it on
    /// first; it ends when the follower stops.
    ///
    /// The relays are only read as fast as the channel is.
    pub fn start(
        config: Config,
        cursors: impl CursorStore,
        cancel: &CancellationToken,
    ) -> (Self, mpsc::Receiver<Message>) {
        let (sender, heard) = mpsc::channel(HEARD_CAPACITY);
        let (read_again, read_again_seen) = watch::channel(0);
        let cancel = cancel.child_token();
        let mut relays = config.relays.clone();
        relays.sort();
        relays.dedup();
        let seed = config.seed.unwrap_or_else(random_seed);
        let seen = Arc::new(Mutex::new(Seen::new(SEEN_MAX)));
        let shared = Arc::new(Shared {
            config,
            cursors,
            seen: Arc::clone(&seen),
            heard: sender,
            read_again: read_again_seen,
            cancel: cancel.clone(),
            seed,
        });
        let tasks = TaskTracker::new();
        let statuses = relays
            .into_iter()
            .enumerate()
            .map(|(index, relay)| {
                let (status, statuses) = watch::channel(RelayStatus::new(relay.clone()));
                tasks.spawn(reader::run(Arc::clone(&shared), relay, index, status));
                statuses
            })
            .collect();
        // Holds the channel open as long as the follower runs, also when there is no relay to follow.
        let (open, stopped) = (shared.heard.clone(), cancel.clone());
        tasks.spawn(async move {
            stopped.cancelled().await;
            drop(open);
        });
        tasks.close();
        let follower = Self {
            statuses,
            read_again,
            seen,
            cancel,
            tasks,
        };
        (follower, heard)
    }

    /// Returns how each relay is doing, in the order of their addresses.
    pub fn status(&self) -> Vec<RelayStatus> {
        self.statuses
            .iter()
            .map(|status| status.borrow().clone())
            .collect()
    }

    /// Returns the status of each relay as it changes.
    pub fn watch(&self) -> Vec<watch::Receiver<RelayStatus>> {
        self.statuses.clone()
    }

    /// Forgets what was heard and reads every relay from its beginning: for statements that could not be
    /// judged when they came, such as an announcement that was heard before its publisher's key state.
    pub fn read_again(&self) {
        lock(&self.seen).clear();
        self.read_again.send_modify(|count| *count += 1);
    }

    /// Stops, saves the cursors and closes the connections.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.tasks.wait().await;
    }
}

fn random_seed() -> u64 {
    // Without randomness the waits are not spread; nothing else depends on it.
    getrandom::u64().unwrap_or_default()
}
