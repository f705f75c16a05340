//! The states that the gate takes every app through, and in which order.

use std::fmt;

/// A state of an installed app's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Installed, running and healthy.
    Install,
    /// Its interfaces answer from outside the node.
    Ui,
    /// Stopped: nothing runs, nothing listens.
    Stop,
    /// Started again.
    Start,
    /// Restarted: new containers, old data.
    Restart,
    /// Installed over itself.
    Reinstall,
    /// Updated to a second release.
    Update,
    /// Taken back to the first release by its owner.
    Rollback,
    /// An update to a release that never gets healthy, undone by the node itself.
    FailedUpdate,
    /// The daemon was killed and came back.
    DaemonKilled,
    /// The node was rebooted.
    Reboot,
    /// The node lost its power and was switched on again.
    PowerCut,
    /// Uninstalled, with its data kept.
    Uninstall,
    /// Installed again on the data that the uninstall left.
    InstallAgain,
    /// Removed with everything it had.
    Purge,
}

impl State {
    /// Every state, in the order in which an app goes through them.
    pub const ALL: [Self; 15] = [
        Self::Install,
        Self::Ui,
        Self::Stop,
        Self::Start,
        Self::Restart,
        Self::Reinstall,
        Self::Update,
        Self::Rollback,
        Self::FailedUpdate,
        Self::DaemonKilled,
        Self::Reboot,
        Self::PowerCut,
        Self::Uninstall,
        Self::InstallAgain,
        Self::Purge,
    ];

    /// Returns the name that reports use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Ui => "ui",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Reinstall => "reinstall",
            Self::Update => "update",
            Self::Rollback => "rollback",
            Self::FailedUpdate => "failed-update",
            Self::DaemonKilled => "daemon-killed",
            Self::Reboot => "reboot",
            Self::PowerCut => "power-cut",
            Self::Uninstall => "uninstall",
            Self::InstallAgain => "install-again",
            Self::Purge => "purge",
        }
    }

    /// Returns what has been looked at when a cell of this state is green.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Install => {
                "every container runs the release's own image, its unit is active, its health check passes when it is run, the interfaces answer"
            }
            Self::Ui => {
                "from outside the node, each interface answers in its own protocol, on the port that archyd names"
            }
            Self::Stop => {
                "no container runs, no unit is active, nothing listens on its ports, the data is on the disk"
            }
            Self::Start => "runs as after the install, with its data",
            Self::Restart => "every container is another one than before, with the same data",
            Self::Reinstall => {
                "every container is another one than before, of the same image, with the same data"
            }
            Self::Update => {
                "the containers have the second release's layer, archyd names its version, the data is there"
            }
            Self::Rollback => "the containers are the first release's again, the data is there",
            Self::FailedUpdate => {
                "the job failed and says why, the release from before runs in containers made since, the data is there"
            }
            Self::DaemonKilled => {
                "archyd is another process, the containers are the same ones, started when they were"
            }
            Self::Reboot => {
                "the node has another boot, the app runs without anybody's help, the data is there"
            }
            Self::PowerCut => "as after the reboot, with nothing shut down in order",
            Self::Uninstall => {
                "no unit, container, network, volume, secret or image of the app, but its data and secrets on the disk"
            }
            Self::InstallAgain => "runs as after the first install, on the data that was left",
            Self::Purge => "nothing at all of the app, on the disk, in podman or in systemd",
        }
    }

    /// Tells whether the app runs in this state.
    pub const fn runs(self) -> bool {
        !matches!(self, Self::Stop | Self::Uninstall | Self::Purge)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
