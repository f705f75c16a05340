//! The HTTP side of the endpoint: paths, methods, headers, streaming.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use archy_registry::{Blake3Hash, OciDigest};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use http::{HeaderMap, Method, StatusCode, Uri};
use tokio_util::sync::CancellationToken;

use super::arriving::slice;
use super::multipart::{self, Frame};
use super::range::{self, Part};
use super::{Item, Shelf, Source, arriving};
use crate::transport::{BlobState, Transport};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

struct Endpoint {
    transport: Arc<Transport>,
    shelf: Arc<Shelf>,
    /// Hash of the secret: comparing hashes takes the same time however much of a guess is right.
    secret: Blake3Hash,
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish<'a> {
    Ping,
    Manifest {
        secret: &'a str,
        repository: &'a str,
        digest: OciDigest,
    },
    Blob {
        secret: &'a str,
        repository: &'a str,
        digest: OciDigest,
    },
}

pub(super) fn router(transport: Arc<Transport>, shelf: Arc<Shelf>, secret: &str) -> Router {
    Router::new()
        .fallback(answer)
        .with_state(Arc::new(Endpoint {
            transport,
            shelf,
            secret: Blake3Hash::of(secret.as_bytes()),
        }))
}

async fn answer(
    State(endpoint): State<Arc<Endpoint>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED");
    }
    let (secret, repository, digest, manifest) = match parse(uri.path()) {
        None => return refusal(StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
        Some(Wish::Ping) => {
            let headers = [
                (API_VERSION, "registry/2.0"),
                (CONTENT_TYPE, "application/json"),
            ];
            return (headers, "{}").into_response();
        }
        Some(Wish::Manifest {
            secret,
            repository,
            digest,
        }) => (secret, repository, digest, true),
        Some(Wish::Blob {
            secret,
            repository,
            digest,
        }) => (secret, repository, digest, false),
    };
    let unknown = if manifest {
        "MANIFEST_UNKNOWN"
    } else {
        "BLOB_UNKNOWN"
    };
    if Blake3Hash::of(secret.as_bytes()) != endpoint.secret {
        return refusal(StatusCode::NOT_FOUND, unknown);
    }
    let Some((item, withdrawn)) = endpoint.shelf.find(repository, &digest) else {
        return refusal(StatusCode::NOT_FOUND, unknown);
    };
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
    match send(
        &endpoint,
        &item,
        &digest,
        manifest,
        range,
        (method == Method::GET).then_some(withdrawn),
    )
    .await
    {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, %digest, "an image blob cannot be read");
            refusal(StatusCode::NOT_FOUND, unknown)
        }
    }
}

/// Splits a path of the distribution API; anything else is `None`.
fn parse(path: &str) -> Option<Wish<'_>> {
    let rest = path.strip_prefix("/v2")?;
    if rest.is_empty() || rest == "/" {
        return Some(Wish::Ping);
    }
    let (secret, rest) = rest.strip_prefix('/')?.split_once('/')?;
    let (rest, digest) = rest.rsplit_once('/')?;
    let digest = digest.parse().ok()?;
    if let Some(repository) = rest.strip_suffix("/manifests") {
        return Some(Wish::Manifest {
            secret,
            repository,
            digest,
        });
    }
    let repository = rest.strip_suffix("/blobs")?;
    Some(Wish::Blob {
        secret,
        repository,
        digest,
    })
}

