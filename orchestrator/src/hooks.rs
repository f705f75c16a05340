//! Steps round install, update and uninstall: what a manifest's hooks ask for, each step once.
//!
//! A command runs in the app's running container over podman's API: nothing is started on the node, no shell is
//! involved, and the process lands in the container's own control group. It stays there rather than in a scope of its
//! own: that is where the app's limits hold, and where it ends with its container; a scope outside would take it out of
//! both. A time limit ends it with everything that it started.
//!
//! Which steps are done is on disk, so that a node that was killed goes on with the next one, and never repeats one that
//! is done. A command that was on its way is found again by its session and waited for.
//!
//! A step that fails is not tried again by itself, and the steps after it are not begun. What that means is the caller's
//! to decide: `post_install` undoes the install, `pre_update` refuses the update, `post_update` rolls it back, and
//! `pre_uninstall` is noted while the uninstall goes on.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use archy_registry::Slug;
use archy_registry::manifest::{Hook, Hooks, Span};
use serde::{Deserialize, Serialize};

use crate::desired::Desired;
use crate::names;
use crate::orchestrator::Orchestrator;
use crate::quadlet::app_dir;
use crate::runtime::podman::{Executed, PodmanError};

mod copy;
mod markers;
mod wait;

pub use copy::CopyError;
use markers::{Markers, Session};

/// When hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// After the first healthy start.
    PostInstall,
    /// Before an update stops the app.
    PreUpdate,
    /// After an updated app is healthy.
    PostUpdate,
    /// Before the app is stopped for good.
    PreUninstall,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PostInstall => "post_install",
            Self::PreUpdate => "pre_update",
            Self::PostUpdate => "post_update",
            Self::PreUninstall => "pre_uninstall",
        })
    }
}

impl Moment {
    fn steps(self, hooks: &Hooks) -> &[Hook] {
        match self {
            Self::PostInstall => &hooks.post_install,
            Self::PreUpdate => &hooks.pre_update,
            Self::PostUpdate => &hooks.post_update,
            Self::PreUninstall => &hooks.pre_uninstall,
        }
    }
}

