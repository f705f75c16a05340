//! Makes a patch between the blobs of two layers, whatever their compression.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use archy_registry::release::{Delta, Descriptor};

use super::{Form, MakeError, make};
use crate::blob::BlobReader;
use crate::image::Packed;
use crate::image::content::Span;

/// Bytes read from disk at a time.
const READ_BYTES: usize = 256 * 1024;

/// A patch in a file of its own, which goes when this is dropped.
#[derive(Debug)]
pub struct Patch {
    /// What a release says of it.
    pub delta: Delta,
    file: tempfile::TempPath,
}

impl Patch {
    /// Opens its bytes.
    ///
    /// # Errors
    /// The file is gone or unreadable.
    pub async fn open(&self) -> io::Result<tokio::fs::File> {
        tokio::fs::File::open(&self.file).await
    }
}

/// Makes a patch from an earlier layer, whose blob is `old`, to a layer of a packed image. `work` takes the earlier
/// layer's tar for the time being, and the patch.
///
/// # Errors
/// [`MakeError::TooLong`] when the patch would have more than `size_bytes_max` bytes.
pub async fn between(
    form: Form,
    old: BlobReader,
    packed: &Packed,
    layer: &Descriptor,
    size_bytes_max: u64,
    work: &Path,
) -> Result<Patch, MakeError> {
    let missing = || MakeError::New(io::ErrorKind::NotFound.into());
    let new_form = Form::of_layer(layer).ok_or_else(missing)?;
    let span = packed.spans.get(&layer.digest).ok_or_else(missing)?.clone();
    let work = work.to_owned();
    let making = tokio::task::spawn_blocking(move || {
        let old = unpacked(form, old, &work).map_err(MakeError::Old)?;
        let new = unpacking(new_form, &span).map_err(MakeError::New)?;
        let mut file = tempfile::NamedTempFile::new_in(&work).map_err(MakeError::Write)?;
        let out = io::BufWriter::with_capacity(READ_BYTES, file.as_file_mut());
        let delta = make(old, new, size_bytes_max, out)?;
        for (what, made, signed) in [
            ("earlier layer", delta.from, form.diff_id),
            ("layer", delta.to, new_form.diff_id),
        ] {
            if made != signed {
                return Err(MakeError::Other { what, made, signed });
            }
        }
        Ok(Patch {
            delta,
            file: file.into_temp_path(),
        })
    });
    making
        .await
        .map_err(|error| MakeError::Old(io::Error::other(error)))?
}

/// Unpacks an earlier layer into a file, where any part of it can be read.
fn unpacked(form: Form, old: BlobReader, work: &Path) -> io::Result<File> {
    let mut tar = tempfile::tempfile_in(work)?;
    let mut old = form.unpack(BufReader::with_capacity(READ_BYTES, old))?;
    io::copy(&mut old, &mut tar)?;
    Ok(tar)
}

fn unpacking(form: Form, span: &Span) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(&span.path)?;
    file.seek(SeekFrom::Start(span.offset))?;
    let blob = file.take(span.size_bytes);
    form.unpack(BufReader::with_capacity(READ_BYTES, blob))
}
