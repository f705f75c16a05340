//! Moves bytes by digest over iroh; packs and serves OCI images; knows no apps.
//!
//! [`Swarm`] is the handle: it keeps blobs on disk, serves those that carry a [`Tag`], and fetches
//! others from an origin, static peers and nodes on the local network, checking every byte against
//! its BLAKE3 hash. [`image`] turns OCI images into blobs, [`oci_endpoint`] turns blobs back into
//! something that podman pulls. Only `transport` names iroh.

pub mod config;
#[cfg(feature = "faults")]
pub mod faults;
pub mod fetch;
pub mod image;
pub mod oci_endpoint;
pub mod schedule;
pub mod status;
pub mod storage;

mod blob;
mod gossip;
mod ledger;
mod reading;
mod seeding;
mod swarm;
mod tag;
mod tracker;
mod transport;
mod upload;

pub use blob::BlobReader;
pub use config::{Config, Discovery, Patience, RelayMode, RoomLimits};
pub use fetch::{Fetch, FetchError, FetchRequest, Fetched, Finder, Progress, ProviderKind, Wanted};
pub use ledger::{Class, Role, TagUsage};
pub use status::Status;
pub use storage::Full;
pub use swarm::{ProbeError, ProvideError, Provided, ReadError, StoreError, Swarm};
pub use tag::{TAG_LEN_MAX, Tag, TagError};
pub use transport::StartError;
pub use upload::UploadLimits;
