//! Reads `manifest.yml`: strict YAML, shorthands expanded, every fault with its path, line and column.

use std::fmt;

use super::{Manifest, Problem};

mod index;
mod message;
mod raw;

use index::Index;

/// Largest `manifest.yml` in bytes.
pub const SIZE_BYTES_MAX: usize = 64 * 1024;

/// A manifest in normal form, with what its author should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The manifest; it passes [`Manifest::check`].
    pub manifest: Manifest,
    /// What works but should be written otherwise.
    pub warnings: Vec<Warning>,
}

/// Something that works but should be written otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(Fault);

impl Warning {
    /// Returns where and what.
    pub fn fault(&self) -> &Fault {
        &self.0
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A place in a `manifest.yml` and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field as the file writes it; empty for the whole file.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{} ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A `manifest.yml` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`SIZE_BYTES_MAX`].
    #[error("the manifest has {0} bytes, at most {SIZE_BYTES_MAX} are allowed")]
    Size(usize),
    /// Not YAML, or YAML beyond the subset that manifests use.
    #[error("the manifest cannot be read: {0}")]
    Yaml(Fault),
    /// A field is unknown, missing or of the wrong kind.
    #[error("the manifest does not fit the packaging contract: {0}")]
    Field(Fault),
    /// Values or references are wrong; every fault that was found.
    #[error("the manifest breaks the packaging contract:{}", list(.0))]
    Contract(Vec<Fault>),
}

impl ManifestError {
    /// Lists the faults, for tools that show each in its place.
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::Size(_) => &[],
            Self::Yaml(fault) | Self::Field(fault) => std::slice::from_ref(fault),
            Self::Contract(faults) => faults,
        }
    }
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// Reads a `manifest.yml`.
///
/// # Errors
///
/// [`ManifestError`] with the path, line and column of every fault.
pub fn parse(yaml: &str) -> Result<Parsed, ManifestError> {
    if yaml.len() > SIZE_BYTES_MAX {
        return Err(ManifestError::Size(yaml.len()));
    }
    let index = Index::of(yaml).map_err(ManifestError::Yaml)?;
    let raw: raw::Manifest = serde_saphyr::from_str_with_options(yaml, message::options())
        .map_err(|error| ManifestError::Field(message::fault(&error, &index)))?;
    let (manifest, notes) =
        raw::expand(raw).map_err(|problem| ManifestError::Field(place(problem, &index)))?;
    manifest.check().map_err(|problems| {
        ManifestError::Contract(
            problems
                .into_iter()
                .map(|problem| place(problem, &index))
                .collect(),
        )
    })?;
    let warnings = notes
        .into_iter()
        .map(|note| Warning(place(note, &index)))
        .collect();
    Ok(Parsed { manifest, warnings })
}

/// Finds where the file writes what a problem is about.
fn place(problem: Problem, index: &Index) -> Fault {
    let (path, (line, column)) = index.find(&problem.path);
    Fault {
        path,
        line,
        column,
        message: problem.complaint,
    }
}
