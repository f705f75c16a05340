//! What the owner lets the node show, install and update by itself.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Minimum scores and signatures. Pins, blocks and reviewers are not policy but the owner's own word on people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(export_to = "./")]
pub struct Policy {
    /// Points that a publisher needs for its apps to be listed, 0–100.
    pub show_points_min: u32,
    /// Points that a publisher needs for an app to be installed, 0–100.
    pub install_points_min: u32,
    /// Points that a publisher needs for an app to be updated without asking, 0–100.
    pub update_points_min: u32,
    /// Valid signatures that a release needs to be installed or updated, 1–16.
    pub signatures_min: u32,
}

wire! {
    /// Answer of `policy.show` and `policy.set`.
    pub struct PolicyPage {
        /// What counts now.
        pub policy: Policy,
        /// What counts when nothing was set.
        pub usual: Policy,
        /// Below this many points a warning precedes an install.
        pub warn_points: u32,
        /// Publishers that the owner vouches for.
        pub pinned: Vec<PublisherMark>,
        /// Publishers that the owner wants nothing of.
        pub blocked: Vec<PublisherMark>,
    }

    /// The owner's word on a publisher.
    pub struct PublisherMark {
        /// Origin DID.
        pub publisher: String,
        /// Since when.
        pub since: String,
        /// Names of some of its apps, to recognise it by.
        pub apps: Vec<String>,
    }
}
