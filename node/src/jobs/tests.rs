use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use proptest::prelude::*;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::types::{JobKind, JobPhase, JobState};

fn wish(slug: &str, kind: JobKind) -> Wish {
    Wish {
        kind,
        app: format!("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/{slug}")
            .parse()
            .unwrap(),
        name: slug.to_owned(),
        release: None,
        manner: Manner::default(),
    }
}

fn problem() -> Problem {
    Problem {
        kind: "test".to_owned(),
        message: "It failed".to_owned(),
        hint: None,
        details: Vec::new(),
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let phase = prop_oneof![
        Just(JobPhase::Checking),
        Just(JobPhase::Fetching),
        Just(JobPhase::Loading),
        Just(JobPhase::Preparing),
        Just(JobPhase::Copying),
        Just(JobPhase::Storing),
        Just(JobPhase::Restoring),
        Just(JobPhase::Starting),
        Just(JobPhase::Waiting),
        Just(JobPhase::Stopping),
        Just(JobPhase::Removing),
    ];
    prop_oneof![
        2 => Just(Step::Begin),
        6 => phase.prop_map(|phase| Step::Enter(phase, String::new())),
        6 => any::<f64>().prop_map(|fraction| Step::Progress(fraction, None, None)),
        1 => Just(Step::Cancel),
        1 => Just(Step::Suspend),
        1 => Just(Step::Succeed),
        1 => Just(Step::Fail(problem())),
        1 => Just(Step::Cancelled),
    ]
}

proptest! {
    /// Whatever happens: percent never goes back, 100 means success, an end is final and single.
    #[test]
    fn a_job_moves_forward_and_ends_once(
        kind in prop_oneof![
            Just(JobKind::Install), Just(JobKind::Uninstall), Just(JobKind::Purge),
            Just(JobKind::Start), Just(JobKind::Stop), Just(JobKind::Restart),
            Just(JobKind::Update), Just(JobKind::Rollback), Just(JobKind::Reinstall), Just(JobKind::Configure),
            Just(JobKind::Adopt), Just(JobKind::Migrate), Just(JobKind::Unmigrate), Just(JobKind::Finish),
            Just(JobKind::Backup), Just(JobKind::Restore), Just(JobKind::Verify)
        ],
        steps in prop::collection::vec(steps(), 0..40),
    ) {
        let mut record = Record::new("x".to_owned(), wish("app", kind), Timestamp::UNIX_EPOCH);
        let mut ends = 0;
        for step in steps {
            let before = record.clone();
            let changed = record.apply(step, Timestamp::UNIX_EPOCH);
            prop_assert!(record.percent >= before.percent);
            prop_assert!((0.0..=100.0).contains(&record.percent));
            prop_assert_eq!(record.percent == 100.0, record.state == JobState::Succeeded);
            prop_assert_eq!(record.problem.is_some(), record.state == JobState::Failed);
            if before.ended() {
                prop_assert!(!changed);
                prop_assert_eq!(&before, &record);
            } else if record.ended() {
                ends += 1;
                prop_assert_eq!(record.phase, JobPhase::Done);
                prop_assert!(!record.view().cancellable);
            }
            let text = serde_json::to_string(&record).unwrap();
            prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap().state, record.state);
        }
        prop_assert!(ends <= 1);
    }
}

/// Ends as it is told, or waits until it is asked to end.
struct Script {
    runs: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
    release: Notify,
    outcome: fn() -> Outcome,
    wait: bool,
}

impl Script {
    fn new(wait: bool, outcome: fn() -> Outcome) -> Arc<Self> {
        Arc::new(Self {
            runs: AtomicU32::new(0),
            at_once: AtomicU32::new(0),
            most_at_once: AtomicU32::new(0),
            release: Notify::new(),
            outcome,
            wait,
        })
    }
}

impl Worker for Script {
    fn run(&self, context: Context) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(async move {
            self.runs.fetch_add(1, Ordering::SeqCst);
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            context.enter(JobPhase::Fetching, "Fetching").await;
            context.progress(0.5, None, None);
            let ended = async {
                if self.wait {
                    self.release.notified().await;
                }
            };
            let outcome = tokio::select! {
                () = context.token().cancelled() => match context.ending() {
                    Ending::Stop => Outcome::Suspended,
                    Ending::Cancel => Outcome::Cancelled,
                },
                () = ended => (self.outcome)(),
            };
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            outcome
        })
    }
}

