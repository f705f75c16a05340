//! What providers did, in words for the person who waits for the install.

use std::fmt;

use archy_registry::Blake3Hash;
use archy_registry::id::EndpointId;
use serde::Serialize;

use super::ProviderKind;
use crate::storage::Full;
use crate::tag::Tag;

/// What one provider did during a fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderReport {
    /// Its endpoint.
    pub id: EndpointId,
    /// Why it was asked.
    pub kind: ProviderKind,
    /// Verified bytes received from it.
    pub bytes: u64,
    /// Whether it sent bytes that do not match their hash; it is not asked again in this fetch.
    pub lied: bool,
    /// Whether it broke off because its own copy of a blob is incomplete or does not match its hash.
    pub damaged: bool,
    /// Each different failure once, in order.
    pub failures: Vec<String>,
}

impl fmt::Display for ProviderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.kind, self.id)?;
        if self.failures.is_empty() {
            write!(f, "sent {} bytes", self.bytes)
        } else {
            f.write_str(&self.failures.join("; then "))
        }
    }
}

/// A fetch failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// Nobody is known who could have the blobs.
    #[error(
        "nobody to fetch blob {blake3} from: the release names no reachable origin, and no peer is \
         configured or seen on the local network"
    )]
    NoProviders {
        /// The first blob that is missing.
        blake3: Blake3Hash,
    },
    /// Every provider was asked and none gave all of a blob.
    #[error(
        "no provider has all of blob {blake3} ({have_bytes} of {size_bytes} bytes are here): {}",
        list(providers)
    )]
    Exhausted {
        /// The blob.
        blake3: Blake3Hash,
        /// Verified bytes that are here.
        have_bytes: u64,
        /// Its size.
        size_bytes: u64,
        /// What each provider did.
        providers: Vec<ProviderReport>,
    },
    /// The blob is here and has another size than the request says.
    #[error(
        "blob {blake3} has {actual_bytes} bytes, but {size_bytes} were asked for: the release is wrong"
    )]
    WrongSize {
        /// The blob.
        blake3: Blake3Hash,
        /// The size asked for.
        size_bytes: u64,
        /// Its true size.
        actual_bytes: u64,
    },
    /// The request itself is unacceptable.
    #[error("cannot fetch for {tag}: {reason}")]
    Request {
        /// The tag of the request.
        tag: Tag,
        /// What is wrong with it.
        reason: String,
    },
    /// The blob store failed.
    #[error(
        "cannot store blobs here: {reason}; check free space and the permissions of the blob directory"
    )]
    Store {
        /// What the store said.
        reason: String,
    },
    /// There is no room for the blobs.
    #[error(transparent)]
    Full(#[from] Full),
    /// The fetch was stopped.
    #[error("the fetch was stopped; what arrived is kept for the next attempt")]
    Cancelled,
}

impl FetchError {
    /// Returns what each provider did, where that is known.
    pub fn providers(&self) -> &[ProviderReport] {
        match self {
            Self::Exhausted { providers, .. } => providers,
            Self::NoProviders { .. }
            | Self::WrongSize { .. }
            | Self::Request { .. }
            | Self::Store { .. }
            | Self::Full(_)
            | Self::Cancelled => &[],
        }
    }
}

fn list(providers: &[ProviderReport]) -> String {
    let lines: Vec<String> = providers.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
