//! Fetches what the catalog names: releases first, then icons and screenshots.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use archy_registry::announcement::Announcement;
use archy_registry::release::{self, Release};
use archy_registry::store::{CATALOG_LIMIT_MAX, CatalogEntry, CatalogQuery};
use archy_registry::{AppId, Blake3Hash, Verified};
use archy_swarm::{Class, FetchRequest, Role, Swarm, Tag, Wanted};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Follow;
use crate::api::types::{Event, Problem, RightWeight};
use crate::problem as explain;

/// Releases fetched at the same time.
const PARALLEL: usize = 4;
/// First wait after a failure; doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// Longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(10 * 60);
/// Largest icon or screenshot that is fetched unasked, in bytes.
const ASSET_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// When something that failed is tried again.
#[derive(Clone, Copy)]
struct Retry {
    failures: u32,
    at: Instant,
}

impl Follow {
    /// Keeps fetching what the catalog names and this node lacks.
    pub async fn fetch_missing(self: &Arc<Self>, stop: &CancellationToken) {
        let swarm = tokio::select! {
            () = stop.cancelled() => return,
            swarm = self.swarm.ready() => swarm,
        };
        let mut running = JoinSet::new();
        let mut busy = HashSet::new();
        let mut retries: HashMap<AppId, Retry> = HashMap::new();
        // Pictures are tried once per start and release; they are worth no more.
        let mut pictured = HashSet::new();
        loop {
            let now = Instant::now();
            match self.missing(&mut pictured).await {
                Ok(missing) => {
                    for entry in missing {
                        let app = entry.app();
                        let due = retries.get(&app).is_none_or(|retry| retry.at <= now);
                        if running.len() >= PARALLEL || !due || !busy.insert(app.clone()) {
                            continue;
                        }
                        let (follow, swarm, stop) = (Arc::clone(self), swarm.clone(), stop.clone());
                        running.spawn(async move {
                            let fetched = follow.complete(&swarm, &entry, &stop).await;
                            (app, entry.announcement.release.blake3, fetched)
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(details = ?error.details, "could not read the catalog");
                }
            }
            let next = retries
                .iter()
                .filter(|(app, _)| !busy.contains(*app))
                .map(|(_, retry)| retry.at)
                .filter(|at| *at > now)
                .min()
                .unwrap_or(now + RETRY_MAX);
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wanted.notified() => {}
                () = tokio::time::sleep_until(next) => {}
                Some(done) = running.join_next() => {
                    let Ok((app, release, fetched)) = done else {
                        continue;
                    };
                    busy.remove(&app);
                    match fetched {
                        Ok(()) => {
                            retries.remove(&app);
                            self.hub.send(Event::Catalog);
                        }
                        Err(problem) => {
                            let failures = retries.get(&app).map_or(0, |retry| retry.failures) + 1;
                            let wait = (RETRY_FIRST * 2_u32.saturating_pow(failures.min(16) - 1)).min(RETRY_MAX);
                            tracing::info!(
                                %app, release.hash = %release, kind = %problem.kind, details = ?problem.details,
                                retry_s = wait.as_secs(), "could not get a release: {}", problem.message
                            );
                            retries.insert(app, Retry { failures, at: Instant::now() + wait });
                            // A page that is open shows why.
                            self.hub.send(Event::Catalog);
                        }
                    }
                }
            }
        }
        running.shutdown().await;
    }

    /// Lists what is missing; entries whose release is bad for good are left out.
    async fn missing(
        &self,
        pictured: &mut HashSet<Blake3Hash>,
    ) -> Result<Vec<CatalogEntry>, Problem> {
        let mut missing = Vec::new();
        let mut query = CatalogQuery {
            limit: CATALOG_LIMIT_MAX,
            ..CatalogQuery::default()
        };
        loop {
            let page = self
                .store
                .catalog(&query, Timestamp::now())
                .await
                .map_err(|error| explain::of_store(&error))?;
            query.offset += CATALOG_LIMIT_MAX;
            let last = query.offset >= page.total;
            for entry in page.entries {
                let hash = entry.announcement.release.blake3;
                let lacks_pictures = match &entry.release {
                    Some(release) => {
                        self.index(&entry.announcement, Some(release));
                        pictured.insert(hash)
                    }
                    None => entry.standing.is_acceptable() && self.is_bad(&hash).is_none(),
                };
                if lacks_pictures {
                    missing.push(entry);
                }
            }
            if last {
                return Ok(missing);
            }
        }
    }

    /// Gets an entry's release and pictures.
    async fn complete(
        &self,
        swarm: &Swarm,
        entry: &CatalogEntry,
        stop: &CancellationToken,
    ) -> Result<(), Problem> {
        let release = match &entry.release {
            Some(release) => {
                // Worked out again once per start: the machine may not have been up when the release came.
                self.note_rights(release).await?;
                release.clone()
            }
            None => self.fetch_release(swarm, &entry.announcement, stop).await?,
        };
        self.index(&entry.announcement, Some(&release));
        let pictures: Vec<Wanted> = release
            .icon
            .iter()
            .chain(&release.screenshots)
            .filter(|asset| asset.size_bytes <= ASSET_BYTES_MAX)
            .map(|asset| Wanted {
                blake3: asset.blake3,
                size_bytes: asset.size_bytes,
                role: Role::Entry,
            })
            .collect();
        if pictures.is_empty() {
            return Ok(());
        }
        let request = FetchRequest {
            tag: catalog_tag(&entry.announcement),
            class: Class::Cache,
            blobs: pictures,
            origin: entry.announcement.origin.endpoints.clone(),
            peers: Vec::new(),
            share: true,
        };
        let finder = self.seekers.finder(entry.announcement.release.blake3);
        let fetch = swarm.fetch_finding(request, finder, stop);
        if let Err(error) = fetch.finish().await {
            tracing::info!(app = %entry.app(), error = %error, "an app stays without its pictures for now");
        }
        Ok(())
    }

    /// Fetches the release that an announcement names, verifies it and keeps it.
    ///
    /// # Errors
    ///
    /// Says which check failed.
    pub async fn fetch_release(
        &self,
        swarm: &Swarm,
        announcement: &Verified<Announcement>,
        cancel: &CancellationToken,
    ) -> Result<Verified<Release>, Problem> {
        let reference = announcement.release;
        if let Some(bad) = self.is_bad(&reference.blake3) {
            return Err(bad);
        }
        let tag = catalog_tag(announcement);
        let request = FetchRequest {
            tag: tag.clone(),
            class: Class::Cache,
            blobs: vec![Wanted {
                blake3: reference.blake3,
                size_bytes: reference.size_bytes,
                role: Role::Entry,
            }],
            origin: announcement.origin.endpoints.clone(),
            peers: Vec::new(),
            share: true,
        };
        let finder = self.seekers.finder(reference.blake3);
        swarm
            .fetch_finding(request, finder, cancel)
            .finish()
            .await
            .map_err(|error| explain::of_fetch(&error))?;
        let bytes = swarm
            .read(reference.blake3, release::SIZE_BYTES_MAX as u64)
            .await
            .map_err(|error| explain::internal("read the release", &error))?;
        match self.accept(announcement, &bytes).await {
            Ok(release) => {
                self.withdraw_others(swarm, announcement).await;
                tracing::info!(app = %release.app(), seq = release.seq, release.hash = %release.hash(), "verified a release");
                Ok(release)
            }
            Err(problem) => {
                if problem.kind != "internal" {
                    self.lock_bad().insert(reference.blake3, problem.clone());
                    if let Err(error) = swarm.withdraw(&tag).await {
                        tracing::warn!(%error, "could not throw a bad release away");
                    }
                }
                Err(problem)
            }
        }
    }

    async fn accept(
        &self,
        announcement: &Verified<Announcement>,
        bytes: &[u8],
    ) -> Result<Verified<Release>, Problem> {
        let now = Timestamp::now();
        let keys = self
            .store
            .key_history(&announcement.publisher)
            .await
            .map_err(|error| explain::of_store(&error))?;
        let announced = self
            .store
            .release_first_announced(&announcement.release.blake3)
            .await
            .map_err(|error| explain::of_store(&error))?;
        let (release, _) = release::verify_seen(bytes, &keys, announced, now)
            .map_err(|error| explain::of_release(&error))?;
        announcement
            .names(&release)
            .map_err(|error| explain::of_mismatch(&error))?;
        self.store
            .admit_release(&release, bytes, now)
            .await
            .map_err(|error| explain::of_store(&error))?;
        self.note_rights(&release).await?;
        Ok(release)
    }

    /// Notes which rights a release needs beyond what every app has, so that searches can leave it out.
    async fn note_rights(&self, release: &Release) -> Result<(), Problem> {
        let Some(machine) = self.machine.now() else {
            return Ok(());
        };
        let rights = machine.rights(&release.manifest);
        let kinds: Vec<String> = rights
            .into_iter()
            .filter(|right| right.weight != RightWeight::Usual)
            .map(|right| right.kind)
            .collect();
        self.store
            .set_app_rights(&release.app(), &kinds)
            .await
            .map_err(|error| explain::of_store(&error))
    }

    /// Lets earlier releases of the app go, unless something else holds them.
    async fn withdraw_others(&self, swarm: &Swarm, announcement: &Verified<Announcement>) {
        let keep = catalog_tag(announcement);
        let prefix = format!("catalog/{}/", announcement.app());
        let old = swarm
            .tags()
            .into_iter()
            .map(|usage| usage.tag)
            .filter(|tag| tag.as_str().starts_with(&prefix) && *tag != keep);
        for tag in old {
            if let Err(error) = swarm.withdraw(&tag).await {
                tracing::warn!(%tag, %error, "could not let an old release go");
            }
        }
    }

    fn index(&self, announcement: &Announcement, release: Option<&Verified<Release>>) {
        let mut assets = self
            .assets
            .lock()
            .expect("nothing panics while it holds the lock");
        let pictures = release
            .into_iter()
            .flat_map(|release| release.icon.iter().chain(&release.screenshots));
        for asset in announcement.card.icon.iter().chain(pictures) {
            assets.insert(asset.blake3, asset.clone());
        }
    }
}

/// Holds what the shop window needs: the release and its pictures.
fn catalog_tag(announcement: &Announcement) -> Tag {
    format!("catalog/{}/{}", announcement.app(), announcement.seq)
        .parse()
        .expect("a DID, a slug and a number make a tag")
}
