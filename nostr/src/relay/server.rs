//! Accepts connections, counts them, and tells the WebSocket requests from those for the information document.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::store::Store;
use super::{Config, info, session};
use crate::bucket::{Bucket, Rate};
use crate::event::{Event, Pubkey};

/// New events that a client may be behind; a slower one is disconnected.
const FRESH_CAPACITY: usize = 1024;
/// Addresses and authors whose rates are remembered; beyond it those with full buckets are forgotten.
const RATES_MAX: usize = 10_000;

type Body = Full<bytes::Bytes>;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) config: Config,
    pub(super) store: Arc<Store>,
    /// Every event that was taken, for the live subscriptions.
    pub(super) fresh: broadcast::Sender<Arc<Event>>,
    pub(super) cancel: CancellationToken,
    tasks: TaskTracker,
    connections: Mutex<Connections>,
    authors: Mutex<Rates<Pubkey>>,
    addresses: Mutex<Rates<IpAddr>>,
}

#[derive(Debug, Default)]
struct Connections {
    all: usize,
    per_address: HashMap<IpAddr, usize>,
}

/// A bucket per key, in bounded memory.
#[derive(Debug)]
struct Rates<K> {
    rate: Rate,
    buckets: HashMap<K, Bucket>,
}

impl<K: std::hash::Hash + Eq> Rates<K> {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: HashMap::new(),
        }
    }

    fn take(&mut self, key: K, now: Instant) -> bool {
        if self.buckets.len() >= RATES_MAX && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= RATES_MAX {
                return false;
            }
        }
        let rate = self.rate;
        self.buckets
            .entry(key)
            .or_insert_with(|| Bucket::new(rate, now))
            .take(now)
            .is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(super) fn new(
        config: Config,
        store: Arc<Store>,
        cancel: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            authors: Mutex::new(Rates::new(config.limits.events_per_author)),
            addresses: Mutex::new(Rates::new(config.limits.events_per_address)),
            connections: Mutex::default(),
            fresh: broadcast::channel(FRESH_CAPACITY).0,
            config,
            store,
            cancel,
            tasks,
        }
    }

    /// Notes an event of an author; false when there were too many.
    pub(super) fn author_may_write(&self, author: Pubkey) -> bool {
        lock(&self.authors).take(author, Instant::now())
    }

    /// Notes an event from an address; false when there were too many.
    pub(super) fn address_may_write(&self, address: IpAddr) -> bool {
        lock(&self.addresses).take(address, Instant::now())
    }

    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let limits = &self.config.limits;
        let mut connections = lock(&self.connections);
        if connections.all >= limits.connections_max {
            return None;
        }
        let of_address = connections.per_address.entry(address).or_default();
        if *of_address >= limits.connections_per_address_max {
            return None;
        }
        *of_address += 1;
        connections.all += 1;
        Some(Admitted {
            hub: Arc::clone(self),
            address,
        })
    }
}

/// The right to be connected; given back when dropped.
#[derive(Debug)]
struct Admitted {
    hub: Arc<Hub>,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut connections = lock(&self.hub.connections);
        connections.all -= 1;
        if let Some(of_address) = connections.per_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                connections.per_address.remove(&self.address);
            }
        }
    }
}

/// One address for what one party controls: IPv6 networks are handed out as /64 at least.
fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

/// Removes expired events until the relay stops.
pub(super) async fn sweep(hub: Arc<Hub>) {
    let mut ticks = interval(hub.config.limits.sweep_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while hub.cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        match hub.store.sweep(hub.config.clock.now()).await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "relay removed expired events"),
            Err(error) => tracing::warn!(%error, "relay could not remove expired events"),
        }
    }
}

/// Accepts connections until the relay stops.
pub(super) async fn accept(hub: Arc<Hub>, listener: TcpListener) {
    loop {
        let Some(accepted) = hub.cancel.run_until_cancelled(listener.accept()).await else {
            return;
        };
        match accepted {
            Ok((stream, address)) => {
                let address = party(address.ip());
                // Beyond the limits the connection is closed unread: an answer would cost what it guards.
                if let Some(admitted) = hub.admit(address) {
                    hub.tasks
                        .spawn(serve(Arc::clone(&hub), stream, Arc::new(admitted)));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "relay could not accept a connection");
                // Out of file descriptors, most likely: accepting again at once would fail again.
                let pause = tokio::time::sleep(std::time::Duration::from_millis(200));
                hub.cancel.run_until_cancelled(pause).await;
            }
        }
    }
}

