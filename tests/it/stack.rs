//! A stack: two containers, a private network, a generated secret, and a database that must be healthy first.

use anyhow::{Context, ensure};
use archy_tests::http;
use archy_tests::node::Bed;
use archy_tests::stage::{Archyd, Programs, Stage, WORDPRESS};
use archyd::api::types::{InstanceParams, InstanceState, JobState, UninstallParams};

#[tokio::test]
async fn a_stack_starts_in_order_keeps_its_secret_and_comes_back_after_a_reboot()
-> anyhow::Result<()> {
    let stage = Stage::set_up(Bed::new("stack"), &Programs::built()?, ["b"]).await?;
    stage.logged("stack", lives(&stage)).await
}

async fn lives(stage: &Stage<1>) -> anyhow::Result<()> {
    let (a, [b]) = (&stage.publisher, &stage.stores);
    a.publish(&WORDPRESS).await?;
    let app = b.hears_of(WORDPRESS.slug).await?;
    let job = b.install(&app).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "the install ended {:?}: {:?}",
        job.state,
        job.problem
    );
    page_answers(b).await?;
    secret_is_nowhere_to_be_read(b).await?;

    b.does(
        "package.restart",
        InstanceParams {
            slug: WORDPRESS.slug.to_owned(),
        },
    )
    .await?;
    page_answers(b).await?;

    b.node.reboot().await?;
    b.answers().await?;
    b.becomes(WORDPRESS.slug, InstanceState::Running).await?;
    page_answers(b).await?;

    let uninstall = UninstallParams {
        slug: WORDPRESS.slug.to_owned(),
        purge: true,
        force: false,
    };
    b.does("package.uninstall", uninstall).await?;
    b.nothing_runs_of(WORDPRESS.slug).await
}

/// The page comes from the database: without it, the web container answers with an error.
async fn page_answers(store: &Archyd) -> anyhow::Result<()> {
    let instance = store
        .instance(WORDPRESS.slug)
        .await?
        .context("the app is not installed")?;
    ensure!(
        instance.containers.len() == 2,
        "not two containers: {:?}",
        instance.containers
    );
    let page = store.page_of(&instance).await?;
    let status = http::status(&page).await?;
    ensure!((200..400).contains(&status), "{page} answered {status}");
    Ok(())
}

/// The generated secrets are in no unit, no command line and nothing that podman shows of the containers.
async fn secret_is_nowhere_to_be_read(store: &Archyd) -> anyhow::Result<()> {
    let folder = ".local/share/archy/apps/wordpress/secrets";
    let secrets = store
        .node
        .exec_ok(&["sh", "-c", &format!("cat {folder}/*")])
        .await?;
    let shown = store
        .node
        .exec_ok(&[
            "sh",
            "-c",
            "cat .config/containers/systemd/archy/wordpress/*; podman inspect wordpress-db wordpress-web; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; journalctl --user --no-pager --output=cat",
        ])
        .await?;
    let secrets: Vec<&str> = secrets.split_whitespace().collect();
    ensure!(!secrets.is_empty(), "no secret was generated");
    for secret in &secrets {
        ensure!(
            secret.len() >= 16,
            "a secret of {} characters",
            secret.len()
        );
        ensure!(
            !shown.contains(secret),
            "a generated secret can be read outside its file"
        );
    }
    // An app may write one to its log all the same.
    let blurted = format!(
        "for file in {folder}/*; do podman exec wordpress-web sh -c \"echo it is $(cat $file) > /proc/1/fd/1\"; done"
    );
    store.node.exec_ok(&["sh", "-c", &blurted]).await?;
    let told = store.node.exec_ok(&["archyd", "diagnostics"]).await?;
    for part in ["App wordpress", "it is [secret wordpress/", "Log of archyd"] {
        ensure!(told.contains(part), "{part} is not in:\n{told}");
    }
    ensure!(
        !secrets.iter().any(|secret| told.contains(secret)),
        "a secret is among the diagnostics"
    );
    Ok(())
}
