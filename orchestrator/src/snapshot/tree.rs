//! Copies a tree of files as it is: owners, modes, times, holes, hard links, extended attributes. Two passes: one while
//! the app still writes, and one, when it stands still, for what changed since.
//!
//! The app may move its files about during the first pass, so nothing here follows a link: every step is relative to an
//! open directory.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::Errno;

/// Deepest directory that is copied; two file descriptors are open for each level.
const DEPTH_MAX: usize = 400;
/// A file that changed this shortly before it was copied may change again without its time telling.
const SETTLED_SECONDS: i64 = 2;
/// Bytes copied between two words of progress.
const CHUNK_BYTES: usize = 8 << 20;

/// A tree could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("cannot copy {path}")]
pub struct TreeError {
    /// The file or directory, relative to the tree.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// What a tree holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of its files' blocks on the disk; a file of several names counts once for each.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

/// What tells that a file has not changed since it was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }
}

/// Copies one tree to one place, in passes.
pub struct Copier<'a> {
    from: OwnedFd,
    to: OwnedFd,
    /// Hears of bytes as they are copied.
    progress: Box<dyn FnMut(u64) + 'a>,
    known: HashMap<PathBuf, Stamp>,
    /// Of this pass: where the first name of a file with several was copied to.
    links: HashMap<(u64, u64), PathBuf>,
    extent: Extent,
    now_seconds: i64,
}

fn at(path: &Path) -> impl FnOnce(Errno) -> TreeError + '_ {
    move |error| TreeError {
        path: path.to_owned(),
        source: error.into(),
    }
}

/// Opens a directory below another, never through a link.
fn directory(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn open_root(path: &Path) -> Result<OwnedFd, TreeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(at(path))
}

fn names(directory: &OwnedFd) -> Result<BTreeSet<CString>, Errno> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

