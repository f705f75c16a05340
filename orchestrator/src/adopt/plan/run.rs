//! How an old container is run, beside its data, ports and variables: its command and user, its limits, and what else it was
//! given by hand. No values are in the words: a command may hold a password.

use std::collections::BTreeSet;

use archy_registry::manifest::Cpus;

use super::{Effect, Part, Topic};
use crate::quadlet::KEEP_GROUPS;
use crate::settings::ContainerEdit;

/// The most processes that podman lets a container have where nobody says otherwise.
const USUAL_PIDS: u32 = 2048;
/// The shared memory that podman gives where nobody says otherwise; 0 is not told.
const USUAL_SHM_BYTES: [i64; 3] = [0, 65_536_000, 65_536 << 10];
/// The limits of processes that podman sets by itself, to what it found as it made the container.
const OWN_ULIMITS: [&str; 2] = ["nofile", "nproc"];
/// Where podman puts memory by itself in a container whose root is read-only.
const OWN_MEMORY: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

impl Part<'_> {
    /// Names a command and a user that neither the old image nor the app asks for.
    pub(super) fn program(&mut self) {
        let (image, asked) = (&self.old.image, self.container);
        let runs = self.old.found.command();
        let entrypoint = words(image.entrypoint.as_deref().unwrap_or_default());
        let usual = [
            &entrypoint[..],
            &words(image.cmd.as_deref().unwrap_or_default()),
        ]
        .concat();
        let command = words(&asked.command);
        let app = match (asked.entrypoint.is_empty(), asked.command.is_empty()) {
            (false, _) => [words(&asked.entrypoint), command].concat(),
            (true, false) => [entrypoint, command].concat(),
            (true, true) => usual.clone(),
        };
        let user = plain_user(&self.old.found.config.user);
        let usual_user = plain_user(image.user.as_deref().unwrap_or_default());
        let same_user = user == usual_user
            // podman fills the image's in, or leaves it out.
            || self.old.found.config.user.is_empty()
            || asked.user.as_deref().map(plain_user) == Some(user);
        if !runs.is_empty() && runs != usual && runs != app {
            let words = "it runs a command that its image does not say and the app does not ask for; what that sets, such as a password or where data is, would be gone";
            self.say(Topic::Container, "command", Effect::Loses, words);
        }
        if !same_user {
            let words = "it runs as a user that its image does not say and the app does not ask for; the app may find files that it cannot read";
            self.say(Topic::Container, "user", Effect::Loses, words);
        }
    }

    /// Names directories in memory that the app does not ask for, and adds all to those that were met.
    pub(super) fn memory_directories(&mut self, met: &mut BTreeSet<String>) {
        let host = &self.old.found.host_config;
        for target in host.tmpfs.keys() {
            let target = target.trim_end_matches('/');
            let is_own = host.readonly_rootfs && OWN_MEMORY.contains(&target);
            let is_here = |other: &str| other.trim_end_matches('/') == target;
            let mut asked = self.container.tmpfs.iter();
            let mut volumes = self.container.volumes.iter();
            if !met.insert(target.to_owned()) || is_own || asked.any(|tmpfs| is_here(&tmpfs.target))
            {
                continue;
            }
            if volumes.any(|volume| is_here(&volume.target))
                || self.image_volumes.contains_key(target)
            {
                let words = format!("{target} is in memory and begins empty");
                self.say(Topic::Data, target, Effect::Changes, words);
            } else {
                let words = format!("{target} is in memory, which the app does not ask for");
                self.say(Topic::Data, target, Effect::Loses, words);
            }
        }
    }

    /// Keeps the limits that settings can hold, and names the others.
    pub(super) fn limits(&mut self, edit: &mut ContainerEdit) {
        let found = &self.old.found;
        let host = &found.host_config;
        let asked = &self.container.resources;
        if host.memory > 0 && asked.memory.map(|size| size.bytes()) != Some(host.memory) {
            edit.memory = host.memory.to_string().parse().ok();
            let words = "its memory limit stays";
            self.say(Topic::Limit, "memory", Effect::Keeps, words);
        }
        match thousandths(host.cpu_quota, host.cpu_period) {
            Some(limit) if asked.cpus.map(|cpus| u64::from(cpus.millis())) != Some(limit) => {
                let text = format!("{}.{:03}", limit / 1000, limit % 1000);
                edit.cpus = text.parse::<Cpus>().ok();
                let (effect, words) = match edit.cpus {
                    Some(_) => (Effect::Keeps, "its limit of processors stays"),
                    None => (
                        Effect::Loses,
                        "its limit of processors is more than settings hold",
                    ),
                };
                self.say(Topic::Limit, "cpus", effect, words);
            }
            Some(_) | None => {}
        }
        match u32::try_from(host.pids_limit) {
            Ok(0 | USUAL_PIDS) => {}
            Ok(limit) if asked.pids == Some(limit) => {}
            Ok(limit) => {
                edit.pids = Some(limit);
                let words = "its limit of processes stays";
                self.say(Topic::Limit, "pids", Effect::Keeps, words);
            }
            Err(_) => {
                let words = "it may have any number of processes, which no app may";
                self.say(Topic::Limit, "pids", Effect::Loses, words);
            }
        }
        if !USUAL_SHM_BYTES.contains(&host.shm_size) {
            let words = "its shared memory has a size of its own, which no app can ask for";
            self.say(Topic::Limit, "shm", Effect::Loses, words);
        }
        let told = host.ulimits.iter().map(|limit| {
            let name = limit.name.trim_start_matches("RLIMIT_");
            name.to_ascii_lowercase()
        });
        let told = told.filter(|name| !OWN_ULIMITS.contains(&name.as_str()));
        let given = found.config.given("--ulimit");
        let given = given.filter_map(|limit| {
            let name = limit.split('=').next()?;
            OWN_ULIMITS.contains(&name).then(|| name.to_owned())
        });
        let ulimits: BTreeSet<String> = told.chain(given).collect();
        for name in ulimits {
            let words = format!(
                "its limit {name} of each process was set by hand, which no app can ask for"
            );
            self.say(
                Topic::Limit,
                &format!("ulimit.{name}"),
                Effect::Loses,
                words,
            );
        }
    }

    /// Names groups, hosts and settings of the kernel that it was given by hand.
    pub(super) fn surroundings(&mut self) {
        let found = &self.old.found;
        let host = &found.host_config;
        let mut groups = host.group_add.iter();
        let keeps = |group: &str| {
            // The app's devices bring the same.
            format!("--group-add={group}") == KEEP_GROUPS && !self.container.devices.is_empty()
        };
        if groups.any(|group| !keeps(group)) {
            let words = "its user is in further groups, which the app does not ask for";
            self.say(Topic::Right, "groups", Effect::Loses, words);
        }
        if found.config.given("--sysctl").next().is_some() {
            let words = "settings of the kernel were made for it, which no app can ask for";
            self.say(Topic::Right, "sysctl", Effect::Loses, words);
        }
        if !host.extra_hosts.is_empty() {
            let words = "names of hosts were given to it by hand; the app would not know them";
            self.say(Topic::Network, "hosts", Effect::Loses, words);
        }
    }
}

fn words(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Writes the administrator always in one way.
fn plain_user(user: &str) -> &str {
    match user {
        "" | "root" | "0:0" | "root:root" | "root:0" | "0:root" => "0",
        user => user,
    }
}

/// A limit of processors in thousandths of one, if there is one.
fn thousandths(quota: i64, period: u64) -> Option<u64> {
    let quota = u64::try_from(quota).ok().filter(|quota| *quota > 0)?;
    let limit = quota.saturating_mul(1000).checked_div(period)?;
    Some(limit.max(1))
}
