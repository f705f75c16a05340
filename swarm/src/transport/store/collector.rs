//! Governs iroh-blobs' collector: when it runs, what it leaves alone, whether it still lives.
//!
//! Its loop ends for good after one error and cannot be told to run. So its interval is nothing at all, and it waits in
//! our callback until it is wanted; when the callback is entered again, the run before has ended.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use archy_registry::Blake3Hash;
use iroh_blobs::Hash;
use iroh_blobs::store::{GcConfig, ProtectCb, ProtectOutcome};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::to_hash;
use super::unix_seconds;
use crate::ledger::Ledger;

/// How often somebody who waits for a run looks whether the collector lives.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often the loop of a closed store looks for the error that ends it.
const CLOSED_EVERY: Duration = Duration::from_secs(1);

/// What the collector does.
#[derive(Debug, Clone)]
enum Phase {
    /// It waits until it is wanted.
    Resting,
    /// It removes what is not among these.
    Sweeping(Arc<HashSet<Blake3Hash>>),
}

/// The collector has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended;

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Runs that have ended.
    runs: u64,
    /// Runs that somebody waits for.
    wanted: u64,
    #[cfg(feature = "faults")]
    must_die: bool,
}

/// One collector's life: from opening a store to closing it.
#[derive(Debug)]
pub(super) struct Collector {
    shared: Arc<Shared>,
    /// The callback; the loop holds it as long as it lives, and so does the store.
    alive: Weak<Callback>,
    /// Cancelled when the store is closed, so that the loop meets an error and ends.
    closed: CancellationToken,
}

type Callback = dyn for<'a> Fn(
        &'a mut HashSet<Hash>,
    ) -> std::pin::Pin<Box<dyn Future<Output = ProtectOutcome> + Send + Sync + 'a>>
    + Send
    + Sync;

#[derive(Debug)]
struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    state: watch::Sender<State>,
    interval: Duration,
    collected_at: Arc<AtomicU64>,
    closed: CancellationToken,
}

impl Collector {
    /// Returns a collector and what the store is to be opened with.
    pub(super) fn new(
        ledger: Arc<Mutex<Ledger>>,
        interval: Duration,
        collected_at: Arc<AtomicU64>,
    ) -> (Self, GcConfig) {
        let state = State {
            phase: Phase::Resting,
            runs: 0,
            wanted: 0,
            #[cfg(feature = "faults")]
            must_die: false,
        };
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            ledger,
            state: watch::Sender::new(state),
            interval,
            collected_at,
            closed: closed.clone(),
        });
        let called = shared.clone();
        let callback: ProtectCb = Arc::new(move |live: &mut HashSet<Hash>| {
            let shared = called.clone();
            Box::pin(async move { shared.turn(live).await })
        });
        let alive = Arc::downgrade(&callback);
        let config = GcConfig {
            interval: Duration::ZERO,
            add_protected: Some(callback),
        };
        let this = Self {
            shared,
            alive,
            closed,
        };
        (this, config)
    }

    /// Has its loop end, which it does when it finds the store closed: close the store first.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Tells whether its loop has ended. The store's own options hold the callback too.
    pub(super) fn has_ended(&self) -> bool {
        self.alive.strong_count() < 2
    }

    /// Has a run begin now, and waits until it has ended.
    pub(super) async fn run(&self) -> Result<(), Ended> {
        let mut state = self.shared.state.subscribe();
        let mut target = 0;
        self.shared.state.send_modify(|state| {
            // One that is under way has begun too early.
            let begun = matches!(state.phase, Phase::Sweeping(_));
            target = state.runs + 1 + u64::from(begun);
            state.wanted = state.wanted.max(target);
        });
        self.wait(&mut state, |state| state.runs >= target).await
    }

    /// Waits until no run is under way that would remove this blob, which is held now.
    pub(super) async fn spares(&self, blobs: &[Blake3Hash]) -> Result<(), Ended> {
        let mut state = self.shared.state.subscribe();
        let spares = |state: &State| match &state.phase {
            Phase::Resting => true,
            Phase::Sweeping(live) => blobs.iter().all(|blob| live.contains(blob)),
        };
        self.wait(&mut state, spares).await
    }

    async fn wait(
        &self,
        state: &mut watch::Receiver<State>,
        is_reached: impl Fn(&State) -> bool,
    ) -> Result<(), Ended> {
        loop {
            let reached = tokio::time::timeout(LOOK_EVERY, state.wait_for(&is_reached));
            match reached.await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => return Err(Ended),
                Err(_) if self.has_ended() => return Err(Ended),
                Err(_) => {}
            }
        }
    }

    /// Makes the loop end in the middle of its next run, which begins at once.
    #[cfg(feature = "faults")]
    pub(super) fn kill(&self) {
        self.shared.state.send_modify(|state| state.must_die = true);
    }
}

impl Shared {
    async fn turn(&self, live: &mut HashSet<Hash>) -> ProtectOutcome {
        self.state.send_modify(|state| {
            if let Phase::Sweeping(_) = state.phase {
                state.phase = Phase::Resting;
                state.runs += 1;
            }
        });
        if self.closed.is_cancelled() {
            // A store that did not close in time is asked again and again.
            tokio::time::sleep(CLOSED_EVERY).await;
        }
        let mut state = self.state.subscribe();
        let due = Instant::now() + self.interval;
        let wanted = state.wait_for(|state| {
            #[cfg(feature = "faults")]
            if state.must_die {
                return true;
            }
            state.wanted > state.runs
        });
        tokio::select! {
            _ = wanted => {}
            () = self.closed.cancelled() => {}
            () = tokio::time::sleep_until(due) => {}
        }
        #[cfg(feature = "faults")]
        assert!(!self.state.borrow().must_die, "a test ends the collector");
        self.collected_at.store(unix_seconds(), Ordering::Relaxed);
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let protected = ledger.protected();
        live.extend(protected.iter().map(|blob| to_hash(*blob)));
        // Under the same lock, so that whoever holds a blob later sees that this run does not know of it.
        self.state
            .send_modify(|state| state.phase = Phase::Sweeping(Arc::new(protected)));
        ProtectOutcome::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_begins_when_it_is_wanted_and_a_loop_that_is_gone_is_noticed() {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let hour = Duration::from_secs(60 * 60);
        let (collector, config) = Collector::new(ledger, hour, Arc::default());
        let of_loop = config.add_protected.clone().unwrap();
        let mut live = HashSet::new();
        let mut turn = of_loop(&mut live);
        assert!(futures_util::poll!(&mut turn).is_pending());
        let mut run = std::pin::pin!(collector.run());
        assert!(futures_util::poll!(&mut run).is_pending());
        assert!(matches!(turn.await, ProtectOutcome::Continue));
        // What is held from now on is not known to this run.
        let blob = Blake3Hash::of(b"late");
        let mut spared = std::pin::pin!(collector.spares(std::slice::from_ref(&blob)));
        assert!(futures_util::poll!(&mut spared).is_pending());
        assert!(
            futures_util::poll!(&mut run).is_pending(),
            "it has not ended"
        );
        let mut next = of_loop(&mut live);
        assert!(futures_util::poll!(&mut next).is_pending());
        assert_eq!(run.await, Ok(()));
        assert_eq!(spared.await, Ok(()));
        drop(next);
        assert!(!collector.has_ended());
        drop(of_loop);
        assert!(collector.has_ended());
        assert_eq!(collector.run().await, Err(Ended));
        drop(config);
    }
}
