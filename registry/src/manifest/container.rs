//! Containers: image, process, ports, data and limits.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cpus, DependsOn, HealthCheck, RelativePath, Size, Span};
use crate::id::Slug;

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
    /// Whose users its users are on the node.
    #[serde(default, skip_serializing_if = "UserNamespace::is_shared")]
    pub user_namespace: UserNamespace,
    /// Environment variables; `${…}` in a value is filled in by the node.
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
    /// Directories in memory, empty at every start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<Tmpfs>,
    /// Further DNS names in the app's network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_aliases: Vec<Slug>,
    /// Linux capabilities added back, without `CAP_`, e.g. `NET_BIND_SERVICE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Whether the root file system is read-only (`/tmp`, `/run` and `/var/tmp` stay writable in memory).
    #[serde(default)]
    pub readonly_root: bool,
    /// Host devices, e.g. `/dev/dri`, or CDI devices, e.g. `nvidia.com/gpu=all`.
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

/// Whose users a container's users are on the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNamespace {
    /// Its administrator is the account that runs archy, as in every app.
    #[default]
    Shared,
    /// None of them is that account.
    Own,
}

impl UserNamespace {
    fn is_shared(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for UserNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Own => "own",
        })
    }
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Name within the app, for `${app.port.NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Slug>,
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

/// A directory in memory, empty at every start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Absolute path inside the container.
    pub target: String,
    /// Most that it holds. Default: half of the machine's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
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
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
