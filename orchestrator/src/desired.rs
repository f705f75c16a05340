//! What should be: one `desired.json` per app, written before anything acts on it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use archy_registry::manifest::Manifest;
use archy_registry::release::Release;
use archy_registry::{AppId, Blake3Hash, Slug, Verified};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::adopt::Adoption;
use crate::disk;
use crate::names;
use crate::quadlet::{UnitSet, app_dir};
use crate::settings::Settings;
use crate::snapshot::{Snapshot, SnapshotId};
use crate::values;

/// The format that this version writes.
const FORMAT: u32 = 1;
const FILE: &str = "desired.json";

/// What the owner wants of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// It runs.
    Running,
    /// It is installed and does not run.
    Stopped,
    /// It is uninstalled; its data is kept for a later install.
    Removed,
}

/// How far an install came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Not done; if nobody is at it, it was interrupted and is undone.
    Installing,
    /// Done.
    Installed,
    /// Another version takes the place of the one that was installed; it is taken back unless it comes up.
    Changing,
    /// A change is being taken back.
    Returning,
    /// Containers that others made are the app's; nothing of them is touched.
    Adopted,
    /// Containers of ours take the place of adopted ones; it is taken back unless they come up.
    Migrating,
    /// The adopted containers take their place again.
    Unmigrating,
}

/// One version of an app on this node: a release, and what the node decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// The hash of the verified release.
    pub release_hash: Blake3Hash,
    /// The release, verified when it was installed.
    pub release: Release,
    /// What the node decided.
    pub settings: Settings,
    /// When it was installed.
    pub installed_at: Timestamp,
    /// The checked units, by file name.
    pub units: BTreeMap<String, String>,
}

/// A change of an installed app on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What was installed.
    pub from: Version,
    /// What became of the data.
    pub data: DataMove,
    /// What kind of change it is.
    pub kind: ChangeKind,
}

/// What an app is changed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Another release; its hooks run, and the owner can go back.
    Update,
    /// The release from before; the owner can go forth again.
    Rollback,
    /// The same release, with other settings or made anew.
    Settings,
    /// What a backup holds; the owner can go back to what was before.
    Restore,
}

/// What becomes of an app's data in a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataMove {
    /// It stays.
    Stays,
    /// It stays, and this snapshot is a copy from before.
    Copied(SnapshotId),
    /// It becomes a snapshot, and the data of another takes its place.
    Exchanged(Box<Exchange>),
}

/// Data that takes the place of other data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The snapshot whose data the app gets.
    pub put: Snapshot,
    /// What becomes of the data that it had.
    pub aside: Snapshot,
}

/// The version before the one that is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// The version.
    pub version: Version,
    /// Its data when it was replaced, unless the owner wanted none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
}

/// A change that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedChange {
    /// The release that did not come up.
    pub release: Blake3Hash,
    /// Its version, for people.
    pub version: String,
    /// Why, in a sentence.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What should be of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// Always [`FORMAT`] in this version.
    format: u32,
    /// The app.
    pub app: AppId,
    /// The hash of the verified release.
    pub release_hash: Blake3Hash,
    /// The release, verified when it was installed.
    pub release: Release,
    /// What the node decided.
    pub settings: Settings,
    /// What the owner wants.
    pub wish: Wish,
    /// How far the install came.
    pub stage: Stage,
    /// When it was installed.
    pub installed_at: Timestamp,
    /// The checked units, by file name: what is live when all is well.
    pub units: BTreeMap<String, String>,
    /// The change on its way, while `stage` says that there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Box<Change>>,
    /// What the owner can go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Before>>,
    /// The last change, if it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedChange>,
    /// Whether an install on its way found what an earlier one left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// The containers that others made, until they are let go of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Box<Adoption>>,
}

impl Desired {
    /// Writes down the wish to install a release.
    pub(crate) fn installing(
        release: &Verified<Release>,
        settings: Settings,
        units: &UnitSet,
        now: Timestamp,
    ) -> Self {
        let (app, hash) = (release.app(), release.hash());
        Self::shadow(app, hash, Release::clone(release), settings, units, now)
    }

    /// Writes down an instance that is not the app itself; a killed node removes it.
    pub(crate) fn shadow(
        app: AppId,
        release_hash: Blake3Hash,
        release: Release,
        settings: Settings,
        units: &UnitSet,
        now: Timestamp,
    ) -> Self {
        Self {
            format: FORMAT,
            app,
            release_hash,
            release,
            settings,
            wish: Wish::Running,
            stage: Stage::Installing,
            installed_at: now,
            units: units.files(),
            change: None,
            before: None,
            failed: None,
            again: false,
            adoption: None,
        }
    }

