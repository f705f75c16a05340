//! Runs jobs: one per app at a time, a bounded number in all, with events at a bounded rate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use archy_registry::Slug;
use jiff::Timestamp;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::context::{Context, Ending};
use super::machine::{ATTEMPTS_MAX, Record, Step, Wish, cancellable};
use super::store::{JobStore, StoreError};
use super::{Outcome, Worker};
use crate::api::types::{Job, JobKind, Problem};

/// Shortest time between two events of one job, except its end.
const EVENT_EVERY: Duration = Duration::from_millis(250);
/// Jobs that may wait or run; more are refused.
const ACTIVE_MAX: usize = 256;

/// A job cannot be submitted or cancelled.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too many jobs wait.
    #[error("{ACTIVE_MAX} jobs are waiting already")]
    Full,
    /// The daemon ends.
    #[error("the node is shutting down")]
    Stopping,
    /// There is no such job.
    #[error("there is no job {0}")]
    Unknown(String),
    /// It has ended or its kind cannot be cancelled.
    #[error("job {0} cannot be cancelled any more")]
    NotCancellable(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Active {
    context: Context,
    ordinal: u64,
}

struct Inner {
    store: JobStore,
    worker: Arc<dyn Worker>,
    events: broadcast::Sender<Job>,
    slots: Semaphore,
    active: Mutex<HashMap<String, Active>>,
    submitting: tokio::sync::Mutex<u64>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The handle of all jobs.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

impl Jobs {
    /// Starts the scheduler and takes up every job that has not ended.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn start(
        store: JobStore,
        worker: Arc<dyn Worker>,
        parallel_max: u32,
        events: broadcast::Sender<Job>,
        stop: CancellationToken,
    ) -> Result<Self, StoreError> {
        let unfinished = store.unfinished().await?;
        let jobs = Self(Arc::new(Inner {
            store,
            worker,
            events,
            slots: Semaphore::new(usize::try_from(parallel_max).unwrap_or(1).max(1)),
            active: Mutex::default(),
            submitting: tokio::sync::Mutex::new(0),
            tasks: TaskTracker::new(),
            stop,
        }));
        {
            let mut ordinal = jobs.0.submitting.lock().await;
            for record in unfinished {
                *ordinal += 1;
                tracing::info!(job.id = %record.id, app = %record.wish.app, "going on with a job after a restart");
                jobs.launch(record, *ordinal);
            }
        }
        Ok(jobs)
    }

    /// Submits a job; an equal one that has not ended is returned instead.
    ///
    /// # Errors
    ///
    /// [`SubmitError`].
    pub async fn submit(&self, wish: Wish) -> Result<Job, SubmitError> {
        let mut ordinal = self.0.submitting.lock().await;
        if self.0.stop.is_cancelled() {
            return Err(SubmitError::Stopping);
        }
        {
            let active = self.active();
            let newest = active
                .values()
                .filter(|job| job.context.wish.app.slug == wish.app.slug)
                .max_by_key(|job| job.ordinal);
            let goes_on = |record: &Record| !record.cancelling && !record.ended();
            if let Some(job) = newest
                && job.context.wish == wish
                && goes_on(&job.context.record.borrow())
            {
                return Ok(job.context.record.borrow().view());
            }
            if active.len() >= ACTIVE_MAX {
                return Err(SubmitError::Full);
            }
        }
        let record = self.0.store.create(wish, Timestamp::now()).await?;
        let view = record.view();
        *ordinal += 1;
        self.launch(record, *ordinal);
        Ok(view)
    }

    /// Asks a job to end and leave nothing behind.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Unknown`], [`SubmitError::NotCancellable`].
    pub async fn cancel(&self, id: &str) -> Result<Job, SubmitError> {
        let context = self.active().get(id).map(|job| job.context.clone());
        let Some(context) = context else {
            return match self.0.store.find(id).await? {
                Some(_) => Err(SubmitError::NotCancellable(id.to_owned())),
                None => Err(SubmitError::Unknown(id.to_owned())),
            };
        };
        if !cancellable(context.wish.kind) {
            return Err(SubmitError::NotCancellable(id.to_owned()));
        }
        context.step(Step::Cancel).await;
        // It may have ended a moment ago.
        if context.record.borrow().ended() {
            return Err(SubmitError::NotCancellable(id.to_owned()));
        }
        context.cancel.cancel();
        let view = context.record.borrow().view();
        Ok(view)
    }

    /// Shows a job.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Unknown`].
    pub async fn show(&self, id: &str) -> Result<Job, SubmitError> {
        if let Some(job) = self.active().get(id) {
            return Ok(job.context.record.borrow().view());
        }
        match self.0.store.find(id).await? {
            Some(record) => Ok(record.view()),
            None => Err(SubmitError::Unknown(id.to_owned())),
        }
    }

    /// Lists jobs, newest first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list(&self, active_only: bool, limit: u32) -> Result<Vec<Job>, StoreError> {
        let records = self.0.store.list(active_only, limit).await?;
        let active = self.active();
        Ok(records
            .into_iter()
            .map(|record| match active.get(&record.id) {
                Some(job) => job.context.record.borrow().view(),
                None => record.view(),
            })
            .collect())
    }

    /// Returns the job that works on an app now.
    pub fn on(&self, slug: &Slug) -> Option<Job> {
        self.active()
            .values()
            .filter(|job| job.context.wish.app.slug == *slug)
            .filter(|job| !job.context.record.borrow().ended())
            .min_by_key(|job| job.ordinal)
            .map(|job| job.context.record.borrow().view())
    }

    /// Returns how many jobs have not ended.
    pub fn active_count(&self) -> usize {
        let active = self.active();
        let going = active
            .values()
            .filter(|job| !job.context.record.borrow().ended());
        going.count()
    }

    /// Waits until every job has ended or stopped for the next start.
    pub async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn active(&self) -> std::sync::MutexGuard<'_, HashMap<String, Active>> {
        self.0
            .active
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    fn launch(&self, record: Record, ordinal: u64) {
        let inner = Arc::clone(&self.0);
        let cancel = inner.stop.child_token();
        if record.cancelling {
            cancel.cancel();
        }
        let wish = record.wish.clone();
        let context = Context {
            store: inner.store.clone(),
            cancel,
            stop: inner.stop.clone(),
            wish,
            record: watch::Sender::new(record),
        };
        let id = context.id();
        let before = {
            let mut active = self.active();
            let before = active
                .values()
                .filter(|job| job.context.wish.app.slug == context.wish.app.slug)
                .max_by_key(|job| job.ordinal)
                .map(|job| job.context.record.subscribe());
            active.insert(
                id.clone(),
                Active {
                    context: context.clone(),
                    ordinal,
                },
            );
            before
        };
        self.0
            .tasks
            .spawn(publish(context.record.subscribe(), inner.events.clone()));
        self.0.tasks.spawn(async move {
            drive(&inner, &context, before).await;
            inner
                .active
                .lock()
                .expect("nothing panics while it holds the lock")
                .remove(&id);
        });
    }
}

