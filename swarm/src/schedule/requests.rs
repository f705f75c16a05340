//! The requests under way.

use std::ops::Range;
use std::time::Duration;

use super::{ProviderId, RequestId};

/// A request under way.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    pub(super) id: RequestId,
    pub(super) provider: ProviderId,
    pub(super) blob: usize,
    /// What it still has to bring; its end may have been given to somebody else since it was made.
    pub(super) pieces: Range<u32>,
    /// Where the request that was made ends.
    pub(super) asked_end: u32,
    /// First byte that has not come.
    pub(super) at: u64,
    pub(super) began: Duration,
    /// When something came last.
    pub(super) heard: Duration,
    /// Whether another request brings the same pieces, because this one is silent.
    pub(super) hedged: bool,
}

impl InFlight {
    /// Tells whether somebody else could take over its end.
    pub(super) fn is_divisible(&self) -> bool {
        !self.hedged && self.pieces.len() > 1
    }
}

/// All requests under way, in the order in which they were made; there are never many.
#[derive(Debug, Default)]
pub(super) struct Requests(Vec<InFlight>);

impl Requests {
    /// Takes in a request that is newer than all others.
    pub(super) fn push(&mut self, request: InFlight) {
        debug_assert!(self.0.last().is_none_or(|last| last.id < request.id));
        self.0.push(request);
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<InFlight> {
        let at = self.position(id)?;
        Some(self.0.remove(at))
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&InFlight> {
        self.position(id).map(|at| &self.0[at])
    }

    pub(super) fn get_mut(&mut self, id: RequestId) -> Option<&mut InFlight> {
        self.position(id).map(|at| &mut self.0[at])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut InFlight> {
        self.0.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&self, id: RequestId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |request| request.id).ok()
    }
}
