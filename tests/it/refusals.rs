//! What a hostile publisher or peer sends is refused in words that say which check failed, and leaves nothing behind.

use anyhow::{Context, ensure};
use archy_tests::hostile::HostilePublisher;
use archy_tests::node::Bed;
use archy_tests::stage::{Archyd, HELLO, Programs, RELAY_PORT, Stage};
use archyd::api::types::{AppRef, InstallParams, JobRef, JobState, Problem};

#[tokio::test]
async fn what_is_not_what_the_publisher_signed_is_refused_and_leaves_nothing() -> anyhow::Result<()>
{
    let stage = Stage::set_up(Bed::new("refusals"), &Programs::built()?, ["b"]).await?;
    stage.logged("refusals", refuses(&stage)).await
}

async fn refuses(stage: &Stage<1>) -> anyhow::Result<()> {
    let [store] = &stage.stores;
    let relay = format!("ws://{}:{RELAY_PORT}", stage.publisher.node.ip().await?);
    a_flipped_bit_in_a_blob(store, &relay).await?;
    a_release_signed_by_another_key(store, &relay).await?;
    an_older_release_announced_anew(store, &relay).await?;
    another_publishers_release(store, &relay).await?;
    another_publishers_app_of_the_same_slug(stage, store, &relay).await
}

/// Installs and checks that the job fails for `kind` with nothing left behind.
async fn is_refused(
    store: &Archyd,
    app: &AppRef,
    release: Option<String>,
    kind: &str,
) -> anyhow::Result<Problem> {
    let job: JobRef = store
        .call(
            "package.install",
            InstallParams {
                app: app.clone(),
                release,
            },
        )
        .await?;
    let job = store.ends(&job).await?;
    ensure!(
        job.state == JobState::Failed,
        "expected {kind}, the install ended {:?}",
        job.state
    );
    let problem = job.problem.context("a failed job without a reason")?;
    ensure!(problem.kind == kind, "expected {kind}: {problem:?}");
    ensure!(
        problem.hint.is_some(),
        "no hint tells what to do: {problem:?}"
    );
    Ok(problem)
}

async fn a_flipped_bit_in_a_blob(store: &Archyd, relay: &str) -> anyhow::Result<()> {
    let publisher = HostilePublisher::start(relay).await?;
    let liar = publisher.liar().await?;
    let mut release = publisher.release(1)?;
    release.origin.endpoints = vec![liar.endpoint()];
    let signed = publisher.serve(&release).await?;
    publisher
        .announce(
            &publisher.own(&signed)?,
            signed.bytes.len(),
            |announcement| {
                announcement.origin.endpoints = publisher.release_endpoints();
            },
        )
        .await?;
    store.hears_from(&publisher.app()).await?;
    let problem = is_refused(store, &publisher.app(), None, "content").await?;
    let said = format!("{problem:?}");
    ensure!(
        said.contains(&liar.endpoint().id.to_string()),
        "the liar is not named: {said}"
    );
    ensure!(liar.requests() > 0, "the liar was never asked");
    store.nothing_runs_of(HELLO.slug).await?;
    publisher.leave().await;
    Ok(())
}

/// The announcement is the publisher's own, the release behind it names the publisher but another key signed it.
async fn a_release_signed_by_another_key(store: &Archyd, relay: &str) -> anyhow::Result<()> {
    let (publisher, forger) = (
        HostilePublisher::start(relay).await?,
        HostilePublisher::start(relay).await?,
    );
    let mut genuine = publisher.release(1)?;
    let own = publisher.own(&publisher.serve(&genuine).await?)?;
    genuine.origin = forger.release(1)?.origin;
    let forged = forger.serve(&genuine).await?;
    publisher
        .announce(&own, forged.bytes.len(), |announcement| {
            announcement.release.blake3 = forged.hash;
            announcement.origin = genuine.origin.clone();
        })
        .await?;
    store.hears_from(&publisher.app()).await?;
    let problem = is_refused(store, &publisher.app(), None, "signature").await?;
    ensure!(
        problem.message.contains(&forger.did().to_string()),
        "the signer is not named: {problem:?}"
    );
    store.nothing_runs_of(HELLO.slug).await?;
    publisher.leave().await;
    forger.leave().await;
    Ok(())
}

