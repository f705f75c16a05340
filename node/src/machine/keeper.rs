//! What a node needs of what keeps its apps' backups.

use std::path::PathBuf;

use archy_orchestrator::{Backup, BackupId, Keep, Papers, Proof, Schedule, Shelf};
use archy_registry::{AppId, Slug};
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{MachineError, Progress};
use crate::api::types::Problem;
use crate::judge::Allowed;

/// Keeps backups.
pub trait Keeper: Send + Sync {
    /// Says at once what is known.
    fn shelf(&self) -> Shelf;

    /// Looks again which backups there are.
    fn list(&self) -> BoxFuture<'_, Result<Shelf, Problem>>;

    /// Finds a backup by its name or the beginning of it.
    fn find<'a>(&'a self, id: &'a BackupId) -> BoxFuture<'a, Result<Backup, Problem>>;

    /// Returns what the publisher signed for the version in a backup.
    fn papers<'a>(&'a self, backup: &'a Backup) -> BoxFuture<'a, Result<Papers, Problem>>;

    /// Makes a backup; the app runs on whatever comes of it. Cancelled, it ends at the next moment at which nothing is
    /// half-done.
    fn make<'a>(
        &'a self,
        app: &'a Slug,
        papers: &'a Papers,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Backup, MachineError>>;

    /// Puts a backup in place of whatever there is of the app; otherwise all is as it was. May be dropped at any time: the
    /// next start of the node finishes it, or takes it back.
    fn restore<'a>(
        &'a self,
        release: &'a Allowed,
        backup: &'a Backup,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), MachineError>>;

    /// Checks that the repository is whole and that the backup comes up, beside the app; the answer is kept. Fails when that
    /// could not be found out.
    fn verify<'a>(
        &'a self,
        release: &'a Allowed,
        backup: &'a Backup,
        progress: Progress<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Proof, MachineError>>;

    /// Notes why a rehearsal could not be made, which says nothing of the backup.
    fn unrehearsed(&self, backup: &Backup, reason: String);

    /// Lets go of a backup.
    fn remove<'a>(&'a self, backup: &'a Backup) -> BoxFuture<'a, Result<(), Problem>>;

    /// Lets go of an app's old backups.
    fn thin<'a>(&'a self, app: &'a AppId, keep: Keep) -> BoxFuture<'a, Result<usize, Problem>>;

    /// Decides when an app is backed up by itself; `None` is never.
    fn plan(&self, app: &AppId, schedule: Option<Schedule>) -> Result<(), Problem>;

    /// Notes what came of a try; `None` is success.
    fn note(&self, app: &AppId, failure: Option<String>);

    /// Where the repository is.
    fn repository(&self) -> PathBuf;

    /// Where its password is.
    fn password_file(&self) -> PathBuf;
}