/// A step of a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The command ended with another exit code than 0.
    #[error("step {step} of {moment} in container {container} ended with exit code {exit_code}{}", tail(.output))]
    Failed {
        /// When.
        moment: Moment,
        /// Which step, from 1.
        step: usize,
        /// Where.
        container: Slug,
        /// The exit code.
        exit_code: i32,
        /// The last lines that it wrote.
        output: Vec<String>,
    },
    /// The command took too long and was ended.
    #[error("step {step} of {moment} in container {container} took longer than {} s and was ended", .limit.as_secs())]
    TimedOut {
        /// When.
        moment: Moment,
        /// Which step, from 1.
        step: usize,
        /// Where.
        container: Slug,
        /// The limit.
        limit: Duration,
    },
    /// A file of the node could not be copied.
    #[error("step {step} of {moment} cannot copy a file into container {container}")]
    Copy {
        /// When.
        moment: Moment,
        /// Which step, from 1.
        step: usize,
        /// Where to.
        container: Slug,
        /// Why.
        #[source]
        source: CopyError,
    },
    /// podman.
    #[error("step {step} of {moment} cannot run in container {container}")]
    Podman {
        /// When.
        moment: Moment,
        /// Which step, from 1.
        step: usize,
        /// Where.
        container: Slug,
        /// Why.
        #[source]
        source: PodmanError,
    },
    /// What is done cannot be read or written.
    #[error("cannot keep track of the steps in {path}")]
    Markers {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Time that a command may take unless the manifest says otherwise.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Lines of output that go with a failure.
const OUTPUT_LINES_MAX: usize = 20;
/// Characters of each.
const LINE_CHARS_MAX: usize = 300;
const FILE: &str = "hooks.json";

impl Orchestrator {
    /// Runs the steps of a hook that are not done yet, in order. The app's containers must run; its lock is the caller's.
    ///
    /// # Errors
    ///
    /// [`HookError`] of the first step that fails; a later call begins with that step.
    pub async fn run_hooks(&self, desired: &Desired, moment: Moment) -> Result<(), HookError> {
        let steps = moment.steps(&desired.release.manifest.hooks);
        if steps.is_empty() {
            return Ok(());
        }
        let mut markers = Markers::load(self.hooks_file(desired.slug()))?;
        markers.begin(moment, desired.release_hash);
        while let Some(hook) = steps.get(markers.done(moment)) {
            let step = Step {
                moment,
                number: markers.done(moment) + 1,
                container: hook.container(),
                name: names::container(&desired.release.manifest, hook.container()),
            };
            tracing::info!(app = %desired.app, moment = %moment, step = step.number, "running a step of a hook");
            match hook {
                Hook::Exec {
                    command, timeout, ..
                } => {
                    let limit = timeout.map_or(TIMEOUT, Span::as_duration);
                    self.exec_step(&step, command, limit, &mut markers).await?;
                }
                Hook::CopyFromHost { from, to, .. } => self.copy_step(&step, from, to).await?,
            }
            markers.finish(moment)?;
        }
        Ok(())
    }

    /// Forgets which steps of these hooks are done, so that they run from the first one again, and ends a command of
    /// theirs that nobody waits for any more: what an update does before it begins, and when it is cancelled.
    pub(crate) async fn forget_hooks(
        &self,
        app: &Slug,
        moments: &[Moment],
    ) -> Result<(), HookError> {
        let mut markers = Markers::load(self.hooks_file(app))?;
        for session in moments.iter().filter_map(|moment| markers.session(*moment)) {
            if let Err(error) = self.inner.podman.kill_exec(&session.0).await {
                tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "a command of a hook may go on");
            }
        }
        markers.forget(moments)
    }

    /// Tells whether a step of a hook of this release was begun.
    pub(crate) fn has_begun(&self, desired: &Desired, moment: Moment) -> Result<bool, HookError> {
        let markers = Markers::load(self.hooks_file(desired.slug()))?;
        Ok(markers.has_begun(moment, desired.release_hash))
    }

    /// Forgets all hooks of an app that is removed.
    pub(crate) fn forget_all_hooks(&self, app: &Slug) -> io::Result<()> {
        crate::disk::remove_file(&self.hooks_file(app))
    }

    /// Runs what an app asks for before it goes, if it runs; a failure is noted and keeps nobody from uninstalling.
    pub(crate) async fn say_goodbye(&self, desired: &Desired) {
        if !desired.is_kept_running() {
            return;
        }
        let saying = async {
            let moments = [Moment::PreUninstall];
            // An earlier uninstall may have been given up.
            self.forget_hooks(desired.slug(), &moments).await?;
            self.run_hooks(desired, Moment::PreUninstall).await
        };
        if let Err(error) = saying.await {
            tracing::warn!(app = %desired.app, error = crate::error_chain(&error), "a step before the uninstall failed; the uninstall goes on");
        }
    }

    fn hooks_file(&self, app: &Slug) -> PathBuf {
        app_dir(&self.inner.facts.apps_dir, app).join(FILE)
    }

    async fn exec_step(
        &self,
        step: &Step<'_>,
        command: &[String],
        limit: Duration,
        markers: &mut Markers,
    ) -> Result<(), HookError> {
        let podman = &self.inner.podman;
        let failed = |source| step.podman(source);
        let earlier = match markers.session(step.moment) {
            Some(session) => self.find_again(session, limit).await.map_err(failed)?,
            None => None,
        };
        let ended = match earlier {
            Some(ended) => ended,
            None => {
                let session = podman
                    .create_exec(&step.name, command)
                    .await
                    .map_err(failed)?;
                // Noted before it starts: a node that is killed now finds out how it ended.
                markers.note(step.moment, Session(session.clone()))?;
                match tokio::time::timeout(limit, podman.run_exec(&session)).await {
                    Ok(ended) => Ended::Exited(ended.map_err(failed)?),
                    Err(_) => {
                        podman.kill_exec(&session).await.map_err(failed)?;
                        Ended::TimedOut
                    }
                }
            }
        };
        match ended {
            Ended::Exited(Executed { exit_code: 0, .. }) => Ok(()),
            Ended::Exited(Executed { exit_code, output }) => {
                markers.drop_session(step.moment)?;
                Err(HookError::Failed {
                    moment: step.moment,
                    step: step.number,
                    container: step.container.clone(),
                    exit_code,
                    output: last_lines(&output),
                })
            }
            Ended::TimedOut => {
                markers.drop_session(step.moment)?;
                Err(HookError::TimedOut {
                    moment: step.moment,
                    step: step.number,
                    container: step.container.clone(),
                    limit,
                })
            }
        }
    }

    /// Finds a command that an earlier life of this node started; `None` when it never started or podman has forgotten it.
    async fn find_again(
        &self,
        session: &Session,
        limit: Duration,
    ) -> Result<Option<Ended>, PodmanError> {
        let podman = &self.inner.podman;
        let Some(found) = podman.exec(&session.0).await? else {
            return Ok(None);
        };
        if found.running && !wait::ended(podman, &session.0, found.pid, limit).await? {
            podman.kill_exec(&session.0).await?;
            return Ok(Some(Ended::TimedOut));
        }
        let ended = podman.exec(&session.0).await?;
        let ended = ended.filter(|ended| ended.can_remove && !ended.running);
        Ok(ended.map(|ended| {
            Ended::Exited(Executed {
                exit_code: ended.exit_code,
                output: String::new(),
            })
        }))
    }

    async fn copy_step(&self, step: &Step<'_>, from: &str, to: &str) -> Result<(), HookError> {
        let failed = |source| HookError::Copy {
            moment: step.moment,
            step: step.number,
            container: step.container.clone(),
            source,
        };
        let allowed = self.inner.config.host_directories.clone();
        let (from, to) = (from.to_owned(), to.to_owned());
        let (directory, name) = to.rsplit_once('/').unwrap_or(("", &to));
        let directory = if directory.is_empty() { "/" } else { directory }.to_owned();
        let name = name.to_owned();
        let packed = tokio::task::spawn_blocking(move || copy::pack(&from, &allowed, &name)).await;
        let archive = packed
            .unwrap_or_else(|error| Err(CopyError::Pack(io::Error::other(error))))
            .map_err(failed)?;
        let put = self
            .inner
            .podman
            .put_archive(&step.name, &directory, archive);
        put.await.map_err(|source| step.podman(source))
    }
}

