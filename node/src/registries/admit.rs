//! From a catalog's bytes to apps in the store: the operator's signature first, then each release by its own
//! publisher's. What is refused is refused alone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use archy_registry::catalog::{self, Catalog, CatalogError};
use archy_registry::key_state::{KeyHistory, chain};
use archy_registry::release::{self, Release};
use archy_registry::statement::StatementError;
use archy_registry::store::{CatalogAdmission, Listing};
use archy_registry::{AppId, Blake3Hash, Did, Store, Verified};
use jiff::Timestamp;

use super::list::Taken;
use crate::api::problem;
use crate::api::types::Problem;
use crate::follow::{self, Follow};
use crate::problem as explain;

/// What a catalog brought.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Releases that are the newest of their apps since.
    pub(super) newest: u32,
    /// Releases that were refused, and why.
    pub(super) refused: Vec<(AppId, Problem)>,
}

/// Checks a catalog against the operator that its registry is pinned to.
pub(super) async fn verify(
    bytes: Vec<u8>,
    operator: Arc<KeyHistory>,
    now: Timestamp,
) -> Result<Verified<Catalog>, Problem> {
    // Megabytes of JSON and hundreds of signatures do not belong between other tasks.
    let checked =
        tokio::task::spawn_blocking(move || catalog::verify(&bytes, &operator, now)).await;
    checked
        .map_err(|error| explain::internal("check a catalog", &error))?
        .map_err(|error| of_catalog(&error))
}

/// Reads whom a catalog claims to be of, without believing it.
pub(super) async fn operator(bytes: &[u8]) -> Result<Did, Problem> {
    let bytes = bytes.to_vec();
    let read =
        tokio::task::spawn_blocking(move || catalog::read(&bytes).map(|read| read.operator()));
    read.await
        .map_err(|error| explain::internal("read a catalog", &error))?
        .map_err(|error| of_catalog(&error))
}

/// Admits a catalog's key states and releases under this node's name for its registry.
pub(super) async fn admit(
    store: &Store,
    follow: &Follow,
    registry: &str,
    catalog: &Verified<Catalog>,
    now: Timestamp,
) -> Result<(Taken, Brought), Problem> {
    let admitted = store
        .admit_catalog(catalog, now)
        .await
        .map_err(|error| explain::of_store(&error))?;
    check_news(catalog, admitted)?;
    let mut brought = Brought::default();
    admit_key_states(store, registry, catalog, now).await;
    let listing = Listing::of(registry, catalog);
    for embedded in &catalog.releases {
        let keys = store.key_history(&embedded.app.publisher).await;
        let keys = keys.map_err(|error| explain::of_store(&error))?;
        let first_seen = first_seen(store, &embedded.hash()).await?;
        let judged = match embedded.verify(&keys, first_seen, now) {
            Ok((release, _)) => list(store, &listing, &release, &embedded.bytes, now).await,
            Err(error) => Err(explain::of_release(&error)),
        };
        match judged {
            Ok(newest) => brought.newest += u32::from(newest),
            Err(refusal) => {
                let app = Some(embedded.app.clone());
                let operator = catalog.publisher.to_string();
                follow.refusals.add(registry, &operator, app, &refusal, now);
                brought.refused.push((embedded.app.clone(), refusal));
            }
        }
    }
    store
        .withdraw_listings(registry, Some(catalog.seq))
        .await
        .map_err(|error| explain::of_store(&error))?;
    follow.catalog_changed();
    Ok((taken(catalog, brought.refused.len()), brought))
}

/// Admits the key states of each publisher, as one chain.
async fn admit_key_states(
    store: &Store,
    registry: &str,
    catalog: &Verified<Catalog>,
    now: Timestamp,
) {
    let publishers: BTreeSet<Did> = catalog
        .key_states
        .iter()
        .map(|state| state.publisher)
        .collect();
    for publisher in publishers {
        let states: Vec<&[u8]> = catalog
            .key_states_of(publisher)
            .map(|state| state.bytes.as_slice())
            .collect();
        let states = chain::join(&states);
        if let Err(error) = store.admit_key_state(&publisher, &states, now).await {
            // The states that this node knows stay; the releases are judged by those.
            tracing::info!(registry, %publisher, details = ?explain::causes(&error), "refused the key states of a publisher in a catalog");
        }
    }
}

