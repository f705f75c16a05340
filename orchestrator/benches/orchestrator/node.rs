//! A test node for one run, by the command `tests/node/node`, which people use too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

/// A node that is gone when this is dropped; with `ARCHY_KEEP_BED` in the environment it stays.
pub(crate) struct Node {
    bed: String,
}

const NAME: &str = "b";

impl Node {
    pub(crate) fn boot() -> Result<Self, Failure> {
        let node = Self {
            bed: format!("bench-{}", std::process::id()),
        };
        let mut up = node.command("up");
        if !is_kept() {
            up.env("ARCHY_BED_OWNER", std::process::id().to_string());
        }
        output(&mut up)?;
        Ok(node)
    }

    pub(crate) fn exec(&self, words: &[&str]) -> Result<String, Failure> {
        output(self.command("exec").arg("--").args(words))
    }

    pub(crate) fn exec_root(&self, words: &[&str]) -> Result<String, Failure> {
        output(self.command("exec").args(["--root", "--"]).args(words))
    }

    pub(crate) fn shell(&self, script: &str) -> Result<String, Failure> {
        self.exec(&["bash", "-euc", script])
    }

    pub(crate) fn push(&self, from: &Path, to: &str) -> Result<(), Failure> {
        output(self.command("push").arg(from).arg(to)).map(drop)
    }

    /// Finds a process of the node's user by its command line, as this host numbers it.
    pub(crate) fn host_pid(&self, command_line: &str) -> Result<u32, Failure> {
        let first = output(&mut self.command("pid"))?;
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let wanted =
            namespace(first.trim()).ok_or("the node's process 1 cannot be seen: run as root")?;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.trim() == command_line && namespace(&pid.to_string()) == Some(wanted.clone()) {
                return Ok(pid);
            }
        }
        Err(format!("no process `{command_line}` on the node").into())
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(repository().join("tests/node/node"));
        command
            .args([verb, NAME])
            .env("ARCHY_BED", &self.bed)
            .env_remove("ARCHY_BED_OWNER")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !is_kept() {
            // The next `up` on this host removes what is left.
            let _ = output(&mut self.command("rm"));
        }
    }
}

fn is_kept() -> bool {
    std::env::var_os("ARCHY_KEEP_BED").is_some()
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let told = String::from_utf8_lossy(&output.stdout);
    Err(format!("{command:?} ended with {}: {told}{said}", output.status).into())
}
