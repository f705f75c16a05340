//! Gets a catalog's bytes from wherever they are: over HTTPS, from a file, or as a blob from other nodes.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use archy_registry::Blake3Hash;
use archy_registry::catalog::SIZE_BYTES_MAX;
use archy_registry::release::Endpoint;
use archy_swarm::{Class, FetchRequest, ReadError, Role, Swarm, Tag, Wanted};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::https::{Fetched, Https, HttpsError};
use super::list::Registry;
use super::location::Location;
use crate::api::problem;
use crate::api::types::Problem;
use crate::problem as explain;
use crate::slot::Slot;

/// Asks for catalogs.
pub(super) struct Sources {
    https: Https,
    swarm: Slot<Swarm>,
    peers: Vec<Endpoint>,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What was taken before is current.
    Unchanged,
    /// New bytes, and what names them next time.
    New {
        /// The catalog's bytes; nobody has checked them.
        bytes: Vec<u8>,
        /// An ETag, a file's time and length, or a hash.
        etag: Option<String>,
    },
}

impl Sources {
    pub(super) fn new(settings: &Settings, swarm: Slot<Swarm>) -> Result<Self, HttpsError> {
        Ok(Self {
            https: Https::new(settings.authority.as_deref())?,
            swarm,
            peers: settings.peers.clone(),
        })
    }

    /// Gets a catalog, or learns that what `etag` names is current.
    pub(super) async fn find(
        &self,
        location: &Location,
        etag: Option<&str>,
        time_max: Duration,
        cancel: &CancellationToken,
    ) -> Result<Found, Problem> {
        match location {
            Location::Https(url) => {
                let fetched = self.https.get(url, etag, SIZE_BYTES_MAX, time_max).await;
                match fetched.map_err(|error| of_https(&error))? {
                    Fetched::Unchanged => Ok(Found::Unchanged),
                    Fetched::New { bytes, etag } => Ok(Found::New { bytes, etag }),
                }
            }
            Location::File(path) => {
                let (path, etag) = (path.clone(), etag.map(str::to_owned));
                let shown = path.display().to_string();
                let read = tokio::task::spawn_blocking(move || file(&path, etag.as_deref())).await;
                read.map_err(|error| explain::internal("read a catalog", &error))?
                    .map_err(|error| of_file(&shown, &error))
            }
            Location::Blob(hash) => self.blob(*hash, etag, time_max, cancel).await,
        }
    }

    async fn blob(
        &self,
        hash: Blake3Hash,
        etag: Option<&str>,
        time_max: Duration,
        cancel: &CancellationToken,
    ) -> Result<Found, Problem> {
        let name = hash.to_string();
        if etag == Some(name.as_str()) {
            return Ok(Found::Unchanged);
        }
        let swarm = self.swarm.now().ok_or_else(|| {
            problem(
                "starting",
                "The node's transfers are not up yet",
                "Try again in a moment",
            )
        })?;
        let here = swarm.has(hash).await;
        if !here.map_err(|error| explain::internal("look for a blob", &error))? {
            self.fetch(&swarm, hash, time_max, cancel).await?;
        }
        let bytes = swarm.read(hash, SIZE_BYTES_MAX as u64).await;
        let bytes = bytes.map_err(|error| match error {
            ReadError::TooLarge { .. } => too_large(),
            ReadError::Absent { .. } | ReadError::Store(_) => {
                explain::internal("read the catalog", &error)
            }
        })?;
        Ok(Found::New {
            bytes: bytes.to_vec(),
            etag: Some(name),
        })
    }

    /// Asks the nodes that this one knows how large the blob is, then fetches it from any of them.
    async fn fetch(
        &self,
        swarm: &Swarm,
        hash: Blake3Hash,
        time_max: Duration,
        cancel: &CancellationToken,
    ) -> Result<(), Problem> {
        let mut peers = swarm.lan_peers();
        peers.extend(self.peers.iter().cloned());
        let mut size_bytes = None;
        for peer in &peers {
            if let Ok(proven) = swarm.probe(peer, hash).await {
                size_bytes = Some(proven);
                break;
            }
        }
        let size_bytes = size_bytes.ok_or_else(|| {
            problem(
                "noProvider",
                "No node that this one knows has the catalog",
                "Connect this node to one that has it, or add a peer to swarm.peers",
            )
        })?;
        if size_bytes > SIZE_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let request = FetchRequest {
            tag: tag(hash),
            class: Class::Cache,
            blobs: vec![Wanted {
                blake3: hash,
                size_bytes,
                role: Role::Entry,
            }],
            origin: Vec::new(),
            peers,
            share: true,
        };
        let fetch = swarm.fetch(request, cancel).finish();
        match tokio::time::timeout(time_max, fetch).await {
            Ok(fetched) => fetched
                .map(|_| ())
                .map_err(|error| explain::of_fetch(&error)),
            Err(_) => Err(problem(
                "unreachable",
                "The catalog did not arrive in time",
                "It is tried again later",
            )),
        }
    }
}

