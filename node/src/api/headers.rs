//! Headers that every answer carries.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

/// Nothing but this node's own files; no framing, no plugins, no inline script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Adds them; a handler's own stricter policy and caching stay.
pub(super) async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    default(headers, CONTENT_SECURITY_POLICY, POLICY);
    default(headers, CACHE_CONTROL, "no-store");
    default(headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(headers, X_FRAME_OPTIONS, "DENY");
    default(headers, REFERRER_POLICY, "no-referrer");
    default(
        headers,
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    response
}

fn default(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers
        .entry(name)
        .or_insert(HeaderValue::from_static(value));
}
