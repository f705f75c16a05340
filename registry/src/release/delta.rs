//! Deltas: patches from the tar of an earlier layer to that of a layer of the release. Says nothing of how they are made.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::check::{Fault, fault};
use super::{Descriptor, Image, Release};
use crate::id::{Blake3Hash, OciDigest};

/// Most deltas of one release.
pub const DELTAS_MAX: usize = 128;
/// Most deltas that lead to one layer.
pub const DELTAS_PER_LAYER_MAX: usize = 4;
/// Longest tar that a delta may lead to, in bytes (64 GiB, the longest blob).
pub const TAR_SIZE_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;

/// A patch from the uncompressed tar of an earlier layer to that of one of the release's layers; a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The diff ID of the earlier layer.
    pub from: OciDigest,
    /// The diff ID of the layer that it makes.
    pub to: OciDigest,
    /// BLAKE3 of the patch.
    pub blake3: Blake3Hash,
    /// Length of the patch in bytes; shorter than every layer of the release that has this diff ID.
    pub size_bytes: u64,
    /// What it makes, byte for byte.
    pub tar: Tar,
}

/// The uncompressed tar of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tar {
    /// BLAKE3 of the tar.
    pub blake3: Blake3Hash,
    /// Length in bytes; nothing longer is ever unpacked from the patch.
    pub size_bytes: u64,
}

impl Delta {
    /// What a release's deltas are sorted by.
    pub(super) fn order(&self) -> (OciDigest, OciDigest) {
        (self.to, self.from)
    }
}

/// Checks a release's deltas against its layers.
pub(super) fn check(release: &Release) -> Result<(), Fault> {
    let deltas = &release.deltas;
    if deltas.len() > DELTAS_MAX {
        return fault("deltas", format!("must be at most {DELTAS_MAX}"));
    }
    if !deltas.is_sorted_by(|one, next| one.order() < next.order()) {
        return fault(
            "deltas",
            "must be in order of to, then from, each once".to_owned(),
        );
    }
    let blobs: BTreeSet<Blake3Hash> = release
        .images
        .iter()
        .flat_map(Image::descriptors)
        .map(|blob| blob.blake3)
        .collect();
    let mut patches = BTreeMap::new();
    let mut tars = BTreeMap::new();
    let mut leading = BTreeMap::new();
    for (index, delta) in deltas.iter().enumerate() {
        let path = format!("deltas[{index}]");
        check_one(release, delta)
            .map_err(|(field, complaint)| (format!("{path}.{field}"), complaint))?;
        // One patch may well lead from several layers to one: what it replaces is all in which they differ.
        let what = (delta.to, delta.size_bytes);
        let same_patch = *patches.entry(delta.blake3).or_insert(what) == what;
        if !same_patch || blobs.contains(&delta.blake3) {
            return fault(
                format!("{path}.blake3"),
                "must be of no other blob of the release".to_owned(),
            );
        }
        let same_tar = *tars.entry(delta.to).or_insert(delta.tar) == delta.tar;
        let same_layer = *leading.entry(delta.tar.blake3).or_insert(delta.to) == delta.to;
        if !same_tar || !same_layer {
            return fault(
                format!("{path}.tar"),
                "must be one for each layer".to_owned(),
            );
        }
    }
    // They are sorted, so one layer's are neighbours.
    let crowded = deltas
        .chunk_by(|one, next| one.to == next.to)
        .find(|of_layer| of_layer.len() > DELTAS_PER_LAYER_MAX);
    if let Some(of_layer) = crowded {
        let complaint = format!(
            "must be at most {DELTAS_PER_LAYER_MAX} that lead to {}",
            of_layer[0].to
        );
        return fault("deltas", complaint);
    }
    Ok(())
}

fn check_one(release: &Release, delta: &Delta) -> Result<(), Fault> {
    if delta.from == delta.to {
        return fault("from", "must be another layer than to".to_owned());
    }
    if !(1..=TAR_SIZE_BYTES_MAX).contains(&delta.tar.size_bytes) {
        return fault(
            "tar.size_bytes",
            format!("must be from 1 to {TAR_SIZE_BYTES_MAX}"),
        );
    }
    let mut layers = layers(release, &delta.to).peekable();
    if layers.peek().is_none() {
        return fault("to", "must be the diff_id of a layer".to_owned());
    }
    for layer in layers {
        if !(1..layer.size_bytes).contains(&delta.size_bytes) {
            return fault(
                "size_bytes",
                format!(
                    "must be from 1 to below the {} of layer {}",
                    layer.size_bytes, layer.digest
                ),
            );
        }
        let plain = layer.digest == delta.to;
        if plain && (layer.blake3, layer.size_bytes) != (delta.tar.blake3, delta.tar.size_bytes) {
            return fault("tar", format!("must be layer {}", layer.digest));
        }
    }
    Ok(())
}

fn layers<'a>(
    release: &'a Release,
    diff_id: &'a OciDigest,
) -> impl Iterator<Item = &'a Descriptor> {
    release
        .images
        .iter()
        .flat_map(|image| &image.layers)
        .filter(move |layer| layer.diff_id == Some(*diff_id))
}
