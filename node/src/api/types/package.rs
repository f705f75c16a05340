//! Installed apps: what is asked of them and how they are.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use std::collections::BTreeMap;

use super::{AdoptionInfo, AppRef, Problem, UpdateOffer};

wire! {
    /// Parameters of `package.install`.
    pub struct InstallParams {
        /// Which app.
        pub app: AppRef,
        /// A certain release by its hash instead of the newest.
        #[serde(default)]
        pub release: Option<String>,
    }

    /// Parameters of `package.uninstall`.
    pub struct UninstallParams {
        /// Slug of the instance.
        pub slug: String,
        /// Whether to remove its data for good as well.
        #[serde(default)]
        pub purge: bool,
        /// Whether to remove it though other apps need it.
        #[serde(default)]
        pub force: bool,
    }

    /// Parameters of `package.update`.
    pub struct UpdateParams {
        /// Slug of the instance.
        pub slug: String,
        /// A certain release by its hash instead of the newest.
        #[serde(default)]
        pub release: Option<String>,
        /// Leaves the app's data without a copy: what a new version does to it before it fails stays.
        #[serde(default)]
        pub without_copy: bool,
    }

    /// Parameters of `package.rollback`.
    pub struct RollbackParams {
        /// Slug of the instance.
        pub slug: String,
        /// Leaves the app's data as it is, instead of what it was when the version was replaced.
        #[serde(default)]
        pub keep_data: bool,
    }

    /// Parameters of `package.configure`: what is to be set otherwise.
    pub struct ConfigureParams {
        /// Slug of the instance.
        pub slug: String,
        /// Ports of the node that are to be others.
        #[serde(default)]
        pub ports: Vec<PortSetting>,
        /// All that is set for these containers, by name; an empty one returns to what the publisher says.
        #[serde(default)]
        pub containers: BTreeMap<String, ContainerSetting>,
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

    /// What the owner set for a container instead of what the publisher says.
    #[derive(Default)]
    pub struct ContainerSetting {
        /// Environment variables.
        #[serde(default)]
        pub environment: BTreeMap<String, String>,
        /// Memory limit, as in `512M`.
        #[serde(default)]
        pub memory: Option<String>,
        /// Processors, as in `1.5`.
        #[serde(default)]
        pub cpus: Option<String>,
        /// Most processes and threads.
        #[serde(default)]
        pub pids: Option<u32>,
    }

    /// Answer of `package.settings`.
    pub struct SettingsPage {
        /// Where its ports are found.
        pub ports: Vec<PortSetting>,
        /// Its containers.
        pub containers: Vec<ContainerSettings>,
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

    /// A version that an app can go back to.
    pub struct EarlierVersion {
        /// Version.
        pub version: String,
        /// BLAKE3 of the release.
        pub release: String,
        /// Whether its data of that time was kept.
        pub has_data: bool,
    }

    /// A change that was taken back.
    pub struct FailedUpdate {
        /// The version that did not come up.
        pub version: String,
        /// BLAKE3 of its release.
        pub release: String,
        /// Why, in a sentence.
        pub reason: String,
        /// When.
        pub at: String,
    }

    /// A scheduled backup that failed.
    pub struct FailedBackup {
        /// Why, in a sentence.
        pub reason: String,
        /// When it was tried.
        pub at: String,
    }

    /// Parameters of `package.start|stop|restart|reinstall|status|health|settings|migration|unmigrate|finish`.
    pub struct InstanceParams {
        /// Slug of the instance.
        pub slug: String,
    }

    /// Answer of `package.list`.
    pub struct InstanceList {
        /// Installed apps by name.
        pub instances: Vec<Instance>,
        /// When this was observed.
        pub observed: String,
        /// Whether podman or systemd did not answer and this is the last known state.
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
        /// Path of the icon on this node.
        pub icon: Option<String>,
        /// How it is.
        pub state: InstanceState,
        /// Why it is not well, if so.
        pub problem: Option<Problem>,
        /// Its containers.
        pub containers: Vec<ContainerInfo>,
        /// What can be opened.
        pub interfaces: Vec<InterfaceInfo>,
        /// When it was installed.
        pub installed: String,
        /// A newer version that the catalog holds.
        pub update: Option<String>,
        /// What that version would change and whether it waits for its owner; only in `package.status` and
        /// `store.show`, because it takes rendering both releases.
        pub offer: Option<UpdateOffer>,
        /// The job that works on it now.
        pub job: Option<String>,
        /// Where its data is on the node.
        pub data_dir: String,
        /// The version before, to which `package.rollback` returns.
        pub before: Option<EarlierVersion>,
        /// The last change, if it was taken back.
        pub failed_update: Option<FailedUpdate>,
        /// The last scheduled backup, if it failed.
        #[serde(default)]
        pub failed_backup: Option<FailedBackup>,
        /// The containers that the node did not make and that are the app's.
        #[serde(default)]
        pub adoption: Option<AdoptionInfo>,
    }

    /// How an instance is.
    #[derive(Copy, Eq)]
    pub enum InstanceState {
        /// Not seen since the node started: systemd or podman do not answer.
        Unknown,
        /// Being installed.
        Installing,
        /// Being changed, or brought back to what it was.
        Changing,
        /// On its way up.
        Starting,
        /// Running and healthy (or without a health check).
        Running,
        /// Running, but its health check fails.
        Unhealthy,
        /// On its way down.
        Stopping,
        /// Stopped by the owner.
        Stopped,
        /// Should run and does not.
        Failed,
        /// Being removed.
        Removing,
    }

    /// A container of an instance.
    pub struct ContainerInfo {
        /// Name within the app.
        pub name: String,
        /// How it is.
        pub state: InstanceState,
        /// Health in podman's word, if it has a check.
        pub health: Option<String>,
        /// How often systemd restarted it.
        pub restarts: u32,
        /// Running since.
        pub since: Option<String>,
    }

    /// Something to open.
    pub struct InterfaceInfo {
        /// Shown name.
        pub name: String,
        /// `ui` or `api`.
        pub kind: String,
        /// Port on the node, once assigned.
        pub port: Option<u16>,
        /// First page.
        pub path: String,
    }

    /// Answer of `package.health`.
    pub struct Health {
        /// How the instance is.
        pub state: InstanceState,
        /// Why it is not well, if so.
        pub problem: Option<Problem>,
        /// Its containers.
        pub containers: Vec<ContainerInfo>,
        /// When this was observed.
        pub observed: String,
        /// Whether podman or systemd did not answer and this is the last known state.
        pub stale: bool,
    }

    /// Parameters of `package.logs`.
    pub struct LogsParams {
        /// Slug of the instance.
        pub slug: String,
        /// Only this container.
        #[serde(default)]
        pub container: Option<String>,
        /// Last so many lines, at most 2000. Default 200.
        #[serde(default)]
        pub lines: Option<u32>,
    }

    /// Answer of `package.logs`.
    pub struct Logs {
        /// Oldest first.
        pub lines: Vec<LogLine>,
    }

    /// One line of an app's log.
    pub struct LogLine {
        /// When.
        pub at: String,
        /// Which container.
        pub container: String,
        /// The text.
        pub text: String,
    }
}