fn child(path: &Path, name: &CStr) -> PathBuf {
    path.join(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

/// Returns a file's status, or `None` when it is gone.
fn status(directory: &OwnedFd, name: &CStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Measures a tree. What vanishes meanwhile does not count.
///
/// # Errors
///
/// [`TreeError`] names what could not be read.
pub fn measure(path: &Path) -> Result<Extent, TreeError> {
    fn below(
        directory: &OwnedFd,
        path: &Path,
        depth: usize,
        extent: &mut Extent,
    ) -> Result<(), TreeError> {
        check_depth(path, depth)?;
        for name in names(directory).map_err(at(path))? {
            let path = child(path, &name);
            let Some(stat) = status(directory, &name).map_err(at(&path))? else {
                continue;
            };
            extent.entries += 1;
            extent.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                match self::directory(directory, &name) {
                    Ok(opened) => below(&opened, &path, depth + 1, extent)?,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(error) => return Err(at(&path)(error)),
                }
            }
        }
        Ok(())
    }
    let mut extent = Extent::default();
    below(&open_root(path)?, Path::new(""), 0, &mut extent)?;
    Ok(extent)
}

fn check_depth(path: &Path, depth: usize) -> Result<(), TreeError> {
    if depth <= DEPTH_MAX {
        return Ok(());
    }
    Err(TreeError {
        path: path.to_owned(),
        source: io::Error::other(format!("directories nest deeper than {DEPTH_MAX}")),
    })
}

/// Tells whether files of `from` can share their blocks with copies below `to` (`FICLONE`, ioctl_ficlonerange(2)).
pub fn shares_blocks(from: &Path, to: &Path) -> bool {
    let (Ok(a), Ok(b)) = (tempfile::tempfile_in(to), tempfile::tempfile_in(to)) else {
        return false;
    };
    let same_device = match (rustix::fs::stat(from), rustix::fs::stat(to)) {
        (Ok(from), Ok(to)) => from.st_dev == to.st_dev,
        _ => false,
    };
    same_device
        && rustix::io::write(&a, &[1; 4096]).is_ok()
        && rustix::fs::ioctl_ficlone(&b, &a).is_ok()
}

impl<'a> Copier<'a> {
    /// Opens both directories.
    ///
    /// # Errors
    ///
    /// [`TreeError`] when one cannot be opened.
    pub fn open(from: &Path, to: &Path, progress: impl FnMut(u64) + 'a) -> Result<Self, TreeError> {
        Ok(Self {
            from: open_root(from)?,
            to: open_root(to)?,
            progress: Box::new(progress),
            known: HashMap::new(),
            links: HashMap::new(),
            extent: Extent::default(),
            now_seconds: 0,
        })
    }

    /// Makes the copy what the tree is now, and waits until the disk has it. Sockets are left out: they mean nothing
    /// without the program that made them.
    ///
    /// # Errors
    ///
    /// [`TreeError`]; the copy is then of no use.
    pub fn pass(&mut self) -> Result<Extent, TreeError> {
        self.links.clear();
        self.extent = Extent::default();
        // Before what follows, during which the app writes on.
        self.now_seconds = jiff::Timestamp::now().as_second();
        if self.known.is_empty() {
            // What is written through a mapping changes a file's time only at the first touch of a page that is clean.
            rustix::fs::syncfs(&self.from).map_err(at(Path::new("")))?;
        }
        let (from, to) = (self.from.try_clone(), self.to.try_clone());
        let root = Path::new("");
        let io = |source| TreeError {
            path: root.to_owned(),
            source,
        };
        self.copy_directory(&from.map_err(io)?, &to.map_err(io)?, root, 0)?;
        rustix::fs::syncfs(&self.to).map_err(at(root))?;
        Ok(self.extent)
    }

    fn copy_directory(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> Result<(), TreeError> {
        check_depth(path, depth)?;
        let present = names(from).map_err(at(path))?;
        for name in names(to).map_err(at(path))?.difference(&present) {
            remove(to, name).map_err(at(&child(path, name)))?;
            self.known.remove(&child(path, name));
        }
        for name in &present {
            let path = child(path, name);
            self.copy_entry(from, to, name, &path, depth)?;
        }
        let stat = rustix::fs::fstat(from).map_err(at(path))?;
        copy_attributes(from, to, &stat).map_err(at(path))
    }

    fn copy_entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), TreeError> {
        let gone = || remove(to, name).map_err(at(path));
        let Some(stat) = status(from, name).map_err(at(path))? else {
            return gone();
        };
        self.extent.entries += 1;
        self.extent.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Directory => {
                let source = match directory(from, name) {
                    Ok(source) => source,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return gone(),
                    Err(error) => return Err(at(path)(error)),
                };
                let target = match directory(to, name) {
                    Ok(target) => target,
                    Err(_) => {
                        gone()?;
                        rustix::fs::mkdirat(to, name, Mode::RWXU).map_err(at(path))?;
                        directory(to, name).map_err(at(path))?
                    }
                };
                self.copy_directory(&source, &target, path, depth + 1)
            }
            FileType::RegularFile => self.copy_file(from, to, name, path),
            FileType::Symlink => copy_link(from, to, name, &stat).map_err(at(path)),
            FileType::Fifo => {
                gone()?;
                let mode = Mode::from_raw_mode(stat.st_mode);
                rustix::fs::mknodat(to, name, FileType::Fifo, mode, 0).map_err(at(path))?;
                own(to, name, &stat).map_err(at(path))
            }
            FileType::Socket
            | FileType::BlockDevice
            | FileType::CharacterDevice
            | FileType::Unknown => gone(),
        }
    }

    fn copy_file(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        path: &Path,
    ) -> Result<(), TreeError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = match rustix::fs::openat(from, name, flags, Mode::empty()) {
            Ok(source) => source,
            // It became something else meanwhile; the last pass meets it at rest.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => {
                self.known.remove(path);
                return remove(to, name).map_err(at(path));
            }
            Err(error) => return Err(at(path)(error)),
        };
        let stat = rustix::fs::fstat(&source).map_err(at(path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let file = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&file)
                && self.link(first, to, name).map_err(at(path))?
            {
                self.known.remove(path);
                return Ok(());
            }
            self.links.insert(file, path.to_owned());
        }
        let stamp = Stamp::of(&stat);
        if self.known.get(path) == Some(&stamp) {
            return Ok(());
        }
        remove(to, name).map_err(at(path))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR);
        let target = target.map_err(at(path))?;
        self.copy_content(&source, &target).map_err(at(path))?;
        copy_attributes(&source, &target, &stat).map_err(at(path))?;
        if stamp.changed.0 + SETTLED_SECONDS <= self.now_seconds {
            self.known.insert(path.to_owned(), stamp);
        } else {
            self.known.remove(path);
        }
        Ok(())
    }

    /// Gives the copy of a file another name; tells whether that could be done.
    fn link(&self, first: &Path, to: &OwnedFd, name: &CStr) -> Result<bool, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = first
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        let parent = rustix::fs::openat2(&self.to, parent, flags, Mode::empty(), resolve)?;
        let Some(file) = first.file_name() else {
            return Ok(false);
        };
        let existing = rustix::fs::statat(&parent, file, AtFlags::SYMLINK_NOFOLLOW)?;
        if let Some(known) = status(to, name)?
            && known.st_ino == existing.st_ino
        {
            return Ok(true);
        }
        remove(to, name)?;
        match rustix::fs::linkat(&parent, file, to, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::MLINK | Errno::PERM) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Copies a file's bytes: shared blocks where the file system can, else only what is no hole.
    fn copy_content(&mut self, from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
        let size = u64::try_from(rustix::fs::fstat(from)?.st_size).unwrap_or(0);
        if rustix::fs::ioctl_ficlone(to, from).is_ok() {
            (self.progress)(size);
            return Ok(());
        }
        rustix::fs::ftruncate(to, size)?;
        let mut end = 0;
        loop {
            let begin = match rustix::fs::seek(from, SeekFrom::Data(end)) {
                Ok(begin) => begin,
                // Nothing but a hole is left, or the file was cut off meanwhile.
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error),
            };
            end = match rustix::fs::seek(from, SeekFrom::Hole(begin)) {
                Ok(end) => end,
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error),
            };
            self.copy_range(from, to, begin, end)?;
        }
        Ok(())
    }

    fn copy_range(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        begin: u64,
        end: u64,
    ) -> Result<(), Errno> {
        let (mut read, mut written) = (begin, begin);
        while read < end {
            let bytes = usize::try_from(end - read).map_or(CHUNK_BYTES, |n| n.min(CHUNK_BYTES));
            let copied =
                rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), bytes);
            match copied {
                // Cut off meanwhile.
                Ok(0) => return Ok(()),
                Ok(copied) => (self.progress)(copied as u64),
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {
                    return self.copy_by_hand(from, to, read, end);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn copy_by_hand(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        begin: u64,
        end: u64,
    ) -> Result<(), Errno> {
        let mut buffer = vec![0; 1 << 20];
        let mut offset = begin;
        while offset < end {
            let read = rustix::io::pread(from, &mut buffer, offset)?;
            if read == 0 {
                return Ok(());
            }
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let written = rustix::io::pwrite(to, rest, offset)?;
                offset += written as u64;
                rest = &rest[written..];
                (self.progress)(written as u64);
            }
        }
        Ok(())
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as _),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as _),
    }
}

