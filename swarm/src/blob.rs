//! A complete blob as something to read and to seek in; whoever reads checks what comes.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use bytes::Bytes;

/// The bytes of a blob, for code that blocks.
#[derive(Debug)]
pub struct BlobReader(Inner);

#[derive(Debug)]
enum Inner {
    Bytes(Cursor<Bytes>),
    File(std::fs::File),
}

impl BlobReader {
    pub(crate) fn of_bytes(bytes: Bytes) -> Self {
        Self(Inner::Bytes(Cursor::new(bytes)))
    }

    pub(crate) fn of_file(file: std::fs::File) -> Self {
        Self(Inner::File(file))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Bytes(bytes) => bytes.read(buffer),
            Inner::File(file) => file.read(buffer),
        }
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match &mut self.0 {
            Inner::Bytes(bytes) => bytes.seek(position),
            Inner::File(file) => file.seek(position),
        }
    }
}
