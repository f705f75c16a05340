//! A browser drives the store as a person would; screenshots of each page stay in `target/browser`.

use std::process::Stdio;

use anyhow::{Context, ensure};
use archy_tests::node::Bed;
use archy_tests::stage::{HELLO, Programs, SHIPPED_APPS, Stage, repository};
use tokio::process::Command;

#[tokio::test]
async fn a_person_claims_searches_installs_opens_and_uninstalls() -> anyhow::Result<()> {
    let stage = Stage::set_up(Bed::new("browser"), &Programs::built()?, ["b"]).await?;
    stage.logged("browser", is_used(&stage)).await
}

async fn is_used(stage: &Stage<1>) -> anyhow::Result<()> {
    let (a, [b]) = (&stage.publisher, &stage.stores);
    for app in SHIPPED_APPS {
        a.publish(app).await?;
        b.hears_of(app.slug).await?;
    }
    let code = b.claim_code().await?;
    let driver = repository().join("tests/browser/run.mjs");
    let output = Command::new("node")
        .arg(&driver)
        .args([
            "--url",
            &b.store_url().await?,
            "--code",
            &code,
            "--app",
            HELLO.slug,
            "--shots",
        ])
        .arg(repository().join("target/browser"))
        .stdin(Stdio::null())
        .output()
        .await
        .context("starting node; scripts/host-deps.sh installs what is missing")?;
    ensure!(
        output.status.success(),
        "the browser test failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
