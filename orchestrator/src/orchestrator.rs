//! The orchestrator itself: one handle over systemd, podman and the disk, with a lock per app.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use archy_registry::Slug;
use archy_registry::release::Image;
use tokio::sync::{OwnedMutexGuard, watch};

use crate::backup::Backups;
use crate::bulletin::Bulletin;
use crate::config::Config;
use crate::desired::DesiredStore;
use crate::install::MachineError;
use crate::instance::Observed;
use crate::loading::{Loading, Removals};
use crate::memory::Memory;
use crate::names;
use crate::probe;
use crate::quadlet::{Facts, Limits, PodmanVersion};
use crate::runtime::podman::{Podman, PodmanError, is_exactly};
use crate::runtime::systemd::Systemd;
use crate::runtime::transient::Transient;
use crate::sight::Sight;
use crate::snapshot::SnapshotStore;

/// Times that an image is pulled while others are being removed.
const PULLS_MAX: u32 = 4;

/// Makes this machine's apps what they should be. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Orchestrator {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Orchestrator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orchestrator")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) facts: Facts,
    pub(crate) systemd: Arc<Systemd>,
    pub(crate) transient: Transient,
    pub(crate) podman: Podman,
    /// Where podman keeps what it has, once it was asked.
    pub(crate) podman_root: tokio::sync::OnceCell<std::path::PathBuf>,
    pub(crate) store: DesiredStore,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) backups: Backups,
    pub(crate) loading: Loading,
    removals: Removals,
    pub(crate) bulletin: Bulletin,
    pub(crate) memory: Mutex<Memory>,
    pub(crate) sight: Mutex<Sight>,
    /// Wakes the reconciler.
    pub(crate) nudge: tokio::sync::Notify,
    locks: Mutex<HashMap<Slug, Arc<tokio::sync::Mutex<()>>>>,
}

/// The orchestrator could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A directory or the probe could not be written.
    #[error("cannot prepare the data directory {path}")]
    Prepare {
        /// The data directory.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// An image could not be brought in.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// podman failed.
    #[error("cannot load the image of container {container}")]
    Podman {
        /// The container.
        container: Slug,
        /// Why.
        #[source]
        source: PodmanError,
    },
    /// podman has other content under the reference than the release names.
    #[error(
        "the image of container {container} is not the one that its publisher signed: podman has {found}, the release names {expected}"
    )]
    Differs {
        /// The container.
        container: Slug,
        /// ID of the image that the release names.
        expected: String,
        /// ID of the image that podman has.
        found: String,
    },
    /// podman has the image no more that it had a moment ago: somebody else removed it, or its name.
    #[error("podman lost the image of container {container} while it was being brought in")]
    Vanished {
        /// The container.
        container: Slug,
    },
    /// Its containers would be given more than podman could list beside all others.
    #[error("the image of container {container} has {excess}")]
    Excess {
        /// The container.
        container: Slug,
        /// What there is too much of.
        excess: String,
    },
    /// The disk did not take it.
    #[error("the disk does not take the image of container {container}: see the kernel's log")]
    Unwritten {
        /// The container.
        container: Slug,
        /// Why.
        #[source]
        source: Box<MachineError>,
    },
}

impl Orchestrator {
    /// Prepares the data directory. systemd and podman are reached on first use, and again after a break.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the data directory cannot be written.
    pub fn connect(config: Config) -> Result<Self, ConnectError> {
        Self::make_ready(&config)?;
        let facts = Facts {
            apps_dir: config.apps_dir(),
            probe: probe::path(&config.data_dir),
            root: config.root(),
            platform: config.platform.clone(),
            limits: Limits::from_controllers(&crate::setup::controllers()),
            podman: PodmanVersion::of(&config.podman, &config.data_dir.join("podman-version")),
        };
        let systemd = Arc::new(Systemd::new(&config.bus_socket));
        let podman = Podman::new(&config.podman_socket);
        let transient = Transient::new(&config.podman, Arc::clone(&systemd), &facts.root);
        Ok(Self::of(config, facts, systemd, transient, podman))
    }

    fn make_ready(config: &Config) -> Result<(), ConnectError> {
        let failed = |source| ConnectError::Prepare {
            path: config.data_dir.clone(),
            source,
        };
        crate::disk::create_private_dir(&config.apps_dir()).map_err(failed)?;
        probe::ensure(&config.data_dir).map_err(failed)
    }

