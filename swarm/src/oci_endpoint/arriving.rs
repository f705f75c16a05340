//! The bytes of a blob in order, while it is still being fetched: waits for what is not here, never skips, never
//! ends early.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use archy_registry::Blake3Hash;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use n0_future::StreamExt;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use crate::reading::Reader;
use crate::transport::{Opened, Transport};

/// Bytes handed over at a time.
const PIECE_BYTES: u64 = 256 * 1024;

struct Arriving {
    transport: Arc<Transport>,
    blob: Blake3Hash,
    left: Range<u64>,
    here: Pin<Box<dyn Stream<Item = Vec<Range<u64>>> + Send>>,
    /// How far from the start of `left` everything is here.
    upto: u64,
    reader: Reader,
    withdrawn: CancellationToken,
}

/// Returns a part of a blob as a stream; an error once the blob is withdrawn, so that a reader sees the connection
/// break instead of a short answer.
pub(super) fn read(
    transport: &Arc<Transport>,
    blob: Blake3Hash,
    part: Range<u64>,
    withdrawn: CancellationToken,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let arriving = Arriving {
        transport: transport.clone(),
        blob,
        upto: part.start,
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
        let part = self.left.start..end;
        let store = self.transport.store();
        let bytes = match store.open_range(self.blob, part.clone()).await? {
            Opened::Bytes(bytes) => bytes,
            Opened::File(file) => {
                let mut bytes = Vec::new();
                file.take(end - part.start).read_to_end(&mut bytes).await?;
                bytes.into()
            }
        };
        if bytes.len() as u64 != end - part.start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left.start = end;
        self.reader.move_to(end);
        Ok(bytes)
    }
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the image is no longer on offer",
    )
}
