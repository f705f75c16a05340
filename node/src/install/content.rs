//! An app's bytes: fetched, held with what names them, handed to podman, and let go.

use std::sync::atomic::{AtomicBool, Ordering};

use archy_registry::release::{Image, Release};
use archy_registry::{AppId, Slug, Verified};
use archy_swarm::image::Variant;
use archy_swarm::oci_endpoint::OciEndpoint;
use archy_swarm::{Class, FetchError, FetchRequest, Role, Swarm, Tag, Wanted};

use super::layers::Variants;
use super::{Installer, Stop, stop_if_asked, transfer};
use crate::api::problem;
use crate::api::types::{JobPhase, Problem};
use crate::jobs::Context;
use crate::machine::Machine;
use crate::problem as explain;

/// Kind of a problem with what the publisher signed.
const CONTENT: &str = "content";

impl Installer {
    /// Brings an app's images into podman as they are signed: it unpacks one part while the next still arrives.
    pub(super) async fn bring_whole(
        &self,
        context: &Context,
        swarm: &Swarm,
        machine: &dyn Machine,
        release: &Verified<Release>,
    ) -> Result<(), Stop> {
        let (is_shown, signed) = (AtomicBool::new(false), Variants::new());
        let load = || self.load(context, swarm, machine, release, &signed, &is_shown);
        let mut loading = std::pin::pin!(load());
        let mut fetching = std::pin::pin!(self.fetch_or_pull(context, swarm, release));
        let early = tokio::select! {
            fetched = &mut fetching => {
                fetched?;
                None
            }
            early = &mut loading => {
                // What is wrong with an image stays wrong when more of it arrives.
                if matches!(&early, Err(Stop::Failed { problem, .. }) if problem.kind == CONTENT) {
                    return early;
                }
                fetching.await?;
                Some(early)
            }
        };
        context.enter(JobPhase::Loading, "Unpacking").await;
        is_shown.store(true, Ordering::Relaxed);
        match early {
            Some(Ok(())) => Ok(()),
            None => loading.await,
            // Whatever it did not get while bytes were still arriving is here now.
            Some(Err(Stop::Failed { problem, .. })) => {
                tracing::info!(app = %release.app(), kind = %problem.kind, "unpacking again, now that all is here");
                load().await
            }
            Some(Err(Stop::Asked)) => Err(Stop::Asked),
        }
    }

    /// Fetches from the swarm and the origin; what they lack, from the owner's registries of images.
    async fn fetch_or_pull(
        &self,
        context: &Context,
        swarm: &Swarm,
        release: &Verified<Release>,
    ) -> Result<(), Stop> {
        let mut problem = match self.fetch_whole(context, swarm, release).await {
            Err(Stop::Failed { problem, .. }) if problem.kind == "noProvider" => problem,
            fetched => return fetched,
        };
        context
            .enter(
                JobPhase::Fetching,
                "No node has the app; asking your registries of images",
            )
            .await;
        let tag = app_tag(release);
        let pulled = self
            .registries
            .pull_images(release, &self.platform, swarm, &tag, context.token())
            .await;
        match pulled {
            // All of it is here now, so this asks nobody; it checks that nothing is missing.
            Ok(()) => self.fetch_whole(context, swarm, release).await,
            Err(_) if context.token().is_cancelled() => Err(Stop::Asked),
            Err(reasons) => {
                problem.details.extend(reasons);
                Err(problem.into())
            }
        }
    }

    async fn fetch_whole(
        &self,
        context: &Context,
        swarm: &Swarm,
        release: &Verified<Release>,
    ) -> Result<(), Stop> {
        context
            .enter(JobPhase::Fetching, "Looking for nodes that have the app")
            .await;
        let images = release.blobs(&self.platform).map(Wanted::from);
        self.fetch(context, swarm, release, images.collect(), 0)
            .await
    }

    /// Fetches some blobs of an app; `spared_bytes` of it are made of what is here.
    pub(super) async fn fetch(
        &self,
        context: &Context,
        swarm: &Swarm,
        release: &Verified<Release>,
        blobs: Vec<Wanted>,
        spared_bytes: u64,
    ) -> Result<(), Stop> {
        let request = FetchRequest {
            tag: app_tag(release),
            // Until it is installed.
            class: Class::Cache,
            blobs,
            origin: release.origin.endpoints.clone(),
            peers: Vec::new(),
            share: true,
        };
        let finder = self.seekers.finder(release.hash());
        swarm.join_topic(&request.tag, &release.app().to_string());
        let fetch = swarm.fetch_finding(request, finder, context.token());
        let mut progress = fetch.progress();
        let reporting = async {
            while progress.changed().await.is_ok() {
                let (fraction, message, transfer) =
                    transfer::describe(&progress.borrow_and_update(), spared_bytes);
                context.progress(fraction, Some(message), Some(transfer));
            }
            std::future::pending::<()>().await;
        };
        let fetched = tokio::select! {
            fetched = fetch.finish() => fetched,
            () = reporting => return Err(Stop::Asked),
        };
        match fetched {
            Ok(fetched) => {
                let (message, transfer) = transfer::summarise(&fetched, spared_bytes);
                context.progress(1.0, Some(message), Some(transfer));
                for provider in fetched.providers.iter().filter(|provider| provider.lied) {
                    tracing::warn!(app = %release.app(), %provider, "a node sent bytes that are not what the publisher signed; others had them right");
                }
                Ok(())
            }
            Err(FetchError::Cancelled) => Err(Stop::Asked),
            Err(error) => Err(explain::of_fetch(&error).into()),
        }
    }

