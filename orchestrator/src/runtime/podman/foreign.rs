//! Containers that others made: what they are, and starting, stopping and renaming them as they are.
//!
//! Nothing here makes a container anew, and nothing removes its data.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Deserializer};

use super::model::HealthLog;
use super::{Podman, PodmanError, encode};

/// What podman answers when a container is as it was asked to be.
const NOT_MODIFIED: u16 = 304;
/// Longest that a container may take to stop beyond its own stop timeout.
const STOP_SLACK: Duration = Duration::from_secs(30);

/// A container in detail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Inspection {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image's id.
    pub image: String,
    /// The image's name when it was made.
    pub image_name: String,
    /// The pod that it is in; empty outside of any.
    pub pod: String,
    /// The program that it runs.
    pub path: String,
    /// The program's arguments; where it has none, podman writes the program once more.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// How it is.
    pub state: State,
    /// What it sees of the node's files.
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    /// How it was made.
    pub config: ContainerConfig,
    /// What it was given of the node.
    pub host_config: HostConfig,
    /// Its networks.
    pub network_settings: NetworkSettings,
}

/// podman's own init, which `--init` puts before the command; where it is depends on podman's version.
const INIT: [&str; 2] = ["/run/podman-init", "/dev/init"];

impl Inspection {
    /// Returns the whole command that it runs, its entrypoint first, without podman's own init.
    pub fn command(&self) -> Vec<&str> {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        match &args[..] {
            [] | [""] if self.path.is_empty() => Vec::new(),
            ["--", command @ ..] if INIT.contains(&self.path.as_str()) => command.to_vec(),
            [only] if *only == self.path => vec![self.path.as_str()],
            args => std::iter::once(self.path.as_str())
                .chain(args.iter().copied())
                .collect(),
        }
    }
}

/// How a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct State {
    pub status: String,
    pub running: bool,
    pub pid: i32,
    pub conmon_pid: i32,
    pub started_at: String,
    pub health: Option<HealthLog>,
}

/// A mount of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    /// `volume`, `bind`, `tmpfs`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// A volume's name.
    pub name: String,
    /// Where it is on the node.
    pub source: String,
    /// Where it is in the container.
    pub destination: String,
    /// Whether the container may write there.
    #[serde(rename = "RW")]
    pub writable: bool,
}

/// How a container was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// `NAME=value`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Podman's secrets that it sees as files.
    #[serde(deserialize_with = "or_default")]
    pub secrets: Vec<MountedSecret>,
    /// Seconds that it gets to stop.
    pub stop_timeout: u64,
    /// Whom it runs as: the image's user, unless it was given another.
    pub user: String,
    /// The command that made it, if podman's own did.
    #[serde(deserialize_with = "or_default")]
    pub create_command: Vec<String>,
}

impl ContainerConfig {
    /// Lists the values that an option has in the command that made it, as in `--ulimit nofile=1024`.
    pub fn given<'a>(&'a self, option: &'a str) -> impl Iterator<Item = &'a str> {
        let words = &self.create_command;
        words.iter().enumerate().filter_map(move |(index, word)| {
            match word.strip_prefix(option)? {
                "" => words.get(index + 1).map(String::as_str),
                rest => rest.strip_prefix('='),
            }
        })
    }
}

/// A secret that a container sees as a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountedSecret {
    /// Its name.
    pub name: String,
}

/// What a container was given of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    #[serde(deserialize_with = "or_default")]
    pub port_bindings: BTreeMap<String, Option<Vec<HostBinding>>>,
    pub restart_policy: RestartPolicy,
    pub auto_remove: bool,
    #[serde(deserialize_with = "or_default")]
    pub cap_add: Vec<String>,
    pub privileged: bool,
    pub network_mode: String,
    pub pid_mode: String,
    pub ipc_mode: String,
    pub userns_mode: String,
    #[serde(deserialize_with = "or_default")]
    pub security_opt: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub devices: Vec<HostDevice>,
    pub memory: u64,
    /// Microseconds of processor time in each period; nothing above zero means no limit.
    pub cpu_quota: i64,
    /// The period in microseconds.
    pub cpu_period: u64,
    /// Most processes and threads; 0 is not told, and less means no limit.
    pub pids_limit: i64,
    /// Bytes of shared memory.
    pub shm_size: i64,
    /// Directories in memory, each with its options.
    #[serde(deserialize_with = "or_default")]
    pub tmpfs: BTreeMap<String, String>,
    /// `NAME:ADDRESS`.
    #[serde(deserialize_with = "or_default")]
    pub extra_hosts: Vec<String>,
    /// Further groups of its user.
    #[serde(deserialize_with = "or_default")]
    pub group_add: Vec<String>,
    /// Limits of each process.
    #[serde(deserialize_with = "or_default")]
    pub ulimits: Vec<Ulimit>,
    /// Whether its root file system is read-only.
    pub readonly_rootfs: bool,
}

