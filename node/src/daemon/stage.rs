//! Parts that stop together: their token, their tasks, and a deadline after which they are aborted.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Parts that stop together.
#[derive(Default)]
pub(super) struct Stage {
    token: CancellationToken,
    tasks: JoinSet<&'static str>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
}

impl Stage {
    /// Returns the token that asks the parts to end.
    pub(super) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a part.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(async move {
            part.await;
            name
        });
        self.names.insert(task.id(), name);
    }

    /// Waits until a part ends, by itself or by a panic, and returns its name.
    pub(super) async fn ended(&mut self) -> &'static str {
        match self.tasks.join_next_with_id().await {
            Some(Ok((_, name))) => name,
            Some(Err(error)) => {
                tracing::error!(%error, "a part of the daemon broke off");
                self.names.get(&error.id()).copied().unwrap_or("unknown")
            }
            None => std::future::pending().await,
        }
    }

    /// Asks the parts to end; what has not ended by the deadline is aborted.
    pub(super) async fn stop(mut self, deadline: Duration) {
        self.token.cancel();
        let ended = tokio::time::timeout(deadline, async {
            while self.tasks.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!(
                deadline_s = deadline.as_secs(),
                "parts did not end in time and are cut off"
            );
            self.tasks.shutdown().await;
        }
    }
}