async fn an_older_release_announced_anew(store: &Archyd, relay: &str) -> anyhow::Result<()> {
    let publisher = HostilePublisher::start(relay).await?;
    let old = publisher.serve(&publisher.release(1)?).await?;
    publisher
        .announce(&publisher.own(&old)?, old.bytes.len(), |_| {})
        .await?;
    store.hears_from(&publisher.app()).await?;
    let new = publisher.serve(&publisher.release(2)?).await?;
    publisher
        .announce(&publisher.own(&new)?, new.bytes.len(), |_| {})
        .await?;
    store.hears_of_seq(&publisher.app(), 2).await?;

    // The newest date of all, and the relay has replaced the newer release by it: the counter decides.
    publisher
        .announce(&publisher.own(&old)?, old.bytes.len(), |_| {})
        .await?;
    let problem = is_refused(
        store,
        &publisher.app(),
        Some(old.hash.to_string()),
        "rollback",
    )
    .await?;
    ensure!(
        problem.message.contains('2'),
        "the newer counter is not named: {problem:?}"
    );
    store.hears_of_seq(&publisher.app(), 2).await?;

    // A newer counter on the card, the old release behind it.
    publisher
        .announce(&publisher.own(&old)?, old.bytes.len(), |announcement| {
            announcement.seq = 3
        })
        .await?;
    store.hears_of_seq(&publisher.app(), 3).await?;
    is_refused(store, &publisher.app(), None, "rollback").await?;
    store.nothing_runs_of(HELLO.slug).await?;
    publisher.leave().await;
    Ok(())
}

/// The card is the publisher's own, the release behind it is a valid one of somebody else.
async fn another_publishers_release(store: &Archyd, relay: &str) -> anyhow::Result<()> {
    let (publisher, other) = (
        HostilePublisher::start(relay).await?,
        HostilePublisher::start(relay).await?,
    );
    let own = publisher.own(&publisher.serve(&publisher.release(1)?).await?)?;
    let others = other.release(1)?;
    let signed = other.serve(&others).await?;
    publisher
        .announce(&own, signed.bytes.len(), |announcement| {
            announcement.release.blake3 = signed.hash;
            announcement.origin = others.origin.clone();
        })
        .await?;
    store.hears_from(&publisher.app()).await?;
    let problem = is_refused(store, &publisher.app(), None, "wrongPublisher").await?;
    ensure!(
        problem.message.contains(&other.did().to_string()),
        "the other is not named: {problem:?}"
    );
    store.nothing_runs_of(HELLO.slug).await?;
    publisher.leave().await;
    other.leave().await;
    Ok(())
}

/// With one publisher's app installed, another's under the same slug is refused and the first stays as it is.
async fn another_publishers_app_of_the_same_slug(
    stage: &Stage<1>,
    store: &Archyd,
    relay: &str,
) -> anyhow::Result<()> {
    stage.publisher.publish(&HELLO).await?;
    let genuine = store.hears_from_node(&stage.publisher, HELLO.slug).await?;
    let job = store.install(&genuine).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "the genuine app: {:?}",
        job.problem
    );
    let before = store.containers().await?;

    let squatter = HostilePublisher::start(relay).await?;
    let signed = squatter.serve(&squatter.release(1)?).await?;
    squatter
        .announce(&squatter.own(&signed)?, signed.bytes.len(), |_| {})
        .await?;
    store.hears_from(&squatter.app()).await?;
    let problem = is_refused(store, &squatter.app(), None, "slugTaken").await?;
    ensure!(
        problem.message.contains(&genuine.publisher),
        "the owner of the slug is not named: {problem:?}"
    );
    ensure!(
        store.containers().await? == before,
        "the installed app was touched"
    );
    let instance = store
        .instance(HELLO.slug)
        .await?
        .context("the installed app is gone")?;
    ensure!(
        instance.app == genuine,
        "the instance changed hands: {instance:?}"
    );
    squatter.leave().await;
    Ok(())
}
