//! The unit files that are live, told apart from files of others by the mark in them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use archy_registry::Slug;

use crate::quadlet::unit::{self, UNIT_LEN_MAX};

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
        if !entry.file_type()?.is_dir() {
            continue;
        }
        match files(&entry.path()) {
            Ok(files) if files.is_empty() || files.values().any(|text| is_marked(text, root)) => {
                live.insert(app, files);
            }
            Ok(_) => {}
            // One app's trouble is not the others': its units are put in place again, or it is told why they cannot be.
            Err(error) => {
                tracing::warn!(app = %app, error = &error as &dyn std::error::Error, "units cannot be read");
            }
        }
    }
    Ok(live)
}

/// Reads the files of a directory; what is no text, or no file, reads as empty, so that it differs from what should be there.
fn files(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Whoever opens a pipe waits for its other end.
        let text = if entry.file_type()?.is_file() {
            match fs::File::open(entry.path()) {
                Ok(file) => read_text(file)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
        } else {
            String::new()
        };
        files.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    Ok(files)
}

fn read_text(file: fs::File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(UNIT_LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > UNIT_LEN_MAX as u64 {
        return Ok(String::new());
    }
    Ok(String::from_utf8(bytes).unwrap_or_default())
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
    #[test]
    fn what_cannot_be_read_of_one_app_hides_no_other() {
        let root = tempfile::tempdir().unwrap();
        for app in ["a", "b"] {
            fs::create_dir(root.path().join(app)).unwrap();
            fs::write(
                root.path().join(app).join("a.container"),
                "[X-Archy]\nRoot=me\n",
            )
            .unwrap();
        }
        let pipe = root.path().join("a").join("b.container");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        std::os::unix::fs::symlink("/dev/zero", root.path().join("b").join("c.container")).unwrap();
        let live = read(root.path(), "me").unwrap();
        assert_eq!(live[&"a".parse::<Slug>().unwrap()]["b.container"], "");
        assert_eq!(live[&"b".parse::<Slug>().unwrap()]["c.container"], "");
        let large = fs::File::create(root.path().join("a").join("d.container")).unwrap();
        large.set_len(UNIT_LEN_MAX as u64 + 1).unwrap();
        let live = read(root.path(), "me").unwrap();
        assert_eq!(live[&"a".parse::<Slug>().unwrap()]["d.container"], "");
    }
}