async fn send(
    endpoint: &Endpoint,
    item: &Item,
    digest: &OciDigest,
    manifest: bool,
    range: Option<&str>,
    body: Option<CancellationToken>,
) -> io::Result<Response> {
    let size_bytes = item.size_bytes;
    let content = match body {
        None => None,
        Some(withdrawn) => Some(Content::of(endpoint, item, withdrawn).await?),
    };
    let media_type = if manifest {
        item.media_type.as_str()
    } else {
        "application/octet-stream"
    };
    let mut response = match range::parse(range, size_bytes) {
        Part::Whole => one(content.as_ref(), media_type, 0..size_bytes),
        Part::Bytes(part) => {
            let mut response = one(content.as_ref(), media_type, part.clone());
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = multipart::content_range(&part, size_bytes);
            insert(&mut response, CONTENT_RANGE, &range);
            response
        }
        Part::Several(parts) => {
            let frame = Frame::new(media_type, size_bytes)?;
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert(&mut response, CONTENT_TYPE, &frame.content_type());
            insert(
                &mut response,
                CONTENT_LENGTH,
                &frame.length(&parts).to_string(),
            );
            if let Some(content) = content {
                *response.body_mut() = Body::from_stream(content.several(frame, parts));
            }
            response
        }
        Part::Unsatisfiable => {
            let mut response = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID");
            let range = format!("bytes */{size_bytes}");
            insert(&mut response, CONTENT_RANGE, &range);
            return Ok(response);
        }
    };
    insert(&mut response, CONTENT_DIGEST, &digest.to_string());
    insert(&mut response, ACCEPT_RANGES, "bytes");
    insert(&mut response, API_VERSION, "registry/2.0");
    Ok(response)
}

/// Answers with one part, without its bytes when there is no content.
fn one(content: Option<&Content>, media_type: &str, part: Range<u64>) -> Response {
    let length = part.end - part.start;
    let body = content.map(|content| Body::from_stream(content.part(part)));
    let mut response = Response::new(body.unwrap_or_default());
    insert(&mut response, CONTENT_TYPE, media_type);
    insert(&mut response, CONTENT_LENGTH, &length.to_string());
    response
}

/// The bytes of what is served, at once or as they arrive.
struct Content {
    transport: Arc<Transport>,
    source: Source,
    is_whole: bool,
    withdrawn: CancellationToken,
}

impl Content {
    async fn of(
        endpoint: &Endpoint,
        item: &Item,
        withdrawn: CancellationToken,
    ) -> io::Result<Self> {
        let is_whole = match &item.source {
            Source::Memory(_) => true,
            Source::Blob(blob) => {
                let state = endpoint.transport.store().state(*blob).await;
                let state = state.map_err(io::Error::other)?;
                matches!(state, BlobState::Complete { .. })
            }
        };
        Ok(Self {
            transport: endpoint.transport.clone(),
            source: item.source.clone(),
            is_whole,
            withdrawn,
        })
    }

    fn part(&self, part: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        match &self.source {
            Source::Memory(bytes) => {
                let bytes = slice(bytes, &part);
                stream::once(async { bytes }).left_stream()
            }
            Source::Blob(blob) => {
                let (transport, withdrawn) = (&self.transport, self.withdrawn.clone());
                arriving::read(transport, *blob, part, self.is_whole, withdrawn).right_stream()
            }
        }
    }

    /// Returns parts in a frame, each opened when its turn comes.
    fn several(
        self,
        frame: Frame,
        parts: Vec<Range<u64>>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let tail = frame.tail();
        let parts = stream::iter(parts).flat_map(move |part| {
            let head = frame.head(&part);
            stream::once(async { Ok(head) }).chain(self.part(part))
        });
        parts.chain(stream::once(async { Ok(tail) }))
    }
}

fn insert(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}

/// An error body as the distribution specification wants it (`spec.md#error-codes`).
fn refusal(status: StatusCode, code: &str) -> Response {
    let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_content_by_digest_has_a_path() {
        let digest = OciDigest::from_sha256([7; 32]);
        let path = format!("/v2/s/a/b/blobs/{digest}");
        assert_eq!(
            parse(&path),
            Some(Wish::Blob {
                secret: "s",
                repository: "a/b",
                digest
            })
        );
        assert_eq!(parse("/v2/"), Some(Wish::Ping));
        for path in [
            "/",
            "/v2x",
            "/v2/_catalog",
            "/v2/s/a/tags/list",
            "/v2/s/a/manifests/latest",
            "/v2/s/a/blobs/sha256:AA",
            "/v2/s/a/blobs/uploads/",
            "/v1/s/a/blobs/x",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
