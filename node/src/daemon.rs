//! Puts the parts together, runs them, and stops them in order.
//!
//! The API answers first; everything else comes up behind it and shows as `starting` meanwhile. A part that cannot
//! start is shown as degraded and tried again, because running apps and the API are worth having without it.

mod parts;
mod stage;
mod swarm;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use archy_registry::Store;
use archy_registry::release::Platform;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};

use crate::api::types::Problem;
use crate::api::{self, Api, Hosts, Hub, ServeError, problem};
use crate::auth::{Auth, AuthError};
use crate::components::{Components, State};
use crate::config::{Config, Paths};
use crate::database::damage::{self, Look};
use crate::database::{self, DatabaseError};
use crate::follow::Follow;
use crate::install::Installer;
use crate::jobs::JobStore;
use crate::judge::Judge;
use crate::machine::Machine;
use crate::node::Node;
use crate::policy::{Policies, PolicyError};
use crate::registries::{self, Registries};
use crate::seeders::Seekers;
use crate::seeding::{self, Seeding};
use crate::slot::Slot;
use crate::voice::Voice;
use crate::{backups, scores, seeders, storage, updates, wellbeing};

pub(crate) use parts::host_config;
use stage::Stage;

/// Events of jobs that a slow listener may lag behind.
const JOB_EVENTS: usize = 1024;
/// Time for requests in flight.
const STOP_API: Duration = Duration::from_secs(3);
/// Time for jobs to reach a point from which they can go on.
const STOP_WORK: Duration = Duration::from_secs(12);
/// Time for the blob store and the databases to be written.
const STOP_BASE: Duration = Duration::from_secs(8);

