//! What the store shows: apps, what they may do and what they take.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{AppRef, Instance, InstanceState, InterfaceInfo, Problem, PublisherCard, TrustBadge};

wire! {
    /// Parameters of `store.search`.
    #[derive(Default)]
    pub struct SearchParams {
        /// Words to look for; empty lists everything.
        #[serde(default)]
        pub query: String,
        /// Only this category.
        #[serde(default)]
        pub category: Option<String>,
        /// Only apps with images for this OCI architecture, such as `arm64`.
        #[serde(default)]
        pub architecture: Option<String>,
        /// Only publishers with at least this many points, 0–100.
        #[serde(default)]
        pub points_min: u8,
        /// Only apps that need no right of these kinds, such as `device`, beyond what every app has; leaves out those
        /// whose rights are unknown.
        #[serde(default)]
        pub without_rights: Vec<String>,
        /// In which order.
        #[serde(default)]
        pub sort: SearchSort,
        /// Skip this many.
        #[serde(default)]
        pub offset: u32,
        /// Return at most this many, 1–100. Default 48.
        #[serde(default)]
        pub limit: Option<u32>,
    }

    /// Answer of `store.search`.
    pub struct SearchResult {
        /// The page of apps, best first.
        pub apps: Vec<AppCard>,
        /// How many there are in all.
        pub total: u32,
        /// How many of this page the owner's policy keeps from being listed; `total` counts them.
        pub hidden: u32,
        /// Whether there may be more than `total`, because the words are very common.
        #[serde(default)]
        pub total_is_at_least: bool,
        /// Categories with at least one such app, whichever category was asked for, and how many.
        pub categories: Vec<CategoryCount>,
        /// The words that were looked for instead, when those that were asked for are found nowhere.
        #[serde(default)]
        pub corrected: Option<String>,
    }

    /// An order of apps.
    #[derive(Copy, Default, Eq)]
    pub enum SearchSort {
        /// Best match first; by name when there are no words.
        #[default]
        Relevance,
        /// By name.
        Name,
        /// The latest announced first.
        Newest,
        /// The highest score first.
        Score,
    }

    /// A category and how many apps it holds.
    pub struct CategoryCount {
        /// Category, as in the manifest.
        pub category: String,
        /// Number of apps.
        pub apps: u32,
    }

    /// An app as the store grid shows it.
    pub struct AppCard {
        /// Which app.
        pub app: AppRef,
        /// Display name.
        pub name: String,
        /// One line.
        pub tagline: String,
        /// Category.
        pub category: String,
        /// Newest version.
        pub version: String,
        /// Path of the icon on this node, if it has been fetched.
        pub icon: Option<String>,
        /// Bytes to fetch on a machine that has none of them.
        pub download_size_bytes: u64,
        /// OCI architectures.
        pub architectures: Vec<String>,
        /// What this node thinks of the publisher.
        pub trust: TrustBadge,
        /// State of the installed instance, if there is one.
        pub installed: Option<InstanceState>,
        /// Other publishers with the same slug.
        pub same_name_as: Vec<String>,
        /// When this node first heard of the app.
        pub first_seen: String,
        /// When the newest release was announced.
        pub announced: String,
        /// Whether the announcement is past its expiry ("no news since").
        pub stale: bool,
    }

    /// Answer of `store.show`.
    pub struct AppPage {
        /// The card.
        pub card: AppCard,
        /// Markdown turned into safe HTML.
        pub description_html: String,
        /// Markdown turned into safe HTML.
        pub release_notes_html: Option<String>,
        /// `https://…`
        pub website: Option<String>,
        /// `https://…`
        pub source: Option<String>,
        /// SPDX expression.
        pub license: Option<String>,
        /// Paths of screenshots on this node.
        pub screenshots: Vec<String>,
        /// What the app may do, from the rendered units.
        pub rights: Vec<Right>,
        /// What it takes.
        pub needs: Needs,
        /// Who publishes it.
        pub publisher: PublisherCard,
        /// What can be opened once it runs.
        pub interfaces: Vec<InterfaceInfo>,
        /// The verified release; absent while it is being fetched.
        pub release: Option<ReleaseInfo>,
        /// Why it cannot be installed now, if so.
        pub problem: Option<Problem>,
        /// What its owner should know before installing it.
        pub warning: Option<Problem>,
        /// Versions seen by this node, newest first.
        pub versions: Vec<VersionSeen>,
        /// The installed instance.
        pub instance: Option<Instance>,
    }

    /// One right in plain words.
    pub struct Right {
        /// Stable name, e.g. `internet`, `port`, `data`, `capability`, `device`, `hostNetwork`.
        pub kind: String,
        /// The sentence.
        pub text: String,
        /// How much attention it deserves.
        pub weight: RightWeight,
    }

    /// How much attention a right deserves.
    #[derive(Copy, Eq)]
    pub enum RightWeight {
        /// Every app has it.
        Usual,
        /// Worth reading.
        Notable,
        /// Reaches beyond the app.
        Far,
    }

    /// What an app takes.
    pub struct Needs {
        /// Bytes of all images.
        pub download_size_bytes: u64,
        /// Bytes this node still lacks.
        pub missing_size_bytes: u64,
        /// Sum of declared memory limits.
        pub memory_bytes: Option<u64>,
        /// Free bytes where the data goes.
        pub disk_free_bytes: Option<u64>,
    }

    /// A verified release.
    pub struct ReleaseInfo {
        /// Version.
        pub version: String,
        /// Counter.
        pub seq: u64,
        /// BLAKE3 of the release.
        pub hash: String,
        /// When it was signed.
        pub created: String,
    }

    /// A version that this node has seen.
    pub struct VersionSeen {
        /// Version.
        pub version: String,
        /// Counter.
        pub seq: u64,
        /// When.
        pub seen: String,
    }
}
