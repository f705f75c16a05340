//! How much room downloads take, what is kept for what, and whether all of it is what it should be.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Problem;

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
        /// Their size in bytes.
        pub size_bytes: u64,
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
        /// The sets that it belongs to.
        pub sets: Vec<String>,
        /// Whether it was fetched again.
        pub mended: bool,
        /// What to do about it.
        pub hint: Option<String>,
    }
}
