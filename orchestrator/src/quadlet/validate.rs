//! Asks the machine's own Quadlet generator whether units are right before they go live.
//!
//! Three checks: the files read back as what was meant, the generator takes every one of them, and the command lines that
//! it makes hold exactly the words that were meant. Runs one process, the generator, on a staging directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::UnitSet;
use super::unit::{ReadError, Unit, Value, unexpand, words};

/// Units must not go live.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The staging directory could not be written or read.
    #[error("cannot stage the units in {path}")]
    Stage {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The generator could not be run.
    #[error("cannot run podman's unit generator {path}: install podman 4.7 or newer")]
    Generator {
        /// The generator.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file reads differently from what was meant.
    #[error("{file} does not read back as it was meant")]
    ReadBack {
        /// The file.
        file: String,
        /// The difference.
        #[source]
        source: ReadError,
    },
    /// The generator refused.
    #[error("podman's unit generator refuses the units: {messages}")]
    Rejected {
        /// What it said.
        messages: String,
    },
    /// The generator made another command than was meant.
    #[error("podman's unit generator makes another command of {file} than was meant: {difference}")]
    Command {
        /// The file.
        file: String,
        /// What differs.
        difference: String,
    },
}

/// Writes the units into the empty or missing directory `staging` and checks them with `generator`.
///
/// # Errors
///
/// [`ValidateError`]; the staging directory stays as it is, for its owner to remove.
pub async fn stage(set: &UnitSet, staging: &Path, generator: &Path) -> Result<(), ValidateError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ValidateError::Stage { path, source }
    };
    let units = set.units.iter();
    let texts = units.map(|(name, unit)| (staging.join(name), unit.text()));
    let written = write_all(staging.to_owned(), texts.collect()).await;
    let files = written.map_err(failed(staging))?;
    for (name, unit) in &set.units {
        let path = staging.join(name);
        let text = tokio::fs::read_to_string(&path)
            .await
            .map_err(failed(&path))?;
        let read = unit.reads_back_from(&text);
        read.map_err(|source| ValidateError::ReadBack {
            file: name.clone(),
            source,
        })?;
    }
    // The disk takes its time, and so does the generator.
    let synced = async {
        let synced = sync_all(staging.to_owned(), files).await;
        synced.map_err(failed(staging))
    };
    let (services, ()) = tokio::try_join!(generate(staging, generator), synced)?;
    for (name, unit) in &set.units {
        let differs = |difference: String| ValidateError::Command {
            file: name.clone(),
            difference,
        };
        let service = service_name(name);
        let text = services
            .get(&service)
            .ok_or_else(|| differs(format!("it makes no {service}")))?;
        check_command(unit, text).map_err(differs)?;
    }
    Ok(())
}

/// Writes files into a directory, which it makes where it is missing.
async fn write_all(directory: PathBuf, texts: Vec<(PathBuf, String)>) -> io::Result<Vec<File>> {
    let writing = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&directory)?;
        let texts = texts.into_iter();
        let files = texts.map(|(path, text)| crate::disk::write(&path, text.as_bytes(), 0o644));
        files.collect()
    });
    writing.await.map_err(io::Error::other)?
}

/// Waits until the disk has files and their directory.
async fn sync_all(directory: PathBuf, files: Vec<File>) -> io::Result<()> {
    let syncing = tokio::task::spawn_blocking(move || {
        files.iter().try_for_each(File::sync_all)?;
        crate::disk::sync_dir(&directory)
    });
    syncing.await.map_err(io::Error::other)?
}

/// Name of the service that Quadlet makes of a file.
pub fn service_name(file: &str) -> String {
    match file.rsplit_once('.') {
        Some((stem, "container")) => format!("{stem}.service"),
        Some((stem, kind)) => format!("{stem}-{kind}.service"),
        None => format!("{file}.service"),
    }
}

async fn generate(
    staging: &Path,
    generator: &Path,
) -> Result<BTreeMap<String, String>, ValidateError> {
    let output = Command::new(generator)
        .args(["--user", "--dryrun"])
        .env("QUADLET_UNIT_DIRS", staging)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| ValidateError::Generator {
            path: generator.to_owned(),
            source,
        })?;
    let messages = complaints(&String::from_utf8_lossy(&output.stderr));
    if !output.status.success() || !messages.is_empty() {
        return Err(ValidateError::Rejected {
            messages: messages.join("; "),
        });
    }
    Ok(services(&String::from_utf8_lossy(&output.stdout)))
}