    /// Holds the release and its icon with the images: whoever has the app can hand on all of it.
    pub(super) async fn hold_statement(
        &self,
        swarm: &Swarm,
        release: &Verified<Release>,
    ) -> Result<(), Problem> {
        let tag = app_tag(release);
        let failed = |error: &dyn std::error::Error| explain::internal("keep the release", error);
        let held = swarm.adopt(&tag, release.hash()).await;
        if held.map_err(|error| failed(&error))?.is_none()
            && let Ok(Some(bytes)) = self.store.release_bytes(&release.hash()).await
        {
            let role = Some(Role::Entry);
            let provided = swarm.provide_as(&tag, role, &bytes[..], Some(release.hash()));
            let provided = provided.await;
            provided.map_err(|error| failed(&error))?;
        }
        for asset in release.icon.iter().chain(&release.screenshots) {
            let held = swarm.adopt(&tag, asset.blake3).await;
            held.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Has podman pull every image, or its variant; says how far it is while that `is_shown`.
    pub(super) async fn load(
        &self,
        context: &Context,
        swarm: &Swarm,
        machine: &dyn Machine,
        release: &Verified<Release>,
        variants: &Variants,
        is_shown: &AtomicBool,
    ) -> Result<(), Stop> {
        let slug = &release.manifest.app.id;
        let containers = &release.manifest.containers;
        for (n, container) in containers.iter().enumerate() {
            stop_if_asked(context)?;
            let image = release
                .image(&container.name, &self.platform)
                .ok_or_else(|| {
                    problem(
                        "architecture",
                        format!("The app has no image for {}", self.platform.architecture),
                        "Ask the publisher for one",
                    )
                })?;
            let variant = variants.get(&container.name);
            tokio::select! {
                loaded = hand_over(swarm, machine, slug, image, variant) => loaded?,
                () = context.token().cancelled() => return Err(Stop::Asked),
            }
            if is_shown.load(Ordering::Relaxed) {
                context.progress((n + 1) as f64 / containers.len() as f64, None, None);
            }
        }
        Ok(())
    }

    /// Lets the blobs of a removed app go; what the catalog shows stays.
    pub(super) async fn stop_seeding(&self, app: &AppId) {
        let Some(swarm) = self.swarm.now() else {
            return;
        };
        let prefix = format!("app/{app}/");
        let tags = swarm.tags().into_iter().map(|usage| usage.tag);
        for tag in tags.filter(|tag| tag.as_str().starts_with(&prefix)) {
            let_go(&swarm, &tag).await;
        }
    }
}

/// Has podman pull an image, or its variant, once it is known not to contradict itself.
async fn hand_over(
    swarm: &Swarm,
    machine: &dyn Machine,
    slug: &Slug,
    image: &Image,
    variant: Option<&Variant>,
) -> Result<(), Problem> {
    // A repository per job and container: nobody else can withdraw it meanwhile.
    let repository = format!("{slug}/{}", image.container);
    let oci = swarm.oci();
    let (served, manifest) = match variant {
        // It was made of documents that agree.
        Some(variant) => (oci.serve_variant(&repository, variant), variant.digest),
        None => {
            check_agreement(oci, image).await?;
            let served = oci.serve(&repository, image.descriptors());
            (served, image.manifest.digest)
        }
    };
    served.map_err(|error| explain::internal("hand an image to podman", &error))?;
    let reference = oci.reference(&repository, &manifest);
    let _offer = Offer { oci, repository };
    machine.load_image(slug, image, &reference).await
}

/// Waits for the documents of an image, and checks that they and the release say the same layers.
async fn check_agreement(oci: &OciEndpoint, image: &Image) -> Result<(), Problem> {
    let unread = |error| explain::internal("read an image's manifest", &error);
    let manifest = oci.document(&image.manifest).await.map_err(unread)?;
    let config = oci.document(&image.config).await.map_err(unread)?;
    archy_swarm::image::check_agreement(image, &manifest, &config).map_err(|error| {
        let mut refused = problem(
            CONTENT,
            format!(
                "The image of container {} contradicts itself",
                image.container
            ),
            "Tell the publisher; nothing was installed",
        );
        refused.details = explain::causes(&error);
        refused
    })
}

/// An image on offer to podman, until it is dropped.
struct Offer<'a> {
    oci: &'a OciEndpoint,
    repository: String,
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        self.oci.withdraw(&self.repository);
    }
}

/// Lets a tag's blobs go; those that another tag holds stay.
pub(super) async fn let_go(swarm: &Swarm, tag: &Tag) {
    if let Err(error) = swarm.withdraw(tag).await {
        tracing::warn!(%tag, %error, "could not let an app's blobs go");
    }
}

/// Holds an installed app's blobs, so that other nodes can install it from this one.
pub(crate) fn app_tag(release: &Release) -> Tag {
    format!("app/{}/{}", release.app(), release.seq)
        .parse()
        .expect("a DID, a slug and a number make a tag")
}
