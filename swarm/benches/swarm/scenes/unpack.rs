//! What podman's unpacking depends on: the same files in layers of several forms, into stores of several kinds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::layout::{self, Layout, Packing};
use crate::rivals::podman::Store;
use crate::rivals::{installed, run};
use crate::{Figure, figure};

const RUNS: usize = 3;

/// Times pulls from a local layout, one form after the other and all of them again, so that what else the machine does
/// meets all alike.
pub(super) fn unpack(dir: &Path) -> Vec<Figure> {
    if !installed(&["podman"]) {
        return Vec::new();
    }
    let forms = [
        ("gzip_4_layers", layout::packed(dir, Packing::Gzip, 4)),
        ("gzip_1_layer", layout::packed(dir, Packing::Gzip, 1)),
        ("gzip_12_layers", layout::packed(dir, Packing::Gzip, 12)),
        ("zstd_4_layers", layout::packed(dir, Packing::Zstd, 4)),
        ("plain_4_layers", layout::packed(dir, Packing::Plain, 4)),
        ("plain_1_layer", layout::packed(dir, Packing::Plain, 1)),
    ];
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut took: Vec<(String, Vec<Duration>)> = Vec::new();
    // Deleting many files makes creating some slow for a while, so on disk nothing is deleted before the end.
    let mut stores = Vec::new();
    let mut note = |name: String, time: Duration| match took.iter_mut().find(|(of, _)| *of == name)
    {
        Some((_, times)) => times.push(time),
        None => took.push((name, vec![time])),
    };
    for _ in 0..RUNS {
        for (name, image) in &forms {
            let source = format!("oci:{}", image.dir.display());
            let store = Store::new(dir);
            note(format!("unpack_{name}"), store.pull(None, &source));
            stores.push(store);
            if *name == "gzip_4_layers" || *name == "plain_4_layers" {
                let store = Store::new(memory.path());
                note(
                    format!("unpack_{name}_in_memory"),
                    store.pull(None, &source),
                );
            }
        }
        let (plain, extracted) = (&forms[4].1, tempfile::tempdir_in(dir).unwrap().keep());
        note("unpack_tar".to_owned(), extract(plain, &extracted));
    }
    took.into_iter()
        .map(|(name, mut times)| {
            times.sort();
            println!("{name}: {times:.2?}");
            figure(
                &format!("{name}_s"),
                times[RUNS / 2].as_secs_f64(),
                "s",
                None,
            )
        })
        .collect()
}

/// Extracts all layers with `tar`, one after the other.
fn extract(image: &Layout, to: &PathBuf) -> Duration {
    let began = Instant::now();
    for blob in std::fs::read_dir(image.dir.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        if File::open(&path).unwrap().metadata().unwrap().len() < 1_000_000 {
            continue;
        }
        run(std::process::Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(path)
            .arg("--directory")
            .arg(to));
    }
    began.elapsed()
}
