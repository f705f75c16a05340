//! Podman with a store of its own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::run;

/// An empty store that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Store {
    dir: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new(dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        Self { dir }
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
        let path = |name: &str| self.dir.path().join(name);
        command
            .arg("--root")
            .arg(path("root"))
            .arg("--runroot")
            .arg(path("run"))
            .arg("--tmpdir")
            .arg(path("tmp"))
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
