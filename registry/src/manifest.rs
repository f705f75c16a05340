//! `manifest.yml`: the packaging contract between an app and every node that runs it.
//!
//! These types are the normal form: shorthands are expanded, every list is explicit. Reading YAML,
//! expanding shorthands and checking cross-references belong to this module too; nothing here renders units.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::Slug;

pub mod quantity;

pub use quantity::{Cpus, RelativePath, Size, Span};

/// A whole `manifest.yml` in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the shop window shows.
    pub app: App,
    /// The containers; at least one. A single-container app may write `container:`.
    pub containers: Vec<Container>,
    /// Secrets made once at install.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated_secrets: Vec<GeneratedSecret>,
    /// Other apps that must be installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// How far the app's containers reach.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// Steps round install, update and uninstall.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// What a person or another program can open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// What a backup leaves out.
    #[serde(default, skip_serializing_if = "Backup::is_empty")]
    pub backup: Backup,
    /// Extensions by name.
    #[serde(default, skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// What the shop window shows of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The slug.
    pub id: Slug,
    /// Display name, 1–60 characters.
    pub name: String,
    /// The version as its developers write it, 1–40 characters.
    pub version: String,
    /// One line, at most 120 characters.
    pub tagline: String,
    /// Markdown, at most 16 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// One of the store's categories.
    pub category: Category,
    /// Path of the icon, relative to the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<RelativePath>,
    /// Paths of screenshots, relative to the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub screenshots: Vec<RelativePath>,
    /// `https://…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    /// Where the source code lives, `https://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Markdown, at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_notes: Option<String>,
}

/// The store's shelves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Category {
    Bitcoin,
    Communication,
    Developer,
    Files,
    Finance,
    Home,
    Media,
    Network,
    Productivity,
    Publishing,
    Security,
    Social,
    Other,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Name within the app, unique.
    pub name: Slug,
    /// Where its image comes from when the publisher packs the app.
    pub source: Source,
    /// Arguments after the entrypoint; replaces the image's `Cmd`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Replaces the image's `Entrypoint`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// `uid[:gid]` or a user name of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Environment variables that are not secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Environment variables whose values are generated secrets: variable → secret name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_env: BTreeMap<String, Slug>,
    /// Ports published on the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Data that outlives the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Further DNS names in the app's network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_aliases: Vec<Slug>,
    /// Linux capabilities added back, without `CAP_`, e.g. `NET_BIND_SERVICE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Whether the root file system is read-only (`/tmp`, `/run` and `/var/tmp` stay writable in memory).
    #[serde(default)]
    pub readonly_root: bool,
    /// Host devices, e.g. `/dev/dri`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Limits.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// When it counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Containers of the same app that must be up first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<DependsOn>,
    /// How long it may take to stop after SIGTERM. Default 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<Span>,
}

/// Where a container's image comes from when the publisher packs the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// An existing image.
    Pull {
        /// Image reference.
        image: String,
        /// When to pull.
        #[serde(default)]
        pull_policy: PullPolicy,
    },
    /// Built from a context next to the manifest.
    Build {
        /// Context directory, relative to the manifest.
        context: RelativePath,
        /// Containerfile, relative to the context. Default `Containerfile`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dockerfile: Option<RelativePath>,
        /// Local image name to give the result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
        /// Build arguments.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        build_args: BTreeMap<String, String>,
        /// When to pull base images.
        #[serde(default)]
        pull_policy: PullPolicy,
    },
}

/// When a publisher's tools pull an image. Nodes never pull by tag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "podman's own words")]
pub enum PullPolicy {
    #[default]
    Missing,
    Always,
    Never,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Port inside the container.
    pub container: u16,
    /// Wished port on the node; absent or taken means that the node assigns a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<u16>,
    /// Transport.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Transport of a port.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

/// Data of an app, kept in a directory of its own under the node's data root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Name within the app; containers that name the same volume share it.
    pub name: Slug,
    /// Absolute path inside the container.
    pub target: String,
    /// Whether this container may only read it.
    #[serde(default)]
    pub read_only: bool,
    /// User of the image that owns the data. Default: the container's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_uid: Option<u32>,
}

/// Limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Memory limit, e.g. `512M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Thousandths of a CPU, written as a decimal text of CPUs (`"1.5"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Most processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

impl Resources {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// When a container counts as healthy. Runs inside the container's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// How to ask.
    #[serde(rename = "type")]
    pub kind: HealthKind,
    /// Port for `http` and `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path for `http`. Default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// argv for `exec`; exit code 0 is healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Time between checks. Default 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Time that one check may take. Default 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Failures in a row until it counts as unhealthy. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Time after the start in which failures do not count. Default 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Span>,
}

/// How a health check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthKind {
    /// GET answers with a status from 200 to 399.
    Http,
    /// The port accepts a connection.
    Tcp,
    /// A command exits with 0.
    Exec,
}

/// A container that must be up first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DependsOn {
    /// Its name.
    pub container: Slug,
    /// How far up.
    #[serde(default)]
    pub condition: Condition,
}

/// How far up a container must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Condition {
    Started,
    #[default]
    Healthy,
}

/// A secret made once at install and never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedSecret {
    /// Name within the app.
    pub name: Slug,
    /// How it is made.
    pub kind: SecretKind,
    /// For `bcrypt`: the secret whose hash this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Slug>,
}

/// How a secret is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// 16 random bytes in hexadecimal.
    Hex16,
    /// 32 random bytes in hexadecimal.
    Hex32,
    /// 32 random bytes in base64.
    Base64,
    /// The bcrypt hash of another secret.
    Bcrypt,
    /// A random UUID (RFC 9562 version 4).
    Uuid,
}

/// Another app that must be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Its origin DID.
    pub publisher: Did,
    /// Its slug.
    pub app: Slug,
    /// Semantic version requirement, e.g. `>=1.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// How far an app's containers reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPolicy {
    /// Its own containers only (and whoever opens its published ports).
    #[default]
    Isolated,
    /// The internet too.
    Outbound,
    /// The node's own network stack.
    Host,
}

/// Steps round install, update and uninstall.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// After the first healthy start, once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_install: Vec<Hook>,
    /// Before an update stops the app.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_update: Vec<Hook>,
    /// After an updated app is healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_update: Vec<Hook>,
    /// Before the app is stopped for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_uninstall: Vec<Hook>,
}

impl Hooks {
    /// Tells whether there is no hook at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One step of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Hook {
    /// Runs a command in a running container.
    Exec {
        /// The container.
        container: Slug,
        /// argv.
        command: Vec<String>,
    },
    /// Copies a file that the node allows into a container.
    CopyFromHost {
        /// Path on the node.
        from: String,
        /// The container.
        container: Slug,
        /// Absolute path inside it.
        to: String,
    },
}

/// What a person or another program can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Shown name.
    pub name: String,
    /// A published container port of this app.
    pub port: u16,
    /// Path of the first page. Default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// For whom.
    #[serde(rename = "type")]
    pub kind: InterfaceKind,
}

/// For whom an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum InterfaceKind {
    Ui,
    Api,
}

/// What a backup leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Globs below the app's data directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

impl Backup {
    fn is_empty(&self) -> bool {
        self.exclude.is_empty()
    }
}

/// Extensions to the contract.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extensions {
    /// Name to give the container verbatim, for apps that others find by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<Slug>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
