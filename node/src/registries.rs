//! The owner's registries: where this node looks for apps besides what it hears, and for images that nobody in
//! the swarm has.
//!
//! A registry can bring apps, delay or leave them out. Whether a release is its publisher's is decided by the
//! same checks as for announcements, so that no registry can replace what another publisher signed. All of this
//! happens in the background; a registry that is down or lies costs the others nothing.

mod admit;
mod body;
mod https;
mod layout;
mod list;
mod location;
mod oci;
mod source;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use archy_registry::key_state::KeyHistory;
use archy_registry::release::{Endpoint, Platform, Release};
use archy_registry::{Did, Store};
use archy_swarm::{Swarm, Tag};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::api::types::{
    AppRef, CatalogInfo, Event, OciRegistryInfo, Problem, RefusedRelease, RegistryAddParams,
    RegistryInfo, RegistryList, RegistryMoveParams, RegistryRemoveParams, RegistryTest,
    RegistryTestParams,
};
use crate::api::{not_found, problem};
use crate::components::{Components, State};
use crate::follow::Follow;
use crate::problem as explain;
use crate::slot::Slot;

use list::{ChangeError, Lists, Registry, Taken};
use location::Location;
use oci::{OciPlace, OciRegistry};
use source::{Found, Sources};

/// Usual time for which a catalog is not asked for again, in seconds.
const TTL_SECONDS: u32 = 3600;
/// Shortest and longest such time, in seconds.
const TTL_SECONDS_RANGE: std::ops::RangeInclusive<u32> = 60..=7 * 24 * 3600;
/// First wait after a failure, in seconds; doubles up to the TTL.
const RETRY_FIRST_S: u32 = 60;
/// Registries asked at the same time.
const PARALLEL: usize = 4;
/// Time for a catalog in the background.
const FETCH_TIME_MAX: Duration = Duration::from_secs(600);
/// Time for a catalog while a person waits; below the API's own limit.
const ASK_TIME_MAX: Duration = Duration::from_secs(45);
/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Refused releases that `registry.test` lists.
const REFUSED_LISTED: usize = 100;
/// The name under which releases in the folder are listed; no registry can have it.
const FOLDER: &str = "manifests/";
/// The part of the daemon that this is.
const COMPONENT: &str = "registries";

/// Where the registries' files are, and whom they may ask.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The two lists.
    pub file: PathBuf,
    /// Signed releases on this machine.
    pub folder: PathBuf,
    /// For images on their way.
    pub work_dir: PathBuf,
    /// Certificates of the owner's own authority, PEM.
    pub authority: Option<PathBuf>,
    /// Nodes to ask for blobs, besides those on the LAN.
    pub peers: Vec<Endpoint>,
}

/// The owner's registries.
pub struct Registries {
    settings: Settings,
    lists: Mutex<Lists>,
    /// Why the file could not be read; nothing is written over it then.
    broken: Option<Problem>,
    sources: Result<Sources, Problem>,
    store: Store,
    follow: Arc<Follow>,
    components: Components,
    changed: Notify,
}

impl Registries {
    /// Reads the lists. What cannot be read is shown as the part's last error; the daemon runs without.
    pub fn open(
        settings: Settings,
        store: Store,
        follow: Arc<Follow>,
        swarm: Slot<Swarm>,
        components: Components,
    ) -> Self {
        let (lists, broken) = match Lists::load(&settings.file) {
            Ok(lists) => (lists, None),
            Err(error) => {
                components.fail(COMPONENT, State::Degraded, &error);
                let hint = "Mend the file, or move it away, then restart archyd";
                let mut broken = problem("registriesFile", error.to_string(), hint);
                broken.details = explain::causes(&error);
                (Lists::default(), Some(broken))
            }
        };
        let sources = Sources::new(&settings, swarm).map_err(|error| {
            components.fail(COMPONENT, State::Degraded, &error);
            let hint =
                "Set registries.authority to a file of PEM certificates, then restart archyd";
            let mut broken = problem("certificates", error.to_string(), hint);
            broken.details = explain::causes(&error);
            broken
        });
        if broken.is_none() && sources.is_ok() {
            components.set(COMPONENT, State::Running);
        }
        Self {
            settings,
            lists: Mutex::new(lists),
            broken,
            sources,
            store,
            follow,
            components,
            changed: Notify::new(),
        }
    }

