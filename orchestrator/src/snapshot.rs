//! Copies of an app's data as it was at a change, so that the change can be taken back: `snapshots/<app>/<id>/`, each
//! with `snapshot.json` and `data/`.
//!
//! Data changes its place only by renaming whole directories, and where a directory is tells how far that came, so that
//! a killed node goes on where it stood.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use archy_registry::{Blake3Hash, Slug};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod tree;
pub mod worker;

use crate::disk;
use crate::runtime::transient::Transient;
use worker::{CopyError, Measured, Worker};

const FILE: &str = "snapshot.json";
const DATA: &str = "data";
/// The app's secrets, where they change their place with the data that they lock.
const SECRETS: &str = "secrets";
/// Prefix of a snapshot that is not complete, or is being removed.
const PARTIAL: &str = ".partial-";
/// How often, and after what time, a copy is removed that is still written.
const REMOVALS_MAX: usize = 10;
const REMOVE_AGAIN: Duration = Duration::from_millis(200);
/// Room that stays free when data is copied.
const SPARE_BYTES: u64 = 64 << 20;

/// Names a snapshot of an app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(String);

impl SnapshotId {
    /// Names a snapshot by when it is taken, to the millisecond.
    fn at(now: Timestamp) -> Self {
        Self(now.strftime("%Y%m%dT%H%M%S%3fZ").to_string())
    }
}

impl std::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.0
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = !text.is_empty() && text.len() <= 32;
        if plain
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        {
            Ok(Self(text))
        } else {
            Err("a snapshot is named by the time when it was taken, as in 20260131T235959123Z")
        }
    }
}

/// What data was when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Its name.
    pub id: SnapshotId,
    /// When it was taken.
    pub taken: Timestamp,
    /// The release that wrote the data.
    pub release: Blake3Hash,
    /// That release's version, for people.
    pub version: String,
    /// Why it was taken.
    pub reason: Reason,
    /// Bytes of the data's blocks, when they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Why data was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// An update was about to begin.
    BeforeUpdate,
    /// The owner went back to an earlier version.
    BeforeRollback,
    /// A version wrote it that did not come up.
    FailedChange,
    /// The containers from before a migration took their place again.
    UndoneMigration,
    /// It is on its way into a backup.
    Backup,
    /// A backup was about to take its place.
    BeforeRestore,
    /// It came out of a backup and is about to be put in place.
    FromBackup,
}

/// A snapshot could not be taken, put back or removed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Copying failed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Not enough room for a copy.
    #[error(
        "not enough room for a copy of the app's data: it takes {needed_mib} MiB and {free_mib} MiB are free; make room, or update without a copy"
    )]
    Room {
        /// What the copy takes, with what stays free.
        needed_mib: u64,
        /// What there is.
        free_mib: u64,
    },
    /// No such snapshot.
    #[error("there is no snapshot {0}")]
    Missing(SnapshotId),
    /// A file or directory.
    #[error("cannot access {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> SnapshotError + '_ {
    move |source| SnapshotError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The snapshots of all apps, on disk.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotStore {
    directory: PathBuf,
    transient: Transient,
    worker: PathBuf,
}

/// A copy on its way.
pub(crate) struct Taking {
    partial: PathBuf,
    place: PathBuf,
    snapshot: Snapshot,
    worker: Worker,
    measured: Measured,
}

impl SnapshotStore {
    pub(crate) fn new(config: &crate::Config, transient: &Transient) -> Self {
        Self::at(config.data_dir.join("snapshots"), config, transient)
    }

    /// A store in a directory of its own.
    pub(crate) fn at(directory: PathBuf, config: &crate::Config, transient: &Transient) -> Self {
        Self {
            directory,
            transient: transient.clone(),
            worker: config.worker.clone(),
        }
    }

    /// The directory of an app's snapshots.
    pub(crate) fn of(&self, app: &Slug) -> PathBuf {
        self.directory.join(app.as_str())
    }

    /// The directory of a snapshot.
    pub(crate) fn place(&self, app: &Slug, id: &SnapshotId) -> PathBuf {
        self.of(app).join(&id.0)
    }

    /// The directory of a snapshot that is not complete; it is swept unless [`adopt`](Self::adopt) makes it one.
    pub(crate) fn partial(&self, app: &Slug, id: &SnapshotId) -> PathBuf {
        self.of(app).join(format!("{PARTIAL}{id}"))
    }