/// The daemon cannot run, or a part of it ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The data directory.
    #[error("could not make the data directory {}", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Jobs and sessions.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The registry's database.
    #[error(transparent)]
    Store(#[from] archy_registry::store::StoreError),
    /// Password and claim code.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// What the owner lets the node do.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The API's address.
    #[error("could not listen on {address}; change api.listen or stop what uses the port")]
    Listen {
        /// Which address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The Unix socket.
    #[error(transparent)]
    Socket(#[from] ServeError),
    /// A part ended by itself.
    #[error("the part {0} ended unexpectedly; its last log lines say why")]
    Part(&'static str),
}

/// A daemon whose API answers.
pub struct Daemon {
    /// Where the API listens.
    pub address: std::net::SocketAddr,
    /// The parts as the API sees them.
    pub node: Node,
    api: Stage,
    work: Stage,
    base: Stage,
    store: Store,
}

impl Daemon {
    /// Opens the databases, answers on the API, and brings the other parts up behind it.
    ///
    /// Apps run on `machine`; on this one, with podman and systemd, when there is none.
    ///
    /// # Errors
    ///
    /// [`DaemonError`] for what the daemon cannot do without.
    pub async fn start(
        config: Config,
        paths: Paths,
        given: Option<Arc<dyn Machine>>,
    ) -> Result<Self, DaemonError> {
        private_dir(&paths.data_dir)?;
        let name = match config.node.name.as_str() {
            "" => host_name().unwrap_or_else(|| "archy".to_owned()),
            name => name.to_owned(),
        };
        // Jobs and sessions are few; what was heard may be a gigabyte.
        damage::set_aside(&paths.node_db(), Look::Whole, Timestamp::now()).await?;
        damage::set_aside(&paths.registry_db(), Look::AfterCrash, Timestamp::now()).await?;
        let pool = database::open(&paths.node_db()).await?;
        let store = Store::open(&paths.registry_db()).await?;
        let judge = Judge {
            store: store.clone(),
            forgot: damage::aside(&paths.registry_db())
                .map(|aside| forgot(&paths.registry_db(), &aside)),
            policies: Arc::new(Policies::open(&paths.policy_file())?),
        };
        let for_apps = (config.apps.clone(), config.backup.clone());
        let idle = Duration::from_secs(u64::from(config.api.session_idle_hours) * 3600);
        let auth = Auth::open(&paths.keys_dir(), pool.clone(), idle)?;
        let listener = TcpListener::bind(config.api.listen)
            .await
            .map_err(|source| DaemonError::Listen {
                address: config.api.listen,
                source,
            })?;
        let address = listener
            .local_addr()
            .map_err(|source| DaemonError::Listen {
                address: config.api.listen,
                source,
            })?;
        let socket = api::bind_unix(&paths.socket()).await?;
        say_claim_code(&auth, address)?;

        let hub = Hub::default();
        let swarm = Slot::default();
        let machine: Slot<Arc<dyn Machine>> = Slot::default();
        let platform = Platform::host();
        let publish_on = watch::Sender::new(config.nostr.relays.clone());
        let seekers = if config.nostr.find_seeders {
            Seekers::on(publish_on.subscribe())
        } else {
            Seekers::off()
        };
        let follow = Arc::new(Follow::new(
            store.clone(),
            swarm.clone(),
            machine.clone(),
            hub.clone(),
            seekers.clone(),
        ));
        let components = Components::default();
        let registries = Arc::new(Registries::open(
            registries::Settings {
                file: paths.registries_file(),
                folder: paths.manifests_dir(),
                work_dir: paths.work_dir(),
                authority: config.registries.authority.clone(),
                peers: config.swarm.peers.clone(),
            },
            store.clone(),
            Arc::clone(&follow),
            swarm.clone(),
            components.clone(),
        ));
        let node = Node {
            name: name.clone(),
            platform: platform.clone(),
            store: store.clone(),
            follow: Arc::clone(&follow),
            jobs: Slot::default(),
            swarm: swarm.clone(),
            machine: machine.clone(),
            relays: Slot::default(),
            publish_on: publish_on.subscribe(),
            own_relay: Slot::default(),
            registries: Arc::clone(&registries),
            components,
            judge: judge.clone(),
            voice: Voice::new(&paths.keys_dir()),
            fsck: storage::Fscks::default(),
            seeding: Seeding::open(&paths.seeding_file(), swarm::ceiling(&config))?,
        };
        if let Some(forgot) = &judge.forgot {
            let hint = forgot.hint.as_deref().unwrap_or_default();
            let words = format!("{}. {hint}", forgot.message);
            node.components.note("evidence", State::Degraded, words);
        }
        if let Some(aside) = damage::aside(&paths.node_db()) {
            let words = format!(
                "The list of past jobs was damaged and begins anew; you have to log in again, and nothing else is missing. \
                 What is left of it is {}: delete that when you do not need it",
                aside.display()
            );
            node.components.note("history", State::Degraded, words);
        }
        for part in ["apps", "follower", "jobs", scores::PART, "swarm"] {
            node.components.set(part, State::Starting);
        }

        let (mut api_stage, mut work, mut base) =
            (Stage::default(), Stage::default(), Stage::default());
        let hosts = hosts(&config);
        let api = Api::new(
            node.clone(),
            auth,
            hosts,
            hub.clone(),
            name,
            api_stage.token(),
        );
        let connections_max = usize::try_from(config.api.connections_max).unwrap_or(usize::MAX);
        api_stage.spawn(
            "api",
            api::serve_tcp(
                listener,
                api::tcp_router(&api),
                connections_max,
                api_stage.token(),
            ),
        );
        api_stage.spawn(
            "socket",
            api::serve_unix(socket, api::unix_router(&api), api_stage.token()),
        );

        let installer = Installer {
            store: store.clone(),
            judge,
            swarm: swarm.clone(),
            machine: machine.clone(),
            follow: Arc::clone(&follow),
            seekers,
            registries: Arc::clone(&registries),
            platform,
        };
        let job_events = broadcast::Sender::new(JOB_EVENTS);
        work.spawn(
            "jobs",
            parts::jobs(
                node.clone(),
                JobStore::new(pool),
                Arc::new(installer),
                config.jobs.parallel_max,
                job_events.clone(),
                work.token(),
            ),
        );
        let (scored, changes, parts, stop) = (
            store.clone(),
            hub.clone(),
            node.components.clone(),
            work.token(),
        );
        work.spawn(scores::PART, async move {
            scores::keep(&scored, &changes, &parts, &stop).await;
        });
        work.spawn(
            "events",
            parts::events(node.clone(), hub, job_events.subscribe(), work.token()),
        );
        work.spawn("apps-state", parts::apps_state(node.clone(), work.token()));
        let (watched, evidence, stop) = (machine.clone(), store.clone(), work.token());
        work.spawn("evidence", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                machine = watched.ready() => wellbeing::watch(&*machine, &evidence, &stop).await,
            }
        });
        let stop = work.token();
        work.spawn("registries", async move { registries.run(&stop).await });
        work.spawn("storage", storage::keep(node.clone(), work.token()));
        if config.nostr.announce_seeding {
            work.spawn("seeders", seeders::announce(node.clone(), work.token()));
        }
        work.spawn("backups", backups::keep(node.clone(), work.token()));
        work.spawn("updates", updates::keep(node.clone(), work.token()));
        work.spawn("fsck", storage::check(node.clone(), work.token()));
        work.spawn("seeding", seeding::keep(node.clone(), work.token()));
        let (fetcher, stop) = (Arc::clone(&follow), work.token());
        work.spawn("fetch", async move { fetcher.fetch_missing(&stop).await });
        work.spawn(
            "follower",
            parts::follower(
                node.clone(),
                publish_on,
                config.clone(),
                paths.clone(),
                work.token(),
            ),
        );
        base.spawn(
            "swarm",
            swarm::run(node.clone(), config, paths.clone(), base.token()),
        );
        match given {
            Some(given) => machine.put(given),
            None => {
                let seeding = node.seeding.clone();
                work.spawn("network", seeding::watch_network(seeding, work.token()));
                let apps = parts::apps(node.clone(), paths, for_apps, base.token());
                base.spawn("apps", apps);
            }
        }
        Ok(Self {
            address,
            node,
            api: api_stage,
            work,
            base,
            store,
        })
    }

    /// Runs until `stop` resolves or a part ends by itself, then stops everything in order.
    ///
    /// # Errors
    ///
    /// [`DaemonError::Part`] names the part that ended.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let ended = tokio::select! {
            () = stop => None,
            part = self.api.ended() => Some(part),
            part = self.work.ended() => Some(part),
            part = self.base.ended() => Some(part),
        };
        if let Some(part) = ended {
            tracing::error!(part, "a part of the daemon ended by itself; stopping");
        }
        self.stop().await;
        ended.map_or(Ok(()), |part| Err(DaemonError::Part(part)))
    }

    /// Stops taking requests, then work, then what the work stands on.
    ///
    /// Jobs under way go on at the next start.
    pub async fn stop(self) {
        self.api.stop(STOP_API).await;
        self.work.stop(STOP_WORK).await;
        self.base.stop(STOP_BASE).await;
        self.store.close().await;
    }
}

