//! The command line for app developers and node owners.
//!
//! [`run`] reads the arguments, does what they ask, and writes one result: words for people, or one JSON
//! document with `--json`. [`output`] alone writes to the terminal and [`environment`] alone reads the
//! environment. Verifying, rendering, packing and announcing are the other crates' work; this one puts
//! them in order and says what happened.

pub mod app;
pub mod catalog;
pub mod cli;
mod commands;
pub mod cosign;
pub mod develop;
pub mod environment;
pub mod failure;
pub mod identity;
pub mod node;
pub mod output;
pub mod publish;
pub mod text;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use environment::Environment;
use output::Output;

/// Runs one command and returns the exit code that [`failure::Class`] documents.
pub async fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Known before the arguments are understood, so that a mistake in them is told in the same form.
    let output = Output::new(arguments.iter().any(|argument| argument == "--json"));
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => commands::run(cli, environment, &output).await,
        Err(error) => return output.usage(&error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failure(&failure),
    }
}
