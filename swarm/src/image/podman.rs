//! Exports an image from podman's store over its REST socket.

use std::path::Path;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::PackError;

/// The oldest REST API that has what is used here (podman 4.0).
const API: &str = "/v4.0.0/libpod";
/// Longest error message taken from podman, in bytes.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Writes the image as an OCI archive to `file`.
pub(super) async fn export(socket: &Path, name: &str, file: &Path) -> Result<(), PackError> {
    let failed = |reason: String| PackError::Podman {
        name: name.to_owned(),
        reason,
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
    if name.is_empty() || !name.bytes().all(allowed) || name.split('/').any(|part| part == "..") {
        return Err(failed("that is not an image name".to_owned()));
    }
    let no_socket = |source| PackError::PodmanSocket {
        socket: socket.to_owned(),
        source,
    };
    let stream = UnixStream::connect(socket).await.map_err(no_socket)?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let request = Request::get(format!("{API}/images/{name}/get?format=oci-archive"))
        .header(http::header::HOST, "podman")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.to_string()))?;
    let download = async {
        let response = client
            .send_request(request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let mut body = response.into_body();
        if status != StatusCode::OK {
            let text = Limited::new(body, ERROR_BYTES_MAX).collect().await;
            let text = text.map(|text| text.to_bytes()).unwrap_or_default();
            return Err(failed(message(status, &text)));
        }
        let write_error = |error| PackError::io("write", file, error);
        let mut out = tokio::fs::File::create(file).await.map_err(write_error)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                out.write_all(&data).await.map_err(write_error)?;
            }
        }
        out.flush().await.map_err(write_error)
    };
    tokio::pin!(download);
    tokio::select! {
        outcome = &mut download => outcome,
        // The connection ends when the answer is through; the rest of it may still be buffered.
        _ = connection => download.await,
    }
}

/// Takes the sentence out of podman's error document.
fn message(status: StatusCode, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Error {
        message: String,
    }
    match serde_json::from_slice::<Error>(body) {
        Ok(error) => error.message,
        Err(_) => status.to_string(),
    }
}
