//! Container images in a folder of this machine, in OCI layout (OCI Image Specification 1.1, `image-layout.md`).
//!
//! Such a folder is a store by digest, `blobs/sha256/HEX`, so nothing in its index is read or believed: the release says
//! which blobs an image has. Tools that make one: skopeo, podman, buildah, crane, oras.

use std::io;
use std::path::{Path, PathBuf};

use archy_registry::OciDigest;
use archy_registry::release::{Descriptor, Image};
use rustix::fs::OFlags;
use tokio::fs::File;

/// A folder does not have an image.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    /// It is something else, or cannot be read.
    #[error("{dir} is no folder of images in OCI layout that this node can read")]
    NotALayout {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A blob is not there.
    #[error("{dir} does not have {digest}")]
    Lacks {
        /// The folder.
        dir: PathBuf,
        /// The blob.
        digest: OciDigest,
    },
    /// A blob cannot be read.
    #[error("cannot read {digest} in {dir}")]
    Read {
        /// The folder.
        dir: PathBuf,
        /// The blob.
        digest: OciDigest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A blob was cut off or changed.
    #[error(
        "{digest} in {dir} has {size_bytes} bytes, not the {expected_bytes} that the publisher signed"
    )]
    Size {
        /// The folder.
        dir: PathBuf,
        /// The blob.
        digest: OciDigest,
        /// Its length.
        size_bytes: u64,
        /// What the release says.
        expected_bytes: u64,
    },
}

/// Checks that a folder is an OCI layout.
pub(super) async fn test(dir: &Path) -> Result<(), LayoutError> {
    let error = |source| LayoutError::NotALayout {
        dir: dir.to_owned(),
        source,
    };
    let marker = tokio::fs::metadata(dir.join("oci-layout")).await;
    if !marker.map_err(error)?.is_file() {
        return Err(error(io::Error::other("its oci-layout is no file")));
    }
    let blobs = tokio::fs::read_dir(dir.join("blobs/sha256")).await;
    blobs.map(drop).map_err(error)
}

/// Checks that all blobs of an image are there, with the lengths of the release.
pub(super) async fn check(dir: &Path, image: &Image) -> Result<(), LayoutError> {
    for blob in image.descriptors() {
        let read = |source: io::Error| {
            let (dir, digest) = (dir.to_owned(), blob.digest);
            if source.kind() == io::ErrorKind::NotFound {
                LayoutError::Lacks { dir, digest }
            } else {
                LayoutError::Read {
                    dir,
                    digest,
                    source,
                }
            }
        };
        let file = open(dir, blob).await.map_err(read)?;
        let size_bytes = file.metadata().await.map_err(read)?.len();
        if size_bytes != blob.size_bytes {
            return Err(LayoutError::Size {
                dir: dir.to_owned(),
                digest: blob.digest,
                size_bytes,
                expected_bytes: blob.size_bytes,
            });
        }
    }
    Ok(())
}

/// Opens a blob; its bytes are whatever is there.
///
/// # Errors
///
/// It is not there, cannot be read, or is no file.
pub(super) async fn open(dir: &Path, blob: &Descriptor) -> io::Result<File> {
    let path = dir.join("blobs/sha256").join(blob.digest.to_hex());
    // A pipe in a file's place is not waited for.
    let file = tokio::fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .await?;
    if !file.metadata().await?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok(file)
}
