//! The parts that work: jobs, events, following relays, apps.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use archy_nostr::relay::{self, Relay};
use archy_nostr::{CursorError, CursorStore, Follower, RelayUrl};
use archy_registry::Store;
use futures_util::future::select_all;
use jiff::Timestamp;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::api::Hub;
use crate::api::types::{Event, Job};
use crate::components::State;
use crate::config::{Apps, Backup, Config, Paths};
use crate::install::Installer;
use crate::jobs::{JobStore, Jobs};
use crate::machine::{Host, Machine};
use crate::node::Node;

/// Wait before a part that cannot start is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// Shortest time between two descriptions of the node or its instances.
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// Runs jobs until stopped; what is under way then goes on at the next start.
pub(super) async fn jobs(
    node: Node,
    store: JobStore,
    installer: Arc<Installer>,
    parallel_max: u32,
    events: broadcast::Sender<Job>,
    stop: CancellationToken,
) {
    loop {
        let started = Jobs::start(
            store.clone(),
            installer.clone(),
            parallel_max,
            events.clone(),
            stop.clone(),
        );
        match started.await {
            Ok(jobs) => {
                node.components.set("jobs", State::Running);
                node.jobs.put(jobs.clone());
                stop.cancelled().await;
                jobs.stopped().await;
                return;
            }
            Err(error) => node.components.fail("jobs", State::Degraded, &error),
        }
        if paused(&stop, RETRY).await {
            return;
        }
    }
}

