//! The HTTP side of the endpoint: paths, methods, headers, streaming.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use archy_registry::{Blake3Hash, OciDigest};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use http::{HeaderMap, Method, StatusCode, Uri};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::range::{self, Part};
use super::{Item, Shelf, Source, arriving};
use crate::transport::{BlobState, Opened, Transport};

/// Bytes read from disk at a time.
const READ_BYTES: usize = 256 * 1024;
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
    let (status, part) = match range::parse(range, size_bytes) {
        Part::Whole => (StatusCode::OK, 0..size_bytes),
        Part::Bytes(part) => (StatusCode::PARTIAL_CONTENT, part),
        Part::Unsatisfiable => {
            let mut response = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID");
            insert(
                &mut response,
                CONTENT_RANGE,
                &format!("bytes */{size_bytes}"),
            );
            return Ok(response);
        }
    };
    let length = part.end - part.start;
    let body = match body {
        None => Body::empty(),
        Some(withdrawn) => content(endpoint, item, part.clone(), withdrawn).await?,
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = if manifest {
        item.media_type.as_str()
    } else {
        "application/octet-stream"
    };
    insert(&mut response, CONTENT_TYPE, content_type);
    insert(&mut response, CONTENT_LENGTH, &length.to_string());
    insert(&mut response, CONTENT_DIGEST, &digest.to_string());
    insert(&mut response, ACCEPT_RANGES, "bytes");
    insert(&mut response, API_VERSION, "registry/2.0");
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = (part.start, part.end - 1);
        insert(
            &mut response,
            CONTENT_RANGE,
            &format!("bytes {first}-{last}/{size_bytes}"),
        );
    }
    Ok(response)
}

/// Returns a part of what is served, at once or as it arrives.
async fn content(
    endpoint: &Endpoint,
    item: &Item,
    part: Range<u64>,
    withdrawn: CancellationToken,
) -> io::Result<Body> {
    let blob = match &item.source {
        Source::Blob(blob) => *blob,
        Source::Memory(bytes) => {
            let at = |place: u64| usize::try_from(place).map_err(io::Error::other);
            return Ok(Body::from(bytes.slice(at(part.start)?..at(part.end)?)));
        }
    };
    let store = endpoint.transport.store();
    let state = store.state(blob).await.map_err(io::Error::other)?;
    if !matches!(state, BlobState::Complete { .. }) {
        let arriving = arriving::read(&endpoint.transport, blob, part, withdrawn);
        return Ok(Body::from_stream(arriving));
    }
    let length = part.end - part.start;
    Ok(match store.open_range(blob, part).await? {
        Opened::Bytes(bytes) => Body::from(bytes),
        Opened::File(file) => {
            Body::from_stream(ReaderStream::with_capacity(file.take(length), READ_BYTES))
        }
    })
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
