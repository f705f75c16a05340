//! How an app meets the world: network, interfaces, other apps, backups, extensions.

use serde::{Deserialize, Serialize};

use crate::did::Did;
use crate::id::Slug;

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
    pub(super) fn is_empty(&self) -> bool {
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
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
