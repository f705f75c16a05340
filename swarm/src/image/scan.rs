//! Hashes a blob, and what it unpacks to, in one pass over its bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use archy_registry::{Blake3Hash, OciDigest};
use sha2::{Digest, Sha256};

use super::PackError;
use super::content::Span;
use super::model::{self, Compression, UNPACKED_SIZE_BYTES_MAX};

/// Bytes read from disk at a time.
const READ_BYTES: usize = 256 * 1024;

/// What a pass over a blob found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scanned {
    pub(super) blake3: Blake3Hash,
    digest: OciDigest,
    size_bytes: u64,
    /// SHA-256 of the unpacked layer, or why it does not unpack.
    diff_id: Option<Result<OciDigest, String>>,
}

impl Scanned {
    /// Compares with what the image says.
    pub(super) fn check(
        &self,
        blob: &model::Descriptor,
        diff_id: Option<OciDigest>,
    ) -> Result<(), PackError> {
        let damaged = |reason: String| PackError::Damaged {
            digest: blob.digest,
            reason,
        };
        if self.size_bytes != blob.size {
            let (here, said) = (self.size_bytes, blob.size);
            return Err(damaged(format!("it has {here} bytes instead of {said}")));
        }
        if self.digest != blob.digest {
            return Err(damaged(format!("its bytes are {}", self.digest)));
        }
        match (diff_id, &self.diff_id) {
            (Some(expected), Some(Ok(actual))) if *actual != expected => Err(PackError::DiffId {
                digest: blob.digest,
                expected,
                actual: *actual,
            }),
            (Some(_), Some(Err(reason))) => Err(damaged(format!("it does not unpack: {reason}"))),
            _ => Ok(()),
        }
    }
}

/// Reads a blob once. `unpack` says how it is compressed when its diff ID is wanted.
pub(super) async fn scan(span: Span, unpack: Option<Compression>) -> Result<Scanned, PackError> {
    let path = span.path.clone();
    let scan = tokio::task::spawn_blocking(move || {
        let mut file = File::open(&span.path)?;
        file.seek(SeekFrom::Start(span.offset))?;
        scan_reader(file.take(span.size_bytes), unpack)
    });
    scan.await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| PackError::io("read", path, error))
}

fn scan_reader(reader: impl Read + Send, unpack: Option<Compression>) -> io::Result<Scanned> {
    let mut tee = Tee {
        reader,
        digest: Sha256::new(),
        blake3: blake3::Hasher::new(),
        size_bytes: 0,
        failed: None,
    };
    let mut buffered = BufReader::with_capacity(READ_BYTES, &mut tee);
    let diff_id =
        unpack.map(|compression| self::unpack(&mut buffered, compression).and_then(digest_of));
    // A decoder may stop before the end; the blob's own hashes cover all of it.
    io::copy(&mut buffered, &mut io::sink())?;
    if let Some(error) = tee.failed {
        return Err(error);
    }
    Ok(Scanned {
        blake3: Blake3Hash::from_bytes(*tee.blake3.finalize().as_bytes()),
        digest: OciDigest::from_sha256(tee.digest.finalize().into()),
        size_bytes: tee.size_bytes,
        diff_id: diff_id.map(|outcome| outcome.map_err(|error| error.to_string())),
    })
}

/// Unpacks a layer's blob while it is read.
pub(super) fn unpack<'a>(
    blob: impl BufRead + Send + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(blob),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(blob)?),
    })
}

fn digest_of(reader: impl Read) -> io::Result<OciDigest> {
    let mut hasher = Sha256::new();
    let copied = io::copy(
        &mut reader.take(UNPACKED_SIZE_BYTES_MAX + 1),
        &mut Sink(&mut hasher),
    )?;
    if copied > UNPACKED_SIZE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it unpacks to more than {UNPACKED_SIZE_BYTES_MAX} bytes"
        )));
    }
    Ok(OciDigest::from_sha256(hasher.finalize().into()))
}

struct Sink<'a>(&'a mut Sha256);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes what passes through, and keeps apart a failing disk from a failing decoder.
struct Tee<R> {
    reader: R,
    digest: Sha256,
    blake3: blake3::Hasher,
    size_bytes: u64,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.reader.read(buffer) {
            Ok(read) => read,
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                return Err(kind.into());
            }
        };
        self.digest.update(&buffer[..read]);
        self.blake3.update(&buffer[..read]);
        self.size_bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, data).unwrap();
        encoder.finish().unwrap()
    }

    fn sha256(data: &[u8]) -> OciDigest {
        OciDigest::from_sha256(Sha256::digest(data).into())
    }

    /// Gives out a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(buffer.len()).min(self.0.len());
            let (now, later) = self.0.split_at(len);
            buffer[..len].copy_from_slice(now);
            self.0 = later;
            Ok(len)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn one_pass_agrees_with_hashing_each_by_itself(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..4),
            step in 1..700usize,
            form in 0..3u8,
        ) {
            // Several gzip members or zstd frames in a row are one layer.
            let encode = |part: &Vec<u8>| match form {
                0 => part.clone(),
                1 => gzip(part),
                _ => zstd::encode_all(&part[..], 1).unwrap(),
            };
            let stored: Vec<u8> = parts.iter().flat_map(encode).collect();
            let plain: Vec<u8> = parts.concat();
            let compression = [Compression::None, Compression::Gzip, Compression::Zstd][usize::from(form)];
            let scanned = scan_reader(Trickle(&stored, step), Some(compression)).unwrap();
            prop_assert_eq!(scanned.digest, sha256(&stored));
            prop_assert_eq!(scanned.blake3, Blake3Hash::of(&stored));
            prop_assert_eq!(scanned.size_bytes, stored.len() as u64);
            prop_assert_eq!(scanned.diff_id, Some(Ok(sha256(&plain))));
        }
    }

    #[test]
    fn what_does_not_unpack_is_still_hashed() {
        let mut stored = gzip(&[7; 10_000]);
        stored.truncate(30);
        let scanned = scan_reader(&stored[..], Some(Compression::Gzip)).unwrap();
        assert_eq!(scanned.digest, sha256(&stored));
        assert!(matches!(scanned.diff_id, Some(Err(_))));
    }
}
