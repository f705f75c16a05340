//! Layers of configuration: each key is checked against the defaults, the last layer that has it wins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// The environment as a plain map, so that tests need not change the real one.
pub type Environment = BTreeMap<String, String>;

/// Configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("unknown key {key} in {origin}{}", nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    UnknownKey {
        /// As written.
        key: String,
        /// Which layer.
        origin: String,
        /// The nearest key that exists.
        nearest: Option<String>,
    },
    /// A value of the wrong type or out of range.
    #[error("{key} in {origin}: {reason}")]
    Value {
        /// Which key.
        key: String,
        /// Which layer.
        origin: String,
        /// Why.
        reason: String,
    },
    /// A `--set` without `=`.
    #[error("--set {0}: write section.key=value")]
    Set(String),
}

/// The layers read so far.
pub(super) struct Layers {
    known: BTreeMap<String, Value>,
    values: BTreeMap<String, (Value, String)>,
}

impl Layers {
    /// Starts with `defaults`, which define every key and its type.
    pub(super) fn new(defaults: &str) -> Self {
        let table: Table = defaults.parse().expect("the embedded defaults are TOML");
        let known: BTreeMap<_, _> = flatten(table).into_iter().collect();
        let values = known
            .iter()
            .map(|(key, value)| (key.clone(), (value.clone(), "the defaults".to_owned())))
            .collect();
        Self { known, values }
    }

    /// Reads a file; one that need not exist may be missing.
    pub(super) fn file(&mut self, path: &Path, must_exist: bool) -> Result<(), ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
                return Ok(());
            }
            Err(source) => {
                return Err(ConfigError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let table: Table = text.parse().map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let origin = path.display().to_string();
        for (key, value) in flatten(table) {
            self.put(key, value, &origin)?;
        }
        Ok(())
    }

    /// Reads `ARCHY_<SECTION>_<KEY>`. Other programs' variables (`ARCHY_NODE`, …) have no section and are left alone.
    pub(super) fn environment(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix("ARCHY_") else {
                continue;
            };
            let rest = rest.to_lowercase();
            let Some((section, key)) = rest.split_once('_') else {
                continue;
            };
            let prefix = format!("{section}.");
            if !self.known.keys().any(|known| known.starts_with(&prefix)) {
                continue;
            }
            let key = format!("{section}.{key}");
            self.put_text(&key, text, name)?;
        }
        Ok(())
    }

    /// Reads `section.key=value` flags.
    pub(super) fn set(&mut self, flags: &[String]) -> Result<(), ConfigError> {
        for flag in flags {
            let (key, text) = flag
                .split_once('=')
                .ok_or_else(|| ConfigError::Set(flag.clone()))?;
            self.put_text(key.trim(), text, "--set")?;
        }
        Ok(())
    }

    /// Turns the layers into the typed configuration.
    pub(super) fn compose<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        let mut root = Table::new();
        for (key, (value, _)) in &self.values {
            let (section, key) = key
                .split_once('.')
                .expect("every default is inside a section");
            let section = root
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(table) = section {
                table.insert(key.to_owned(), value.clone());
            }
        }
        // One key at a time first, so that the error can name the layer that holds the wrong value.
        let defaults: Table = super::DEFAULTS
            .parse()
            .expect("the embedded defaults are TOML");
        for (key, (value, origin)) in &self.values {
            let mut probe = defaults.clone();
            if let Some((section, name)) = key.split_once('.')
                && let Some(Value::Table(table)) = probe.get_mut(section)
            {
                table.insert(name.to_owned(), value.clone());
            }
            if let Err(error) = probe.try_into::<T>() {
                return Err(ConfigError::Value {
                    key: key.clone(),
                    origin: origin.clone(),
                    reason: error.message().to_owned(),
                });
            }
        }
        root.try_into().map_err(|error| ConfigError::Value {
            key: "configuration".to_owned(),
            origin: "all layers".to_owned(),
            reason: error.message().to_owned(),
        })
    }

    fn put(&mut self, key: String, value: Value, origin: &str) -> Result<(), ConfigError> {
        let known = self.find(&key, origin)?;
        if !same_type(known, &value) {
            return Err(ConfigError::Value {
                key,
                origin: origin.to_owned(),
                reason: format!("expected {}, found {}", known.type_str(), value.type_str()),
            });
        }
        self.values.insert(key, (value, origin.to_owned()));
        Ok(())
    }

    fn put_text(&mut self, key: &str, text: &str, origin: &str) -> Result<(), ConfigError> {
        let invalid = |reason: &str| ConfigError::Value {
            key: key.to_owned(),
            origin: origin.to_owned(),
            reason: format!("{text:?} {reason}"),
        };
        let value = match self.find(key, origin)? {
            Value::Integer(_) => Value::Integer(
                text.trim()
                    .parse()
                    .map_err(|_| invalid("is not a whole number"))?,
            ),
            Value::Boolean(_) => Value::Boolean(
                text.trim()
                    .parse()
                    .map_err(|_| invalid("is neither true nor false"))?,
            ),
            Value::Array(_) => Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Value::String(item.to_owned()))
                    .collect(),
            ),
            Value::String(_) | Value::Float(_) | Value::Datetime(_) | Value::Table(_) => {
                Value::String(text.to_owned())
            }
        };
        self.values
            .insert(key.to_owned(), (value, origin.to_owned()));
        Ok(())
    }

    fn find(&self, key: &str, origin: &str) -> Result<&Value, ConfigError> {
        self.known.get(key).ok_or_else(|| ConfigError::UnknownKey {
            key: key.to_owned(),
            origin: origin.to_owned(),
            nearest: self
                .known
                .keys()
                .map(|known| (strsim::jaro_winkler(known, key), known))
                .filter(|(likeness, _)| *likeness > 0.7)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, known)| known.clone()),
        })
    }
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Lists `section.key` and value; a key outside any section keeps its bare name and is thereby unknown.
fn flatten(table: Table) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (section, value) in table {
        match value {
            Value::Table(keys) => {
                flat.extend(
                    keys.into_iter()
                        .map(|(key, value)| (format!("{section}.{key}"), value)),
                );
            }
            other @ (Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)) => flat.push((section, other)),
        }
    }
    flat
}
