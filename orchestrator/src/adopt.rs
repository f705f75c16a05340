//! Containers that others made: listed, claimed for an app as they are, and on the owner's word replaced by ours.
//!
//! A claim touches nothing: no unit of ours is written while it lasts, because starting one would destroy a container of
//! the same name. A migration keeps the old containers, stopped and under another name, until the owner is done with it.

use std::collections::BTreeMap;

use archy_registry::Slug;
use archy_registry::manifest::Protocol;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::{ComeUpError, UpdateError};
use crate::install::{InstallError, MachineError};
use crate::preflight::Refusal;
use crate::runtime::podman::RestartPolicy;
use crate::snapshot::Snapshot;

mod blocked;
mod claim;
mod files;
mod held;
mod list;
mod migrate;
mod plan;

pub(crate) use files::{QuadletFile, foreign as foreign_files};
pub(crate) use held::Act;
pub use list::{Match, matching};
pub use plan::{Effect, MigrationItem, MigrationPlan, Topic};

/// Where a container comes from that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// Somebody ran podman.
    Run,
    /// A service of the user's systemd runs it, such as one that Quadlet made.
    Unit {
        /// The service.
        unit: String,
        /// The file that the service was made from.
        file: String,
    },
    /// A compose project.
    Compose {
        /// The project.
        project: String,
        /// The service in it.
        service: Option<String>,
    },
}

/// A container that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// Its id; of a container that is gone while its service does not run, the Quadlet file that makes it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image's name.
    pub image: String,
    /// podman's word for how it is; `stopped` of one that is gone.
    pub state: String,
    /// Since when it runs.
    pub started_at: Option<Timestamp>,
    /// Where it comes from.
    pub origin: Origin,
    /// When podman starts it again.
    pub restart: String,
    /// Its published ports.
    pub ports: Vec<ForeignPort>,
    /// What it sees of the node's files.
    pub mounts: Vec<ForeignMount>,
}

impl Foreign {
    /// Tells whether podman has it now. Nobody can claim what is gone.
    pub fn exists(&self) -> bool {
        !self.id.starts_with('/')
    }
}

/// A published port of a container that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForeignPort {
    /// Address on the node; empty means all.
    pub address: String,
    /// Port on the node.
    pub host: u16,
    /// Port inside.
    pub container: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// A mount of a container that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignMount {
    /// `volume`, `bind`, `tmpfs`, …
    pub kind: String,
    /// The volume's name, or the path on the node.
    pub source: String,
    /// Where it is inside.
    pub target: String,
    /// Whether it may be written to.
    pub writable: bool,
}

/// The containers that are an app's though others made them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adoption {
    /// By the manifest's container.
    pub containers: BTreeMap<Slug, Held>,
    /// What a migration does, from its beginning until the owner is done with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
}

/// A container that an app was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Its id.
    pub id: String,
    /// Its name when it was claimed.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// What a migration does, so that a killed node can go on with it either way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// Where the data of each volume comes from.
    pub volumes: BTreeMap<Slug, std::path::PathBuf>,
    /// Which variable of which container each secret comes from.
    pub secrets: BTreeMap<Slug, (Slug, String)>,
    /// How each old container was.
    pub before: BTreeMap<Slug, HeldBefore>,
    /// Where the ports were before.
    pub ports: Vec<crate::settings::PortBinding>,
    /// What becomes of the data when it is undone.
    pub aside: Snapshot,
}

/// How an old container was when its migration began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldBefore {
    /// When podman starts it again.
    pub restart: RestartPolicy,
    /// Whether it ran.
    pub running: bool,
}

/// How far an adoption is, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Whether our containers run instead of the old ones, which are kept until the owner is done with the migration.
    pub migrated: bool,
    /// The old containers' names, by the manifest's container.
    pub containers: BTreeMap<Slug, Held>,
}

/// A container was not adopted, migrated or brought back.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// This node does not run the app so.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No container fits one of the app's.
    #[error(
        "no container on this node fits container {container} of {app}: one named {expected} would, or name another"
    )]
    Unmatched {
        /// The app's slug.
        app: Slug,
        /// The container in the manifest.
        container: Slug,
        /// The name that would fit.
        expected: String,
    },
    /// The app is not claimed.
    #[error("{0} runs no containers that others made")]
    NotClaimed(Slug),
    /// The app was not migrated, or its owner is done with it.
    #[error("{0} has no migration that could be undone or finished")]
    NotMigrated(Slug),
    /// A claimed container is gone.
    #[error("the container {name} is gone, so that there is nothing to migrate or return to")]
    Gone {
        /// Its name.
        name: String,
    },
    /// The plan has items that the owner did not accept or that cannot be accepted.
    #[error("the migration would lose or change what nobody accepted: {}", list(.0))]
    Blocked(Vec<MigrationItem>),
    /// An image is not in podman.
    #[error("the image of container {container} is not on this machine")]
    ImageMissing {
        /// The container.
        container: Slug,
    },
    /// Ours did not come up, so the old ones are back.
    #[error(
        "{app} did not come up, so the containers from before are back, with their data: {why}"
    )]
    TakenBack {
        /// The app.
        app: Slug,
        /// Why.
        why: Box<ComeUpError>,
    },
    /// The service of an old container does not start.
    #[error("the service {unit} does not start; `systemctl --user status {unit}` tells more")]
    Unit {
        /// The service.
        unit: String,
    },
    /// Stopping a claimed container would remove it.
    #[error(
        "the container {name} was started with --rm, so that stopping it would remove it for good"
    )]
    WouldVanish {
        /// Its name.
        name: String,
    },
    /// Something started an old container while its data was taken over.
    #[error(
        "the container {name} was started again while its data was copied: look for what starts it, such as a service or a timer"
    )]
    StartedAgain {
        /// Its name.
        name: String,
    },
    /// The old containers are still kept.
    #[error(
        "{0} was migrated, and the containers from before are kept: undo or finish the migration first"
    )]
    Between(Slug),
    /// The owner changed their mind.
    #[error("the migration was cancelled")]
    Cancelled,
    /// A change that was interrupted could be neither finished nor taken back.
    #[error(transparent)]
    Unsettled(Box<UpdateError>),
    /// Something of this machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

fn list(items: &[MigrationItem]) -> String {
    let words: Vec<&str> = items.iter().map(|item| item.words.as_str()).collect();
    words.join("; ")
}

impl From<InstallError> for AdoptError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Refused(refusal) => Self::Refused(refusal),
            InstallError::ImageMissing { container } => Self::ImageMissing { container },
            InstallError::Machine(error) => Self::Machine(error),
            InstallError::Hook(error) => Self::Unsettled(Box::new(UpdateError::Hook(error))),
            InstallError::Cancelled | InstallError::Start(_) => Self::Cancelled,
        }
    }
}
