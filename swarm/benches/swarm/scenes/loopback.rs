//! One peer on the loopback interface, nothing shaped.

use std::path::Path;

use super::{MIB, file};
use crate::node::Node;
use crate::rivals::bare;
use crate::{Figure, figure, memory};

/// Each begins with the other one.
const RUNS: usize = 4;
const PORTS: [u16; 2] = [44_331, 44_332];

/// The rate at which a node fetches, over the rate of the library that it is built on.
pub(super) fn loopback(dir: &Path) -> Vec<Figure> {
    let size = 1000 * MIB;
    let data = file(dir, size);
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        for turn in [run % 2 == 0, run % 2 != 0] {
            if turn {
                let mut seeder = Node::start_local(PORTS[0], dir);
                let blob = seeder.provide(&data);
                let mut node = Node::start_local(PORTS[1], dir);
                memory::warm(dir);
                let fetched = node.fetch((blob, size), &[&seeder.endpoint], &[]);
                own.push(fetched.took.as_secs_f64());
            } else {
                bare.push(bare::fetch(dir, &data, || memory::warm(dir)).as_secs_f64());
            }
        }
    }
    println!(
        "archy {own:.2?} s, iroh-blobs {bare:.2?} s for {} MiB",
        size / MIB
    );
    let best = |took: &[f64]| took.iter().copied().fold(f64::MAX, f64::min);
    let ratio = best(&bare) / best(&own);
    vec![figure("loopback_ratio", ratio, "", Some(">= 0.9"))]
}
