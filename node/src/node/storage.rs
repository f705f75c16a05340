//! How much room downloads take, for the API.

use archy_swarm::storage::Room;

use super::Node;
use crate::api::types::{Problem, StorageClass, StoragePage};
use crate::problem as explain;

impl Node {
    pub(super) fn storage_page(&self) -> Result<StoragePage, Problem> {
        let room = self.swarm_ready()?.room();
        let room = room.map_err(|error| explain::internal("measure its storage", &error))?;
        let Room {
            used_bytes,
            reserved_bytes,
            freeable_bytes,
            quota_bytes,
            free_bytes,
            kept_bytes,
            classes,
        } = room;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let classes = classes.into_iter().map(|usage| StorageClass {
            class: usage.class.name().to_owned(),
            sets: count(usage.tags),
            blobs: count(usage.blobs),
            size_bytes: usage.size_bytes,
        });
        Ok(StoragePage {
            used_bytes,
            reserved_bytes,
            freeable_bytes,
            quota_bytes: (quota_bytes < u64::MAX).then_some(quota_bytes),
            free_bytes,
            kept_bytes,
            classes: classes.collect(),
            fsck: self.fsck.report(),
        })
    }
}
