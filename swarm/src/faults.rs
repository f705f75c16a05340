//! Providers that misbehave, for tests of whoever fetches. Compiled with the feature `faults` only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;
use bytes::Bytes;
use iroh::endpoint::{Connection, presets};
use iroh::protocol::{AcceptError, ProtocolHandler, Router};
use iroh_blobs::Hash;
use iroh_blobs::api::Store;
use iroh_blobs::protocol::{ChunkRanges, ChunkRangesExt, ERR_INTERNAL, GetRequest, Request};
use iroh_blobs::provider::events::EventSender;
use iroh_blobs::provider::{StreamPair, handle_get, handle_observe};
use iroh_blobs::store::mem::MemStore;
use tokio::task::JoinSet;

/// What a provider does wrong.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It accepts requests and never answers.
    Silent,
    /// It sends this many bytes of right answers, all requests together, and then nothing.
    StallsAfter(usize),
    /// It has this many bytes of every blob, in whole groups of 16 KiB, and breaks off where they end.
    HasOnly(u64),
    /// It flips a bit of the byte at this position of every answer that is so long.
    Lies(usize),
    /// It claims another size.
    Claims(u64),
    /// It claims everything and has nothing.
    Boasts,
    /// It closes the connection at once.
    HangsUp,
    /// It sends right answers one byte at a time, with this pause after each.
    Trickles(Duration),
    /// It sends right answers and then goes on for ever.
    Endless,
}

/// What an endless provider sends at a time, in bytes.
const ENDLESS_PIECE_BYTES: usize = 16 * 1024;

/// A bad peer could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a provider that misbehaves: {0}")]
pub struct StartError(String);

/// A provider that misbehaves.
#[derive(Debug)]
pub struct BadPeer {
    router: Router,
    /// What it should serve, and what it has of that.
    whole: MemStore,
    store: MemStore,
    hashes: Vec<Hash>,
    requests: Arc<AtomicUsize>,
    observed: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl BadPeer {
    /// Serves `blobs` from memory, wrongly, on a UDP address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(
        bind: SocketAddr,
        blobs: &[&[u8]],
        fault: Fault,
    ) -> Result<Self, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError(error.to_string());
        let whole = MemStore::new();
        let mut hashes = Vec::with_capacity(blobs.len());
        for data in blobs {
            let added = whole.add_slice(data).await;
            hashes.push(added.map_err(|error| failed(&error))?.hash);
        }
        let store = match fault {
            Fault::HasOnly(bytes) => {
                let part = MemStore::new();
                copy(&whole, &part, &hashes, ChunkRanges::bytes(0..bytes)).await?;
                part
            }
            Fault::Silent
            | Fault::StallsAfter(_)
            | Fault::Lies(_)
            | Fault::Claims(_)
            | Fault::Boasts
            | Fault::HangsUp
            | Fault::Trickles(_)
            | Fault::Endless => whole.clone(),
        };
        let endpoint = iroh::Endpoint::builder(presets::Minimal)
            .relay_mode(iroh::RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr(bind)
            .map_err(|error| failed(&error))?
            .bind()
            .await
            .map_err(|error| failed(&error))?;
        let requests = Arc::new(AtomicUsize::new(0));
        let observed = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let handler = Handler {
            store: store.clone(),
            fault,
            sent: AtomicUsize::new(0),
            requests: requests.clone(),
            observed: observed.clone(),
            is_over: is_over.clone(),
        };
        let router = Router::builder(endpoint)
            .accept(iroh_blobs::ALPN, handler)
            .spawn();
        Ok(Self {
            router,
            whole,
            store,
            hashes,
            requests,
            observed,
            is_over,
        })
    }

    /// Has it get what it lacks of its blobs.
    ///
    /// # Errors
    /// Its store is broken.
    pub async fn complete(&self) -> Result<(), StartError> {
        copy(&self.whole, &self.store, &self.hashes, ChunkRanges::all()).await
    }

