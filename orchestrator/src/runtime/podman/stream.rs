//! Answers that come line by line for as long as somebody reads them.

use bytes::BytesMut;
use serde::de::DeserializeOwned;

use super::http_client::Body;
use super::model::Event;
use super::{ANSWER_BYTES_MAX, PodmanError, broken};

/// What happens in podman, as it happens.
#[derive(Debug)]
pub struct Events {
    pub(super) body: Body,
    pub(super) lines: JsonLines,
}

impl Events {
    /// Waits for the next event; `None` when podman ends the stream.
    ///
    /// # Errors
    ///
    /// [`PodmanError`] when the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Event>, PodmanError> {
        self.lines.next(&mut self.body, "report events").await
    }
}

/// Reads JSON values that come one per line.
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    buffer: BytesMut,
}

impl JsonLines {
    pub(super) async fn next<T: DeserializeOwned>(
        &mut self,
        body: &mut Body,
        action: &str,
    ) -> Result<Option<T>, PodmanError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.parse(&line, action).map(Some);
            }
            let piece = body.piece().await.map_err(|error| broken(action, error))?;
            match piece {
                Some(piece) if self.buffer.len() + piece.len() <= ANSWER_BYTES_MAX => {
                    self.buffer.extend_from_slice(&piece);
                }
                Some(_) => {
                    return Err(PodmanError::Long {
                        action: action.to_owned(),
                    });
                }
                None => {
                    let rest = self.buffer.split();
                    if rest.trim_ascii().is_empty() {
                        return Ok(None);
                    }
                    return self.parse(&rest, action).map(Some);
                }
            }
        }
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8], action: &str) -> Result<T, PodmanError> {
        serde_json::from_slice(line).map_err(|source| PodmanError::Answer {
            action: action.to_owned(),
            source,
        })
    }
}
