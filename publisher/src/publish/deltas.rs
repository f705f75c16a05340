//! Patches from the layers of earlier releases to those of the new one, so that updates move only what changed.
//!
//! The node still serves the earlier releases, so they are asked of it as anybody would ask. Nothing here keeps a
//! release from being published: what is not at hand is told, and the release goes without.

use std::collections::{BTreeMap, BTreeSet};

use archy_registry::OciDigest;
use archy_registry::release::{
    DELTAS_MAX, DELTAS_PER_LAYER_MAX, Delta, Descriptor, Endpoint, Release,
};
use archy_swarm::image::delta::{self, Form, MakeError, Patch};

use super::Request;
use super::pack::PackedImage;
use crate::failure::{Failure, chain};
use crate::output::Output;
use crate::text::{count, size};

mod earlier;
mod pair;

use earlier::Earlier;

/// Earlier releases from which patches are made.
const RELEASES_MAX: usize = 3;
/// Most that a patch may have of the layer's own size, in per cent.
const PERCENT_MAX: u64 = 80;

/// One patch to make.
struct Job<'a> {
    old: &'a Descriptor,
    image: &'a PackedImage,
    new: &'a Descriptor,
    seq: u64,
}

/// Makes the patches that are worth it, from the last releases of the app that were published from here.
pub(crate) async fn make(
    request: &Request<'_>,
    release: &AppRelease<'_>,
    node: &Endpoint,
    output: &Output,
) -> Vec<Patch> {
    let found = Earlier::open(request, release, node, RELEASES_MAX, output).await;
    let Some(earlier) = found else {
        return Vec::new();
    };
    let mut jobs = Vec::new();
    let mut seen = BTreeSet::new();
    for old in earlier.releases() {
        for (image, layers) in like(old, release.images) {
            for (old_layer, new) in pair::pair(layers, &image.packed.layers) {
                if seen.insert((old_layer.diff_id, new.diff_id)) {
                    jobs.push(Job {
                        old: old_layer,
                        image,
                        new,
                        seq: old.seq,
                    });
                }
            }
        }
    }
    if !jobs.is_empty() {
        output.progress(format_args!(
            "making {} from {}",
            count(jobs.len(), "delta"),
            count(earlier.releases().len(), "earlier release")
        ));
    }
    let mut patches = Vec::new();
    for job in jobs {
        let limit = smallest(release.images, job.new) * PERCENT_MAX / 100;
        match one(request, &earlier, &job, limit).await {
            Ok(patch) => {
                output.progress(format_args!(
                    "a delta from release {}: {} instead of {}",
                    job.seq,
                    size(patch.delta.size_bytes),
                    size(job.new.size_bytes)
                ));
                patches.push(patch);
            }
            Err(Unmade::NotWorth) => output.progress(format_args!(
                "no delta from release {} to a layer of {}: it would save too little",
                job.seq,
                size(job.new.size_bytes)
            )),
            Err(Unmade::Failed(why)) => output.warning(format_args!(
                "no delta from release {} to a layer of {}: {why}",
                job.seq,
                size(job.new.size_bytes)
            )),
        }
    }
    earlier.close().await;
    chosen(patches)
}

