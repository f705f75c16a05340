//! `archy catalog`: from releases to an operator's signed list of them.
//!
//! What goes in comes out byte for byte: foreign releases are embedded as their publishers signed them, and only
//! apps that nobody signed yet become releases of the operator's own.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use archy_registry::catalog::{self, Catalog, Draft, EmbeddedRelease, SIZE_BYTES_MAX};
use archy_registry::key_state::{KeyHistory, chain};
use archy_registry::{Blake3Hash, Did, SigningKey, Slug, Verified, json, key_state, release, sign};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::failure::{self, Failure};
use crate::identity::PublicIdentity;
use crate::publish::ledger::Ledger;

pub mod own;

/// What an operator wants in a catalog.
#[derive(Debug)]
pub struct Request<'a> {
    /// What it is called.
    pub name: &'a str,
    /// For how many days it is news.
    pub days: u16,
}

/// What was found in files.
#[derive(Debug, Default)]
pub struct Given {
    /// Signed releases.
    pub releases: Vec<Vec<u8>>,
    /// Signed key states by publisher, in the order of their files.
    states: BTreeMap<String, (Did, Vec<Vec<u8>>)>,
}

/// A catalog in short.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Who signs it.
    pub operator: String,
    /// What it is called.
    pub name: String,
    /// Its counter.
    pub seq: u64,
    /// Until when it is news.
    pub expires: Timestamp,
    /// Whether that time is over.
    pub stale: bool,
    /// BLAKE3 of its bytes, once it is signed: `blob:HASH` names it to nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// What is in it.
    pub releases: Vec<Listed>,
}

/// A release in a catalog.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// `did:key:…/slug`
    pub app: String,
    /// Its counter.
    pub seq: u64,
    /// BLAKE3 of its bytes.
    pub hash: String,
    /// Why nodes that know no more than the catalog would refuse it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What every statement says of itself.
#[derive(Deserialize)]
struct Claim {
    r#type: String,
    publisher: Did,
}

impl Given {
    /// Reads files, and the `.json` files of folders.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or holds neither a release nor key states.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut given = Self::default();
        for path in paths {
            for file in files(path)? {
                given.take(&file)?;
            }
        }
        Ok(given)
    }

    /// Adds signed key states of a publisher.
    pub fn add_states(&mut self, publisher: Did, states: Vec<Vec<u8>>) {
        let known = self
            .states
            .entry(publisher.to_string())
            .or_insert_with(|| (publisher, Vec::new()));
        for state in states {
            if !known.1.contains(&state) {
                known.1.push(state);
            }
        }
    }

    fn take(&mut self, path: &Path) -> Result<(), Failure> {
        let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
        if let Some(publisher) = chain::claimed_publisher(&bytes)
            && claim(&bytes).is_none_or(|claim| claim.r#type == key_state::TYPE)
        {
            self.add_states(publisher, chain::split(&bytes)?);
            return Ok(());
        }
        match claim(&bytes) {
            Some(claim) if claim.r#type == release::TYPE => {
                self.releases.push(bytes);
                Ok(())
            }
            Some(_) | None => Err(Failure::refused(
                "catalog",
                format!(
                    "{} is neither a signed release nor a chain of key states",
                    path.display()
                ),
            )
            .hint(
                "`archy publish` keeps what it signed in the folder `releases` beside your keys",
            )),
        }
    }

    /// Returns what is known of a publisher's keys.
    fn keys(&self, publisher: Did, now: Timestamp) -> Result<KeyHistory, Failure> {
        let mut history = KeyHistory::new(publisher);
        if let Some((_, states)) = self.states.get(&publisher.to_string()) {
            history.admit(states, now)?;
        }
        Ok(history)
    }
}

