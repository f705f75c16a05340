//! The API: JSON-RPC 2.0, server-sent events, sessions, the embedded UI, and the types they share with clients.
//!
//! Speaks in the wire types of [`types`] and asks a [`Backend`] for everything; knows no podman, iroh or Nostr.

mod assets;
mod backend;
mod blobs;
mod events;
mod guard;
mod headers;
mod metrics;
mod problem;
mod rpc;
mod serve;
mod session;
pub mod types;
mod ui;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Router, middleware};
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use crate::auth::Auth;
pub use backend::{AssetBody, Backend, BlobStream, ProvideError};
pub use events::Hub;
pub use guard::Hosts;
pub use problem::{not_found, problem};
pub use serve::{ServeError, bind_unix, serve_tcp, serve_unix};

/// Largest body of a request in bytes, blobs on the Unix socket apart.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// A request that takes longer is answered with 408.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// What the handlers share.
pub struct Api<B> {
    /// Answers the methods.
    pub backend: B,
    /// Who may use them.
    pub auth: Auth,
    /// Names under which a browser may reach them.
    pub hosts: Hosts,
    /// What happened.
    pub hub: Hub,
    /// Shown before log-in.
    pub node_name: String,
    /// Ends event streams at shutdown.
    pub stop: CancellationToken,
    module: jsonrpsee::RpcModule<()>,
}

impl<B: Backend> Api<B> {
    /// Puts the API together.
    pub fn new(
        backend: B,
        auth: Auth,
        hosts: Hosts,
        hub: Hub,
        node_name: String,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new_cyclic(|api| Self {
            module: rpc::module(api.clone()),
            backend,
            auth,
            hosts,
            hub,
            node_name,
            stop,
        })
    }
}

/// Builds the router for TCP: every request passes the guard.
pub fn tcp_router<B: Backend>(api: &Arc<Api<B>>) -> Router {
    let protected = protected(api)
        .route("/session/logout", post(session::logout))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(api),
            guard::session,
        ));
    let pictures = pictures(api).route_layer(middleware::from_fn_with_state(
        Arc::clone(api),
        guard::cookie,
    ));
    Router::new()
        .merge(protected)
        .merge(pictures)
        .route("/session", get(session::show))
        .route("/session/claim", post(session::claim))
        .route("/session/login", post(session::login))
        .fallback(ui::serve)
        .layer(middleware::from_fn_with_state(
            Arc::clone(api),
            guard::host_and_origin,
        ))
        .layer(middleware::map_response(headers::secure))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIME_MAX,
        ))
        .with_state(Arc::clone(api))
}

/// Builds the router for the Unix socket: whoever may open it is the owner.
pub fn unix_router<B: Backend>(api: &Arc<Api<B>>) -> Router {
    protected(api)
        .merge(pictures(api))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIME_MAX,
        ))
        .route("/session", get(session::show_owner))
        // Bodies as large as image layers, as slow as the disk.
        .route("/blobs/{hash}", put(blobs::provide))
        .layer(middleware::map_response(headers::secure))
        .with_state(Arc::clone(api))
}

fn protected<B: Backend>(_: &Arc<Api<B>>) -> Router<Arc<Api<B>>> {
    Router::new()
        .route("/rpc/v1", post(rpc::handle))
        .route("/events", get(events::stream))
        .route("/metrics", get(metrics::show))
}

fn pictures<B: Backend>(_: &Arc<Api<B>>) -> Router<Arc<Api<B>>> {
    Router::new().route("/assets/{name}", get(assets::show))
}
