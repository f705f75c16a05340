//! Keeps the machine as wished: looks at it regularly and whenever something happens, plans, and performs the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use archy_registry::Slug;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::desired::{Desired, Stage, Wish};
use crate::install::MachineError;
use crate::instance::{Instance, Observed, container_of, instance};
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::plan::{Machine, Plan, Step, is_settled, plan};
use crate::quadlet::{LABEL_ROOT, app_dir, volume_dir};
use crate::runtime::podman::{Container, PodmanError};
use crate::runtime::systemd::{UnitState, Verb};
use crate::sight::{Seen, Sight};
use crate::surroundings::NodeFacts;

/// Events within this time lead to one look.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// Longest time for which looks wait while somebody is at work on an app.
const WORK: Duration = Duration::from_secs(5);
/// Wait before a lost stream of events is opened again.
const RESUBSCRIBE: Duration = Duration::from_secs(5);

impl Orchestrator {
    /// Looks at the machine once, brings it closer to what should be, and returns what was planned when all of it is done.
    ///
    /// An app that somebody is at work on, or that failed of late, is left for a later look.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when the machine cannot be seen; what was last seen stays, marked as old.
    pub async fn reconcile_once(&self) -> Result<Plan, MachineError> {
        let plan = self.plan_now().await?;
        let work = plan.apps.keys().map(|app| self.reconcile_app(app));
        let changed = join_all(work).await.into_iter().any(|changed| changed);
        if changed {
            self.look().await.ok();
        }
        Ok(plan)
    }

    /// Looks at the machine once, tells what it saw, and plans for the apps whose turn it is.
    async fn plan_now(&self) -> Result<Plan, MachineError> {
        let began = Instant::now();
        let (found, machine) = self.told_of(self.see_again().await)?;
        let now = Timestamp::now();
        let damaged: BTreeSet<Slug> = found.damaged.iter().map(|(app, _)| app.clone()).collect();
        let mut plan = plan(&found.desired, &damaged, &machine, &self.inner.facts.root);
        self.note_restarts(&found.desired, &machine, now).await;
        for (app, steps) in &plan.apps {
            if steps.iter().any(|step| matches!(step, Step::Start(_))) {
                self.memory(|memory| memory.hold_back_if_looping(app, now));
            }
        }
        for desired in &found.desired {
            // One that systemd starts again and again has no steps either.
            if !plan.apps.contains_key(desired.slug()) && is_settled(desired, &machine) {
                self.memory(|memory| memory.is_well(desired.slug()));
            }
        }
        self.publish(&found, &machine, began);
        plan.apps
            .retain(|app, _| !self.memory(|memory| memory.holds_back(app, now)));
        Ok(plan)
    }

    /// Passes on what a look saw. When it saw nothing, what was last seen stays, marked as old; before the first look, what
    /// should be is told.
    fn told_of<T>(&self, seen: Result<T, MachineError>) -> Result<T, MachineError> {
        if let Err(error) = &seen {
            let unseen = || {
                let found = self.inner.store.load_all().unwrap_or_default();
                let desired = found.desired.iter();
                let desired = desired.filter(|desired| desired.wish != Wish::Removed);
                desired
                    .map(|desired| self.instance_of(desired, None))
                    .collect()
            };
            let why = crate::error_chain(error);
            self.inner.bulletin.tell_stale(why, unseen);
        }
        seen
    }

    /// Looks at the machine once, changes nothing, and returns what was seen.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when the machine cannot be seen.
    pub async fn look(&self) -> Result<Observed, MachineError> {
        let began = Instant::now();
        let (found, machine) = self.told_of(self.see().await)?;
        self.publish(&found, &machine, began);
        Ok(self.inner.bulletin.watch().borrow().clone())
    }

