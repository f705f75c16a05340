//! Removes files that belong to no blob. iroh-blobs leaves some: the sizes of a blob that arrives at once, whatever a power
//! cut parts from its row.

use std::fs::DirEntry;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use archy_registry::Blake3Hash;
use iroh_blobs::api::blobs::BlobStatus;

use super::{BlobStore, text, to_hash};

/// Age of a file from which it is a stray when no blob needs it; a younger one may be about to become a blob.
const AGE_MIN: Duration = Duration::from_secs(60 * 60);

impl BlobStore {
    /// Removes strays. A blob that is held, or that the store knows, keeps all of its files.
    pub(crate) async fn remove_strays(&self) -> Result<(), String> {
        let dir = self.data_dir().to_owned();
        let now = SystemTime::now();
        let old = tokio::task::spawn_blocking(move || old_files(&dir, now)).await;
        let store = self.store().await?;
        for (blob, file) in old.map_err(text)?.map_err(text)? {
            if self.ledger().holds(&blob) {
                continue;
            }
            let status = store.blobs().status(to_hash(blob)).await.map_err(text)?;
            if !matches!(status, BlobStatus::NotFound) {
                continue;
            }
            // Whoever fetches it enters it into the ledger first, so while this is locked nobody begins.
            let ledger = self.ledger();
            if !ledger.holds(&blob) && is_old(&file, now) {
                match std::fs::remove_file(file.path()) {
                    Ok(()) => tracing::info!(file = %file.path().display(), "removed a stray file"),
                    Err(error) => {
                        tracing::warn!(file = %file.path().display(), %error, "cannot remove a stray file");
                    }
                }
            }
        }
        Ok(())
    }
}

/// Lists files that have not changed for long, by the blob in their names.
fn old_files(dir: &Path, now: SystemTime) -> io::Result<Vec<(Blake3Hash, DirEntry)>> {
    let mut old = Vec::new();
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let blob = name.to_str().and_then(|name| name.split_once('.'));
        let blob = blob.and_then(|(blob, _)| blob.parse().ok());
        if let Some(blob) = blob.filter(|_| is_old(&file, now)) {
            old.push((blob, file));
        }
    }
    Ok(old)
}

fn is_old(file: &DirEntry, now: SystemTime) -> bool {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|at| now.duration_since(at).ok());
    age.is_some_and(|age| age >= AGE_MIN)
}
