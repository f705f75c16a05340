//! Jobs: long work on one app each, persisted so that every one ends in exactly one final state, whatever is killed.
//!
//! Knows phases, order, cancelling, events and persistence; what a job does is a [`Worker`]'s.
//! A job that a daemon's end interrupted goes on at the next start: what it does is idempotent, and the owner
//! who asked for an app still wants it. One that is interrupted [`ATTEMPTS_MAX`] times ends as failed.

mod context;
mod machine;
mod scheduler;
mod store;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;

pub use context::{Context, Ending};
pub use machine::{ATTEMPTS_MAX, Manner, Record, Step, Wish};
pub use scheduler::{Jobs, SubmitError};
pub use store::{JobStore, StoreError};

use crate::api::types::Problem;

/// How a worker's run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// What was asked for is so.
    Done,
    /// It is not, nothing was left behind, and this is why.
    Failed(Problem),
    /// The owner cancelled it and nothing was left behind.
    Cancelled,
    /// The daemon ends; the job goes on at the next start.
    Suspended,
}

/// Does what a job asks for. Every run must be idempotent: it may be repeated from the start after a kill.
pub trait Worker: Send + Sync + 'static {
    /// Runs the job to its end.
    fn run(&self, context: Context) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
}
