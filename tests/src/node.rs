//! Real Debian machines to test archy on: beds of nodes that boot, crash and lose their network, and are gone when the
//! test ends. Everything is done by the command `tests/node/node`, which people use too; this module only calls it.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command as BlockingCommand, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How often [`wait_until`] looks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Longest part of a test's name that a bed's name takes over, in characters.
const BED_LABEL_CHARS_MAX: usize = 14;

/// The reasons why a node did not do what a test asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The node command could not be run at all.
    #[error("could not run {command}; scripts/host-deps.sh installs what it needs")]
    Spawn {
        /// The command line.
        command: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The node command, or the program that it ran on the node, failed.
    #[error("`{command}` ended with {status}: {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// The node command answered something else than an address.
    #[error("`{answer}` is not an address")]
    Address {
        /// The answer.
        answer: String,
    },
    /// A file on the host could not be read or written.
    #[error("could not access {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// What a test waited for did not come true in time.
    #[error("waited {} s in vain for: {what}", waited.as_secs())]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
    },
}

/// What a program on a node left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, with anything that is not UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

/// A group of nodes with a network of its own. Dropping it deletes its nodes; so does the next `up` on this host if
/// the test process is killed before that.
///
/// With `ARCHY_KEEP_BED` in the environment the nodes stay, for a look at them with `ARCHY_BED=… tests/node/node`.
#[derive(Debug)]
pub struct Bed {
    name: Arc<str>,
    kept: bool,
}

impl Bed {
    /// Names a bed that no other test has: after `label`, this process and a counter. Nothing is booted yet.
    pub fn new(label: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        let label: String = label
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .filter(char::is_ascii_alphanumeric)
            .take(BED_LABEL_CHARS_MAX)
            .collect();
        Self {
            name: format!("t{label}-{}-{counter}", std::process::id()).into(),
            kept: std::env::var_os("ARCHY_KEEP_BED").is_some(),
        }
    }

    /// Names a bed that outlives this process, such as the demo's; its nodes may be up already.
    pub fn kept(name: &str) -> Self {
        Self {
            name: name.into(),
            kept: true,
        }
    }

    /// The bed's name, for `ARCHY_BED`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Boots a node, made first if it is new. Returns when its user bus and podman's socket answer.
    ///
    /// # Errors
    ///
    /// Fails when the host lacks something or the node does not boot; the error tells which.
    pub async fn node(&self, name: &str) -> Result<TestNode, NodeError> {
        let [node] = self.nodes([name]).await?;
        Ok(node)
    }

    /// Boots several nodes at the same time.
    ///
    /// # Errors
    ///
    /// Like [`Bed::node`]; one failed node fails the call.
    pub async fn nodes<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[TestNode; N], NodeError> {
        self.boot(&names).await?;
        Ok(names.map(|name| self.named(name)))
    }

    /// Boots as many nodes as there are names, all at the same time.
    ///
    /// # Errors
    ///
    /// Like [`Bed::node`]; one failed node fails the call.
    pub async fn all(&self, names: &[&str]) -> Result<Vec<TestNode>, NodeError> {
        self.boot(names).await?;
        Ok(names.iter().map(|name| self.named(name)).collect())
    }

    async fn boot(&self, names: &[&str]) -> Result<(), NodeError> {
        let mut command = node_command(&self.name, "up");
        command.args(names);
        if !self.kept {
            command.env("ARCHY_BED_OWNER", std::process::id().to_string());
        }
        succeed(command).await.map(drop)
    }

