//! The forms in which a layer can be here: one tar, as it is or compressed in one way or another.

use std::io::{self, BufRead, Read};

use archy_registry::release::{Descriptor, Tar};
use archy_registry::{Blake3Hash, OciDigest};

use crate::image::model::{self, Compression};
use crate::image::scan;

/// A blob that unpacks to the tar of a layer, if what was signed of it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The layer's diff ID.
    pub diff_id: OciDigest,
    /// SHA-256 of the blob.
    pub digest: OciDigest,
    /// BLAKE3 of the blob.
    pub blake3: Blake3Hash,
    /// Length of the blob in bytes.
    pub size_bytes: u64,
    pub(in crate::image) compression: Compression,
}

impl Form {
    /// Describes a layer's own blob; `None` when it is no layer, or one of a kind that archy does not unpack.
    pub fn of_layer(layer: &Descriptor) -> Option<Self> {
        Some(Self {
            diff_id: layer.diff_id?,
            digest: layer.digest,
            blake3: layer.blake3,
            size_bytes: layer.size_bytes,
            compression: model::compression(&layer.media_type)?,
        })
    }

    /// Describes the tar that a delta makes.
    pub fn of_tar(diff_id: OciDigest, tar: &Tar) -> Self {
        Self {
            diff_id,
            digest: diff_id,
            blake3: tar.blake3,
            size_bytes: tar.size_bytes,
            compression: Compression::None,
        }
    }

    /// What reading it costs, to compare: plain bytes nothing, Zstandard less than gzip.
    pub(super) fn effort(&self) -> u8 {
        match self.compression {
            Compression::None => 0,
            Compression::Zstd => 1,
            Compression::Gzip => 2,
        }
    }

    /// Unpacks the blob while it is read.
    pub(super) fn unpack<'a>(
        &self,
        blob: impl BufRead + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        scan::unpack(blob, self.compression)
    }
}

/// A form that was unpacked here, and whose tar has the layer's diff ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedForm(Form);

impl VerifiedForm {
    /// Only for what was hashed.
    pub(in crate::image) fn new(form: Form) -> Self {
        Self(form)
    }
}

impl std::ops::Deref for VerifiedForm {
    type Target = Form;

    fn deref(&self) -> &Form {
        &self.0
    }
}
