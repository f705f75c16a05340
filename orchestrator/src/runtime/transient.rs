//! Work that the user's systemd does for the daemon, as transient services with pipes to here: with podman's program, with
//! restic, and in the user namespace of podman's containers, where the files of their users can be read, copied and removed.
//!
//! The daemon itself is in a user namespace of its own ([`node_unit`](crate::node_unit)), from which podman's cannot be
//! entered; and what it would begin as its own child would have its limits.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::task::JoinSet;

use super::systemd::{JobResult, Run, ServiceState, Systemd, SystemdError};
use crate::quadlet::PAUSE_UNIT;

/// Begins the names of the services; the node's name follows, then a random one.
const PREFIX: &str = "archy-work-";
/// Bytes of a program's error output that are kept: the last ones.
const SAID_BYTES_MAX: usize = 16 << 10;

/// Has work done. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Transient {
    podman: PathBuf,
    by: By,
}

#[derive(Debug, Clone)]
enum By {
    Systemd {
        systemd: Arc<Systemd>,
        /// What all services of this node begin with.
        prefix: String,
    },
    /// As a child, for tests on machines without systemd.
    #[cfg(test)]
    Child,
}

/// A program to run: by its whole path, or inside podman's user namespace by its name.
#[derive(Debug)]
pub(crate) struct Order {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<String>,
    /// Variables that it does not get.
    without: Vec<&'static str>,
    directory: PathBuf,
    is_inside: bool,
}

impl Order {
    pub(crate) fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            without: Vec::new(),
            directory: PathBuf::from("/"),
            is_inside: false,
        }
    }

    /// Runs it in podman's user namespace.
    pub(crate) fn inside(mut self) -> Self {
        self.is_inside = true;
        self
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<T: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    pub(crate) fn env_remove(mut self, names: &[&'static str]) -> Self {
        self.without.extend(names);
        self
    }

    pub(crate) fn current_dir(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// The program that is begun and its arguments, itself the first.
    fn argv(self, podman: &Path) -> Vec<OsString> {
        let mut argv = Vec::new();
        if self.is_inside {
            argv.extend([podman.into(), "unshare".into()]);
        }
        argv.push(self.program.into());
        argv.extend(self.arguments);
        argv
    }
}

/// A program at work. Dropped, it is asked to end.
pub(crate) struct Work {
    /// What it reads; dropped, it reads the end.
    pub(crate) input: Option<pipe::Sender>,
    /// What it writes.
    pub(crate) output: Option<pipe::Receiver>,
    /// What it says of errors.
    pub(crate) errors: Option<pipe::Receiver>,
    running: Running,
}

enum Running {
    Service(Service),
    #[cfg(test)]
    Child(tokio::process::Child),
}

/// What a program left.
pub(crate) struct Left {
    pub(crate) status: ExitStatus,
    pub(crate) output: Vec<u8>,
    pub(crate) said: String,
}

impl Transient {
    /// `root` names the node among those of one user.
    pub(crate) fn new(podman: &Path, systemd: Arc<Systemd>, root: &str) -> Self {
        Self {
            podman: podman.to_owned(),
            by: By::Systemd {
                systemd,
                prefix: format!("{PREFIX}{root}-"),
            },
        }
    }

    /// Runs programs as children, and `podman unshare` through the program given.
    #[cfg(test)]
    pub(crate) fn of_children(podman: &Path) -> Self {
        Self {
            podman: podman.to_owned(),
            by: By::Child,
        }
    }

    /// Begins a program.
    ///
    /// # Errors
    ///
    /// When systemd cannot be asked, or cannot run it.
    pub(crate) async fn begin(&self, order: Order) -> io::Result<Work> {
        let (its_input, input) = io::pipe()?;
        let (output, its_output) = io::pipe()?;
        let (errors, its_errors) = io::pipe()?;
        let pipes = [
            OwnedFd::from(its_input),
            its_output.into(),
            its_errors.into(),
        ];
        let running = match &self.by {
            By::Systemd { systemd, prefix } => {
                let service = Service::begin(systemd, prefix, &self.podman, order, pipes);
                Running::Service(service.await?)
            }
            #[cfg(test)]
            By::Child => Running::Child(child(&self.podman, order, pipes)?),
        };
        Ok(Work {
            input: Some(pipe::Sender::from_owned_fd(input.into())?),
            output: Some(pipe::Receiver::from_owned_fd(output.into())?),
            errors: Some(pipe::Receiver::from_owned_fd(errors.into())?),
            running,
        })
    }

    /// Runs a program without input to its end.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin); how the program ended is in its [`Left::status`].
    pub(crate) async fn run(&self, order: Order) -> io::Result<Left> {
        let mut work = self.begin(order).await?;
        work.input = None;
        let mut output = Vec::new();
        let from = work.output.take();
        let hearing = async {
            match from {
                Some(mut from) => from.read_to_end(&mut output).await.map(drop),
                None => Ok(()),
            }
        };
        let said = work.said();
        let (heard, said) = tokio::join!(hearing, said);
        heard?;
        Ok(Left {
            status: work.end().await?,
            output,
            said,
        })
    }

    /// Runs a program of which only the end matters.
    ///
    /// # Errors
    ///
    /// What it said, when it fails.
    pub(crate) async fn perform(&self, order: Order) -> io::Result<()> {
        self.run(order).await?.succeeded().map(drop)
    }

    /// Removes a directory with all in it, whosever it is; a missing one is as good.
    pub(crate) async fn remove(&self, directory: &Path) -> io::Result<()> {
        if std::fs::symlink_metadata(directory).is_err() {
            return Ok(());
        }
        let rm = Order::new(Path::new("rm")).inside();
        self.perform(rm.args(["-rf", "--one-file-system", "--"]).arg(directory))
            .await
    }

    /// Reads a file of one of the containers' users.
    pub(crate) async fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let cat = Order::new(Path::new("cat")).inside();
        // What it says may quote the file no more than its name.
        self.run(cat.arg("--").arg(file)).await?.succeeded()
    }

    /// Ends what a daemon that was killed had begun: nobody waits for it any more, and it may be in the way.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub(crate) async fn sweep(&self) -> Result<(), SystemdError> {
        let (systemd, prefix) = match &self.by {
            By::Systemd { systemd, prefix } => (systemd, prefix),
            #[cfg(test)]
            By::Child => return Ok(()),
        };
        for unit in systemd.list(&format!("{prefix}*")).await? {
            systemd.forget(&unit.name).await?;
        }
        Ok(())
    }
}

