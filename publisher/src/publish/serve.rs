//! Hands a release's blobs to the node, then asks for every one of them as a stranger would.

use std::collections::BTreeSet;
use std::path::Path;

use archy_registry::release::{Descriptor, Endpoint, Release};
use archy_registry::{Blake3Hash, Signed, Verified};
use archy_swarm::image::Packed;
use archy_swarm::image::delta::Patch;
use archy_swarm::{Config, Discovery, Swarm};
use tokio_util::sync::CancellationToken;

use super::pack::PackedImage;
use crate::app::App;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::node::Node;

/// Bytes that the node is to serve.
#[derive(Debug)]
pub enum Blob<'a> {
    /// A part of an image.
    Image(&'a Packed, &'a Descriptor),
    /// A delta from an earlier release.
    Delta(&'a Patch),
    /// A picture or a signed statement.
    Small(Blake3Hash, &'a [u8]),
}

impl Blob<'_> {
    /// Returns its hash.
    pub fn blake3(&self) -> Blake3Hash {
        match self {
            Self::Image(_, descriptor) => descriptor.blake3,
            Self::Delta(patch) => patch.delta.blake3,
            Self::Small(blake3, _) => *blake3,
        }
    }

    /// Returns its length in bytes.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Image(_, descriptor) => descriptor.size_bytes,
            Self::Delta(patch) => patch.delta.size_bytes,
            Self::Small(_, bytes) => bytes.len() as u64,
        }
    }
}

/// Lists every blob of a release once: images, deltas, pictures, key state, and the release itself last.
pub fn blobs<'a>(
    images: &'a [PackedImage],
    patches: &'a [Patch],
    app: &'a App,
    release: &'a Signed,
    identity: &'a Identity,
) -> Vec<Blob<'a>> {
    let images = images.iter().flat_map(|image| {
        let packed = &image.packed;
        packed
            .descriptors()
            .map(move |descriptor| Blob::Image(packed, descriptor))
    });
    let assets = app
        .assets()
        .map(|file| Blob::Small(file.asset.blake3, &file.bytes));
    let statements = [
        Blob::Small(identity.state.hash(), &identity.state_bytes),
        Blob::Small(release.hash, &release.bytes),
    ];
    let mut seen = BTreeSet::new();
    images
        .chain(patches.iter().map(Blob::Delta))
        .chain(assets)
        .chain(statements)
        .filter(|blob| seen.insert(blob.blake3()))
        .collect()
}

/// Names the set of blobs that the node keeps together.
pub fn tag(release: &Verified<Release>) -> String {
    format!("release/{}/{}", release.app(), release.seq)
}

/// Streams every blob into the node.
///
/// # Errors
///
/// When a file has changed since it was packed, or the node does not take a blob.
pub async fn hand_over(node: &Node, blobs: &[Blob<'_>], tag: &str) -> Result<(), Failure> {
    for blob in blobs {
        let (blake3, size_bytes) = (blob.blake3(), blob.size_bytes());
        match blob {
            Blob::Image(packed, descriptor) => {
                let bytes = packed.open(descriptor).await.map_err(|error| {
                    Failure::failed(
                        "image",
                        format!("cannot read {} again: {error}", descriptor.digest),
                    )
                })?;
                node.put_blob(blake3, size_bytes, tag, bytes).await?;
            }
            Blob::Delta(patch) => {
                let bytes = patch.open().await.map_err(|error| {
                    Failure::failed("delta", format!("cannot read a delta again: {error}"))
                })?;
                node.put_blob(blake3, size_bytes, tag, bytes).await?;
            }
            Blob::Small(_, bytes) => {
                let bytes = std::io::Cursor::new(bytes.to_vec());
                node.put_blob(blake3, size_bytes, tag, bytes).await?;
            }
        }
    }
    Ok(())
}

/// Asks the node for every blob from an endpoint that nobody knows, over the network.
///
/// # Errors
///
/// When one is not served, or is not what it should be.
pub async fn prove(
    endpoint: &Endpoint,
    blobs: &[Blob<'_>],
    work_dir: &Path,
) -> Result<(), Failure> {
    let dir = tempfile::Builder::new()
        .prefix("archy-probe-")
        .tempdir_in(work_dir)
        .map_err(|error| Failure::file("write to", work_dir, &error))?;
    let mut config = Config::new(dir.path());
    config.discovery = Discovery {
        mdns: false,
        n0: false,
        gossip: false,
    };
    let swarm = Swarm::start(config, CancellationToken::new()).await?;
    let outcome = prove_with(&swarm, endpoint, blobs).await;
    swarm.shutdown().await;
    outcome
}

async fn prove_with(swarm: &Swarm, endpoint: &Endpoint, blobs: &[Blob<'_>]) -> Result<(), Failure> {
    for blob in blobs {
        let size_bytes = swarm.probe(endpoint, blob.blake3()).await?;
        if size_bytes != blob.size_bytes() {
            let text = format!(
                "nothing was announced: the node serves blob {} with {size_bytes} bytes instead of {}",
                blob.blake3(),
                blob.size_bytes()
            );
            return Err(Failure::failed("notServed", text));
        }
    }
    Ok(())
}
