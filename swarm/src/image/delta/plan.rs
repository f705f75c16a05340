//! Chooses for each layer of some images how to get it, so that the fewest bytes travel; pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use archy_registry::release::{Delta, Descriptor, Image};
use archy_registry::{Blake3Hash, OciDigest};

use super::Form;
use crate::fetch::Wanted;
use crate::ledger::Role;

/// What a node has.
#[derive(Debug, Clone, Default)]
pub struct Here {
    blobs: HashSet<Blake3Hash>,
    forms: HashMap<OciDigest, Form>,
}

impl Here {
    /// Notes a complete blob.
    pub fn add_blob(&mut self, blake3: Blake3Hash) {
        self.blobs.insert(blake3);
    }

    /// Notes a complete blob that unpacks to a layer's tar. Of several, the one that takes the least unpacking counts.
    pub fn add_form(&mut self, form: Form) {
        self.blobs.insert(form.blake3);
        let known = self.forms.entry(form.diff_id).or_insert(form);
        if form.effort() < known.effort() {
            *known = form;
        }
    }
}

/// The way to one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Its blob is here.
    Here,
    /// Another form of it is here: its tar, or the same compressed differently.
    Form(Form),
    /// Its tar is made of an earlier one and a delta.
    Delta {
        /// What to fetch.
        delta: Delta,
        /// What it leads from.
        base: Form,
    },
    /// Its blob is fetched.
    Whole,
}

/// A layer and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The layer.
    pub layer: Descriptor,
    /// The way.
    pub path: Path,
}

/// How to get some images with the fewest bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every manifest and configuration, once; small, and needed first.
    pub documents: Vec<Descriptor>,
    /// Every layer once, in order of first use.
    pub steps: Vec<Step>,
    /// Bytes of the blobs that are not here.
    pub bytes_needed: u64,
    /// Bytes that a node fetches that has nothing.
    pub bytes_of_all: u64,
    missing: Vec<Wanted>,
}

impl Plan {
    /// Lists the blobs that the plan works with, here or not, the most urgent first: a fetch of them holds all of them
    /// under its tag.
    pub fn blobs(&self) -> Vec<Wanted> {
        let documents = self.documents.iter().map(Wanted::from);
        let patches = self.steps.iter().filter_map(|step| match &step.path {
            Path::Delta { delta, .. } => Some(of_delta(delta)),
            Path::Here | Path::Form(_) | Path::Whole => None,
        });
        let layers = self.steps.iter().filter_map(|step| match &step.path {
            Path::Here | Path::Whole => Some(Wanted::from(&step.layer)),
            Path::Delta { .. } | Path::Form(_) => None,
        });
        documents.chain(patches).chain(layers).collect()
    }

    /// Lists the blobs that are not here.
    pub fn missing(&self) -> &[Wanted] {
        &self.missing
    }

    /// Says whether podman has to be given a layer in another form than the one that was signed.
    pub fn changes_forms(&self) -> bool {
        self.steps.iter().any(|step| match step.path {
            Path::Form(_) | Path::Delta { .. } => true,
            Path::Here | Path::Whole => false,
        })
    }

    /// Returns how many bytes the tars have that deltas make.
    pub fn tar_bytes(&self) -> u64 {
        let tars = self.steps.iter().filter_map(|step| match &step.path {
            Path::Delta { delta, .. } => Some(delta.tar.size_bytes),
            Path::Here | Path::Form(_) | Path::Whole => None,
        });
        tars.fold(0, u64::saturating_add)
    }
}

fn of_delta(delta: &Delta) -> Wanted {
    Wanted {
        role: Role::Delta,
        blake3: delta.blake3,
        size_bytes: delta.size_bytes,
    }
}

/// Plans how to get `images`, whose release has these `deltas`. Without deltas, every layer is fetched whole.
pub fn plan<'a>(
    images: impl IntoIterator<Item = &'a Image>,
    deltas: &[Delta],
    here: &Here,
) -> Plan {
    let images: Vec<&Image> = images.into_iter().collect();
    let once = |blobs: Vec<&Descriptor>| {
        let mut seen = BTreeSet::new();
        let new = |blob: &&Descriptor| seen.insert(blob.blake3);
        blobs.into_iter().filter(new).cloned().collect::<Vec<_>>()
    };
    let documents = once(
        images
            .iter()
            .flat_map(|image| [&image.manifest, &image.config])
            .collect(),
    );
    let layers = once(images.iter().flat_map(|image| &image.layers).collect());
    let bytes_of_all = documents.iter().chain(&layers).map(|blob| blob.size_bytes);
    let bytes_of_all = bytes_of_all.fold(0, u64::saturating_add);
    let ways = ways(&layers, deltas, here);
    let steps: Vec<Step> = layers
        .into_iter()
        .map(|layer| {
            let way = layer.diff_id.and_then(|diff_id| ways.get(&diff_id));
            let path = if here.blobs.contains(&layer.blake3) {
                Path::Here
            } else {
                way.cloned().unwrap_or(Path::Whole)
            };
            Step { layer, path }
        })
        .collect();
    let mut plan = Plan {
        documents,
        steps,
        bytes_needed: 0,
        bytes_of_all,
        missing: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    let missing = |blob: &Wanted| !here.blobs.contains(&blob.blake3) && seen.insert(blob.blake3);
    plan.missing = plan.blobs().into_iter().filter(missing).collect();
    let needed = plan.missing.iter().map(|blob| blob.size_bytes);
    plan.bytes_needed = needed.fold(0, u64::saturating_add);
    plan
}

/// Finds the tars that are cheaper to make than the blobs of their layers are to fetch.
fn ways(layers: &[Descriptor], deltas: &[Delta], here: &Here) -> BTreeMap<OciDigest, Path> {
    // One tar may stand for several blobs: the same layer, compressed differently.
    let mut whole: BTreeMap<OciDigest, u64> = BTreeMap::new();
    for layer in layers {
        if let Some(diff_id) = layer.diff_id
            && !here.blobs.contains(&layer.blake3)
        {
            let bytes = whole.entry(diff_id).or_default();
            *bytes = bytes.saturating_add(layer.size_bytes);
        }
    }
    whole
        .into_iter()
        .filter_map(|(diff_id, whole_bytes)| {
            if let Some(form) = here.forms.get(&diff_id) {
                return Some((diff_id, Path::Form(*form)));
            }
            let reachable = deltas.iter().filter(|delta| delta.to == diff_id);
            let (bytes, delta, base) = reachable
                .filter_map(|delta| {
                    let bytes = if here.blobs.contains(&delta.blake3) {
                        0
                    } else {
                        delta.size_bytes
                    };
                    Some((bytes, delta, here.forms.get(&delta.from)?))
                })
                .min_by_key(|(bytes, delta, _)| (*bytes, delta.size_bytes, delta.from))?;
            let way = Path::Delta {
                delta: delta.clone(),
                base: *base,
            };
            (bytes < whole_bytes).then_some((diff_id, way))
        })
        .collect()
}

#[cfg(test)]
mod tests;
