//! Breaks what a check looks at, and sees whether the check says so; then mends it again.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::matrix::Proof;
use super::state::State;
use super::trial::Trial;
use crate::node::wait_until;
use crate::stage::awaited;

/// Longest that a program may take to listen.
const LISTEN_DEADLINE: Duration = Duration::from_secs(10);
/// Longest that an app may take to be itself again.
const RETURN_DEADLINE: Duration = Duration::from_secs(60);

/// Something that is left of an app that is gone. `SLUG` stands for the app in each script.
struct Leftover {
    what: &'static str,
    make: &'static str,
    /// Succeeds while it is there: archyd may take it away by itself before anybody looks.
    is_there: &'static str,
    remove: &'static str,
}

const LEFTOVERS: [Leftover; 6] = [
    Leftover {
        what: "a volume is left",
        make: "podman volume create archy.SLUG.left",
        is_there: "podman volume exists archy.SLUG.left",
        remove: "podman volume rm archy.SLUG.left",
    },
    Leftover {
        what: "a secret is left",
        make: "echo x | podman secret create archy.SLUG.left -",
        is_there: "podman secret exists archy.SLUG.left",
        remove: "podman secret rm archy.SLUG.left",
    },
    Leftover {
        what: "a network is left",
        make: "podman network create archy.SLUG",
        is_there: "podman network exists archy.SLUG",
        remove: "podman network rm archy.SLUG",
    },
    Leftover {
        what: "an image is left",
        make: "tar -c --files-from=/dev/null | podman import - localhost/archy/SLUG/left:1",
        is_there: "podman image exists localhost/archy/SLUG/left:1",
        remove: "podman rmi localhost/archy/SLUG/left:1",
    },
    Leftover {
        what: "a folder of units is left",
        make: "mkdir -p .config/containers/systemd/archy/SLUG",
        is_there: "test -d .config/containers/systemd/archy/SLUG",
        remove: "rmdir .config/containers/systemd/archy/SLUG",
    },
    Leftover {
        what: "a unit is left",
        make: "systemd-run --user --quiet --unit=archy.SLUG.left.service sleep infinity",
        is_there: "systemctl --user is-active archy.SLUG.left.service",
        remove: "systemctl --user stop archy.SLUG.left.service",
    },
];
/// What only a purge takes away.
const DATA_LEFT: Leftover = Leftover {
    what: "its folder is left",
    make: "mkdir .local/share/archy/apps/SLUG",
    is_there: "test -d .local/share/archy/apps/SLUG",
    remove: "rmdir .local/share/archy/apps/SLUG",
};
/// How often something is left again when archyd took it away before anybody looked.
const LEFTOVER_TRIES: usize = 5;

/// Tries the check of `state` before anything was done to reach it: it must not pass.
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
        proofs.push(frozen(trial, state).await?);
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

async fn without_data(trial: &Trial<'_>, state: State) -> anyhow::Result<Vec<Proof>> {
    let mut proofs = Vec::new();
    let Some(data) = &trial.data else {
        return Ok(proofs);
    };
    let node = trial.node();
    if data.has_volumes() {
        data.hide(node).await?;
        proofs.push(tried(trial, state, "the data was taken away").await);
        data.bring_back(node).await?;
    }
    if data.has_secrets() {
        data.hide_secrets(node).await?;
        proofs.push(tried(trial, state, "the secrets were taken away").await);
        data.bring_back_secrets(node).await?;
    }
    if data.has_record() && state.runs() {
        data.lose_record(node).await?;
        proofs.push(tried(trial, state, "the app lost its record").await);
        data.write_record(node).await?;
    }
    Ok(proofs)
}

/// A container whose processes are stopped runs for podman and systemd, has its ports, and does nothing.
async fn frozen(trial: &Trial<'_>, state: State) -> anyhow::Result<Proof> {
    const SCRIPT: &str = "for id in $(podman ps --quiet --filter \"label=$1\"); do podman top \"$id\" hpid | tail -n +2; done \
        | xargs podman unshare kill \"-$2\"";
    let label = format!("io.archy.app={}", trial.label());
    let signal = async |name: &str| {
        let argv = ["sh", "-c", SCRIPT, "sh", &label, name];
        let sent = trial.node().exec_ok(&argv).await;
        sent.with_context(|| format!("sending {name} to all processes"))
    };
    signal("STOP").await?;
    let proof = tried(trial, state, "its processes were stopped").await;
    // One that was found unhealthy meanwhile is gone, and another in its place.
    let _ = signal("CONT").await;
    awaited("the app answers again", RETURN_DEADLINE, async || {
        trial.check(State::Ui).await.map(Some)
    })
    .await?;
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
    for leftover in LEFTOVERS.into_iter().chain(data_left) {
        let run = async |script: &str| {
            let script = script.replace("SLUG", trial.app.slug());
            trial.node().exec(&["sh", "-e", "-c", &script]).await
        };
        let mut tries = LEFTOVER_TRIES;
        let proof = loop {
            tries -= 1;
            let made = run(leftover.make).await?;
            ensure!(
                made.status.success(),
                "{}: {}",
                leftover.make,
                made.stderr.trim()
            );
            let proof = tried(trial, state, leftover.what).await;
            let is_there = run(leftover.is_there).await?.status.success();
            if is_there {
                let removed = run(leftover.remove).await?;
                // Unless archyd was faster.
                ensure!(
                    removed.status.success() || !run(leftover.is_there).await?.status.success(),
                    "{}: {}",
                    leftover.remove,
                    removed.stderr.trim()
                );
            }
            if proof.said.is_some() || is_there || tries == 0 {
                break proof;
            }
        };
        proofs.push(proof);
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