    fn of(
        config: Config,
        facts: Facts,
        systemd: Arc<Systemd>,
        transient: Transient,
        podman: Podman,
    ) -> Self {
        let inner = Inner {
            systemd,
            podman,
            podman_root: tokio::sync::OnceCell::new(),
            store: DesiredStore::new(config.apps_dir()),
            snapshots: SnapshotStore::new(&config, &transient),
            loading: Loading::new(&config.data_dir),
            removals: Removals::default(),
            bulletin: Bulletin::default(),
            memory: Mutex::default(),
            sight: Mutex::default(),
            nudge: tokio::sync::Notify::new(),
            locks: Mutex::default(),
            backups: Backups::new(&config, &transient),
            transient,
            facts,
            config,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// An orchestrator of instances apart: in a data directory of its own below this one's, so that neither takes what the
    /// other makes for its own, through the same systemd and podman.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when its directory cannot be written.
    pub(crate) fn apart(&self, data_dir: std::path::PathBuf) -> Result<Self, ConnectError> {
        let config = Config {
            data_dir,
            ..self.inner.config.clone()
        };
        Self::make_ready(&config)?;
        let facts = Facts {
            apps_dir: config.apps_dir(),
            probe: probe::path(&config.data_dir),
            root: config.root(),
            ..self.inner.facts.clone()
        };
        let systemd = Arc::clone(&self.inner.systemd);
        let (transient, podman) = (self.inner.transient.clone(), self.inner.podman.clone());
        Ok(Self::of(config, facts, systemd, transient, podman))
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Brings a release's image into podman under its local name, from a registry at `reference`
    /// (`127.0.0.1:PORT/…@sha256:…`, plain HTTP). Does nothing when podman has exactly that image.
    ///
    /// The manifest at `reference` may be another than the release's, with layers in another form: the image is the one
    /// that the release names because its ID is the digest of the configuration, and that names each layer's content.
    ///
    /// `progress` gets podman's own words.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; content that differs from what the release names, or hands too much down to its containers, is
    /// removed again.
    pub async fn load_image(
        &self,
        app: &Slug,
        image: &Image,
        reference: &str,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), LoadError> {
        let podman = &self.inner.podman;
        let failed = |source| LoadError::Podman {
            container: image.container.clone(),
            source,
        };
        if self.has_image(app, image).await.map_err(failed)? {
            return Ok(());
        }
        let repository = names::image_repository(app, &image.container);
        let tag = names::image_tag(&image.manifest.digest);
        let name = names::image_name(app, &image.container, &image.manifest.digest);
        for name in [reference, &name] {
            self.note_loading(app, name);
        }
        let id = self.pull(reference, progress).await.map_err(failed)?;
        let pulled = podman.image(&id).await.map_err(failed)?;
        let vanished = || LoadError::Vanished {
            container: image.container.clone(),
        };
        let pulled = pulled.ok_or_else(vanished)?;
        if !is_exactly(&pulled, reference, &image.config.digest) {
            self.drop_name(reference).await;
            return Err(LoadError::Differs {
                container: image.container.clone(),
                expected: image.config.digest.to_string(),
                found: format!("sha256:{}", pulled.id),
            });
        }
        let baggage = podman.baggage(&id).await.map_err(failed)?;
        if let Some(excess) = baggage.ok_or_else(vanished)?.excess() {
            self.drop_name(reference).await;
            return Err(LoadError::Excess {
                container: image.container.clone(),
                excess,
            });
        }
        let lasting = self.make_podman_last().await;
        lasting.map_err(|source| LoadError::Unwritten {
            container: image.container.clone(),
            source: Box::new(source),
        })?;
        podman.tag(&id, &repository, &tag).await.map_err(failed)?;
        // The name that it was pulled by holds a secret path.
        self.drop_name(reference).await;
        if self.has_image(app, image).await.map_err(failed)? {
            Ok(())
        } else {
            Err(vanished())
        }
    }

    /// Gives an image that podman has, under whatever name, the name that keeps it for an app. Tells whether podman has it.
    ///
    /// # Errors
    ///
    /// [`PodmanError`] when podman cannot be asked.
    pub async fn name_image(&self, app: &Slug, image: &Image) -> Result<bool, PodmanError> {
        let podman = &self.inner.podman;
        let id = image.config.digest.to_hex();
        if podman.image(&id).await?.is_none() {
            return Ok(false);
        }
        let name = names::image_name(app, &image.container, &image.manifest.digest);
        self.note_loading(app, &name);
        let repository = names::image_repository(app, &image.container);
        let tag = names::image_tag(&image.manifest.digest);
        podman.tag(&id, &repository, &tag).await?;
        self.has_image(app, image).await
    }

    fn note_loading(&self, app: &Slug, name: &str) {
        if let Err(error) = self.inner.loading.note(app, name) {
            tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "a killed node would leave an image behind");
        }
    }

    /// Tells whether podman has exactly the image that a release names, under its local name.
    ///
    /// # Errors
    ///
    /// [`PodmanError`] when podman cannot be asked.
    pub async fn has_image(&self, app: &Slug, image: &Image) -> Result<bool, PodmanError> {
        let name = names::image_name(app, &image.container, &image.manifest.digest);
        let found = self.inner.podman.image(&name).await?;
        Ok(found.is_some_and(|found| found.id == image.config.digest.to_hex()))
    }

    /// Takes the images out of podman that came in for an install that never began.
    pub async fn drop_images(&self, app: &Slug) {
        let _lock = self.lock(app).await;
        for name in self.inner.loading.names(app) {
            self.remove_image(app, &name).await;
        }
        if let Err(error) = self.inner.loading.settle(app) {
            tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "a note of images that came in stays");
        }
    }

    /// Removes an app's names of images, and each image with its last name. One that is in use stays.
    pub(crate) async fn remove_images(&self, app: &Slug, images: &[Image]) {
        for image in images {
            let name = names::image_name(app, &image.container, &image.manifest.digest);
            self.remove_image(app, &name).await;
        }
    }

    /// Pulls again what failed while an image was removed: that may have taken layers along that this one counted on.
    async fn pull(
        &self,
        reference: &str,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<String, PodmanError> {
        let mut tries_left = PULLS_MAX;
        loop {
            let began = self.inner.removals.now();
            let pulled = self.inner.podman.pull(reference, progress).await;
            tries_left -= 1;
            match pulled {
                Err(error) if tries_left > 0 && self.inner.removals.any_since(began) => {
                    tracing::info!(
                        error = &error as &dyn std::error::Error,
                        "an image is brought in again, because another was removed meanwhile"
                    );
                }
                ended => return ended,
            }
        }
    }

    pub(crate) async fn remove_image(&self, app: &Slug, name: &str) {
        let _removal = self.inner.removals.begin();
        if let Err(error) = self.inner.podman.remove_image(name).await {
            tracing::debug!(app = %app, error = &error as &dyn std::error::Error, "an image stays");
        }
    }

    async fn drop_name(&self, reference: &str) {
        if let Err(error) = self.inner.podman.remove_image(reference).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an image keeps the name that it was pulled by"
            );
        }
    }

