//! One type per section of a unit file; each knows its keys and their order and nothing of manifests.

use super::field::OWN_IDS;
use super::unit::{Argument, Entry, Plain, Section, TextError, Value, Word};
use super::version::{self, PodmanVersion};

/// Collects the entries of one section.
struct Entries(Vec<Entry>);

impl Entries {
    fn plain(&mut self, key: &'static str, value: &Plain) {
        let value = Value::Plain(value.clone());
        self.0.push(Entry { key, value });
    }

    fn each_plain<'a>(&mut self, key: &'static str, values: impl IntoIterator<Item = &'a Plain>) {
        for value in values {
            self.plain(key, value);
        }
    }

    fn fixed(&mut self, key: &'static str, value: &'static str) {
        let value = Plain::new(value).expect("fixed values are plain");
        self.plain(key, &value);
    }

    fn number(&mut self, key: &'static str, value: u64) {
        let value = Plain::new(value.to_string()).expect("digits are plain");
        self.plain(key, &value);
    }

    fn seconds(&mut self, key: &'static str, value: u64) {
        let value = Plain::new(format!("{value}s")).expect("digits are plain");
        self.plain(key, &value);
    }

    fn words(&mut self, key: &'static str, words: &[Word]) {
        if !words.is_empty() {
            let value = Value::Words(words.to_vec());
            self.0.push(Entry { key, value });
        }
    }

    /// One line per word, for lists that are easier to read that way.
    fn each_word(&mut self, key: &'static str, words: &[Word]) {
        for word in words {
            self.words(key, std::slice::from_ref(word));
        }
    }

    fn json(&mut self, key: &'static str, arguments: &[Argument]) {
        if !arguments.is_empty() {
            let value = Value::Json(arguments.to_vec());
            self.0.push(Entry { key, value });
        }
    }

    fn section(self, name: &'static str) -> Section {
        Section {
            name,
            entries: self.0,
        }
    }
}

/// `[X-Archy]`: whose file this is. Quadlet and systemd pass over it.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    /// Names the data directory whose node wrote the file.
    pub(crate) root: Plain,
    /// The app.
    pub(crate) app: Plain,
    /// The hash of the release.
    pub(crate) release: Plain,
}

/// The section that marks a file as ours.
pub(crate) const MARKER: &str = "X-Archy";

impl Marker {
    pub(crate) fn section(&self) -> Section {
        let mut entries = Entries(Vec::new());
        entries.plain("Root", &self.root);
        entries.plain("App", &self.app);
        entries.plain("Release", &self.release);
        entries.section(MARKER)
    }
}

/// The unit that keeps rootless podman's pause process out of every app's control group.
pub const PAUSE_UNIT: &str = "archy-pause.service";
/// The unit that keeps rootless podman's network namespace while apps come and go.
pub const NETNS_UNIT: &str = "archy-netns.service";
/// Starts within [`START_LIMIT_SECONDS`] after which systemd gives up; the reconciler takes over from there.
const START_LIMIT_BURST: u64 = 5;
const START_LIMIT_SECONDS: u64 = 300;

/// `[Unit]`.
#[derive(Debug, Clone)]
pub(crate) struct UnitSection {
    pub(crate) description: Plain,
    /// Services that must be up first.
    pub(crate) requires: Vec<Plain>,
    /// Services that should be up first, if they come up.
    pub(crate) wants: Vec<Plain>,
    /// The unit starts only while this file exists.
    pub(crate) condition_path: Option<Plain>,
}

impl UnitSection {
    pub(crate) fn section(&self) -> Section {
        let mut entries = Entries(Vec::new());
        entries.plain("Description", &self.description);
        entries.fixed("Wants", PAUSE_UNIT);
        entries.fixed("After", PAUSE_UNIT);
        entries.each_plain("Requires", &self.requires);
        entries.each_plain("After", &self.requires);
        entries.each_plain("Wants", &self.wants);
        entries.each_plain("After", &self.wants);
        entries.each_plain("ConditionPathExists", &self.condition_path);
        entries.seconds("StartLimitIntervalSec", START_LIMIT_SECONDS);
        entries.number("StartLimitBurst", START_LIMIT_BURST);
        entries.section("Unit")
    }
}

/// `[Quadlet]`: no waiting for the network, which a node without one would do for 90 s. Versions before 5.3 wait for
/// nothing that a user's systemd has.
pub(crate) fn quadlet_section(podman: PodmanVersion) -> Option<Section> {
    let mut entries = Entries(Vec::new());
    entries.fixed("DefaultDependencies", "false");
    (podman >= version::DEPENDENCIES).then(|| entries.section("Quadlet"))
}

/// A health check as podman takes it.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) command: Vec<Argument>,
    pub(crate) interval_seconds: u64,
    pub(crate) timeout_seconds: u64,
    pub(crate) retries: u64,
    /// The check until the first success: it waits for the service by itself.
    pub(crate) startup_command: Vec<Argument>,
    pub(crate) startup_timeout_seconds: u64,
    pub(crate) startup_retries: u64,
}

