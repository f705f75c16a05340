//! The orchestrator by itself on a real machine: the scripts beside its tests, each on a node of its own. They print a line
//! for each claim, and what was found where one fails.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use archy_tests::node::{Bed, TestNode};
use archy_tests::stage::repository;

/// Kills at random moments, in the scripts that have them; many more are tried by hand.
const KILLS: &str = "KILLS=3";
/// The program that makes its arguments root's, and the small disk, where a script needs them.
const ROOT: &str = "ROOT=/usr/local/bin/as-root";
const SMALL: &str = "SMALL=/home/archy/small";

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
    let node = prepared(&bed).await?;
    run(&node, script, &[]).await
}

/// Boots a node with the scripts and the driver on it.
async fn prepared(bed: &Bed) -> anyhow::Result<TestNode> {
    let node = bed.node("a").await?;
    node.push(&repository().join("orchestrator/tests/node"), "claims")
        .await?;
    node.push(&drive()?, "drive").await?;
    Ok(node)
}

async fn run(node: &TestNode, script: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let path = format!("claims/{script}.sh");
    let command = ["env", KILLS, ROOT, SMALL, "bash", &path, "./drive"];
    let said = node.exec(&[&command, arguments].concat()).await?;
    ensure!(
        said.status.success() && said.stdout.lines().any(|line| line.starts_with("ok ")),
        "{path} {arguments:?} ended with {}:\n{}{}",
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

#[tokio::test]
async fn steps_round_updates_run_once_and_secrets_stay() -> anyhow::Result<()> {
    holds("hooks").await
}

#[tokio::test]
async fn apps_live_through_what_goes_wrong_around_them() -> anyhow::Result<()> {
    let bed = Bed::new("chaos");
    let node = prepared(&bed).await?;
    let small =
        "mkdir /home/archy/small && mount -t tmpfs -o size=160m,mode=1777 none /home/archy/small";
    let as_root = "cp /usr/bin/env /usr/local/bin/as-root && chmod 4755 /usr/local/bin/as-root";
    for command in [small, as_root] {
        node.exec_root(&["sh", "-c", command]).await?;
    }
    run(&node, "chaos", &[]).await
}

#[tokio::test]
async fn containers_of_others_are_adopted_as_they_are_and_given_back() -> anyhow::Result<()> {
    let bed = Bed::new("adopt");
    let node = prepared(&bed).await?;
    run(&node, "adopt", &[]).await?;
    node.reboot().await?;
    run(&node, "adopt", &["rebooted"]).await
}

#[tokio::test]
async fn systemd_finds_no_fault_with_any_unit() -> anyhow::Result<()> {
    let bed = Bed::new("units");
    let node = prepared(&bed).await?;
    for app in std::fs::read_dir(repository().join("apps"))? {
        let app = app?;
        let manifest = app.path().join("manifest.yml");
        if manifest.is_file() {
            let to = format!("apps/{}/manifest.yml", app.file_name().to_string_lossy());
            node.push(&manifest, &to).await?;
        }
    }
    run(&node, "units", &[]).await
}

#[tokio::test]
async fn containers_have_users_of_their_own_and_keep_their_data() -> anyhow::Result<()> {
    holds("userns").await
}

#[tokio::test]
async fn backups_are_made_restored_and_proven() -> anyhow::Result<()> {
    holds("backup").await
}
