//! Checks what is stored when the owner asks for it, and fetches again what is bad of installed apps.

use std::sync::{Arc, Mutex, MutexGuard};

use archy_swarm::storage::{Damage, Fsck, FsckProgress, Wrong};
use archy_swarm::{Class, FetchRequest, Role, Swarm, Wanted};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::api::types::{BadBlob, FsckReport};
use crate::install::app_tag;
use crate::node::Node;
use crate::problem as explain;

/// The check under way or the last one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Fscks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    wanted: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    report: Option<FsckReport>,
    stop: CancellationToken,
}

impl Fscks {
    /// Has a check begin unless one is under way.
    pub fn begin(&self) {
        let mut state = self.lock();
        if state.report.as_ref().is_some_and(|report| report.running) {
            return;
        }
        state.stop = CancellationToken::new();
        state.report = Some(FsckReport {
            running: true,
            began: Timestamp::now().to_string(),
            ended: None,
            blobs_done: 0,
            blobs_total: 0,
            bytes_done: 0,
            bytes_total: 0,
            bad: Vec::new(),
            unheld_bytes: 0,
            problem: None,
        });
        self.0.wanted.notify_one();
    }

    /// Ends the check under way; what it found stays.
    pub fn stop(&self) {
        self.lock().stop.cancel();
    }

    /// Returns what the check under way, or the last one, has found.
    pub fn report(&self) -> Option<FsckReport> {
        self.lock().report.clone()
    }

    fn change(&self, change: impl FnOnce(&mut FsckReport)) {
        if let Some(report) = &mut self.lock().report {
            change(report);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.expect("nothing panics while it holds the lock")
    }
}

/// Runs checks until stopped.
pub(crate) async fn check(node: Node, stop: CancellationToken) {
    let checking = async {
        loop {
            node.fsck.0.wanted.notified().await;
            let swarm = node.swarm.ready().await;
            let asked = node.fsck.lock().stop.clone();
            let progress = |progress| node.fsck.change(|report| show(report, progress));
            match swarm.fsck(&asked, progress).await {
                Ok(found) => {
                    take_in(&node, &found);
                    mend(&node, &swarm, &found, &asked).await;
                }
                Err(error) => {
                    let problem = explain::internal("check its storage", &error);
                    node.fsck.change(|report| report.problem = Some(problem));
                }
            }
            node.fsck.change(|report| {
                report.running = false;
                report.ended = Some(Timestamp::now().to_string());
            });
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = checking => {}
    }
}

fn show(report: &mut FsckReport, progress: FsckProgress) {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    report.blobs_done = count(progress.blobs_done);
    report.blobs_total = count(progress.blobs_total);
    report.bytes_done = progress.bytes_done;
    report.bytes_total = progress.bytes_total;
}

fn take_in(node: &Node, found: &Fsck) {
    let bad = found.bad.iter().map(|damage| BadBlob {
        blob: damage.blob.to_string(),
        size_bytes: damage.size_bytes,
        wrong: match damage.wrong {
            Wrong::Damaged => "damaged",
            Wrong::Missing => "missing",
        }
        .to_owned(),
        sets: damage.tags.iter().map(|(tag, _)| tag.to_string()).collect(),
        // Names are looked up when it is shown: an app may get another one.
        apps: Vec::new(),
        mended: false,
        hint: hint(damage).map(str::to_owned),
    });
    let bad = bad.collect();
    node.fsck.change(|report| {
        show(report, found.progress);
        report.bad = bad;
        report.unheld_bytes = found.unheld_bytes;
    });
}

/// What to do about a blob that could not be fetched again.
fn hint(damage: &Damage) -> Option<&'static str> {
    let is = |class| damage.tags.iter().any(|(_, of)| *of == class);
    if is(Class::Publishing) {
        Some("You publish this, and others may not have it: run archy publish again")
    } else if is(Class::Installed) {
        Some(
            "The app runs on; check again when its publisher or another node that has it is online",
        )
    } else {
        None
    }
}

/// Fetches what is bad of installed apps again.
async fn mend(node: &Node, swarm: &Swarm, found: &Fsck, stop: &CancellationToken) {
    let Some(machine) = node.machine.now() else {
        return;
    };
    let apps: Vec<_> = {
        let observed = machine.observed();
        let observed = observed.borrow();
        observed.apps.iter().map(|app| app.release).collect()
    };
    for hash in apps {
        let Ok(Some(release)) = node.store.release_as_admitted(&hash).await else {
            continue;
        };
        let tag = app_tag(&release);
        let of_app = found.bad.iter().filter(|damage| {
            let mut tags = damage.tags.iter();
            tags.any(|(of, _)| *of == tag)
        });
        let blobs: Vec<Wanted> = of_app
            .map(|damage| Wanted {
                blake3: damage.blob,
                size_bytes: damage.size_bytes,
                role: Role::Other,
            })
            .collect();
        if blobs.is_empty() {
            continue;
        }
        let mended: Vec<String> = blobs.iter().map(|blob| blob.blake3.to_string()).collect();
        let request = FetchRequest {
            tag,
            class: Class::Installed,
            blobs,
            origin: release.origin.endpoints.clone(),
            peers: Vec::new(),
            share: true,
        };
        match swarm.fetch(request, stop).finish().await {
            Ok(_) => node.fsck.change(|report| {
                let bad = report.bad.iter_mut();
                for blob in bad.filter(|blob| mended.contains(&blob.blob)) {
                    blob.mended = true;
                    blob.hint = None;
                }
            }),
            Err(error) => {
                tracing::warn!(app = %release.app(), %error, "could not fetch again what is damaged of an installed app");
            }
        }
    }
}