/// How a container reaches others.
#[derive(Debug, Clone)]
pub(crate) enum Attachment {
    /// The app's own network, by the name of its unit file, with DNS aliases.
    Network { file: Plain, aliases: Vec<Plain> },
    /// The app's own network with its aliases, and networks with other apps, in which those aliases are not known.
    Networks(Vec<Plain>),
    /// The node's own network stack.
    Host,
}

/// `[Container]`.
#[derive(Debug, Clone)]
pub(crate) struct ContainerSection {
    pub(crate) image: Plain,
    pub(crate) name: Plain,
    pub(crate) user: Option<Plain>,
    pub(crate) group: Option<Plain>,
    /// Whether none of its users is the account that runs podman.
    pub(crate) own_users: bool,
    pub(crate) capabilities: Vec<Word>,
    pub(crate) read_only: bool,
    pub(crate) attachment: Attachment,
    pub(crate) ports: Vec<Plain>,
    pub(crate) volumes: Vec<Plain>,
    pub(crate) tmpfs: Vec<Plain>,
    pub(crate) devices: Vec<Word>,
    pub(crate) environment: Vec<Word>,
    pub(crate) secrets: Vec<Word>,
    pub(crate) labels: Vec<Word>,
    pub(crate) health: Option<Health>,
    pub(crate) stop_timeout_seconds: u64,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) podman_args: Vec<Word>,
    pub(crate) entrypoint: Vec<Argument>,
    pub(crate) exec: Vec<Word>,
}

impl ContainerSection {
    /// Writes the section with the keys that `podman` knows, and options where it knows no key.
    pub(crate) fn section(&self, podman: PodmanVersion) -> Result<Section, TextError> {
        let mut entries = Entries(Vec::new());
        let mut options = Options(Vec::new());
        entries.plain("Image", &self.image);
        if podman >= version::PULL {
            entries.fixed("Pull", "never");
        } else {
            options.push("--pull=never")?;
        }
        entries.plain("ContainerName", &self.name);
        entries.fixed("RunInit", "true");
        if podman >= version::NOTIFY {
            entries.number("StopTimeout", self.stop_timeout_seconds);
        } else {
            options.push(format!("--stop-timeout={}", self.stop_timeout_seconds))?;
        }
        if podman >= version::SECRET {
            entries.fixed("LogDriver", "journald");
        } else {
            options.push("--log-driver=journald")?;
        }
        entries.each_plain("User", &self.user);
        entries.each_plain("Group", &self.group);
        if self.own_users && podman >= version::MAPS {
            entries.fixed("UIDMap", OWN_IDS);
            entries.fixed("GIDMap", OWN_IDS);
        } else if self.own_users {
            options.push(format!("--uidmap={OWN_IDS}"))?;
            options.push(format!("--gidmap={OWN_IDS}"))?;
        }
        entries.fixed("DropCapability", "all");
        entries.each_word("AddCapability", &self.capabilities);
        entries.fixed("NoNewPrivileges", "true");
        entries.fixed("ReadOnly", if self.read_only { "true" } else { "false" });
        match &self.attachment {
            Attachment::Network { file, aliases } => {
                entries.plain("Network", file);
                if podman >= version::ALIAS {
                    entries.each_plain("NetworkAlias", aliases);
                } else {
                    options.each("--network-alias", aliases.iter().map(Plain::as_str))?;
                }
            }
            Attachment::Networks(networks) => entries.each_plain("Network", networks),
            Attachment::Host => entries.fixed("Network", "host"),
        }
        entries.each_plain("PublishPort", &self.ports);
        entries.each_plain("Volume", &self.volumes);
        if podman >= version::SECRET {
            entries.each_plain("Tmpfs", &self.tmpfs);
        } else {
            options.each("--tmpfs", self.tmpfs.iter().map(Plain::as_str))?;
        }
        entries.each_word("AddDevice", &self.devices);
        entries.each_word("Environment", &self.environment);
        if podman >= version::SECRET {
            entries.each_word("Secret", &self.secrets);
        } else {
            options.each("--secret", self.secrets.iter().map(Word::as_str))?;
        }
        entries.each_word("Label", &self.labels);
        if let Some(health) = &self.health {
            if podman >= version::NOTIFY {
                entries.fixed("Notify", "healthy");
            } else {
                options.push("--sdnotify=healthy")?;
            }
            health_entries(health, &mut entries);
        }
        match self.memory_bytes {
            Some(bytes) if podman >= version::MEMORY => entries.number("Memory", bytes),
            Some(bytes) => options.push(format!("--memory={bytes}"))?,
            None => {}
        }
        options.0.extend(self.podman_args.iter().cloned());
        if podman < version::NOTIFY && !self.entrypoint.is_empty() {
            let words: Vec<&str> = self.entrypoint.iter().map(Argument::as_str).collect();
            let list = serde_json::Value::from(words).to_string();
            options.push(format!("--entrypoint={list}"))?;
        }
        entries.words("PodmanArgs", &options.0);
        if podman >= version::NOTIFY {
            entries.json("Entrypoint", &self.entrypoint);
        }
        entries.words("Exec", &self.exec);
        Ok(entries.section("Container"))
    }
}

