//! archyd: the node daemon's command line.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use archy_orchestrator::snapshot::worker;
use archyd::auth::Auth;
use archyd::config::{Config, Environment, Flags, Paths};
use archyd::daemon::Daemon;
use archyd::{database, setup};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Turns this machine into a node of a decentralised app store.
#[derive(Parser)]
#[command(name = "archyd", version, about)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Options {
    /// Configuration file instead of ~/.config/archy/archyd.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept instead of ~/.local/share/archy.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Sets one key of the configuration, e.g. --set api.listen=127.0.0.1:8480.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the daemon (the default).
    Run,
    /// Makes archyd a service of this user, with what apps need.
    Setup {
        /// Starts it at once.
        #[arg(long)]
        now: bool,
    },
    /// Prints the code with which the owner claims this node in the browser.
    Claim {
        /// Forgets the password first, so that the node can be claimed again.
        #[arg(long)]
        reset: bool,
    },
    /// Tells what this machine has and lacks for running apps.
    Doctor,
    /// Gathers what somebody who helps needs to know of this node, without secrets, in one text.
    Diagnostics {
        /// Where it goes; standard output unless told.
        file: Option<PathBuf>,
    },
    /// Prints the configuration's keys with their defaults.
    Defaults,
    /// Prints the version.
    Version,
    /// Copies an app's data, as lines on the standard input ask; the daemon calls it.
    #[command(name = worker::WORKER_ARGUMENT, hide = true)]
    CopyData {
        /// What is copied.
        from: PathBuf,
        /// Where to.
        to: PathBuf,
    },
}

/// The configuration is wrong; starting again does not help.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::CopyData { from, to }) = &cli.command {
        return worker::copy_data(from, to);
    }
    let environment: Environment = std::env::vars().collect();
    let paths = match Paths::discover(&environment, cli.options.data_dir.as_deref()) {
        Ok(paths) => paths,
        Err(error) => return complain(&error.into(), EXIT_CONFIG),
    };
    let flags = Flags {
        file: cli.options.config,
        data_dir: cli.options.data_dir,
        set: cli.options.set,
    };
    let config = match Config::load(&flags, &environment, &paths) {
        Ok(config) => config,
        Err(error) => return complain(&error.into(), EXIT_CONFIG),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            runtime.block_on(perform(cli.command.unwrap_or(Command::Run), config, paths))
        }
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(code) => code,
        Err(error) => complain(&error, 1),
    }
}

async fn perform(command: Command, config: Config, paths: Paths) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run => run(config, paths).await?,
        Command::Setup { now } => install(&paths, now).await?,
        Command::Claim { reset } => claim(&paths, reset).await?,
        Command::Doctor => return doctor(&paths).await,
        Command::Diagnostics { file } => diagnose(&paths, file).await?,
        Command::Defaults => say(archyd::config::DEFAULTS.trim_end())?,
        // Done before there is a configuration.
        Command::CopyData { .. } => {}
        Command::Version => say(&format!("archyd {}", env!("CARGO_PKG_VERSION")))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(config: Config, paths: Paths) -> anyhow::Result<()> {
    log_to_stderr(&config.log.filter)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let daemon = Daemon::start(config, paths, None).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        "archyd answers on http://{}/",
        daemon.address
    );
    notify(&[sd_notify::NotifyState::Ready]);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = keep_watchdog() => {}
        }
        tracing::info!("stopping");
        notify(&[sd_notify::NotifyState::Stopping]);
    };
    daemon.run(stop).await?;
    Ok(())
}

/// Tells systemd that the daemon lives, if it wants to know (`WatchdogSec=`).
async fn keep_watchdog() {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut tick = tokio::time::interval(within / 2);
    loop {
        tick.tick().await;
        notify(&[sd_notify::NotifyState::Watchdog]);
    }
}

fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "could not tell systemd");
    }
}

async fn install(paths: &Paths, now: bool) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("could not find archyd's own file")?;
    let unit = setup::install(paths, &program, now).await?;
    say(&format!("installed {}", unit.display()))?;
    let checks = setup::doctor(paths).await?;
    for check in checks {
        if let Some(hint) = check.hint {
            say(&format!("{}: {}; {hint}", check.name, check.found))?;
        }
    }
    if now {
        match auth(paths).await?.claim_code()? {
            Some(claim) => say(&format!("running; its claim code is {}", claim.code))?,
            None => say("running")?,
        }
    }
    Ok(())
}

async fn auth(paths: &Paths) -> anyhow::Result<Auth> {
    std::fs::create_dir_all(&paths.data_dir)?;
    let pool = database::open(&paths.node_db()).await?;
    Ok(Auth::open(&paths.keys_dir(), pool, Duration::ZERO)?)
}

/// Prints the code alone, so that it can be piped.
async fn claim(paths: &Paths, reset: bool) -> anyhow::Result<()> {
    let auth = auth(paths).await?;
    if reset {
        auth.reset().await?;
    }
    match auth.claim_code()? {
        Some(claim) => say(&claim.code),
        None => anyhow::bail!(
            "this node has an owner already; `archyd claim --reset` forgets the password"
        ),
    }
}

async fn doctor(paths: &Paths) -> anyhow::Result<ExitCode> {
    let checks = setup::doctor(paths).await?;
    for check in &checks {
        let mark = if check.ok { "ok " } else { "no " };
        say(&format!("{mark} {}: {}", check.name, check.found))?;
        if let Some(hint) = &check.hint {
            say(&format!("      {hint}"))?;
        }
    }
    Ok(if checks.iter().all(|check| check.ok) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn diagnose(paths: &Paths, file: Option<PathBuf>) -> anyhow::Result<()> {
    let text = archyd::diagnostics::report(paths, jiff::Timestamp::now()).await;
    let Some(file) = file else {
        return say(text.trim_end());
    };
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .and_then(|mut to| to.write_all(text.as_bytes()));
    written.with_context(|| format!("could not write {}", file.display()))?;
    say(&format!(
        "{}: look through it before you give it away",
        file.display()
    ))
}

fn log_to_stderr(filter: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .context("log.filter is not a filter; write for example \"info,iroh=warn\"")?;
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(!journal && std::io::IsTerminal::is_terminal(&std::io::stderr()));
    if journal {
        // The journal has the time already.
        builder.without_time().init();
    } else {
        builder.init();
    }
    Ok(())
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    // Nobody is left to tell when this fails.
    let _ = writeln!(std::io::stderr().lock(), "archyd: {error:#}");
    ExitCode::from(code)
}
