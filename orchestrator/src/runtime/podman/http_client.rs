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
    #[error("the answer is longer than {limit_bytes} bytes")]
    Long { limit_bytes: usize },
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

    /// Reads to the end; an answer of more than `limit_bytes` is an error, never cut.
    pub(super) async fn collect(mut self, limit_bytes: usize) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            if bytes.len() + piece.len() > limit_bytes {
                return Err(HttpError::Long { limit_bytes });
            }
            bytes.extend_from_slice(&piece);
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    /// Answers once with this many bytes in pieces.
    async fn answer(listener: UnixListener, pieces: usize) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].starts_with(b"GET /list "));
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        for _ in 0..pieces {
            // Whoever has enough hangs up.
            if stream.write_all(b"8\r\n[1,2,3] \r\n").await.is_err() {
                return;
            }
        }
        let _ = stream.write_all(b"0\r\n\r\n").await;
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_told_and_never_cut() {
        let place = tempfile::tempdir().unwrap();
        for (pieces, limit_bytes) in [(3, 24), (4, 24), (10_000, 24), (1, 0)] {
            let socket = place.path().join(format!("{pieces}.sock"));
            let listener = UnixListener::bind(&socket).unwrap();
            let collecting = async {
                let answer = send(&socket, Method::GET, "/list", Bytes::new()).await;
                answer.unwrap().body.collect(limit_bytes).await
            };
            let (collected, ()) = tokio::join!(collecting, answer(listener, pieces));
            if pieces * 8 <= limit_bytes {
                assert_eq!(collected.unwrap(), b"[1,2,3] ".repeat(pieces));
            } else {
                let error = collected.unwrap_err().to_string();
                let expected = format!("the answer is longer than {limit_bytes} bytes");
                assert_eq!(error, expected, "{pieces}");
            }
        }
    }
}
