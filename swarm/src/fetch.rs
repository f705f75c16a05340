//! Fetching blobs from whoever has them: the request, its progress and its outcome.
//!
//! [`schedule`](crate::schedule) decides what to ask of whom (pure), `drive` performs it, `run` is the frame around
//! both. Ranges of a blob come from many providers at once.

mod company;
mod drive;
mod finder;
mod meter;
mod providers;
mod report;
mod run;

use archy_registry::Blake3Hash;
use archy_registry::id::EndpointId;
use archy_registry::release::{Descriptor, Endpoint};
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::DropGuard;

use crate::ledger::{Class, Role};
pub use crate::schedule::ProviderKind;
use crate::tag::Tag;

pub use finder::Finder;
pub use report::{FetchError, ProviderReport};
pub(crate) use run::{Job, run};

/// Most blobs in one request.
pub const BLOBS_MAX: usize = 4096;
/// Most providers asked at the same time in one fetch.
pub const PROVIDERS_MAX: usize = 32;
/// Largest blob in bytes (64 GiB).
pub const BLOB_SIZE_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;

/// One blob to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its hash.
    pub blake3: Blake3Hash,
    /// Its exact length in bytes, as signed; a provider that claims another is not believed.
    pub size_bytes: u64,
    /// What it is to the tag.
    pub role: Role,
}

impl Wanted {
    /// Returns its role unless it is not known.
    pub(crate) fn known_role(&self) -> Option<Role> {
        (self.role != Role::Other).then_some(self.role)
    }
}

impl From<&Descriptor> for Wanted {
    fn from(descriptor: &Descriptor) -> Self {
        Self {
            blake3: descriptor.blake3,
            size_bytes: descriptor.size_bytes,
            role: Role::from(descriptor),
        }
    }
}

/// What to fetch and whom to ask.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The tag that keeps the blobs, finished or not, until it is withdrawn.
    pub tag: Tag,
    /// What a tag that is new is kept for.
    pub class: Class,
    /// The blobs, most urgent first; duplicates are fetched once.
    pub blobs: Vec<Wanted>,
    /// The origin's endpoints.
    pub origin: Vec<Endpoint>,
    /// Further endpoints that may have the blobs.
    pub peers: Vec<Endpoint>,
    /// Whether to serve the blobs to others once they are complete.
    pub share: bool,
}

/// What one provider contributed so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderProgress {
    /// Its endpoint.
    pub id: EndpointId,
    /// Why it is asked.
    pub kind: ProviderKind,
    /// Verified bytes received from it.
    pub bytes: u64,
}

/// How far a fetch is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Verified bytes that are here, those of earlier attempts included.
    pub bytes_done: u64,
    /// Bytes that will be here at the end.
    pub bytes_total: u64,
    /// Bytes of these that were here before this attempt began.
    pub bytes_reused: u64,
    /// Rate over the last seconds.
    pub bytes_per_second: u64,
    /// Blobs that are complete.
    pub blobs_done: usize,
    /// Blobs asked for.
    pub blobs_total: usize,
    /// The providers that sent something, most first.
    pub providers: Vec<ProviderProgress>,
}

/// A finished fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes of all blobs.
    pub bytes_total: u64,
    /// Bytes that were here before the fetch began.
    pub bytes_reused: u64,
    /// What each provider did.
    pub providers: Vec<ProviderReport>,
}

/// A fetch under way. Dropping it stops the fetch; what arrived stays under its tag.
#[derive(Debug)]
pub struct Fetch {
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) outcome: oneshot::Receiver<Result<Fetched, FetchError>>,
    pub(crate) _stop: DropGuard,
}

impl Fetch {
    /// Returns a receiver that changes a few times per second while bytes arrive.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Says which provider did what when a blob could be had from none of them.
    pub async fn finish(self) -> Result<Fetched, FetchError> {
        self.outcome.await.unwrap_or(Err(FetchError::Cancelled))
    }
}
