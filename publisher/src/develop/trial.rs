//! Takes an app from its folder through its states, once, under a name of its own, and removes it again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use archy_orchestrator::{Instance, InstanceState};
use archy_registry::Slug;
use archy_registry::manifest::InterfaceKind;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::root::{Prepared, Root, last_lines};
use super::{interrupted, or_interrupted};
use crate::failure::Failure;
use crate::output::Output;

/// Longest wait for an app's first page after the app is up.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two looks at a page that does not answer yet: nothing tells of it.
const PAGE_INTERVAL: Duration = Duration::from_millis(200);
/// Lines of the app's log that go with a failure.
const LOG_LINES: u32 = 20;
/// The file in each volume that tells whether its data is the same as before.
const MARK: &str = ".archy-app-test";

/// A state that the app came through.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Passed {
    /// What was tried.
    pub state: &'static str,
    /// How long it took.
    pub seconds: f64,
}

/// Takes an app through its states and removes it, however that ends; `keep` leaves it where it is instead.
///
/// # Errors
///
/// What failed, with the last lines of the app's log.
pub async fn run(
    root: &Root,
    prepared: &Prepared,
    keep: bool,
    output: &Output,
    cancel: &CancellationToken,
) -> Result<Vec<Passed>, Failure> {
    let name = prepared.name();
    // What an earlier trial left.
    remove(root, name).await?;
    let mut trial = Trial {
        root,
        prepared,
        output,
        cancel,
        passed: Vec::new(),
    };
    let outcome = trial.whole(keep).await;
    let outcome = match outcome {
        Err(mut failure) => {
            if failure.details.is_empty() && !cancel.is_cancelled() {
                // An install that failed has no log any more, and brings its own lines.
                let lines = last_lines(root.orchestrator(), name, LOG_LINES).await;
                failure.details = lines.unwrap_or_default();
            }
            Err(failure)
        }
        Ok(()) => Ok(()),
    };
    if keep {
        output.progress(format_args!(
            "{name} stays; remove it with: archy app uninstall --dev {name} --purge"
        ));
    } else if let Err(failure) = remove(root, name).await {
        output.warning(format_args!(
            "{name} could not be removed: {}",
            failure.error
        ));
    }
    outcome.map(|()| trial.passed)
}

/// Removes all of an instance, if there is one.
async fn remove(root: &Root, name: &Slug) -> Result<(), Failure> {
    let place = root.orchestrator().config().apps_dir().join(name.as_str());
    if !place.exists() {
        return Ok(());
    }
    // Also after somebody interrupted: this is what ends it well.
    root.uninstall(name, true, &CancellationToken::new()).await
}

struct Trial<'a> {
    root: &'a Root,
    prepared: &'a Prepared,
    output: &'a Output,
    cancel: &'a CancellationToken,
    passed: Vec<Passed>,
}

impl Trial<'_> {
    async fn whole(&mut self, keep: bool) -> Result<(), Failure> {
        let (root, prepared, cancel) = (self.root, self.prepared, self.cancel);
        let (orchestrator, name) = (root.orchestrator(), prepared.name());
        let release = &prepared.release;
        let quiet = |_| {};
        let instance = self
            .state("install", async { root.install(prepared, cancel).await })
            .await?;
        let page = page(&instance);
        if page.is_some() {
            self.state("page answers", answers(page.as_deref(), cancel))
                .await?;
        }
        let volumes = volumes(&instance)?;
        let podman = &orchestrator.config().podman;
        mark(podman, &volumes).await?;
        let is_up = async |instance: Instance| {
            ensure_state(&instance, InstanceState::Running)?;
            answers(page.as_deref(), cancel).await
        };
        self.state("stop", async {
            let instance = orchestrator.stop(name, cancel).await?;
            ensure_state(&instance, InstanceState::Stopped)
        })
        .await?;
        self.state("start", async {
            is_up(orchestrator.start(name, cancel).await?).await
        })
        .await?;
        self.state("restart", async {
            is_up(orchestrator.restart(name, cancel).await?).await
        })
        .await?;
        self.state("reinstall keeps data", async {
            let instance = orchestrator.reinstall(release, &quiet, cancel).await?;
            is_up(instance).await?;
            is_marked(podman, &volumes).await
        })
        .await?;
        self.state("uninstall keeps data", async {
            root.uninstall(name, false, cancel).await?;
            self.prepared.nothing_runs(root).await?;
            is_marked(podman, &volumes).await
        })
        .await?;
        self.state("install finds data", async {
            let instance = root.install(prepared, cancel).await?;
            is_up(instance).await?;
            is_marked(podman, &volumes).await
        })
        .await?;
        if keep {
            return unmark(podman, &volumes).await;
        }
        self.state("purge leaves nothing", async {
            root.uninstall(name, true, cancel).await?;
            let left = prepared.left(root).await?;
            none_left(&left)
        })
        .await
    }

    /// Tries one state and says how it went.
    async fn state<T>(
        &mut self,
        state: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if self.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let began = Instant::now();
        let outcome = work.await;
        let seconds = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        match outcome {
            Ok(value) => {
                self.output
                    .progress(format_args!("ok    {state:22} {seconds:6.1} s"));
                self.passed.push(Passed { state, seconds });
                Ok(value)
            }
            Err(mut failure) => {
                self.output
                    .progress(format_args!("FAIL  {state:22} {seconds:6.1} s"));
                failure.error = format!("{state}: {}", failure.error);
                Err(failure)
            }
        }
    }
}

