//! The user's journal: what containers wrote, across restarts. Read through `journalctl`, whose file format is not ours.

use std::collections::BTreeMap;
use std::process::Stdio;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// journalctl did not start or broke off.
    #[error("cannot read the journal with journalctl")]
    Read(#[source] std::io::Error),
}

/// Which lines to read.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Services whose lines are wanted.
    pub units: Vec<String>,
    /// Containers of others whose lines are wanted instead: podman's name → the service that the lines are told for.
    pub containers: BTreeMap<String, String>,
    /// Only this run of a service, in hexadecimal.
    pub invocation: Option<String>,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
    /// Only the last so many.
    pub lines: Option<u32>,
    /// Whether to wait for more.
    pub follow: bool,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// The service.
    pub unit: String,
    /// Who wrote it.
    pub source: LogSource,
    /// The text, without a line break.
    pub text: String,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// The app, to its standard output.
    Output,
    /// The app, to its standard error.
    Error,
    /// podman or systemd, about the app.
    System,
}

/// Lines as they come.
#[derive(Debug)]
pub struct LogStream {
    /// The service that a container's lines are told for.
    containers: BTreeMap<String, String>,
    lines: Lines<BufReader<ChildStdout>>,
    /// Ends with the stream.
    _child: Child,
}

impl LogStream {
    /// Opens the journal.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when journalctl does not start.
    pub fn open(query: &Query) -> Result<Self, JournalError> {
        let mut command = Command::new("journalctl");
        command.args(["--user", "--quiet", "--output=json", "--no-pager", "--all"]);
        if query.follow {
            command.arg("--follow");
        }
        match query.lines {
            Some(lines) => command.arg(format!("--lines={lines}")),
            None => command.arg("--no-tail"),
        };
        if let Some(since) = query.since {
            command.arg(format!("--since=@{}", since.as_second()));
        }
        if let Some(invocation) = &query.invocation {
            command.arg(format!("_SYSTEMD_INVOCATION_ID={invocation}"));
            command
                .arg("+")
                .arg(format!("USER_INVOCATION_ID={invocation}"));
        } else if query.containers.is_empty() {
            for (index, unit) in query.units.iter().enumerate() {
                if index > 0 {
                    command.arg("+");
                }
                command.arg(format!("_SYSTEMD_USER_UNIT={unit}"));
                command.arg("+").arg(format!("USER_UNIT={unit}"));
            }
        } else {
            for container in query.containers.keys() {
                command.arg(format!("CONTAINER_NAME={container}"));
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(JournalError::Read)?;
        let output = child.stdout.take().expect("the output is piped");
        Ok(Self {
            containers: query.containers.clone(),
            lines: BufReader::new(output).lines(),
            _child: child,
        })
    }

    /// Waits for the next line; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`JournalError`] when reading breaks off.
    pub async fn next(&mut self) -> Result<Option<LogLine>, JournalError> {
        loop {
            let line = self.lines.next_line().await.map_err(JournalError::Read)?;
            let Some(line) = line else {
                return Ok(None);
            };
            if let Some(line) = parse(&line, &self.containers) {
                return Ok(Some(line));
            }
        }
    }
}

fn parse(json: &str, containers: &BTreeMap<String, String>) -> Option<LogLine> {
    let entry: serde_json::Value = serde_json::from_str(json).ok()?;
    let field = |name: &str| entry.get(name).and_then(serde_json::Value::as_str);
    let microseconds: i64 = field("__REALTIME_TIMESTAMP")?.parse().ok()?;
    // Text that is not UTF-8 comes as a list of bytes.
    let text = match entry.get("MESSAGE")? {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(bytes) => {
            let bytes = bytes.iter().filter_map(serde_json::Value::as_u64);
            let bytes: Vec<u8> = bytes.filter_map(|byte| u8::try_from(byte).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Object(_) => return None,
    };
    // podman reports its own events beside the container's lines.
    let podman_event = field("PODMAN_EVENT").is_some();
    if podman_event {
        return None;
    }
    let from_container = field("CONTAINER_NAME").is_some() || field("CONTAINER_ID").is_some();
    let source = match (from_container, field("PRIORITY")) {
        (true, Some("3")) => LogSource::Error,
        (true, _) => LogSource::Output,
        (false, _) => LogSource::System,
    };
    Some(LogLine {
        at: Timestamp::from_microsecond(microseconds).ok()?,
        unit: field("CONTAINER_NAME")
            .and_then(|name| containers.get(name))
            .map(String::as_str)
            .or(field("USER_UNIT"))
            .or(field("_SYSTEMD_USER_UNIT"))?
            .to_owned(),
        source,
        text: text.trim_end_matches('\n').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Option<LogLine> {
        super::parse(json, &BTreeMap::new())
    }

    #[test]
    fn container_lines_are_told_from_those_about_the_container() {
        let line = |extra: &str| {
            format!(
                r#"{{"__REALTIME_TIMESTAMP":"1795255639023450","_SYSTEMD_USER_UNIT":"archy.a.b.service","MESSAGE":"hello\n"{extra}}}"#
            )
        };
        let source = |extra: &str| parse(&line(extra)).map(|line| (line.source, line.text));
        let text = "hello".to_owned();
        assert_eq!(
            source(r#","CONTAINER_NAME":"a","PRIORITY":"6""#),
            Some((LogSource::Output, text.clone()))
        );
        assert_eq!(
            source(r#","CONTAINER_NAME":"a","PRIORITY":"3""#),
            Some((LogSource::Error, text.clone()))
        );
        assert_eq!(
            source(r#","PRIORITY":"6""#),
            Some((LogSource::System, text))
        );
        assert_eq!(source(r#","PODMAN_EVENT":"start""#), None);
        assert_eq!(parse("{}"), None);
        assert_eq!(parse("nonsense"), None);
    }
}
