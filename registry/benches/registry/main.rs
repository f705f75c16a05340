//! The registry's figures: how fast announcements are verified and kept, how soon one vote among a million shows in
//! a score, and how fast 100 000 apps are searched.
//!
//! Prints a table and writes `target/bench/registry.json`: a list of `{name, value, unit, bound}`. What is
//! compared is measured in turns within one run. Times are those that this process had a processor for, of
//! all its threads together, so that they are the cost on one core whatever else the machine does; what a
//! person waits for a search on the wall's clock stands beside it.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark is a program of its own that prints and may stop at the first fault"
)]

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

mod rescore;
mod search;
mod verify;

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// What it is held against, such as `< 10`.
    bound: Option<&'static str>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let verify = runtime.block_on(verify::measure());
    let search = runtime.block_on(search::measure());
    let rescore_ms = rescore::rescore_ms();
    let figure = |name, value, unit, bound| Figure {
        name,
        value,
        unit,
        bound,
    };
    let figures = [
        figure("bare_us", verify.bare_us, "µs", None),
        figure("pipeline_us", verify.pipeline_us, "µs", None),
        figure(
            "announcements_per_second",
            1e6 / verify.pipeline_us,
            "1/s",
            None,
        ),
        figure("pipeline_wall_us", verify.wall_us, "µs", None),
        figure("verify_bound_ratio", verify.ratio, "", Some(">= 0.6")),
        figure("rescore_ms", rescore_ms, "ms", None),
        figure("search_apps", search.apps, "", None),
        figure("search_p50_ms", search.p50_ms, "ms", None),
        figure("search_p99_ms", search.p99_ms, "ms", Some("< 10")),
        figure("search_wall_p50_ms", search.wall_p50_ms, "ms", None),
        figure("search_wall_p99_ms", search.wall_p99_ms, "ms", None),
    ];
    for figure in &figures {
        let bound = figure
            .bound
            .map(|bound| format!("   bound {bound}"))
            .unwrap_or_default();
        println!(
            "{:<26}{:>12.3} {:<4}{bound}",
            figure.name, figure.value, figure.unit
        );
    }
    let dir = target().join("bench");
    std::fs::create_dir_all(&dir).unwrap();
    let json = serde_json::to_string_pretty(&figures).unwrap();
    std::fs::write(dir.join("registry.json"), json + "\n").unwrap();
}

/// Returns for how long this process had a processor.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

/// Returns the workspace's target directory.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    )
}
