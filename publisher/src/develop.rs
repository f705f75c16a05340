//! Running an app from its folder on this machine, beside what is installed: under another name, with other ports, and in a
//! data directory of its own. Nothing here is published, and no node need run.
//!
//! [`images`] makes the folder's images, [`cast`] says what runs, [`root`] runs it, and [`trial`] takes it through its states.

pub mod cast;
pub mod context;
pub mod images;
pub mod root;
pub mod trial;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Does `work`, which ends early when the token that it gets is cancelled: when somebody interrupts this program.
///
/// # Errors
///
/// What `work` returns, or when signals cannot be heard.
pub async fn until_interrupted<T>(
    work: impl AsyncFnOnce(&CancellationToken) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let unheard = |error: std::io::Error| Failure::failed("signals", error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(unheard)?;
    let cancel = CancellationToken::new();
    let heard = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        cancel.cancel();
        // What is under way ends in its own time.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = work(&cancel) => done,
        () = heard => unreachable!("it waits for ever"),
    }
}

/// Does what cannot be cancelled by itself, and leaves it where it is when somebody interrupts.
///
/// # Errors
///
/// What `work` returns, or that it was interrupted.
pub async fn or_interrupted<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        () = cancel.cancelled() => Err(interrupted()),
    }
}

/// Somebody interrupted the command.
pub fn interrupted() -> Failure {
    Failure::failed("cancelled", "interrupted")
}
