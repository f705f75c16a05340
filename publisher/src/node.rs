//! The way to the node: JSON-RPC, blobs and events over its Unix socket.
//!
//! Whoever may open the socket is the node's owner, so there is no login here.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use archy_registry::Blake3Hash;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio_util::io::ReaderStream;

use crate::failure::{Class, Failure, chain};

pub mod events;
pub mod types;

use events::Events;
use types::Problem;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Pieces in which a blob is sent, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A node, by its socket.
#[derive(Debug)]
pub struct Node {
    socket: PathBuf,
    next_id: AtomicU64,
}

#[derive(Deserialize)]
struct Answer<R> {
    result: Option<R>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    message: String,
    data: Option<serde_json::Value>,
}

impl Node {
    /// Names the node that listens on `socket`; nothing is opened yet.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            next_id: AtomicU64::new(1),
        }
    }

    /// Calls a method.
    ///
    /// # Errors
    ///
    /// When the node does not answer, or with the node's own words when it refuses.
    pub async fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<R, Failure> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request =
            serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let body = Full::new(Bytes::from(request.to_string()))
            .map_err(|never| match never {})
            .boxed_unsync();
        let request = self
            .request(Method::POST, "/rpc/v1")
            .header(header::CONTENT_TYPE, "application/json");
        let (_, bytes) = self.exchange(finish(request, body)).await?;
        let answer: Answer<R> =
            serde_json::from_slice(&bytes).map_err(|error| self.nonsense(method, &error))?;
        match answer {
            Answer {
                error: Some(error), ..
            } => Err(error.into_failure()),
            Answer {
                result: Some(result),
                ..
            } => Ok(result),
            Answer {
                result: None,
                error: None,
            } => serde_json::from_value(serde_json::Value::Null)
                .map_err(|error| self.nonsense(method, &error)),
        }
    }

    /// Streams a blob of `size_bytes` bytes in, to be kept under `tag` and served.
    ///
    /// # Errors
    ///
    /// When the node does not answer or does not take it.
    pub async fn put_blob(
        &self,
        blake3: Blake3Hash,
        size_bytes: u64,
        tag: &str,
        bytes: impl AsyncRead + Send + 'static,
    ) -> Result<(), Failure> {
        let stream = ReaderStream::with_capacity(bytes, PIECE_BYTES).map_ok(Frame::data);
        let body = StreamBody::new(stream).boxed_unsync();
        let request = self
            .request(Method::PUT, &format!("/blobs/{blake3}?tag={tag}"))
            .header(header::CONTENT_LENGTH, size_bytes);
        let (status, answer) = self.exchange(finish(request, body)).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) => problem.into(),
            Err(_) => Failure::failed(
                "node",
                format!("the node answered {status} when it was given blob {blake3}"),
            ),
        })
    }

    /// Listens to what happens on the node from now on.
    ///
    /// # Errors
    ///
    /// When the node does not answer.
    pub async fn events(&self) -> Result<Events, Failure> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let mut tasks = JoinSet::new();
        let request = finish(self.request(Method::GET, "/events"), body);
        let response = self.send(request, &mut tasks).await?;
        if !response.status().is_success() {
            let text = format!(
                "the node answered {} when it was asked for events",
                response.status()
            );
            return Err(Failure::failed("node", text));
        }
        Ok(Events::new(response.into_body(), tasks))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(StatusCode, Bytes), Failure> {
        // The connection's task ends with this set.
        let mut tasks = JoinSet::new();
        let response = self.send(request, &mut tasks).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|error| self.unreachable(&error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    async fn send(
        &self,
        request: Request<Body>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&chain(&error)))?;
        tasks.spawn(async move {
            // What breaks the connection shows in the answer, or in the lack of one.
            let _ = connection.await;
        });
        sender
            .send_request(request)
            .await
            .map_err(|error| self.unreachable(&chain(&error)))
    }

    fn unreachable(&self, why: &str) -> Failure {
        let text = format!(
            "the node does not answer at {}: {why}",
            self.socket.display()
        );
        Failure::new(Class::Unreachable, "nodeUnreachable", text)
            .hint("Start it with: systemctl --user start archyd")
            .hint("If it runs elsewhere, name its socket with --node or ARCHY_NODE")
    }

    fn nonsense(&self, method: &str, error: &serde_json::Error) -> Failure {
        Failure::failed("node", format!("the node's answer to {method} cannot be read: {error}"))
            .hint("archy and archyd must be of one version; `archy --version` and `archyd --version` tell")
    }
}

impl RpcError {
    fn into_failure(self) -> Failure {
        match self
            .data
            .and_then(|data| serde_json::from_value::<Problem>(data).ok())
        {
            Some(problem) => problem.into(),
            None => Failure::failed("node", self.message),
        }
    }
}

fn finish(request: http::request::Builder, body: Body) -> Request<Body> {
    request
        .body(body)
        .expect("paths and headers are made of hashes, tags and numbers")
}
