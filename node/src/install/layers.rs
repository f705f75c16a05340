//! Gets an app's images with the fewest bytes: layers that are here in another form are used as they are, others are made
//! of an earlier layer and the publisher's delta, and only the rest is fetched whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use archy_registry::release::{Image, Release};
use archy_registry::trust::Event;
use archy_registry::{Blake3Hash, OciDigest, Slug, Verified};
use archy_swarm::image::delta::{self, BuildError, Form, Here, Path, Plan, VerifiedForm};
use archy_swarm::image::{self, DOCUMENT_SIZE_BYTES_MAX, Variant};
use archy_swarm::{Swarm, Wanted};

use super::content::app_tag;
use super::{Installer, Stop, stop_if_asked, transfer};
use crate::api::types::{JobPhase, Problem};
use crate::jobs::Context;
use crate::machine::Machine;
use crate::problem as explain;

/// What a tar takes on the disk until it is unpacked, as a multiple of its size: in the blob store, in podman's temporary
/// file, and unpacked.
const TAR_FACTOR: u64 = 3;

/// What podman is given instead of signed images, by container.
pub(super) type Variants = BTreeMap<Slug, Variant>;

impl Installer {
    /// Brings every image of a release into podman, in one form or another.
    pub(super) async fn bring(
        &self,
        context: &Context,
        swarm: &Swarm,
        machine: &dyn Machine,
        release: &Verified<Release>,
    ) -> Result<(), Stop> {
        let plan = self.plan(swarm, machine, release).await?;
        if !plan.changes_forms() {
            return self.bring_whole(context, swarm, machine, release).await;
        }
        let needs = format!("{}; looking for nodes that have it", transfer::needs(&plan));
        context.enter(JobPhase::Fetching, needs).await;
        let blobs = plan.blobs();
        let asked = blobs.iter().map(|blob| blob.size_bytes);
        let asked = asked.fold(0, u64::saturating_add);
        let spared = plan.bytes_of_all.saturating_sub(asked);
        match self.fetch(context, swarm, release, blobs, spared).await {
            // Nobody has the deltas; the layers may still be had.
            Err(Stop::Failed { problem, .. }) if problem.kind == "noProvider" => {}
            fetched => {
                fetched?;
                if let Some(variants) = self.made(context, swarm, release, &plan).await? {
                    context.enter(JobPhase::Loading, "Unpacking").await;
                    let is_shown = AtomicBool::new(true);
                    let load = self.load(context, swarm, machine, release, &variants, &is_shown);
                    return load.await;
                }
            }
        }
        self.bring_whole(context, swarm, machine, release).await
    }

    /// Plans with what is here of the release and of installed apps.
    async fn plan(
        &self,
        swarm: &Swarm,
        machine: &dyn Machine,
        release: &Verified<Release>,
    ) -> Result<Plan, Problem> {
        let here = self.here(swarm, machine, release).await?;
        let plan = delta::plan(self.images(release), &release.deltas, &here);
        let room = machine.disk_free_bytes().unwrap_or(u64::MAX);
        if plan.tar_bytes().saturating_mul(TAR_FACTOR) <= room {
            return Ok(plan);
        }
        tracing::info!(app = %release.app(), "there is too little room to use deltas");
        Ok(delta::plan(self.images(release), &[], &Here::default()))
    }

    fn images<'a>(&'a self, release: &'a Release) -> impl Iterator<Item = &'a Image> {
        let images = release.images.iter();
        images.filter(|image| image.platform == self.platform)
    }

    async fn here(
        &self,
        swarm: &Swarm,
        machine: &dyn Machine,
        release: &Verified<Release>,
    ) -> Result<Here, Problem> {
        let mut here = Here::default();
        let mut useful: BTreeSet<OciDigest> = BTreeSet::new();
        for blob in release.blobs(&self.platform) {
            if has(swarm, blob.blake3).await? {
                here.add_blob(blob.blake3);
            } else {
                useful.extend(blob.diff_id);
            }
        }
        // Only layers that are not here are looked for in what installed apps have.
        if useful.is_empty() {
            return Ok(here);
        }
        for delta in &release.deltas {
            if useful.contains(&delta.to) && has(swarm, delta.blake3).await? {
                here.add_blob(delta.blake3);
            }
        }
        useful.extend(release.deltas.iter().map(|delta| delta.from));
        add_forms(&mut here, swarm, release, &useful).await?;
        let installed: Vec<_> = {
            let observed = machine.observed();
            let observed = observed.borrow();
            observed.apps.iter().map(|app| app.release).collect()
        };
        for hash in installed {
            // What cannot be read any more is no reason to fail: its layers are fetched whole.
            if let Ok(Some(earlier)) = self.store.release_as_admitted(&hash).await {
                add_forms(&mut here, swarm, &earlier, &useful).await?;
            }
        }
        Ok(here)
    }

    /// Carries out what a plan leaves to do once its blobs are here; `None` when the images have to be fetched whole.
    async fn made(
        &self,
        context: &Context,
        swarm: &Swarm,
        release: &Verified<Release>,
        plan: &Plan,
    ) -> Result<Option<Variants>, Stop> {
        let tag = app_tag(release);
        let mut forms = Vec::new();
        let mut whole = Vec::new();
        for step in &plan.steps {
            stop_if_asked(context)?;
            if matches!(step.path, Path::Delta { .. }) {
                let words = format!(
                    "Making {} of an update",
                    transfer::megabytes(step.layer.size_bytes)
                );
                context.progress(1.0, Some(words), None);
            }
            match delta::build(swarm, &tag, step).await {
                Ok(form) => forms.extend(form),
                Err(error) => {
                    self.tell(release, &error).await;
                    whole.push(Wanted::from(&step.layer));
                }
            }
        }
        if !whole.is_empty() {
            let words = "A delta does not fit; fetching the whole layer";
            context.enter(JobPhase::Fetching, words).await;
            match self.fetch(context, swarm, release, whole, 0).await {
                Err(Stop::Failed { problem, .. }) if problem.kind == "noProvider" => {
                    return Ok(None);
                }
                fetched => fetched?,
            }
        }
        Ok(self.variants(swarm, release, &forms).await)
    }

