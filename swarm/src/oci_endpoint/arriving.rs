//! The bytes of a blob in order, also while it is still being fetched: waits for what is not here, never skips, never
//! ends early.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;

use archy_registry::Blake3Hash;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use n0_future::StreamExt;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::reading::Reader;
use crate::transport::{Opened, Transport};

/// Bytes handed over at a time.
const PIECE_BYTES: u64 = 512 * 1024;

struct Arriving {
    transport: Arc<Transport>,
    blob: Blake3Hash,
    left: Range<u64>,
    here: Pin<Box<dyn Stream<Item = Vec<Range<u64>>> + Send>>,
    /// How far from the start of `left` everything is here.
    upto: u64,
    /// Where the bytes are, once there is a file of them.
    file: Option<Arc<File>>,
    reader: Reader,
    withdrawn: CancellationToken,
}

/// Returns a part of a blob as a stream; of one that is not whole an error once it is withdrawn, so that a reader sees
/// the connection break instead of a short answer.
pub(super) fn read(
    transport: &Arc<Transport>,
    blob: Blake3Hash,
    part: Range<u64>,
    is_whole: bool,
    withdrawn: CancellationToken,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let arriving = Arriving {
        transport: transport.clone(),
        blob,
        upto: if is_whole { part.end } else { part.start },
        file: None,
        reader: transport.readers().enter(blob, part.start),
        left: part,
        here: Box::pin(transport.store().arrivals(blob)),
        withdrawn,
    };
    stream::try_unfold(arriving, |mut arriving| async move {
        if arriving.left.is_empty() {
            return Ok(None);
        }
        let bytes = arriving.next().await?;
        Ok(Some((bytes, arriving)))
    })
}

impl Arriving {
    async fn next(&mut self) -> io::Result<Bytes> {
        while self.upto <= self.left.start {
            let here = tokio::select! {
                here = self.here.next() => here,
                () = self.withdrawn.cancelled() => return Err(gone()),
            };
            let here = here.ok_or_else(gone)?;
            let around = here.iter().find(|range| range.contains(&self.left.start));
            if let Some(range) = around {
                self.upto = range.end.min(self.left.end);
            }
        }
        let end = self.upto.min(self.left.start + PIECE_BYTES);
        let bytes = self.read(self.left.start..end).await?;
        if bytes.len() as u64 != end - self.left.start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left.start = end;
        self.reader.move_to(end);
        Ok(bytes)
    }

    async fn read(&mut self, part: Range<u64>) -> io::Result<Bytes> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => match self.transport.store().open_blob(self.blob).await? {
                Opened::Bytes(bytes) => return slice(&bytes, &part),
                Opened::File(file) => self.file.insert(Arc::new(file)).clone(),
            },
        };
        let length = usize::try_from(part.end - part.start).map_err(io::Error::other)?;
        let read = move || {
            let mut bytes = BytesMut::zeroed(length);
            file.read_exact_at(&mut bytes, part.start)?;
            Ok(bytes.freeze())
        };
        spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

/// Returns a part of bytes that are in memory.
pub(super) fn slice(bytes: &Bytes, part: &Range<u64>) -> io::Result<Bytes> {
    let start = usize::try_from(part.start).map_err(io::Error::other)?;
    let end = usize::try_from(part.end).map_err(io::Error::other)?;
    if start <= end && end <= bytes.len() {
        Ok(bytes.slice(start..end))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the image is no longer on offer",
    )
}
