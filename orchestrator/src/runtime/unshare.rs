//! Work in the user namespace of podman's containers, where files of their users can be read and removed.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

/// Removes a directory with all in it; a missing one is as good.
pub(crate) async fn remove(podman: &Path, directory: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(directory).is_err() {
        return Ok(());
    }
    let output = Command::new(podman)
        .args(["unshare", "rm", "-rf", "--one-file-system", "--"])
        .arg(directory)
        .stdin(Stdio::null())
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(said.trim().to_owned()))
}

/// Reads a file of one of their users.
pub(crate) async fn read(podman: &Path, file: &Path) -> io::Result<Vec<u8>> {
    let output = Command::new(podman)
        .args(["unshare", "cat", "--"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .await?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    // What it says may quote the file no more than its name.
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(said.trim().to_owned()))
}
