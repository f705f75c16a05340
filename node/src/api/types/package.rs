//! Installed apps: what is asked of them and how they are.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{AppRef, Problem, UpdateOffer};

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

    /// Parameters of `package.start|stop|restart|status|health`.
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
    }

    /// How an instance is.
    #[derive(Copy, Eq)]
    pub enum InstanceState {
        /// Being installed.
        Installing,
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
