//! A publisher's key is stolen: what the thief can do until the owner says so, and what it can do after.

use std::process::Stdio;

use anyhow::{Context, ensure};
use archy_tests::node::{Bed, TestNode};
use archy_tests::stage::{Archyd, HELLO, Programs, Stage, repository};
use archyd::api::types::{
    AppRef, InstallParams, Instance, InstanceState, JobRef, JobState, UninstallParams,
};
use serde_json::Value;
use tokio::process::Command;

const IDENTITY: &str = "/home/archy/.config/archy/identity";
/// Where the owner keeps the key that may replace the stolen one.
const DRAWER: &str = "/home/archy/drawer.key";

#[tokio::test]
async fn its_owner_takes_the_name_back_and_nodes_keep_what_runs() -> anyhow::Result<()> {
    let bed = Bed::new("stolen");
    let stage = Stage::set_up(bed, &Programs::built()?, ["b", "c", "thief"]).await?;
    stage.logged("stolen", is_stolen(&stage)).await
}

async fn is_stolen(stage: &Stage<3>) -> anyhow::Result<()> {
    let (owner, [b, c, thief]) = (&stage.publisher, &stage.stores);
    let genuine = owner.publish(&HELLO).await?;
    owner
        .node
        .exec_ok(&["mv", &format!("{IDENTITY}/next.key"), DRAWER])
        .await?;
    let app = b.hears_of(HELLO.slug).await?;
    installs(b, &app).await?;

    // Nobody can tell the thief from the owner: the signature is good.
    steal(&owner.node, &thief.node).await?;
    let stolen = thief.publish_version(&HELLO, "6.6.6").await?;
    c.hears_of_seq(&app, seq(&stolen)?).await?;
    installs(c, &app).await?;
    let (runs_on_b, runs_on_c) = (b.containers().await?, c.containers().await?);

    recover(owner, &genuine).await?;
    let told = |instance: &Instance| {
        let problem = instance.problem.as_ref();
        problem.is_some_and(|problem| problem.kind == "keyChanged")
    };
    c.comes_to("the stolen key is told", HELLO.slug, told)
        .await?;

    // The thief goes on with what it has; nobody follows, and the owner does under the same name.
    let after = thief.publish_version(&HELLO, "6.6.7").await?;
    let next = owner.publish_version(&HELLO, "1.0.1").await?;
    for node in [b, c] {
        let shown = node.comes_to_offer(&app, "1.0.1").await?;
        ensure!(shown.problem.is_none(), "{:?}", shown.problem);
    }
    for release in [&stolen, &after] {
        is_refused(b, &app, release).await?;
    }

    ensure!(b.containers().await? == runs_on_b, "B's app was touched");
    ensure!(c.containers().await? == runs_on_c, "C's app was touched");
    let kept = b.instance(HELLO.slug).await?.context("B lost its app")?;
    ensure!(
        kept.state == InstanceState::Running && kept.problem.is_none(),
        "what the owner stands for is not well: {kept:?}"
    );
    says_so(c, "/apps", "replaced its keys").await?;

    // Back to what the owner signs.
    let uninstall = UninstallParams {
        slug: HELLO.slug.to_owned(),
        purge: false,
        force: false,
    };
    c.does("package.uninstall", uninstall).await?;
    installs(c, &app).await?;
    let now = c.instance(HELLO.slug).await?.context("C lost its app")?;
    ensure!(
        now.version == "1.0.1" && now.problem.is_none() && seq(&next)? > seq(&genuine)?,
        "{now:?}"
    );
    Ok(())
}

async fn installs(node: &Archyd, app: &AppRef) -> anyhow::Result<()> {
    let job = node.install(app).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "the install ended {:?}: {:?}",
        job.state,
        job.problem
    );
    Ok(())
}

fn seq(published: &Value) -> anyhow::Result<u64> {
    published["seq"].as_u64().context("no seq was told")
}

/// Copies the folder of the keys, without the key in the drawer.
async fn steal(from: &TestNode, to: &TestNode) -> anyhow::Result<()> {
    let pack = format!("tar -C {IDENTITY} -c . | base64 --wrap=0");
    let loot = from.exec_ok(&["sh", "-c", &pack]).await?;
    let unpack = format!(
        "mkdir -m 700 -p {IDENTITY} && echo {} | base64 --decode | tar -C {IDENTITY} -x",
        loot.trim()
    );
    to.exec_ok(&["sh", "-c", &unpack]).await?;
    Ok(())
}

/// The owner takes the next key out of the drawer and stands for what it published itself.
async fn recover(owner: &Archyd, genuine: &Value) -> anyhow::Result<()> {
    let release = genuine["release"].as_str().context("no release was told")?;
    let recover = [
        "archy",
        "identity",
        "recover",
        "--next-key",
        DRAWER,
        "--reaffirm",
        release,
    ];
    owner.node.exec_ok(&recover).await?;
    owner
        .node
        .exec_ok(&["archy", "identity", "publish"])
        .await?;
    Ok(())
}

/// A release of the thief is not installed, not even when it is asked for by its hash.
async fn is_refused(node: &Archyd, app: &AppRef, release: &Value) -> anyhow::Result<()> {
    let hash = release["release"].as_str().context("no release was told")?;
    let params = InstallParams {
        app: app.clone(),
        release: Some(hash.to_owned()),
    };
    let Ok(job) = node.call::<_, JobRef>("package.install", params).await else {
        return Ok(());
    };
    let job = node.ends(&job).await?;
    ensure!(
        job.state == JobState::Failed,
        "the thief's release was installed: {job:?}"
    );
    Ok(())
}

/// A browser opens a page of the store and reads it.
async fn says_so(node: &Archyd, path: &str, text: &str) -> anyhow::Result<()> {
    let shot = repository().join("target/browser/stolen-key.png");
    let output = Command::new("node")
        .arg(repository().join("tests/browser/reads.mjs"))
        .args(["--url", &node.store_url().await?])
        .args(["--code", &node.claim_code().await?])
        .args(["--path", path, "--says", text, "--shot"])
        .arg(shot)
        .stdin(Stdio::null())
        .output()
        .await
        .context("starting node; scripts/host-deps.sh installs what is missing")?;
    ensure!(
        output.status.success(),
        "{path} does not say {text:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
