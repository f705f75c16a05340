//! Prepares a user's account for running apps, and tells what the machine lacks. Needs no root and asks for none.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::disk;
use crate::helpers;
use crate::install::MachineError;
use crate::orchestrator::Orchestrator;
use crate::quadlet::{NETNS_UNIT, PAUSE_UNIT, PodmanVersion};
use crate::runtime::systemd::{JobResult, Systemd, Verb};

/// Whether one thing that archy needs is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is as needed.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it; where it is as needed, what it is not enough for.
    pub hint: Option<String>,
}

impl Check {
    pub(crate) fn new(
        name: &str,
        ok: bool,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            ok,
            found: found.into(),
            hint: (!ok).then(|| hint.into()),
        }
    }

    /// Describes what is enough, but not for everything.
    pub(crate) fn warning(name: &str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            ok: true,
            found: found.into(),
            hint: Some(hint.into()),
        }
    }
}

/// Returns the text of [`PAUSE_UNIT`]: podman's pause process gets a scope of its own before any app can take it into its
/// control group, where a failing app would take it down and podman with it.
pub fn pause_unit(podman: &Path) -> String {
    format!(
        "[Unit]\nDescription=Holds rootless podman's namespaces for archy's apps\nRequiresMountsFor=%t/containers\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={} unshare /bin/true\n\n[Install]\nWantedBy=default.target\n",
        podman.display()
    )
}

/// Returns the text of [`NETNS_UNIT`]: podman drops the network namespace of a user's containers with the last of them, and
/// makes a new one for the next. Where one goes while another comes, the DNS server of the old one is still there, and
/// the new containers have none. Somebody who is always in it keeps it.
pub fn netns_unit(podman: &Path) -> String {
    format!(
        "[Unit]\nDescription=Holds rootless podman's network namespace for archy's apps\nRequiresMountsFor=%t/containers\nWants={PAUSE_UNIT}\nAfter={PAUSE_UNIT}\n\n[Service]\nExecStart={} unshare --rootless-netns /bin/sleep infinity\nSuccessExitStatus=143\nRestart=on-failure\nRestartSec=2s\n\n[Install]\nWantedBy=default.target\n",
        podman.display()
    )
}

/// What `archyd.service` takes away from the daemon on any machine. Apps are services of their own, which it does not touch,
/// and so is what the daemon has done where it may not go itself (`runtime::transient`).
const HARDENING: &str = "\
NoNewPrivileges=yes
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
UMask=0077
";

/// What it takes away besides, where the user's systemd [can](can_confine). Devices are left,
/// because the daemon looks whether those are there that apps ask for; so is the kernel's log, which a container may not have
/// and systemd then cannot hide.
const CONFINEMENT: [&str; 7] = [
    "PrivateUsers",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHostname",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "PrivateMounts",
];
/// The same, of what no machine forbids once it has the others.
const CONFINED: &str = "\
CapabilityBoundingSet=
ProtectSystem=full
RestrictNamespaces=yes
";

/// Returns the text of `archyd.service`, which runs the node at `program`. Stopping it stops no app. When archyd ends with
/// status 2, its configuration is wrong: starting it again would not help, so systemd does not.
///
/// `is_confined` takes more away, and needs a machine that [lets it](can_confine).
pub fn node_unit(program: &Path, is_confined: bool) -> String {
    let confinement = match is_confined {
        true => CONFINEMENT.map(|one| format!("{one}=yes\n")).concat() + CONFINED,
        false => String::new(),
    };
    format!(
        "[Unit]\nDescription=archy node\nWants={PAUSE_UNIT} podman.socket\nAfter={PAUSE_UNIT} podman.socket\n\n[Service]\nType=notify\nExecStart={}\nRestart=on-failure\nRestartPreventExitStatus=2\nRestartSec=2s\nTimeoutStopSec=30s\n{HARDENING}{confinement}\n[Install]\nWantedBy=default.target\n",
        program.display()
    )
}

/// Tells whether the user's systemd can give a service a user namespace and mounts of its own, as a confined
/// [`node_unit`] asks for. Some machines forbid it.
pub async fn can_confine(systemd: &Arc<Systemd>) -> bool {
    match systemd.can_protect(&CONFINEMENT).await {
        Ok(can) => can,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot see whether archyd can be confined"
            );
            false
        }
    }
}

