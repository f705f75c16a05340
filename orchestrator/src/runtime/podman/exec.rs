//! Running a command in a running container (podman's exec sessions), as arguments, never through a shell.

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use rustix::process::{Pid, Signal};
use serde::Deserialize;
use serde_json::json;

use super::http_client::Body;
use super::{Podman, PodmanError, broken, encode};

/// Bytes of output that are kept: the last ones.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;
/// Each piece of output has a head of the stream's number and the length (Docker API, "Stream format").
const HEAD_BYTES: usize = 8;

/// What is known of an exec session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecSession {
    /// Whether its process runs.
    pub running: bool,
    /// Its exit code once it ended.
    pub exit_code: i32,
    /// The process on this machine while it runs.
    #[serde(default)]
    pub pid: i32,
    /// Whether it was started at all and ended.
    #[serde(default)]
    pub can_remove: bool,
}

/// A command that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code.
    pub exit_code: i32,
    /// The end of what it wrote.
    pub output: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

impl Podman {
    /// Prepares a command in a running container, as the container's own user; returns the session's id.
    ///
    /// # Errors
    ///
    /// [`PodmanError`], also when the container does not run.
    pub async fn create_exec(
        &self,
        container: &str,
        command: &[String],
    ) -> Result<String, PodmanError> {
        let action = format!("prepare a command in {container}");
        let path = format!("/containers/{}/exec", encode(container));
        let body = json!({"AttachStdout": true, "AttachStderr": true, "Cmd": command});
        let answer = self.ask(&action, Method::POST, &path, &body).await?;
        let created: Created = serde_json::from_slice(&answer)
            .map_err(|source| PodmanError::Answer { action, source })?;
        Ok(created.id)
    }

    /// Starts a prepared command and waits until it ends; returns the end of what it wrote.
    ///
    /// # Errors
    ///
    /// [`PodmanError`], also when the program is not in the container.
    pub async fn run_exec(&self, session: &str) -> Result<Executed, PodmanError> {
        let action = "run a command in a container";
        let path = format!("/exec/{}/start", encode(session));
        let body = Bytes::from_static(br#"{"Detach":false}"#);
        let answer = self.request(action, Method::POST, &path, body).await?;
        let output = collect(answer.body, action).await?;
        let ended = self.exec(session).await?;
        Ok(Executed {
            exit_code: ended.map_or(-1, |ended| ended.exit_code),
            output,
        })
    }

    /// Returns what is known of a session; `None` when podman has forgotten it.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn exec(&self, session: &str) -> Result<Option<ExecSession>, PodmanError> {
        let path = format!("/exec/{}/json", encode(session));
        match self.read("inspect a command", &path).await {
            Ok(session) => Ok(Some(session)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends a running command with everything that it started in its process group.
    ///
    /// # Errors
    ///
    /// [`PodmanError`] when podman cannot be asked.
    pub async fn kill_exec(&self, session: &str) -> Result<(), PodmanError> {
        let Some(session) = self.exec(session).await? else {
            return Ok(());
        };
        let group = Some(session.pid).filter(|pid| session.running && *pid > 1);
        if let Some(group) = group.and_then(Pid::from_raw) {
            // The OCI runtime makes it the leader of a group of its own; this user owns its user namespace, which is
            // what allows the signal (user_namespaces(7)).
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        Ok(())
    }
}

/// Reads a multiplexed stream to its end and keeps the last of it.
async fn collect(mut body: Body, action: &str) -> Result<String, PodmanError> {
    let mut frames = Frames::default();
    while let Some(piece) = body.piece().await.map_err(|error| broken(action, error))? {
        frames.push(&piece);
    }
    Ok(frames.text())
}

#[derive(Default)]
struct Frames {
    head: BytesMut,
    left_bytes: usize,
    kept: BytesMut,
}

impl Frames {
    fn push(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.left_bytes > 0 {
                let taken = piece.len().min(self.left_bytes);
                self.kept.extend_from_slice(&piece[..taken]);
                self.left_bytes -= taken;
                piece.advance(taken);
                let excess = self.kept.len().saturating_sub(OUTPUT_BYTES_MAX);
                self.kept.advance(excess);
            } else {
                let taken = piece.len().min(HEAD_BYTES - self.head.len());
                self.head.extend_from_slice(&piece[..taken]);
                piece.advance(taken);
                if self.head.len() == HEAD_BYTES {
                    let mut head = self.head.split();
                    head.advance(HEAD_BYTES - 4);
                    self.left_bytes = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
                }
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], text].concat()
    }

    #[test]
    fn both_streams_are_read_however_they_are_cut() {
        let bytes = [frame(1, b"out\n"), frame(2, b""), frame(2, b"err\n")].concat();
        for cut in 1..bytes.len() {
            let mut frames = Frames::default();
            bytes.chunks(cut).for_each(|piece| frames.push(piece));
            assert_eq!(frames.text(), "out\nerr\n", "{cut}");
        }
    }

    #[test]
    fn the_end_of_much_output_is_kept() {
        let mut frames = Frames::default();
        frames.push(&frame(1, &vec![b'x'; 3 * OUTPUT_BYTES_MAX]));
        frames.push(&frame(1, b"last"));
        assert!(frames.text().ends_with("xlast"));
        assert_eq!(frames.text().len(), OUTPUT_BYTES_MAX);
    }
}
