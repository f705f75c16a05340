//! Composes the daemon's configuration from defaults, file, environment and flags.
//!
//! Later layers win, key by key. Nothing else in this workspace reads the environment or knows where files are.

mod layer;
mod paths;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::Deserialize;

pub use layer::{ConfigError, Environment};
pub use paths::Paths;

use layer::Layers;

/// The embedded first layer; also the list of every key and its type.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// What the command line says about configuration.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// File to read instead of the usual one; it must exist.
    pub file: Option<PathBuf>,
    /// Moves the data directory.
    pub data_dir: Option<PathBuf>,
    /// `section.key=value`, in order.
    pub set: Vec<String>,
}

/// The daemon's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node itself.
    pub node: Node,
    /// UI and API.
    pub api: Api,
    /// The embedded Nostr relay.
    pub relay: Relay,
    /// Nostr relays to follow.
    pub nostr: Nostr,
    /// The iroh endpoint.
    pub swarm: Swarm,
    /// Registries of apps.
    pub registries: Registries,
    /// What apps may do.
    pub apps: Apps,
    /// Backups.
    pub backup: Backup,
    /// Jobs.
    pub jobs: Jobs,
    /// Logging.
    pub log: Log,
}

/// The node itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Shown name.
    pub name: String,
}

/// UI and API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Where the UI and the API listen.
    pub listen: SocketAddr,
    /// Further host names under which a browser may reach them.
    pub allowed_hosts: Vec<String>,
    /// Connections at once.
    pub connections_max: u32,
    /// Hours without a request after which a session ends.
    pub session_idle_hours: u32,
}

/// The embedded Nostr relay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Where it listens, if it runs.
    #[serde(deserialize_with = "empty_is_none")]
    pub listen: Option<SocketAddr>,
}

/// Nostr relays to follow.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nostr {
    /// Their URLs.
    pub relays: Vec<archy_nostr::RelayUrl>,
    /// Whether to ask them for seeders of an app that nobody else gives.
    pub find_seeders: bool,
    /// Whether to tell them which apps this node seeds, and where.
    pub announce_seeding: bool,
}

/// The iroh endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swarm {
    /// UDP addresses.
    pub listen: Vec<SocketAddr>,
    /// iroh relays.
    #[serde(deserialize_with = "iroh_relays")]
    pub relays: IrohRelays,
    /// Whether to find nodes on the local network.
    pub mdns: bool,
    /// Whether to exchange hints with others who have an app about who has what of it.
    pub gossip: bool,
    /// Other nodes to fetch from.
    #[serde(deserialize_with = "peers")]
    pub peers: Vec<archy_registry::release::Endpoint>,
    /// How much blobs may take on the disk.
    #[serde(deserialize_with = "quota")]
    pub quota: Quota,
    /// Bytes per second that are given to all other nodes together; apps published from here are exempt.
    #[serde(deserialize_with = "rate")]
    pub upload: Option<NonZeroU64>,
    /// Bytes per second that are given to each other node; apps published from here are exempt.
    #[serde(deserialize_with = "rate")]
    pub upload_per_node: Option<NonZeroU64>,
}

/// How much blobs may take on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// A part of the file system.
    Auto,
    /// So many bytes.
    Bytes(u64),
    /// As much as the disk has.
    None,
}

/// iroh relays to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IrohRelays {
    /// None: direct addresses only.
    Disabled,
    /// The public ones of number 0.
    N0,
    /// These.
    Custom(Vec<url::Url>),
}

/// Registries of apps. Which ones there are is the owner's list, not configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// Certificates of the owner's own authority, PEM.
    #[serde(deserialize_with = "empty_is_no_file")]
    pub authority: Option<PathBuf>,
}

/// What apps may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apps {
    /// Directories whose files apps may copy into their containers.
    pub copy_from_host: Vec<PathBuf>,
    /// Seconds between regular looks at what runs.
    pub look_every_seconds: u32,
}

/// Backups.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Where they are, if not in the data directory.
    #[serde(deserialize_with = "empty_is_no_file")]
    pub directory: Option<PathBuf>,
}

/// Jobs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    /// Jobs on different apps that run at the same time.
    pub parallel_max: u32,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Filter.
    pub filter: String,
}

