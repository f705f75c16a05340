//! Podman with a store of its own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::run;

/// An empty store that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Store {
    dir: tempfile::TempDir,
    /// Podman wants a short path for what it keeps while it runs.
    run: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new(dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let run = tempfile::tempdir().unwrap();
        Self { dir, run }
    }

    /// Pulls an image and returns how long that took.
    pub(crate) fn pull(&self, namespace: Option<&str>, image: &str) -> Duration {
        let began = Instant::now();
        run(self
            .podman(namespace)
            .args(["pull", "--quiet", "--tls-verify=false", image]));
        began.elapsed()
    }

    fn podman(&self, namespace: Option<&str>) -> Command {
        let mut command = match namespace {
            Some(namespace) => super::inside(namespace, "podman"),
            None => Command::new("podman"),
        };
        command
            .arg("--root")
            .arg(self.dir.path().join("root"))
            .arg("--runroot")
            .arg(self.run.path().join("run"))
            .arg("--tmpdir")
            .arg(self.run.path().join("tmp"))
            .args(["--storage-driver", "overlay"])
            .env("TMPDIR", self.dir.path());
        command
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What images hold may be read-only even to its owner.
        self.podman(None)
            .args(["rmi", "--all", "--force"])
            .output()
            .ok();
        let mount = self.dir.path().join("root/overlay");
        Command::new("umount").arg(&mount).output().ok();
    }
}
