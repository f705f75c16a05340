//! A read-only OCI registry on the loopback interface from which podman pulls what the swarm fetched.
//!
//! Speaks the pull half of the OCI Distribution Specification 1.1 (`spec.md#pull`) for exactly the
//! blobs that were registered, by digest only, below a secret path that changes with every start.
//! Anything else is 404. Bytes come from the blob store, of blobs that are still being fetched while they arrive;
//! podman checks their SHA-256 itself.

mod arriving;
mod multipart;
mod range;
mod routes;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use archy_registry::release::Descriptor;
use archy_registry::{Blake3Hash, OciDigest};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::image::{DOCUMENT_SIZE_BYTES_MAX, Variant};
use crate::storage::Using;
use crate::transport::Transport;

/// Random bytes in the secret path. Written in hexadecimal it stays clear of 64 digits, which
/// podman's parser would take for an image ID.
const SECRET_BYTES: usize = 16;
/// Longest repository name in bytes.
pub const REPOSITORY_LEN_MAX: usize = 128;

/// A repository name is not one that podman accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a repository name: use at most {REPOSITORY_LEN_MAX} of a-z, 0-9 and single inner \
     . _ - /, starting and ending with a letter or digit"
)]
pub struct RepositoryError(String);

/// The running endpoint.
#[derive(Debug)]
pub struct OciEndpoint {
    address: SocketAddr,
    secret: String,
    shelf: Arc<Shelf>,
    transport: Arc<Transport>,
}

/// Where the bytes of an item are.
#[derive(Debug, Clone)]
enum Source {
    Blob(Blake3Hash),
    Memory(Bytes),
}

/// One servable blob.
#[derive(Debug, Clone)]
struct Item {
    source: Source,
    size_bytes: u64,
    media_type: String,
}

/// What is served, by repository and digest.
#[derive(Debug, Default)]
struct Shelf {
    repositories: Mutex<HashMap<String, Repository>>,
}

/// What is served under one name.
#[derive(Debug, Default)]
struct Repository {
    items: HashMap<OciDigest, Item>,
    /// Keeps the blobs from going while podman may ask for them.
    using: Vec<Using>,
    /// Ends answers that wait for bytes.
    withdrawn: CancellationToken,
}

impl Shelf {
    fn find(&self, repository: &str, digest: &OciDigest) -> Option<(Item, CancellationToken)> {
        let repositories = self.repositories.lock();
        let repositories = repositories.unwrap_or_else(PoisonError::into_inner);
        let repository = repositories.get(repository)?;
        let item = repository.items.get(digest)?.clone();
        Some((item, repository.withdrawn.clone()))
    }
}