    /// Reconciles until cancelled: at once, at every interval, and when systemd or podman report a change. Looks do not wait
    /// for the work on apps, which may take as long as an app takes to start, or its data to be copied.
    pub async fn run(&self, cancel: CancellationToken) {
        let (plans, planned) = mpsc::channel(1);
        let looks = async {
            loop {
                let began = Instant::now();
                match self.plan_now().await {
                    Ok(plan) => {
                        tracing::debug!(
                            apps_changed = plan.apps.len(),
                            duration_us = began.elapsed().as_micros() as u64,
                            "reconciled"
                        );
                        if !plan.is_empty() && plans.send(plan).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot see the machine; what was last seen stays"
                    ),
                }
                tokio::select! {
                    () = tokio::time::sleep(self.inner.config.reconcile_interval) => {}
                    () = self.inner.nudge.notified() => self.let_events_settle().await,
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = looks => {}
            () = self.work_on(planned) => {}
            () = self.listen_to_systemd() => {}
            () = self.listen_to_podman() => {}
        }
    }

    /// Works on whatever is planned, on all apps beside one another; one that is worked on already is passed over.
    async fn work_on(&self, mut planned: mpsc::Receiver<Plan>) {
        let work = async |app: Slug| {
            if self.reconcile_app(&app).await {
                self.look().await.ok();
            }
        };
        let mut at_work = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(plan) = planned.recv() => at_work.extend(plan.apps.into_keys().map(work)),
                Some(()) = at_work.next() => {}
                else => return,
            }
        }
    }

    /// Asks for a look soon.
    pub fn nudge(&self) {
        self.sight(Sight::changed);
        self.inner.nudge.notify_one();
    }

    /// Waits until what led to an event has told of itself. Whoever works on an app makes events all the time, looks at the
    /// app when done, and is the slower the more often this looks meanwhile: at most every [`WORK`].
    async fn let_events_settle(&self) {
        let began = Instant::now();
        loop {
            tokio::time::sleep(DEBOUNCE).await;
            if began.elapsed() >= WORK || !self.is_at_work() {
                return;
            }
        }
    }

    async fn listen_to_systemd(&self) {
        loop {
            if let Ok(mut changes) = self.inner.systemd.changes(names::PREFIX).await {
                while changes.next().await.is_some() {
                    self.nudge();
                }
                // systemd may be gone.
                self.nudge();
            }
            tokio::time::sleep(RESUBSCRIBE).await;
        }
    }

    async fn listen_to_podman(&self) {
        loop {
            if let Ok(mut events) = self.inner.podman.events().await {
                self.sight(|sight| sight.listens(true));
                while let Ok(Some(event)) = events.next().await {
                    if !self.sight(|sight| sight.hears(&event)) {
                        continue;
                    }
                    let attributes = &event.actor.attributes;
                    let name = attributes
                        .get("name")
                        .map(String::as_str)
                        .unwrap_or_default();
                    let ours =
                        attributes.contains_key(LABEL_ROOT) || name.starts_with(names::PREFIX);
                    let removed = event.kind != "container" && event.action == "remove";
                    let changed = ["start", "died", "remove"].contains(&event.action.as_str());
                    if removed || ours && changed {
                        self.nudge();
                    }
                }
                self.sight(|sight| sight.listens(false));
                // podman may be gone.
                self.nudge();
            }
            tokio::time::sleep(RESUBSCRIBE).await;
        }
    }

    /// Looks at one app again under its lock, and performs what is to be done; tells whether anything was.
    async fn reconcile_app(&self, app: &Slug) -> bool {
        let Some(_lock) = self.try_lock(app) else {
            return false;
        };
        let done = self.perform(app).await;
        let now = Timestamp::now();
        match done {
            Ok(true) => {
                self.memory(|memory| memory.is_well(app));
                true
            }
            // It may be on its way; the next look knows.
            Ok(false) => false,
            Err(error) => {
                let message = crate::error_chain(&*error);
                tracing::warn!(app = %app, reason = message, "an app is not as wished");
                self.memory(|memory| memory.failed(app, message, now));
                true
            }
        }
    }

