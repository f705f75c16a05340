//! What the user sees: results on standard output, progress and failures on standard error.
//!
//! With `--json`, standard output holds exactly one JSON document, the result or `{kind, error, hints}`,
//! and progress is silent. Nothing else in this crate writes to the terminal.

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use crate::failure::{Class, Failure};

/// Where results, progress and failures go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Writes for programs with `json`, else for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Keeps progress to itself.
    #[cfg(test)]
    pub(crate) const fn quiet() -> Self {
        Self { json: true }
    }

    /// Tells whether anybody sees progress.
    pub fn shows_progress(&self) -> bool {
        !self.json
    }

    /// Tells that a step begins or what it found.
    pub fn progress(&self, text: impl std::fmt::Display) {
        if !self.json {
            say(&text.to_string());
        }
    }

    /// Tells something that works but deserves attention.
    pub fn warning(&self, text: impl std::fmt::Display) {
        if !self.json {
            say(&format!("warning: {text}"));
        }
    }

    /// Writes the result: `people` in words, or `result` as JSON.
    pub fn result<T: Serialize>(&self, result: &T, people: impl std::fmt::Display) {
        if self.json {
            answer(&json(result));
        } else {
            let text = people.to_string();
            if !text.is_empty() {
                answer(text.trim_end());
            }
        }
    }

    /// Writes one line of a result that goes on until it is interrupted; with `--json`, one document a line.
    pub fn line<T: Serialize>(&self, line: &T, people: impl std::fmt::Display) {
        if self.json {
            answer(&serde_json::to_string(line).expect(PLAIN));
        } else {
            answer(&people.to_string());
        }
    }

    /// Writes a failure and returns its exit code.
    pub fn failure(&self, failure: &Failure) -> ExitCode {
        if self.json {
            answer(&json(failure));
        } else {
            say(&format!("error: {}", failure.error));
            for detail in &failure.details {
                if !failure.error.contains(detail.as_str()) {
                    say(&format!("  {detail}"));
                }
            }
            for hint in &failure.hints {
                say(&format!("hint: {hint}"));
            }
        }
        failure.class.exit_code().into()
    }

    /// Writes what the parser of the command line says: help, version or a mistake.
    pub fn usage(&self, error: &clap::Error) -> ExitCode {
        if !error.use_stderr() {
            answer(error.to_string().trim_end());
            return ExitCode::SUCCESS;
        }
        if self.json {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            return self.failure(&Failure::usage(first).hint("`archy help` shows every command"));
        }
        say(error.to_string().trim_end());
        Class::Usage.exit_code().into()
    }
}

const PLAIN: &str = "results are plain data with text keys";

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect(PLAIN)
}

/// Writes to standard output. Whoever closed it, as `head` does, wants no more: that is no failure.
fn answer(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes to standard error; where nobody reads it, nobody misses it.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
