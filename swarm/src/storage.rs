//! Room for blobs: what they may take, what is reserved for fetches under way, and what goes when there is too little.
//!
//! [`plan`] decides what goes; this performs it. Says in numbers when it does not suffice.

mod fsck;
mod plan;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use archy_registry::Blake3Hash;
use serde::Serialize;

pub(crate) use fsck::check;
pub use fsck::{Damage, Fsck, FsckProgress, Wrong};

use crate::config::{FREE_BYTES_MAX, FREE_SHARE, QUOTA_BYTES_MAX, QUOTA_SHARE, RoomLimits};
use crate::ledger::{Class, Ledger};
use crate::tag::Tag;
use crate::transport::BlobStore;
use plan::{Eviction, InUse, Need};

/// Of the quota, in percent, above which the next fetch makes room.
pub const HIGH_WATER_PERCENT: u64 = 90;
/// Of the quota, in percent, down to which room is made then.
pub const LOW_WATER_PERCENT: u64 = 75;
/// A disk with less room than this is full, whatever the error was, in bytes.
const FULL_BYTES: u64 = 256 * 1024;

/// What is too small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The quota for blobs.
    Quota {
        /// The quota in bytes.
        quota_bytes: u64,
    },
    /// The disk.
    Disk {
        /// The folder of the blobs.
        dir: PathBuf,
        /// Bytes that are left free for others.
        kept_bytes: u64,
    },
}

/// There is no room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Full {
    /// Bytes that are needed.
    pub needed_bytes: u64,
    /// Bytes that there is room for.
    pub room_bytes: u64,
    /// Bytes that could still be freed without touching what is installed, published or in use.
    pub freeable_bytes: u64,
    /// What is too small.
    pub bound: Bound,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [needed, room, freeable] =
            [self.needed_bytes, self.room_bytes, self.freeable_bytes].map(Size);
        write!(f, "there is no room: {needed} are needed, {room} are free ")?;
        match &self.bound {
            Bound::Quota { quota_bytes } => write!(
                f,
                "of the {} for blobs, and {freeable} could be freed; uninstall something or raise the quota (swarm.quota)",
                Size(*quota_bytes)
            ),
            Bound::Disk { dir, kept_bytes } => write!(
                f,
                "under {} beyond the {} kept free, and {freeable} could be freed; uninstall something or delete other files there",
                dir.display(),
                Size(*kept_bytes)
            ),
        }
    }
}

/// Decimal units, one digit below ten.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
        let bytes = self.0 as f64;
        match units.into_iter().find(|(unit, _)| bytes >= *unit) {
            Some((unit, name)) if bytes < 10.0 * unit => write!(f, "{:.1} {name}", bytes / unit),
            Some((unit, name)) => write!(f, "{:.0} {name}", bytes / unit),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// Why nothing was reserved.
#[derive(Debug)]
pub(crate) enum RoomError {
    Full(Full),
    Store(String),
}

/// How much room blobs take and may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Bytes that blobs take, with what is reserved for fetches under way.
    pub used_bytes: u64,
    /// Of these, reserved and not here yet.
    pub reserved_bytes: u64,
    /// Bytes that could be freed without touching what is installed, published or in use.
    pub freeable_bytes: u64,
    /// Bytes that blobs may take.
    pub quota_bytes: u64,
    /// Free bytes of the file system.
    pub free_bytes: u64,
    /// Of these, left to others.
    pub kept_bytes: u64,
    /// What is held, by what it is kept for; a blob that is held for two reasons counts for the better one.
    pub classes: Vec<ClassUsage>,
}

/// What is held of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassUsage {
    /// What it is kept for.
    pub class: Class,
    /// Number of tags.
    pub tags: usize,
    /// Number of blobs.
    pub blobs: usize,
    /// Bytes that they take: of one that is not all here, those that are.
    pub size_bytes: u64,
}

/// Room that is reserved until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    desk: Arc<Mutex<Desk>>,
    number: u64,
}

impl Reservation {
    /// Reserves more for a stream of which so much is written.
    pub(crate) async fn grow(
        &self,
        store: &BlobStore,
        bytes: u64,
        written_bytes: u64,
    ) -> Result<(), RoomError> {
        let claim = Claim::Stream {
            bytes,
            written_bytes,
        };
        let account = store.account();
        let _turn = account.turn.lock().await;
        let before = lock(&self.desk).claims.insert(self.number, claim);
        let made = account.make_room(store, bytes).await;
        if made.is_err() {
            let mut desk = lock(&self.desk);
            match before {
                Some(before) => desk.claims.insert(self.number, before),
                None => desk.claims.remove(&self.number),
            };
        }
        made
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.desk).claims.remove(&self.number);
    }
}