    /// Writes down that containers which others made are an app's.
    pub(crate) fn adopted(
        release: &Verified<Release>,
        settings: Settings,
        adoption: Adoption,
        now: Timestamp,
    ) -> Self {
        let units = UnitSet {
            app: release.manifest.app.id.clone(),
            units: BTreeMap::new(),
        };
        Self {
            stage: Stage::Adopted,
            adoption: Some(Box::new(adoption)),
            ..Self::installing(release, settings, &units, now)
        }
    }

    /// Tells whether the app's containers should be up and are ours.
    pub(crate) fn is_kept_running(&self) -> bool {
        self.wish == Wish::Running && self.stage != Stage::Adopted
    }

    /// The version that is installed.
    pub(crate) fn version(&self) -> Version {
        Version {
            release_hash: self.release_hash,
            release: self.release.clone(),
            settings: self.settings.clone(),
            installed_at: self.installed_at,
            units: self.units.clone(),
        }
    }

    /// Makes another version the one that should be.
    pub(crate) fn set_version(&mut self, version: Version) {
        let Version {
            release_hash,
            release,
            settings,
            installed_at,
            units,
        } = version;
        self.release_hash = release_hash;
        self.release = release;
        self.settings = settings;
        self.installed_at = installed_at;
        self.units = units;
    }

    /// Tells whether the app is installed, be it in the middle of a change.
    pub fn is_installed(&self) -> bool {
        self.wish != Wish::Removed && self.stage != Stage::Installing
    }

    /// Every version whose images the node keeps.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Release> {
        self.decided().map(|(release, _)| release)
    }

    /// The same, each with what the node decided about it.
    pub(crate) fn decided(&self) -> impl Iterator<Item = (&Release, &Settings)> {
        let change = self.change.iter().map(|change| &change.from);
        let before = self.before.iter().map(|before| &before.version);
        let others = change.chain(before);
        let others = others.map(|version| (&version.release, &version.settings));
        std::iter::once((&self.release, &self.settings)).chain(others)
    }

    /// The snapshots that taking back a change, or going back, needs.
    pub(crate) fn snapshots(&self) -> Vec<SnapshotId> {
        let before = self.before.iter();
        let mut needed: Vec<SnapshotId> = before
            .filter_map(|before| before.snapshot.clone())
            .collect();
        if let Some(change) = &self.change {
            match &change.data {
                DataMove::Stays => {}
                DataMove::Copied(id) => needed.push(id.clone()),
                DataMove::Exchanged(exchange) => {
                    needed.extend([exchange.put.id.clone(), exchange.aside.id.clone()]);
                }
            }
        }
        needed
    }

    /// The app's slug.
    pub fn slug(&self) -> &Slug {
        &self.app.slug
    }

    /// Names of the app's containers, in the manifest's order.
    pub fn containers(&self) -> impl Iterator<Item = &Slug> {
        self.release
            .manifest
            .containers
            .iter()
            .map(|container| &container.name)
    }

    /// podman's names of the app's containers, in the same order.
    pub(crate) fn podman_names(&self) -> Vec<String> {
        names::containers(&self.release.manifest)
    }

    /// Names of the app's volumes, each once.
    pub fn volumes(&self) -> Vec<&Slug> {
        let containers = self.release.manifest.containers.iter();
        let declared = self.settings.surroundings.image_volumes.values();
        let volumes: std::collections::BTreeSet<&Slug> = containers
            .flat_map(|container| &container.volumes)
            .map(|volume| &volume.name)
            .chain(declared.flat_map(BTreeMap::values))
            .collect();
        volumes.into_iter().collect()
    }

    /// Names within the app of all that podman is given as secrets: the generated ones, and values that hold one.
    pub fn podman_secrets(&self) -> Vec<String> {
        let manifest = self.manifest();
        let values = manifest.containers.iter().flat_map(|container| {
            let variables = values::secret_variables(container, &self.settings);
            variables.map(|variable| names::value_secret(&container.name, variable))
        });
        self.secrets().map(Slug::to_string).chain(values).collect()
    }

    /// The manifest with what the owner set: what runs.
    pub(crate) fn manifest(&self) -> Cow<'_, Manifest> {
        self.settings.applied_to(&self.release.manifest)
    }

    /// Names of the app's secrets.
    pub fn secrets(&self) -> impl Iterator<Item = &Slug> {
        self.release
            .manifest
            .generated_secrets
            .iter()
            .map(|secret| &secret.name)
    }

    /// Tells whether the app has a network of its own.
    pub fn has_network(&self) -> bool {
        self.release.manifest.network_policy != archy_registry::manifest::NetworkPolicy::Host
    }
}

/// Desired state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DesiredError {
    /// The file could not be read or written.
    #[error("cannot access the desired state {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is damaged or of a later version.
    #[error(
        "the desired state {path} cannot be understood: restore it from a backup, or reinstall the app"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// The desired state of all apps, on disk.
#[derive(Debug, Clone)]
pub(crate) struct DesiredStore {
    apps_dir: PathBuf,
    /// What was read last, and of which file: forty apps take milliseconds to parse.
    read: Arc<Mutex<HashMap<Slug, (Stamp, Desired)>>>,
}

