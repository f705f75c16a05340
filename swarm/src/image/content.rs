//! The blobs of an image source, wherever they lie, as parts of local files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use archy_registry::OciDigest;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::model::{self, DOCUMENT_SIZE_BYTES_MAX, Descriptor};
use super::registry::Registry;
use super::{ImageSource, PackError, archive, podman, select};

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) size_bytes: u64,
}

/// An opened image source.
pub(super) enum Content {
    Layout {
        dir: PathBuf,
        name: Option<String>,
    },
    Archive {
        path: PathBuf,
        name: Option<String>,
        index: Vec<u8>,
        blobs: HashMap<OciDigest, Span>,
    },
    Registry(Registry),
}

impl Content {
    /// Opens a source; `work` takes what must be downloaded.
    pub(super) async fn open(source: &ImageSource, work: &Path) -> Result<Self, PackError> {
        match source {
            ImageSource::OciLayout { dir, name } => Ok(Self::Layout {
                dir: dir.clone(),
                name: name.clone(),
            }),
            ImageSource::OciArchive { file, name } => {
                Self::archive(file.clone(), name.clone()).await
            }
            ImageSource::Podman { socket, name } => {
                let file = work.join("podman.tar");
                podman::export(socket, name, &file).await?;
                Self::archive(file, None).await
            }
            ImageSource::Registry {
                reference,
                login,
                plain_http,
            } => {
                let registry = Registry::open(reference, login.as_ref(), *plain_http, work)?;
                Ok(Self::Registry(registry))
            }
        }
    }

    async fn archive(path: PathBuf, name: Option<String>) -> Result<Self, PackError> {
        let file = path.clone();
        let opened = tokio::task::spawn_blocking(move || archive::open(&file));
        let archive = opened
            .await
            .map_err(|error| PackError::io("read", &path, std::io::Error::other(error)))??;
        Ok(Self::Archive {
            path,
            name,
            index: archive.index,
            blobs: archive.blobs,
        })
    }

    /// Returns the manifests and indexes to begin with.
    pub(super) async fn roots(&self) -> Result<Vec<Descriptor>, PackError> {
        let (bytes, name) = match self {
            Self::Layout { dir, name } => (read_index(dir).await?, name),
            Self::Archive { index, name, .. } => (index.clone(), name),
            Self::Registry(registry) => return Ok(vec![registry.root().await?]),
        };
        let digest = sha256(&bytes);
        let index = model::parse_index(&bytes, &digest)?;
        select::by_name(index.manifests, name.as_deref())
    }

    /// Reads a manifest, index or configuration and checks its digest.
    pub(super) async fn document(&self, blob: &Descriptor) -> Result<Vec<u8>, PackError> {
        model::check_size(blob, "document", DOCUMENT_SIZE_BYTES_MAX)?;
        let span = self.locate(blob).await?;
        let bytes = read(&span)
            .await
            .map_err(|error| PackError::io("read", &span.path, error))?;
        let actual = sha256(&bytes);
        if actual != blob.digest || bytes.len() as u64 != blob.size {
            return Err(PackError::Damaged {
                digest: blob.digest,
                reason: format!("its bytes are {actual}, {} of them", bytes.len()),
            });
        }
        Ok(bytes)
    }

    /// Finds a blob, downloading it first when need be. Its bytes are not checked yet.
    pub(super) async fn locate(&self, blob: &Descriptor) -> Result<Span, PackError> {
        let missing = |place: &Path| PackError::Missing {
            digest: blob.digest,
            place: place.display().to_string(),
        };
        match self {
            Self::Layout { dir, .. } => {
                let path = dir.join("blobs/sha256").join(blob.digest.to_hex());
                let metadata = tokio::fs::symlink_metadata(&path)
                    .await
                    .map_err(|_| missing(dir))?;
                if !metadata.is_file() {
                    return Err(missing(dir));
                }
                Ok(Span {
                    path,
                    offset: 0,
                    size_bytes: metadata.len(),
                })
            }
            Self::Archive { path, blobs, .. } => blobs
                .get(&blob.digest)
                .cloned()
                .ok_or_else(|| missing(path)),
            Self::Registry(registry) => registry.download(blob).await,
        }
    }
}

async fn read_index(dir: &Path) -> Result<Vec<u8>, PackError> {
    let path = dir.join("index.json");
    let not_a_layout = |reason: String| PackError::NotALayout {
        path: dir.to_owned(),
        expected: "an OCI layout directory",
        reason,
    };
    let metadata = tokio::fs::metadata(&path)
        .await
        .map_err(|error| not_a_layout(format!("index.json: {error}")))?;
    if metadata.len() > DOCUMENT_SIZE_BYTES_MAX {
        return Err(not_a_layout("index.json is too large".to_owned()));
    }
    tokio::fs::read(&path)
        .await
        .map_err(|error| PackError::io("read", path, error))
}

async fn read(span: &Span) -> std::io::Result<Vec<u8>> {
    let mut file = tokio::fs::File::open(&span.path).await?;
    file.seek(std::io::SeekFrom::Start(span.offset)).await?;
    let mut bytes = Vec::new();
    let limit = span.size_bytes.min(DOCUMENT_SIZE_BYTES_MAX + 1);
    file.take(limit).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

pub(super) fn sha256(bytes: &[u8]) -> OciDigest {
    OciDigest::from_sha256(Sha256::digest(bytes).into())
}
