//! Which podman there is, and which of its Quadlet keys can be used.
//!
//! Where a key came later than podman itself learned the thing, its option stands in as `PodmanArgs=`; what no option
//! gives is refused in words rather than left out. Versions are those in which podman's release notes add each key.

use std::fmt;
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
pub(super) const NAMES: PodmanVersion = PodmanVersion::new(4, 7);
/// `--sdnotify=healthy`: a unit is up once its container is healthy.
pub(super) const HEALTHY: PodmanVersion = PodmanVersion::new(4, 7);
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
    /// What is assumed where podman does not tell: the oldest that can do everything, in forms that all later ones take.
    pub const ASSUMED: Self = Self::new(4, 7);

    /// The first of a series.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self {
            major,
            minor,
            patch: 0,
        }
    }

    /// Asks the program at `podman`.
    pub(crate) fn of(podman: &std::path::Path) -> Self {
        let output = std::process::Command::new(podman)
            .arg("--version")
            .stdin(std::process::Stdio::null())
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let version = text
            .ok()
            .and_then(|text| text.split_ascii_whitespace().last()?.parse().ok());
        version.unwrap_or(Self::ASSUMED)
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
        assert_eq!(
            PodmanVersion::of(std::path::Path::new("/nonexistent")),
            PodmanVersion::ASSUMED
        );
    }
}