fn health_entries(health: &Health, entries: &mut Entries) {
    entries.json("HealthCmd", &health.command);
    entries.seconds("HealthInterval", health.interval_seconds);
    entries.seconds("HealthTimeout", health.timeout_seconds);
    entries.number("HealthRetries", health.retries);
    entries.fixed("HealthOnFailure", "kill");
    entries.json("HealthStartupCmd", &health.startup_command);
    entries.fixed("HealthStartupInterval", "1s");
    entries.seconds("HealthStartupTimeout", health.startup_timeout_seconds);
    entries.number("HealthStartupRetries", health.startup_retries);
}

/// Options of podman for which its Quadlet has no key.
struct Options(Vec<Word>);

impl Options {
    fn push(&mut self, option: impl Into<String>) -> Result<(), TextError> {
        self.0.push(Word::new(option)?);
        Ok(())
    }

    fn each<'a>(
        &mut self,
        flag: &str,
        values: impl Iterator<Item = &'a str>,
    ) -> Result<(), TextError> {
        for value in values {
            self.push(format!("{flag}={value}"))?;
        }
        Ok(())
    }
}

/// `[Network]`.
#[derive(Debug, Clone)]
pub(crate) struct NetworkSection {
    pub(crate) name: Plain,
    /// No route out; published ports still answer (measured with podman 5.4 and netavark 1.14).
    pub(crate) internal: bool,
    pub(crate) labels: Vec<Word>,
}

impl NetworkSection {
    pub(crate) fn section(&self) -> Section {
        let mut entries = Entries(Vec::new());
        entries.plain("NetworkName", &self.name);
        entries.fixed("Internal", if self.internal { "true" } else { "false" });
        entries.each_word("Label", &self.labels);
        entries.section("Network")
    }
}

/// `[Volume]`: a podman volume that binds a directory of ours, so that podman copies the image's files into it and gives
/// it to the image's user at the first start, and the data stays where its owner can see it.
#[derive(Debug, Clone)]
pub(crate) struct VolumeSection {
    pub(crate) name: Plain,
    pub(crate) directory: Plain,
    /// The user who owns the directory: podman then leaves it to it, rather than to whom the image says.
    pub(crate) owner: Option<u32>,
    pub(crate) labels: Vec<Word>,
}

impl VolumeSection {
    pub(crate) fn section(&self) -> Section {
        let mut entries = Entries(Vec::new());
        entries.plain("VolumeName", &self.name);
        entries.plain("Device", &self.directory);
        entries.fixed("Type", "none");
        match self.owner {
            None => entries.fixed("Options", "bind"),
            Some(uid) => {
                let options = Plain::new(format!("bind,uid={uid},gid={uid}"));
                entries.plain("Options", &options.expect("digits are plain"));
            }
        }
        entries.each_word("Label", &self.labels);
        entries.section("Volume")
    }
}

/// `[Service]` of a volume for containers with users of their own: podman's count of who uses the volume never comes to
/// nothing while it exists.
///
/// podman 5 keeps the monitor of such a container in a mount namespace of its own. When the container ends by itself, the
/// volume is unmounted only there, and podman takes it for unmounted: whatever removes the volume then removes what is in
/// the directory, which is the app's data. A volume that is still counted is unmounted before it is removed.
pub(crate) fn held_section(volume: &Plain) -> Section {
    let mut entries = Entries(Vec::new());
    let command = Plain::new(format!("{HOLD} {}", volume.as_str()));
    entries.plain("ExecStartPost", &command.expect("a plain name is plain"));
    entries.section("Service")
}

/// Counts as a use of a volume; rootless podman mounts only in its own user namespace.
pub(crate) const HOLD: &str = "podman unshare podman volume mount";

/// `[Service]` of a container.
#[derive(Debug, Clone)]
pub(crate) struct ServiceSection {
    pub(crate) start_seconds: u64,
    pub(crate) stop_seconds: u64,
}

impl ServiceSection {
    pub(crate) fn section(&self) -> Section {
        let mut entries = Entries(Vec::new());
        entries.fixed("Restart", "on-failure");
        entries.fixed("RestartSec", "2s");
        // A container that ends on SIGTERM leaves with 143, which is how stopping it succeeds.
        entries.fixed("SuccessExitStatus", "143");
        entries.seconds("TimeoutStartSec", self.start_seconds);
        entries.seconds("TimeoutStopSec", self.stop_seconds);
        entries.section("Service")
    }
}

/// `[Install]`: the app comes back at boot.
pub(crate) fn install_section() -> Section {
    let mut entries = Entries(Vec::new());
    entries.fixed("WantedBy", "default.target");
    entries.section("Install")
}
