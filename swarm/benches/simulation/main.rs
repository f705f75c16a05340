//! The scheduler in simulated swarms of 10 to 10 000 nodes: how long until the last one has the file, and how many
//! copies the origin sends, against the fluid bound max(F/u_s, F/d_min, N·F/(u_s+Σu_i)).
//!
//! Every run follows from its seed; they share the processors. Prints tables, writes the plots of `docs/src/operator` with `--docs`, and
//! the figures to `target/bench/swarm.json`. `--small` leaves the 10 000 out,
//! `--tiny` all crowds but that of ten.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark is a program of its own that prints and may stop at the first fault"
)]

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

mod clock;
mod plot;
mod world;

use plot::{Plot, Series};
use world::{Link, Manners, Member, Outcome, Scene, World};

const MIB: u64 = 1024 * 1024;
/// Uplink of a home in bytes per second.
const UP: f64 = 4e6;
/// Simulated time after which a run is given up.
const PATIENCE: Duration = Duration::from_secs(3600);

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    bound: Option<&'static str>,
}

fn member() -> Member {
    Member {
        link: Link {
            up: UP,
            down: f64::INFINITY,
        },
        manners: Manners::Honest,
        joins: Duration::ZERO,
        leaves: None,
        is_seed: false,
    }
}

fn scene(members: Vec<Member>, seed: u64) -> Scene {
    Scene {
        size_bytes: 64 * MIB,
        piece_bytes: 64 * 1024,
        origin: member(),
        members,
        seed,
    }
}

/// The fluid bound, of those who stay and are not seeds, in seconds.
fn bound(scene: &Scene) -> f64 {
    let size = scene.size_bytes as f64;
    let wants = |member: &&Member| !member.is_seed && member.leaves.is_none();
    let wanting = scene.members.iter().filter(wants).count() as f64;
    let slowest = scene
        .members
        .iter()
        .filter(wants)
        .map(|member| member.link.down);
    let slowest = slowest.fold(f64::INFINITY, f64::min);
    let useful = |member: &&Member| member.manners == Manners::Honest;
    let ups: f64 = scene
        .members
        .iter()
        .filter(useful)
        .map(|member| member.link.up)
        .sum();
    let seeds: f64 = scene
        .members
        .iter()
        .filter(|member| member.is_seed && member.manners == Manners::Honest)
        .map(|member| member.link.up)
        .sum();
    let source = scene.origin.link.up;
    let joins = scene
        .members
        .iter()
        .filter(wants)
        .map(|member| member.joins);
    (size / (source + seeds))
        .max(size / slowest)
        .max(wanting * size / (source + ups))
        .max(joins.max().unwrap_or_default().as_secs_f64())
}

struct Run {
    outcome: Outcome,
    nodes: usize,
    bound: f64,
    /// What the simulation itself took.
    took: Duration,
}

impl Run {
    fn of(scene: Scene) -> Self {
        let (began, bound, nodes) = (Instant::now(), bound(&scene), scene.members.len());
        let outcome = World::new(scene).run(PATIENCE);
        Self {
            outcome,
            nodes,
            bound,
            took: began.elapsed(),
        }
    }

    fn ratio(&self) -> f64 {
        self.outcome.last.as_secs_f64() / self.bound
    }

    fn print(&self, name: &str) {
        let outcome = &self.outcome;
        let mut took: Vec<f64> = outcome.took.iter().map(Duration::as_secs_f64).collect();
        took.sort_by(f64::total_cmp);
        let middle = took.get(took.len() / 2).copied().unwrap_or(f64::NAN);
        println!(
            "{name:<26}{:>6} nodes  last {:>7.2} s  median {middle:>7.2} s  bound {:>7.2} s  ratio {:>5.3}  \
             origin {:>6.3} copies  twice {:>6.3} %  unfinished {}  ({:.1} s)",
            self.nodes,
            outcome.last.as_secs_f64(),
            self.bound,
            self.ratio(),
            outcome.origin_copies,
            outcome.wasted * 100.0,
            outcome.unfinished,
            self.took.as_secs_f64()
        );
    }
}

/// Runs scenes on all processors, the largest first; each follows from its own seed alone.
fn run_all(scenes: Vec<(&'static str, Scene)>) -> Vec<(&'static str, Run)> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let mut todo: Vec<_> = scenes.into_iter().enumerate().collect();
    todo.sort_by_key(|(_, (_, scene))| scene.members.len());
    let (todo, done) = (Mutex::new(todo), Mutex::new(Vec::new()));
    let work = || {
        let next = || todo.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some((position, (name, scene))) = next() {
            let run = Run::of(scene);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((position, (name, run)));
        }
    };
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, run)| run).collect()
}

