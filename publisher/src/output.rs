//! What the user sees: results on standard output, progress and failures on standard error.
//!
//! With `--json`, standard output holds exactly one JSON document, the result or `{kind, error, hints}`,
//! and progress is silent. Nothing else in this crate writes to the terminal.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one module that may write to the terminal"
)]

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

    /// Tells that a step begins or what it found.
    pub fn progress(&self, text: impl std::fmt::Display) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// Tells something that works but deserves attention.
    pub fn warning(&self, text: impl std::fmt::Display) {
        if !self.json {
            eprintln!("warning: {text}");
        }
    }

    /// Writes the result: `people` in words, or `result` as JSON.
    pub fn result<T: Serialize>(&self, result: &T, people: impl std::fmt::Display) {
        if self.json {
            println!("{}", json(result));
        } else {
            let text = people.to_string();
            if !text.is_empty() {
                println!("{}", text.trim_end());
            }
        }
    }

    /// Writes one line of a result that goes on until it is interrupted, each a JSON document with `--json`.
    pub fn line<T: Serialize>(&self, line: &T, people: impl std::fmt::Display) {
        if self.json {
            println!("{}", json(line));
        } else {
            println!("{people}");
        }
    }

    /// Writes a failure and returns its exit code.
    pub fn failure(&self, failure: &Failure) -> ExitCode {
        if self.json {
            println!("{}", json(failure));
        } else {
            eprintln!("error: {}", failure.error);
            for detail in &failure.details {
                if !failure.error.contains(detail.as_str()) {
                    eprintln!("  {detail}");
                }
            }
            for hint in &failure.hints {
                eprintln!("hint: {hint}");
            }
        }
        failure.class.exit_code().into()
    }

    /// Writes what the parser of the command line says: help, version or a mistake.
    pub fn usage(&self, error: &clap::Error) -> ExitCode {
        if !error.use_stderr() {
            print!("{error}");
            return ExitCode::SUCCESS;
        }
        if self.json {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            return self.failure(&Failure::usage(first).hint("`archy help` shows every command"));
        }
        eprint!("{error}");
        Class::Usage.exit_code().into()
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("results are plain data with text keys")
}
