//! How much room downloads take, what is kept for what, and whether all of it is what it should be.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{AppRef, Problem};

wire! {
    /// Answer of `storage.show` and `storage.fsck`.
    pub struct StoragePage {
        /// Bytes that downloads take, with what is reserved for those under way.
        pub used_bytes: u64,
        /// Of these, reserved and not here yet.
        pub reserved_bytes: u64,
        /// Bytes that go by themselves when room is needed.
        pub freeable_bytes: u64,
        /// Bytes that downloads may take; absent when only the disk is a bound.
        pub quota_bytes: Option<u64>,
        /// Free bytes of the disk.
        pub free_bytes: u64,
        /// Of these, left to others.
        pub kept_bytes: u64,
        /// What is here, by what it is kept for.
        pub classes: Vec<StorageClass>,
        /// The largest sets, largest first; at most 100.
        pub sets: Vec<StorageSet>,
        /// How many sets there are besides.
        pub sets_more: u32,
        /// The check under way, or the last one since the daemon started.
        pub fsck: Option<FsckReport>,
    }

    /// What is kept for one reason; a blob that is kept for two counts for the better one.
    #[derive(Eq)]
    pub struct StorageClass {
        /// `installed`, `publishing`, `previous` or `cache`.
        pub class: String,
        /// Sets of blobs that belong together.
        pub sets: u32,
        /// Blobs.
        pub blobs: u32,
        /// Bytes that they take: of one that is not all here, those that are.
        pub size_bytes: u64,
    }

    /// Blobs that belong together.
    #[derive(Eq)]
    pub struct StorageSet {
        /// Its name in the store, by which a check names it.
        pub set: String,
        /// What it is.
        pub kind: StorageKind,
        /// What it is kept for: `installed`, `publishing`, `previous` or `cache`.
        pub class: String,
        /// The app that it is of.
        pub app: Option<AppRef>,
        /// The app's display name.
        pub name: Option<String>,
        /// The release's version, where this node knows it.
        pub version: Option<String>,
        /// Blobs, with those that are not all here.
        pub blobs: u32,
        /// Their size in bytes when complete; a blob of two sets counts in both.
        pub size_bytes: u64,
        /// Whether all of it is here.
        pub complete: bool,
    }

    /// What a set of blobs is.
    #[derive(Eq, Copy)]
    pub enum StorageKind {
        /// A version of an app, as it is installed.
        App,
        /// A version of an app that is published from here.
        Release,
        /// Icon, screenshots and description of an app in the store.
        Card,
        /// A registry's catalog.
        Registry,
        /// Something else.
        Other,
    }

    /// Parameters of `storage.fsck`.
    #[derive(Eq)]
    pub struct FsckParams {
        /// Ends the check under way instead of beginning one.
        #[serde(default)]
        pub stop: bool,
    }

    /// A check of every blob against its hash.
    pub struct FsckReport {
        /// Whether it is under way.
        pub running: bool,
        /// When it began.
        pub began: String,
        /// When it ended.
        pub ended: Option<String>,
        /// Blobs that were checked.
        pub blobs_done: u32,
        /// Blobs to check.
        pub blobs_total: u32,
        /// Bytes that were read.
        pub bytes_done: u64,
        /// Bytes to read.
        pub bytes_total: u64,
        /// What is bad; it is not served any more.
        pub bad: Vec<BadBlob>,
        /// Bytes of files that nothing here needs; they go by themselves.
        pub unheld_bytes: u64,
        /// Why it could not be done.
        pub problem: Option<Problem>,
    }

    /// A blob that is not what it should be.
    #[derive(Eq)]
    pub struct BadBlob {
        /// Its hash.
        pub blob: String,
        /// Its size in bytes.
        pub size_bytes: u64,
        /// `damaged` or `missing`.
        pub wrong: String,
        /// The sets that it belongs to, by their names in the store.
        pub sets: Vec<String>,
        /// Display names of the apps that it belongs to.
        pub apps: Vec<String>,
        /// Whether it was fetched again.
        pub mended: bool,
        /// What to do about it.
        pub hint: Option<String>,
    }
}