    /// Has it answer all further requests rightly if it stalls.
    pub fn recover(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Returns the number of requests answered, rightly or not.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns how often somebody asked what it has.
    pub fn observed(&self) -> usize {
        self.observed.load(Ordering::Relaxed)
    }

    /// Returns where it listens.
    pub fn endpoint(&self) -> Endpoint {
        let addr = self.router.endpoint().addr();
        Endpoint {
            id: EndpointId::from_bytes(*addr.id.as_bytes()),
            addresses: addr.ip_addrs().copied().collect(),
            relays: vec![],
        }
    }
}

/// Copies the same ranges of some blobs.
async fn copy(
    from: &MemStore,
    to: &MemStore,
    hashes: &[Hash],
    ranges: ChunkRanges,
) -> Result<(), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError(error.to_string());
    for hash in hashes {
        let data = from.export_bao(*hash, ranges.clone()).bao_to_vec().await;
        let data = data.map_err(|error| failed(&error))?;
        let copied = to.import_bao_bytes(*hash, ranges.clone(), data).await;
        copied.map_err(|error| failed(&error))?;
    }
    Ok(())
}

#[derive(Debug)]
struct Handler {
    store: MemStore,
    fault: Fault,
    sent: AtomicUsize,
    requests: Arc<AtomicUsize>,
    observed: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Handler {
    /// The right answer to a request for bytes.
    async fn answer(&self, request: GetRequest) -> Option<Vec<u8>> {
        let ranges = request.ranges.iter().next()?.clone();
        let export = self.store.export_bao(request.hash, ranges);
        export.bao_to_vec().await.ok()
    }
}

impl ProtocolHandler for Handler {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        if matches!(self.fault, Fault::HangsUp) {
            connection.close(7u32.into(), b"no");
            return Ok(());
        }
        let mut held = Vec::new();
        // Whatever it does wrong, it claims rightly what it has.
        let mut observers = JoinSet::new();
        let mut getters = JoinSet::new();
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            let request = match Request::read_async(&mut receive).await {
                Ok((Request::Get(request), _)) => request,
                Ok((Request::Observe(request), _)) => {
                    self.observed.fetch_add(1, Ordering::Relaxed);
                    let pair = StreamPair::new(0, receive, send, EventSender::DEFAULT);
                    let store: Store = self.store.clone().into();
                    observers.spawn(handle_observe(pair, store, request));
                    continue;
                }
                Ok(_) | Err(_) => continue,
            };
            if matches!(self.fault, Fault::HasOnly(_)) {
                self.requests.fetch_add(1, Ordering::Relaxed);
                let pair = StreamPair::new(0, receive, send, EventSender::DEFAULT);
                getters.spawn(handle_get(pair, self.store.clone().into(), request));
                continue;
            }
            let Some(mut answer) = self.answer(request).await else {
                continue;
            };
            self.requests.fetch_add(1, Ordering::Relaxed);
            match self.fault {
                Fault::Boasts => {
                    send.reset(ERR_INTERNAL).ok();
                    continue;
                }
                Fault::Silent | Fault::HangsUp | Fault::HasOnly(_) => answer.clear(),
                Fault::StallsAfter(_) if self.is_over.load(Ordering::Relaxed) => {}
                Fault::StallsAfter(bytes) => {
                    answer.truncate(bytes.saturating_sub(self.sent.load(Ordering::Relaxed)));
                    self.sent.fetch_add(answer.len(), Ordering::Relaxed);
                }
                Fault::Lies(position) => {
                    if let Some(byte) = answer.get_mut(position) {
                        *byte ^= 1;
                    }
                }
                Fault::Claims(size) => answer[..8].copy_from_slice(&size.to_le_bytes()),
                Fault::Trickles(pause) => {
                    for byte in std::mem::take(&mut answer) {
                        let sent = send.write_chunk(Bytes::copy_from_slice(&[byte])).await;
                        if sent.is_err() {
                            break;
                        }
                        tokio::time::sleep(pause).await;
                    }
                }
                Fault::Endless => {
                    send.write_chunk(Bytes::from(std::mem::take(&mut answer)))
                        .await
                        .ok();
                    let piece = Bytes::from_static(&[0; ENDLESS_PIECE_BYTES]);
                    while send.write_chunk(piece.clone()).await.is_ok() {}
                }
            }
            send.write_chunk(Bytes::from(answer)).await.ok();
            held.push(send);
        }
        Ok(())
    }
}