fn main() {
    let small = std::env::args().any(|word| word == "--small");
    let mut sizes = vec![3, 10, 30, 100, 300, 1000];
    if !small {
        sizes.push(10_000);
    }
    if std::env::args().any(|word| word == "--tiny") {
        sizes = vec![10];
    }
    let equal = sizes.len();
    let mut scenes: Vec<_> = sizes
        .into_iter()
        .map(|nodes| ("flash crowd", scene(vec![member(); nodes], nodes as u64)))
        .collect();
    // What the benchmark on shaped links plays, at the payload that a link carries.
    for (name, nodes, mbit, mib) in [("as flash8", 8, 32.0, 64), ("as flash16", 16, 16.0, 32)] {
        let mut member = member();
        member.link.up = mbit * 125_000.0 * 0.93;
        let scene = Scene {
            size_bytes: mib * MIB,
            origin: member,
            ..scene(vec![member; nodes], 7)
        };
        scenes.push((name, scene));
    }
    for (name, members) in crowds() {
        scenes.push((name, scene(members, 7)));
    }
    let mut dying = scene(vec![member(); 100], 7);
    dying.origin.leaves = Some(Duration::from_secs(19));
    scenes.push(("origin gone after 19 s", dying));

    let began = Instant::now();
    let runs = run_all(scenes);
    println!(
        "Everybody starts empty at once; equal uplinks of {} MB/s, 64 MiB.",
        UP / 1e6
    );
    for (position, (name, run)) in runs.iter().enumerate() {
        if position == equal {
            println!();
        }
        run.print(name);
    }
    println!("\nall of it took {:.1} s", began.elapsed().as_secs_f64());

    let (mut times, mut copies, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
    let mut figures = Vec::new();
    for (_, run) in &runs[..equal] {
        let nodes = run.nodes as f64;
        times.push((nodes, run.outcome.last.as_secs_f64()));
        bounds.push((nodes, run.bound));
        copies.push((nodes, run.outcome.origin_copies));
        if run.nodes >= 1000 {
            figures.push(Figure {
                name: format!("sim{}_bound_ratio", run.nodes),
                value: run.ratio(),
                unit: "",
                bound: Some("<= 1.3"),
            });
        }
    }
    if std::env::args().any(|word| word == "--docs") {
        let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/src/operator");
        let time = Plot {
            title: "Time until the last node has 64 MiB (uplinks 4 MB/s)",
            x: "nodes that start empty at once",
            y: "seconds",
            series: &[
                Series {
                    name: "archy, simulated",
                    points: &times,
                },
                Series {
                    name: "fluid bound",
                    points: &bounds,
                },
            ],
        };
        std::fs::write(docs.join("swarm-time.svg"), time.svg()).unwrap();
        let upload = Plot {
            title: "Copies that the origin sends",
            x: "nodes that start empty at once",
            y: "copies of the file",
            series: &[Series {
                name: "archy, simulated",
                points: &copies,
            }],
        };
        std::fs::write(docs.join("swarm-origin.svg"), upload.svg()).unwrap();
    }
    let dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    write(&dir.join("bench/swarm.json"), &figures);
}

/// Writes the figures among those of the benchmark on shaped links; what was not measured now stays as it was.
fn write(file: &Path, figures: &[Figure]) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let before = std::fs::read(file).unwrap_or_default();
    let mut all: Vec<serde_json::Value> = serde_json::from_slice(&before).unwrap_or_default();
    all.retain(|old| figures.iter().all(|new| old["name"] != new.name));
    all.extend(figures.iter().map(|new| serde_json::to_value(new).unwrap()));
    std::fs::write(file, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
}

/// Crowds of a hundred that are not as one would wish.
fn crowds() -> Vec<(&'static str, Vec<Member>)> {
    let crowd = |change: &dyn Fn(usize, &mut Member)| {
        let mut members = vec![member(); 100];
        for (n, member) in members.iter_mut().enumerate() {
            change(n, member);
        }
        members
    };
    vec![
        (
            "unequal links",
            crowd(&|n, member| {
                member.link = Link {
                    up: [0.5e6, 1e6, 4e6, 12e6][n % 4],
                    down: [6e6, 12e6, 30e6, 120e6][n % 4],
                };
            }),
        ),
        (
            "a tenth lies",
            crowd(&|n, member| {
                if n % 10 == 0 {
                    (member.manners, member.is_seed) = (Manners::Liar, true);
                }
            }),
        ),
        (
            "a tenth is silent",
            crowd(&|n, member| {
                if n % 10 == 0 {
                    (member.manners, member.is_seed) = (Manners::Silent, true);
                }
            }),
        ),
        (
            "a third comes and goes",
            crowd(&|n, member| {
                if n % 3 == 0 {
                    member.joins = Duration::from_millis(n as u64 * 50);
                    member.leaves = Some(Duration::from_millis(n as u64 * 50 + 6000));
                }
            }),
        ),
        (
            "one after the other",
            crowd(&|n, member| member.joins = Duration::from_millis(n as u64 * 300)),
        ),
    ]
}