enum Ended {
    Exited(Executed),
    TimedOut,
}

/// The step at hand.
struct Step<'a> {
    moment: Moment,
    /// From 1.
    number: usize,
    container: &'a Slug,
    /// The container's name in podman.
    name: String,
}

impl Step<'_> {
    fn podman(&self, source: PodmanError) -> HookError {
        HookError::Podman {
            moment: self.moment,
            step: self.number,
            container: self.container.clone(),
            source,
        }
    }
}

/// The last lines of a program's output, without what terminals would obey.
fn last_lines(output: &str) -> Vec<String> {
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let first = lines.len().saturating_sub(OUTPUT_LINES_MAX);
    let clean = lines[first..].iter().map(|line| {
        let visible = line.chars().filter(|c| !c.is_control());
        visible.take(LINE_CHARS_MAX).collect()
    });
    clean.collect()
}

fn tail(output: &[String]) -> String {
    match output.last() {
        Some(last) => format!("; it said last: {last}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_without_control_characters() {
        let output: String = (0..50).map(|n| format!("line {n}\u{1b}[31m\n\n")).collect();
        let lines = last_lines(&output);
        assert_eq!(lines.len(), OUTPUT_LINES_MAX);
        assert_eq!(lines.last().map(String::as_str), Some("line 49[31m"));
        assert_eq!(tail(&[]), "");
    }
}
