//! The program that copies an app's data: it runs in the user namespace of podman's containers, where it may read what
//! belongs to their users, and takes orders by lines of JSON.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;

use crate::runtime::transient::{Order, Transient, Work};

use super::tree::{self, Copier, Extent, TreeError};

/// The argument with which [`Config::worker`](crate::Config::worker) is begun, before both directories.
pub const WORKER_ARGUMENT: &str = "copy-data";
/// Time between two words of progress.
const STEP: Duration = Duration::from_millis(250);

/// What the worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Measured {
        bytes: u64,
        entries: u64,
        shares_blocks: bool,
    },
    Copied(u64),
    Passed {
        bytes: u64,
        entries: u64,
    },
    Failed {
        path: PathBuf,
        reason: String,
    },
}

/// Copies what is below `from` to the directory `to`: says how much there is, then makes a pass for every line that it
/// is sent, until its input ends.
pub fn copy_data(from: &Path, to: &Path) -> ExitCode {
    let said = work(from, to);
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = say(&Said::Failed {
                path: error.path,
                reason: error.source.to_string(),
            });
            ExitCode::FAILURE
        }
    }
}

fn work(from: &Path, to: &Path) -> Result<(), TreeError> {
    let unheard = |source| TreeError {
        path: PathBuf::from("-"),
        source,
    };
    let extent = tree::measure(from)?;
    say(&Said::Measured {
        bytes: extent.bytes,
        entries: extent.entries,
        shares_blocks: tree::shares_blocks(from, to),
    })
    .map_err(unheard)?;
    let (mut copied, mut told) = (0, Instant::now());
    let mut copier = Copier::open(from, to, |bytes| {
        copied += bytes;
        if told.elapsed() >= STEP {
            told = Instant::now();
            // Who no longer listens closes our input next.
            let _ = say(&Said::Copied(copied));
        }
    })?;
    for line in io::stdin().lock().lines() {
        line.map_err(unheard)?;
        let Extent { bytes, entries } = copier.pass()?;
        say(&Said::Passed { bytes, entries }).map_err(unheard)?;
    }
    Ok(())
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// Data could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The worker could not be begun or ended too soon.
    #[error("the program that copies data does not work: {said}")]
    Worker {
        /// What it wrote to its error output.
        said: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be copied.
    #[error("cannot copy {path}: {reason}")]
    File {
        /// The file, relative to the app's data.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A worker at its work. Dropped, it ends.
pub(crate) struct Worker {
    work: Work,
    orders: pipe::Sender,
    said: Lines<BufReader<pipe::Receiver>>,
}

/// What a copy takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) extent: Extent,
    /// Whether the copy takes (nearly) no room, because it shares blocks.
    pub(crate) shares_blocks: bool,
}

impl Worker {
    /// Begins a worker in podman's user namespace; returns when it has measured.
    pub(crate) async fn begin(
        transient: &Transient,
        program: &Path,
        from: &Path,
        to: &Path,
    ) -> Result<(Self, Measured), CopyError> {
        let order = Order::new(program).inside();
        let order = order.arg(WORKER_ARGUMENT).args([from, to]);
        let broken = |source| CopyError::Worker {
            said: "it cannot be begun".to_owned(),
            source,
        };
        let mut work = transient.begin(order).await.map_err(broken)?;
        let pipes = (work.input.take(), work.output.take());
        let (Some(orders), Some(said)) = pipes else {
            return Err(broken(io::ErrorKind::BrokenPipe.into()));
        };
        let mut worker = Self {
            work,
            orders,
            said: BufReader::new(said).lines(),
        };
        match worker.hear().await? {
            Said::Measured {
                bytes,
                entries,
                shares_blocks,
            } => {
                let measured = Measured {
                    extent: Extent { bytes, entries },
                    shares_blocks,
                };
                Ok((worker, measured))
            }
            said @ (Said::Copied(_) | Said::Passed { .. } | Said::Failed { .. }) => {
                Err(worker.misunderstood(&said))
            }
        }
    }

    /// Makes the copy what the data is now; `progress` hears of copied bytes.
    pub(crate) async fn pass(
        &mut self,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Extent, CopyError> {
        if let Err(source) = self.orders.write_all(b"pass\n").await {
            return Err(self.broken(source).await);
        }
        loop {
            match self.hear().await? {
                Said::Copied(bytes) => progress(bytes),
                Said::Passed { bytes, entries } => return Ok(Extent { bytes, entries }),
                said @ (Said::Measured { .. } | Said::Failed { .. }) => {
                    return Err(self.misunderstood(&said));
                }
            }
        }
    }

    async fn hear(&mut self) -> Result<Said, CopyError> {
        let line = match self.said.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into()).await),
            Err(source) => return Err(self.broken(source).await),
        };
        match serde_json::from_str(&line) {
            Ok(Said::Failed { path, reason }) => Err(CopyError::File { path, reason }),
            Ok(said) => Ok(said),
            Err(error) => Err(CopyError::Worker {
                said: line,
                source: error.into(),
            }),
        }
    }

    async fn broken(&mut self, source: io::Error) -> CopyError {
        let said = self.work.said().await;
        CopyError::Worker { said, source }
    }

    fn misunderstood(&self, said: &Said) -> CopyError {
        CopyError::Worker {
            said: format!("{said:?}"),
            source: io::ErrorKind::InvalidData.into(),
        }
    }
}
