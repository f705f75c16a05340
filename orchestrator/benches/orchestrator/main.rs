//! The orchestrator's figures, of the real daemon with forty installed apps on a test node.
//!
//! Needs root and what the test node needs (`tests/node/README.md`), strace, and `archy` and `archyd` beside the benchmark
//! in the target folder (`make bench-orchestrator` builds them). What is compared is measured side by side in one run.
//! Prints a table, writes `target/bench/orchestrator.json` and fails when a bound is missed. `PROVE=1` only shows that the
//! counters count: one must find the processes of an install, the other the services of an update, and both none where
//! nothing is done.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark is a program of its own that prints"
)]

use std::error::Error;
use std::process::ExitCode;

use serde::Serialize;

mod bare;
mod daemon;
mod downtime;
mod inside;
mod node;
mod scenes;
mod services;
mod trace;

/// Whatever went wrong; a benchmark stops at the first fault.
type Failure = Box<dyn Error + Send + Sync>;

/// One figure, as `target/bench/orchestrator.json` holds it.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    bound: f64,
}

fn main() -> ExitCode {
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.first() {
        Some(&"inside") => inside::serve(&words[1..]).map(|()| true),
        Some(_) | None => scenes::play(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("stopped: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The value below which `part` of the runs lie.
fn quantile(mut runs: Vec<f64>, part: f64) -> f64 {
    runs.sort_by(f64::total_cmp);
    let last = runs.len().saturating_sub(1);
    let index = (last as f64 * part).round() as usize;
    runs.get(index).copied().unwrap_or(f64::NAN)
}

fn median(runs: Vec<f64>) -> f64 {
    quantile(runs, 0.5)
}
