//! Key states that were read and verified already, so that a statement does not pay for its publisher's whole chain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::SqliteConnection;

use super::key_states::chain;
use super::{Store, StoreError};
use crate::did::Did;
use crate::key_state::KeyState;
use crate::verified::Verified;

/// Publishers that are remembered; beyond it all are forgotten and read again.
const PUBLISHERS_MAX: usize = 65_536;

/// The verified chain of a publisher, oldest state first; empty for a bare DID.
pub(super) type Chain = Arc<[Verified<KeyState>]>;

#[derive(Debug, Default)]
pub(super) struct Chains {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<Did, Chain>,
    /// Counts what was forgotten: a chain that was read before is not remembered after.
    generation: u64,
}

impl Chains {
    /// Forgets a publisher whose chain has grown; to be called once that is committed.
    pub(super) fn forget(&self, publisher: &Did) {
        let mut inner = self.lock();
        inner.known.remove(publisher);
        inner.generation += 1;
    }

    fn find(&self, publisher: &Did) -> (Option<Chain>, u64) {
        let inner = self.lock();
        (inner.known.get(publisher).cloned(), inner.generation)
    }

    fn remember(&self, publisher: Did, chain: &Chain, generation: u64) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        if inner.known.len() >= PUBLISHERS_MAX {
            inner.known.clear();
        }
        inner.known.insert(publisher, Arc::clone(chain));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Returns the newest state of a publisher when its chain was read before.
    pub(super) fn remembered(&self, publisher: &Did) -> Option<Verified<KeyState>> {
        let chain = self.chains.find(publisher).0?;
        let newest = chain.last().cloned();
        Some(newest.unwrap_or_else(|| KeyState::implicit(*publisher)))
    }

    /// Returns the verified chain of a publisher.
    pub(super) async fn chain(
        &self,
        connection: &mut SqliteConnection,
        publisher: &Did,
    ) -> Result<Chain, StoreError> {
        let (known, generation) = self.chains.find(publisher);
        if let Some(chain) = known {
            return Ok(chain);
        }
        let chain: Chain = chain(connection, publisher).await?.into();
        self.chains.remember(*publisher, &chain, generation);
        Ok(chain)
    }
}
