//! Counts the processes that a process starts, by strace: it follows every thread and child, so that none is missed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Failure;

/// A count under way.
pub(crate) struct Trace {
    strace: Child,
    file: tempfile::NamedTempFile,
}

impl Trace {
    /// Attaches to processes of this host and returns when they are watched.
    pub(crate) fn of(processes: &[u32]) -> Result<Self, Failure> {
        let file = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("strace");
        command
            .args(["-f", "-e", "trace=fork,vfork,clone,clone3,execve,execveat"])
            .args(["-e", "signal=none", "-o"])
            .arg(file.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        for process in processes {
            command.args(["-p", &process.to_string()]);
        }
        let mut strace = command
            .spawn()
            .map_err(|error| format!("strace does not run ({error}): apt-get install strace"))?;
        let said = strace.stderr.take().ok_or("strace has no standard error")?;
        let mut lines = BufReader::new(said).lines();
        let mut left = processes.len();
        // A line for each process given, whatever its threads.
        while left > 0 {
            let line = lines
                .next()
                .ok_or("strace ended before it was attached")??;
            if line.contains(" attached") {
                left -= 1;
            } else if line.contains("attach:") {
                return Err(format!("{line}; run as root").into());
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { strace, file })
    }

    /// Detaches and returns how many processes were started meanwhile.
    pub(crate) fn count(mut self) -> Result<usize, Failure> {
        let process = rustix::process::Pid::from_child(&self.strace);
        rustix::process::kill_process(process, rustix::process::Signal::INT)?;
        self.strace.wait()?;
        let text = std::fs::read_to_string(self.file.path())?;
        Ok(text.lines().filter(|line| starts_process(line)).count())
    }
}

/// Tells whether a line of strace's is a call that made a process. One that comes back in another line counts here; a
/// clone that shares signal handlers and thread group is a thread; archyd's unit refuses clone3, so clone is called next.
fn starts_process(line: &str) -> bool {
    let call = line
        .split_once(' ')
        .map_or("", |(_, call)| call.trim_start());
    let forks = ["fork(", "vfork(", "clone(", "clone3("];
    forks.iter().any(|fork| call.starts_with(fork))
        && !call.contains("CLONE_THREAD")
        && !call.contains(" = -1 ")
}
