//! `make gate`: takes every app through every state on real nodes, and writes what it found to `target/gate/report.md` and
//! `target/bench/gate.json`. Ends with 1 when a cell is not green.
#![expect(
    clippy::print_stdout,
    reason = "a person follows the run where they started the command"
)]

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use archy_tests::gate::matrix::{Cell, Outcome};
use archy_tests::gate::options::Options;
use archy_tests::gate::{report, run};
use archy_tests::stage::repository;

/// The page of the book that `--docs` writes.
const PAGE: &str = "docs/src/operator/gate.md";
/// How much of a reason a person reads while the run goes on; the report has all of it.
const REASON_CHARS_MAX: usize = 240;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse(|name| std::env::var(name).ok(), std::env::args().skip(1))?;
    let found = run(&options, &tell).await?;
    // Commands in errors are named by their path on this machine, which says nothing to anybody else.
    let here = format!("{}/", repository().display());
    let text = report::markdown(&found.matrix, &found.setting).replace(&here, "");
    write("target/gate/report.md", &text)?;
    write("target/bench/gate.json", &found.matrix.to_json()?)?;
    if options.docs {
        write(PAGE, &text)?;
    }
    let tried = found.matrix.cells.len();
    let failed = found.matrix.failures().count();
    println!(
        "{} of {tried} cells are green after {:.1} minutes: target/gate/report.md",
        tried - failed,
        found.setting.minutes
    );
    for proof in found
        .matrix
        .proofs
        .iter()
        .filter(|proof| proof.said.is_none())
    {
        println!(
            "the check of {} on {} does not see it: {}",
            proof.state, proof.app, proof.broken
        );
    }
    Ok(if found.matrix.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(cell: &Cell) {
    let Cell {
        app,
        state,
        node,
        iteration,
        seconds,
        ..
    } = cell;
    match &cell.outcome {
        Outcome::Ok => println!("{iteration} {node} {app:<14} {state:<14} ok {seconds:>6.1} s"),
        Outcome::Failed { reason, .. } => {
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            println!("{iteration} {node} {app:<14} {state:<14} FAILED {seconds:>6.1} s: {reason}");
        }
    }
}

fn write(path: &str, text: &str) -> anyhow::Result<()> {
    let path: &Path = &repository().join(path);
    let folder = path.parent().context("a file without a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