/// Keeps a tag and its blobs from going when room is made, until it is dropped.
#[derive(Debug)]
pub struct Using {
    desk: Arc<Mutex<Desk>>,
    tag: Option<Tag>,
    blobs: Vec<Blake3Hash>,
}

impl Drop for Using {
    fn drop(&mut self) {
        let mut desk = lock(&self.desk);
        if let Some(tag) = &self.tag {
            leave(&mut desk.tags, tag);
        }
        for blob in &self.blobs {
            leave(&mut desk.blobs, blob);
        }
    }
}

fn leave<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[derive(Debug)]
enum Claim {
    /// These blobs will be here, of these sizes.
    Blobs(HashMap<Blake3Hash, u64>),
    /// A stream takes so much, of which so much is on the disk.
    Stream { bytes: u64, written_bytes: u64 },
}

/// What is reserved and in use.
#[derive(Debug, Default)]
struct Desk {
    last: u64,
    claims: HashMap<u64, Claim>,
    tags: HashMap<Tag, u32>,
    blobs: HashMap<Blake3Hash, u32>,
}

/// What there is and what is taken.
#[derive(Debug, Clone, Copy)]
struct Measured {
    used_bytes: u64,
    /// Reserved and not on the disk yet.
    coming_bytes: u64,
    quota_bytes: u64,
    free_bytes: u64,
    kept_bytes: u64,
}

/// Decides whether there is room.
#[derive(Debug)]
pub(crate) struct Account {
    dir: PathBuf,
    limits: RoomLimits,
    /// One at a time makes room.
    turn: tokio::sync::Mutex<()>,
    desk: Arc<Mutex<Desk>>,
}

impl Account {
    pub(crate) fn new(dir: &Path, limits: RoomLimits) -> Self {
        Self {
            dir: dir.to_owned(),
            limits,
            turn: tokio::sync::Mutex::default(),
            desk: Arc::default(),
        }
    }

    /// Keeps a tag from going.
    pub(crate) fn use_tag(&self, tag: &Tag) -> Using {
        *lock(&self.desk).tags.entry(tag.clone()).or_default() += 1;
        Using {
            desk: self.desk.clone(),
            tag: Some(tag.clone()),
            blobs: Vec::new(),
        }
    }

    /// Keeps blobs from going.
    pub(crate) fn use_blobs(&self, blobs: Vec<Blake3Hash>) -> Using {
        let mut desk = lock(&self.desk);
        for blob in &blobs {
            *desk.blobs.entry(*blob).or_default() += 1;
        }
        drop(desk);
        Using {
            desk: self.desk.clone(),
            tag: None,
            blobs,
        }
    }

    /// Reserves room for blobs that are not whole here, and makes room for them if need be.
    pub(crate) async fn reserve(
        &self,
        store: &BlobStore,
        blobs: HashMap<Blake3Hash, u64>,
    ) -> Result<Reservation, RoomError> {
        let _turn = self.turn.lock().await;
        let left = blobs
            .iter()
            .map(|(blob, size)| size.saturating_sub(store.allocated_bytes(blob)));
        let needed_bytes = left.fold(0, u64::saturating_add);
        let reservation = self.growing();
        lock(&self.desk)
            .claims
            .insert(reservation.number, Claim::Blobs(blobs));
        self.make_room(store, needed_bytes).await?;
        Ok(reservation)
    }

    /// Returns a reservation of nothing, to grow.
    pub(crate) fn growing(&self) -> Reservation {
        let mut desk = lock(&self.desk);
        desk.last += 1;
        Reservation {
            desk: self.desk.clone(),
            number: desk.last,
        }
    }

    /// Has blobs go until what is reserved fits.
    async fn make_room(&self, store: &BlobStore, needed_bytes: u64) -> Result<(), RoomError> {
        let measured = self.measure(store)?;
        let need = measured.need();
        if need.bytes_wanted == 0 {
            return Ok(());
        }
        let eviction = self.plan(store, need);
        if eviction.bytes < need.bytes_min {
            return Err(RoomError::Full(measured.full(
                &self.dir,
                needed_bytes,
                eviction.bytes,
            )));
        }
        if eviction.rows.is_empty() {
            return Ok(());
        }
        tracing::info!(
            blobs = eviction.rows.len(),
            size_bytes = eviction.bytes,
            "making room for blobs"
        );
        let evicted = store.release_blobs(eviction.rows).await;
        evicted.map_err(RoomError::Store)?;
        store.collect().await.map_err(RoomError::Store)?;
        let measured = self.measure(store)?;
        if measured.need().bytes_min > 0 {
            return Err(RoomError::Full(measured.full(&self.dir, needed_bytes, 0)));
        }
        Ok(())
    }

