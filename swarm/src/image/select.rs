//! Chooses among the images of a source; pure.

use archy_registry::release::Platform;

use super::PackError;
use super::model::{Config, Descriptor, Manifest};

/// Most entries of all indexes of a source together.
pub(super) const ENTRIES_MAX: usize = 1024;

/// An image found in a source.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) entry: Descriptor,
    pub(super) manifest: Manifest,
    pub(super) config: Config,
    pub(super) platform: Platform,
}

/// Keeps the entries with the wanted reference name. Podman and skopeo write either the tag or the
/// whole reference there, so the end of a reference is enough.
pub(super) fn by_name(
    entries: Vec<Descriptor>,
    name: Option<&str>,
) -> Result<Vec<Descriptor>, PackError> {
    let Some(wanted) = name else {
        return Ok(entries);
    };
    let is_wanted = |name: &str| {
        name == wanted
            || name
                .strip_suffix(wanted)
                .is_some_and(|rest| rest.ends_with('/') || rest.ends_with(':'))
    };
    let (found, others): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| entry.name().is_some_and(is_wanted));
    if found.is_empty() {
        return Err(PackError::Name {
            name: wanted.to_owned(),
            available: list(
                others
                    .iter()
                    .map(|entry| entry.name().unwrap_or("(unnamed)")),
            ),
        });
    }
    Ok(found)
}

/// Returns the one image for `platform`. The same manifest under several names counts once.
pub(super) fn choose(
    candidates: Vec<Candidate>,
    platform: &Platform,
) -> Result<Candidate, PackError> {
    let text = |platform: &Platform| format!("{}/{}", platform.os, platform.architecture);
    if candidates.is_empty() {
        return Err(PackError::Empty);
    }
    let available: Vec<String> = candidates.iter().map(|one| text(&one.platform)).collect();
    let mut matching: Vec<Candidate> = candidates
        .into_iter()
        .filter(|candidate| candidate.platform == *platform)
        .collect();
    matching.sort_by_key(|candidate| candidate.entry.digest);
    matching.dedup_by_key(|candidate| candidate.entry.digest);
    let wanted = text(platform);
    match (matching.pop(), matching.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            matching.push(last);
            let name = |candidate: &Candidate| match candidate.entry.name() {
                Some(name) => name.to_owned(),
                None => candidate.entry.digest.to_string(),
            };
            let names: Vec<String> = matching.iter().map(name).collect();
            Err(PackError::Ambiguous {
                wanted,
                names: list(names.iter().map(String::as_str)),
            })
        }
        (None, _) => Err(PackError::Platform {
            wanted,
            available: list(available.iter().map(String::as_str)),
        }),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: std::collections::BTreeSet<&str> = names.collect();
    let names: Vec<&str> = names.into_iter().collect();
    names.join(", ")
}