struct Bed {
    _dir: tempfile::TempDir,
    store: JobStore,
    events: broadcast::Sender<crate::api::types::Job>,
}

impl Bed {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pool = crate::database::open(&dir.path().join("node.db"))
            .await
            .unwrap();
        Self {
            _dir: dir,
            store: JobStore::new(pool),
            events: broadcast::Sender::new(1024),
        }
    }

    async fn start(&self, worker: Arc<Script>, parallel: u32) -> (Jobs, CancellationToken) {
        let stop = CancellationToken::new();
        let jobs = Jobs::start(
            self.store.clone(),
            worker,
            parallel,
            self.events.clone(),
            stop.clone(),
        )
        .await
        .unwrap();
        (jobs, stop)
    }
}

/// Waits for the event that `wanted` accepts.
async fn event(
    events: &mut broadcast::Receiver<crate::api::types::Job>,
    wanted: impl Fn(&crate::api::types::Job) -> bool,
) -> crate::api::types::Job {
    loop {
        let job = events.recv().await.unwrap();
        if wanted(&job) {
            return job;
        }
    }
}

fn ended(job: &crate::api::types::Job) -> bool {
    job.phase == JobPhase::Done
}

#[tokio::test]
async fn a_job_runs_and_its_end_is_stored() {
    let bed = Bed::new().await;
    let mut events = bed.events.subscribe();
    let (jobs, _stop) = bed.start(Script::new(false, || Outcome::Done), 1).await;
    let job = jobs.submit(wish("app", JobKind::Install)).await.unwrap();
    let end = event(&mut events, ended).await;
    assert_eq!(
        (end.id.as_str(), end.state),
        (job.id.as_str(), JobState::Succeeded)
    );
    jobs.stopped().await;
    assert_eq!(jobs.show(&job.id).await.unwrap().percent, 100.0);
    assert!(bed.store.unfinished().await.unwrap().is_empty());
    assert!(matches!(
        jobs.show("nothing").await,
        Err(SubmitError::Unknown(_))
    ));
}

#[tokio::test]
async fn a_failure_keeps_its_problem() {
    let bed = Bed::new().await;
    let mut events = bed.events.subscribe();
    let (jobs, _stop) = bed
        .start(Script::new(false, || Outcome::Failed(problem())), 1)
        .await;
    jobs.submit(wish("app", JobKind::Install)).await.unwrap();
    let end = event(&mut events, ended).await;
    assert_eq!(end.problem, Some(problem()));
    assert!(end.percent < 100.0);
}

#[tokio::test]
async fn the_owner_cancels_waiting_and_running_jobs() {
    let bed = Bed::new().await;
    let mut events = bed.events.subscribe();
    let worker = Script::new(true, || Outcome::Done);
    let (jobs, _stop) = bed.start(Arc::clone(&worker), 1).await;
    let first = jobs.submit(wish("one", JobKind::Install)).await.unwrap();
    event(&mut events, |job| job.phase == JobPhase::Fetching).await;
    let second = jobs.submit(wish("two", JobKind::Install)).await.unwrap();
    assert_eq!(jobs.list(true, 50).await.unwrap().len(), 2);

    jobs.cancel(&second.id).await.unwrap();
    let end = event(&mut events, |job| job.id == second.id && ended(job)).await;
    assert_eq!(end.state, JobState::Cancelled);
    jobs.cancel(&first.id).await.unwrap();
    let end = event(&mut events, |job| job.id == first.id && ended(job)).await;
    assert_eq!(end.state, JobState::Cancelled);
    jobs.stopped().await;
    assert_eq!(worker.runs.load(Ordering::SeqCst), 1);
    assert!(matches!(
        jobs.cancel(&first.id).await,
        Err(SubmitError::NotCancellable(_))
    ));
}

#[tokio::test]
async fn removing_cannot_be_cancelled() {
    let bed = Bed::new().await;
    let worker = Script::new(true, || Outcome::Done);
    let (jobs, _stop) = bed.start(Arc::clone(&worker), 1).await;
    let job = jobs.submit(wish("one", JobKind::Purge)).await.unwrap();
    assert!(matches!(
        jobs.cancel(&job.id).await,
        Err(SubmitError::NotCancellable(_))
    ));
    worker.release.notify_one();
    jobs.stopped().await;
}

