//! The lifecycle gate: every app of this repository, on real nodes, through every state of an app's life.
//!
//! This module is the order of things. What is done to an app and what the machine must show then is
//! [`trial`]'s, what came of it [`matrix`]'s, how it is told [`report`]'s.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;

use crate::node::Bed;
use crate::stage::{self, Archyd, Programs, repository};

pub mod archive;
pub mod data;
pub mod leftover;
pub mod look;
pub mod matrix;
pub mod options;
pub mod proof;
pub mod report;
pub mod shelf;
pub mod state;
pub mod talk;
pub mod trial;

use matrix::{Cell, EVERYTHING, Matrix, Outcome, Proof};
use options::Options;
use report::Setting;
use shelf::{App, Kind, Shelf};
use state::State;
use trial::Trial;

/// Lines of the logs that a report keeps of a failure.
const LOG_LINES: &str = "25";
/// How the reason of a cell begins that could not be tried; what kept it from that has logs of its own.
const NOT_TRIED: &str = "not tried: ";

/// A run that ended: what was found, and on what.
#[derive(Debug)]
pub struct Run {
    /// What was found.
    pub matrix: Matrix,
    /// On what.
    pub setting: Setting,
}

/// Boots the nodes, takes every app through every state as often as asked, and returns what was found.
///
/// `news` hears of each cell as it ends.
///
/// # Errors
///
/// When the gate itself cannot go on: no nodes, no apps. An app that fails is no error.
pub async fn run(options: &Options, news: &(dyn Fn(&Cell) + Sync)) -> anyhow::Result<Run> {
    let began = Instant::now();
    let groups = shelf::groups(shelf::apps(&options.apps)?)?;
    let names = options.node_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bed = Bed::new("gate");
    let (publisher, stores) = stage::raise(&bed, &Programs::built()?, &names).await?;
    let gate = Gate {
        shelf: Shelf::new(publisher).await?,
        options,
        stores: &stores,
        groups: &groups,
        found: Mutex::new(Matrix::default()),
        news,
    };
    for iteration in 1..=options.iterations {
        gate.iterate(iteration).await;
    }
    let setting = Setting {
        day: jiff::Zoned::now().date().to_string(),
        commit: commit()?,
        machine: machine()?,
        versions: versions(&stores[0]).await?,
        iterations: options.iterations,
        nodes: options.nodes,
        jobs: options.jobs,
        minutes: began.elapsed().as_secs_f64() / 60.0,
    };
    Ok(Run {
        matrix: gate.found.into_inner(),
        setting,
    })
}

/// What is done to all apps of a node at once.
#[derive(Debug, Clone, Copy)]
enum Blow {
    KillDaemon,
    Reboot,
    CutPower,
}

struct Gate<'a> {
    options: &'a Options,
    shelf: Shelf,
    stores: &'a [Archyd],
    groups: &'a [Vec<App>],
    found: Mutex<Matrix>,
    news: &'a (dyn Fn(&Cell) + Sync),
}

/// The trials of one node: groups that do not touch each other.
type NodeTrials<'a> = Vec<Vec<Trial<'a>>>;

impl<'a> Gate<'a> {
    async fn iterate(&self, iteration: u32) {
        let mut nodes: Vec<NodeTrials<'a>> = Vec::new();
        for store in self.stores {
            let mut groups = Vec::new();
            for group in self.groups {
                let mut trials = Vec::new();
                for app in group {
                    let offer = self.shelf.offer(app, Kind::First, self.stores).await;
                    trials.push(Trial::new(store, app, offer, iteration));
                }
                groups.push(trials);
            }
            nodes.push(groups);
        }
        let first = [
            State::Install,
            State::Ui,
            State::Stop,
            State::Start,
            State::Restart,
            State::Reinstall,
        ];
        self.pass(&mut nodes, iteration, &first).await;
        self.offer(&mut nodes, Kind::Second).await;
        self.pass(&mut nodes, iteration, &[State::Update, State::Rollback])
            .await;
        self.offer(&mut nodes, Kind::Sick).await;
        self.pass(&mut nodes, iteration, &[State::FailedUpdate])
            .await;
        for (blow, state) in [
            (Blow::KillDaemon, State::DaemonKilled),
            (Blow::Reboot, State::Reboot),
            (Blow::CutPower, State::PowerCut),
        ] {
            self.strike(&mut nodes, iteration, blow, state).await;
        }
        self.offer(&mut nodes, Kind::First).await;
        // What is needed by others goes last.
        for trials in nodes.iter_mut().flatten() {
            trials.reverse();
        }
        let last = [State::Uninstall, State::InstallAgain, State::Purge];
        self.pass(&mut nodes, iteration, &last).await;
        for store in self.stores {
            self.is_empty(store, iteration).await;
        }
    }

