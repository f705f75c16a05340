//! Updates installed apps by itself where their owner lets it: when nothing is gained, the policy holds, and neither the owner
//! nor the machine has said no to that version.

use std::time::Duration;

use archy_registry::Blake3Hash;
use tokio_util::sync::CancellationToken;

use crate::api::types::{InstanceState, JobKind, UpdateOffer};
use crate::jobs::{Manner, Wish};
use crate::machine::Installed;
use crate::node::Node;

/// Time between two looks; a release is announced over days.
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);

/// Looks for updates until stopped.
pub(crate) async fn keep(node: Node, stop: CancellationToken) {
    let looking = async {
        node.jobs.ready().await;
        node.machine.ready().await;
        loop {
            node.update_by_itself().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = looking => {}
    }
}

impl Node {
    /// Submits a job for each app that may be updated without asking; returns how many.
    pub async fn update_by_itself(&self) -> usize {
        let observed = self.observed();
        if observed.stale.is_some() {
            return 0;
        }
        let mut submitted = 0;
        for installed in &observed.apps {
            let offer = match self.offer(installed).await {
                Ok(Some(offer)) if may(installed, &offer) => offer,
                Ok(_) => continue,
                Err(problem) => {
                    tracing::debug!(app = %installed.app, "no update by itself: {}", problem.message);
                    continue;
                }
            };
            if self.update_unasked(installed, &offer).await {
                submitted += 1;
            }
        }
        submitted
    }

    async fn update_unasked(&self, installed: &Installed, offer: &UpdateOffer) -> bool {
        let Some(jobs) = self.jobs.now() else {
            return false;
        };
        if jobs.on(&installed.app.slug).is_some() {
            return false;
        }
        let wish = Wish {
            kind: JobKind::Update,
            app: installed.app.clone(),
            name: self.display_name(&installed.app).await,
            release: offer.release.parse().ok(),
            manner: Manner::default(),
        };
        match jobs.submit(wish).await {
            Ok(_) => {
                tracing::info!(app = %installed.app, version = offer.version, "updating without being asked");
                true
            }
            Err(error) => {
                tracing::debug!(app = %installed.app, %error, "no update by itself");
                false
            }
        }
    }
}

/// Decides whether a version that the policy lets through is one to try now.
fn may(installed: &Installed, offer: &UpdateOffer) -> bool {
    let is_offered = |release: &Blake3Hash| release.to_string() == offer.release;
    let was_left = installed.before.as_ref();
    let has_failed = installed.failed.as_ref();
    offer.by_itself
        // One that does not run, or not well, is its owner's to look at.
        && installed.state == InstanceState::Running
        // What was claimed runs as others made it, and what it came from may still be wanted back.
        && installed.adoption.is_none()
        && !was_left.is_some_and(|before| is_offered(&before.release))
        && !has_failed.is_some_and(|failed| is_offered(&failed.release))
}

#[cfg(test)]
mod tests {
    use archy_orchestrator::{Earlier, FailedChange, Settings};
    use jiff::Timestamp;

    use super::*;
    use crate::api::types::AdoptionInfo;

    fn installed() -> Installed {
        Installed {
            app: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes"
                .parse()
                .unwrap(),
            version: "1".to_owned(),
            release: Blake3Hash::of(b"one"),
            state: InstanceState::Running,
            problem: None,
            containers: Vec::new(),
            interfaces: Vec::new(),
            installed: Timestamp::UNIX_EPOCH,
            data_dir: "/".into(),
            settings: Settings::default(),
            before: None,
            failed: None,
            adoption: None,
        }
    }

    fn offer() -> UpdateOffer {
        UpdateOffer {
            version: "2".to_owned(),
            seq: 2,
            release: Blake3Hash::of(b"two").to_string(),
            announced: String::new(),
            diff: None,
            kept: Vec::new(),
            notices: Vec::new(),
            by_itself: true,
            waits: Vec::new(),
        }
    }

    #[test]
    fn a_version_that_failed_or_that_its_owner_left_is_not_tried_unasked() {
        assert!(may(&installed(), &offer()));
        let waits = UpdateOffer {
            by_itself: false,
            ..offer()
        };
        assert!(!may(&installed(), &waits));
        let stopped = Installed {
            state: InstanceState::Stopped,
            ..installed()
        };
        assert!(!may(&stopped, &offer()));
        let claimed = Installed {
            adoption: Some(AdoptionInfo {
                migrated: false,
                containers: Default::default(),
            }),
            ..installed()
        };
        assert!(!may(&claimed, &offer()));
        for (release, allowed) in [(b"two", false), (b"old", true)] {
            let release = Blake3Hash::of(release);
            let left = Installed {
                before: Some(Earlier {
                    version: "2".to_owned(),
                    release,
                    has_data: true,
                }),
                ..installed()
            };
            let failed = Installed {
                failed: Some(FailedChange {
                    release,
                    version: "2".to_owned(),
                    reason: "never healthy".to_owned(),
                    at: Timestamp::UNIX_EPOCH,
                }),
                ..installed()
            };
            assert_eq!(may(&left, &offer()), allowed);
            assert_eq!(may(&failed, &offer()), allowed);
        }
    }
}
