//! One app travels the whole way, on three real nodes.

use anyhow::{Context, ensure};
use archy_tests::http;
use archy_tests::node::Bed;
use archy_tests::stage::{Archyd, Programs, RADICALE, Stage};
use archyd::api::types::{AppRef, InstanceParams, InstanceState, JobState, UninstallParams};

#[tokio::test]
async fn an_app_is_published_heard_installed_kept_running_passed_on_and_removed()
-> anyhow::Result<()> {
    let stage = Stage::set_up(Bed::new("journey"), &Programs::built()?, ["b", "c"]).await?;
    stage.logged("journey", travels(&stage)).await
}

async fn travels(stage: &Stage<2>) -> anyhow::Result<()> {
    let (a, [b, c]) = (&stage.publisher, &stage.stores);
    a.publish(&RADICALE).await?;
    let app = b.hears_of(RADICALE.slug).await?;
    c.hears_of(RADICALE.slug).await?;

    let job = b.install(&app).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "B's install ended {:?}: {:?}",
        job.state,
        job.problem
    );
    page_answers(b).await?;

    survives_a_kill_of_the_daemon(b).await?;
    survives_a_reboot(b).await?;

    a.node.power_off().await?;
    comes_from_a_peer_alone(c, &app).await?;
    uninstall_keeps_data_and_purge_removes_it(c, &app).await
}

/// The page of the installed app answers a browser on the host.
async fn page_answers(store: &Archyd) -> anyhow::Result<()> {
    let instance = store
        .instance(RADICALE.slug)
        .await?
        .context("the app is not installed")?;
    ensure!(
        instance.state == InstanceState::Running,
        "the app is {:?}: {:?}",
        instance.state,
        instance.problem
    );
    let page = store.page_of(&instance).await?;
    let status = http::status(&page).await?;
    ensure!((200..400).contains(&status), "{page} answered {status}");
    Ok(())
}

/// The daemon is stopped with SIGKILL and started again; the container is the same one, started at the same time.
async fn survives_a_kill_of_the_daemon(store: &Archyd) -> anyhow::Result<()> {
    let before = store.containers().await?;
    ensure!(!before.is_empty(), "no container runs");
    store.kill_daemon().await?;
    page_answers_from_outside(store).await?;
    store.answers().await?;
    ensure!(
        store.containers().await? == before,
        "a container was replaced by the daemon's restart"
    );
    page_answers(store).await
}

/// While the daemon is away the app answers all the same.
async fn page_answers_from_outside(store: &Archyd) -> anyhow::Result<()> {
    let port = store.node.exec_ok(&["podman", "port", "--all"]).await?;
    let port = port
        .trim()
        .rsplit(':')
        .next()
        .context("no published port")?
        .to_owned();
    let url = format!("http://{}:{port}/", store.node.ip().await?);
    ensure!(
        (200..400).contains(&http::status(&url).await?),
        "{url} stopped answering with the daemon"
    );
    Ok(())
}

async fn survives_a_reboot(store: &Archyd) -> anyhow::Result<()> {
    store.node.reboot().await?;
    store.answers().await?;
    store.becomes(RADICALE.slug, InstanceState::Running).await?;
    page_answers(store).await
}

/// The publisher is off: every byte comes from another node that installed the app.
async fn comes_from_a_peer_alone(store: &Archyd, app: &AppRef) -> anyhow::Result<()> {
    let job = store.install(app).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "C's install ended {:?}: {:?}",
        job.state,
        job.problem
    );
    let transfer = job
        .transfer
        .context("the job tells nothing of its transfer")?;
    let from_origin = transfer
        .providers
        .iter()
        .any(|share| share.kind == "origin" && share.bytes > 0);
    ensure!(
        !from_origin,
        "{transfer:?} names bytes from a machine that is off"
    );
    let from_peers: u64 = transfer.providers.iter().map(|share| share.bytes).sum();
    // The release and the icon were here before the publisher was switched off.
    ensure!(
        from_peers > transfer.total_bytes * 9 / 10,
        "{transfer:?} does not say who sent the bytes"
    );
    page_answers(store).await
}

async fn uninstall_keeps_data_and_purge_removes_it(
    store: &Archyd,
    app: &AppRef,
) -> anyhow::Result<()> {
    let instance = store
        .instance(RADICALE.slug)
        .await?
        .context("the app is not installed")?;
    ensure!(
        store.left_of(RADICALE.slug).await?.len() >= 4,
        "the look for leftovers does not see the running app's unit file, units, container and network"
    );
    let marker = format!("{}/marker", instance.data_dir);
    store.node.exec_root(&["touch", &marker]).await?;

    let uninstall = |purge| UninstallParams {
        slug: RADICALE.slug.to_owned(),
        purge,
        force: false,
    };
    store.does("package.uninstall", uninstall(false)).await?;
    store.nothing_runs_of(RADICALE.slug).await?;
    store
        .node
        .exec_root(&["test", "-e", &marker])
        .await
        .context("uninstall removed data")?;

    let job = store.install(app).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "the second install ended {:?}: {:?}",
        job.state,
        job.problem
    );
    store
        .node
        .exec_root(&["test", "-e", &marker])
        .await
        .context("installing again removed data")?;
    store
        .does(
            "package.stop",
            InstanceParams {
                slug: RADICALE.slug.to_owned(),
            },
        )
        .await?;
    store.becomes(RADICALE.slug, InstanceState::Stopped).await?;

    store.does("package.uninstall", uninstall(true)).await?;
    store.nothing_runs_of(RADICALE.slug).await?;
    let left = store.node.exec(&["test", "-e", &instance.data_dir]).await?;
    ensure!(!left.status.success(), "purge left {}", instance.data_dir);
    Ok(())
}
