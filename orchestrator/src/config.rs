//! Where everything is on this machine. Reads no environment; the node's configuration fills it in.

use std::path::PathBuf;
use std::time::Duration;

use archy_registry::release::Platform;

/// Where everything is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The node's data, usually `~/.local/share/archy`.
    pub data_dir: PathBuf,
    /// Directory of unit directories, usually `~/.config/containers/systemd/archy`.
    pub unit_dir: PathBuf,
    /// Where units are checked before they go live: on the file system of `unit_dir`, out of Quadlet's sight, usually
    /// `~/.config/containers/archy-staging`.
    pub staging_dir: PathBuf,
    /// The user's own systemd units, usually `~/.config/systemd/user`.
    pub user_unit_dir: PathBuf,
    /// `$XDG_RUNTIME_DIR`, usually `/run/user/1000`.
    pub runtime_dir: PathBuf,
    /// podman's REST socket.
    pub podman_socket: PathBuf,
    /// The session bus.
    pub bus_socket: PathBuf,
    /// podman itself, for the pause unit and for removing data that belongs to an app's users.
    pub podman: PathBuf,
    /// The program that copies apps' data: begun by podman in its user namespace with
    /// [`WORKER_ARGUMENT`](crate::snapshot::worker::WORKER_ARGUMENT) and two directories, it calls
    /// [`copy_data`](crate::snapshot::worker::copy_data).
    pub worker: PathBuf,
    /// Quadlet's generator.
    pub generator: PathBuf,
    /// The platform whose images run here.
    pub platform: Platform,
    /// Directories whose files apps may copy into their containers, when a hook asks for it.
    pub host_directories: Vec<PathBuf>,
    /// Time between regular looks at the machine.
    pub reconcile_interval: Duration,
    /// Snapshots of an app's data that are kept beside those that a rollback needs.
    pub snapshots_kept: usize,
    /// Directory of the backups, usually below `data_dir`; better on another disk.
    pub backup_dir: PathBuf,
    /// The program that keeps backups.
    pub restic: PathBuf,
}

/// Time between regular looks at the machine unless told otherwise.
pub const RECONCILE_INTERVAL: Duration = Duration::from_secs(30);
/// Snapshots that are kept of each app unless told otherwise.
pub const SNAPSHOTS_KEPT: usize = 2;

impl Config {
    /// Fills in the usual places of a user: `home`, `$XDG_RUNTIME_DIR` and the node's data directory. The running program
    /// is the one that copies data.
    pub fn usual(
        home: impl Into<PathBuf>,
        runtime_dir: impl Into<PathBuf>,
        data_dir: impl Into<PathBuf>,
    ) -> Self {
        let (home, runtime_dir) = (home.into(), runtime_dir.into());
        let containers = home.join(".config/containers");
        let data_dir = data_dir.into();
        Self {
            backup_dir: data_dir.join("backups"),
            restic: PathBuf::from("/usr/bin/restic"),
            data_dir,
            unit_dir: containers.join("systemd/archy"),
            staging_dir: containers.join("archy-staging"),
            user_unit_dir: home.join(".config/systemd/user"),
            podman_socket: runtime_dir.join("podman/podman.sock"),
            bus_socket: runtime_dir.join("bus"),
            runtime_dir,
            podman: PathBuf::from("/usr/bin/podman"),
            worker: std::env::current_exe().unwrap_or_default(),
            generator: PathBuf::from("/usr/libexec/podman/quadlet"),
            platform: Platform::host(),
            host_directories: Vec::new(),
            reconcile_interval: RECONCILE_INTERVAL,
            snapshots_kept: SNAPSHOTS_KEPT,
        }
    }

    /// Directory of the apps' directories.
    pub fn apps_dir(&self) -> PathBuf {
        self.data_dir.join("apps")
    }

    /// Names the data directory: 16 hexadecimal digits of its path's hash.
    pub(crate) fn root(&self) -> String {
        let hash = archy_registry::Blake3Hash::of(self.data_dir.as_os_str().as_encoded_bytes());
        hash.to_string().chars().take(16).collect()
    }
}
