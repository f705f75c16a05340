//! The unit files that are live, told apart from files of others by the mark in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use archy_registry::Slug;

use crate::quadlet::unit;

/// Reads the unit directories that the node marked `root` wrote: app → file → text. Others are passed over.
pub(crate) fn read(
    unit_dir: &Path,
    root: &str,
) -> io::Result<BTreeMap<Slug, BTreeMap<String, String>>> {
    let mut live = BTreeMap::new();
    let entries = match fs::read_dir(unit_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(live),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Some(app) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<Slug>().ok())
        else {
            continue;
        };
        if entry.file_type()?.is_dir() {
            let files = files(&entry.path())?;
            if files.is_empty() || files.values().any(|text| is_marked(text, root)) {
                live.insert(app, files);
            }
        }
    }
    Ok(live)
}

/// Reads the files of a directory; what is no text reads as empty, so that it differs from what should be there.
fn files(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let text = match fs::read(entry.path()) {
            Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => String::new(),
            Err(error) => return Err(error),
        };
        files.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    Ok(files)
}

fn is_marked(text: &str, root: &str) -> bool {
    let lines = unit::read(text).unwrap_or_default();
    let mut marks = lines
        .iter()
        .filter(|line| line.section == crate::quadlet::MARKER);
    marks.any(|line| line.key == "Root" && line.raw == root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_directories_are_read() {
        let root = tempfile::tempdir().unwrap();
        for (app, mark) in [("ours", "me"), ("theirs", "you")] {
            fs::create_dir(root.path().join(app)).unwrap();
            let text = format!("[X-Archy]\nRoot={mark}\n");
            fs::write(root.path().join(app).join("a.container"), text).unwrap();
        }
        fs::write(root.path().join("file"), "").unwrap();
        let live = read(root.path(), "me").unwrap();
        assert_eq!(live.keys().map(Slug::as_str).collect::<Vec<_>>(), ["ours"]);
        assert!(read(&root.path().join("missing"), "me").unwrap().is_empty());
    }
}