    /// Asks registries that are due and looks at files, until stopped.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut folder_seen = Vec::new();
        loop {
            let now = Timestamp::now();
            let due: Vec<Registry> = self
                .lock()
                .registries
                .iter()
                .filter(|entry| entry.due(RETRY_FIRST_S) <= now || source::has_changed(entry))
                .cloned()
                .collect();
            let refreshing = futures_util::stream::iter(due)
                .for_each_concurrent(PARALLEL, |entry| self.refresh(entry, stop));
            tokio::select! {
                () = stop.cancelled() => return,
                () = refreshing => {}
            }
            self.look_at_folder(&mut folder_seen).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Asks one registry and notes what came of it.
    async fn refresh(&self, entry: Registry, stop: &CancellationToken) {
        let now = Timestamp::now();
        let outcome = self.take(&entry, now, stop).await;
        let mut lists = self.lock();
        let same = |known: &&mut Registry| {
            (&known.name, &known.url, known.operator) == (&entry.name, &entry.url, entry.operator)
        };
        let Some(known) = lists.registries.iter_mut().find(same) else {
            // It was removed meanwhile.
            return;
        };
        known.last_try = Some(now);
        match outcome {
            Ok(new) => {
                known.last_fetch = Some(now);
                known.failures = 0;
                known.last_error = None;
                if let Some((etag, taken)) = new {
                    tracing::info!(registry = %entry.name, seq = taken.seq, releases = taken.releases, refused = taken.refused, "took a catalog");
                    known.etag = etag;
                    known.catalog = Some(taken);
                }
            }
            Err(refusal) => {
                tracing::warn!(registry = %entry.name, kind = %refusal.kind, details = ?refusal.details, "could not take a catalog: {}", refusal.message);
                known.failures = known.failures.saturating_add(1);
                known.last_error = Some(refusal);
            }
        }
        if let Err(error) = lists.save(&self.settings.file) {
            self.components.fail(COMPONENT, State::Degraded, &error);
        }
        drop(lists);
        self.follow.hub().send(Event::Catalog);
    }

    /// Fetches, verifies and admits a registry's catalog; `None` when nothing is new.
    async fn take(
        &self,
        entry: &Registry,
        now: Timestamp,
        stop: &CancellationToken,
    ) -> Result<Option<(Option<String>, Taken)>, Problem> {
        let registry = entry.name.as_str();
        let listed = self.store.listed_apps(registry).await;
        let listed = listed.map_err(|error| explain::of_store(&error))?;
        // What was refused may be acceptable by now, and what is not in the store must come again.
        let known = entry
            .catalog
            .as_ref()
            .filter(|taken| taken.refused == 0 && (listed > 0 || taken.releases == 0));
        let etag = known.and(entry.etag.as_deref());
        let found = self
            .sources()?
            .find(&entry.url, etag, FETCH_TIME_MAX, stop)
            .await?;
        let Found::New { bytes, etag } = found else {
            return Ok(None);
        };
        let keys = self.operator_keys(&entry.operator).await?;
        let catalog = admit::verify(bytes, keys, now).await?;
        let (taken, brought) =
            admit::admit(&self.store, &self.follow, registry, &catalog, now).await?;
        for (app, refusal) in &brought.refused {
            tracing::info!(registry, %app, kind = %refusal.kind, details = ?refusal.details, "refused a listed release: {}", refusal.message);
        }
        Ok(Some((etag, taken)))
    }

    async fn operator_keys(&self, operator: &Did) -> Result<Arc<KeyHistory>, Problem> {
        let keys = self.store.key_history(operator).await;
        keys.map_err(|error| explain::of_store(&error))
    }

    async fn look_at_folder(&self, seen: &mut Vec<(PathBuf, std::time::SystemTime)>) {
        let dir = self.settings.folder.clone();
        let read = tokio::task::spawn_blocking(move || admit::read_folder(&dir)).await;
        let files = match read {
            Ok(Ok(files)) => files,
            Ok(Err(error)) => {
                self.components.fail(COMPONENT, State::Degraded, &error);
                return;
            }
            Err(_) => return,
        };
        let now_seen: Vec<_> = files
            .iter()
            .map(|(path, modified, _)| (path.clone(), *modified))
            .collect();
        if now_seen == *seen {
            return;
        }
        let files: Vec<_> = files
            .into_iter()
            .map(|(path, _, bytes)| (path, bytes))
            .collect();
        let now = Timestamp::now();
        match admit::admit_folder(&self.store, &self.follow, FOLDER, &files, now).await {
            Ok(_) => *seen = now_seen,
            Err(refusal) => {
                tracing::warn!(details = ?refusal.details, "could not take the releases on disk: {}", refusal.message);
            }
        }
    }

    /// Lists both.
    pub fn list(&self) -> RegistryList {
        let now = Timestamp::now();
        let lists = self.lock();
        RegistryList {
            registries: lists
                .registries
                .iter()
                .map(|entry| registry_info(entry, now))
                .collect(),
            oci: lists
                .oci
                .iter()
                .map(|entry| OciRegistryInfo {
                    name: entry.name.to_string(),
                    place: entry.place.to_string(),
                    credentials: entry.credentials_file.is_some(),
                })
                .collect(),
        }
    }

    /// Adds a registry and pins its operator.
    ///
    /// # Errors
    ///
    /// When the parameters make no sense, or the operator is not named and cannot be learnt.
    pub async fn add(&self, params: RegistryAddParams) -> Result<RegistryList, Problem> {
        if params.oci {
            return self.add_oci(params);
        }
        if params.credentials_file.is_some() {
            return Err(invalid("credentials are for registries of images"));
        }
        let url: Location = params.url.parse().map_err(|error| invalid_error(&error))?;
        let name = match &params.name {
            Some(name) => name
                .parse()
                .map_err(|error: archy_registry::id::IdError| invalid_error(&error))?,
            None => url.name(),
        };
        let ttl_seconds = params.ttl_seconds.unwrap_or(TTL_SECONDS);
        if !TTL_SECONDS_RANGE.contains(&ttl_seconds) {
            return Err(invalid("ttlSeconds must be from 60 to 604800"));
        }
        let operator = match &params.operator {
            Some(did) => did
                .parse()
                .map_err(|error: archy_registry::did::DidError| invalid_error(&error))?,
            None => self.learn_operator(&url).await?,
        };
        let entry = Registry {
            name,
            url,
            operator,
            ttl_seconds,
            last_try: None,
            last_fetch: None,
            failures: 0,
            last_error: None,
            etag: None,
            catalog: None,
        };
        self.change(|lists| list::add(&mut lists.registries, entry, params.position))
    }

    fn add_oci(&self, params: RegistryAddParams) -> Result<RegistryList, Problem> {
        if params.operator.is_some() || params.ttl_seconds.is_some() {
            return Err(invalid("operator and TTL are for registries of apps"));
        }
        let place: OciPlace = params.url.parse().map_err(|error| invalid_error(&error))?;
        if matches!(place, OciPlace::Layout(_)) && params.credentials_file.is_some() {
            return Err(invalid("a folder of images needs no credentials"));
        }
        let name = match &params.name {
            Some(name) => name
                .parse()
                .map_err(|error: archy_registry::id::IdError| invalid_error(&error))?,
            None => location::slug(&place.to_string()),
        };
        let credentials_file = params.credentials_file.map(PathBuf::from);
        if let Some(path) = &credentials_file {
            if !path.is_absolute() {
                return Err(invalid("credentialsFile must be an absolute path"));
            }
            oci::login(path).map_err(|error| oci::of_credentials(&error))?;
        }
        let entry = OciRegistry {
            name,
            place,
            credentials_file,
        };
        self.change(|lists| list::add(&mut lists.oci, entry, params.position))
    }

    /// Fetches a catalog once to see who signs it.
    async fn learn_operator(&self, url: &Location) -> Result<Did, Problem> {
        let bytes = self.ask(url).await.map_err(|mut refusal| {
            let hint = "Name the operator's DID to add the registry before it answers";
            refusal.details.push(hint.to_owned());
            refusal
        })?;
        let operator = admit::operator(&bytes).await?;
        let keys = self.operator_keys(&operator).await?;
        admit::verify(bytes, keys, Timestamp::now()).await?;
        Ok(operator)
    }

    /// Removes a registry; its apps stay known.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub async fn remove(&self, params: RegistryRemoveParams) -> Result<RegistryList, Problem> {
        if params.oci {
            return self.change(|lists| list::remove(&mut lists.oci, &params.name).map(|_| ()));
        }
        let left =
            self.change(|lists| list::remove(&mut lists.registries, &params.name).map(|_| ()))?;
        self.store
            .withdraw_listings(&params.name, None)
            .await
            .map_err(|error| explain::of_store(&error))?;
        self.follow.catalog_changed();
        Ok(left)
    }

