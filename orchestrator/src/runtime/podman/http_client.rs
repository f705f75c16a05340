//! HTTP over podman's Unix socket: a connection per request, so that a restarted podman needs no special case.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("the request is malformed")]
    Request(#[source] http::Error),
}

type Connection = http1::Connection<TokioIo<UnixStream>, Full<Bytes>>;

/// An answer whose body may still be on its way.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// A body and the connection that brings it: reading the one drives the other, so that no task is needed.
pub(super) struct Body {
    incoming: Incoming,
    connection: Option<Pin<Box<Connection>>>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

impl Body {
    /// Waits for the next piece; `None` at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let frame = poll_fn(|context| self.poll_frame(context)).await;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(HttpError::Broken(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            self.connection = None;
        }
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    /// Reads to the end, at most `limit` bytes of it.
    pub(super) async fn collect(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            let room = limit.saturating_sub(bytes.len());
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Ok(bytes)
    }
}

/// Sends one request and returns when the head of the answer is there.
pub(super) async fn send(
    socket: &Path,
    method: Method,
    path_and_query: &str,
    body: Bytes,
) -> Result<Answer, HttpError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(HttpError::Connect)?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(HttpError::Broken)?;
    let mut connection = Some(Box::pin(connection));
    let request = Request::builder()
        .method(method)
        .uri(path_and_query)
        .header("Host", "podman")
        .header("Connection", "close")
        .body(Full::new(body))
        .map_err(HttpError::Request)?;
    let mut response = Box::pin(sender.send_request(request));
    let response = poll_fn(|context| {
        if let Some(driven) = &mut connection
            && driven.as_mut().poll(context).is_ready()
        {
            connection = None;
        }
        response.as_mut().poll(context)
    })
    .await
    .map_err(HttpError::Broken)?;
    let (head, incoming) = response.into_parts();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: Body {
            incoming,
            connection,
        },
    })
}