/// Tells clients what changes.
pub(super) async fn events(
    node: Node,
    hub: Hub,
    mut jobs: broadcast::Receiver<Job>,
    stop: CancellationToken,
) {
    let instances = async {
        let machine = node.machine.ready().await;
        let mut observed = machine.observed();
        loop {
            observed.mark_unchanged();
            hub.send(Event::Instances(node.instance_list().await));
            tokio::time::sleep(STATUS_EVERY).await;
            if observed.changed().await.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    let jobs = async {
        loop {
            match jobs.recv().await {
                Ok(job) => hub.send(Event::Job(job)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => {
                    return std::future::pending::<()>().await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = instances => {}
        () = jobs => {}
    }
}

/// Says in the node's status whether podman and systemd answer and all apps' state is sound, and tells clients when that
/// changes.
pub(super) async fn apps_state(node: Node, stop: CancellationToken) {
    let telling = async {
        let machine = node.machine.ready().await;
        let mut observed = machine.observed();
        let mut told = None;
        loop {
            let trouble = observed.borrow_and_update().trouble();
            if told.as_ref() != Some(&trouble) {
                match &trouble {
                    None => node.components.set("apps", State::Running),
                    Some(why) => node.components.note("apps", State::Degraded, why.clone()),
                }
                told = Some(trouble);
                let status = node.node_status().await;
                node.follow.hub().send(Event::Node(status));
            }
            if observed.changed().await.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = telling => {}
    }
}

/// Runs this node's own relay if it is asked for, and follows all relays.
pub(super) async fn follower(
    node: Node,
    publish_on: watch::Sender<Vec<RelayUrl>>,
    config: Config,
    paths: Paths,
    stop: CancellationToken,
) {
    let own = match config.relay.listen {
        Some(listen) => {
            let Some(own) = own_relay(&node, listen, &paths, &stop).await else {
                return;
            };
            Some(own)
        }
        None => None,
    };
    let mut relays = config.nostr.relays.clone();
    if let Some(own) = &own {
        let url = local_url(own.address());
        relays.push(url.clone());
        publish_on.send_replace(relays.clone());
        node.own_relay.put(url);
    }
    let (follower, heard) = Follower::start(
        archy_nostr::Config::new(relays),
        Cursors(node.store.clone()),
        &stop,
    );
    let follower = Arc::new(follower);
    let asked = Arc::clone(&follower);
    node.relays.put(Arc::new(move || asked.status()));
    node.components.set("follower", State::Running);
    tokio::select! {
        () = node.follow.hear_all(heard, &stop) => {}
        () = read_again(&node, &follower) => {}
        () = relay_events(&node, &follower) => {}
    }
    // Without relays the channel ends at once; the part does not.
    stop.cancelled().await;
    node.relays.put(Arc::new(Vec::new));
    if let Some(follower) = Arc::into_inner(follower) {
        follower.stop().await;
    }
    if let Some(own) = own {
        own.stop().await;
    }
}

async fn read_again(node: &Node, follower: &Follower) {
    loop {
        node.follow.read_again.notified().await;
        follower.read_again();
    }
}

/// Tells clients when a relay connects or goes, and when something was refused.
async fn relay_events(node: &Node, follower: &Follower) {
    let mut watched = follower.watch();
    let mut refused = node.follow.refusals.changed();
    if watched.is_empty() {
        return std::future::pending().await;
    }
    let mut last: Vec<bool> = Vec::new();
    loop {
        let connected: Vec<bool> = watched
            .iter_mut()
            .map(|status| status.borrow_and_update().is_connected())
            .collect();
        if connected != last || refused.has_changed().unwrap_or(false) {
            last = connected;
            refused.mark_unchanged();
            node.follow
                .hub()
                .send(Event::Node(node.node_status().await));
        }
        tokio::time::sleep(STATUS_EVERY).await;
        let changes = watched.iter_mut().map(|status| Box::pin(status.changed()));
        let ended = tokio::select! {
            (ended, ..) = select_all(changes) => ended,
            ended = refused.changed() => {
                refused.mark_changed();
                ended
            }
        };
        if ended.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Starts this node's own relay, again and again while its port is in use.
async fn own_relay(
    node: &Node,
    listen: SocketAddr,
    paths: &Paths,
    stop: &CancellationToken,
) -> Option<Relay> {
    node.components.set("relay", State::Starting);
    loop {
        let config = relay::Config::new(listen, paths.data_dir.join("relay.db"));
        // Publishing and following end before the relay does.
        match relay::start(config, &CancellationToken::new()).await {
            Ok(relay) => {
                node.components.set("relay", State::Running);
                return Some(relay);
            }
            Err(error) => node.components.fail("relay", State::Degraded, &error),
        }
        if paused(stop, RETRY).await {
            return None;
        }
    }
}

/// The address by which this machine reaches its own relay.
fn local_url(address: SocketAddr) -> RelayUrl {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) | IpAddr::V6(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let address = SocketAddr::new(ip, address.port());
    format!("ws://{address}/")
        .parse()
        .expect("a socket address makes a URL")
}

/// Keeps apps as wished until stopped.
pub(super) async fn apps(
    node: Node,
    paths: Paths,
    (apps, backup): (Apps, Backup),
    stop: CancellationToken,
) {
    loop {
        let usual = host_config(&paths);
        let config = archy_orchestrator::Config {
            host_directories: apps.copy_from_host.clone(),
            reconcile_interval: Duration::from_secs(u64::from(apps.look_every_seconds)),
            backup_dir: backup
                .directory
                .clone()
                .unwrap_or_else(|| usual.backup_dir.clone()),
            ..usual
        };
        match Host::connect(config) {
            Ok(host) => {
                host.recover().await;
                let machine: Arc<dyn Machine> = host.clone();
                node.machine.put(machine);
                host.run(stop).await;
                return;
            }
            Err(error) => node.components.fail("apps", State::Degraded, &error),
        }
        if paused(&stop, RETRY).await {
            return;
        }
    }
}

/// Where everything is on this machine, for the orchestrator.
pub(crate) fn host_config(paths: &Paths) -> archy_orchestrator::Config {
    let mut config =
        archy_orchestrator::Config::usual(&paths.home, &paths.user_runtime_dir, &paths.data_dir);
    config.staging_dir = paths
        .unit_dir
        .parent()
        .and_then(|dir| dir.parent())
        .map_or_else(
            || config.staging_dir.clone(),
            |containers| containers.join("archy-staging"),
        );
    config.unit_dir.clone_from(&paths.unit_dir);
    config.user_unit_dir.clone_from(&paths.user_unit_dir);
    config
}

/// Waits; returns whether the part must stop instead.
async fn paused(stop: &CancellationToken, wait: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(wait) => false,
    }
}

/// Cursors in the registry's database, in seconds since 1970.
struct Cursors(Store);

impl CursorStore for Cursors {
    async fn load(&self, relay: &RelayUrl) -> Result<Option<Timestamp>, CursorError> {
        let cursor = self.0.relay_cursor(relay.as_str()).await?;
        Ok(cursor.map(Timestamp::from_second).transpose()?)
    }

    async fn save(&self, relay: &RelayUrl, cursor: Timestamp) -> Result<(), CursorError> {
        let seconds = cursor.as_second();
        Ok(self
            .0
            .set_relay_cursor(relay.as_str(), seconds, Timestamp::now())
            .await?)
    }
}