    /// Makes a snapshot of what somebody put into its partial directory: `data/`, and `secrets/` if those belong to it.
    pub(crate) fn adopt(&self, app: &Slug, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let (partial, place) = (
            self.partial(app, &snapshot.id),
            self.place(app, &snapshot.id),
        );
        write(&partial, snapshot)?;
        std::fs::rename(&partial, &place).map_err(io_at(&place))?;
        sync(&[&place])
    }

    /// Removes what a copy left that was given up.
    pub(crate) async fn abandon(&self, app: &Slug, id: &SnapshotId) {
        let partial = self.partial(app, id);
        let mut removed = self.delete(&partial).await;
        for _ in 1..REMOVALS_MAX {
            if removed.is_ok() && !partial.exists() {
                break;
            }
            // Its worker may not have ended yet.
            tokio::time::sleep(REMOVE_AGAIN).await;
            removed = self.delete(&partial).await;
        }
        if let Err(error) = removed {
            tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "a copy of data that was not completed stays for now");
        }
        // Only an empty one goes.
        let _ = std::fs::remove_dir(self.of(app));
    }

    fn data(&self, app: &Slug, id: &SnapshotId) -> PathBuf {
        self.place(app, id).join(DATA)
    }

    /// Lists an app's snapshots, oldest first.
    pub(crate) fn list(&self, app: &Slug) -> Result<Vec<Snapshot>, SnapshotError> {
        let directory = self.of(app);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_at(&directory)(error)),
        };
        let mut found: Vec<Snapshot> = entries
            .flatten()
            .filter(|entry| entry.path().join(DATA).is_dir())
            .filter_map(|entry| {
                let text = std::fs::read(entry.path().join(FILE)).ok()?;
                let snapshot: Snapshot = serde_json::from_slice(&text).ok()?;
                (entry.file_name() == snapshot.id.0.as_str()).then_some(snapshot)
            })
            .collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Begins a copy of `from`, an app's data: measures it and checks that there is room.
    pub(crate) async fn begin(
        &self,
        app: &Slug,
        from: &Path,
        mut snapshot: Snapshot,
    ) -> Result<Taking, SnapshotError> {
        let directory = self.of(app);
        let partial = self.partial(app, &snapshot.id);
        let to = partial.join(DATA);
        disk::create_private_dir(&to).map_err(|error| {
            match error.kind() == io::ErrorKind::StorageFull {
                true => no_room(0, 0),
                false => io_at(&to)(error),
            }
        })?;
        let (worker, measured) = Worker::begin(&self.transient, &self.worker, from, &to).await?;
        snapshot.bytes = Some(measured.extent.bytes);
        let free = disk::free_bytes(&directory).map_err(io_at(&directory))?;
        if let Err(error) = check_room(&measured, free) {
            let _ = std::fs::remove_dir(&to).and_then(|()| std::fs::remove_dir(&partial));
            return Err(error);
        }
        Ok(Taking {
            partial,
            place: self.place(app, &snapshot.id),
            snapshot,
            worker,
            measured,
        })
    }

    /// Puts the data of the snapshot `put` in the place of an app's data, which becomes the snapshot `aside`. Where `put` has
    /// secrets, they change their place with the app's own, which lie beside its data.
    ///
    /// Does what is left of it when it was interrupted, and nothing when it was done. Nobody may use the data meanwhile.
    pub(crate) fn exchange(
        &self,
        app: &Slug,
        live: &Path,
        put: &SnapshotId,
        aside: &Snapshot,
    ) -> Result<(), SnapshotError> {
        let place = self.place(app, &aside.id);
        let (from, to) = (self.data(app, put), self.data(app, &aside.id));
        let live_secrets = live.with_file_name(SECRETS);
        let (put_secrets, aside_secrets) =
            (self.place(app, put).join(SECRETS), place.join(SECRETS));
        if !to.exists() {
            if !from.exists() {
                return Err(SnapshotError::Missing(put.clone()));
            }
            disk::create_private_dir(&place).map_err(io_at(&place))?;
            write(&place, aside)?;
            disk::create_private_dir(live).map_err(io_at(live))?;
            if put_secrets.exists() && !aside_secrets.exists() {
                disk::create_private_dir(&live_secrets).map_err(io_at(&live_secrets))?;
                std::fs::rename(&live_secrets, &aside_secrets).map_err(io_at(&live_secrets))?;
            }
            std::fs::rename(live, &to).map_err(io_at(live))?;
            sync(&[live, &to])?;
        }
        if !from.exists() && !live.exists() {
            return Err(SnapshotError::Missing(put.clone()));
        }
        if from.exists() {
            if put_secrets.exists() {
                if aside_secrets.exists() {
                    // What the app had is aside; whatever is here was made anew since.
                    disk::remove_dir(&live_secrets).map_err(io_at(&live_secrets))?;
                } else if live_secrets.exists() {
                    // A way back that was cut off had brought them here already.
                    std::fs::rename(&live_secrets, &aside_secrets).map_err(io_at(&live_secrets))?;
                }
                std::fs::rename(&put_secrets, &live_secrets).map_err(io_at(&put_secrets))?;
                sync(&[&live_secrets])?;
            }
            std::fs::rename(&from, live).map_err(io_at(&from))?;
            sync(&[&from, live])?;
            // Its data is what the app has now.
            disk::remove_dir(&self.place(app, put)).map_err(io_at(&from))?;
        }
        Ok(())
    }

    /// Makes an app's data the snapshot `aside`, so that it has none. Nobody may use the data meanwhile.
    ///
    /// Does nothing when it was done, or when there is none.
    pub(crate) fn set_aside(
        &self,
        app: &Slug,
        live: &Path,
        aside: &Snapshot,
    ) -> Result<(), SnapshotError> {
        let to = self.data(app, &aside.id);
        if to.exists() || !crate::desired::holds_anything(live) {
            return Ok(());
        }
        let place = self.place(app, &aside.id);
        disk::create_private_dir(&place).map_err(io_at(&place))?;
        write(&place, aside)?;
        std::fs::rename(live, &to).map_err(io_at(live))?;
        sync(&[live, &to])
    }

    /// Removes one snapshot with its data.
    pub(crate) async fn remove(&self, app: &Slug, id: &SnapshotId) -> Result<(), SnapshotError> {
        let place = self.place(app, id);
        let doomed = self.of(app).join(format!("{PARTIAL}{id}"));
        match std::fs::rename(&place, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SnapshotError::Missing(id.clone()));
            }
            renamed => renamed.map_err(io_at(&place))?,
        }
        self.delete(&doomed).await
    }

    /// Removes all of an app's snapshots but the newest `kept` and those that `needed` names.
    pub(crate) async fn thin(
        &self,
        app: &Slug,
        kept: usize,
        needed: &[SnapshotId],
    ) -> Result<(), SnapshotError> {
        self.drop_restored(app, needed).await?;
        let all = self.list(app)?;
        let old = all.len().saturating_sub(kept);
        for snapshot in all.iter().take(old) {
            if !needed.contains(&snapshot.id) {
                self.remove(app, &snapshot.id).await?;
            }
        }
        Ok(())
    }

    /// Removes what came out of backups and is needed by nothing any more: the backups still have it.
    pub(crate) async fn drop_restored(
        &self,
        app: &Slug,
        needed: &[SnapshotId],
    ) -> Result<(), SnapshotError> {
        for snapshot in self.list(app)? {
            if snapshot.reason == Reason::FromBackup && !needed.contains(&snapshot.id) {
                self.remove(app, &snapshot.id).await?;
            }
        }
        Ok(())
    }

    /// Lists the apps that have snapshots.
    pub(crate) fn apps(&self) -> Vec<Slug> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect()
    }

    /// Removes all of it; for a store that keeps nothing beyond a run of the node.
    pub(crate) async fn clear(&self) -> Result<(), SnapshotError> {
        self.delete(&self.directory).await
    }

    /// Removes what copies and removals left that were interrupted. Nobody may be taking a snapshot.
    pub(crate) async fn sweep(&self) {
        let apps = std::fs::read_dir(&self.directory).into_iter().flatten();
        for app in apps.flatten() {
            let entries = std::fs::read_dir(app.path()).into_iter().flatten();
            for entry in entries.flatten() {
                if entry.file_name().to_string_lossy().starts_with(PARTIAL)
                    && let Err(error) = self.delete(&entry.path()).await
                {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a copy of data that was not completed stays"
                    );
                }
            }
        }
    }

    async fn delete(&self, path: &Path) -> Result<(), SnapshotError> {
        let removed = self.transient.remove(path).await;
        removed.map_err(io_at(path))
    }
}