/// The generator's complaints; what it says about its progress is left out. Only the first line of several has its prefix.
fn complaints(stderr: &str) -> Vec<String> {
    let lines = stderr.lines().map(|line| match line.split_once("]: ") {
        Some((prefix, message)) if prefix.starts_with("quadlet-generator[") => message,
        _ => line,
    });
    lines
        .filter(|line| !line.trim().is_empty() && !line.starts_with("Loading source unit file"))
        .map(str::to_owned)
        .collect()
}

/// Splits the generator's output at its `---name---` lines.
fn services(stdout: &str) -> BTreeMap<String, String> {
    let mut services = BTreeMap::new();
    let mut name: Option<String> = None;
    for line in stdout.lines() {
        let title = line
            .strip_prefix("---")
            .and_then(|line| line.strip_suffix("---"));
        if let Some(title) = title {
            name = Some(title.to_owned());
            services.insert(title.to_owned(), String::new());
        } else if let Some(text) = name.as_ref().and_then(|name| services.get_mut(name)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    services
}

/// The section that each kind of unit keeps its options in, with the flags that they become.
const LISTS: [(&str, &str); 6] = [
    ("Environment", "--env"),
    ("Label", "--label"),
    ("Secret", "--secret"),
    ("AddDevice", "--device"),
    ("PublishPort", "--publish"),
    ("NetworkAlias", "--network-alias"),
];
const JSON: [(&str, &str); 3] = [
    ("Entrypoint", "--entrypoint"),
    ("HealthCmd", "--health-cmd"),
    ("HealthStartupCmd", "--health-startup-cmd"),
];
/// The only word with specifiers that the generator adds by itself.
const CID_FILE: &str = "--cidfile=%t/%N.cid";

fn check_command(unit: &Unit, service: &str) -> Result<(), String> {
    let mut commands = service
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="));
    let (Some(command), None) = (commands.next(), commands.next()) else {
        return Err("not exactly one ExecStart".to_owned());
    };
    let words = words(command).map_err(|error| error.to_string())?;
    if words.iter().any(|word| word == ";") {
        return Err("it ends early, at a semicolon".to_owned());
    }
    let words: Vec<String> = words
        .iter()
        .filter(|word| *word != CID_FILE)
        .map(|word| unexpand(word).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let following = |flag: &str| -> Vec<String> {
        let pairs = words.iter().zip(words.iter().skip(1));
        pairs
            .filter(|(word, _)| *word == flag)
            .map(|(_, value)| value.clone())
            .collect()
    };
    for section in ["Container", "Network", "Volume"] {
        for (key, flag) in LISTS {
            let meant: Vec<String> = unit.values(section, key).flat_map(texts).collect();
            if unit.sections.iter().any(|s| s.name == section)
                && sorted(following(flag)) != sorted(meant)
            {
                return Err(format!("{key} became another {flag}"));
            }
        }
    }
    for (key, flag) in JSON {
        for value in unit.values("Container", key) {
            let found = following(flag);
            let read: Option<Vec<String>> = found
                .first()
                .and_then(|text| serde_json::from_str(text).ok());
            if found.len() != 1 || read != Some(texts(value)) {
                return Err(format!("{key} became another {flag}"));
            }
        }
    }
    let mut tail: Vec<String> = Vec::new();
    for key in ["Image", "Exec", "NetworkName", "VolumeName"] {
        for section in ["Container", "Network", "Volume"] {
            tail.extend(unit.values(section, key).flat_map(texts));
        }
    }
    if words.ends_with(&tail) {
        Ok(())
    } else {
        Err("it does not end with the image and the command".to_owned())
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Plain(text) => vec![text.as_str().to_owned()],
        Value::Words(words) => words.iter().map(|word| word.as_str().to_owned()).collect(),
        Value::Json(list) => list.iter().map(|text| text.as_str().to_owned()).collect(),
    }
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[cfg(test)]
mod tests;
