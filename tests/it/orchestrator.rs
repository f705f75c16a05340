//! The orchestrator by itself on a real machine: the scripts beside its tests, each on a node of its own. They print a line
//! for each claim, and what was found where one fails.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use archy_tests::node::Bed;
use archy_tests::stage::repository;

/// Kills at random moments, in the scripts that have them; many more are tried by hand.
const KILLS: &str = "KILLS=3";

/// The example that drives the orchestrator, built with the tests.
fn drive() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let profile = program.ancestors().nth(2).context("a target folder")?;
    let drive = profile.join("examples/drive");
    ensure!(
        drive.exists(),
        "{} is missing: cargo build -p archy-orchestrator --example drive",
        drive.display()
    );
    Ok(drive)
}

async fn holds(script: &str) -> anyhow::Result<()> {
    let bed = Bed::new(script);
    let node = bed.node("a").await?;
    node.push(&repository().join("orchestrator/tests/node"), "claims")
        .await?;
    node.push(&drive()?, "drive").await?;
    let path = format!("claims/{script}.sh");
    let said = node.exec(&["env", KILLS, "bash", &path, "./drive"]).await?;
    ensure!(
        said.status.success() && said.stdout.lines().any(|line| line.starts_with("ok ")),
        "{path} ended with {}:\n{}{}",
        said.status,
        said.stdout,
        said.stderr
    );
    Ok(())
}

#[tokio::test]
async fn apps_are_installed_kept_and_removed() -> anyhow::Result<()> {
    holds("contract").await
}

#[tokio::test]
async fn the_whole_contract_is_what_runs() -> anyhow::Result<()> {
    holds("whole").await
}

#[tokio::test]
async fn changes_are_made_whole_or_taken_back() -> anyhow::Result<()> {
    holds("change").await
}