    /// What is known of all apps, with its age.
    pub fn observed(&self) -> watch::Receiver<Observed> {
        self.inner.bulletin.watch()
    }

    /// Waits for the app's lock: everything that changes an app holds it.
    pub(crate) async fn lock(&self, app: &Slug) -> OwnedMutexGuard<()> {
        self.lock_of(app).lock_owned().await
    }

    /// Takes the app's lock unless somebody is at work on the app.
    pub(crate) fn try_lock(&self, app: &Slug) -> Option<OwnedMutexGuard<()>> {
        self.lock_of(app).try_lock_owned().ok()
    }

    /// Tells whether somebody is at work on any app.
    pub(crate) fn is_at_work(&self) -> bool {
        let locks = self.inner.locks.lock();
        let locks = locks.unwrap_or_else(PoisonError::into_inner);
        locks.values().any(|lock| lock.try_lock().is_err())
    }

    fn lock_of(&self, app: &Slug) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self
            .inner
            .locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(app.clone()).or_default())
    }

    pub(crate) fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self
            .inner
            .memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut memory)
    }

    pub(crate) fn sight<T>(&self, change: impl FnOnce(&mut Sight) -> T) -> T {
        let sight = self.inner.sight.lock();
        change(&mut sight.unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the live unit directories that this node wrote.
    pub(crate) fn live_units(&self) -> std::io::Result<BTreeMap<Slug, BTreeMap<String, String>>> {
        crate::live::read(&self.inner.config.unit_dir, &self.inner.facts.root)
    }
}

#[cfg(test)]
mod tests;