impl Left {
    /// Returns its output.
    fn succeeded(self) -> io::Result<Vec<u8>> {
        match self.status.success() {
            true => Ok(self.output),
            false if self.said.is_empty() => Err(io::Error::other(self.status.to_string())),
            false => Err(io::Error::other(self.said)),
        }
    }
}

impl Work {
    /// Hears what it says of errors to the end, and returns the last of it.
    pub(crate) fn said(&mut self) -> impl Future<Output = String> + use<> {
        let errors = self.errors.take();
        async move {
            match errors {
                Some(errors) => last_words(errors).await,
                None => String::new(),
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When systemd cannot be asked any more.
    pub(crate) async fn end(self) -> io::Result<ExitStatus> {
        match self.running {
            Running::Service(service) => service.end().await,
            #[cfg(test)]
            Running::Child(mut child) => child.wait().await,
        }
    }
}

async fn last_words(mut from: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        kept.extend_from_slice(&piece[..read]);
        let surplus = kept.len().saturating_sub(SAID_BYTES_MAX);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

/// A transient service. Dropped before its end, it is stopped.
struct Service {
    systemd: Arc<Systemd>,
    unit: String,
    /// Waits for its end; taken by who hears of it.
    ending: Option<JoinSet<Result<JobResult, SystemdError>>>,
}

impl Service {
    async fn begin(
        systemd: &Arc<Systemd>,
        prefix: &str,
        podman: &Path,
        order: Order,
        pipes: [OwnedFd; 3],
    ) -> io::Result<Self> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let unit = format!("{prefix}{}.service", hex::encode(random));
        let directory = text(order.directory.as_os_str())?;
        let (environment, without) = (order.environment.clone(), order.without.clone());
        let argv = order.argv(podman);
        let argv: io::Result<Vec<String>> = argv.iter().map(|argument| text(argument)).collect();
        let run = Run {
            description: "Work for archy",
            argv: argv?,
            environment,
            without,
            directory,
            pipes,
            // Otherwise podman's pause process could be begun here, and end with this.
            after: Some(PAUSE_UNIT),
            protections: &[],
        };
        let ending = systemd.run(&unit, run).await.map_err(plain)?;
        Ok(Self {
            systemd: Arc::clone(systemd),
            unit,
            ending: Some(ending),
        })
    }

    async fn end(mut self) -> io::Result<ExitStatus> {
        use std::os::unix::process::ExitStatusExt;
        let ended = match &mut self.ending {
            Some(ending) => ending.join_next().await,
            None => None,
        };
        let ended = ended.ok_or(io::ErrorKind::NotFound)?;
        let ended = ended.map_err(io::Error::other)?.map_err(plain);
        // If systemd was lost, it is stopped when this is dropped.
        if ended? == JobResult::Done {
            self.ending = None;
            return Ok(ExitStatus::from_raw(0));
        }
        let state = self.systemd.service(&self.unit).await.map_err(plain)?;
        self.systemd.forget(&self.unit).await.map_err(plain)?;
        self.ending = None;
        Ok(failure(&state))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        // A daemon that ends just now sweeps when it begins again.
        if let (Some(_), Ok(runtime)) = (self.ending.take(), runtime) {
            let (systemd, unit) = (Arc::clone(&self.systemd), std::mem::take(&mut self.unit));
            runtime.spawn(async move {
                if let Err(error) = systemd.forget(&unit).await {
                    tracing::warn!(
                        unit,
                        error = &error as &dyn std::error::Error,
                        "work that was given up is not stopped"
                    );
                }
            });
        }
    }
}

/// How the program of a service that failed ended.
fn failure(state: &ServiceState) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    /// It ended by itself (CLD_EXITED of sigaction(2)).
    const EXITED: i32 = 1;
    match (state.exec_main_code, state.exec_main_status) {
        (EXITED, code @ 1..) => ExitStatus::from_raw(code << 8),
        (2.., signal @ 1..) => ExitStatus::from_raw(signal & 0x7f),
        // It never began, or was stopped.
        _ => ExitStatus::from_raw(1 << 8),
    }
}

fn text(argument: &OsStr) -> io::Result<String> {
    let text = argument.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        let what = format!("{} is not UTF-8", argument.to_string_lossy());
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })
}

