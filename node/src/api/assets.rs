//! `GET /assets/<blake3>`: icons and screenshots that a verified statement names; other names are the UI's files.

use std::sync::Arc;

use archy_registry::Blake3Hash;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::problem::{not_found, reply};
use super::{Api, Backend, ui};

/// Media types that are served; anything else is refused whatever a release says.
const MEDIA_TYPES: [&str; 4] = ["image/png", "image/svg+xml", "image/webp", "image/jpeg"];
/// Opened directly, an SVG must not run scripts or load anything.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox";

/// Shows an asset.
pub(super) async fn show<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let Ok(hash) = name.parse::<Blake3Hash>() else {
        return ui::serve(request).await;
    };
    let missing = || {
        reply(
            StatusCode::NOT_FOUND,
            not_found("This node does not hold that picture", ""),
        )
    };
    let Some(asset) = api.backend.asset(hash).await else {
        return missing();
    };
    let Some(media_type) = MEDIA_TYPES.iter().find(|known| **known == asset.media_type) else {
        return missing();
    };
    let mut response = asset.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // The name is the hash of the bytes.
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=31536000, immutable"),
    );
    response
}