async fn first_seen(store: &Store, release: &Blake3Hash) -> Result<Option<Timestamp>, Problem> {
    let seen = store.release_first_announced(release).await;
    seen.map_err(|error| explain::of_store(&error))
}

/// Describes a catalog of which `refused` releases were not accepted.
pub(super) fn taken(catalog: &Catalog, refused: usize) -> Taken {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Taken {
        name: catalog.name.clone(),
        seq: catalog.seq,
        created: catalog.created,
        expires: catalog.expires,
        releases: count(catalog.releases.len()),
        refused: count(refused),
    }
}

/// Judges a catalog's releases without keeping anything.
pub(super) async fn judge(
    store: &Store,
    catalog: &Catalog,
    now: Timestamp,
) -> Result<Vec<(AppId, Problem)>, Problem> {
    let mut refused = Vec::new();
    for embedded in &catalog.releases {
        let known = store.key_history(&embedded.app.publisher).await;
        let known = known.map_err(|error| explain::of_store(&error))?;
        let carried = catalog.key_history(KeyHistory::clone(&known), now);
        let keys = carried.map_or(known, Arc::new);
        let first_seen = first_seen(store, &embedded.hash()).await?;
        if let Err(error) = embedded.verify(&keys, first_seen, now) {
            refused.push((embedded.app.clone(), explain::of_release(&error)));
        }
    }
    Ok(refused)
}

/// Admits the signed releases in a folder of this machine, where nobody else has news of the app.
///
/// Returns how many files were refused.
pub(super) async fn admit_folder(
    store: &Store,
    follow: &Follow,
    registry: &str,
    files: &[(std::path::PathBuf, Vec<u8>)],
    now: Timestamp,
) -> Result<usize, Problem> {
    store
        .withdraw_listings(registry, None)
        .await
        .map_err(|error| explain::of_store(&error))?;
    let mut refused = 0;
    for (path, bytes) in files {
        if let Err(refusal) = admit_file(store, registry, bytes, now).await {
            refused += 1;
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            tracing::info!(%file, details = ?refusal.details, "refused a release on disk: {}", refusal.message);
            follow.refusals.add(registry, &file, None, &refusal, now);
        }
    }
    follow.catalog_changed();
    Ok(refused)
}

async fn admit_file(
    store: &Store,
    registry: &str,
    bytes: &[u8],
    now: Timestamp,
) -> Result<(), Problem> {
    #[derive(serde::Deserialize)]
    struct Claimed {
        publisher: Did,
    }
    let claimed: Claimed =
        serde_json::from_slice(bytes).map_err(|error| explain::malformed("release", &error))?;
    let keys = store
        .key_history(&claimed.publisher)
        .await
        .map_err(|error| explain::of_store(&error))?;
    let first_seen = first_seen(store, &Blake3Hash::of(bytes)).await?;
    let (release, _) = release::verify_seen(bytes, &keys, first_seen, now)
        .map_err(|error| explain::of_release(&error))?;
    let known = store
        .app(&release.app(), now)
        .await
        .map_err(|error| explain::of_store(&error))?;
    if known.is_some_and(|known| !known.is_stale(now)) {
        return Ok(());
    }
    let listing = Listing {
        registry: registry.to_owned(),
        operator: release.publisher,
        catalog_seq: 0,
        created: release.created,
        expires: release.expires,
    };
    list(store, &listing, &release, bytes, now)
        .await
        .map(|_| ())
}

