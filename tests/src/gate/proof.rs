//! Breaks what a check looks at, and sees whether the check says so; then mends it again.

use std::time::Duration;

use anyhow::Context;

use super::matrix::Proof;
use super::state::State;
use super::trial::Trial;
use crate::node::wait_until;

/// Longest that a program may take to listen.
const LISTEN_DEADLINE: Duration = Duration::from_secs(10);

/// What is made beside an app that is gone: what it is called, how it is made and how it is taken away again.
/// `SLUG` stands for the app.
const LEFTOVERS: [(&str, &str, &str); 6] = [
    (
        "a volume is left",
        "podman volume create archy.SLUG.left",
        "podman volume rm archy.SLUG.left",
    ),
    (
        "a secret is left",
        "echo x | podman secret create archy.SLUG.left -",
        "podman secret rm archy.SLUG.left",
    ),
    (
        "a network is left",
        "podman network create archy.SLUG",
        "podman network rm archy.SLUG",
    ),
    (
        "an image is left",
        "tar -c --files-from=/dev/null | podman import - localhost/archy/SLUG/left:1",
        "podman rmi localhost/archy/SLUG/left:1",
    ),
    (
        "a folder of units is left",
        "mkdir -p .config/containers/systemd/archy/SLUG",
        "rmdir .config/containers/systemd/archy/SLUG",
    ),
    (
        "a unit is left",
        "systemd-run --user --quiet --unit=archy.SLUG.left.service sleep infinity",
        "systemctl --user stop archy.SLUG.left.service",
    ),
];
/// The same of what only a purge takes away.
const DATA_LEFT: (&str, &str, &str) = (
    "its folder is left",
    "mkdir .local/share/archy/apps/SLUG",
    "rmdir .local/share/archy/apps/SLUG",
);

/// Tries the check of `state` before anything was done to reach it: it must not pass.
///
/// # Errors
///
/// When the machine cannot be looked at.
pub async fn before(trial: &Trial<'_>, state: State) -> Vec<Proof> {
    // An interface is looked at and nothing done: there is no before.
    if state == State::Ui {
        return Vec::new();
    }
    vec![tried(trial, state, "nothing was done yet").await]
}

/// Tries the check of `state`, which holds, with each thing broken that it looks at.
///
/// # Errors
///
/// When something cannot be broken or mended.
pub async fn after(trial: &Trial<'_>, state: State) -> anyhow::Result<Vec<Proof>> {
    let mut proofs = Vec::new();
    if state != State::Ui && state != State::Purge {
        proofs.extend(without_data(trial, state).await?);
    }
    if state.runs() {
        proofs.push(paused(trial, state).await?);
    }
    match state {
        State::Stop => proofs.push(with_listener(trial, state).await?),
        State::Uninstall | State::Purge => proofs.extend(with_leftovers(trial, state).await?),
        State::DaemonKilled => proofs.push(replaced(trial, state).await?),
        State::Install
        | State::Ui
        | State::Start
        | State::Restart
        | State::Reinstall
        | State::Update
        | State::Rollback
        | State::FailedUpdate
        | State::Reboot
        | State::PowerCut
        | State::InstallAgain => {}
    }
    Ok(proofs)
}

async fn tried(trial: &Trial<'_>, state: State, broken: &str) -> Proof {
    let checked = trial.check(state).await;
    Proof {
        app: trial.app.slug().to_owned(),
        state,
        broken: broken.to_owned(),
        said: checked.err().map(|error| format!("{error:#}")),
    }
}

async fn without_data(trial: &Trial<'_>, state: State) -> anyhow::Result<Option<Proof>> {
    let Some(data) = trial.data.as_ref().filter(|data| !data.is_empty()) else {
        return Ok(None);
    };
    data.hide(trial.node()).await?;
    let proof = tried(trial, state, "the data was taken away behind archyd's back").await;
    data.bring_back(trial.node()).await?;
    Ok(Some(proof))
}

/// A container that is frozen still exists, runs and has its ports.
async fn paused(trial: &Trial<'_>, state: State) -> anyhow::Result<Proof> {
    let filter = format!("label=io.archy.app={}", trial.label());
    let all = |verb: &'static str| {
        let filter = filter.clone();
        async move {
            trial
                .node()
                .exec_ok(&["podman", verb, "--filter", &filter])
                .await
                .with_context(|| format!("podman {verb}"))
        }
    };
    all("pause").await?;
    let proof = tried(trial, state, "its containers were frozen").await;
    all("unpause").await?;
    Ok(proof)
}

async fn with_listener(trial: &Trial<'_>, state: State) -> anyhow::Result<Proof> {
    let port = trial.ports().find(|port| !port.udp);
    let port = port.context("an app without a port")?.host;
    let listen = format!("TCP-LISTEN:{port},fork,reuseaddr");
    let mut listener = trial.node().spawn(&["socat", &listen, "SYSTEM:true"])?;
    let address = format!("{}:{port}", trial.node().ip().await?);
    wait_until("a program listens", LISTEN_DEADLINE, async || {
        super::talk::listens(&address).await
    })
    .await?;
    let proof = tried(trial, state, "something listens on its port").await;
    listener.kill().await.context("ending a program")?;
    wait_until("the program is gone", LISTEN_DEADLINE, async || {
        !super::talk::listens(&address).await
    })
    .await?;
    Ok(proof)
}

async fn with_leftovers(trial: &Trial<'_>, state: State) -> anyhow::Result<Vec<Proof>> {
    let mut proofs = Vec::new();
    let data_left = (state == State::Purge).then_some(DATA_LEFT);
    for (what, make, remove) in LEFTOVERS.into_iter().chain(data_left) {
        let run = |script: &str| {
            let script = script.replace("SLUG", trial.app.slug());
            async move { trial.node().exec_ok(&["sh", "-e", "-c", &script]).await }
        };
        run(make).await?;
        proofs.push(tried(trial, state, what).await);
        run(remove).await?;
    }
    Ok(proofs)
}

async fn replaced(trial: &Trial<'_>, state: State) -> anyhow::Result<Proof> {
    let units = trial.units();
    let mut argv = vec!["systemctl", "--user", "restart"];
    argv.extend(units.iter().map(String::as_str));
    trial.node().exec_ok(&argv).await?;
    Ok(tried(trial, state, "a container was replaced meanwhile").await)
}
