//! An update of one layer: a patch release of a stack of Python packages.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use archy_swarm::image::delta;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::rivals::{installed, run};
use crate::{Figure, figure};

/// Two patch releases, one after the other.
const RELEASES: [&[&str]; 2] = [
    &[
        "numpy==2.2.4",
        "scipy==1.15.2",
        "pandas==2.2.2",
        "django==5.1.7",
        "cryptography==44.0.1",
    ],
    &[
        "numpy==2.2.5",
        "scipy==1.15.3",
        "pandas==2.2.3",
        "django==5.1.8",
        "cryptography==44.0.2",
    ],
];

/// Bytes that an update moves, over those of the layer that `podman pull` would fetch anew.
pub(super) fn update(dir: &Path) -> Vec<Figure> {
    if !installed(&["pip3"]) {
        return Vec::new();
    }
    let [old, new] = [0, 1].map(|release| layer(dir, release));
    let mut patch = BufWriter::new(File::create(dir.join("patch")).unwrap());
    let (from, to) = (
        BufReader::new(File::open(old).unwrap()),
        BufReader::new(File::open(&new).unwrap()),
    );
    let made = delta::make(from, to, u64::MAX, &mut patch).unwrap();
    patch.flush().unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let tar_bytes = std::io::copy(&mut File::open(&new).unwrap(), &mut gzip).unwrap();
    let whole = gzip.finish().unwrap().len();
    println!(
        "a layer of {:.0} MB: {:.1} MB as `podman pull` moves it, {:.1} MB as a delta",
        tar_bytes as f64 / 1e6,
        whole as f64 / 1e6,
        made.size_bytes as f64 / 1e6
    );
    let ratio = made.size_bytes as f64 / whole as f64;
    vec![figure("update_bytes_ratio", ratio, "", Some("<= 0.25"))]
}

/// Installs a release into a directory and makes a layer of it, once.
fn layer(dir: &Path, release: usize) -> PathBuf {
    let tar = dir.join(format!("packages-{release}.tar"));
    if tar.exists() {
        return tar;
    }
    let root = tempfile::tempdir_in(dir).unwrap();
    run(Command::new("pip3")
        .args([
            "install",
            "--quiet",
            "--no-deps",
            "--no-compile",
            "--only-binary=:all:",
        ])
        .args([
            "--python-version=3.12",
            "--implementation=cp",
            "--platform=manylinux_2_17_x86_64",
        ])
        .args([
            "--platform=manylinux_2_28_x86_64",
            "--platform=manylinux2014_x86_64",
        ])
        .arg("--target")
        .arg(root.path())
        .args(RELEASES[release]));
    let part = dir.join("packages.part");
    run(Command::new("tar")
        .args([
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mtime=@0",
        ])
        .arg("--file")
        .arg(&part)
        .arg("--create")
        .arg("--directory")
        .arg(root.path())
        .arg("."));
    std::fs::rename(part, &tar).unwrap();
    tar
}
