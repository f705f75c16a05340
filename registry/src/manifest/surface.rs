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

impl Dependency {
    /// Tells whether a version of the other app will do; `None` when the versions cannot be compared.
    ///
    /// Versions count as semantic ones; parts that are left out count as zero, so that `17` is `17.0.0`.
    pub fn accepts(&self, version: &str) -> Option<bool> {
        let Some(wanted) = &self.version else {
            return Some(true);
        };
        let wanted = semver::VersionReq::parse(wanted).ok()?;
        let (numbers, rest) = match version.find(['-', '+']) {
            Some(at) => version.split_at(at),
            None => (version, ""),
        };
        let missing = 3_usize.checked_sub(numbers.split('.').count())?;
        let full = format!("{numbers}{}{rest}", ".0".repeat(missing));
        Some(wanted.matches(&semver::Version::parse(&full).ok()?))
    }
}

/// A value that apps which depend on this one may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The name under which they read it.
    pub name: Slug,
    /// The value, with `${…}` for what the node fills in. A container that is named in `${app.host.…}` can be reached by
    /// those apps, and no other can.
    pub value: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_semantic_ones() {
        for (wanted, version, accepted) in [
            (None, "anything", Some(true)),
            (Some(">=1.2"), "1.2.0", Some(true)),
            (Some(">=1.2"), "1.1.9", Some(false)),
            (Some(">=17"), "17", Some(true)),
            (Some("^27.0"), "27.1", Some(true)),
            (Some("^27.0"), "28.0.0", Some(false)),
            (Some("1"), "1.0-rc1", Some(false)),
            (Some("*"), "2024.01.02", None),
            (Some("1"), "latest", None),
            (Some("1"), "1.2.3.4", None),
        ] {
            let dependency = Dependency {
                publisher: "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
                    .parse()
                    .unwrap(),
                app: "other".parse().unwrap(),
                version: wanted.map(str::to_owned),
            };
            assert_eq!(
                dependency.accepts(version),
                accepted,
                "{wanted:?} {version}"
            );
        }
    }
}
