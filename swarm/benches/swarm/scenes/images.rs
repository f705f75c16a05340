//! Images on their way into podman.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, Place};
use crate::layout::{self, Layout};
use crate::node::Node;
use crate::rivals::installed;
use crate::rivals::podman::Store;
use crate::rivals::registry::{self, Registry};
use crate::{Figure, figure, memory};

const RUNS: usize = 3;

/// How long it takes until an image is in podman.
struct Install {
    /// Podman unpacks while bytes arrive.
    streaming: Duration,
    /// The fetch alone, and podman's pull of what is here alone.
    fetch: Duration,
    load: Duration,
}

/// Moves an image from one node to another twice: at once into podman, and one after the other.
fn move_image(
    lab: &Lab,
    dir: &Path,
    image: &Layout,
    link: Option<&str>,
    stores: &mut Vec<Store>,
) -> Install {
    let mut seeder = Node::start(&lab.place(link, None), dir);
    let blobs = seeder.provide_image(&image.dir);
    let at = seeder.endpoint.clone();
    let mut pull = |place: &Place, reference: &str| {
        let store = Store::new(dir);
        let took = store.pull(Some(&place.namespace), reference);
        stores.push(store);
        took
    };
    let place = lab.place(None, None);
    let mut node = Node::start(&place, dir);
    let reference = node.offer(&blobs);
    memory::warm(dir);
    let began = Instant::now();
    let fetching = {
        let (blobs, at) = (blobs.blobs(), at.clone());
        thread::spawn(move || {
            node.fetch_all(blobs, &[&at], &[]);
            node
        })
    };
    pull(&place, &reference);
    let streaming = began.elapsed();
    drop(fetching.join().unwrap());
    let place = lab.place(None, None);
    let mut node = Node::start(&place, dir);
    memory::warm(dir);
    let fetch = node.fetch_all(blobs.blobs(), &[&at], &[]).took;
    let reference = node.offer(&blobs);
    memory::warm(dir);
    let load = pull(&place, &reference);
    Install {
        streaming,
        fetch,
        load,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// No link is shaped: what counts is podman and the processor.
pub(super) fn podman(dir: &Path) -> Vec<Figure> {
    if !installed(&["podman"]) {
        return Vec::new();
    }
    let image = layout::app(dir);
    // Deleting many files makes creating some slow for a while, so nothing is deleted before the end.
    let mut stores = Vec::new();
    let (mut ratios, mut serial) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let lab = Lab::new();
        let moved = move_image(&lab, dir, &image, None, &mut stores);
        let store = Store::new(dir);
        memory::warm(dir);
        let local = store.pull(None, &format!("oci:{}", image.dir.display()));
        stores.push(store);
        let one_by_one = moved.fetch + moved.load;
        println!(
            "{:.0} MB fetched and in podman: {:.2} s, one after the other {:.2} + {:.2} s; `podman pull oci:` {:.2} s",
            image.size_bytes as f64 / 1e6,
            moved.streaming.as_secs_f64(),
            moved.fetch.as_secs_f64(),
            moved.load.as_secs_f64(),
            local.as_secs_f64()
        );
        ratios.push(moved.streaming.as_secs_f64() / local.as_secs_f64());
        serial.push(moved.streaming.as_secs_f64() / one_by_one.as_secs_f64());
    }
    vec![
        figure("podman_pull_ratio", median(ratios), "", Some("<= 1.1")),
        figure("podman_stream_vs_serial", median(serial), "", Some("<= 1")),
    ]
}

/// An install over a link of 100 Mbit/s.
pub(super) fn install(dir: &Path) -> Vec<Figure> {
    if !installed(registry::PROGRAMS) {
        return Vec::new();
    }
    let image = layout::app(dir);
    let link = Some("100mbit");
    let mut stores = Vec::new();
    let lab = Lab::new();
    let moved = move_image(&lab, dir, &image, link, &mut stores);
    let registry = Registry::start(&lab.place(link, None), dir, &image);
    let store = Store::new(dir);
    let place = lab.place(None, None);
    let pulled = store.pull(Some(&place.namespace), &registry.image);
    let longest = moved.fetch.max(moved.load);
    println!(
        "{:.0} MB over 100 Mbit/s: {:.2} s; transfer alone {:.2} s, unpacking alone {:.2} s; `podman pull` from a registry {:.2} s",
        image.size_bytes as f64 / 1e6,
        moved.streaming.as_secs_f64(),
        moved.fetch.as_secs_f64(),
        moved.load.as_secs_f64(),
        pulled.as_secs_f64()
    );
    let ratio = moved.streaming.as_secs_f64() / longest.as_secs_f64();
    let registry = moved.streaming.as_secs_f64() / pulled.as_secs_f64();
    vec![
        figure("stream_install_ratio", ratio, "", Some("<= 1.15")),
        figure("stream_install_vs_registry", registry, "", None),
    ]
}
