//! Which podman there is, and which of its Quadlet keys can be used.
//!
//! Where a key came later than podman itself learned the thing, its option stands in as `PodmanArgs=`; what no option
//! gives is refused in words rather than left out. Versions are those in which podman's release notes add each key.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;

/// A version of podman.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodmanVersion {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number.
    pub patch: u16,
}

/// A text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version of podman")]
pub struct VersionError(String);

/// `Secret=`, `LogDriver=`, `Tmpfs=`.
pub(super) const SECRET: PodmanVersion = PodmanVersion::new(4, 5);
/// `Pull=`.
pub(super) const PULL: PodmanVersion = PodmanVersion::new(4, 6);
/// `NetworkName=` and `VolumeName=`, without which they could not be told from those of others.
pub(super) const NAMES: PodmanVersion = PodmanVersion::WHOLE;
/// `--sdnotify=healthy`: a unit is up once its container is healthy.
pub(super) const HEALTHY: PodmanVersion = PodmanVersion::WHOLE;
/// `UIDMap=`, `GIDMap=`.
pub(super) const MAPS: PodmanVersion = PodmanVersion::new(4, 8);
/// `Notify=healthy`, `Entrypoint=`, `StopTimeout=`.
pub(super) const NOTIFY: PodmanVersion = PodmanVersion::new(5, 0);
/// `NetworkAlias=`.
pub(super) const ALIAS: PodmanVersion = PodmanVersion::new(5, 2);
/// `[Quadlet] DefaultDependencies=`.
pub(super) const DEPENDENCIES: PodmanVersion = PodmanVersion::new(5, 3);
/// `Memory=`: before, it makes the generator drop the unit.
pub(super) const MEMORY: PodmanVersion = PodmanVersion::new(5, 5);

impl PodmanVersion {
    /// The oldest that has Quadlet.
    pub const OLDEST: Self = Self::new(4, 4);
    /// The oldest that runs every app; before, one is refused that has a network of its own, a volume or a health check.
    pub const WHOLE: Self = Self::new(4, 7);
    /// What is assumed where podman does not tell: the oldest that can do everything, in forms that all later ones take.
    pub const ASSUMED: Self = Self::WHOLE;

    /// The first of a series.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self {
            major,
            minor,
            patch: 0,
        }
    }

    /// Writes it without its third number.
    pub(crate) fn series(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// Tells the version of the program at `podman`: what `known` holds if it is of that very file, else asks it. A
    /// process of podman's takes as long as everything else that a node does before it has looked at its apps.
    pub(crate) fn of(podman: &Path, known: &Path) -> Self {
        let Ok(metadata) = std::fs::metadata(podman) else {
            return Self::ASSUMED;
        };
        let (file, size) = (metadata.ino(), metadata.size());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let file = format!("{} {file} {size} {changed:?}", podman.display());
        let noted = std::fs::read_to_string(known).unwrap_or_default();
        let noted = noted.rsplit_once('\n').filter(|(of, _)| *of == file);
        if let Some(version) = noted.and_then(|(_, version)| version.parse().ok()) {
            return version;
        }
        let Some(version) = Self::asked(podman) else {
            return Self::ASSUMED;
        };
        let text = format!("{file}\n{version}");
        if let Err(error) = crate::disk::replace(known, text.as_bytes(), 0o600) {
            tracing::debug!(path = %known.display(), error = &error as &dyn std::error::Error, "podman is asked for its version at the next start too");
        }
        version
    }

    fn asked(podman: &Path) -> Option<Self> {
        let output = Command::new(podman)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.ok()?.split_ascii_whitespace().last()?.parse().ok()
    }
}

impl FromStr for PodmanVersion {
    type Err = VersionError;

    /// Reads `5.4.2`; what follows a third number, as in `6.0.0-dev`, does not count.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let invalid = || VersionError(text.chars().take(40).collect());
        let plain = text.split(['-', '+']).next().unwrap_or_default();
        let numbers: Vec<u16> = plain
            .split('.')
            .map(|number| number.parse().map_err(|_| invalid()))
            .collect::<Result<_, _>>()?;
        match numbers[..] {
            [major, minor] => Ok(Self::new(major, minor)),
            [major, minor, patch] => Ok(Self {
                major,
                minor,
                patch,
            }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for PodmanVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let version = |text: &str| text.parse::<PodmanVersion>().unwrap();
        assert!(version("5.4.2") > version("5.4.0"));
        assert!(version("4.10.0-rc1") > version("4.9.3"));
        assert_eq!(version("6.0.0-dev"), version("6.0"));
        assert!(version("4.9.3") < NOTIFY);
        for text in ["", "x", "5", "5.x", "1.2.3.4"] {
            assert!(text.parse::<PodmanVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn podman_is_asked_once_per_file() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let (podman, known) = (root.path().join("podman"), root.path().join("known"));
        let asked = root.path().join("asked");
        assert_eq!(PodmanVersion::of(&podman, &known), PodmanVersion::ASSUMED);
        let install = |version: &str| {
            let script = format!(
                "#!/bin/sh\necho x >>{}\necho podman version {version}\n",
                asked.display()
            );
            let fresh = root.path().join("fresh");
            std::fs::write(&fresh, script).unwrap();
            std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(fresh, &podman).unwrap();
        };
        for (round, version) in ["5.4.2", "5.5.0"].into_iter().enumerate() {
            install(version);
            for _ in 0..3 {
                assert_eq!(PodmanVersion::of(&podman, &known).to_string(), version);
            }
            let lines = std::fs::read_to_string(&asked).unwrap();
            assert_eq!(lines.lines().count(), round + 1);
        }
        std::fs::write(&known, "spoilt").unwrap();
        assert_eq!(PodmanVersion::of(&podman, &known).to_string(), "5.5.0");
    }
}
