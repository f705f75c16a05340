//! How much room downloads take.

use serde::{Deserialize, Serialize};

use super::Problem;

copies! {
    /// Answer of `storage.show` and `storage.fsck`.
    pub struct StoragePage {
        /// Bytes that downloads take.
        pub used_bytes: u64,
        /// Bytes that go by themselves when room is needed.
        pub freeable_bytes: u64,
        /// Bytes that downloads may take.
        pub quota_bytes: Option<u64>,
        /// Free bytes of the disk.
        pub free_bytes: u64,
        /// Of these, left to others.
        pub kept_bytes: u64,
        /// What is here, by what it is kept for.
        pub classes: Vec<StorageClass>,
        /// The check under way, or the last one.
        pub fsck: Option<FsckReport>,
    }

    /// What is kept for one reason.
    pub struct StorageClass {
        /// The reason.
        pub class: String,
        /// Blobs.
        pub blobs: u32,
        /// Their size in bytes.
        pub size_bytes: u64,
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
        /// What is bad.
        pub bad: Vec<BadBlob>,
        /// Bytes of files that nothing needs.
        pub unheld_bytes: u64,
        /// Why it could not be done.
        pub problem: Option<Problem>,
    }

    /// A blob that is not what it should be.
    pub struct BadBlob {
        /// Its hash.
        pub blob: String,
        /// Its size in bytes.
        pub size_bytes: u64,
        /// What is wrong with it.
        pub wrong: String,
        /// The sets that it belongs to.
        pub sets: Vec<String>,
        /// Whether it was fetched again.
        pub mended: bool,
        /// What to do about it.
        pub hint: Option<String>,
    }
}
