//! Server-sent events (WHATWG HTML §9.2) as the node writes them: one `event:` and one `data:` line each.

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinSet;

use super::types::Job;

/// Longest event that is read, in bytes.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A stream of the node's events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: BytesMut,
    _connection: JoinSet<()>,
}

impl Events {
    pub(super) fn new(body: Incoming, connection: JoinSet<()>) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            _connection: connection,
        }
    }

    /// Waits for the next change of a job; `None` when the node ended the stream.
    pub async fn next_job(&mut self) -> Option<Job> {
        loop {
            while let Some(event) = take_event(&mut self.buffer) {
                if let Some(job) = job_of(&event) {
                    return Some(job);
                }
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

/// Takes the first whole event off the buffer.
fn take_event(buffer: &mut BytesMut) -> Option<String> {
    let end = buffer.windows(2).position(|two| two == b"\n\n")?;
    let event = buffer.split_to(end + 2);
    Some(String::from_utf8_lossy(&event).into_owned())
}

fn job_of(event: &str) -> Option<Job> {
    #[derive(serde::Deserialize)]
    struct Message {
        data: serde_json::Value,
    }
    let field = |name: &str| {
        event
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.trim_start()))
    };
    if field("event:")? != "job" {
        return None;
    }
    let message: Message = serde_json::from_str(field("data:")?).ok()?;
    serde_json::from_value(message.data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_whole_and_in_order() {
        let mut buffer =
            BytesMut::from(": hello\n\nevent: catalog\ndata: {\"type\":\"catalog\"}\n\nevent: jo");
        assert_eq!(take_event(&mut buffer).unwrap(), ": hello\n\n");
        assert!(job_of(&take_event(&mut buffer).unwrap()).is_none());
        assert!(take_event(&mut buffer).is_none());
        buffer.extend_from_slice(
            b"b\ndata: {\"type\":\"job\",\"data\":{\"id\":\"7\",\"kind\":\"install\",\"name\":\"Hello\",\"state\":\"running\",\"phase\":\"fetching\",\
              \"percent\":3.5,\"message\":\"Fetching\",\"app\":{\"publisher\":\"did:key:z\",\"slug\":\"hello\"}}}\n\n",
        );
        let job = job_of(&take_event(&mut buffer).unwrap()).unwrap();
        assert_eq!((job.id.as_str(), job.percent), ("7", 3.5));
    }
}
