//! A machine without podman: it notes what is asked of it, does as it is told, and stops answering when told so.

use std::path::PathBuf;
use std::sync::Mutex;

use std::collections::BTreeMap;

use archy_orchestrator::adopt::matching;
use archy_orchestrator::{Earlier, Foreign};
use archy_registry::manifest::Manifest;
use archy_registry::release::{Image, Release};
use archy_registry::{AppId, Slug, Verified};
use archyd::api::problem;
use archyd::api::types::{
    AdoptionInfo, InstanceState, JobPhase, LogLine, MigrationPlan, Problem, Right, RightsDiff,
};
use archyd::judge::Allowed;
use archyd::machine::{
    Change, Compared, Installed, Keeper, Machine, MachineError, Observed, Progress,
};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::bed::sha256;
use crate::shelf::Kept;

/// What the machine does when it is asked to install.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    /// It works.
    Well,
    /// The app never becomes healthy.
    NeverHealthy,
    /// It takes until it is stopped.
    Slow,
    /// It takes an image in and fails.
    LoadFails,
    /// It takes an image in and then takes until it is stopped.
    LoadsSlowly,
}

pub(crate) struct Fake {
    pub(crate) mood: Mutex<Mood>,
    /// Somebody has begun to install, or waits for an image.
    pub(crate) begun: Notify,
    /// Every layer that came in, by digest.
    pub(crate) loaded: Mutex<Vec<(String, Vec<u8>)>>,
    /// Apps and digests of images that came in for an install that is not done.
    pub(crate) images: Mutex<Vec<(Slug, String)>>,
    /// What every newer release changes.
    pub(crate) compared: Mutex<Compared>,
    /// Containers that others made.
    pub(crate) foreign: Mutex<Vec<Foreign>>,
    /// What it has backed up.
    pub(crate) kept: Kept,
    observed: watch::Sender<Observed>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            mood: Mutex::new(Mood::Well),
            begun: Notify::new(),
            loaded: Mutex::default(),
            compared: Mutex::new(Compared {
                rights: RightsDiff {
                    gained: Vec::new(),
                    lost: Vec::new(),
                },
                kept: Vec::new(),
                notices: Vec::new(),
            }),
            images: Mutex::default(),
            foreign: Mutex::default(),
            kept: Kept::default(),
            observed: watch::Sender::new(Observed {
                at: Some(Timestamp::now()),
                ..Observed::default()
            }),
        }
    }

    /// Stops answering for the reason given, or answers again; what it runs stays known.
    pub(crate) fn answers(&self, why_not: Option<&str>) {
        self.observed
            .send_modify(|observed| observed.stale = why_not.map(str::to_owned));
    }

    /// Knows nothing of what an app should be, for the reason given, or loses no app's state.
    pub(crate) fn damages(&self, damaged: Option<(Slug, &str)>) {
        let damaged = damaged.map(|(app, why)| (app, why.to_owned()));
        self.observed
            .send_modify(|observed| observed.damaged = damaged.into_iter().collect());
    }

    /// Returns what it runs.
    pub(crate) fn known(&self) -> Vec<Installed> {
        self.observed.borrow().apps.clone()
    }

    /// Changes what is known of an app.
    pub(crate) fn change_apps(&self, slug: &Slug, mut change: impl FnMut(&mut Installed)) {
        self.observed.send_modify(|observed| {
            let apps = observed.apps.iter_mut();
            apps.filter(|app| app.app.slug == *slug)
                .for_each(&mut change);
        });
    }

    fn set(&self, slug: &Slug, state: InstanceState) -> Result<(), MachineError> {
        let mut found = false;
        self.observed.send_modify(|observed| {
            for app in observed.apps.iter_mut().filter(|app| app.app.slug == *slug) {
                app.state = state;
                found = true;
            }
        });
        assert!(found, "the API looks whether an app is installed");
        Ok(())
    }
}

fn installed(release: &Verified<Release>) -> Installed {
    Installed {
        app: release.app(),
        version: release.manifest.app.version.clone(),
        release: release.hash(),
        state: InstanceState::Running,
        problem: None,
        containers: Vec::new(),
        interfaces: Vec::new(),
        installed: Timestamp::now(),
        data_dir: PathBuf::from("/data"),
        settings: archy_orchestrator::Settings::default(),
        before: None,
        failed: None,
        adoption: None,
    }
}

