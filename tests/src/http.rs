//! The few words of HTTP that a test speaks to an app's page.

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Asks for `url` (`http://HOST:PORT/PATH`) and returns the status code.
///
/// # Errors
///
/// When nothing listens there or what answers is not HTTP.
pub async fn status(url: &str) -> anyhow::Result<u16> {
    let rest = url
        .strip_prefix("http://")
        .with_context(|| format!("{url} is not an http URL"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host)
        .await
        .with_context(|| format!("connecting to {url}"))?;
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .with_context(|| format!("asking {url}"))?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await
        .with_context(|| format!("reading {url}"))?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(
        answer.starts_with("HTTP/1."),
        "{url} answered what is not HTTP: {answer:.80}"
    );
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("an answer without a status")
}