impl Orchestrator {
    /// Installs and starts the units that hold podman's namespaces, and podman's socket. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`MachineError`] when a unit cannot be written or systemd cannot be reached.
    pub async fn setup(&self) -> Result<(), MachineError> {
        let config = &self.inner.config;
        let mut is_new = false;
        for (unit, text) in units(config) {
            let path = config.user_unit_dir.join(unit);
            if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
                std::fs::create_dir_all(&config.user_unit_dir)
                    .and_then(|()| disk::replace(&path, text.as_bytes(), 0o644))
                    .map_err(MachineError::io(&path))?;
                is_new = true;
            }
        }
        if is_new {
            self.inner.systemd.reload().await?;
        }
        self.inner
            .systemd
            .enable(&[PAUSE_UNIT, NETNS_UNIT, "podman.socket"])
            .await?;
        for unit in ["podman.socket", PAUSE_UNIT, NETNS_UNIT] {
            let result = self.inner.systemd.job(Verb::Start, unit).await?;
            if result != JobResult::Done {
                tracing::warn!(unit, ?result, "a unit that apps need does not start");
            }
        }
        Ok(())
    }

    /// Tells of the parts without which nothing can be installed at all.
    pub async fn essentials(&self) -> Vec<Check> {
        let config = &self.inner.config;
        vec![
            runtime_dir(config),
            user_systemd(self).await,
            podman_version(self).await,
            generator(config),
        ]
    }

    /// Tells whether the units that hold podman's namespaces are there; [`setup`](Self::setup) makes them.
    pub fn is_set_up(&self) -> bool {
        missing_units(&self.inner.config).is_empty()
    }

    /// Tells what this machine has and lacks for running apps.
    pub async fn doctor(&self) -> Vec<Check> {
        let config = &self.inner.config;
        let mut checks = vec![podman_version(self).await, generator(config)];
        checks.extend(helpers::checks(self.inner.facts.podman));
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        checks.push(Check::new(
            "control groups",
            unified,
            if unified {
                "version 2"
            } else {
                "version 1 or mixed"
            },
            "boot with systemd.unified_cgroup_hierarchy=1",
        ));
        let controllers = controllers();
        let limits = ["memory", "cpu", "pids"];
        let missing: Vec<&str> = limits
            .into_iter()
            .filter(|limit| {
                !controllers
                    .split_ascii_whitespace()
                    .any(|found| found == *limit)
            })
            .collect();
        checks.push(Check::new(
            "limits of memory, CPU and processes",
            missing.is_empty(),
            if controllers.is_empty() { "none".to_owned() } else { controllers.clone() },
            "the system does not delegate these controllers to users, so apps' limits have no effect: set Delegate=yes for user@.service",
        ));
        checks.extend(SUB_IDS.map(sub_ids));
        checks.push(runtime_dir(config));
        checks.push(lingering(rustix::process::getuid().as_raw()));
        checks.push(user_systemd(self).await);
        checks.push(Check::new(
            "restic, for backups",
            config.restic.exists(),
            config.restic.display().to_string(),
            "backups cannot be made or restored; as root: apt install restic",
        ));
        let missing = missing_units(config);
        checks.push(Check::new(
            "units that hold podman's namespaces",
            missing.is_empty(),
            if missing.is_empty() {
                format!("{PAUSE_UNIT}, {NETNS_UNIT}")
            } else {
                format!("no {}", missing.join(", no "))
            },
            "run `archy node setup`",
        ));
        checks
    }
}

/// The units that belong to no app.
fn units(config: &Config) -> [(&'static str, String); 2] {
    [
        (PAUSE_UNIT, pause_unit(&config.podman)),
        (NETNS_UNIT, netns_unit(&config.podman)),
    ]
}

fn missing_units(config: &Config) -> Vec<&'static str> {
    let names = units(config).into_iter().map(|(unit, _)| unit);
    names
        .filter(|unit| !config.user_unit_dir.join(unit).exists())
        .collect()
}

fn generator(config: &Config) -> Check {
    Check::new(
        "Quadlet generator",
        config.generator.exists(),
        config.generator.display().to_string(),
        format!(
            "install podman {} or newer from your distribution",
            PodmanVersion::WHOLE.series()
        ),
    )
}

fn runtime_dir(config: &Config) -> Check {
    Check::new(
        "runtime directory",
        config.runtime_dir.is_dir(),
        config.runtime_dir.display().to_string(),
        "log in over a real session or enable lingering; `su` makes no runtime directory",
    )
}

async fn user_systemd(orchestrator: &Orchestrator) -> Check {
    Check::new(
        "the user's systemd",
        orchestrator
            .inner
            .systemd
            .list("podman.socket")
            .await
            .is_ok(),
        orchestrator.inner.config.bus_socket.display().to_string(),
        "install dbus-user-session, log in again",
    )
}

async fn podman_version(orchestrator: &Orchestrator) -> Check {
    match orchestrator.inner.podman.version().await {
        Ok(version) => judge_podman(&version.version),
        Err(error) => no_podman(crate::error_chain(&error)),
    }
}