impl Taking {
    /// Bytes that the copy takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.measured.extent.bytes
    }

    /// Bytes of room that the copy takes: none where it shares the data's blocks.
    pub(crate) fn room_bytes(&self) -> u64 {
        match self.measured.shares_blocks {
            true => 0,
            false => self.measured.extent.bytes,
        }
    }

    /// Copies what is there while the app may still write; `progress` hears of copied bytes.
    pub(crate) async fn copy(
        &mut self,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), SnapshotError> {
        self.worker.pass(progress).await?;
        Ok(())
    }

    /// Copies what changed since; the app must stand still. Afterwards the snapshot is there, also after a power cut.
    pub(crate) async fn complete(mut self) -> Result<Snapshot, SnapshotError> {
        let extent = self.worker.pass(&|_| {}).await?;
        self.snapshot.bytes = Some(extent.bytes);
        write(&self.partial, &self.snapshot)?;
        std::fs::rename(&self.partial, &self.place).map_err(io_at(&self.place))?;
        sync(&[&self.place])?;
        Ok(self.snapshot)
    }
}

impl Snapshot {
    /// Describes the data of a release, taken now.
    pub(crate) fn of(release: Blake3Hash, version: &str, reason: Reason, now: Timestamp) -> Self {
        Self {
            id: SnapshotId::at(now),
            taken: now,
            release,
            version: version.to_owned(),
            reason,
            bytes: None,
        }
    }
}