/// Takes a job from its turn, after the one `before` it on the same app, to its end.
async fn drive(inner: &Inner, context: &Context, before: Option<watch::Receiver<Record>>) {
    let waiting = async {
        if let Some(mut before) = before {
            // An error means that the job before is gone, which is an end too.
            let _ = before.wait_for(Record::ended).await;
        }
        inner.slots.acquire().await
    };
    // A job that never began has nothing to undo.
    let begun_before = context.record.borrow().runs > 0;
    let _slot = tokio::select! {
        biased;
        () = context.cancel.cancelled(), if !begun_before => {
            if context.ending() == Ending::Cancel {
                context.step(Step::Cancelled).await;
            }
            return;
        }
        () = inner.stop.cancelled() => return,
        held = waiting => held,
    };
    context.step(Step::Begin).await;
    let too_often = context.record.borrow().attempts > ATTEMPTS_MAX;
    if too_often {
        // The worker undoes what earlier attempts left, then the job ends as failed.
        context.cancel.cancel();
    }
    let outcome = inner.worker.run(context.clone()).await;
    let step = match outcome {
        Outcome::Suspended => Step::Suspend,
        Outcome::Done => Step::Succeed,
        Outcome::Failed(problem) => Step::Fail(problem),
        Outcome::Cancelled if too_often => Step::Fail(interrupted(context.wish.kind)),
        Outcome::Cancelled => Step::Cancelled,
    };
    if let Step::Fail(problem) = &step {
        tracing::warn!(
            job.id = %context.id(), app = %context.wish.app, kind = %problem.kind,
            details = ?problem.details, "job failed: {}", problem.message
        );
    }
    context.step(step).await;
}

fn interrupted(kind: JobKind) -> Problem {
    Problem {
        kind: "interrupted".to_owned(),
        message: format!("The node stopped {ATTEMPTS_MAX} times while it worked on this"),
        hint: Some(match kind {
            JobKind::Install => "Look at the daemon's log, then install again".to_owned(),
            JobKind::Uninstall
            | JobKind::Purge
            | JobKind::Start
            | JobKind::Stop
            | JobKind::Restart
            | JobKind::Update
            | JobKind::Rollback
            | JobKind::Reinstall
            | JobKind::Configure
            | JobKind::Adopt
            | JobKind::Migrate
            | JobKind::Unmigrate
            | JobKind::Finish
            | JobKind::Backup
            | JobKind::Restore
            | JobKind::Verify => "Look at the daemon's log, then try again".to_owned(),
        }),
        details: Vec::new(),
    }
}

/// Sends a job's changes on, the newest state at most every [`EVENT_EVERY`] and the end at once.
async fn publish(mut record: watch::Receiver<Record>, events: broadcast::Sender<Job>) {
    loop {
        let (view, ended) = {
            let record = record.borrow_and_update();
            (record.view(), record.ended())
        };
        // Nobody listening is no failure.
        let _ = events.send(view);
        if ended {
            return;
        }
        let pause = tokio::time::sleep(EVENT_EVERY);
        tokio::pin!(pause);
        let mut waited = false;
        let mut changed = false;
        while !(waited && changed) {
            tokio::select! {
                () = &mut pause, if !waited => waited = true,
                change = record.changed(), if !changed || !waited => {
                    if change.is_err() {
                        return;
                    }
                    if record.borrow().ended() {
                        break;
                    }
                    record.mark_unchanged();
                    changed = true;
                }
            }
        }
    }
}
