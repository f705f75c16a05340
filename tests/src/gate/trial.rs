//! One app on one node, taken from state to state: what is done to it, and what the machine must show then.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use archy_registry::manifest::InterfaceKind;
use archyd::api::types::{InstallParams, InstanceParams, Job, JobRef, JobState};
use serde::Serialize;
use serde_json::json;

use super::data::Data;
use super::leftover;
use super::look::{Look, PublishedPort, Seen};
use super::shelf::{App, Kind, Offer};
use super::state::State;
use super::talk;
use crate::node::TestNode;
use crate::stage::{Archyd, awaited};

/// Longest that the machine may take to show what the daemon said is done.
const SETTLE_DEADLINE: Duration = Duration::from_secs(5);
/// Longest that an app may take to be back after its node booted or its daemon came back.
const RETURN_DEADLINE: Duration = Duration::from_secs(180);

/// One app on one node.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The node.
    pub store: &'a Archyd,
    /// The app.
    pub app: &'a App,
    /// Its newest release.
    pub offer: Offer,
    /// What was left with it.
    pub data: Option<Data>,
    /// Why it is not worth going on.
    pub given_up: Option<String>,
    iteration: u32,
    /// Which release should run, and its version.
    release: (Kind, String),
    before: Look,
    ports: BTreeSet<PublishedPort>,
    job: Option<Job>,
    data_dir: String,
}

impl<'a> Trial<'a> {
    /// Begins a trial of the release that is on offer.
    pub fn new(
        store: &'a Archyd,
        app: &'a App,
        offer: anyhow::Result<Offer>,
        iteration: u32,
    ) -> Self {
        let mut trial = Self {
            store,
            app,
            release: (Kind::First, String::new()),
            offer: Offer::none(app),
            data: None,
            given_up: None,
            iteration,
            before: Look::default(),
            ports: BTreeSet::new(),
            job: None,
            data_dir: String::new(),
        };
        trial.take(offer);
        trial
    }

    /// Takes note of the app's newest release; an app that could not be published is given up.
    pub fn take(&mut self, offer: anyhow::Result<Offer>) {
        match offer {
            Ok(offer) => self.offer = offer,
            Err(error) => self.given_up = Some(format!("{error:#}")),
        }
    }

    /// The node.
    pub fn node(&self) -> &TestNode {
        &self.store.node
    }

    /// The label that the app's containers bear.
    pub fn label(&self) -> String {
        format!("{}/{}", self.offer.app.publisher, self.offer.app.slug)
    }

    /// The unit of each container.
    pub fn units(&self) -> Vec<String> {
        let containers = self.app.manifest.containers.iter();
        containers
            .map(|container| format!("archy.{}.{}.service", self.app.slug(), container.name))
            .collect()
    }

    /// The ports on which the app listened when it last ran.
    pub fn ports(&self) -> impl Iterator<Item = PublishedPort> {
        self.ports.iter().copied()
    }

    /// Notes how the machine is, for checks that compare with it.
    ///
    /// # Errors
    ///
    /// When it cannot be seen.
    pub async fn note(&mut self) -> anyhow::Result<()> {
        self.before = self.look().await?;
        self.job = None;
        Ok(())
    }

