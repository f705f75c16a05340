//! `GET /metrics`: Prometheus text format 0.0.4.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::{Api, Backend};

/// Shows them.
pub(super) async fn show<B: Backend>(State(api): State<Arc<Api<B>>>) -> Response {
    let mut text = String::new();
    if let Some(rss_bytes) = resident_bytes() {
        let _ = writeln!(
            text,
            "# HELP process_resident_memory_bytes Memory of the daemon.\n\
             # TYPE process_resident_memory_bytes gauge\n\
             process_resident_memory_bytes {rss_bytes}"
        );
    }
    text.push_str(&api.backend.metrics());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Reads `VmRSS` of `proc_pid_status(5)`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