    /// Replaces the layers of each image that are here in another form.
    async fn variants(
        &self,
        swarm: &Swarm,
        release: &Verified<Release>,
        forms: &[VerifiedForm],
    ) -> Option<Variants> {
        let mut variants = Variants::new();
        for image in self.images(release) {
            let read = |blob| swarm.read(blob, DOCUMENT_SIZE_BYTES_MAX);
            let manifest = read(image.manifest.blake3).await.ok()?;
            let config = read(image.config.blake3).await.ok()?;
            match image::variant(image, &manifest, &config, forms) {
                Ok(variant) => {
                    variants.extend(variant.map(|variant| (image.container.clone(), variant)));
                }
                Err(error) => {
                    tracing::warn!(app = %release.app(), container = %image.container, %error, "cannot use deltas");
                    return None;
                }
            }
        }
        Some(variants)
    }

    /// Says why a layer did not come about, and notes it where it is the publisher's fault.
    async fn tell(&self, release: &Verified<Release>, error: &BuildError) {
        let (app, details) = (release.app(), explain::causes(error));
        if let Some(event) = evidence(&app.slug, release.hash(), error) {
            tracing::warn!(%app, release.hash = %release.hash(), publisher.did = %release.publisher, ?details, "a delta that the publisher signed does not make its layer; the whole layer is fetched, and it counts against the publisher");
            self.record(&app, &event).await;
        } else {
            tracing::warn!(%app, ?details, "a layer cannot be made of an earlier one; it is fetched whole");
        }
    }
}

/// Adds the forms in which useful layers of a release are here.
async fn add_forms(
    here: &mut Here,
    swarm: &Swarm,
    release: &Release,
    useful: &BTreeSet<OciDigest>,
) -> Result<(), Problem> {
    let layers = release.images.iter().flat_map(|image| &image.layers);
    let tars = release
        .deltas
        .iter()
        .map(|delta| Form::of_tar(delta.to, &delta.tar));
    for form in layers.filter_map(Form::of_layer).chain(tars) {
        if useful.contains(&form.diff_id) && has(swarm, form.blake3).await? {
            here.add_form(form);
        }
    }
    Ok(())
}

async fn has(swarm: &Swarm, blob: Blake3Hash) -> Result<bool, Problem> {
    let has = swarm.has(blob).await;
    has.map_err(|error| explain::internal("look for a blob", &error))
}

/// What a layer that did not come about says of the publisher; `None` when it may be anybody's fault: a peer's, the
/// disk's, or that of another release, which the layer was to be made of.
fn evidence(app: &Slug, release: Blake3Hash, error: &BuildError) -> Option<Event> {
    match error {
        BuildError::Delta { delta, fault } => Some(Event::BadDelta {
            app: app.clone(),
            release,
            delta: *delta,
            reason: fault.to_string(),
        }),
        BuildError::Form { .. }
        | BuildError::Read(_)
        | BuildError::Disk { .. }
        | BuildError::Full(_)
        | BuildError::Store(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use archy_swarm::ReadError;
    use archy_swarm::image::delta::Fault;
    use archy_swarm::storage::{Bound, Full};

    use super::*;

    #[test]
    fn only_a_delta_with_the_right_hash_and_a_wrong_result_counts_against_its_publisher() {
        let (app, hash) = ("notes".parse().unwrap(), Blake3Hash::of);
        let (release, delta) = (hash(b"release"), hash(b"delta"));
        let digest = OciDigest::from_sha256([7; 32]);
        let bad = |fault| BuildError::Delta { delta, fault };
        let disk = |error| BuildError::Disk {
            what: "a delta",
            source: error,
        };
        let cases = [
            (bad(Fault::CutOff), Some("it is cut off".to_owned())),
            (
                bad(Fault::Other(digest)),
                Some(format!("it makes {digest}")),
            ),
            (
                bad(Fault::OtherBlob(delta)),
                Some(format!(
                    "its tar is blob {delta}, not the one that was signed"
                )),
            ),
            // The layer that it builds on came out of another release, perhaps another publisher's.
            (
                BuildError::Form {
                    blob: hash(b"base"),
                    diff_id: digest,
                    reason: "it does not unpack".to_owned(),
                },
                None,
            ),
            (BuildError::Read(ReadError::Absent { blake3: delta }), None),
            (disk(io::Error::from_raw_os_error(5)), None),
            (disk(io::ErrorKind::InvalidData.into()), None),
            (disk(io::ErrorKind::OutOfMemory.into()), None),
            (
                BuildError::Full(Full {
                    needed_bytes: 2,
                    room_bytes: 1,
                    freeable_bytes: 0,
                    bound: Bound::Quota { quota_bytes: 1 },
                }),
                None,
            ),
        ];
        for (error, expected) in cases {
            let expected = expected.map(|reason| Event::BadDelta {
                app: Slug::clone(&app),
                release,
                delta,
                reason,
            });
            assert_eq!(evidence(&app, release, &error), expected, "{error}");
        }
    }
}