    fn plan(&self, store: &BlobStore, need: Need) -> Eviction {
        let in_use = self.in_use();
        store.with_ledger(|ledger| {
            let on_disk =
                |blob: &Blake3Hash, _: &crate::ledger::Entry| here_bytes(ledger, store, blob);
            plan::plan(ledger.sets(), &in_use, on_disk, need)
        })
    }

    fn in_use(&self) -> InUse {
        let desk = lock(&self.desk);
        let claimed = desk.claims.values().flat_map(|claim| match claim {
            Claim::Blobs(blobs) => blobs.keys().copied().collect(),
            Claim::Stream { .. } => Vec::new(),
        });
        InUse {
            tags: desk.tags.keys().cloned().collect(),
            blobs: claimed.chain(desk.blobs.keys().copied()).collect(),
        }
    }

    fn measure(&self, store: &BlobStore) -> Result<Measured, RoomError> {
        let disk = rustix::fs::statvfs(&self.dir).map_err(|error| {
            RoomError::Store(format!("cannot measure {}: {error}", self.dir.display()))
        })?;
        let total_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
        let desk = lock(&self.desk);
        let (mut used_bytes, coming_bytes) = store.with_ledger(|ledger| {
            let mut claimed = HashSet::new();
            let (mut used, mut coming) = (ledger.whole_bytes(), 0u64);
            for claim in desk.claims.values() {
                match claim {
                    Claim::Blobs(blobs) => {
                        for (blob, size) in blobs {
                            if !ledger.is_whole(blob) && claimed.insert(*blob) {
                                let here = store.allocated_bytes(blob);
                                used = used.saturating_add(*size);
                                coming = coming.saturating_add(size.saturating_sub(here));
                            }
                        }
                    }
                    Claim::Stream {
                        bytes,
                        written_bytes,
                    } => {
                        used = used.saturating_add(*bytes);
                        coming = coming.saturating_add(bytes.saturating_sub(*written_bytes));
                    }
                }
            }
            for blob in ledger.unfinished().difference(&claimed) {
                used = used.saturating_add(store.allocated_bytes(blob));
            }
            (used, coming)
        });
        drop(desk);
        let quota = (total_bytes / QUOTA_SHARE).min(QUOTA_BYTES_MAX);
        let kept = (total_bytes / FREE_SHARE).min(FREE_BYTES_MAX);
        used_bytes = used_bytes.max(coming_bytes);
        Ok(Measured {
            used_bytes,
            coming_bytes,
            quota_bytes: self.limits.quota_bytes.unwrap_or(quota),
            free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
            kept_bytes: self.limits.free_bytes_min.unwrap_or(kept),
        })
    }

    /// Describes the room for the node's operator.
    pub(crate) fn room(&self, store: &BlobStore) -> Result<Room, RoomError> {
        let measured = self.measure(store)?;
        let all = Need {
            bytes_min: u64::MAX,
            bytes_wanted: u64::MAX,
        };
        Ok(Room {
            used_bytes: measured.used_bytes,
            reserved_bytes: measured.coming_bytes,
            freeable_bytes: self.plan(store, all).bytes,
            quota_bytes: measured.quota_bytes,
            free_bytes: measured.free_bytes,
            kept_bytes: measured.kept_bytes,
            classes: store.with_ledger(|ledger| classes(ledger, store)),
        })
    }

    /// After the store failed: the error in numbers if the disk ran out of room.
    pub(crate) fn ran_out(
        &self,
        store: &BlobStore,
        reason: &str,
        needed_bytes: u64,
    ) -> Option<Full> {
        let measured = self.measure(store).ok()?;
        if !says_full(reason) && measured.free_bytes >= FULL_BYTES {
            return None;
        }
        let all = Need {
            bytes_min: u64::MAX,
            bytes_wanted: u64::MAX,
        };
        Some(Full {
            needed_bytes,
            room_bytes: measured.free_bytes.saturating_sub(measured.kept_bytes),
            freeable_bytes: self.plan(store, all).bytes,
            bound: Bound::Disk {
                dir: self.dir.clone(),
                kept_bytes: measured.kept_bytes,
            },
        })
    }
}

/// Finds the system's words for a full disk, or a full quota of the file system, in what a store says.
fn says_full(reason: &str) -> bool {
    [
        "os error 28)",
        "os error 122)",
        "No space left on device",
        "disk is full",
    ]
    .iter()
    .any(|words| reason.contains(words))
}

impl Measured {
    fn over_quota(&self) -> u64 {
        self.used_bytes.saturating_sub(self.quota_bytes)
    }

    fn over_disk(&self) -> u64 {
        let wanted = self.coming_bytes.saturating_add(self.kept_bytes);
        // What takes nothing needs no room, however full the disk is.
        if self.coming_bytes == 0 {
            0
        } else {
            wanted.saturating_sub(self.free_bytes)
        }
    }

