//! Quadlet files that others wrote, and which container each makes: it is gone while its service does not run, so that
//! podman cannot tell of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::quadlet::unit::UNIT_LEN_MAX;

/// Where an administrator puts files for all users, and for each in a directory of their number.
const FOR_USERS: &str = "/etc/containers/systemd/users";

/// A Quadlet file that makes a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QuadletFile {
    pub(crate) path: PathBuf,
    /// The container's name.
    pub(crate) container: String,
    /// Its image, as the file says it.
    pub(crate) image: String,
    /// The service that runs it.
    pub(crate) service: String,
}

/// Reads the files that are not ours, from everywhere that Quadlet looks for a user (podman-systemd.unit(5)).
pub(crate) fn foreign(config: &Config) -> Vec<QuadletFile> {
    let user = rustix::process::getuid().as_raw().to_string();
    let quadlets = config.unit_dir.parent().map(Path::to_owned);
    let runtime = config.runtime_dir.join("containers/systemd");
    let directories = quadlets.into_iter().chain([runtime, FOR_USERS.into()]);
    let is_passed_over = |directory: &Path| {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let is_anothers = directory.parent() == Some(Path::new(FOR_USERS))
            && name.bytes().all(|byte| byte.is_ascii_digit())
            && name != user;
        is_anothers || directory == config.unit_dir
    };
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for directory in directories {
        gather(&directory, &is_passed_over, &mut seen, &mut found);
    }
    found
}

fn gather(
    directory: &Path,
    is_passed_over: &dyn Fn(&Path) -> bool,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut Vec<QuadletFile>,
) {
    // Links may lead in a circle.
    let is_new = fs::canonicalize(directory).is_ok_and(|real| seen.insert(real));
    if !is_new || is_passed_over(directory) {
        return;
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            gather(&path, is_passed_over, seen, found);
        } else if path.extension().is_some_and(|end| end == "container") {
            found.extend(read(&path));
        }
    }
}

fn read(path: &Path) -> Option<QuadletFile> {
    // Whoever opens a pipe waits for its other end.
    let is_unit =
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= UNIT_LEN_MAX as u64);
    let text = is_unit.then(|| fs::read_to_string(path).ok())??;
    let stem = path.file_stem()?.to_str()?;
    // A template makes containers by names that nobody knows before.
    if stem.contains('@') {
        return None;
    }
    let value = |key| value(&text, key);
    let service = value("ServiceName").unwrap_or(stem);
    Some(QuadletFile {
        path: path.to_owned(),
        container: value("ContainerName").map_or_else(|| format!("systemd-{stem}"), str::to_owned),
        image: value("Image").unwrap_or_default().to_owned(),
        service: format!("{service}.service"),
    })
}

/// Finds a key's last value in `[Container]`, in a file that somebody else wrote: as forgiving as systemd.syntax(7).
fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let (mut is_container, mut is_continued) = (false, false);
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let begins = !std::mem::replace(&mut is_continued, line.ends_with('\\'));
        if !begins {
            continue;
        }
        if line.starts_with('[') {
            is_container = line == "[Container]";
        } else if is_container
            && let Some((name, value)) = line.split_once('=')
            && name.trim_end() == key
        {
            found = Some(value.trim_start()).filter(|value| !value.is_empty());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_container_is_known_without_podman() {
        let table = [
            ("[Container]\nImage=x\n", "systemd-notes"),
            ("[Container]\nContainerName=a\n", "a"),
            (" [Container] \n ContainerName = a \n", "a"),
            ("[Container]\nContainerName=a\nContainerName=b\n", "b"),
            (
                "[Container]\nContainerName=a\nContainerName=\n",
                "systemd-notes",
            ),
            ("[Unit]\nContainerName=a\n[Container]\n", "systemd-notes"),
            (
                "[Container]\n#ContainerName=a\n;ContainerName=b\n",
                "systemd-notes",
            ),
            (
                "[Container]\nExec=sh \\\n# or\nContainerName=a \\\nContainerName=b\nContainerName=c\n",
                "c",
            ),
        ];
        for (text, wanted) in table {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("notes.container");
            fs::write(&path, text).unwrap();
            let found = read(&path).unwrap();
            assert_eq!(found.container, wanted, "{text}");
            assert_eq!(found.service, "notes.service");
        }
    }

    #[test]
    fn files_are_found_wherever_quadlet_looks_but_in_our_own_directory() {
        let root = tempfile::tempdir().unwrap();
        let config = Config::usual(
            root.path(),
            root.path().join("run"),
            root.path().join("data"),
        );
        let quadlets = config.unit_dir.parent().unwrap();
        for file in [
            quadlets.join("a.container"),
            quadlets.join("deep/er/b.container"),
            config.runtime_dir.join("containers/systemd/c.container"),
            config.unit_dir.join("app/archy.app.web.container"),
            quadlets.join("d@.container"),
            quadlets.join("e.volume"),
        ] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "[Container]\nImage=x\n").unwrap();
        }
        std::os::unix::fs::symlink(quadlets, quadlets.join("round")).unwrap();
        let found = foreign(&config).into_iter();
        let mut names: Vec<String> = found
            .filter(|file| file.path.starts_with(root.path()))
            .map(|file| file.container)
            .collect();
        names.sort();
        assert_eq!(names, ["systemd-a", "systemd-b", "systemd-c"]);
    }
}