fn plain(error: SystemdError) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
fn child(podman: &Path, order: Order, pipes: [OwnedFd; 3]) -> io::Result<tokio::process::Child> {
    let (directory, environment) = (order.directory.clone(), order.environment.clone());
    let without = order.without.clone();
    let argv = order.argv(podman);
    let [input, output, errors] = pipes.map(std::process::Stdio::from);
    let environment = environment.iter().filter_map(|one| one.split_once('='));
    let mut command = tokio::process::Command::new(&argv[0]);
    for name in without {
        command.env_remove(name);
    }
    command
        .args(&argv[1..])
        .current_dir(directory)
        .envs(environment)
        .stdin(input)
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_programs_output_words_and_status_come_back() {
        let transient = Transient::of_children(Path::new("/nonexistent"));
        let sh = || Order::new(Path::new("/bin/sh"));
        let script = "cat; echo \"$A\"; pwd; echo why >&2; exit 12";
        let order = sh().args(["-c", script]).env("A", "b c");
        let left = transient.run(order.current_dir(Path::new("/usr"))).await;
        let left = left.unwrap();
        assert_eq!(left.output, b"b c\n/usr\n");
        assert_eq!((left.status.code(), left.said.as_str()), (Some(12), "why"));
        let failed = transient.perform(sh().args(["-c", "echo no >&2; false"]));
        assert_eq!(failed.await.unwrap_err().to_string(), "no");
    }

    #[test]
    fn what_runs_inside_is_begun_through_podman() {
        let order = Order::new(Path::new("/usr/bin/rm")).inside().arg("-rf");
        let argv = order.argv(Path::new("/usr/bin/podman"));
        assert_eq!(argv, ["/usr/bin/podman", "unshare", "/usr/bin/rm", "-rf"]);
    }

    #[test]
    fn a_service_that_failed_is_a_program_that_failed() {
        let failed = |code, status| {
            failure(&ServiceState {
                exec_main_code: code,
                exec_main_status: status,
                ..ServiceState::default()
            })
        };
        assert_eq!(failed(1, 12).code(), Some(12));
        assert_eq!(failed(2, 9).code(), None);
        for (code, status) in [(0, 0), (1, 0), (2, 15), (3, 11)] {
            assert!(!failed(code, status).success(), "{code} {status}");
        }
    }
}
