//! The swarm's figures, on real processes in network namespaces with shaped links.
//!
//! Needs root, `ip`, `tc`, and for what it is compared with podman, skopeo, docker-registry, aria2, mktorrent and pip;
//! what is not installed is left out. What is compared is measured side by side in one run. Prints a table and writes
//! `target/bench/swarm.json`: a list of `{name, value, unit, bound}`. With names of scenes as arguments only these
//! are played.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark is a program of its own that prints and may stop at the first fault"
)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod lab;
mod layout;
mod memory;
mod node;
mod rivals;
mod scenes;

/// One figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
    /// What it is held against, such as `>= 0.93`.
    bound: Option<String>,
}

fn figure(name: &str, value: f64, unit: &str, bound: Option<&str>) -> Figure {
    Figure {
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
        bound: bound.map(str::to_owned),
    }
}

fn main() {
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    match arguments.first().map(String::as_str) {
        Some("node") => return node::serve(&arguments[1..]),
        Some("soak") if arguments.len() > 1 => return scenes::soak::run(&arguments[1..]),
        Some("bare") => return rivals::bare::serve(&arguments[1..]),
        Some(_) | None => {}
    }
    let dir = target().join("bench-swarm");
    std::fs::create_dir_all(&dir).unwrap();
    let dir = dir.canonicalize().unwrap();
    let mut figures = Vec::new();
    for (name, scene) in scenes::ALL {
        if !arguments.is_empty() && !arguments.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("== {name}");
        let found = scene(&dir);
        for figure in &found {
            let bound = figure
                .bound
                .as_deref()
                .map(|bound| format!("   bound {bound}"));
            println!(
                "{:<32}{:>10.3} {:<5}{}",
                figure.name,
                figure.value,
                figure.unit,
                bound.unwrap_or_default()
            );
        }
        figures.extend(found);
    }
    write(figures);
}

/// Writes the figures; those of scenes that were not played now stay as they were.
fn write(figures: Vec<Figure>) {
    let file = target().join("bench/swarm.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let before = std::fs::read(&file).unwrap_or_default();
    let mut all: Vec<Figure> = serde_json::from_slice(&before).unwrap_or_default();
    all.retain(|old| !figures.iter().any(|new| new.name == old.name));
    all.extend(figures);
    std::fs::write(&file, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
}

/// Returns the workspace's target directory.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    )
}