    /// Does to the app what brings it into `state`. What a node does by itself, or what is done to all of its apps at once,
    /// is not done here.
    ///
    /// # Errors
    ///
    /// When the daemon refuses, or a job ends otherwise than it should.
    pub async fn act(&mut self, state: State) -> anyhow::Result<()> {
        let slug = self.app.slug().to_owned();
        let instance = InstanceParams { slug: slug.clone() };
        match state {
            State::Install | State::InstallAgain => {
                self.release = (Kind::First, self.offer.version.clone());
                let params = InstallParams {
                    app: self.offer.app.clone(),
                    release: None,
                };
                self.succeeds("package.install", params).await
            }
            State::Stop => self.succeeds("package.stop", instance).await,
            State::Start => self.succeeds("package.start", instance).await,
            State::Restart => self.succeeds("package.restart", instance).await,
            State::Reinstall => self.succeeds(REINSTALL, instance).await,
            State::Update => {
                self.succeeds(UPDATE, instance).await?;
                self.release = (Kind::Second, self.offer.version.clone());
                Ok(())
            }
            State::Rollback => {
                self.succeeds(ROLLBACK, instance).await?;
                self.release.0 = Kind::First;
                Ok(())
            }
            State::FailedUpdate => {
                let job: JobRef = self.store.call(UPDATE, instance).await?;
                self.job = Some(self.store.ends(&job).await?);
                Ok(())
            }
            State::Uninstall | State::Purge => {
                let purge = state == State::Purge;
                self.succeeds("package.uninstall", json!({"slug": slug, "purge": purge}))
                    .await
            }
            State::Ui | State::DaemonKilled | State::Reboot | State::PowerCut => Ok(()),
        }
    }

    /// Leaves data with the app, which runs.
    ///
    /// # Errors
    ///
    /// When that fails, or it is not found at once.
    pub async fn leave_data(&mut self) -> anyhow::Result<()> {
        let slug = self.app.slug();
        let instance = self.store.instance(slug).await?;
        let instance = instance.context("archyd does not list the app")?;
        self.data_dir = instance.data_dir;
        let data_dir = if self.data_dir.ends_with("/data") {
            self.data_dir.clone()
        } else {
            format!("{}/data", self.data_dir)
        };
        let token = format!("{slug}-{}-{}", self.node().name(), self.iteration);
        let look = self.look().await?;
        self.data = Some(Data::leave(self.node(), self.app, &data_dir, &token, &look).await?);
        Ok(())
    }

    /// Waits until the machine shows that the app is in `state`.
    ///
    /// # Errors
    ///
    /// When it does not in time; the text says what it shows instead.
    pub async fn arrives(&mut self, state: State) -> anyhow::Result<()> {
        let deadline = match state {
            State::DaemonKilled | State::Reboot | State::PowerCut => RETURN_DEADLINE,
            State::Install
            | State::Ui
            | State::Stop
            | State::Start
            | State::Restart
            | State::Reinstall
            | State::Update
            | State::Rollback
            | State::FailedUpdate
            | State::Uninstall
            | State::InstallAgain
            | State::Purge => SETTLE_DEADLINE,
        };
        let what = format!("{state} of {}", self.app.slug());
        let look = awaited(&what, deadline, async || self.check(state).await.map(Some)).await?;
        if state.runs() {
            self.ports = look.ports();
        }
        Ok(())
    }