fn copy_link(from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let target = match rustix::fs::readlinkat(from, name, Vec::new()) {
        Ok(target) => target,
        Err(Errno::NOENT | Errno::INVAL) => return remove(to, name),
        Err(error) => return Err(error),
    };
    if rustix::fs::readlinkat(to, name, Vec::new()).ok().as_ref() != Some(&target) {
        remove(to, name)?;
        rustix::fs::symlinkat(&target, to, name)?;
    }
    own(to, name, stat)
}

/// Gives a link or pipe its owner and times.
fn own(to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

/// Gives a file or directory the owner, attributes, mode and times of another.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    // A change of owner takes set-user-ID bits and capabilities away, so these come after.
    rustix::fs::fchown(to, Some(uid), Some(gid))?;
    copy_extended(from, to)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    rustix::fs::futimens(to, &times(stat))
}

fn copy_extended(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let list = |file: &OwnedFd| {
        let mut names = vec![0_u8; 64 << 10];
        match rustix::fs::flistxattr(file, &mut names) {
            Ok(length) => {
                names.truncate(length);
                Ok(names)
            }
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    };
    let each = |names: &[u8]| -> BTreeSet<CString> {
        let names = names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        names.filter_map(|name| CString::new(name).ok()).collect()
    };
    let wanted = each(&list(from)?);
    for name in each(&list(to)?).difference(&wanted) {
        permitted(rustix::fs::fremovexattr(to, name.as_c_str()))?;
    }
    let mut value = vec![0_u8; 64 << 10];
    for name in &wanted {
        match rustix::fs::fgetxattr(from, name.as_c_str(), &mut value) {
            Ok(length) => permitted(rustix::fs::fsetxattr(
                to,
                name.as_c_str(),
                &value[..length],
                XattrFlags::empty(),
            ))?,
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The kernel keeps some attributes for itself (`security.selinux` and its like).
fn permitted(done: Result<(), Errno>) -> Result<(), Errno> {
    match done {
        Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(()),
        done => done,
    }
}

/// Removes a file, or a directory with all in it; a missing one is as good.
fn remove(parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error),
    }
    let directory = directory(parent, name)?;
    for name in names(&directory)? {
        remove(&directory, &name)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

    use proptest::prelude::*;

    use super::*;

    /// All that a copy must keep, by path.
    fn listing(root: &Path) -> Vec<String> {
        fn below(root: &Path, path: &Path, lines: &mut Vec<String>) {
            for entry in fs::read_dir(root.join(path)).unwrap() {
                let path = path.join(entry.unwrap().file_name());
                let full = root.join(&path);
                let about = full.symlink_metadata().unwrap();
                let content = if about.is_symlink() {
                    fs::read_link(&full).unwrap().display().to_string()
                } else if about.is_file() {
                    format!("{:?} {}", fs::read(&full).unwrap(), about.nlink())
                } else {
                    String::new()
                };
                lines.push(format!(
                    "{} {:o} {} {} {}.{} {content}",
                    path.display(),
                    about.mode(),
                    about.uid(),
                    about.gid(),
                    about.mtime(),
                    about.mtime_nsec(),
                ));
                if about.is_dir() {
                    below(root, &path, lines);
                }
            }
        }
        let mut lines = Vec::new();
        below(root, Path::new(""), &mut lines);
        lines.sort();
        lines
    }

    struct Pair {
        root: tempfile::TempDir,
    }

    impl Pair {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("from")).unwrap();
            fs::create_dir(root.path().join("to")).unwrap();
            Self { root }
        }

        fn from(&self) -> PathBuf {
            self.root.path().join("from")
        }

        fn to(&self) -> PathBuf {
            self.root.path().join("to")
        }

        fn copier(&self) -> Copier<'static> {
            Copier::open(&self.from(), &self.to(), |_| {}).unwrap()
        }
    }

    #[test]
    fn a_tree_is_copied_as_it_is() {
        let pair = Pair::new();
        let from = pair.from();
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/file"), "content").unwrap();
        fs::set_permissions(from.join("a/b/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        fs::hard_link(from.join("a/b/file"), from.join("a/other")).unwrap();
        symlink("../nowhere", from.join("a/link")).unwrap();
        fs::write(from.join("empty"), "").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            from.join("pipe"),
            FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        fs::set_permissions(from.join("a"), PermissionsExt::from_mode(0o500)).unwrap();
        let extent = pair.copier().pass().unwrap();
        assert_eq!(extent.entries, measure(&from).unwrap().entries);
        let mut expected = listing(&from);
        expected.retain(|line| !line.starts_with("socket "));
        assert_eq!(listing(&pair.to()), expected);
        assert!(
            fs::metadata(pair.to().join("pipe"))
                .unwrap()
                .file_type()
                .is_fifo()
        );
        let inode = |name: &str| fs::metadata(pair.to().join(name)).unwrap().ino();
        assert_eq!(inode("a/b/file"), inode("a/other"));
    }

    #[test]
    fn holes_stay_holes() {
        let pair = Pair::new();
        let sparse = fs::File::create(pair.from().join("sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        rustix::io::pwrite(&sparse, b"end", (48 << 20) + 5).unwrap();
        pair.copier().pass().unwrap();
        let copy = pair.to().join("sparse");
        assert_eq!(
            fs::read(&copy).unwrap(),
            fs::read(pair.from().join("sparse")).unwrap()
        );
        assert!(fs::metadata(copy).unwrap().blocks() < 1024);
    }

    #[test]
    fn attributes_are_kept() {
        let pair = Pair::new();
        let file = fs::File::create(pair.from().join("file")).unwrap();
        match rustix::fs::fsetxattr(&file, "user.mark", b"x", XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => return,
            done => done.unwrap(),
        }
        pair.copier().pass().unwrap();
        let copy = fs::File::open(pair.to().join("file")).unwrap();
        let mut value = [0_u8; 8];
        assert_eq!(
            rustix::fs::fgetxattr(&copy, "user.mark", &mut value[..]).unwrap(),
            1
        );
    }

    #[test]
    fn a_directory_that_became_a_link_is_not_followed() {
        let pair = Pair::new();
        let outside = pair.root.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("private"), "not the app's").unwrap();
        fs::create_dir(pair.from().join("dir")).unwrap();
        fs::write(pair.from().join("dir/private"), "the app's").unwrap();
        let mut copier = pair.copier();
        copier.pass().unwrap();
        fs::remove_dir_all(pair.from().join("dir")).unwrap();
        symlink(&outside, pair.from().join("dir")).unwrap();
        copier.pass().unwrap();
        assert_eq!(fs::read_link(pair.to().join("dir")).unwrap(), outside);
        assert_eq!(fs::read(outside.join("private")).unwrap(), b"not the app's");
    }

    #[test]
    fn too_deep_a_tree_is_an_error() {
        let pair = Pair::new();
        let mut here = open_root(&pair.from()).unwrap();
        for _ in 0..DEPTH_MAX + 2 {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).unwrap();
            here = directory(&here, c"d").unwrap();
        }
        assert!(
            measure(&pair.from())
                .unwrap_err()
                .source
                .to_string()
                .contains("deeper")
        );
        assert!(pair.copier().pass().is_err());
    }

    #[derive(Debug, Clone)]
    enum Change {
        Write(u8, u8),
        Remove(u8),
        Directory(u8),
        Link(u8),
        Rename(u8, u8),
        HardLink(u8, u8),
    }

    fn change() -> impl Strategy<Value = Change> {
        let name = 0_u8..12;
        prop_oneof![
            (name.clone(), any::<u8>()).prop_map(|(a, b)| Change::Write(a, b)),
            name.clone().prop_map(Change::Remove),
            name.clone().prop_map(Change::Directory),
            name.clone().prop_map(Change::Link),
            (name.clone(), name.clone()).prop_map(|(a, b)| Change::Rename(a, b)),
            (name.clone(), name).prop_map(|(a, b)| Change::HardLink(a, b)),
        ]
    }

    /// Names 0 to 5 are in the root, the others in directories that may exist.
    fn place(root: &Path, name: u8) -> PathBuf {
        match name {
            0..=5 => root.join(name.to_string()),
            name => root.join((name % 3).to_string()).join(name.to_string()),
        }
    }

    fn perform(root: &Path, change: &Change) {
        // Many fail, e.g. for want of a directory: the others make the tree.
        let _ = match change {
            Change::Write(name, byte) => fs::write(place(root, *name), [*byte; 3]),
            Change::Remove(name) => fs::remove_file(place(root, *name))
                .or_else(|_| fs::remove_dir_all(place(root, *name))),
            Change::Directory(name) => fs::create_dir(place(root, *name)),
            Change::Link(name) => symlink("0", place(root, *name)),
            Change::Rename(a, b) => fs::rename(place(root, *a), place(root, *b)),
            Change::HardLink(a, b) => fs::hard_link(place(root, *a), place(root, *b)),
        };
    }

    proptest! {
        #[test]
        fn the_last_pass_makes_the_copy_what_the_tree_is(
            before in proptest::collection::vec(change(), 0..30),
            after in proptest::collection::vec(change(), 0..30),
        ) {
            let pair = Pair::new();
            before.iter().for_each(|change| perform(&pair.from(), change));
            let mut copier = pair.copier();
            copier.pass().unwrap();
            after.iter().for_each(|change| perform(&pair.from(), change));
            copier.pass().unwrap();
            prop_assert_eq!(listing(&pair.to()), listing(&pair.from()));
        }
    }
}
