//! Waits for a process that is no child of this one.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::runtime::podman::{Podman, PodmanError};

/// Waits until a session's process has ended; `false` when it took longer than `limit`.
pub(super) async fn ended(
    podman: &Podman,
    session: &str,
    pid: i32,
    limit: Duration,
) -> Result<bool, PodmanError> {
    let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    // The number may be another process's by now, unless podman still knows it as the session's.
    let found = podman.exec(session).await?;
    if found.is_none_or(|found| !found.running || found.pid != pid) {
        return Ok(true);
    }
    let Some(process) = process else {
        return Ok(true);
    };
    // The descriptor of a process becomes readable when it ends (pidfd_open(2)).
    let waiting = tokio::task::spawn_blocking(move || {
        let limit = Timespec::try_from(limit).ok();
        let ready = poll(&mut [PollFd::new(&process, PollFlags::IN)], limit.as_ref());
        ready.unwrap_or(0) > 0
    });
    Ok(waiting.await.unwrap_or(false))
}