/// Tells whether a registry's file is not the one that was taken. Only looks at its time and length.
pub(super) fn has_changed(entry: &Registry) -> bool {
    let Location::File(path) = &entry.url else {
        return false;
    };
    // A file that cannot be taken is tried again when its TTL ends or when it changes, not all the time.
    let Ok(metadata) = path.metadata() else {
        return false;
    };
    let Some(last) = entry.last_try else {
        return true;
    };
    let modified = metadata
        .modified()
        .ok()
        .and_then(|at| jiff::Timestamp::try_from(at).ok());
    let touched_since = modified.is_some_and(|modified| modified > last);
    let is_another = entry.etag.is_some() && entry.etag != stamp(&metadata);
    touched_since || (entry.failures == 0 && is_another)
}

/// Holds a catalog that came as a blob.
fn tag(hash: Blake3Hash) -> Tag {
    format!("registry/{hash}")
        .parse()
        .expect("a hash makes a tag")
}

fn file(path: &Path, etag: Option<&str>) -> std::io::Result<Found> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        // A pipe in this place must not be waited for.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let stamp = stamp(&metadata);
    if stamp.is_some() && stamp.as_deref() == etag {
        return Ok(Found::Unchanged);
    }
    let mut bytes = Vec::new();
    file.take(SIZE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > SIZE_BYTES_MAX {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(Found::New { bytes, etag: stamp })
}

fn stamp(metadata: &std::fs::Metadata) -> Option<String> {
    let modified = metadata.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(format!("{}-{}", since.as_nanos(), metadata.len()))
}

fn of_file(path: &str, error: &std::io::Error) -> Problem {
    if error.kind() == std::io::ErrorKind::FileTooLarge {
        return too_large();
    }
    let mut refusal = problem(
        "file",
        format!("The catalog {path} cannot be read"),
        "Put the file there, readable for the daemon's user",
    );
    refusal.details = vec![error.to_string()];
    refusal
}

fn too_large() -> Problem {
    problem(
        "tooLarge",
        format!("The catalog has more than {SIZE_BYTES_MAX} bytes"),
        "Ask the registry's operator to split it",
    )
}

fn of_https(error: &HttpsError) -> Problem {
    let (kind, message, hint) = match error {
        HttpsError::Private { .. } => (
            "privateAddress",
            "The registry's name leads into a private network",
            "If the registry is yours, add it by its address: https://IP:PORT/…",
        ),
        HttpsError::Tls { .. } => (
            "tls",
            "There is no secure connection to the registry",
            "Check its certificate; registries.authority names a file with your own authority's",
        ),
        HttpsError::Status { .. } => (
            "status",
            "The registry does not give its catalog",
            "Check the address; else tell the registry's operator",
        ),
        HttpsError::Redirect { .. } => (
            "redirect",
            "The registry redirects to a place that is not asked",
            "Tell the registry's operator",
        ),
        HttpsError::Body {
            source: super::body::BodyError::TooLarge(_),
            ..
        } => return detailed(too_large(), error),
        HttpsError::Body {
            source: super::body::BodyError::TooSlow { .. } | super::body::BodyError::Deadline,
            ..
        } => (
            "tooSlow",
            "The registry sends its catalog too slowly",
            "It is tried again later; what is known stays",
        ),
        HttpsError::Body { .. }
        | HttpsError::Resolve { .. }
        | HttpsError::Connect { .. }
        | HttpsError::Http { .. }
        | HttpsError::Silent(_)
        | HttpsError::Authority { .. } => (
            "unreachable",
            "The registry cannot be reached",
            "It is tried again later; what is known stays",
        ),
    };
    detailed(problem(kind, message, hint), error)
}

fn detailed(mut refusal: Problem, error: &dyn std::error::Error) -> Problem {
    refusal.details = explain::causes(error);
    refusal
}