/// Tells a file from what stood in its place before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size_bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What was found in the apps' directory.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) desired: Vec<Desired>,
    /// Apps whose file cannot be used: nothing is done to them.
    pub(crate) damaged: Vec<(Slug, DesiredError)>,
}

impl DesiredStore {
    pub(crate) fn new(apps_dir: PathBuf) -> Self {
        Self {
            apps_dir,
            read: Arc::default(),
        }
    }

    fn read<T>(&self, change: impl FnOnce(&mut HashMap<Slug, (Stamp, Desired)>) -> T) -> T {
        change(&mut self.read.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn path(&self, app: &Slug) -> PathBuf {
        app_dir(&self.apps_dir, app).join(FILE)
    }

    fn twin(&self, app: &Slug) -> PathBuf {
        disk::twin(&self.path(app))
    }

    /// Reads one app; `None` when it was never installed. A file that is spoiled or gone is made anew from its twin.
    pub(crate) fn load(&self, app: &Slug) -> Result<Option<Desired>, DesiredError> {
        let path = self.path(app);
        // Before the file is read: when it is replaced meanwhile, the next look finds another stamp.
        let stamp = std::fs::metadata(&path).map(|metadata| Stamp::of(&metadata));
        let stamp = stamp.ok();
        let known = self.read(|read| {
            let (known, desired) = read.get(app)?;
            (Some(known) == stamp.as_ref()).then(|| desired.clone())
        });
        if known.is_some() {
            return Ok(known);
        }
        let loaded = read(app, path);
        if let Ok(Some(desired)) = &loaded {
            if let Some(stamp) = stamp {
                self.read(|read| read.insert(app.clone(), (stamp, desired.clone())));
            }
            return loaded;
        }
        let Ok(Some(desired)) = read(app, self.twin(app)) else {
            return loaded;
        };
        tracing::warn!(app = %app, reason = ?loaded.err(), "the desired state was spoiled, and is made anew from its twin");
        self.save(&desired)?;
        Ok(Some(desired))
    }

    /// Reads all apps.
    pub(crate) fn load_all(&self) -> Result<Found, DesiredError> {
        let mut found = Found::default();
        for app in self.directories()? {
            match self.load(&app) {
                Ok(desired) => found.desired.extend(desired),
                Err(error) => found.damaged.push((app, error)),
            }
        }
        Ok(found)
    }

    /// Lists the directories that have an app's name.
    fn directories(&self) -> Result<Vec<Slug>, DesiredError> {
        let io = |source| DesiredError::Io {
            path: self.apps_dir.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&self.apps_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let mut apps = Vec::new();
        for entry in entries {
            let name = entry.map_err(io)?.file_name();
            apps.extend(name.to_str().and_then(|name| name.parse::<Slug>().ok()));
        }
        apps.sort();
        Ok(apps)
    }

    /// Writes one app, as a whole, and waits until the disk has it.
    pub(crate) fn save(&self, desired: &Desired) -> Result<(), DesiredError> {
        let path = self.path(desired.slug());
        let bytes = serde_json::to_vec_pretty(desired).expect("desired state is plain data");
        let directory = app_dir(&self.apps_dir, desired.slug());
        let written = disk::create_private_dir(&directory)
            .and_then(|()| disk::replace(&path, &bytes, 0o600))
            .and_then(|()| disk::sync_dir(&self.apps_dir));
        // A freed inode can come back within the file system's clock tick.
        self.read(|read| read.remove(desired.slug()));
        written.map_err(|source| DesiredError::Io { path, source })?;
        // What is removed does not come back by its twin.
        let twin = self.twin(desired.slug());
        let written = if desired.wish == Wish::Removed {
            disk::remove_file(&twin)
        } else {
            disk::replace_unsynced(&twin, &bytes, 0o600)
        };
        written.map_err(|source| DesiredError::Io { path: twin, source })
    }

    /// Forgets one app.
    pub(crate) fn forget(&self, app: &Slug) -> Result<(), DesiredError> {
        self.read(|read| read.remove(app));
        for path in [self.twin(app), self.path(app)] {
            disk::remove_file(&path).map_err(|source| DesiredError::Io { path, source })?;
        }
        Ok(())
    }
}

fn read(app: &Slug, path: PathBuf) -> Result<Option<Desired>, DesiredError> {
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DesiredError::Io { path, source }),
    };
    let parsed: Result<Desired, _> = serde_json::from_slice(&bytes);
    match parsed {
        Ok(desired) if desired.format == FORMAT && desired.slug() == app => Ok(Some(desired)),
        Ok(_) => Err(DesiredError::Damaged {
            path,
            source: serde::de::Error::custom("another format or another app"),
        }),
        Err(source) => Err(DesiredError::Damaged { path, source }),
    }
}

/// Tells whether a directory holds anything; a missing one does not.
pub(crate) fn holds_anything(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}
