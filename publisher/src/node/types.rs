//! The node's wire types, as far as the command line shows them; members that it does not know are ignored.
//!
//! A test compares them with the contract in `web/src/api/types`: a copy may leave members out, never have others. Where
//! the contract has one of several words, a copy takes any: a newer node may know more of them.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Declares copies of the contract's types: how they are decoded, and that the test compares them.
macro_rules! copies {
    ($($(#[$meta:meta])* pub $kind:ident $name:ident { $($body:tt)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Serialize, Deserialize)]
            #[cfg_attr(test, derive(ts_rs::TS))]
            #[serde(rename_all = "camelCase")]
            #[cfg_attr(test, ts(export_to = "./"))]
            pub $kind $name { $($body)* }
        )*

        /// Every type that is declared here, by name, in TypeScript.
        #[cfg(test)]
        pub(super) fn declared() -> Vec<(&'static str, String)> {
            let config = ts_rs::Config::from_env();
            vec![$((stringify!($name), <$name as ts_rs::TS>::inline(&config))),*]
        }
    };
}

mod adopt;
mod backup;
pub mod registry;
mod seeding;
mod storage;
mod trust;

pub use adopt::*;
pub use backup::*;
pub use seeding::*;
pub use storage::*;
pub use trust::*;

copies! {
    /// Something wrong, in the node's words.
    #[derive(PartialEq, Eq)]
    pub struct Problem {
        /// Stable name.
        pub kind: String,
        /// One sentence.
        pub message: String,
        /// What to do next.
        #[serde(default)]
        pub hint: Option<String>,
        /// Hashes, log lines and the like.
        #[serde(default)]
        pub details: Vec<String>,
    }

    /// Names an app.
    #[derive(PartialEq, Eq)]
    pub struct AppRef {
        /// Origin DID.
        pub publisher: String,
        /// Slug.
        pub slug: String,
    }

    /// Answer of `publish.state`.
    pub struct PublishState {
        /// Highest `seq` of the app that the node has seen.
        pub highest_seq: Option<u64>,
        /// Relays to publish on.
        pub relays: Vec<String>,
        /// The node's iroh endpoint.
        pub endpoint: EndpointInfo,
    }

    /// An iroh endpoint.
    pub struct EndpointInfo {
        /// Endpoint id.
        pub id: String,
        /// `ip:port`.
        pub addresses: Vec<String>,
        /// iroh relay URLs.
        pub relays: Vec<String>,
    }

    /// Answer of `store.search`.
    pub struct SearchResult {
        /// The page of apps, best first.
        pub apps: Vec<AppCard>,
        /// How many there are in all.
        pub total: u32,
        /// How many of this page the owner's policy keeps from being listed.
        #[serde(default)]
        pub hidden: u32,
        /// The words that were looked for instead.
        #[serde(default)]
        pub corrected: Option<String>,
    }

    /// An app in the catalog.
    pub struct AppCard {
        /// Which app.
        pub app: AppRef,
        /// Display name.
        pub name: String,
        /// One line.
        pub tagline: String,
        /// Category.
        pub category: String,
        /// Newest version.
        pub version: String,
        /// Bytes to fetch.
        pub download_size_bytes: u64,
        /// OCI architectures.
        pub architectures: Vec<String>,
        /// What the node thinks of the publisher.
        pub trust: TrustBadge,
        /// State of the installed instance.
        pub installed: Option<String>,
        /// Whether the announcement is past its expiry.
        #[serde(default)]
        pub stale: bool,
    }

    /// A trust score in short.
    pub struct TrustBadge {
        /// 0–100.
        pub points: f64,
        /// Band of the score.
        pub band: String,
    }

    /// Answer of `store.show`.
    pub struct AppPage {
        /// The card.
        pub card: AppCard,
        /// What the app may do.
        pub rights: Vec<Right>,
        /// Who publishes it.
        pub publisher: PublisherCard,
        /// The verified release.
        pub release: Option<ReleaseInfo>,
        /// Why it cannot be installed now.
        pub problem: Option<Problem>,
        /// What to know before installing it.
        #[serde(default)]
        pub warning: Option<Problem>,
        /// Website.
        pub website: Option<String>,
        /// Licence.
        pub license: Option<String>,
    }

    /// One right in plain words.
    pub struct Right {
        /// The sentence.
        pub text: String,
    }

    /// Who publishes an app.
    pub struct PublisherCard {
        /// Origin DID.
        pub did: String,
        /// Points and band.
        pub trust: TrustBadge,
        /// The reasons; their points add up to the score.
        pub reasons: Vec<TrustReason>,
        /// What would change the score.
        #[serde(default)]
        pub would_change: Vec<String>,
        /// Whether the owner vouches for them.
        #[serde(default)]
        pub pinned: bool,
        /// Whether the owner wants nothing of them.
        #[serde(default)]
        pub blocked: bool,
        /// What the owner must know of them.
        #[serde(default)]
        pub notices: Vec<Problem>,
    }

    /// One reason of a trust score.
    pub struct TrustReason {
        /// The sentence.
        pub text: String,
        /// Points, may be negative.
        pub points: f64,
        /// What it rests on.
        #[serde(default)]
        pub evidence: Vec<String>,
    }

    /// A verified release.
    pub struct ReleaseInfo {
        /// Version.
        pub version: String,
        /// Counter.
        pub seq: u64,
        /// BLAKE3 of the release.
        pub hash: String,
        /// When it was signed.
        pub created: String,
    }

    /// Answer of `package.list`.
    pub struct InstanceList {
        /// Installed apps by name.
        pub instances: Vec<Instance>,
        /// When this was observed.
        pub observed: String,
        /// Whether this is the last known state.
        pub stale: bool,
    }

    /// An installed app.
    pub struct Instance {
        /// Which app.
        pub app: AppRef,
        /// Display name.
        pub name: String,
        /// Installed version.
        pub version: String,
        /// How it is.
        pub state: String,
        /// Why it is not well.
        pub problem: Option<Problem>,
        /// Its containers.
        pub containers: Vec<ContainerInfo>,
        /// What can be opened.
        pub interfaces: Vec<InterfaceInfo>,
        /// A newer version.
        pub update: Option<String>,
        /// What it would change.
        #[serde(default)]
        pub offer: Option<UpdateOffer>,
        /// The job that works on it now.
        pub job: Option<String>,
        /// Where its data is.
        pub data_dir: String,
        /// The version before, to which it can return.
        #[serde(default)]
        pub before: Option<EarlierVersion>,
        /// The last change, if it was taken back.
        #[serde(default)]
        pub failed_update: Option<FailedUpdate>,
        /// The last scheduled backup, if it failed.
        #[serde(default)]
        pub failed_backup: Option<FailedBackup>,
    }

    /// A version that an app can go back to.
    pub struct EarlierVersion {
        /// Version.
        pub version: String,
        /// Whether its data of that time was kept.
        pub has_data: bool,
    }

    /// A change that was taken back.
    pub struct FailedUpdate {
        /// The version that did not come up.
        pub version: String,
        /// Why, in a sentence.
        pub reason: String,
    }

    /// A scheduled backup that failed.
    pub struct FailedBackup {
        /// Why, in a sentence.
        pub reason: String,
    }

    /// Answer of `package.settings`.
    pub struct SettingsPage {
        /// Where its ports are found.
        pub ports: Vec<PortSetting>,
        /// Its containers.
        pub containers: Vec<ContainerSettings>,
    }

    /// Where a port of an app is found on the node.
    pub struct PortSetting {
        /// The container.
        pub container: String,
        /// Port inside it.
        pub port: u16,
        /// `tcp` or `udp`.
        pub protocol: String,
        /// Port on the node.
        pub host_port: u16,
    }

    /// The settings of a container.
    pub struct ContainerSettings {
        /// Its name.
        pub name: String,
        /// What the owner set.
        pub set: ContainerSetting,
        /// What the publisher says.
        pub published: ContainerSetting,
    }

    /// Settings of a container.
    #[derive(Default)]
    pub struct ContainerSetting {
        /// Environment variables.
        #[serde(default)]
        pub environment: std::collections::BTreeMap<String, String>,
        /// Memory limit.
        #[serde(default)]
        pub memory: Option<String>,
        /// Processors.
        #[serde(default)]
        pub cpus: Option<String>,
        /// Most processes and threads.
        #[serde(default)]
        pub pids: Option<u32>,
    }

    /// A container of an instance.
    pub struct ContainerInfo {
        /// Name within the app.
        pub name: String,
        /// How it is.
        pub state: String,
        /// Health in podman's word.
        pub health: Option<String>,
        /// How often systemd restarted it.
        pub restarts: u32,
    }

    /// Something to open.
    pub struct InterfaceInfo {
        /// Shown name.
        pub name: String,
        /// Port on the node.
        pub port: Option<u16>,
        /// First page.
        pub path: String,
    }

    /// Answer of everything that starts a job.
    pub struct JobRef {
        /// The job's id.
        pub job: String,
    }

    /// A job.
    pub struct Job {
        /// Id.
        pub id: String,
        /// What it does.
        pub kind: String,
        /// On which app.
        pub app: AppRef,
        /// Display name of the app.
        pub name: String,
        /// Whether it has ended, and how.
        pub state: JobState,
        /// Where it is.
        pub phase: String,
        /// 0–100.
        pub percent: f64,
        /// What happens now.
        pub message: String,
        /// Why it failed.
        #[serde(default)]
        pub problem: Option<Problem>,
    }

    /// Whether a job has ended, and how.
    #[derive(Copy, PartialEq, Eq)]
    pub enum JobState {
        /// Waits for its turn.
        Queued,
        /// At work.
        Running,
        /// Done.
        Succeeded,
        /// Ended without success.
        Failed,
        /// Cancelled by the owner.
        Cancelled,
        /// A newer node's word; [`Job::has_ended`] tells whether it has.
        #[serde(other)]
        #[cfg_attr(test, ts(skip))]
        Unknown,
    }

    /// Answer of `package.logs`.
    pub struct Logs {
        /// Oldest first.
        pub lines: Vec<LogLine>,
    }

    /// One line of an app's log.
    #[derive(PartialEq, Eq)]
    pub struct LogLine {
        /// When.
        pub at: String,
        /// Which container.
        pub container: String,
        /// The text.
        pub text: String,
    }

    /// Answer of `node.status`.
    pub struct NodeStatus {
        /// The node's name.
        pub name: String,
        /// archyd's version.
        pub version: String,
        /// OCI architecture.
        pub architecture: String,
        /// This node's own iroh endpoint.
        pub endpoint: EndpointInfo,
        /// Relays it follows.
        pub relays: Vec<RelayInfo>,
        /// Its own relay's URL.
        pub own_relay: Option<String>,
        /// Peers on the LAN.
        pub lan_peers: u32,
        /// Parts of the daemon.
        pub components: Vec<ComponentInfo>,
        /// Apps in the catalog.
        pub catalog_apps: u32,
    }

    /// A relay that the node follows.
    pub struct RelayInfo {
        /// Address.
        pub url: String,
        /// Whether it is connected.
        pub connected: bool,
        /// Why it is not connected.
        pub last_error: Option<String>,
    }

    /// A part of the daemon.
    pub struct ComponentInfo {
        /// Name.
        pub name: String,
        /// `running`, `degraded`, `stopped`.
        pub state: String,
        /// Last error in words.
        pub last_error: Option<String>,
    }
}

impl Job {
    /// Tells whether it will not change any more.
    pub fn has_ended(&self) -> bool {
        match self.state {
            JobState::Queued | JobState::Running => false,
            JobState::Succeeded | JobState::Failed | JobState::Cancelled => true,
            JobState::Unknown => self.phase == "done",
        }
    }
}
