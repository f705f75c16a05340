//! Containers that run on the node without it.

use serde::{Deserialize, Serialize};

use super::AppRef;

copies! {
    /// Answer of `package.adoptable`.
    pub struct AdoptableList {
        /// By where they come from.
        pub containers: Vec<ForeignContainer>,
        /// Apps whose containers these could be.
        pub candidates: Vec<AdoptCandidate>,
    }

    /// A container that the node did not make.
    pub struct ForeignContainer {
        /// Its name.
        pub name: String,
        /// Its image's name.
        pub image: String,
        /// How it is.
        pub state: String,
        /// Where it comes from.
        pub origin: String,
        /// The service or the compose project.
        pub origin_name: Option<String>,
        /// When podman starts it again.
        pub restart: String,
        /// Its published ports.
        pub ports: Vec<String>,
        /// What it sees of the node's files.
        pub mounts: Vec<ForeignMount>,
        /// Why no known app can claim it.
        pub unclaimed: Option<String>,
    }

    /// A mount of a container.
    pub struct ForeignMount {
        /// The volume's name or the path on the node.
        pub source: String,
        /// Where it is inside.
        pub target: String,
    }

    /// An app whose containers are here.
    pub struct AdoptCandidate {
        /// The app.
        pub app: AppRef,
        /// Display name.
        pub name: String,
        /// Why it cannot be claimed now.
        pub hindrance: Option<String>,
    }

    /// Answer of `package.migration`.
    pub struct MigrationPlan {
        /// The worst first.
        pub items: Vec<MigrationItem>,
    }

    /// One thing that a migration keeps, changes or loses.
    pub struct MigrationItem {
        /// Names it, to accept it.
        pub id: String,
        /// The app's container.
        pub container: String,
        /// What becomes of it.
        pub effect: String,
        /// In words.
        pub words: String,
    }
}