/// Refuses a copy that would leave less than [`SPARE_BYTES`] free, unless it takes no room.
fn check_room(measured: &Measured, free_bytes: u64) -> Result<(), SnapshotError> {
    let bytes = measured.extent.bytes;
    match measured.shares_blocks || bytes.saturating_add(SPARE_BYTES) <= free_bytes {
        true => Ok(()),
        false => Err(no_room(bytes, free_bytes)),
    }
}

fn no_room(bytes: u64, free_bytes: u64) -> SnapshotError {
    SnapshotError::Room {
        needed_mib: bytes.saturating_add(SPARE_BYTES).div_ceil(1 << 20),
        free_mib: free_bytes >> 20,
    }
}

fn write(place: &Path, snapshot: &Snapshot) -> Result<(), SnapshotError> {
    let text = serde_json::to_vec_pretty(snapshot).expect("a snapshot's description is plain data");
    let path = place.join(FILE);
    disk::replace(&path, &text, 0o600).map_err(io_at(&path))
}

/// Makes renames last.
fn sync(paths: &[&Path]) -> Result<(), SnapshotError> {
    for parent in paths.iter().filter_map(|path| path.parent()) {
        disk::sync_dir(parent).map_err(io_at(parent))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(root: &Path) -> SnapshotStore {
        SnapshotStore {
            directory: root.join("snapshots"),
            transient: Transient::of_children(Path::new("/nonexistent")),
            worker: PathBuf::from("/nonexistent"),
        }
    }

    fn described(second: i64) -> Snapshot {
        let at = Timestamp::from_second(second).unwrap();
        Snapshot::of(Blake3Hash::of(b"release"), "1.0", Reason::BeforeUpdate, at)
    }

    /// Puts a complete snapshot on the disk.
    fn make(store: &SnapshotStore, app: &Slug, snapshot: &Snapshot, content: &str) {
        let data = store.data(app, &snapshot.id);
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("file"), content).unwrap();
        write(&store.place(app, &snapshot.id), snapshot).unwrap();
    }

    #[test]
    fn ids_are_times_and_nothing_else() {
        let id = SnapshotId::at("2026-01-31T23:59:59.123Z".parse().unwrap());
        assert_eq!(id.to_string(), "20260131T235959123Z");
        assert_eq!(SnapshotId::try_from(id.to_string()), Ok(id));
        for text in ["", ".", "..", "a/b", "../x", "2026 ", &"1".repeat(33)] {
            assert!(SnapshotId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_copy_leaves_room_or_takes_none() {
        let mib = |count: u64| count << 20;
        // Data, whether it shares blocks, what is free, what is lacking.
        let table = [
            (mib(100), false, mib(164), None),
            (mib(100), false, mib(164) - 1, Some((164, 163))),
            (1, false, mib(30), Some((65, 30))),
            (0, false, 0, Some((64, 0))),
            (mib(100), true, 0, None),
        ];
        for (bytes, shares_blocks, free, lack) in table {
            let extent = tree::Extent { bytes, entries: 1 };
            let measured = Measured {
                extent,
                shares_blocks,
            };
            let found = match check_room(&measured, free) {
                Ok(()) => None,
                Err(SnapshotError::Room {
                    needed_mib,
                    free_mib,
                }) => Some((needed_mib, free_mib)),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found, lack, "{bytes} {free}");
        }
    }

    #[test]
    fn an_exchange_goes_on_wherever_it_stopped() {
        let app: Slug = "a".parse().unwrap();
        // 0: nothing done; 1: the live data is aside; 2: all done.
        for done in 0..=2 {
            let root = tempfile::tempdir().unwrap();
            let store = store(root.path());
            let (put, aside) = (described(1), described(2));
            let live = root.path().join("data");
            std::fs::create_dir(&live).unwrap();
            std::fs::write(live.join("file"), "new").unwrap();
            make(&store, &app, &put, "old");
            if done > 0 {
                let place = store.place(&app, &aside.id);
                std::fs::create_dir_all(&place).unwrap();
                write(&place, &aside).unwrap();
                std::fs::rename(&live, store.data(&app, &aside.id)).unwrap();
            }
            for _ in 0..done {
                store.exchange(&app, &live, &put.id, &aside).unwrap();
            }
            store.exchange(&app, &live, &put.id, &aside).unwrap();
            assert_eq!(std::fs::read_to_string(live.join("file")).unwrap(), "old");
            let kept = store.data(&app, &aside.id).join("file");
            assert_eq!(std::fs::read_to_string(kept).unwrap(), "new");
            assert_eq!(store.list(&app).unwrap(), [aside]);
        }
    }

    #[test]
    fn a_way_back_that_was_cut_off_gives_each_its_own_secrets() {
        let app: Slug = "a".parse().unwrap();
        // How many of the renames of the way back were done.
        for done in 0..=4 {
            let root = tempfile::tempdir().unwrap();
            let store = store(root.path());
            let (put, aside) = (described(1), described(2));
            let (live, live_secrets) = (root.path().join("data"), root.path().join(SECRETS));
            let secrets = |snapshot: &Snapshot| store.place(&app, &snapshot.id).join(SECRETS);
            for (directory, file) in [(&live, "file"), (&live_secrets, "key")] {
                std::fs::create_dir(directory).unwrap();
                std::fs::write(directory.join(file), "own").unwrap();
            }
            make(&store, &app, &put, "backup's");
            std::fs::create_dir(secrets(&put)).unwrap();
            std::fs::write(secrets(&put).join("key"), "backup's").unwrap();
            store.exchange(&app, &live, &put.id, &aside).unwrap();
            let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
            assert_eq!(read(live_secrets.join("key")), "backup's");
            std::fs::create_dir(store.place(&app, &put.id)).unwrap();
            write(&store.place(&app, &put.id), &put).unwrap();
            let renames = [
                (live_secrets.clone(), secrets(&put)),
                (live.clone(), store.data(&app, &put.id)),
                (secrets(&aside), live_secrets.clone()),
                (store.data(&app, &aside.id), live.clone()),
            ];
            for (from, to) in &renames[..done] {
                std::fs::rename(from, to).unwrap();
            }
            // As a node does that comes back: there and back again.
            store.exchange(&app, &live, &put.id, &aside).unwrap();
            store.exchange(&app, &live, &aside.id, &put).unwrap();
            let own = [read(live.join("file")), read(live_secrets.join("key"))];
            assert_eq!(own, ["own", "own"], "{done}");
            let kept = [
                read(store.data(&app, &put.id).join("file")),
                read(secrets(&put).join("key")),
            ];
            assert_eq!(kept, ["backup's", "backup's"], "{done}");
        }
    }

    #[test]
    fn without_the_snapshot_the_live_data_stays_where_it_is() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let live = root.path().join("data");
        std::fs::create_dir(&live).unwrap();
        let (put, aside) = (described(1), described(2));
        let app: Slug = "a".parse().unwrap();
        let failed = store.exchange(&app, &live, &put.id, &aside);
        assert!(matches!(failed, Err(SnapshotError::Missing(id)) if id == put.id));
        assert!(live.exists());
        // Half done, and then somebody removed the snapshot: no empty data is begun.
        std::fs::create_dir_all(store.place(&app, &aside.id)).unwrap();
        std::fs::rename(&live, store.data(&app, &aside.id)).unwrap();
        let failed = store.exchange(&app, &live, &put.id, &aside);
        assert!(matches!(failed, Err(SnapshotError::Missing(id)) if id == put.id));
        assert!(!live.exists());
    }

    #[test]
    fn only_complete_snapshots_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let app: Slug = "a".parse().unwrap();
        assert!(store.list(&app).unwrap().is_empty());
        make(&store, &app, &described(2), "b");
        make(&store, &app, &described(1), "a");
        std::fs::create_dir_all(store.of(&app).join(".partial-x/data")).unwrap();
        std::fs::create_dir_all(store.of(&app).join("20260131T235959123Z")).unwrap();
        assert_eq!(store.list(&app).unwrap(), [described(1), described(2)]);
    }
}