impl Prepared {
    /// Checks that an uninstalled instance has left but its directory.
    async fn nothing_runs(&self, root: &Root) -> Result<(), Failure> {
        let place = root.orchestrator().config().apps_dir();
        let place = place.join(self.name().as_str());
        let kept = format!("the directory {}", place.display());
        let mut left = self.left(root).await?;
        left.retain(|thing| *thing != kept);
        none_left(&left)
    }

    /// Lists what the machine has of the instance, images too.
    async fn left(&self, root: &Root) -> Result<Vec<String>, Failure> {
        let (orchestrator, name) = (root.orchestrator(), self.name());
        let mut left = orchestrator.remains(name).await?;
        for image in &self.release.images {
            let has = orchestrator.has_image(name, image).await;
            let unasked = |error: &dyn std::error::Error| {
                Failure::failed("image", crate::failure::chain(error))
            };
            if has.map_err(|error| unasked(&error))? {
                left.push(format!("the image of {}", image.container));
            }
        }
        Ok(left)
    }
}

fn none_left(left: &[String]) -> Result<(), Failure> {
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(
        "left",
        format!("left behind: {}", left.join(", ")),
    ))
}

fn ensure_state(instance: &Instance, wanted: InstanceState) -> Result<(), Failure> {
    if instance.state == wanted {
        return Ok(());
    }
    let why = instance.reason.as_deref().unwrap_or("nobody knows why");
    let text = format!("it is {:?}, not {wanted:?}: {why}", instance.state);
    Err(Failure::failed("state", text))
}

/// The address of the first page for people, if the app has one.
fn page(instance: &Instance) -> Option<String> {
    let mut interfaces = instance.interfaces.iter();
    let ui = interfaces.find(|interface| interface.kind == InterfaceKind::Ui)?;
    Some(format!("127.0.0.1:{}{}", ui.host_port, ui.path))
}

/// Waits until a page answers as one for people does: not with an error of its own, nor that there is no such page.
async fn answers(page: Option<&str>, cancel: &CancellationToken) -> Result<(), Failure> {
    let Some(page) = page else {
        return Ok(());
    };
    let mut last = String::new();
    let asking = async {
        loop {
            match status(page).await {
                Ok(200..=399 | 401 | 403) => return Ok(()),
                Ok(status) => last = format!("it answered {status}"),
                Err(error) => last = error,
            }
            tokio::time::sleep(PAGE_INTERVAL).await;
        }
    };
    let asking = or_interrupted(cancel, asking);
    match tokio::time::timeout(PAGE_TIMEOUT, asking).await {
        Ok(answered) => answered,
        Err(_) => Err(Failure::failed(
            "page",
            format!(
                "http://{page} did not answer within {} s: {last}",
                PAGE_TIMEOUT.as_secs()
            ),
        )),
    }
}

/// Asks for a page (`HOST:PORT/PATH`) and returns the status code.
async fn status(page: &str) -> Result<u16, String> {
    let (host, path) = page.split_at(page.find('/').unwrap_or(page.len()));
    let words = |error: &dyn std::error::Error| crate::failure::chain(error);
    let stream = TcpStream::connect(host).await.map_err(|e| words(&e))?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| words(&e))?;
    let request = Request::get(if path.is_empty() { "/" } else { path })
        .header(hyper::header::HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(|e| words(&e))?;
    let answer = client.send_request(request);
    tokio::pin!(answer);
    let answered = tokio::select! {
        answered = &mut answer => answered,
        // It may have ended with the answer in hand.
        _ = connection => answer.await,
    };
    answered
        .map(|answered| answered.status().as_u16())
        .map_err(|e| words(&e))
}

/// The directories of the instance's volumes.
fn volumes(instance: &Instance) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| Failure::file("read", &instance.data_dir, &error);
    if !instance.data_dir.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&instance.data_dir).map_err(unreadable)?;
    entries
        .map(|entry| Ok(entry.map_err(unreadable)?.path()))
        .collect()
}

/// Puts the mark into each volume, whose files may belong to users that only podman's user namespace has.
async fn mark(podman: &Path, volumes: &[PathBuf]) -> Result<(), Failure> {
    for volume in volumes {
        if !unshare(podman, "touch", &[], &volume.join(MARK)).await? {
            let text = format!("cannot write to {}", volume.display());
            return Err(Failure::failed("data", text));
        }
    }
    Ok(())
}

async fn is_marked(podman: &Path, volumes: &[PathBuf]) -> Result<(), Failure> {
    for volume in volumes {
        if !unshare(podman, "test", &["-e"], &volume.join(MARK)).await? {
            let text = format!("the data in {} is not what it was", volume.display());
            return Err(Failure::failed("data", text));
        }
    }
    Ok(())
}

async fn unmark(podman: &Path, volumes: &[PathBuf]) -> Result<(), Failure> {
    for volume in volumes {
        unshare(podman, "rm", &["-f"], &volume.join(MARK)).await?;
    }
    Ok(())
}

/// Runs a program on a file in podman's user namespace; tells whether it ended well. Whoever interrupts the trial at a
/// terminal does not interrupt it: what it does is short, and a test that was interrupted says so itself.
async fn unshare(
    podman: &Path,
    program: &str,
    arguments: &[&str],
    file: &Path,
) -> Result<bool, Failure> {
    let finished = Command::new(podman)
        .args(["unshare", program])
        .args(arguments)
        .arg(file)
        .process_group(0)
        .output()
        .await;
    let finished = finished.map_err(|error| Failure::file("run", podman, &error))?;
    Ok(finished.status.success())
}
