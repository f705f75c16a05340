//! One text about this node for somebody who is asked for help: what runs, how, and what the logs say, without secrets.
//!
//! Works with the daemon up or down, changes nothing, and says of each part that cannot be had why.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use archy_orchestrator::runtime::journal::{LogStream, Query};
use archy_orchestrator::runtime::podman::Podman;
use archy_orchestrator::runtime::systemd::Systemd;
use jiff::Timestamp;

use crate::config::Paths;
use crate::daemon::host_config;
use crate::problem;
use crate::setup;

pub mod redact;

use redact::Redaction;

/// The last lines of each log.
const LOG_LINES: u32 = 200;
/// The last lines of the daemon's own log.
const NODE_LOG_LINES: u32 = 1000;
/// Largest file that is read as a secret or shown.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Files of an app's directory that hold its state.
const STATE: &str = "desired.json";

/// Gathers everything.
pub async fn report(paths: &Paths, now: Timestamp) -> String {
    let apps = directories(&paths.data_dir.join("apps"));
    let mut text = String::new();
    let mut section = |title: &str, body: &str| {
        let _ = writeln!(text, "\n## {title}\n\n{}", body.trim_end());
    };
    section("Machine", &machine(paths));
    section("Doctor", &checks(paths).await);
    section(
        "Configuration",
        &read(&paths.config_file).unwrap_or_else(|| "none: everything is as by default".to_owned()),
    );
    section("Services", &services(paths).await);
    section("Containers", &containers(paths).await);
    for app in &apps {
        section(&format!("App {app}"), &state(paths, app));
        let mut services = Vec::new();
        for (name, unit) in files(&paths.unit_dir.join(app)) {
            section(&format!("{app}: {name}"), &unit);
            services.extend(
                name.strip_suffix(".container")
                    .map(|unit| format!("{unit}.service")),
            );
        }
        section(&format!("{app}: log"), &log(services, LOG_LINES).await);
    }
    section(
        "Log of archyd",
        &log(vec![setup::UNIT.to_owned()], NODE_LOG_LINES).await,
    );
    let redaction = Redaction::new(secrets(paths, &apps), &paths.home.to_string_lossy());
    format!(
        "# archy diagnostics, {now}\n\nSecrets that this node knows, credentials in addresses and values of environment \
         variables are taken out.\nNames of apps, addresses and what apps wrote to their logs are in here: look through it \
         before you give it away.\n{}\n",
        redaction.apply(&text)
    )
}

fn machine(paths: &Paths) -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("unknown", |name| name.trim_matches('"'));
    let room = rustix::fs::statvfs(&paths.data_dir).map_or_else(
        |error| format!("{}: {error}", paths.data_dir.display()),
        |found| {
            let mib = |blocks: u64| blocks.saturating_mul(found.f_frsize) >> 20;
            format!(
                "{} MiB free of {} MiB in {}",
                mib(found.f_bavail),
                mib(found.f_blocks),
                paths.data_dir.display()
            )
        },
    );
    format!(
        "archyd {}\n{system}\nLinux {} {}\n{room}",
        env!("CARGO_PKG_VERSION"),
        kernel.trim(),
        std::env::consts::ARCH,
    )
}

async fn checks(paths: &Paths) -> String {
    match setup::doctor(paths).await {
        Ok(checks) => {
            let lines = checks.iter().map(|check| {
                let mark = if check.ok { "ok" } else { "no" };
                format!("{mark} {}: {}", check.name, check.found)
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        Err(error) => problem::causes(&error).join(": "),
    }
}

async fn services(paths: &Paths) -> String {
    let systemd = Systemd::new(&host_config(paths).bus_socket);
    let mut lines = Vec::new();
    for pattern in ["archy*", "podman.*"] {
        match systemd.list(pattern).await {
            Ok(units) => {
                lines.extend(units.into_iter().map(|unit| {
                    format!("{} {} {} {}", unit.name, unit.load, unit.active, unit.sub)
                }))
            }
            Err(error) => lines.push(problem::causes(&error).join(": ")),
        }
    }
    lines.sort();
    lines.join("\n")
}

async fn containers(paths: &Paths) -> String {
    let podman = Podman::new(&host_config(paths).podman_socket);
    match podman.containers().await {
        Ok(containers) => {
            let mut lines: Vec<String> = containers
                .into_iter()
                .map(|container| {
                    let image: String = container.image_id.chars().take(12).collect();
                    let networks = container.networks.unwrap_or_default().join(", ");
                    format!(
                        "{} {} {} image {image} networks {networks}",
                        container.names.join(", "),
                        container.state,
                        container.status
                    )
                })
                .collect();
            lines.sort();
            lines.join("\n")
        }
        Err(error) => problem::causes(&error).join(": "),
    }
}

/// The part of an app's state that tells how it is, and none of what its owner set.
fn state(paths: &Paths, app: &str) -> String {
    let path = paths.data_dir.join("apps").join(app).join(STATE);
    let Some(text) = read(&path) else {
        return "its state cannot be read; there may be data of an app that is not installed"
            .to_owned();
    };
    let value: serde_json::Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(error) => return format!("its state is damaged: {error}"),
    };
    let told = [
        "app",
        "wish",
        "stage",
        "release_hash",
        "installed_at",
        "failed",
    ];
    let mut shown: BTreeMap<&str, &serde_json::Value> = BTreeMap::new();
    for name in told {
        shown.extend(value.get(name).map(|found| (name, found)));
    }
    shown.extend(
        value
            .pointer("/release/manifest/app/version")
            .map(|found| ("version", found)),
    );
    shown.extend(
        value
            .pointer("/settings/ports")
            .map(|found| ("ports", found)),
    );
    serde_json::to_string_pretty(&shown).unwrap_or_default()
}

async fn log(units: Vec<String>, lines: u32) -> String {
    if units.is_empty() {
        return "it has no containers".to_owned();
    }
    let query = Query {
        units,
        lines: Some(lines),
        ..Query::default()
    };
    let mut text = String::new();
    let reading = async {
        let mut stream = LogStream::open(&query)?;
        while let Some(line) = stream.next().await? {
            let _ = writeln!(text, "{} {} {}", line.at, line.unit, line.text);
        }
        Ok::<(), archy_orchestrator::runtime::journal::JournalError>(())
    };
    if let Err(error) = reading.await {
        return problem::causes(&error).join(": ");
    }
    if text.is_empty() {
        "nothing".clone_into(&mut text);
    }
    text
}

/// Everything that this node keeps secret, by where it is kept.
fn secrets(paths: &Paths, apps: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |of: &str, directory: &Path| {
        for (name, value) in files(directory) {
            found.push((format!("{of}/{name}"), value));
        }
    };
    add("keys", &paths.keys_dir());
    for app in apps {
        add(app, &paths.data_dir.join("apps").join(app).join("secrets"));
    }
    found
}

fn directories(within: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(within).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The regular files of a directory, with their texts, binary ones in hexadecimal.
fn files(within: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(within).into_iter().flatten().flatten();
    let mut found: Vec<(String, String)> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name, read(&entry.path())?))
        })
        .collect();
    found.sort();
    found
}

fn read(path: &Path) -> Option<String> {
    let size_bytes = std::fs::metadata(path).ok()?.len();
    let bytes = (size_bytes <= FILE_BYTES_MAX)
        .then(|| std::fs::read(path))?
        .ok()?;
    Some(String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }))
}
