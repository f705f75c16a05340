//! `archy node setup|doctor|diagnostics`: hands over to `archyd`, which knows how.

use std::path::PathBuf;

use serde_json::json;

use super::Context;
use crate::cli::NodeCommand;
use crate::failure::{Class, Failure};

/// archyd's exit code for a command line or configuration that makes no sense.
const EXIT_USAGE: i32 = 2;

pub(super) async fn run(context: &Context<'_>, command: &NodeCommand) -> Result<(), Failure> {
    let (name, arguments, is_answer) = match command {
        NodeCommand::Setup { arguments } => ("setup", arguments, false),
        NodeCommand::Doctor { arguments } => ("doctor", arguments, true),
        NodeCommand::Diagnostics { arguments } => ("diagnostics", arguments, true),
    };
    let archyd = program();
    let mut handed = tokio::process::Command::new(&archyd);
    handed.arg(name).args(arguments);
    // Its words are for people; with --json they must not mix with the result.
    if !is_answer || !context.output.shows_progress() {
        handed.stdout(std::io::stderr());
    }
    let status = handed.status().await.map_err(|error| {
        Failure::file("run", &archyd, &error)
            .hint("Install archyd beside archy, or into a folder of PATH")
    })?;
    if !status.success() {
        let class = match status.code() {
            Some(EXIT_USAGE) => Class::Usage,
            _ => Class::Failed,
        };
        let error = format!("archyd {name} ended with {status}");
        return Err(Failure::new(class, name, error));
    }
    context.output.result(&json!({ name: true }), "");
    Ok(())
}

/// Prefers the archyd that was installed together with this program.
fn program() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .map(|archy| archy.with_file_name("archyd"));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("archyd"))
}
