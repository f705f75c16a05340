//! Files of the node that its owner lets apps copy: found beneath an allowed directory, never through a link, packed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Largest file that is copied.
const SIZE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A file of the node was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The owner did not allow it.
    #[error("the owner of this node does not let apps copy {path}; {}", allowed(.directories))]
    NotAllowed {
        /// The file.
        path: String,
        /// What may be copied from.
        directories: Vec<PathBuf>,
    },
    /// It could not be opened, or its path goes through a link or out of the directory.
    #[error("cannot open {path} beneath {directory}")]
    Open {
        /// The file.
        path: String,
        /// The allowed directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something other than a file.
    #[error("{0} is not a file")]
    NotAFile(String),
    /// More than apps may copy.
    #[error("{path} is {size_mib} MiB large, at most {} MiB are copied", SIZE_BYTES_MAX >> 20)]
    TooLarge {
        /// The file.
        path: String,
        /// Its size.
        size_mib: u64,
    },
    /// It could not be packed.
    #[error("cannot read the file")]
    Pack(#[source] io::Error),
}

fn allowed(directories: &[PathBuf]) -> String {
    if directories.is_empty() {
        return "[apps] copy_from_host in archyd.toml lists no directory".to_owned();
    }
    let directories: Vec<String> = directories
        .iter()
        .map(|d| d.display().to_string())
        .collect();
    format!(
        "[apps] copy_from_host in archyd.toml lists {}",
        directories.join(", ")
    )
}

/// Packs the file `from` under `name`, if it lies beneath one of `directories`.
pub(super) fn pack(from: &str, directories: &[PathBuf], name: &str) -> Result<Bytes, CopyError> {
    let file = open(from, directories)?;
    let metadata = file.metadata().map_err(CopyError::Pack)?;
    if !metadata.is_file() {
        return Err(CopyError::NotAFile(from.to_owned()));
    }
    if metadata.len() > SIZE_BYTES_MAX {
        return Err(CopyError::TooLarge {
            path: from.to_owned(),
            size_mib: metadata.len() >> 20,
        });
    }
    let mut content = Vec::new();
    file.take(SIZE_BYTES_MAX)
        .read_to_end(&mut content)
        .map_err(CopyError::Pack)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_data(&mut header, name, content.as_slice())
        .and_then(|()| archive.into_inner())
        .map(Bytes::from)
        .map_err(CopyError::Pack)
}

fn open(from: &str, directories: &[PathBuf]) -> Result<File, CopyError> {
    let path = Path::new(from);
    let found = directories
        .iter()
        .filter(|directory| directory.is_absolute())
        .find_map(|directory| Some((directory, path.strip_prefix(directory).ok()?)));
    let Some((directory, below)) = found else {
        return Err(CopyError::NotAllowed {
            path: from.to_owned(),
            directories: directories.to_vec(),
        });
    };
    let root = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // A pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::open(directory, root, Mode::empty())
        .and_then(|root| rustix::fs::openat2(root, below, flags, Mode::empty(), beneath));
    match opened {
        Ok(file) => Ok(File::from(file)),
        Err(error) => Err(CopyError::Open {
            path: from.to_owned(),
            directory: directory.clone(),
            source: error.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_files_beneath_an_allowed_directory_are_copied() {
        let root = tempfile::tempdir().unwrap();
        let allowed = root.path().join("allowed");
        std::fs::create_dir_all(allowed.join("sub")).unwrap();
        std::fs::write(root.path().join("secret"), "secret").unwrap();
        std::fs::write(allowed.join("sub/file"), "content").unwrap();
        symlink(root.path().join("secret"), allowed.join("link")).unwrap();
        symlink(root.path(), allowed.join("out")).unwrap();
        symlink("sub", allowed.join("in")).unwrap();
        let directories = [allowed.clone()];
        let try_pack = |path: &str| {
            let from = format!("{}/{path}", allowed.display());
            pack(&from, &directories, "x").map_err(|error| crate::error_chain(&error))
        };
        let archive = try_pack("sub/file").unwrap();
        let mut archive = tar::Archive::new(&archive[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        assert_eq!(entry.path().unwrap().to_str(), Some("x"));
        for path in [
            "link",
            "out/secret",
            "in/file",
            "../secret",
            "missing",
            "sub",
            "",
            ".",
        ] {
            assert!(try_pack(path).is_err(), "{path}");
        }
        let outside = root.path().join("secret");
        let error = pack(outside.to_str().unwrap(), &directories, "x").unwrap_err();
        assert!(error.to_string().contains("allowed"), "{error}");
        let none = pack("/etc/passwd", &[], "x").unwrap_err().to_string();
        assert!(none.contains("lists no directory"), "{none}");
        let sibling = format!("{}-evil/x", allowed.display());
        assert!(matches!(
            pack(&sibling, &directories, "x"),
            Err(CopyError::NotAllowed { .. })
        ));
    }

    #[test]
    fn who_swaps_directories_meanwhile_gives_nothing_else() {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use std::sync::atomic::{AtomicBool, Ordering};
        let root = tempfile::tempdir().unwrap();
        let (allowed, outside) = (root.path().join("allowed"), root.path().join("outside"));
        let (sub, link) = (allowed.join("sub"), allowed.join("link"));
        for (directory, text) in [(&sub, "content"), (&outside, "secret")] {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join("file"), text).unwrap();
        }
        symlink(&outside, &link).unwrap();
        let from = sub.join("file");
        let (directories, done) = ([allowed.clone()], AtomicBool::new(false));
        let (mut copied, mut refused) = (0, 0);
        let mut stolen = None;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    renameat_with(CWD, &sub, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                }
            });
            // Until both have been seen: a swap that never falls in between would prove nothing.
            while stolen.is_none() && (copied < 500 || refused < 500) {
                match pack(from.to_str().unwrap(), &directories, "x") {
                    Ok(archive) => {
                        copied += 1;
                        let mut archive = tar::Archive::new(&archive[..]);
                        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
                        let mut content = String::new();
                        entry.read_to_string(&mut content).unwrap();
                        stolen = Some(content).filter(|content| content != "content");
                    }
                    Err(_) => refused += 1,
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(stolen, None);
    }
}