    fn need(&self) -> Need {
        let percent = |percent: u64| u128::from(self.quota_bytes) * u128::from(percent) / 100;
        let used = u128::from(self.used_bytes);
        let beyond = if used > percent(HIGH_WATER_PERCENT) {
            used - percent(LOW_WATER_PERCENT)
        } else {
            0
        };
        let bytes_min = self.over_quota().max(self.over_disk());
        Need {
            bytes_min,
            bytes_wanted: u64::try_from(beyond).unwrap_or(u64::MAX).max(bytes_min),
        }
    }

    fn full(&self, dir: &Path, needed_bytes: u64, freeable_bytes: u64) -> Full {
        let (over_quota, over_disk) = (self.over_quota(), self.over_disk());
        let bound = if over_quota >= over_disk {
            Bound::Quota {
                quota_bytes: self.quota_bytes,
            }
        } else {
            Bound::Disk {
                dir: dir.to_owned(),
                kept_bytes: self.kept_bytes,
            }
        };
        Full {
            needed_bytes,
            room_bytes: needed_bytes.saturating_sub(over_quota.max(over_disk)),
            freeable_bytes,
            bound,
        }
    }
}

/// Bytes that a blob takes.
fn here_bytes(ledger: &Ledger, store: &BlobStore, blob: &Blake3Hash) -> u64 {
    if ledger.is_whole(blob) {
        ledger.size(blob).unwrap_or(0)
    } else {
        store.allocated_bytes(blob)
    }
}

fn classes(ledger: &Ledger, store: &BlobStore) -> Vec<ClassUsage> {
    let mut seen = HashSet::new();
    Class::ALL
        .into_iter()
        .map(|class| {
            let mut usage = ClassUsage {
                class,
                tags: 0,
                blobs: 0,
                size_bytes: 0,
            };
            for set in ledger.sets().values().filter(|set| set.class == class) {
                usage.tags += 1;
                for blob in set.blobs.keys().filter(|blob| seen.insert(**blob)) {
                    usage.blobs += 1;
                    let size = here_bytes(ledger, store, blob);
                    usage.size_bytes = usage.size_bytes.saturating_add(size);
                }
            }
            usage
        })
        .collect()
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_people_do() {
        let cases = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1500, "1.5 kB"),
            (412_000_000, "412 MB"),
            (9_900_000_000, "9.9 GB"),
            (200_000_000_000, "200 GB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_full_disk_and_a_full_quota_say_what_to_do() {
        let mut full = Full {
            needed_bytes: 412_000_000,
            room_bytes: 120_000_000,
            freeable_bytes: 0,
            bound: Bound::Disk {
                dir: "/data/blobs".into(),
                kept_bytes: 1_000_000_000,
            },
        };
        assert_eq!(
            full.to_string(),
            "there is no room: 412 MB are needed, 120 MB are free under /data/blobs beyond the 1.0 GB kept free, and \
             0 bytes could be freed; uninstall something or delete other files there"
        );
        full.bound = Bound::Quota {
            quota_bytes: 10_000_000_000,
        };
        assert_eq!(
            full.to_string(),
            "there is no room: 412 MB are needed, 120 MB are free of the 10 GB for blobs, and 0 bytes could be freed; \
             uninstall something or raise the quota (swarm.quota)"
        );
    }

    #[test]
    fn room_is_made_from_the_high_water_down_to_the_low() {
        let measured = |used_bytes, coming_bytes, free_bytes| Measured {
            used_bytes,
            coming_bytes,
            quota_bytes: 1000,
            free_bytes,
            kept_bytes: 10,
        };
        let need = |used, coming, free| {
            let need = measured(used, coming, free).need();
            (need.bytes_min, need.bytes_wanted)
        };
        assert_eq!(need(900, 50, 500), (0, 0));
        assert_eq!(need(901, 50, 500), (0, 151));
        assert_eq!(need(1100, 50, 500), (100, 350));
        assert_eq!(need(500, 50, 59), (1, 1));
        assert_eq!(need(500, 50, 60), (0, 0));
        assert_eq!(need(500, 0, 0), (0, 0), "nothing needs no room");
        assert_eq!(need(950, 300, 10), (300, 300));
        let full = measured(1100, 50, 500).full(Path::new("/x"), 300, 7);
        assert_eq!((full.room_bytes, full.freeable_bytes), (200, 7));
        assert!(matches!(full.bound, Bound::Quota { quota_bytes: 1000 }));
        let full = measured(500, 50, 20).full(Path::new("/x"), 50, 0);
        assert_eq!(full.room_bytes, 10);
        assert!(matches!(full.bound, Bound::Disk { .. }));
    }
}