impl Config {
    /// Composes the configuration; `paths` says where the usual file is.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the layer, the key and, for an unknown key, the nearest one there is.
    pub fn load(
        flags: &Flags,
        environment: &Environment,
        paths: &Paths,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::new(DEFAULTS);
        match &flags.file {
            Some(file) => layers.file(file, true)?,
            None => layers.file(&paths.config_file, false)?,
        }
        layers.environment(environment)?;
        layers.set(&flags.set)?;
        let config: Self = layers.compose()?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key: &str, reason: &str| {
            Err(ConfigError::Value {
                key: key.to_owned(),
                origin: "the configuration".to_owned(),
                reason: reason.to_owned(),
            })
        };
        if self.api.connections_max == 0 {
            return invalid("api.connections_max", "must be at least 1");
        }
        if !(1..=8760).contains(&self.api.session_idle_hours) {
            return invalid("api.session_idle_hours", "must be 1 to 8760");
        }
        if !(1..=64).contains(&self.jobs.parallel_max) {
            return invalid("jobs.parallel_max", "must be 1 to 64");
        }
        if !(1..=3600).contains(&self.apps.look_every_seconds) {
            return invalid("apps.look_every_seconds", "must be 1 to 3600");
        }
        let relative = |directory: &&PathBuf| !directory.is_absolute();
        if let Some(directory) = self.apps.copy_from_host.iter().find(relative) {
            let reason = format!("{} is not an absolute path", directory.display());
            return invalid("apps.copy_from_host", &reason);
        }
        if let Some(directory) = self.backup.directory.iter().find(relative) {
            let reason = format!("{} is not an absolute path", directory.display());
            return invalid("backup.directory", &reason);
        }
        if self.swarm.listen.is_empty() {
            return invalid("swarm.listen", "needs at least one address");
        }
        let plain = |host: &String| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        if !self.api.allowed_hosts.iter().all(plain) {
            return invalid(
                "api.allowed_hosts",
                "write host names only, without scheme, port or path",
            );
        }
        Ok(())
    }
}

fn empty_is_none<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| serde::de::Error::custom(format!("{text:?} is not an address: write IP:PORT")))
}

fn empty_is_no_file<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()))
}

fn iroh_relays<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<IrohRelays, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "disabled" => Ok(IrohRelays::Disabled),
        "n0" => Ok(IrohRelays::N0),
        urls => urls
            .split(',')
            .map(|url| {
                url.trim().parse().map_err(|_| {
                    serde::de::Error::custom(format!(
                        "{url:?} is neither \"disabled\", \"n0\" nor a URL"
                    ))
                })
            })
            .collect::<Result<_, _>>()
            .map(IrohRelays::Custom),
    }
}

fn quota<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Quota, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_quota(&text).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?} is not a quota: write \"auto\", \"none\", or a number with kB, MB, GB or TB, e.g. \"50 GB\"; nothing \
             can be installed with 0"
        ))
    })
}

fn parse_quota(text: &str) -> Option<Quota> {
    match text.trim() {
        "auto" => Some(Quota::Auto),
        "none" => Some(Quota::None),
        size => parse_size(size).map(|size| Quota::Bytes(size.get())),
    }
}

fn rate<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.trim() {
        "none" => Ok(None),
        size => parse_size(size).map(Some).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is not a rate: write \"none\", or a number of bytes per second with kB, MB or GB, e.g. \"2 MB\""
            ))
        }),
    }
}

/// Reads a number of bytes with its unit; zero is none.
fn parse_size(text: &str) -> Option<NonZeroU64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(factor)?;
    NonZeroU64::new(bytes)
}

fn peers<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<archy_registry::release::Endpoint>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| {
            parse_peer(text).ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "{text:?} is not a peer: write ENDPOINT-ID@IP:PORT, further addresses after a +"
                ))
            })
        })
        .collect()
}

fn parse_peer(text: &str) -> Option<archy_registry::release::Endpoint> {
    let (id, addresses) = text.split_once('@').unwrap_or((text, ""));
    let addresses = addresses
        .split('+')
        .filter(|address| !address.is_empty())
        .map(|address| address.parse().ok())
        .collect::<Option<Vec<_>>>()?;
    Some(archy_registry::release::Endpoint {
        id: id.parse().ok()?,
        addresses,
        relays: Vec::new(),
    })
}