/// A limit of each process of a container (getrlimit(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ulimit {
    /// As in `RLIMIT_NOFILE`.
    pub name: String,
}

/// Where a port is published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostBinding {
    pub host_ip: String,
    pub host_port: String,
}

/// A device that a container may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostDevice {
    pub path_on_host: String,
}

/// When podman starts a container again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all(deserialize = "PascalCase"), default)]
pub struct RestartPolicy {
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    #[serde(alias = "name")]
    pub name: String,
    /// For `on-failure`: how often.
    #[serde(alias = "maximum_retry_count")]
    pub maximum_retry_count: u32,
}

/// A container's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// By name.
    #[serde(deserialize_with = "or_default")]
    pub networks: BTreeMap<String, serde_json::Value>,
}

/// Go writes an empty list or map as null.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Podman {
    /// Returns a container in detail; `None` when there is none of that name or id.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn inspect(&self, container: &str) -> Result<Option<Inspection>, PodmanError> {
        let path = format!("/containers/{}/json", encode(container));
        match self.read("inspect a container", &path).await {
            Ok(inspection) => Ok(Some(inspection)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts a container as it is. One that runs is as good.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub(crate) async fn start_foreign(&self, container: &str) -> Result<(), PodmanError> {
        let path = format!("/containers/{}/start", encode(container));
        self.make(&format!("start {container}"), &path).await
    }

    /// Stops a container, which gets the time that it was made with. One that stands still or is gone is as good.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub(crate) async fn stop_foreign(&self, container: &str) -> Result<(), PodmanError> {
        let Some(found) = self.inspect(container).await? else {
            return Ok(());
        };
        let action = format!("stop {container}");
        let path = format!("/containers/{}/stop", encode(container));
        let limit = Duration::from_secs(found.config.stop_timeout).saturating_add(STOP_SLACK);
        let began = std::time::Instant::now();
        loop {
            match self.make(&action, &path).await {
                // podman goes on stopping it; asking again waits for that.
                Err(PodmanError::Slow { .. }) if began.elapsed() < limit => {}
                Err(error) if error.is_not_found() => return Ok(()),
                stopped => return stopped,
            }
        }
    }

    /// Gives a container another name; it runs on.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub(crate) async fn rename(&self, container: &str, name: &str) -> Result<(), PodmanError> {
        let path = format!(
            "/containers/{}/rename?name={}",
            encode(container),
            encode(name)
        );
        self.make(&format!("rename {container}"), &path).await
    }

    /// Says when podman is to start a container again; it runs on.
    ///
    /// # Errors
    ///
    /// [`PodmanError`], also from a podman before 5.1.
    pub(crate) async fn set_restart(
        &self,
        container: &str,
        policy: &RestartPolicy,
    ) -> Result<(), PodmanError> {
        let name = match policy.name.as_str() {
            "" => "no",
            name => name,
        };
        let retries = match name {
            "on-failure" => format!("&restartRetries={}", policy.maximum_retry_count),
            _ => String::new(),
        };
        let path = format!(
            "/containers/{}/update?restartPolicy={}{retries}",
            encode(container),
            encode(name)
        );
        let action = format!("change when {container} is started again");
        let body = Bytes::from_static(b"{}");
        self.request(&action, Method::POST, &path, body).await?;
        Ok(())
    }

    /// Removes a container that stands still and leaves all its volumes. A missing one is as good.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub(crate) async fn remove_keeping_volumes(&self, container: &str) -> Result<(), PodmanError> {
        let path = format!("/containers/{}?force=true&v=false", encode(container));
        self.remove(&format!("remove the container {container}"), &path)
            .await
    }

    async fn make(&self, action: &str, path: &str) -> Result<(), PodmanError> {
        match self.request(action, Method::POST, path, Bytes::new()).await {
            Ok(_) => Ok(()),
            Err(PodmanError::Refused { status, .. }) if status == NOT_MODIFIED => Ok(()),
            Err(error) => Err(error),
        }
    }
}