    /// Publishes a release of every app.
    async fn offer(&self, nodes: &mut [NodeTrials<'a>], kind: Kind) {
        for trial in nodes.iter_mut().flatten().flatten() {
            trial.take(self.shelf.offer(trial.app, kind, self.stores).await);
        }
    }

    /// Takes every app through these states: the nodes at the same time, and of each as many groups as asked.
    async fn pass(&self, nodes: &mut [NodeTrials<'a>], iteration: u32, states: &[State]) {
        let on_nodes = nodes.iter_mut().map(async |groups| {
            let groups = groups.iter_mut().map(|group| async move {
                if states.contains(&State::Uninstall) {
                    self.remove(group, iteration, states).await;
                    return;
                }
                for trial in group {
                    for state in states {
                        self.reach(trial, iteration, *state).await;
                    }
                }
            });
            let mut groups = stream::iter(groups).buffer_unordered(self.options.jobs);
            while groups.next().await.is_some() {}
        });
        futures_util::future::join_all(on_nodes).await;
    }

    /// Removes a group whose dependents come first: each state for all, so that nothing is missing what it needs.
    async fn remove(&self, group: &mut [Trial<'a>], iteration: u32, states: &[State]) {
        for state in states {
            // Installed again in the order in which they need each other.
            if *state == State::InstallAgain {
                for trial in group.iter_mut().rev() {
                    self.reach(trial, iteration, *state).await;
                }
            } else {
                for trial in group.iter_mut() {
                    self.reach(trial, iteration, *state).await;
                }
            }
        }
    }

    /// Takes one app into one state and looks.
    async fn reach(&self, trial: &mut Trial<'a>, iteration: u32, state: State) {
        let began = Instant::now();
        let done = match &trial.given_up {
            Some(reason) if state != State::Purge => Err(anyhow::anyhow!("{NOT_TRIED}{reason}")),
            Some(_) | None => self.go(trial, state).await,
        };
        if state == State::Install && done.is_err() && trial.given_up.is_none() {
            trial.given_up = Some("the install failed".to_owned());
        }
        self.judge(trial, iteration, state, began, done).await;
    }

    async fn go(&self, trial: &mut Trial<'a>, state: State) -> anyhow::Result<()> {
        trial.note().await?;
        if self.options.proves(trial.app.slug()) {
            self.proven(proof::before(trial, state).await).await;
        }
        trial.act(state).await?;
        trial.arrives(state).await?;
        if state == State::Install {
            trial.leave_data().await?;
        }
        if self.options.proves(trial.app.slug()) {
            self.proven(proof::after(trial, state).await?).await;
        }
        Ok(())
    }

    /// Strikes each node once and looks at all of its apps.
    async fn strike(&self, nodes: &mut [NodeTrials<'a>], iteration: u32, blow: Blow, state: State) {
        let on_nodes = nodes.iter_mut().map(async |groups| {
            let mut struck = Ok(());
            for trial in groups.iter_mut().flatten() {
                if let Err(error) = trial.note().await {
                    struck = Err(error);
                }
                if self.options.proves(trial.app.slug()) {
                    self.proven(proof::before(trial, state).await).await;
                }
            }
            let began = Instant::now();
            if let (Ok(()), Some(store)) = (&struck, store_of(groups)) {
                struck = blow.fall(store).await;
            }
            let struck = &struck;
            let trials = groups.iter_mut().flatten().map(|trial| async move {
                let seen = match (struck, &trial.given_up) {
                    (Err(error), _) => Err(anyhow::anyhow!("{error:#}")),
                    (_, Some(reason)) => Err(anyhow::anyhow!("{NOT_TRIED}{reason}")),
                    (Ok(()), None) => trial.arrives(state).await,
                };
                let ended = self.judge(trial, iteration, state, began, seen).await;
                if ended && self.options.proves(trial.app.slug()) {
                    match proof::after(trial, state).await {
                        Ok(proofs) => self.proven(proofs).await,
                        Err(error) => {
                            self.judge(trial, iteration, state, began, Err(error)).await;
                        }
                    }
                }
            });
            let mut trials = stream::iter(trials).buffer_unordered(self.options.jobs);
            while trials.next().await.is_some() {}
        });
        futures_util::future::join_all(on_nodes).await;
    }

    /// When every app is purged, podman has nothing.
    async fn is_empty(&self, store: &Archyd, iteration: u32) {
        let began = Instant::now();
        let look = async || -> anyhow::Result<()> {
            let left = leftover::anything(&store.node).await?;
            ensure!(left.is_empty(), "podman still has {left:?}");
            Ok(())
        };
        let mut seen = look().await;
        if !self.options.prove.is_empty() && seen.is_ok() {
            seen = async {
                let stray = |verb| ["podman", "volume", verb, "stray"];
                store.node.exec_ok(&stray("create")).await?;
                let said = look().await.err().map(|error| format!("{error:#}"));
                store.node.exec_ok(&stray("rm")).await?;
                let proof = Proof {
                    app: EVERYTHING.to_owned(),
                    state: State::Purge,
                    broken: "a volume of nobody is there".to_owned(),
                    said,
                };
                self.proven(vec![proof]).await;
                Ok(())
            }
            .await;
        }
        let outcome = match seen {
            Ok(()) => Outcome::Ok,
            Err(error) => Outcome::Failed {
                reason: format!("{error:#}"),
                log: String::new(),
            },
        };
        let cell = Cell {
            app: EVERYTHING.to_owned(),
            state: State::Purge,
            node: store.node.name().to_owned(),
            iteration,
            seconds: began.elapsed().as_secs_f64(),
            outcome,
        };
        self.keep(cell).await;
    }

    /// Makes a cell of what was seen, with the logs of a failure. Tells whether it is green.
    async fn judge(
        &self,
        trial: &Trial<'_>,
        iteration: u32,
        state: State,
        began: Instant,
        seen: anyhow::Result<()>,
    ) -> bool {
        let seconds = began.elapsed().as_secs_f64();
        let ok = seen.is_ok();
        let outcome = match seen {
            Ok(()) => Outcome::Ok,
            Err(error) => {
                let reason = format!("{error:#}");
                let log = match reason.starts_with(NOT_TRIED) {
                    true => String::new(),
                    false => logs(trial).await,
                };
                Outcome::Failed { reason, log }
            }
        };
        self.enter(trial, iteration, state, seconds, outcome).await;
        ok
    }

    async fn enter(
        &self,
        trial: &Trial<'_>,
        iteration: u32,
        state: State,
        seconds: f64,
        outcome: Outcome,
    ) {
        let cell = Cell {
            app: trial.app.slug().to_owned(),
            state,
            node: trial.node().name().to_owned(),
            iteration,
            seconds,
            outcome,
        };
        self.keep(cell).await;
    }

    async fn keep(&self, cell: Cell) {
        (self.news)(&cell);
        self.found.lock().await.cells.push(cell);
    }

    async fn proven(&self, proofs: Vec<Proof>) {
        self.found.lock().await.proofs.extend(proofs);
    }
}

impl Blow {
    async fn fall(self, store: &Archyd) -> anyhow::Result<()> {
        match self {
            Self::KillDaemon => store.kill_daemon().await?,
            Self::Reboot => store.node.reboot().await?,
            Self::CutPower => {
                store.node.kill().await?;
                store.node.start().await?;
            }
        }
        store.answers().await
    }
}

fn store_of<'a>(groups: &NodeTrials<'a>) -> Option<&'a Archyd> {
    groups.iter().flatten().map(|trial| trial.store).next()
}

/// The last lines of what the app and the daemon logged.
async fn logs(trial: &Trial<'_>) -> String {
    let units = format!("archy.{}.*", trial.app.slug());
    let mut lines = String::new();
    for unit in [units.as_str(), "archyd.service"] {
        let wanted = [
            "--user",
            "-u",
            unit,
            "-n",
            LOG_LINES,
            "--no-pager",
            "--quiet",
            "-o",
            "short",
        ];
        match trial.node().logs(&wanted).await {
            Ok(found) => lines.push_str(&found),
            Err(error) => lines.push_str(&format!("{error}\n")),
        }
    }
    lines
}

/// Processors, memory and kernel of this machine.
/// The commit of this repository, and whether anything was changed since; `unknown` where git cannot tell.
fn commit() -> anyhow::Result<String> {
    let git = |arguments: &[&str]| -> anyhow::Result<Option<String>> {
        let mut git = Command::new("git");
        let said = git.current_dir(repository()).args(arguments).output();
        let said = said.context("running git")?;
        let text = String::from_utf8(said.stdout).context("reading what git says")?;
        Ok(said.status.success().then(|| text.trim().to_owned()))
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"])? else {
        return Ok("unknown".to_owned());
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Ok(match changed.as_deref() {
        Some("") => commit,
        Some(_) | None => format!("{commit} with changes"),
    })
}

fn machine() -> anyhow::Result<String> {
    let processors = std::thread::available_parallelism()?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib: f64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no MemTotal in /proc/meminfo")?
        .parse()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{processors} processors, {:.0} GB of memory, Linux {}",
        kib * 1024.0 / 1e9,
        kernel.trim()
    ))
}

async fn versions(store: &Archyd) -> anyhow::Result<Vec<String>> {
    let script = "archyd --version; podman --version; systemctl --version | head -n 1; . /etc/os-release; echo \"$PRETTY_NAME\"";
    let said = store.node.exec_ok(&["sh", "-c", script]).await?;
    Ok(said.lines().map(|line| line.trim().to_owned()).collect())
}
