//! SIGKILL of archyd at random moments during installs: every job ends, nothing is left behind.

use std::time::Duration;

use anyhow::ensure;
use archy_tests::node::Bed;
use archy_tests::stage::{Archyd, HELLO, Programs, Stage};
use archyd::api::types::{AppRef, InstallParams, InstanceState, JobRef, JobState, UninstallParams};

/// How often the daemon is killed.
const KILLS: u32 = 20;
/// The moments lie within so many milliseconds after the call: longer than an install of the app takes.
const SPREAD_MS: u64 = 3_000;

#[tokio::test]
async fn every_job_ends_however_often_the_daemon_is_killed() -> anyhow::Result<()> {
    let stage = Stage::set_up(Bed::new("kill"), &Programs::built()?, ["b"]).await?;
    stage.logged("kill", is_killed(&stage)).await
}

async fn is_killed(stage: &Stage<1>) -> anyhow::Result<()> {
    let (a, [b]) = (&stage.publisher, &stage.stores);
    a.publish(&HELLO).await?;
    let app = b.hears_of(HELLO.slug).await?;
    let mut moments = Moments(0x5eed);
    let mut installed = 0;
    for round in 0..KILLS {
        let moment = moments.next();
        let ended = round_trip(b, &app, moment).await;
        let succeeded = ended.map_err(|error| {
            error.context(format!(
                "round {round}, killed after {} ms",
                moment.as_millis()
            ))
        })?;
        installed += u32::from(succeeded);
    }
    // Whatever the kills did, an undisturbed install works on what they left.
    let job = b.install(&app).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "the last install ended {:?}: {:?}",
        job.state,
        job.problem
    );
    b.becomes(HELLO.slug, InstanceState::Running).await?;
    ensure!(
        installed > 0,
        "no install survived a kill: the daemon does not pick up its jobs"
    );
    Ok(())
}

/// Starts an install, kills the daemon, and checks what became of both. Tells whether the install succeeded.
async fn round_trip(store: &Archyd, app: &AppRef, moment: Duration) -> anyhow::Result<bool> {
    let job: JobRef = store
        .call(
            "package.install",
            InstallParams {
                app: app.clone(),
                release: None,
            },
        )
        .await?;
    // The random moment is the test: there is no event to wait for.
    tokio::time::sleep(moment).await;
    store.kill_daemon().await?;
    let job = store.ends(&job).await?;
    match job.state {
        JobState::Succeeded => {
            store.becomes(HELLO.slug, InstanceState::Running).await?;
            let uninstall = UninstallParams {
                slug: HELLO.slug.to_owned(),
                purge: true,
                force: false,
            };
            store.does("package.uninstall", uninstall).await?;
            store.nothing_runs_of(HELLO.slug).await?;
            Ok(true)
        }
        JobState::Failed | JobState::Cancelled => {
            ensure!(
                job.problem.is_some(),
                "a job ended {:?} without a reason",
                job.state
            );
            store.nothing_runs_of(HELLO.slug).await?;
            Ok(false)
        }
        JobState::Queued | JobState::Running => unreachable!("ends() returns ended jobs"),
    }
}

/// Random moments from a seed, so that a failure can be repeated (SplitMix64).
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_millis((z ^ (z >> 31)) % SPREAD_MS)
    }
}