async fn serve(hub: Arc<Hub>, stream: TcpStream, admitted: Arc<Admitted>) {
    let service_hub = Arc::clone(&hub);
    let service = service_fn(move |request| {
        let response = answer(&service_hub, &admitted, request);
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(hub.config.limits.head_patience)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Some(Err(error)) = hub.cancel.run_until_cancelled(connection).await {
        tracing::debug!(%error, "relay lost a connection");
    }
}

fn answer(
    hub: &Arc<Hub>,
    admitted: &Arc<Admitted>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let response = if wants_websocket(request.method(), request.headers()) {
        upgrade(hub, admitted, &mut request)
    } else if *request.method() == Method::OPTIONS {
        respond(StatusCode::NO_CONTENT, "text/plain", String::new())
    } else if *request.method() != Method::GET {
        respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", String::new())
    } else if header_has(request.headers(), &ACCEPT, "application/nostr+json") {
        let document = info::document(&hub.config).to_string();
        respond(StatusCode::OK, "application/nostr+json", document)
    } else {
        let text = "A Nostr relay: connect with a Nostr client.\n".to_owned();
        respond(StatusCode::OK, "text/plain; charset=utf-8", text)
    };
    with_cors(response)
}

fn respond(status: StatusCode, media_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// NIP-11: the document is for every origin.
fn with_cors(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_HEADERS] {
        headers.insert(name, HeaderValue::from_static("*"));
    }
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, OPTIONS"),
    );
    response
}

fn header_has(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| {
            let part = part.split(';').next().unwrap_or_default();
            part.trim().eq_ignore_ascii_case(wanted)
        })
}

fn wants_websocket(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::GET
        && header_has(headers, &CONNECTION, "upgrade")
        && header_has(headers, &UPGRADE, "websocket")
}

/// The opening handshake of RFC 6455, section 4.2.
fn upgrade(
    hub: &Arc<Hub>,
    admitted: &Arc<Admitted>,
    request: &mut Request<Incoming>,
) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        let text = "Sec-WebSocket-Key is missing\n".to_owned();
        return respond(StatusCode::BAD_REQUEST, "text/plain", text);
    };
    let accept = derive_accept_key(key.as_bytes());
    if !header_has(request.headers(), &SEC_WEBSOCKET_VERSION, "13") {
        let mut response = respond(StatusCode::UPGRADE_REQUIRED, "text/plain", String::new());
        let headers = response.headers_mut();
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    let upgraded = hyper::upgrade::on(request);
    let (hub, admitted) = (Arc::clone(hub), Arc::clone(admitted));
    let tasks = hub.tasks.clone();
    tasks.spawn(async move {
        let stream = match upgraded.await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "relay lost a connection in the handshake");
                return;
            }
        };
        let max = hub.config.limits.message_bytes_max;
        let config = WebSocketConfig::default()
            .read_buffer_size(8 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * max)
            .max_message_size(Some(max))
            .max_frame_size(Some(max));
        let stream = TokioIo::new(stream);
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        session::run(hub, socket, admitted.address).await;
        drop(admitted);
    });
    let mut response = respond(StatusCode::SWITCHING_PROTOCOLS, "text/plain", String::new());
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&accept).expect("Base64 is a header value");
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_one_party() {
        let party = |text: &str| party(text.parse().unwrap()).to_string();
        assert_eq!(party("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(party("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(party("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn rates_forget_only_those_at_rest() {
        let now = Instant::now();
        let mut rates = Rates::new(Rate::per_minute(1));
        for key in 0..RATES_MAX {
            assert!(rates.take(key, now));
        }
        assert!(!rates.take(RATES_MAX, now), "every bucket is in use");
        let later = now + std::time::Duration::from_secs(61);
        assert!(rates.take(RATES_MAX, later));
        assert_eq!(rates.buckets.len(), 1);
    }
}