fn judge_podman(found: &str) -> Check {
    match found.parse::<PodmanVersion>() {
        Ok(version) if version >= PodmanVersion::WHOLE => Check::new("podman", true, found, ""),
        Ok(version) if version >= PodmanVersion::OLDEST => Check::warning(
            "podman",
            found,
            format!(
                "it runs no app that has a network of its own, a volume or a health check, which is nearly every one; install podman {} or newer",
                PodmanVersion::WHOLE.series()
            ),
        ),
        Ok(_) | Err(_) => no_podman(found),
    }
}

fn no_podman(found: impl Into<String>) -> Check {
    let hint = format!(
        "install podman {} or newer, then run `systemctl --user enable --now podman.socket`",
        PodmanVersion::WHOLE.series()
    );
    Check::new("podman", false, found, hint)
}

/// The controllers that the user's systemd may use.
pub(crate) fn controllers() -> String {
    let user = rustix::process::getuid().as_raw();
    let path = format!(
        "/sys/fs/cgroup/user.slice/user-{user}.slice/user@{user}.service/cgroup.controllers"
    );
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Where the users and groups of an account's containers are listed (subuid(5), subgid(5)).
const SUB_IDS: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// Says what is wrong, and what to do, where this account has too few users or groups for its containers.
pub(crate) fn lack_of_sub_ids() -> Option<String> {
    let lack = SUB_IDS.map(sub_ids).into_iter().find(|check| !check.ok)?;
    let hint = lack.hint.unwrap_or_default();
    Some(format!(
        "{} gives this account {}; {hint}",
        lack.name, lack.found
    ))
}

fn sub_ids(file: &str) -> Check {
    let user = rustix::process::getuid().as_raw();
    let name = user_name(user).unwrap_or_default();
    let table = std::fs::read_to_string(file).unwrap_or_default();
    let entry = table.lines().find(|line| {
        let owner = line.split(':').next().unwrap_or_default();
        !owner.is_empty() && (owner == name || owner == user.to_string())
    });
    let count: u64 = entry
        .and_then(|line| line.split(':').nth(2)?.parse().ok())
        .unwrap_or(0);
    let option = if file.ends_with("subuid") {
        "--add-subuids"
    } else {
        "--add-subgids"
    };
    Check::new(
        file,
        count >= 65_536,
        format!("{count} ids"),
        format!("as root: usermod {option} 100000-165535 {name}"),
    )
}

fn user_name(user: u32) -> Option<String> {
    let table = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = table
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&user.to_string()))?;
    Some(line.split(':').next()?.to_owned())
}

fn lingering(user: u32) -> Check {
    let name = user_name(user).unwrap_or_else(|| user.to_string());
    let file = Path::new("/var/lib/systemd/linger").join(&name);
    let lingers = file.exists();
    Check::new(
        "lingering",
        lingers,
        if lingers { "on" } else { "off" },
        format!(
            "apps stop at logout and stay down after a reboot; as root: loginctl enable-linger {name}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_podman_is_told_with_what_it_does_not_run() {
        // Version, whether it is enough, whether something is to be done.
        let table = [
            ("5.4.2", true, false),
            ("4.10.0-rc1", true, false),
            ("4.7.0", true, false),
            ("4.6.2", true, true),
            ("4.4.0", true, true),
            ("4.3.1", false, true),
            ("x", false, true),
        ];
        for (version, ok, advised) in table {
            let check = judge_podman(version);
            assert_eq!((check.ok, check.hint.is_some()), (ok, advised), "{version}");
            let hint = check.hint.unwrap_or_default();
            assert_eq!(hint.contains("podman 4.7 or newer"), advised, "{hint}");
            assert_eq!(hint.contains("runs no app"), ok && advised, "{hint}");
        }
    }

    #[test]
    fn the_node_is_restarted_unless_its_configuration_is_wrong() {
        let unit = node_unit(Path::new("/opt/archyd"), true);
        let (_, service) = unit.split_once("[Service]\n").unwrap();
        let (service, _) = service.split_once("\n\n").unwrap();
        let lines: Vec<&str> = service.lines().collect();
        assert!(lines.contains(&"Restart=on-failure"), "{unit}");
        assert!(lines.contains(&"RestartPreventExitStatus=2"), "{unit}");
    }

    #[test]
    fn every_unit_names_its_program() {
        assert!(pause_unit(Path::new("/opt/podman")).contains("ExecStart=/opt/podman unshare"));
        assert!(node_unit(Path::new("/opt/archyd"), false).contains("ExecStart=/opt/archyd\n"));
    }
}