fn claim(bytes: &[u8]) -> Option<Claim> {
    serde_json::from_slice(bytes).ok()
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = |error: std::io::Error| Failure::file("read", path, &error);
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Makes the unsigned statement of a catalog. Every release in it is one that nodes accept today.
///
/// # Errors
///
/// When a release does not hold, or no node would accept the catalog.
pub fn build(
    request: &Request<'_>,
    identity: &PublicIdentity,
    mut given: Given,
    now: Timestamp,
) -> Result<(Vec<u8>, Summary), Failure> {
    given.add_states(identity.did(), identity.states.clone());
    let mut releases = Vec::with_capacity(given.releases.len());
    for bytes in &given.releases {
        let publisher = claim(bytes).map_or(identity.did(), |claim| claim.publisher);
        let keys = given.keys(publisher, now)?;
        let (release, _) = release::verify_seen(bytes, &keys, None, now).map_err(|error| {
            Failure::refused("release", failure::chain(&error)).hint(
                "If its publisher's keys changed, add the chain of its key states as a file too",
            )
        })?;
        releases.push(Listed {
            app: release.app().to_string(),
            seq: release.seq,
            hash: release.hash().to_string(),
            refused: None,
        });
    }
    let seq = counter(&identity.dir).take(&series(), None)?;
    let expires = now
        .checked_add(SignedDuration::from_hours(24 * i64::from(request.days)))
        .map_err(|error| Failure::failed("clock", error.to_string()))?;
    let states = given.states.into_values().flat_map(|(_, states)| states);
    let statement = catalog::assemble(Draft {
        publisher: identity.did(),
        seq,
        created: now,
        expires,
        name: request.name.to_owned(),
        key_states: states.collect(),
        releases: given.releases,
    })?;
    let bytes = json::canonical(&statement)
        .map_err(|error| Failure::refused("catalog", failure::chain(&error)))?;
    releases.sort_by(|a, b| a.app.cmp(&b.app));
    releases.dedup_by(|a, b| a.hash == b.hash);
    let summary = Summary {
        operator: identity.did().to_string(),
        name: request.name.to_owned(),
        seq,
        expires,
        stale: false,
        hash: None,
        releases,
    };
    Ok((bytes, summary))
}

/// Signs what [`build`] made, and checks the result as nodes will.
///
/// # Errors
///
/// When it is signed already, is of somebody else, or no node would accept it.
pub fn signed(
    unsigned: &[u8],
    identity: &PublicIdentity,
    key: &SigningKey,
    now: Timestamp,
) -> Result<(Vec<u8>, Summary), Failure> {
    let refused = |text: String| Failure::refused("catalog", text);
    // Canonical already, so the proof is all that signing adds: no release changes a byte.
    let statement = json::parse_canonical(unsigned, SIZE_BYTES_MAX).map_err(|error| {
        refused(failure::chain(&error)).hint("Sign the file as `archy catalog build` wrote it")
    })?;
    if statement.get("proof").is_some() {
        return Err(refused("the catalog is signed already".to_owned())
            .hint("`archy catalog build` makes the next one"));
    }
    let signed = sign(&statement, key, now)?;
    let (_, summary) = check(&signed.bytes, Some(identity.did()), now)?;
    if let Some(bad) = summary.releases.iter().find(|one| one.refused.is_some()) {
        let why = bad.refused.clone().unwrap_or_default();
        return Err(refused(format!("{} would be refused: {why}", bad.app))
            .hint("Build the catalog again; `archy catalog build` says what is missing"));
    }
    Ok((signed.bytes, summary))
}

/// Checks a signed catalog and every release in it, knowing nothing but the catalog.
///
/// # Errors
///
/// When it is not `operator`'s, or not a catalog. A release that would be refused is said in the summary.
pub fn check(
    bytes: &[u8],
    operator: Option<Did>,
    now: Timestamp,
) -> Result<(Verified<Catalog>, Summary), Failure> {
    let operator = match operator {
        Some(operator) => operator,
        None => catalog::read(bytes)?.operator(),
    };
    let catalog = catalog::verify(bytes, &KeyHistory::new(operator), now)?;
    let releases = catalog.releases.iter().map(|embedded| Listed {
        app: embedded.app.to_string(),
        seq: embedded.seq,
        hash: embedded.hash().to_string(),
        refused: refusal(&catalog, embedded, now),
    });
    let summary = Summary {
        operator: operator.to_string(),
        name: catalog.name.clone(),
        seq: catalog.seq,
        expires: catalog.expires,
        stale: catalog.is_stale(now),
        hash: Some(Blake3Hash::of(bytes).to_string()),
        releases: releases.collect(),
    };
    Ok((catalog, summary))
}

fn refusal(catalog: &Catalog, embedded: &EmbeddedRelease, now: Timestamp) -> Option<String> {
    let keys = match catalog.key_history(KeyHistory::new(embedded.app.publisher), now) {
        Ok(keys) => keys,
        Err(error) => return Some(failure::chain(&error)),
    };
    let checked = embedded.verify(&keys, None, now);
    checked.err().map(|error| failure::chain(&error))
}

/// Reads a catalog's bytes, at most as many as one may have.
///
/// # Errors
///
/// When the file cannot be read or is too large.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let read = || {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(SIZE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| Failure::file("read", path, &error))
}

/// Writes a file that a web server can read, whole or not at all.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    };
    let write = || {
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error: std::io::Error| Failure::file("write", path, &error))
}

/// The counter of an operator's catalogs: nodes accept no number twice.
fn counter(identity_dir: &Path) -> Ledger {
    Ledger::new(&own::dir(identity_dir))
}

/// An operator has one series of catalogs.
fn series() -> Slug {
    "catalog".parse().expect("letters make a slug")
}
