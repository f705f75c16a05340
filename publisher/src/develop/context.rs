//! What an image is built from, as one hash: equal hashes, equal contexts. Reads the context, changes nothing.
//!
//! Everything in the context counts, also what `.containerignore` keeps from the build: that rebuilds now and then without
//! need, and never leaves out a rebuild. What a base image is does not count.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use archy_registry::Blake3Hash;

use crate::failure::Failure;

/// Label of an image with the hash of what it was built from.
pub const LABEL: &str = "io.archy.context";
/// The bits of a mode that an image keeps (chmod(2)).
const PERMISSIONS: u32 = 0o7777;

/// How a context becomes an image.
#[derive(Debug, Clone, Copy)]
pub struct Recipe<'a> {
    /// The Containerfile, relative to the context.
    pub containerfile: &'a str,
    /// The build arguments.
    pub build_args: &'a BTreeMap<String, String>,
}

/// A file, directory or link of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Bytes of the path below the context.
    path: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory {
        mode: u32,
    },
    File {
        mode: u32,
        content: Blake3Hash,
    },
    /// Where it leads does not count: nothing is followed.
    Link {
        target: Vec<u8>,
    },
    /// A socket, pipe or device.
    Other,
}

/// Hashes the context `directory` and what is made of it.
///
/// # Errors
///
/// When something in it cannot be read.
pub fn hash(directory: &Path, recipe: Recipe<'_>) -> Result<Blake3Hash, Failure> {
    Ok(digest(entries(directory)?, recipe))
}

/// Hashes entries in any order.
fn digest(mut entries: Vec<Entry>, recipe: Recipe<'_>) -> Blake3Hash {
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let mut text = Vec::new();
    // Lengths first, so that no two lists of parts read as the same bytes.
    let mut part = |bytes: &[u8]| {
        text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        text.extend_from_slice(bytes);
    };
    part(recipe.containerfile.as_bytes());
    part(&(recipe.build_args.len() as u64).to_le_bytes());
    for (name, value) in recipe.build_args {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    for Entry { path, kind } in &entries {
        part(path);
        match kind {
            Kind::Directory { mode } => {
                part(b"directory");
                part(&mode.to_le_bytes());
            }
            Kind::File { mode, content } => {
                part(b"file");
                part(&mode.to_le_bytes());
                part(content.as_bytes());
            }
            Kind::Link { target } => {
                part(b"link");
                part(target);
            }
            Kind::Other => part(b"other"),
        }
    }
    Blake3Hash::of(&text)
}

fn entries(context: &Path) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    let mut directories = vec![context.to_owned()];
    while let Some(directory) = directories.pop() {
        let unreadable = |error: std::io::Error| Failure::file("read", &directory, &error);
        for found in fs::read_dir(&directory).map_err(unreadable)? {
            let path = found.map_err(unreadable)?.path();
            let kind = kind(&path).map_err(|error| Failure::file("read", &path, &error))?;
            if matches!(kind, Kind::Directory { .. }) {
                directories.push(path.clone());
            }
            let below = path.strip_prefix(context).unwrap_or(&path);
            entries.push(Entry {
                path: below.as_os_str().as_bytes().to_vec(),
                kind,
            });
        }
    }
    Ok(entries)
}

fn kind(path: &Path) -> std::io::Result<Kind> {
    let metadata = fs::symlink_metadata(path)?;
    let mode = metadata.permissions().mode() & PERMISSIONS;
    if metadata.is_dir() {
        return Ok(Kind::Directory { mode });
    }
    if metadata.is_symlink() {
        let target = fs::read_link(path)?.as_os_str().as_bytes().to_vec();
        return Ok(Kind::Link { target });
    }
    if metadata.is_file() {
        let content = Blake3Hash::of_reader(File::open(path)?)?;
        return Ok(Kind::File { mode, content });
    }
    Ok(Kind::Other)
}

#[cfg(test)]
mod tests;
