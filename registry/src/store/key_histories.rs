//! Key histories that were read and verified already, so that a statement does not pay for its publisher's whole chain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::SqliteConnection;

use super::key_states::history;
use super::{Store, StoreError};
use crate::did::Did;
use crate::key_state::KeyHistory;

/// Publishers that are remembered; beyond it all are forgotten and read again.
const PUBLISHERS_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct KeyHistories {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<Did, Arc<KeyHistory>>,
    /// Counts what was forgotten: a history that was read before is not remembered after.
    generation: u64,
}

impl KeyHistories {
    /// Forgets a publisher whose history has grown; to be called once that is committed.
    pub(super) fn forget(&self, publisher: &Did) {
        let mut inner = self.lock();
        inner.known.remove(publisher);
        inner.generation += 1;
    }

    fn find(&self, publisher: &Did) -> (Option<Arc<KeyHistory>>, u64) {
        let inner = self.lock();
        (inner.known.get(publisher).cloned(), inner.generation)
    }

    fn remember(&self, publisher: Did, history: &Arc<KeyHistory>, generation: u64) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        if inner.known.len() >= PUBLISHERS_MAX {
            inner.known.clear();
        }
        inner.known.insert(publisher, Arc::clone(history));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Returns what is known of a publisher's keys when it was read before.
    pub(super) fn remembered(&self, publisher: &Did) -> Option<Arc<KeyHistory>> {
        self.key_histories.find(publisher).0
    }

    /// Returns what is known of a publisher's keys.
    pub(super) async fn known_keys(
        &self,
        connection: &mut SqliteConnection,
        publisher: &Did,
    ) -> Result<Arc<KeyHistory>, StoreError> {
        let (known, generation) = self.key_histories.find(publisher);
        if let Some(history) = known {
            return Ok(history);
        }
        let history = Arc::new(history(connection, publisher).await?);
        self.key_histories
            .remember(*publisher, &history, generation);
        Ok(history)
    }
}