/// Says once, in plain words, how to become the owner.
fn say_claim_code(auth: &Auth, address: std::net::SocketAddr) -> Result<(), AuthError> {
    let host = match address.ip() {
        ip if ip.is_unspecified() => host_name().unwrap_or_else(|| "localhost".to_owned()),
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let page = format!("http://{host}:{}/", address.port());
    match auth.claim_code()? {
        Some(claim) if claim.fresh => tracing::info!(
            "this node has no owner yet: open {page} and enter the claim code {}",
            claim.code
        ),
        Some(_) => tracing::info!(
            "this node has no owner yet: open {page} and enter the claim code that `archyd claim` prints"
        ),
        None => {}
    }
    Ok(())
}

/// Says why nothing new is installed after what was heard and seen of publishers was lost.
fn forgot(database: &std::path::Path, aside: &std::path::Path) -> Problem {
    problem(
        "evidenceLost",
        format!(
            "What this node knew of publishers is damaged, so nothing new is installed or updated; apps run on. It is set aside as {}",
            aside.display()
        ),
        &format!(
            "Stop archyd and put a copy of {database} from before in its place, if you have one. Then, or to go on without it, move \
             what is set aside to another folder and start archyd. Without it this node has forgotten whom you blocked, vouched \
             for and chose as reviewers, and which versions it saw, so that an old one may be offered to you as new",
            database = database.display()
        ),
    )
}

fn hosts(config: &Config) -> Hosts {
    let host = host_name().into_iter();
    let own = host.flat_map(|name| [format!("{name}.local"), name]);
    Hosts::new(own.chain(config.api.allowed_hosts.iter().cloned()))
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn private_dir(path: &std::path::Path) -> Result<(), DaemonError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| DaemonError::DataDir {
            path: path.to_owned(),
            source,
        })
}
