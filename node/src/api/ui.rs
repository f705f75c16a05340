//! The web UI embedded in the binary; unknown paths without an extension are the UI's own pages.

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::problem::{not_found, reply};

#[derive(RustEmbed)]
#[folder = "../web/dist/"]
#[allow_missing = true]
struct Files;

/// Shown by an archyd that was built before the UI.
const PLACEHOLDER: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>archyd</title>
<h1>archyd is running without its web UI</h1>
<p>This archyd was built before the UI. Run <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code>, then build archyd again.</p>
<p>The API at <code>/rpc/v1</code> and the command <code>archy</code> work.</p>
</html>
";

/// Paths below these are never pages.
const API_PREFIXES: [&str; 6] = ["rpc/", "events", "session", "metrics", "blobs/", "v2/"];

/// Serves a file or the page.
pub(super) async fn serve(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let missing = || {
        reply(
            StatusCode::NOT_FOUND,
            not_found("There is nothing here", ""),
        )
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return missing();
    }
    if let Some(file) = Files::get(path).filter(|_| !path.is_empty()) {
        return answer(&request, path, file);
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    let lower = path.to_ascii_lowercase();
    // No page of the UI has such a path; whoever asks for one looks for files.
    if ["..", "\\", "%2e", "%2f", "%5c"]
        .iter()
        .any(|part| lower.contains(part))
    {
        return missing();
    }
    let is_api = API_PREFIXES.iter().any(|prefix| path.starts_with(prefix));
    if last.contains('.') || is_api || path.starts_with("ui/") {
        return missing();
    }
    match Files::get("index.html") {
        Some(page) => answer(&request, "index.html", page),
        None => Html(PLACEHOLDER).into_response(),
    }
}

fn answer(request: &Request, path: &str, file: EmbeddedFile) -> Response {
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{}\"", hex::encode(&hash[..16]));
    let known = request
        .headers()
        .get(IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.into_owned().into_response()
    };
    // Vite puts a hash of the content into the names below ui/.
    let cache = if path.starts_with("ui/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(media_type) = HeaderValue::from_str(file.metadata.mimetype()) {
        headers.insert(CONTENT_TYPE, media_type);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}
