//! Kills, and another network, in the middle of a fetch.

use std::path::Path;
use std::time::Duration;

use super::{MIB, file};
use crate::lab::Lab;
use crate::node::Node;
use crate::{Figure, figure};

const KILLS: usize = 20;
const MOVES: usize = 5;

/// The largest part of a blob that a SIGKILL at a moment drawn by chance costs.
pub(super) fn resume(dir: &Path) -> Vec<Figure> {
    let size = 128 * MIB;
    let data = file(dir, size);
    let lab = Lab::new();
    let mut seeder = Node::start(&lab.place(Some("400mbit"), None), dir);
    let blob = seeder.provide(&data);
    let at = seeder.endpoint.clone();
    let place = lab.place(None, None);
    let store = tempfile::tempdir_in(dir).unwrap();
    let (_, fetched) = Node::start_in(&place, store.path()).fetch_until((blob, size), &at, None);
    let whole = fetched.unwrap().took;
    let mut rng = fastrand::Rng::new();
    let mut wastes = Vec::new();
    for _ in 0..KILLS {
        let store = tempfile::tempdir_in(dir).unwrap();
        let after = whole.mul_f64(0.02 + 0.96 * rng.f64());
        let start = || Node::start_in(&place, store.path());
        let (had, _) = start().fetch_until((blob, size), &at, Some(after));
        // A fetch ends well only when the whole blob has its hash.
        let (_, rest) = start().fetch_until((blob, size), &at, None);
        let rest = rest.unwrap();
        let again = (had + rest.from_origin + rest.from_peers).saturating_sub(size);
        wastes.push((after, again as f64 / size as f64));
    }
    let worst = wastes.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    println!(
        "{wastes:.4?}\n{KILLS} kills within {:.1} s: the worst, after {:.2} s, cost {:.2} % of {} MiB",
        whole.as_secs_f64(),
        Duration::as_secs_f64(&worst.0),
        worst.1 * 100.0,
        size / MIB
    );
    vec![figure("resume_waste", worst.1, "", Some("<= 0.01"))]
}

/// The largest part of a blob that another network costs: a while without a link, and another address then.
pub(super) fn roam(dir: &Path) -> Vec<Figure> {
    let size = 64 * MIB;
    let data = file(dir, size);
    let lab = Lab::new();
    let mut seeder = Node::start(&lab.place(Some("100mbit"), None), dir);
    let blob = seeder.provide(&data);
    let mut rng = fastrand::Rng::new();
    let mut moves = Vec::new();
    for _ in 0..MOVES {
        let mut place = lab.place(None, None);
        let mut node = Node::start_anywhere(&place, dir);
        let at = seeder.endpoint.clone();
        let fetching = std::thread::spawn(move || node.fetch((blob, size), &[&at], &[]));
        // Five seconds are what the link needs for the file.
        let after = Duration::from_millis(rng.u64(500..4500));
        let without = Duration::from_millis(rng.u64(200..4000));
        std::thread::sleep(after);
        lab.cut(&place);
        std::thread::sleep(without);
        lab.renumber(&mut place);
        let fetched = fetching.join().unwrap();
        let again = (fetched.from_origin + fetched.from_peers).saturating_sub(size);
        moves.push((after, without, fetched.took, again as f64 / size as f64));
    }
    let worst = moves.iter().map(|one| one.3).fold(0.0, f64::max);
    println!(
        "{moves:.4?}\n{MOVES} times elsewhere: (moved after, without a link for, all took, received again)"
    );
    vec![figure("roam_waste", worst, "", Some("<= 0.01"))]
}
