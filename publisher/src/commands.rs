//! One module per command; each asks the parts for what it needs and writes one result.

use std::path::PathBuf;

use archy_nostr::BunkerUrl;

use crate::cli::{Cli, Command, SignerArgs};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::identity::passphrase::Passphrases;
use crate::node::Node;
use crate::output::Output;

mod adopt;
mod announce;
mod app;
mod backup;
mod catalog;
mod cosign;
mod develop;
mod identity;
mod instance;
mod job;
mod node;
mod policy;
mod publish;
mod registry;
mod seeding;
mod settings;
mod status;
mod storage;
mod store;
mod trust;

/// What every command may need.
struct Context<'a> {
    environment: &'a Environment,
    output: &'a Output,
    node: Option<PathBuf>,
    identity: Option<PathBuf>,
    passphrases: Passphrases,
}

impl Context<'_> {
    fn node(&self) -> Result<Node, Failure> {
        let socket = self
            .node
            .clone()
            .map_or_else(|| self.environment.node_socket(), Ok)?;
        Ok(Node::new(socket))
    }

    fn identity_dir(&self) -> Result<PathBuf, Failure> {
        self.identity
            .clone()
            .map_or_else(|| self.environment.identity_dir(), Ok)
    }
}

/// Makes a directory for images on their way, which goes with what is returned.
fn work_dir(context: &Context<'_>, prefix: &str) -> Result<tempfile::TempDir, Failure> {
    let work_dir = context.environment.work_dir();
    let made = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(&work_dir);
    made.map_err(|error| {
        Failure::file("write to", &work_dir, &error).hint("TMPDIR names another place")
    })
}

/// Reads the address of a remote signer.
fn bunker(arguments: &SignerArgs) -> Result<Option<BunkerUrl>, Failure> {
    let address = arguments.nostr_signer.as_deref();
    address
        .map(str::parse)
        .transpose()
        .map_err(|error| Failure::usage(format!("--nostr-signer: {error}")))
}

/// Runs a command.
pub(crate) async fn run(
    cli: Cli,
    environment: &Environment,
    output: &Output,
) -> Result<(), Failure> {
    let context = Context {
        environment,
        output,
        node: cli.node,
        identity: cli.identity,
        passphrases: Passphrases::new(cli.passphrase_file),
    };
    match cli.command {
        Command::Identity(command) => identity::run(&context, &command).await,
        Command::App(command) => app::run(&context, &command).await,
        Command::Publish(arguments) => publish::run(&context, &arguments).await,
        Command::Cosign { file, key } => cosign::run(&context, &file, &key),
        Command::Announce(arguments) => announce::run(&context, &arguments).await,
        Command::Store(command) => store::run(&context, &command).await,
        Command::Registry(command) => registry::run(&context, &command).await,
        Command::Catalog(command) => catalog::run(&context, &command).await,
        Command::Install(arguments) => instance::install(&context, &arguments).await,
        Command::Uninstall(arguments) => instance::uninstall(&context, &arguments).await,
        Command::Status { app: None } => status::node(&context).await,
        Command::Status { app: Some(app) } => status::app(&context, &app).await,
        Command::Start(arguments) => instance::operate(&context, "package.start", &arguments).await,
        Command::Stop(arguments) => instance::operate(&context, "package.stop", &arguments).await,
        Command::Restart(arguments) => {
            instance::operate(&context, "package.restart", &arguments).await
        }
        Command::Reinstall(arguments) => {
            instance::operate(&context, "package.reinstall", &arguments).await
        }
        Command::Update(arguments) => instance::update(&context, &arguments).await,
        Command::Rollback(arguments) => instance::roll_back(&context, &arguments).await,
        Command::Settings(arguments) => settings::run(&context, &arguments).await,
        Command::Adopt(command) => adopt::run(&context, &command).await,
        Command::Backup(command) => backup::run(&context, &command).await,
        Command::Logs(arguments) => instance::logs(&context, &arguments).await,
        Command::Job(command) => job::run(&context, &command).await,
        Command::Trust(command) => trust::run(&context, &command).await,
        Command::Policy(command) => policy::run(&context, &command).await,
        Command::Seeding(command) => seeding::run(&context, &command).await,
        Command::Storage(command) => storage::run(&context, &command).await,
        Command::Node(command) => node::run(&context, &command).await,
    }
}
