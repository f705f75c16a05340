//! Writes files and directories so that a power cut leaves the old or the new, never half of either.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Writes a file that is not there yet, or replaces what it holds, and waits until the disk has it.
pub(crate) fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(path, bytes, mode)?.sync_all()
}

/// Like [`write_synced`], but leaves the waiting to the caller.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default())
        .open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// How the name of a file starts that [`replace`] has not finished.
const UNFINISHED: &str = ".new-";

/// Removes what a killed process left of its [`replace`]. Nobody may be writing in the directory.
pub(crate) fn sweep(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Replaces a file as a whole: written beside it under a name of its own, then renamed.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let file = write_beside(path, bytes, mode)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Like [`replace`], but does not wait for the disk: after a power cut, the file may be the old one, or empty.
pub(crate) fn replace_unsynced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let file = write_beside(path, bytes, mode)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode & 0o700))
        .tempfile_in(directory)?;
    // A service has its own mask of rights, which would leave less than is asked for.
    file.as_file()
        .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Names the second copy of a file, from which a spoiled first is made anew: that of `a.json` is `a.twin.json`.
pub(crate) fn twin(path: &Path) -> PathBuf {
    path.with_extension("twin.json")
}

/// Makes the entries of a directory last.
pub(crate) fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes all last that the file system has which `path` is on. Where `path` may not be opened, the nearest directory above
/// it that may be stands for it.
pub(crate) fn sync_file_system(path: &Path) -> io::Result<()> {
    let mut opened = path.ancestors().map(File::open);
    let found = opened.find(|opened| opened.is_ok());
    rustix::fs::syncfs(found.unwrap_or_else(|| File::open("/"))?)?;
    Ok(())
}

/// Like [`sync_file_system`], but lets other work go on meanwhile.
pub(crate) async fn make_last(path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    let synced = tokio::task::spawn_blocking(move || sync_file_system(&path)).await;
    synced.map_err(io::Error::other)?
}

/// Returns the bytes that this user may still take of the file system which `path` is on.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let free = rustix::fs::statvfs(path)?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

/// Creates a directory and its parents, closed to other users.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Puts the directory `new` in the place of `live`, whether or not `live` exists, in one step, and removes the old one.
pub(crate) fn swap_dir(new: &Path, live: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, live, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_dir_all(new)?,
        Err(rustix::io::Errno::NOENT) => fs::rename(new, live)?,
        Err(error) => return Err(error.into()),
    }
    live.parent().map_or(Ok(()), sync_dir)
}

/// Removes a file; a missing one is as good.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a file so that no power cut brings it back; a missing one is as good.
pub(crate) fn remove_for_good(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a directory with all in it; a missing one is as good.
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_takes_the_place_of_another() {
        let root = tempfile::tempdir().unwrap();
        let (new, live) = (root.path().join("new"), root.path().join("live"));
        for round in ["first", "second"] {
            fs::create_dir(&new).unwrap();
            fs::write(new.join(round), round).unwrap();
            swap_dir(&new, &live).unwrap();
            let names: Vec<_> = fs::read_dir(&live)
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            assert_eq!(names, [round]);
            assert!(!new.exists());
        }
    }

    #[test]
    fn the_file_system_of_what_is_not_there_is_that_of_what_is_above_it() {
        let root = tempfile::tempdir().unwrap();
        sync_file_system(root.path()).unwrap();
        sync_file_system(&root.path().join("missing/diff")).unwrap();
        sync_file_system(Path::new("missing")).unwrap();
    }

    #[test]
    fn unfinished_files_are_swept() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".new-abc"), "half").unwrap();
        fs::write(root.path().join("whole"), "all").unwrap();
        sweep(root.path());
        sweep(&root.path().join("missing"));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replaced_file_has_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("secret");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