    /// Looks once whether the app is in `state`.
    ///
    /// # Errors
    ///
    /// When the machine shows something else; the text says what.
    pub async fn check(&self, state: State) -> anyhow::Result<Look> {
        let now = self.look().await?;
        let before = &self.before;
        match state {
            State::Install | State::InstallAgain => {
                ensure!(
                    before.containers.is_empty(),
                    "there were containers before the install"
                );
                self.runs(&now).await?;
            }
            State::Start => {
                ensure!(
                    before.containers.iter().all(|seen| seen.state != "running"),
                    "containers ran before the start"
                );
                self.runs(&now).await?;
            }
            State::Ui => self.answers(&now).await?,
            State::Stop => self.is_stopped(&now).await?,
            State::Restart => {
                self.runs(&now).await?;
                self.is_renewed(&now)?;
            }
            State::Reinstall => {
                self.runs(&now).await?;
                self.is_renewed(&now)?;
                ensure!(
                    now.images() == before.images(),
                    "the images changed from {:?} to {:?}",
                    before.images(),
                    now.images()
                );
            }
            State::Update | State::Rollback => {
                self.runs(&now).await?;
                ensure!(
                    now.images() != before.images(),
                    "the images are those of before"
                );
                if state == State::Update {
                    self.is_listed_as(&self.release.1).await?;
                }
            }
            State::FailedUpdate => self.is_undone(&now).await?,
            State::DaemonKilled => {
                ensure!(
                    now.daemon != before.daemon && now.daemon != "0",
                    "archyd is process {} as before",
                    now.daemon
                );
                ensure!(
                    now.runs() == before.runs(),
                    "the containers are not the ones of before: {:?}, not {:?}",
                    now.runs(),
                    before.runs()
                );
                self.runs(&now).await?;
            }
            State::Reboot | State::PowerCut => {
                ensure!(now.boot != before.boot, "the node has not booted again");
                self.runs(&now).await?;
            }
            State::Uninstall => {
                let left = leftover::running(self.node(), self.app.slug(), &self.label()).await?;
                ensure!(left.is_empty(), "left of it: {left:?}");
                self.is_unlisted().await?;
                self.is_closed().await?;
                if let Some(data) = &self.data {
                    data.is_on_disk(self.node()).await?;
                }
            }
            State::Purge => {
                let slug = self.app.slug();
                let left = leftover::anything_of(self.node(), slug, &self.label()).await?;
                ensure!(left.is_empty(), "left of it: {left:?}");
                self.is_unlisted().await?;
                // One that never ran listened nowhere.
                if self.given_up.is_none() {
                    self.is_closed().await?;
                }
            }
        }
        Ok(now)
    }

    async fn look(&self) -> anyhow::Result<Look> {
        Look::at(self.node(), &self.label(), &self.units()).await
    }

    async fn succeeds<P: Serialize>(&mut self, method: &str, params: P) -> anyhow::Result<()> {
        self.job = Some(self.store.does(method, params).await?);
        Ok(())
    }

    /// Every container of the release runs and is well, its interfaces answer, and the data is there.
    async fn runs(&self, now: &Look) -> anyhow::Result<()> {
        let expected = self.app.manifest.containers.len();
        ensure!(
            now.containers.len() == expected,
            "not {expected} containers: {:?}",
            now.containers
        );
        for (unit, state) in &now.units {
            ensure!(state == "active", "{unit} is {state}");
        }
        for seen in &now.containers {
            ensure!(seen.state == "running", "{} is {}", seen.name, seen.state);
            let marker = self.release.0.marker();
            ensure!(
                seen.marker.as_deref() == marker,
                "{} runs the release with the marker {:?}, not {marker:?}",
                seen.name,
                seen.marker
            );
            self.is_healthy(seen).await?;
        }
        self.answers(now).await?;
        if let Some(data) = &self.data {
            data.is_in_use(self.node(), now).await?;
        }
        Ok(())
    }

    /// Runs the container's health check now, whatever its last result was.
    async fn is_healthy(&self, seen: &Seen) -> anyhow::Result<()> {
        let output = self
            .node()
            .exec(&["podman", "healthcheck", "run", &seen.id])
            .await?;
        ensure!(
            output.status.success(),
            "the health check of {} fails: {}{}",
            seen.name,
            output.stdout.trim(),
            output.stderr.trim()
        );
        Ok(())
    }

    /// Each interface answers from outside, on the port that podman and archyd both name.
    async fn answers(&self, now: &Look) -> anyhow::Result<()> {
        let slug = self.app.slug();
        let instance = self.store.instance(slug).await?;
        let instance = instance.context("archyd does not list the app")?;
        let address = self.node().ip().await?;
        for interface in &self.app.manifest.interfaces {
            let ports = now.ports();
            let mut ports = ports.iter().filter(|port| !port.udp);
            let port = ports
                .find(|port| port.container == interface.port)
                .with_context(|| format!("port {} of {slug} is not published", interface.port))?
                .host;
            let mut listed = instance.interfaces.iter();
            let listed = listed
                .find(|listed| listed.name == interface.name)
                .with_context(|| {
                    format!("archyd does not list the interface {}", interface.name)
                })?;
            ensure!(
                listed.port == Some(port),
                "archyd says that {} is on port {:?}, podman says {port}",
                interface.name,
                listed.port
            );
            let mut greetings = self.app.notes.greetings.iter();
            let greeting = greetings.find(|greeting| greeting.port == interface.port);
            let path = interface.path.as_deref().unwrap_or("/");
            let url = format!("http://{address}:{port}{path}");
            match (interface.kind, greeting) {
                (_, Some(greeting)) => talk::greet(&format!("{address}:{port}"), greeting).await?,
                (InterfaceKind::Ui, None) => talk::page(&url).await?,
                (InterfaceKind::Api, None) => talk::answered(&url).await.map(drop)?,
            }
        }
        Ok(())
    }