/// Makes the patches of a release that is signed already.
///
/// # Errors
///
/// When one cannot be made, or comes out otherwise.
pub(crate) async fn make_again(
    request: &Request<'_>,
    release: &AppRelease<'_>,
    signed: &[Delta],
    node: &Endpoint,
    output: &Output,
) -> Result<Vec<Patch>, Failure> {
    if signed.is_empty() {
        return Ok(Vec::new());
    }
    // Others may have been published since, from whose layers it has no deltas.
    let releases_max = usize::MAX;
    let earlier = Earlier::open(request, release, node, releases_max, output).await;
    let failed = |delta: &Delta, why: String| {
        Failure::failed(
            "delta",
            format!("cannot make the delta from {} again: {why}", delta.from),
        )
        .hint("Have a new release signed: archy publish; --no-deltas makes one without")
    };
    let mut patches = Vec::new();
    for delta in signed {
        let absent = || failed(delta, "that layer is not at hand".to_owned());
        let earlier = earlier.as_ref().ok_or_else(absent)?;
        let (seq, old) = earlier.layer(&delta.from).ok_or_else(absent)?;
        let (image, new) = release
            .images
            .iter()
            .flat_map(|image| image.packed.layers.iter().map(move |layer| (image, layer)))
            .find(|(_, layer)| layer.diff_id == Some(delta.to))
            .ok_or_else(|| failed(delta, "it leads to no layer of the images".to_owned()))?;
        let job = Job {
            old,
            image,
            new,
            seq,
        };
        let patch = match one(request, earlier, &job, delta.size_bytes).await {
            Ok(patch) if patch.delta == *delta => patch,
            Ok(_) | Err(Unmade::NotWorth) => {
                return Err(failed(delta, "it came out otherwise this time".to_owned()));
            }
            Err(Unmade::Failed(why)) => return Err(failed(delta, why)),
        };
        patches.push(patch);
    }
    if let Some(earlier) = earlier {
        earlier.close().await;
    }
    output.progress(format_args!("made {} again", count(patches.len(), "delta")));
    Ok(patches)
}

/// The release to be.
pub(crate) struct AppRelease<'a> {
    pub(crate) app: archy_registry::AppId,
    pub(crate) images: &'a [PackedImage],
}

/// Why there is no patch.
enum Unmade {
    NotWorth,
    Failed(String),
}

async fn one(
    request: &Request<'_>,
    earlier: &Earlier,
    job: &Job<'_>,
    size_bytes_max: u64,
) -> Result<Patch, Unmade> {
    let form = Form::of_layer(job.old)
        .ok_or_else(|| Unmade::Failed("that layer cannot be unpacked".to_owned()))?;
    let old = earlier.open_layer(job.old).await.map_err(Unmade::Failed)?;
    let made = delta::between(
        form,
        old,
        &job.image.packed,
        job.new,
        size_bytes_max,
        &request.work_dir,
    );
    made.await.map_err(|error| match error {
        MakeError::TooLong { .. } => Unmade::NotWorth,
        MakeError::Old(_)
        | MakeError::New(_)
        | MakeError::Write(_)
        | MakeError::Empty
        | MakeError::Other { .. } => Unmade::Failed(chain(&error)),
    })
}

/// Lists the new images with the layers of the same container's image of an earlier release.
fn like<'a>(
    old: &'a Release,
    images: &'a [PackedImage],
) -> impl Iterator<Item = (&'a PackedImage, &'a [Descriptor])> {
    images.iter().filter_map(|image| {
        let old = old.image(&image.container, &image.packed.platform)?;
        Some((image, &old.layers[..]))
    })
}

/// The least that anybody may fetch instead of a delta to this layer.
fn smallest(images: &[PackedImage], layer: &Descriptor) -> u64 {
    let same = |other: &&Descriptor| other.diff_id == layer.diff_id;
    let layers = images.iter().flat_map(|image| &image.packed.layers);
    let sizes = layers.filter(same).map(|layer| layer.size_bytes);
    sizes.min().unwrap_or(layer.size_bytes)
}

/// Keeps as many patches as a release may have, the shortest to each layer.
fn chosen(mut patches: Vec<Patch>) -> Vec<Patch> {
    patches.sort_by_key(|patch| (patch.delta.size_bytes, patch.delta.from));
    let mut leading: BTreeMap<OciDigest, usize> = BTreeMap::new();
    patches.retain(|patch| {
        let to = leading.entry(patch.delta.to).or_default();
        *to += 1;
        *to <= DELTAS_PER_LAYER_MAX
    });
    patches.truncate(DELTAS_MAX);
    patches
}