    async fn perform(&self, app: &Slug) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        // Somebody may have finished with the app since the look.
        let (found, machine) = self.see().await?;
        let damaged: BTreeSet<Slug> = found.damaged.into_iter().map(|(app, _)| app).collect();
        let mut plan = plan(&found.desired, &damaged, &machine, &self.inner.facts.root);
        let Some(steps) = plan.apps.remove(app) else {
            return Ok(false);
        };
        let desired = found.desired.iter().find(|desired| desired.slug() == app);
        for step in &steps {
            tracing::info!(app = %app, step = %step, "reconciling");
        }
        let Some(desired) = desired else {
            self.tear_down_orphan(app).await?;
            return Ok(true);
        };
        // What runs is not stopped for something else that cannot be started.
        if steps.iter().any(Step::starts) {
            self.check_names(desired).await?;
        }
        for step in steps.iter().filter(|step| !matches!(step, Step::Start(_))) {
            if *step == Step::FinishChange {
                self.finish_change(desired.clone()).await?;
            } else if *step == Step::FinishReturn {
                self.finish_return(desired.clone()).await?;
            } else if *step == Step::FinishMigration {
                self.finish_migration(desired.clone()).await?;
            } else if *step == Step::FinishUndo {
                self.finish_undo(desired.clone()).await?;
            } else {
                self.perform_step(desired, step).await?;
            }
        }
        if steps.iter().any(|step| matches!(step, Step::Start(_))) {
            self.start_containers(desired).await?;
        }
        Ok(true)
    }

    async fn perform_step(&self, desired: &Desired, step: &Step) -> Result<(), MachineError> {
        let app = desired.slug();
        match step {
            Step::Undo => self.undo(desired, None).await?,
            Step::TearDown => self.tear_down(desired).await?,
            Step::Allow(allowed) => self.allow(app, *allowed)?,
            Step::Refresh => self.refresh(desired).await?,
            Step::AskForData(volume) => {
                return Err(MachineError::DataGone {
                    volume: volume.clone(),
                    path: volume_dir(&self.inner.facts.apps_dir, app, volume),
                });
            }
            Step::Join => self.join_neighbours(desired).await,
            Step::StoreSecret(_) => self.store_secrets(desired).await?,
            Step::WriteUnits => self.write_units(desired).await?,
            Step::Remake(unit) => {
                self.inner.systemd.job(Verb::Restart, unit).await?;
            }
            Step::Stop(unit) => {
                self.stop_unit(unit).await?;
            }
            // These are done by the callers that can.
            Step::Start(_)
            | Step::FinishChange
            | Step::FinishReturn
            | Step::FinishMigration
            | Step::FinishUndo => {}
        }
        Ok(())
    }

    /// Does everything that an app needs before it can start: units, directories, secrets.
    pub(crate) async fn repair(&self, desired: &Desired) -> Result<(), MachineError> {
        let mut running = desired.clone();
        running.wish = Wish::Running;
        running.stage = Stage::Installed;
        let root = &self.inner.facts.root;
        loop {
            let (found, machine) = self.see().await?;
            let one = std::slice::from_ref(&running);
            let mut plan = plan(one, &BTreeSet::new(), &machine, root);
            let steps = plan.apps.remove(desired.slug()).unwrap_or_default();
            for step in steps.iter().filter(|step| !matches!(step, Step::Start(_))) {
                self.perform_step(&running, step).await?;
            }
            if !steps.contains(&Step::Refresh) {
                return Ok(());
            }
            // What it depends on has changed once; should it change all the time, the next look follows.
            let fresh = self.inner.store.load(desired.slug())?;
            match fresh.filter(|fresh| fresh.settings != running.settings) {
                Some(fresh) => running = fresh,
                None => {
                    tracing::debug!(apps = found.desired.len(), "rendered again, and the same");
                    return Ok(());
                }
            }
        }
    }

    /// Puts the units in place that were checked when the app was installed or changed.
    pub(crate) async fn write_units(&self, desired: &Desired) -> Result<(), MachineError> {
        let staging = self.staging(desired.slug());
        crate::disk::remove_dir(&staging)
            .and_then(|()| std::fs::create_dir_all(&staging))
            .map_err(MachineError::io(&staging))?;
        for (name, text) in &desired.units {
            let path = staging.join(name);
            crate::disk::write_synced(&path, text.as_bytes(), 0o644)
                .map_err(MachineError::io(&path))?;
        }
        self.place(desired.slug(), &staging)?;
        self.inner.systemd.reload().await?;
        Ok(())
    }

    /// Sees what should be and what is, without asking podman again for what has not changed.
    async fn see_again(&self) -> Result<(crate::desired::Found, Machine), MachineError> {
        self.see_with(self.podman_now()).await
    }

    /// Tells what podman has, without asking where nothing has changed since it was asked.
    async fn podman_now(&self) -> Result<Arc<Seen>, PodmanError> {
        match self.sight(|sight| sight.still(Instant::now())) {
            Some(seen) => Ok(seen),
            None => self.ask_podman().await,
        }
    }

    /// Sees what should be and what is.
    async fn see(&self) -> Result<(crate::desired::Found, Machine), MachineError> {
        self.see_with(self.ask_podman()).await
    }

    async fn ask_podman(&self) -> Result<Arc<Seen>, PodmanError> {
        let mark = self.sight(|sight| sight.mark());
        let podman = &self.inner.podman;
        let (containers, networks, volumes) =
            tokio::try_join!(podman.containers(), podman.networks(), podman.volumes())?;
        let seen = Arc::new(Seen {
            containers,
            networks: networks.into_iter().collect(),
            volumes: volumes.into_iter().collect(),
        });
        self.sight(|sight| sight.keep(&seen, mark, Instant::now()));
        Ok(seen)
    }

    async fn see_with(
        &self,
        seen: impl Future<Output = Result<Arc<Seen>, PodmanError>>,
    ) -> Result<(crate::desired::Found, Machine), MachineError> {
        let found = self.inner.store.load_all()?;
        let podman = &self.inner.podman;
        let (seen, secrets, units) = tokio::try_join!(
            async { seen.await.map_err(MachineError::from) },
            async { podman.secret_stamps().await.map_err(MachineError::from) },
            async {
                self.inner
                    .systemd
                    .list(names::UNIT_PATTERN)
                    .await
                    .map_err(MachineError::from)
            },
        )?;
        let (mut unsound, mut different) = (BTreeSet::new(), BTreeSet::new());
        let node = NodeFacts::now();
        let mut outdated = BTreeSet::new();
        for desired in found.desired.iter().filter(|d| d.is_kept_running()) {
            let amiss = self.secrets_amiss(desired, &secrets).await?;
            unsound.extend(amiss.unsound);
            different.extend(amiss.different);
            if self.is_outdated(desired, &found.desired, &node) {
                outdated.insert(desired.slug().clone());
            }
        }
        let live = self
            .live_units()
            .map_err(MachineError::io(&self.inner.config.unit_dir))?;
        let apps_dir = &self.inner.facts.apps_dir;
        let wanted =
            |desired: &&Desired| crate::quadlet::wanted_file(apps_dir, desired.slug()).exists();
        let data = found.desired.iter().flat_map(|desired| {
            let volumes = desired.volumes().into_iter();
            volumes.map(|volume| (desired.slug().clone(), volume.clone()))
        });
        let units: BTreeMap<String, UnitState> = units
            .into_iter()
            .map(|unit| (unit.name.clone(), unit))
            .collect();
        let machine = Machine {
            ailing: self.ailing(&found.desired, &units, &seen.containers),
            outdated,
            different_secrets: different,
            units,
            containers: seen.containers.clone(),
            networks: seen.networks.clone(),
            volumes: seen.volumes.clone(),
            secrets: secrets
                .into_keys()
                .filter(|name| !unsound.contains(name))
                .collect(),
            live,
            wanted: found
                .desired
                .iter()
                .filter(wanted)
                .map(|d| d.slug().clone())
                .collect(),
            data: data
                .filter(|(app, volume)| volume_dir(apps_dir, app, volume).is_dir())
                .collect(),
        };
        Ok((found, machine))
    }

    /// Lists the services that systemd takes for running although their container has not been well for some time: podman
    /// kills those whose checks fail, unless its timer is gone, and nobody else looks after one that was paused.
    fn ailing(
        &self,
        desired: &[Desired],
        units: &BTreeMap<String, UnitState>,
        containers: &[Container],
    ) -> BTreeSet<String> {
        let now = Timestamp::now();
        let mut ailing = BTreeSet::new();
        for app in desired.iter().filter(|desired| desired.is_kept_running()) {
            for name in app.containers() {
                let unit = names::container_unit(app.slug(), name);
                let ails = units.get(&unit).is_some_and(|unit| unit.active == "active")
                    && !container_of(app, name, containers).is_some_and(is_well);
                if self.memory(|memory| memory.ails(app.slug(), name, ails, now)) {
                    tracing::info!(app = %app.app, container = %name, "a container is not well, and systemd does not know");
                    ailing.insert(unit);
                }
            }
        }
        ailing
    }

    /// Asks systemd about services whose container is another than at the last look, or that it is starting again.
    async fn note_restarts(&self, desired: &[Desired], machine: &Machine, now: Timestamp) {
        let mut others = Vec::new();
        for app in desired.iter().filter(|desired| desired.is_kept_running()) {
            for container in app.containers() {
                let id = container_of(app, container, &machine.containers);
                let id = id
                    .map(|container| container.id.as_str())
                    .unwrap_or_default();
                let unit = names::container_unit(app.slug(), container);
                let again = machine.units.get(&unit);
                let again = again.is_some_and(|unit| unit.sub.starts_with("auto-restart"));
                if self.memory(|memory| memory.saw(app.slug(), container, id, now)) || again {
                    others.push((app.slug(), container));
                }
            }
        }
        let counts = others.into_iter().map(|(app, container)| async move {
            let unit = names::container_unit(app, container);
            let Ok(restarts) = self.inner.systemd.restarts(&unit).await else {
                return;
            };
            if self.memory(|memory| memory.counted(app, container, restarts, now)) {
                let why = self.why_ended(&unit).await;
                self.memory(|memory| memory.ended(app, container, why));
            }
        });
        join_all(counts).await;
    }

    /// Tells what a look saw that began then.
    fn publish(&self, found: &crate::desired::Found, machine: &Machine, began: Instant) {
        let instances = found
            .desired
            .iter()
            .filter(|desired| desired.wish != Wish::Removed);
        let instances = instances
            .map(|desired| self.instance_of(desired, Some(machine)))
            .collect();
        let damaged = found.damaged.iter();
        let damaged = damaged
            .map(|(app, error)| (app.clone(), crate::error_chain(error)))
            .collect();
        let seen = Observed {
            at: Some(Timestamp::now()),
            instances,
            stale: None,
            damaged,
        };
        self.inner.bulletin.tell_all(began, seen);
    }

    /// An app as the machine shows it; without one, as far as it is known unseen.
    fn instance_of(&self, desired: &Desired, machine: Option<&Machine>) -> Instance {
        let mut remembered = self.memory(|memory| memory.remembered(desired.slug()));
        let now = Timestamp::now();
        remembered.next_try = remembered.next_try.filter(|next_try| *next_try > now);
        let data_dir = app_dir(&self.inner.facts.apps_dir, desired.slug()).join("data");
        instance(desired, machine, &remembered, data_dir)
    }

    /// Returns an app as it is now, and tells the others. Asks for nothing but this app: what else changed is seen at the
    /// next look, which follows at once.
    pub(crate) async fn look_at(&self, desired: &Desired) -> Instance {
        let podman = async {
            // What others made may have got another name meanwhile.
            if desired.stage == Stage::Adopted {
                return self.inner.podman.containers().await;
            }
            let names = desired.podman_names();
            self.inner.podman.containers_named(&names).await
        };
        let systemd = self.inner.systemd.list(names::UNIT_PATTERN);
        let (Ok(containers), Ok(units)) = tokio::join!(podman, systemd) else {
            return self.instance_of(desired, None);
        };
        let units = units.into_iter();
        let machine = Machine {
            containers,
            units: units.map(|unit| (unit.name.clone(), unit)).collect(),
            ..Machine::default()
        };
        let instance = self.instance_of(desired, Some(&machine));
        self.inner
            .bulletin
            .tell(desired.slug(), Some(instance.clone()));
        instance
    }
}

fn is_well(container: &Container) -> bool {
    container.state == "running" && container.status != "unhealthy"
}
