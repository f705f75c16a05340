//! What a worker holds of its job: the wish, ways to say how far it is, and the tokens that ask it to end.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::machine::{Record, Step, Wish};
use super::store::JobStore;
use crate::api::types::{JobPhase, Transfer};

/// A job's record, shared by its worker, its events and its canceller.
#[derive(Clone)]
pub struct Context {
    pub(super) store: JobStore,
    pub(super) record: watch::Sender<Record>,
    pub(super) cancel: CancellationToken,
    pub(super) stop: CancellationToken,
    pub(super) wish: Wish,
}

/// How a worker should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Undo everything.
    Cancel,
    /// Leave it for the next start.
    Stop,
}

impl Context {
    /// Returns what the owner asked for.
    pub fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Returns the job's id.
    pub fn id(&self) -> String {
        self.record.borrow().id.clone()
    }

    /// Returns when it was asked for.
    pub fn created(&self) -> Timestamp {
        self.record.borrow().created
    }

    /// Returns whether an earlier run may have done some of it.
    pub fn resumed(&self) -> bool {
        self.record.borrow().runs > 1
    }

    /// Returns the token that ends at the owner's wish and at the daemon's end alike.
    pub fn token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Waits until the daemon ends.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Returns what to do now that [`Context::token`] is cancelled.
    pub fn ending(&self) -> Ending {
        if self.stop.is_cancelled() && !self.record.borrow().cancelling {
            Ending::Stop
        } else {
            Ending::Cancel
        }
    }

    /// Says that the job is in `phase` now, and stores that.
    pub async fn enter(&self, phase: JobPhase, message: impl Into<String>) {
        self.step(Step::Enter(phase, message.into())).await;
    }

    /// Says how far the phase is (0–1). Not stored; events carry it at a bounded rate.
    pub fn progress(&self, fraction: f64, message: Option<String>, transfer: Option<Transfer>) {
        self.record.send_if_modified(|record| {
            record.apply(
                Step::Progress(fraction, message, transfer),
                Timestamp::now(),
            )
        });
    }

    pub(super) async fn step(&self, step: Step) -> bool {
        let changed = self
            .record
            .send_if_modified(|record| record.apply(step, Timestamp::now()));
        if changed {
            self.save().await;
        }
        changed
    }

    /// Stores the record, however long the disk stays full: a job without a stored end would run for ever.
    async fn save(&self) {
        let mut wait = Duration::from_millis(200);
        loop {
            let record = self.record.borrow().clone();
            match self.store.save(&record).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(job.id = %record.id, %error, "could not store a job; trying again");
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(10)),
            }
        }
    }
}