impl OciEndpoint {
    pub(crate) async fn start(
        transport: Arc<Transport>,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut random = [0; SECRET_BYTES];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let secret = hex::encode(random);
        let shelf = Arc::new(Shelf::default());
        let router = routes::router(transport.clone(), shelf.clone(), &secret);
        // At the end a pull that is under way is cut: podman resumes it or the install is retried.
        tasks.spawn(cancel.clone().run_until_cancelled_owned(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the OCI endpoint stopped; images cannot be loaded");
            }
        }));
        Ok(Self {
            address,
            secret,
            shelf,
            transport,
        })
    }

    /// Makes an image's manifest, config and layers available under a repository name. Repeating
    /// adds to what is there. Blobs that are not here yet are waited for: fetch them, or withdraw the repository.
    ///
    /// # Errors
    /// The name is not one that podman accepts.
    pub fn serve<'a>(
        &self,
        repository: &str,
        descriptors: impl IntoIterator<Item = &'a Descriptor>,
    ) -> Result<(), RepositoryError> {
        let items = descriptors.into_iter().map(|descriptor| {
            let item = Item {
                source: Source::Blob(descriptor.blake3),
                size_bytes: descriptor.size_bytes,
                media_type: descriptor.media_type.clone(),
            };
            (descriptor.digest, item)
        });
        self.put(repository, items)
    }

    /// Makes a variant of an image available instead, with its own manifest.
    ///
    /// # Errors
    /// The name is not one that podman accepts.
    pub fn serve_variant(
        &self,
        repository: &str,
        variant: &Variant,
    ) -> Result<(), RepositoryError> {
        let manifest = Item {
            source: Source::Memory(variant.manifest.clone()),
            size_bytes: variant.manifest.len() as u64,
            media_type: variant.media_type.clone(),
        };
        self.put(repository, [(variant.digest, manifest)])?;
        self.serve(repository, &variant.blobs)
    }

    fn put(
        &self,
        repository: &str,
        items: impl IntoIterator<Item = (OciDigest, Item)>,
    ) -> Result<(), RepositoryError> {
        if !is_repository(repository) {
            return Err(RepositoryError(repository.chars().take(160).collect()));
        }
        let items: Vec<(OciDigest, Item)> = items.into_iter().collect();
        let store = self.transport.store();
        let blobs = items.iter().filter_map(|(_, item)| match item.source {
            Source::Blob(blob) => Some(blob),
            Source::Memory(_) => None,
        });
        let blobs: Vec<Blake3Hash> = blobs.collect();
        for blob in &blobs {
            store.touch(blob);
        }
        let using = store.account().use_blobs(blobs);
        let mut repositories = self
            .shelf
            .repositories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let repository = repositories.entry(repository.to_owned()).or_default();
        repository.items.extend(items);
        repository.using.push(using);
        Ok(())
    }

    /// Reads a manifest or configuration of at most [`DOCUMENT_SIZE_BYTES_MAX`] bytes, and waits for one that is still
    /// being fetched; for one that nobody fetches it waits for ever. Whoever reads checks the digest.
    ///
    /// # Errors
    /// It is too large, or the blob store failed.
    pub async fn document(&self, descriptor: &Descriptor) -> io::Result<Vec<u8>> {
        if descriptor.size_bytes > DOCUMENT_SIZE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let whole = 0..descriptor.size_bytes;
        let never = CancellationToken::new();
        let pieces = arriving::read(&self.transport, descriptor.blake3, whole, false, never);
        let mut pieces = std::pin::pin!(pieces);
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }

    /// Stops to serve a repository; answers that wait for bytes break off.
    pub fn withdraw(&self, repository: &str) {
        let repositories = self.shelf.repositories.lock();
        let gone = repositories
            .unwrap_or_else(PoisonError::into_inner)
            .remove(repository);
        if let Some(gone) = gone {
            gone.withdrawn.cancel();
        }
    }

    /// Returns the name by which podman pulls an image from here, without TLS.
    pub fn reference(&self, repository: &str, manifest: &OciDigest) -> String {
        format!("{}/{}/{repository}@{manifest}", self.address, self.secret)
    }

    /// Returns the address that the endpoint listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Name grammar of the distribution specification (`spec.md#pulling-manifests`), minus runs of
/// separators.
fn is_repository(name: &str) -> bool {
    let part = |part: &str| {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = part.as_bytes();
        let edges = bytes.first().copied().is_some_and(alphanumeric)
            && bytes.last().copied().is_some_and(alphanumeric);
        edges
            && bytes
                .windows(2)
                .all(|pair| alphanumeric(pair[0]) || alphanumeric(pair[1]))
            && bytes
                .iter()
                .all(|&b| alphanumeric(b) || b"._-".contains(&b))
    };
    name.len() <= REPOSITORY_LEN_MAX && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_are_those_that_podman_parses() {
        for good in ["notes", "a/b", "archy/web-1/db", "a.b_c"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in [
            "", "A", "a//b", "-a", "a-", "a..b", "/a", "a/", "a b", "a/../b", "ä",
        ] {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(!is_repository(&"a".repeat(REPOSITORY_LEN_MAX + 1)));
    }
}