/// Reads the release files of a folder, in order of their names; a folder that is not there has none.
pub(super) fn read_folder(
    dir: &Path,
) -> std::io::Result<Vec<(std::path::PathBuf, std::time::SystemTime, Vec<u8>)>> {
    /// Files of one folder that are looked at.
    const FILES_MAX: usize = 10_000;
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries.take(FILES_MAX) {
        let path = entry?.path();
        let metadata = path.metadata()?;
        let is_release = path
            .extension()
            .is_some_and(|extension| extension == "json")
            && metadata.is_file()
            && metadata.len() <= release::SIZE_BYTES_MAX as u64;
        if is_release {
            files.push((path.clone(), metadata.modified()?, std::fs::read(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

/// Admits one release; returns whether it is the newest of its app since.
async fn list(
    store: &Store,
    listing: &Listing,
    release: &Verified<Release>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<bool, Problem> {
    let admitted = store
        .admit_listed(listing, release, bytes, now)
        .await
        .map_err(|error| explain::of_store(&error))?;
    follow::judge(admitted, release.seq)
}

fn check_news(catalog: &Catalog, admitted: CatalogAdmission) -> Result<(), Problem> {
    let seq = catalog.seq;
    match admitted {
        CatalogAdmission::Newest | CatalogAdmission::Known => Ok(()),
        CatalogAdmission::Older { highest_seq } => Err(problem(
            "rollback",
            format!("Catalog {seq} is older than catalog {highest_seq}, which this node has seen"),
            "Nothing to do: what is known stays; if it goes on, tell the registry's operator",
        )),
        CatalogAdmission::FastForward { highest_seq } => Err(problem(
            "fastForward",
            format!("Catalog {seq} jumps too far ahead of catalog {highest_seq}"),
            "Ask the registry's operator; what is known stays",
        )),
        CatalogAdmission::Contradiction { seq, first } => {
            let mut refusal = problem(
                "equivocation",
                format!("The operator signed two different catalogs under the same number {seq}"),
                "Ask the registry's operator to sign a new one; the one seen first stays",
            );
            refusal.details = vec![
                format!("first {first}"),
                format!("second of {}", catalog.created),
            ];
            Err(refusal)
        }
    }
}

/// A catalog is not its operator's, or not a catalog.
fn of_catalog(error: &CatalogError) -> Problem {
    let (kind, message, hint) = match error {
        CatalogError::Statement(StatementError::Publisher { found, .. }) => (
            "wrongOperator",
            format!("The catalog is signed by another operator than the one pinned here, {found}"),
            "If the registry really changed hands, remove it and add it again; else do not use it",
        ),
        CatalogError::Statement(
            StatementError::Unauthorised { .. }
            | StatementError::Proof(archy_registry::proof::ProofError::Signature { .. }),
        ) => (
            "signature",
            "The catalog's signature is not its operator's".to_owned(),
            "Somebody changed it on its way, or the operator's keys changed; what is known stays",
        ),
        CatalogError::Statement(StatementError::KeysExpired { .. }) => (
            "keysExpired",
            "The registry's operator has not renewed its keys".to_owned(),
            "Tell the operator; what is known stays",
        ),
        CatalogError::Statement(StatementError::Revoked { .. }) => (
            "revoked",
            "The registry's operator has revoked its keys".to_owned(),
            "Look for news of the operator; what is known stays",
        ),
        CatalogError::Statement(
            StatementError::Future { .. }
            | StatementError::Proof(archy_registry::proof::ProofError::Future { .. }),
        ) => (
            "future",
            "The catalog is dated in the future".to_owned(),
            "Check this machine's clock",
        ),
        CatalogError::Operator(_) => (
            "keyState",
            "The operator's key states in the catalog do not follow the one that this node knows"
                .to_owned(),
            "Nothing to do: the known keys stay valid",
        ),
        CatalogError::Statement(_) | CatalogError::Field { .. } | CatalogError::Embedded { .. } => {
            (
                "malformed",
                "What is there is not a catalog".to_owned(),
                "Check the address; else tell the registry's operator",
            )
        }
    };
    let mut problem = problem(kind, message, hint);
    problem.details = explain::causes(error);
    problem
}
