//! The reconciler in archyd itself, on a node with systemd and podman: one app's trouble is not the others', and what cannot
//! be seen is told of all the same.

use std::time::Duration;

use anyhow::{Context, ensure};
use archy_tests::node::{Bed, wait_until};
use archy_tests::stage::{Archyd, HELLO, Programs, RADICALE, Stage};
use archyd::api::types::{InstanceList, InstanceState, JobState};
use serde_json::json;

const HELLO_UNIT: &str = "archy.hello.web.service";
const RADICALE_UNIT: &str = "archy.radicale.web.service";
/// Starts the app's container only after longer than this test takes.
const SLOW: &str = r#"mkdir -p ~/.config/systemd/user/archy.hello.web.service.d
printf '[Service]\nTimeoutStartSec=1h\nExecStartPre=/bin/sleep 3000\n' > ~/.config/systemd/user/archy.hello.web.service.d/slow.conf
systemctl --user daemon-reload"#;
const NO_LONGER_SLOW: &str = r"rm -r ~/.config/systemd/user/archy.hello.web.service.d
systemctl --user daemon-reload
systemctl --user stop --no-block archy.hello.web.service";
/// Longest for the reconciler to act: two looks, and the app's start.
const ACTED: Duration = Duration::from_secs(150);

#[tokio::test]
async fn trouble_of_one_app_is_that_app_s_alone() -> anyhow::Result<()> {
    let stage = Stage::set_up(Bed::new("looks"), &Programs::built()?, ["b"]).await?;
    stage.logged("looks", is_looked_after(&stage)).await
}

async fn is_looked_after(stage: &Stage<1>) -> anyhow::Result<()> {
    let (a, [b]) = (&stage.publisher, &stage.stores);
    for shipped in [&HELLO, &RADICALE] {
        a.publish(shipped).await?;
        let app = b.hears_of(shipped.slug).await?;
        let job = b.install(&app).await?;
        ensure!(job.state == JobState::Succeeded, "{:?}", job.problem);
    }
    a_paused_container_runs_again(b).await?;
    one_without_readable_units_holds_up_nobody(b).await?;
    one_that_takes_long_to_start_holds_up_nobody(b).await?;
    without_podman_the_apps_are_still_known(b).await
}

async fn is_active(store: &Archyd, unit: &str) -> bool {
    let argv = ["systemctl", "--user", "is-active", unit];
    let asked = store.node.exec(&argv).await;
    asked.is_ok_and(|output| output.stdout == "active\n")
}

async fn shell(store: &Archyd, script: &str) -> anyhow::Result<String> {
    Ok(store.node.exec_ok(&["sh", "-ec", script]).await?)
}

/// systemd takes it for running, and podman checks no container that is paused.
async fn a_paused_container_runs_again(store: &Archyd) -> anyhow::Result<()> {
    store.node.exec_ok(&["podman", "pause", "hello"]).await?;
    let runs = async || {
        let state = ["podman", "inspect", "--format={{.State.Status}}", "hello"];
        let state = store.node.exec_ok(&state).await;
        state.is_ok_and(|state| state.trim() == "running")
    };
    ensure!(!runs().await, "the container was not paused");
    wait_until("the paused container runs again", ACTED, runs).await?;
    store.becomes(HELLO.slug, InstanceState::Running).await
}

async fn one_without_readable_units_holds_up_nobody(store: &Archyd) -> anyhow::Result<()> {
    let units = "~/.config/containers/systemd/archy/hello";
    shell(store, &format!("chmod 000 {units}")).await?;
    comes_back(store).await?;
    shell(store, &format!("chmod 755 {units}")).await?;
    store.becomes(HELLO.slug, InstanceState::Running).await
}

/// Not even when archyd is killed meanwhile.
async fn one_that_takes_long_to_start_holds_up_nobody(store: &Archyd) -> anyhow::Result<()> {
    shell(store, SLOW).await?;
    let stop = ["systemctl", "--user", "stop", "--no-block", HELLO_UNIT];
    store.node.exec_ok(&stop).await?;
    store.becomes(HELLO.slug, InstanceState::Starting).await?;
    comes_back(store).await?;
    store.kill_daemon().await?;
    store.becomes(HELLO.slug, InstanceState::Starting).await?;
    store.becomes(RADICALE.slug, InstanceState::Running).await?;
    comes_back(store).await?;
    let hello = store
        .instance(HELLO.slug)
        .await?
        .context("it is installed")?;
    ensure!(
        hello.state == InstanceState::Starting,
        "it was not slow enough for this test: {:?}",
        hello.state
    );
    shell(store, NO_LONGER_SLOW).await?;
    wait_until("it runs again", ACTED, async || {
        is_active(store, HELLO_UNIT).await
    })
    .await?;
    store.becomes(HELLO.slug, InstanceState::Running).await
}

/// Another app that is stopped behind the node's back is started again.
async fn comes_back(store: &Archyd) -> anyhow::Result<()> {
    let invocation = async || {
        let argv = [
            "systemctl",
            "--user",
            "show",
            "--value",
            "--property=InvocationID",
            RADICALE_UNIT,
        ];
        store.node.exec_ok(&argv).await
    };
    let before = invocation().await?;
    // The node may be quicker than whoever waits for the end of the stop.
    let stop = ["systemctl", "--user", "stop", "--no-block", RADICALE_UNIT];
    store.node.exec_ok(&stop).await?;
    let is_back = async || {
        invocation().await.is_ok_and(|now| now != before) && is_active(store, RADICALE_UNIT).await
    };
    wait_until("the other app runs again", ACTED, is_back).await?;
    store.becomes(RADICALE.slug, InstanceState::Running).await
}

async fn without_podman_the_apps_are_still_known(store: &Archyd) -> anyhow::Result<()> {
    let away = "systemctl --user mask --runtime --now podman.socket podman.service";
    shell(store, away).await?;
    store.kill_daemon().await?;
    store.becomes(HELLO.slug, InstanceState::Unknown).await?;
    let list: InstanceList = store.call("package.list", json!({})).await?;
    let known = list
        .instances
        .iter()
        .map(|instance| instance.app.slug.as_str());
    ensure!(
        known.eq([HELLO.slug, RADICALE.slug]),
        "{:?}",
        list.instances
    );
    ensure!(
        list.stale,
        "what nobody has seen is told as if it were seen"
    );
    let back = "systemctl --user unmask --runtime podman.socket podman.service
systemctl --user start podman.socket";
    shell(store, back).await?;
    store.becomes(HELLO.slug, InstanceState::Running).await?;
    store.becomes(RADICALE.slug, InstanceState::Running).await
}