    async fn is_stopped(&self, now: &Look) -> anyhow::Result<()> {
        for seen in &now.containers {
            ensure!(seen.state != "running", "{} runs", seen.name);
        }
        for (unit, state) in &now.units {
            ensure!(state == "inactive", "{unit} is {state}");
        }
        self.is_closed().await?;
        match &self.data {
            Some(data) => data.is_on_disk(self.node()).await,
            None => bail!("no data was left with the app"),
        }
    }

    /// Nothing listens on the ports that were the app's, seen from inside the node and from outside.
    async fn is_closed(&self) -> anyhow::Result<()> {
        ensure!(!self.ports.is_empty(), "it is not known where it listened");
        let sockets = [
            "ss",
            "--no-header",
            "--listening",
            "--numeric",
            "--tcp",
            "--udp",
        ];
        let sockets = self.node().exec_ok(&sockets).await?;
        let address = self.node().ip().await?;
        for port in &self.ports {
            let end = format!(":{}", port.host);
            let kind = if port.udp { "udp" } else { "tcp" };
            let open = sockets.lines().find(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(kind)
                    && words.nth(3).is_some_and(|local| local.ends_with(&end))
            });
            if let Some(open) = open {
                bail!("something listens on port {} ({kind}): {open}", port.host);
            }
            ensure!(
                port.udp || !talk::listens(&format!("{address}:{}", port.host)).await,
                "port {} takes connections",
                port.host
            );
        }
        Ok(())
    }

    fn is_renewed(&self, now: &Look) -> anyhow::Result<()> {
        let (old, new) = (self.before.ids(), now.ids());
        ensure!(!old.is_empty(), "there was no container before");
        ensure!(
            old.is_disjoint(&new),
            "containers of before are still there: {:?}",
            old.intersection(&new).collect::<Vec<_>>()
        );
        Ok(())
    }

    async fn is_undone(&self, now: &Look) -> anyhow::Result<()> {
        let job = self.job.as_ref().context("there was no job")?;
        ensure!(
            job.state == JobState::Failed && job.problem.is_some(),
            "the update ended {:?}: {:?}",
            job.state,
            job.problem
        );
        ensure!(
            now.ids() != self.before.ids(),
            "no container was replaced: the release was not tried"
        );
        ensure!(
            now.images() == self.before.images(),
            "the images are {:?}, and were {:?}",
            now.images(),
            self.before.images()
        );
        self.runs(now).await
    }

    async fn is_listed_as(&self, version: &str) -> anyhow::Result<()> {
        let instance = self.store.instance(self.app.slug()).await?;
        let instance = instance.context("archyd does not list the app")?;
        ensure!(
            instance.version == version,
            "archyd lists version {}, not {version}",
            instance.version
        );
        Ok(())
    }

    async fn is_unlisted(&self) -> anyhow::Result<()> {
        let instance = self.store.instance(self.app.slug()).await?;
        ensure!(instance.is_none(), "archyd still lists it");
        Ok(())
    }
}

/// Installs an app over itself.
pub const REINSTALL: &str = "package.reinstall";
/// Brings an app to its newest release.
pub const UPDATE: &str = "package.update";
/// Brings an app back to the release that it had before.
pub const ROLLBACK: &str = "package.rollback";