impl Machine for Fake {
    fn preflight<'a>(
        &'a self,
        release: &'a Verified<Release>,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            match self.observed.borrow().find(&release.manifest.app.id) {
                Some(other) if other.app != release.app() => Err(problem("slugTaken", "taken", "")),
                Some(_) => Err(problem("installed", "installed", "")),
                None => Ok(()),
            }
        })
    }

    fn load_image<'a>(
        &'a self,
        app: &'a Slug,
        image: &'a Image,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            // As podman does: the manifest, then each layer, from the registry that it is pointed to.
            let (host, rest) = reference.split_once('/').unwrap();
            let (repository, digest) = rest.split_once('@').unwrap();
            let (secret, repository) = repository.split_once('/').unwrap();
            let host = host.parse().unwrap();
            let path = format!("/v2/{secret}/{repository}/manifests/{digest}");
            let answer = crate::http::Request::get(&path).send(host).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(sha256(&answer.body).to_string(), digest);
            let manifest: Value = serde_json::from_slice(&answer.body).unwrap();
            let config = image.config.digest.to_string();
            assert_eq!(manifest["config"]["digest"], config, "the image's ID");
            for layer in manifest["layers"].as_array().unwrap() {
                let digest = layer["digest"].as_str().unwrap();
                let path = format!("/v2/{secret}/{repository}/blobs/{digest}");
                let answer = crate::http::Request::get(&path).send(host).await;
                assert_eq!(sha256(&answer.body).to_string(), digest);
                assert_eq!(answer.body.len() as u64, layer["size"]);
                let loaded = (digest.to_owned(), answer.body);
                self.loaded.lock().unwrap().push(loaded);
            }
            let came_in = (app.clone(), image.manifest.digest.to_string());
            self.images.lock().unwrap().push(came_in);
            let mood = *self.mood.lock().unwrap();
            match mood {
                Mood::Well | Mood::NeverHealthy | Mood::Slow => Ok(()),
                Mood::LoadFails => Err(problem("podman", "The disk is full", "")),
                Mood::LoadsSlowly => {
                    self.begun.notify_one();
                    std::future::pending().await
                }
            }
        })
    }

    fn install<'a>(
        &'a self,
        release: &'a Allowed,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            progress(JobPhase::Starting, "Starting".to_owned());
            self.begun.notify_one();
            let mood = *self.mood.lock().unwrap();
            match mood {
                Mood::Well | Mood::LoadFails | Mood::LoadsSlowly => {}
                Mood::NeverHealthy => {
                    return Err(MachineError::Failed {
                        problem: problem("neverHealthy", "It never answered", ""),
                        by_app: true,
                    });
                }
                Mood::Slow => {
                    cancel.cancelled().await;
                    return Err(MachineError::Stopped);
                }
            }
            let app = &release.manifest.app.id;
            self.images.lock().unwrap().retain(|(of, _)| of != app);
            self.observed.send_modify(|observed| {
                observed.apps.push(installed(release));
            });
            Ok(())
        })
    }

    fn preflight_change<'a>(
        &'a self,
        release: &'a Verified<Release>,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            match self.observed.borrow().find(&release.manifest.app.id) {
                Some(_) => Ok(()),
                None => Err(problem("notInstalled", "not installed", "")),
            }
        })
    }

    fn change<'a>(
        &'a self,
        release: &'a Allowed,
        change: &'a Change,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            progress(JobPhase::Copying, "Copying".to_owned());
            self.begun.notify_one();
            let mood = *self.mood.lock().unwrap();
            match mood {
                Mood::Well | Mood::LoadFails | Mood::LoadsSlowly => {}
                Mood::NeverHealthy => {
                    return Err(MachineError::Failed {
                        problem: problem("takenBack", "It never answered", ""),
                        by_app: true,
                    });
                }
                Mood::Slow => {
                    cancel.cancelled().await;
                    return Err(MachineError::Stopped);
                }
            }
            self.observed.send_modify(|observed| {
                let slug = &release.manifest.app.id;
                for app in observed.apps.iter_mut().filter(|app| app.app.slug == *slug) {
                    app.before = Some(Earlier {
                        version: app.version.clone(),
                        release: app.release,
                        has_data: true,
                    });
                    app.version = release.manifest.app.version.clone();
                    app.release = release.hash();
                    if let (Some(adoption), Change::Migrate { .. }) = (&mut app.adoption, change) {
                        adoption.migrated = true;
                    }
                }
            });
            Ok(())
        })
    }

    fn adoptable<'a>(&'a self) -> BoxFuture<'a, Result<Vec<Foreign>, Problem>> {
        Box::pin(async move { Ok(self.foreign.lock().unwrap().clone()) })
    }

    fn claim<'a>(
        &'a self,
        release: &'a Allowed,
        chosen: &'a BTreeMap<Slug, String>,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            let foreign = self.foreign.lock().unwrap().clone();
            let fit = matching(&release.manifest, &foreign, chosen);
            assert_eq!(fit.missing, BTreeMap::new(), "the test has what it claims");
            let containers = fit.fits.into_iter();
            let adoption = AdoptionInfo {
                migrated: false,
                containers: containers
                    .map(|(name, id)| (name.to_string(), id))
                    .collect(),
            };
            self.observed.send_modify(|observed| {
                observed.apps.push(Installed {
                    adoption: Some(adoption),
                    ..installed(release)
                });
            });
            Ok(())
        })
    }

    fn unmigrate<'a>(
        &'a self,
        app: &'a Slug,
        _: Progress<'a>,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            self.change_apps(app, |app| {
                if let Some(adoption) = &mut app.adoption {
                    adoption.migrated = false;
                }
            });
            Ok(())
        })
    }

    fn finish_adoption<'a>(&'a self, app: &'a Slug) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            self.change_apps(app, |app| app.adoption = None);
            Ok(())
        })
    }

    fn migration<'a>(&'a self, app: &'a Slug) -> BoxFuture<'a, Result<MigrationPlan, Problem>> {
        Box::pin(async move {
            Ok(MigrationPlan {
                slug: app.to_string(),
                version: "1.0.0".to_owned(),
                items: Vec::new(),
            })
        })
    }

    fn start<'a>(
        &'a self,
        app: &'a Slug,
        _: Progress<'a>,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move { self.set(app, InstanceState::Running) })
    }

    fn stop<'a>(
        &'a self,
        app: &'a Slug,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move { self.set(app, InstanceState::Stopped) })
    }

    fn restart<'a>(
        &'a self,
        app: &'a Slug,
        _: Progress<'a>,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move { self.set(app, InstanceState::Running) })
    }

    fn remove<'a>(
        &'a self,
        app: &'a Slug,
        _: bool,
        _: Progress<'a>,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            self.observed
                .send_modify(|observed| observed.apps.retain(|known| known.app.slug != *app));
            Ok(())
        })
    }

    fn drop_images<'a>(&'a self, app: &'a Slug) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.images.lock().unwrap().retain(|(of, _)| of != app) })
    }

    fn keeper(&self) -> Option<&dyn Keeper> {
        Some(self)
    }

    fn kept(&self) -> Vec<AppId> {
        Vec::new()
    }

    fn observed(&self) -> watch::Receiver<Observed> {
        self.observed.subscribe()
    }

    fn logs<'a>(
        &'a self,
        _: &'a Slug,
        _: Option<&'a Slug>,
        _: u32,
    ) -> BoxFuture<'a, Result<Vec<LogLine>, Problem>> {
        Box::pin(async move { Ok(Vec::new()) })
    }

    fn rights(&self, _: &Manifest) -> Vec<Right> {
        Vec::new()
    }

    fn compare(&self, release: &Verified<Release>) -> Result<Option<Compared>, Problem> {
        let app = &release.manifest.app.id;
        if self.observed.borrow().find(app).is_none() {
            return Ok(None);
        }
        Ok(Some(self.compared.lock().unwrap().clone()))
    }

    fn disk_free_bytes(&self) -> Option<u64> {
        None
    }
}
