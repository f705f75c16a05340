//! Containers that run here already: what there is, whose they could be, and what migrating them would change.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use std::collections::BTreeMap;

use super::AppRef;

wire! {
    /// Answer of `package.adoptable`.
    pub struct AdoptableList {
        /// Containers that are neither the node's nor claimed, by where they come from.
        pub containers: Vec<ForeignContainer>,
        /// Apps whose containers these could be.
        pub candidates: Vec<AdoptCandidate>,
    }

    /// A container that the node did not make.
    pub struct ForeignContainer {
        /// Its id.
        pub id: String,
        /// Its name.
        pub name: String,
        /// Its image's name.
        pub image: String,
        /// podman's word for how it is.
        pub state: String,
        /// Running since.
        pub since: Option<String>,
        /// Where it comes from.
        pub origin: ContainerOrigin,
        /// The service that runs it, or the compose project that it is in.
        pub origin_name: Option<String>,
        /// The file of that service.
        pub origin_file: Option<String>,
        /// When podman starts it again.
        pub restart: String,
        /// Its published ports, as in `127.0.0.1:8080:80/tcp`.
        pub ports: Vec<String>,
        /// What it sees of the node's files.
        pub mounts: Vec<ForeignMount>,
        /// Why no known app can claim it, if none can.
        pub unclaimed: Option<String>,
    }

    /// Where a container comes from.
    #[derive(Copy, Eq)]
    pub enum ContainerOrigin {
        /// Somebody ran podman.
        Run,
        /// A service of the user's systemd.
        Unit,
        /// A compose project.
        Compose,
    }

    /// A mount of a container.
    pub struct ForeignMount {
        /// `volume`, `bind`, `tmpfs`.
        pub kind: String,
        /// The volume's name or the path on the node.
        pub source: String,
        /// Where it is inside.
        pub target: String,
        /// Whether it may be written to.
        pub writable: bool,
    }

    /// An app whose containers are here, all or some.
    pub struct AdoptCandidate {
        /// The app.
        pub app: AppRef,
        /// Display name.
        pub name: String,
        /// The app's containers → the names of those that fit.
        pub containers: BTreeMap<String, String>,
        /// The app's containers that none fits → the name that would.
        pub missing: BTreeMap<String, String>,
        /// Why it cannot be claimed now, if so.
        pub hindrance: Option<String>,
    }

    /// Parameters of `package.adopt`.
    pub struct AdoptParams {
        /// Which app.
        pub app: AppRef,
        /// A certain release by its hash instead of the newest.
        #[serde(default)]
        pub release: Option<String>,
        /// Which container on this node is which of the app's, by name or id; the others are found by their names.
        #[serde(default)]
        pub containers: BTreeMap<String, String>,
    }

    /// Parameters of `package.migrate`.
    pub struct MigrateParams {
        /// Slug of the instance.
        pub slug: String,
        /// Ids of the plan's items that may be lost.
        #[serde(default)]
        pub accept: Vec<String>,
    }

    /// Answer of `package.migration`: what a migration would do.
    pub struct MigrationPlan {
        /// Slug of the instance.
        pub slug: String,
        /// The version whose containers would run.
        pub version: String,
        /// The worst first.
        pub items: Vec<MigrationItem>,
    }

    /// One thing that a migration keeps, changes or loses.
    pub struct MigrationItem {
        /// Names it, to accept it.
        pub id: String,
        /// The app's container.
        pub container: String,
        /// `image`, `data`, `port`, `environment`, `secret`, `right`, `network`, `limit` or `container`.
        pub topic: String,
        /// What becomes of it.
        pub effect: MigrationEffect,
        /// In words.
        pub words: String,
    }

    /// What becomes of something in a migration.
    #[derive(Copy, Eq)]
    pub enum MigrationEffect {
        /// It is the same afterwards.
        Keeps,
        /// It is another afterwards, as the publisher meant it.
        Changes,
        /// The app does not have it afterwards, which the owner must accept.
        Loses,
        /// There is no migration while this is so.
        Refuses,
    }

    /// The containers of an instance that the node did not make.
    pub struct AdoptionInfo {
        /// Whether the node's containers run instead of them; they are kept until the migration is finished.
        pub migrated: bool,
        /// The app's containers → their names.
        pub containers: BTreeMap<String, String>,
    }
}
