//! Debian's docker-registry and `podman pull`.

use std::path::Path;
use std::process::Stdio;

use super::podman::Store;
use super::{Running, inside, installed, listens, run};
use crate::lab::{Lab, Place};
use crate::layout::{self, Layout};

const PORT: u16 = 5000;
pub(crate) const PROGRAMS: &[&str] = &["docker-registry", "podman", "skopeo"];

/// A registry that has one image.
#[derive(Debug)]
pub(crate) struct Registry {
    /// By which name podman pulls the image.
    pub(crate) image: String,
    _process: Running,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// Starts a registry and pushes an image into it.
    pub(crate) fn start(at: &Place, dir: &Path, image: &Layout) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let data = dir.path().join("data");
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {data:?}}}}}\nhttp: {{addr: ':{PORT}'}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = inside(&at.namespace, "docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Running(child);
        listens(&at.namespace, PORT);
        // From inside, where the link does not count.
        run(inside(&at.namespace, "skopeo")
            .args([
                "copy",
                "--quiet",
                "--preserve-digests",
                "--dest-tls-verify=false",
            ])
            .arg(format!("oci:{}", image.dir.display()))
            .arg(format!("docker://127.0.0.1:{PORT}/bench:1")));
        Self {
            image: format!("{}:{PORT}/bench:1", at.address),
            _process: process,
            _dir: dir,
        }
    }
}

/// Has a crowd pull an image with one layer of chance bytes at once; returns the seconds that each took.
pub(crate) fn crowd(dir: &Path, size_bytes: u64, nodes: usize, mbit: u64) -> Option<Vec<f64>> {
    if !installed(PROGRAMS) {
        return None;
    }
    let image = layout::chance(dir, size_bytes);
    let lab = Lab::new();
    let rate = format!("{mbit}mbit");
    let place = || lab.place(Some(&rate), None);
    let registry = Registry::start(&place(), dir, &image);
    let members: Vec<(Place, Store)> = (0..nodes).map(|_| (place(), Store::new(dir))).collect();
    let pulls: Vec<_> = members
        .into_iter()
        .map(|(place, store)| {
            let image = registry.image.clone();
            std::thread::spawn(move || store.pull(Some(&place.namespace), &image))
        })
        .collect();
    let took = pulls.into_iter().map(|pull| pull.join().unwrap());
    let mut took: Vec<f64> = took.map(|took| took.as_secs_f64()).collect();
    took.sort_by(f64::total_cmp);
    Some(took)
}