#[tokio::test]
async fn the_same_wish_twice_is_one_job_and_an_app_has_one_at_a_time() {
    let bed = Bed::new().await;
    let worker = Script::new(true, || Outcome::Done);
    let (jobs, _stop) = bed.start(Arc::clone(&worker), 8).await;
    let first = jobs.submit(wish("one", JobKind::Install)).await.unwrap();
    let again = jobs.submit(wish("one", JobKind::Install)).await.unwrap();
    assert_eq!(first.id, again.id);
    let removal = jobs.submit(wish("one", JobKind::Uninstall)).await.unwrap();
    assert_ne!(first.id, removal.id);
    assert_eq!(jobs.on(&"one".parse().unwrap()).unwrap().id, first.id);
    let mut events = bed.events.subscribe();
    worker.release.notify_one();
    event(&mut events, |job| job.id == first.id && ended(job)).await;
    worker.release.notify_one();
    event(&mut events, |job| job.id == removal.id && ended(job)).await;
    jobs.stopped().await;
    assert_eq!(worker.most_at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_restart_takes_up_what_had_not_ended() {
    let bed = Bed::new().await;
    let mut events = bed.events.subscribe();
    let (jobs, stop) = bed.start(Script::new(true, || Outcome::Done), 2).await;
    let mut ids = Vec::new();
    for slug in ["one", "two", "three"] {
        ids.push(jobs.submit(wish(slug, JobKind::Install)).await.unwrap().id);
    }
    event(&mut events, |job| job.phase == JobPhase::Fetching).await;
    stop.cancel();
    jobs.stopped().await;
    assert_eq!(bed.store.unfinished().await.unwrap().len(), 3);
    assert!(matches!(
        jobs.submit(wish("four", JobKind::Install)).await,
        Err(SubmitError::Stopping)
    ));

    let (jobs, _stop) = bed.start(Script::new(false, || Outcome::Done), 2).await;
    jobs.stopped().await;
    for id in ids {
        assert_eq!(jobs.show(&id).await.unwrap().state, JobState::Succeeded);
    }
}

#[tokio::test]
async fn a_job_that_kills_the_daemon_ends_after_some_attempts() {
    let bed = Bed::new().await;
    let record = bed
        .store
        .create(wish("one", JobKind::Install), Timestamp::now())
        .await
        .unwrap();
    for _ in 0..ATTEMPTS_MAX {
        let mut stored = bed.store.find(&record.id).await.unwrap().unwrap();
        bed.store
            .apply(&mut stored, Step::Begin, Timestamp::now())
            .await
            .unwrap();
    }
    let (jobs, _stop) = bed.start(Script::new(true, || Outcome::Done), 1).await;
    jobs.stopped().await;
    let job = jobs.show(&record.id).await.unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.problem.unwrap().kind, "interrupted");
}

#[tokio::test]
async fn orderly_restarts_do_not_wear_a_job_out() {
    let bed = Bed::new().await;
    let mut events = bed.events.subscribe();
    let mut id = None;
    for _ in 0..ATTEMPTS_MAX + 2 {
        let (jobs, stop) = bed.start(Script::new(true, || Outcome::Done), 1).await;
        if id.is_none() {
            id = Some(jobs.submit(wish("one", JobKind::Install)).await.unwrap().id);
        }
        event(&mut events, |job| job.phase == JobPhase::Fetching).await;
        stop.cancel();
        jobs.stopped().await;
        while events.try_recv().is_ok() {}
    }
    let (jobs, _stop) = bed.start(Script::new(false, || Outcome::Done), 1).await;
    jobs.stopped().await;
    let job = jobs.show(&id.unwrap()).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded);
}

#[tokio::test]
async fn a_cancel_survives_a_kill() {
    let bed = Bed::new().await;
    let mut record = bed
        .store
        .create(wish("one", JobKind::Install), Timestamp::now())
        .await
        .unwrap();
    bed.store
        .apply(&mut record, Step::Begin, Timestamp::now())
        .await
        .unwrap();
    bed.store
        .apply(&mut record, Step::Cancel, Timestamp::now())
        .await
        .unwrap();
    let worker = Script::new(true, || Outcome::Done);
    let (jobs, _stop) = bed.start(Arc::clone(&worker), 1).await;
    jobs.stopped().await;
    // The worker ran once more, to undo.
    assert_eq!(worker.runs.load(Ordering::SeqCst), 1);
    assert_eq!(
        jobs.show(&record.id).await.unwrap().state,
        JobState::Cancelled
    );
}