    /// Gives a registry another place in its list.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn move_to(&self, params: &RegistryMoveParams) -> Result<RegistryList, Problem> {
        self.change(|lists| {
            if params.oci {
                list::move_to(&mut lists.oci, &params.name, params.position)
            } else {
                list::move_to(&mut lists.registries, &params.name, params.position)
            }
        })
    }

    /// Says what a registry would bring, without changing anything.
    ///
    /// # Errors
    ///
    /// When the parameters name nothing that could be asked.
    pub async fn test(&self, params: RegistryTestParams) -> Result<RegistryTest, Problem> {
        if params.oci {
            return self.test_oci(&params).await;
        }
        let (url, pinned) = match (&params.name, &params.url) {
            (Some(name), None) => {
                let lists = self.lock();
                let at = list::find(&lists.registries, name).map_err(|error| of_change(&error))?;
                let entry = &lists.registries[at];
                (entry.url.clone(), Some(entry.operator))
            }
            (None, Some(url)) => (url.parse().map_err(|error| invalid_error(&error))?, None),
            (Some(_), Some(_)) | (None, None) => {
                return Err(invalid("name either a registry of the list or a location"));
            }
        };
        let mut test = RegistryTest {
            operator: None,
            catalog: None,
            refused: Vec::new(),
            problem: None,
        };
        if let Err(refusal) = self.judge(&url, pinned, &mut test).await {
            test.problem = Some(refusal);
        }
        Ok(test)
    }

    async fn judge(
        &self,
        url: &Location,
        pinned: Option<Did>,
        test: &mut RegistryTest,
    ) -> Result<(), Problem> {
        let now = Timestamp::now();
        let bytes = self.ask(url).await?;
        let signed_by = admit::operator(&bytes).await?;
        test.operator = Some(signed_by.to_string());
        let keys = self.operator_keys(&pinned.unwrap_or(signed_by)).await?;
        let catalog = admit::verify(bytes, keys, now).await?;
        let refused = admit::judge(&self.store, &catalog, now).await?;
        test.catalog = Some(catalog_info(&admit::taken(&catalog, refused.len()), now));
        test.refused = refused
            .into_iter()
            .take(REFUSED_LISTED)
            .map(|(app, problem)| RefusedRelease {
                app: AppRef {
                    publisher: app.publisher.to_string(),
                    slug: app.slug.to_string(),
                },
                problem,
            })
            .collect();
        Ok(())
    }

    /// A registry of images is sound when its credentials are; whether it has an image shows when one is needed.
    async fn test_oci(&self, params: &RegistryTestParams) -> Result<RegistryTest, Problem> {
        let entry = {
            let lists = self.lock();
            match (&params.name, &params.url) {
                (Some(name), None) => {
                    let at = list::find(&lists.oci, name).map_err(|error| of_change(&error))?;
                    lists.oci[at].clone()
                }
                (None, Some(place)) => OciRegistry {
                    name: location::slug(place),
                    place: place.parse().map_err(|error| invalid_error(&error))?,
                    credentials_file: None,
                },
                (Some(_), Some(_)) | (None, None) => {
                    return Err(invalid("name either a registry of the list or a place"));
                }
            }
        };
        let problem = oci::test(&entry, ASK_TIME_MAX).await.err();
        Ok(RegistryTest {
            operator: None,
            catalog: None,
            refused: Vec::new(),
            problem,
        })
    }

    /// Fetches a catalog while a person waits.
    async fn ask(&self, url: &Location) -> Result<Vec<u8>, Problem> {
        let never = CancellationToken::new();
        let found = self.sources()?.find(url, None, ASK_TIME_MAX, &never);
        match tokio::time::timeout(ASK_TIME_MAX, found).await {
            Ok(Ok(Found::New { bytes, .. })) => Ok(bytes),
            Ok(Ok(Found::Unchanged)) => {
                Err(problem("unreachable", "The registry sent nothing", ""))
            }
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(problem(
                "unreachable",
                "The registry did not answer in time",
                "Try again later",
            )),
        }
    }

    /// Takes the images of a release that the swarm could not provide from the owner's registries and folders of images,
    /// in order; returns why each that was asked did not have one.
    ///
    /// # Errors
    ///
    /// The reasons, one per registry and image, when an image was found nowhere. None when there is no list.
    pub async fn pull_images(
        &self,
        release: &Release,
        platform: &Platform,
        swarm: &Swarm,
        tag: &Tag,
        cancel: &CancellationToken,
    ) -> Result<(), Vec<String>> {
        let registries = self.lock().oci.clone();
        if !registries.is_empty()
            && let Err(error) = tokio::fs::create_dir_all(&self.settings.work_dir).await
        {
            let dir = self.settings.work_dir.display();
            return Err(vec![format!("cannot make {dir}: {error}")]);
        }
        for image in release
            .images
            .iter()
            .filter(|image| image.platform == *platform)
        {
            if all_here(swarm, image).await {
                continue;
            }
            let sources = oci::container(release, image)
                .map(|container| oci::sources(&registries, container, &image.manifest.digest))
                .unwrap_or_default();
            let mut reasons = Vec::new();
            let mut taken = false;
            for source in sources {
                let pulling = oci::pull(&source, image, swarm, tag, &self.settings.work_dir);
                let pulled = tokio::select! {
                    () = cancel.cancelled() => return Err(reasons),
                    pulled = pulling => pulled,
                };
                match pulled {
                    Ok(()) => {
                        tracing::info!(registry = %source.registry, image = %image.manifest.digest, "took an image from a registry of images");
                        taken = true;
                        break;
                    }
                    Err(error) => {
                        let text = explain::causes(&error).join(": ");
                        reasons.push(format!("registry {}: {text}", source.registry));
                    }
                }
            }
            if !taken {
                return Err(reasons);
            }
        }
        Ok(())
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Lists) -> Result<(), ChangeError>,
    ) -> Result<RegistryList, Problem> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        {
            let mut lists = self.lock();
            let mut changed = lists.clone();
            change(&mut changed).map_err(|error| of_change(&error))?;
            changed
                .save(&self.settings.file)
                .map_err(|error| explain::internal("keep the list of registries", &error))?;
            *lists = changed;
        }
        self.changed.notify_one();
        Ok(self.list())
    }

    fn sources(&self) -> Result<&Sources, Problem> {
        self.sources.as_ref().map_err(Clone::clone)
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

async fn all_here(swarm: &Swarm, image: &archy_registry::release::Image) -> bool {
    for blob in image.descriptors() {
        if !swarm.has(blob.blake3).await.unwrap_or(false) {
            return false;
        }
    }
    true
}

fn registry_info(entry: &Registry, now: Timestamp) -> RegistryInfo {
    let text = |date: &Option<Timestamp>| date.map(|date| date.to_string());
    RegistryInfo {
        name: entry.name.to_string(),
        url: entry.url.to_string(),
        operator: entry.operator.to_string(),
        ttl_seconds: entry.ttl_seconds,
        last_try: text(&entry.last_try),
        last_fetch: text(&entry.last_fetch),
        last_error: entry.last_error.clone(),
        catalog: entry.catalog.as_ref().map(|taken| catalog_info(taken, now)),
    }
}

fn catalog_info(taken: &Taken, now: Timestamp) -> CatalogInfo {
    CatalogInfo {
        name: taken.name.clone(),
        seq: taken.seq,
        created: taken.created.to_string(),
        expires: taken.expires.to_string(),
        stale: taken.expires <= now,
        releases: taken.releases,
        refused: taken.refused,
    }
}

fn of_change(error: &ChangeError) -> Problem {
    match error {
        ChangeError::Unknown(_) => not_found(error.to_string(), "`archy registry list` shows them"),
        ChangeError::Taken(_) => problem("taken", error.to_string(), "Give it another name"),
        ChangeError::Twice(..) | ChangeError::Full => problem("taken", error.to_string(), ""),
    }
}

fn invalid(text: &str) -> Problem {
    problem("invalid", text, "")
}

fn invalid_error(error: &dyn std::error::Error) -> Problem {
    problem("invalid", error.to_string(), "")
}
