//! What is measured.

use std::path::{Path, PathBuf};

use crate::Figure;

mod crowds;
mod images;
mod loopback;
mod resume;
pub(crate) mod soak;
mod unpack;
mod update;

const MIB: u64 = 1024 * 1024;

/// A scene, by name.
pub(crate) type Scene = (&'static str, fn(&Path) -> Vec<Figure>);

pub(crate) const ALL: &[Scene] = &[
    ("seeders", crowds::seeders),
    ("flash8", crowds::flash8),
    ("flash16", crowds::flash16),
    ("crowd", crowds::any_crowd),
    ("bad", crowds::bad),
    ("useless", crowds::useless),
    ("origin-dead", crowds::origin_dead),
    ("loopback", loopback::loopback),
    ("podman", images::podman),
    ("install", images::install),
    ("unpack", unpack::unpack),
    ("resume", resume::resume),
    ("roam", resume::roam),
    ("update", update::update),
    ("soak", soak::soak),
];

/// Makes a file of chance bytes, once.
fn file(dir: &Path, size_bytes: u64) -> PathBuf {
    let file = dir.join(format!("data-{size_bytes}"));
    if std::fs::metadata(&file).is_ok_and(|found| found.len() == size_bytes) {
        return file;
    }
    let mut rng = fastrand::Rng::with_seed(size_bytes);
    let mut data = vec![0; usize::try_from(size_bytes).unwrap()];
    rng.fill(&mut data);
    std::fs::write(&file, data).unwrap();
    file
}
