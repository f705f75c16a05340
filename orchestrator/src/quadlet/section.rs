//! One type per section of a unit file; each knows its keys and their order and nothing of manifests.

use super::unit::{Argument, Entry, Plain, Section, Value, Word};

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
/// Starts within [`START_LIMIT_SECONDS`] after which systemd gives up; the reconciler takes over from there.
const START_LIMIT_BURST: u64 = 5;
const START_LIMIT_SECONDS: u64 = 300;

/// `[Unit]`.
#[derive(Debug, Clone)]
pub(crate) struct UnitSection {
    pub(crate) description: Plain,
    /// Services that must be up first.
    pub(crate) requires: Vec<Plain>,
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
        entries.each_plain("ConditionPathExists", &self.condition_path);
        entries.seconds("StartLimitIntervalSec", START_LIMIT_SECONDS);
        entries.number("StartLimitBurst", START_LIMIT_BURST);
        entries.section("Unit")
    }
}

/// `[Quadlet]`: no waiting for the network, which a node without one would do for 90 s.
pub(crate) fn quadlet_section() -> Section {
    let mut entries = Entries(Vec::new());
    entries.fixed("DefaultDependencies", "false");
    entries.section("Quadlet")
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
    pub(crate) capabilities: Vec<Word>,
    pub(crate) read_only: bool,
    pub(crate) attachment: Attachment,
    pub(crate) ports: Vec<Plain>,
    pub(crate) volumes: Vec<Plain>,
    pub(crate) devices: Vec<Word>,
    pub(crate) environment: Vec<Word>,
    pub(crate) secrets: Vec<Word>,
    pub(crate) labels: Vec<Word>,
    pub(crate) health: Option<Health>,
    pub(crate) stop_timeout_seconds: u64,
    pub(crate) podman_args: Vec<Word>,
    pub(crate) entrypoint: Vec<Argument>,
    pub(crate) exec: Vec<Word>,
}

impl ContainerSection {
    pub(crate) fn section(&self) -> Section {
        let mut entries = Entries(Vec::new());
        entries.plain("Image", &self.image);
        entries.fixed("Pull", "never");
        entries.plain("ContainerName", &self.name);
        entries.fixed("RunInit", "true");
        entries.number("StopTimeout", self.stop_timeout_seconds);
        entries.fixed("LogDriver", "journald");
        entries.each_plain("User", &self.user);
        entries.each_plain("Group", &self.group);
        entries.fixed("DropCapability", "all");
        entries.each_word("AddCapability", &self.capabilities);
        entries.fixed("NoNewPrivileges", "true");
        entries.fixed("ReadOnly", if self.read_only { "true" } else { "false" });
        match &self.attachment {
            Attachment::Network { file, aliases } => {
                entries.plain("Network", file);
                entries.each_plain("NetworkAlias", aliases);
            }
            Attachment::Host => entries.fixed("Network", "host"),
        }
        entries.each_plain("PublishPort", &self.ports);
        entries.each_plain("Volume", &self.volumes);
        entries.each_word("AddDevice", &self.devices);
        entries.each_word("Environment", &self.environment);
        entries.each_word("Secret", &self.secrets);
        entries.each_word("Label", &self.labels);
        if let Some(health) = &self.health {
            entries.fixed("Notify", "healthy");
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
        entries.words("PodmanArgs", &self.podman_args);
        entries.json("Entrypoint", &self.entrypoint);
        entries.words("Exec", &self.exec);
        entries.section("Container")
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
    pub(crate) labels: Vec<Word>,
}

impl VolumeSection {
    pub(crate) fn section(&self) -> Section {
        let mut entries = Entries(Vec::new());
        entries.plain("VolumeName", &self.name);
        entries.plain("Device", &self.directory);
        entries.fixed("Type", "none");
        entries.fixed("Options", "bind");
        entries.each_word("Label", &self.labels);
        entries.section("Volume")
    }
}

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
