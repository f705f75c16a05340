//! `archy node setup`: hands over to `archyd setup`, which knows how.

use std::path::PathBuf;

use serde_json::json;

use super::Context;
use crate::cli::NodeCommand;
use crate::failure::Failure;

pub(super) async fn run(context: &Context<'_>, command: &NodeCommand) -> Result<(), Failure> {
    let NodeCommand::Setup { arguments } = command;
    let archyd = program();
    let mut setup = tokio::process::Command::new(&archyd);
    setup.arg("setup").args(arguments);
    // Its words are for people; with --json they must not mix with the result.
    setup.stdout(std::io::stderr());
    let status = setup.status().await.map_err(|error| {
        Failure::file("run", &archyd, &error)
            .hint("Install archyd beside archy, or into a folder of PATH")
    })?;
    if !status.success() {
        return Err(Failure::failed(
            "setup",
            format!("archyd setup ended with {status}"),
        ));
    }
    context.output.result(&json!({ "setup": true }), "");
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