    fn named(&self, name: &str) -> TestNode {
        TestNode {
            bed: Arc::clone(&self.name),
            name: name.to_owned(),
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let removed = BlockingCommand::new(program())
            .args(["rm", "--all"])
            .env("ARCHY_BED", &*self.name)
            .stdin(Stdio::null())
            .output();
        let complaint = match removed {
            Ok(output) if output.status.success() => return,
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        // Best effort: a drop during a panic must not panic again, and a closed stderr hears nothing anyway.
        let _ = writeln!(
            io::stderr(),
            "the bed {} could not be removed: {complaint}",
            self.name
        );
    }
}

/// One machine of a [`Bed`].
#[derive(Debug, Clone)]
pub struct TestNode {
    bed: Arc<str>,
    name: String,
}

impl TestNode {
    /// The node's name within its bed, which is also its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a program as the user `archy` and waits for it. A program that fails is no error here.
    ///
    /// # Errors
    ///
    /// Fails only when the node command cannot be run.
    pub async fn exec(&self, argv: &[&str]) -> Result<Output, NodeError> {
        run(&mut self.exec_command(false, argv)).await
    }

    /// Runs a program as the user `archy` and returns its standard output.
    ///
    /// # Errors
    ///
    /// Fails when the program fails; the error carries its command line and its standard error.
    pub async fn exec_ok(&self, argv: &[&str]) -> Result<String, NodeError> {
        succeed(self.exec_command(false, argv)).await
    }

    /// Runs a program as root and returns its standard output.
    ///
    /// # Errors
    ///
    /// Like [`TestNode::exec_ok`].
    pub async fn exec_root(&self, argv: &[&str]) -> Result<String, NodeError> {
        succeed(self.exec_command(true, argv)).await
    }

    /// Starts a program as the user `archy`, with pipes to its standard streams. It is killed when the child is dropped.
    ///
    /// # Errors
    ///
    /// Fails when the node command cannot be run.
    pub fn spawn(&self, argv: &[&str]) -> Result<Child, NodeError> {
        let mut command = self.exec_command(false, argv);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().map_err(|source| NodeError::Spawn {
            command: shown(&command),
            source,
        })
    }

    /// Copies a file or a folder's content to the node, as the user `archy`. `remote` is relative to the home folder.
    ///
    /// # Errors
    ///
    /// Fails when `local` cannot be read or `remote` cannot be written.
    pub async fn push(&self, local: &Path, remote: &str) -> Result<(), NodeError> {
        let mut command = self.command("push");
        command.arg(local).arg(remote);
        succeed(command).await.map(drop)
    }

    /// Copies a file or a folder's content to the node as root, for instance to `/usr/local/bin/`.
    ///
    /// # Errors
    ///
    /// Like [`TestNode::push`].
    pub async fn push_root(&self, local: &Path, remote: &str) -> Result<(), NodeError> {
        let mut command = self.command("push");
        command.arg("--root").arg(local).arg(remote);
        succeed(command).await.map(drop)
    }

    /// Reboots in good order and returns when the node is ready again.
    ///
    /// # Errors
    ///
    /// Fails when the node is off or does not come back.
    pub async fn reboot(&self) -> Result<(), NodeError> {
        self.act("reboot").await
    }

    /// Cuts the power: every process is gone at once and peers hear nothing more. The disk stays.
    ///
    /// # Errors
    ///
    /// Fails when processes survive it.
    pub async fn kill(&self) -> Result<(), NodeError> {
        self.act("kill").await
    }

    /// Boots a node that is off and returns when it is ready.
    ///
    /// # Errors
    ///
    /// Fails when the node does not boot.
    pub async fn start(&self) -> Result<(), NodeError> {
        self.act("start").await
    }

    /// Powers off in good order. The disk stays.
    ///
    /// # Errors
    ///
    /// Fails when processes survive it.
    pub async fn power_off(&self) -> Result<(), NodeError> {
        self.act("down").await
    }

    /// Pulls the network cable. [`TestNode::exec`] and the like still work.
    ///
    /// # Errors
    ///
    /// Fails when the node is gone.
    pub async fn cut(&self) -> Result<(), NodeError> {
        self.act("cut").await
    }

    /// Plugs the network cable in again.
    ///
    /// # Errors
    ///
    /// Fails when the node is gone.
    pub async fn join(&self) -> Result<(), NodeError> {
        self.act("join").await
    }

    /// Reads the journal with these arguments of journalctl; `["--user", "-u", "archyd"]` for a unit of the user's.
    /// Works on a node that is off, too.
    ///
    /// # Errors
    ///
    /// Fails when journalctl refuses an argument.
    pub async fn logs(&self, args: &[&str]) -> Result<String, NodeError> {
        let mut command = self.command("logs");
        command.args(args);
        succeed(command).await
    }

    /// The node's address, which this host and the other nodes of the bed reach.
    ///
    /// # Errors
    ///
    /// Fails when the node is gone.
    pub async fn ip(&self) -> Result<IpAddr, NodeError> {
        let answer = succeed(self.command("ip")).await?;
        answer
            .trim()
            .parse()
            .map_err(|_| NodeError::Address { answer })
    }

    /// `http://address:port` for this host and the other nodes.
    ///
    /// # Errors
    ///
    /// Fails when the node is gone.
    pub async fn url(&self, port: u16) -> Result<String, NodeError> {
        let mut command = self.command("url");
        command.arg(port.to_string());
        Ok(succeed(command).await?.trim().to_owned())
    }

    /// Writes the node's whole journal to `NAME.log` in `folder`, which is made if it is missing, and returns its path.
    ///
    /// # Errors
    ///
    /// Fails when the journal cannot be read or the file cannot be written.
    pub async fn collect_logs(&self, folder: &Path) -> Result<PathBuf, NodeError> {
        let path = folder.join(format!("{}.log", self.name));
        let journal = self.logs(&["-o", "short-precise"]).await?;
        let written = async {
            tokio::fs::create_dir_all(folder).await?;
            tokio::fs::write(&path, journal).await
        };
        match written.await {
            Ok(()) => Ok(path),
            Err(source) => Err(NodeError::File { path, source }),
        }
    }

    async fn act(&self, subcommand: &str) -> Result<(), NodeError> {
        succeed(self.command(subcommand)).await.map(drop)
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = node_command(&self.bed, subcommand);
        command.arg(&self.name);
        command
    }

    fn exec_command(&self, root: bool, argv: &[&str]) -> Command {
        let mut command = self.command("exec");
        if root {
            command.arg("--root");
        }
        command.arg("--").args(argv);
        command
    }
}

/// Looks until `condition` holds; for what a test cannot be told of by an event.
///
/// # Errors
///
/// Fails with [`NodeError::Deadline`] when `deadline` has passed; `what` says what was waited for.
pub async fn wait_until(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> Result<(), NodeError> {
    let end = Instant::now() + deadline;
    loop {
        if condition().await {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(NodeError::Deadline {
                what: what.to_owned(),
                waited: deadline,
            });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node/node")
}

fn node_command(bed: &str, subcommand: &str) -> Command {
    let mut command = Command::new(program());
    command
        .arg(subcommand)
        .env("ARCHY_BED", bed)
        .env_remove("ARCHY_BED_OWNER")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(command: &mut Command) -> Result<Output, NodeError> {
    let output = command.output().await.map_err(|source| NodeError::Spawn {
        command: shown(command),
        source,
    })?;
    Ok(Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

async fn succeed(mut command: Command) -> Result<String, NodeError> {
    let output = run(&mut command).await?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(NodeError::Failed {
        command: shown(&command),
        status: output.status,
        stderr: output.stderr.trim_end().to_owned(),
    })
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}
