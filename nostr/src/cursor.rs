//! Where following each relay continues after a restart.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::url::RelayUrl;

/// A cursor could not be read or written.
pub type CursorError = Box<dyn std::error::Error + Send + Sync>;

/// Keeps, per relay, the time up to which everything that the relay had was handed on.
///
/// Following works without it, only more costly: an unreadable cursor means that the relay is read from
/// its beginning.
pub trait CursorStore: Send + Sync + 'static {
    /// Returns the cursor of a relay, if one was saved.
    fn load(
        &self,
        relay: &RelayUrl,
    ) -> impl Future<Output = Result<Option<Timestamp>, CursorError>> + Send;

    /// Saves the cursor of a relay.
    fn save(
        &self,
        relay: &RelayUrl,
        cursor: Timestamp,
    ) -> impl Future<Output = Result<(), CursorError>> + Send;
}

/// Cursors in memory: forgotten with the process.
#[derive(Debug, Default)]
pub struct MemoryCursors(Mutex<HashMap<RelayUrl, Timestamp>>);

impl CursorStore for MemoryCursors {
    async fn load(&self, relay: &RelayUrl) -> Result<Option<Timestamp>, CursorError> {
        let cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cursors.get(relay).copied())
    }

    async fn save(&self, relay: &RelayUrl, cursor: Timestamp) -> Result<(), CursorError> {
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.insert(relay.clone(), cursor);
        Ok(())
    }
}

impl<C: CursorStore> CursorStore for std::sync::Arc<C> {
    async fn load(&self, relay: &RelayUrl) -> Result<Option<Timestamp>, CursorError> {
        C::load(self, relay).await
    }

    async fn save(&self, relay: &RelayUrl, cursor: Timestamp) -> Result<(), CursorError> {
        C::save(self, relay, cursor).await
    }
}
