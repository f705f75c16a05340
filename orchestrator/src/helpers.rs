//! Whether the programs are here that rootless podman calls.

use std::path::{Path, PathBuf};

use crate::quadlet::PodmanVersion;
use crate::setup::Check;

/// Where podman looks for them (containers.conf(5), `helper_binaries_dir`), and where systems keep programs.
const DIRECTORIES: [&str; 8] = [
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/libexec/podman",
    "/usr/lib/podman",
    "/usr/local/bin",
    "/usr/bin",
    "/usr/sbin",
    "/bin",
];
/// Programs, what fails without each, and Debian's package of it.
const NEEDED: [(&str, &str, &str); 5] = [
    ("newuidmap", NO_USERS, "uidmap"),
    ("newgidmap", NO_USERS, "uidmap"),
    ("netavark", "podman makes no networks", "netavark"),
    (
        "aardvark-dns",
        "an app's containers do not find each other by name",
        "aardvark-dns",
    ),
    ("catatonit", "no container of an app starts", "catatonit"),
];
const NO_USERS: &str = "podman cannot give containers users besides yours";
/// The first that takes pasta for slirp4netns unless containers.conf says otherwise.
const PASTA: PodmanVersion = PodmanVersion::new(5, 0);

/// Tells which of podman's programs this machine has.
pub(crate) fn checks(podman: PodmanVersion) -> Vec<Check> {
    checks_in(&DIRECTORIES.map(Path::new), podman)
}

fn checks_in(directories: &[&Path], podman: PodmanVersion) -> Vec<Check> {
    let find = |program: &str| find(directories, program);
    let mut checks = Vec::from(NEEDED.map(|(program, without, package)| {
        let found = find(program);
        let hint = format!("{without}; as root: apt install {package}");
        Check::new(program, found.is_some(), told(found), hint)
    }));
    checks.push(way_out(podman, find("pasta"), find("slirp4netns")));
    checks
}

/// What connects containers with the machine's network: one of two programs, by podman's version.
fn way_out(podman: PodmanVersion, pasta: Option<PathBuf>, slirp4netns: Option<PathBuf>) -> Check {
    let name = "pasta or slirp4netns";
    let (usual, package, other) = match podman >= PASTA {
        true => (pasta, "passt", slirp4netns),
        false => (slirp4netns, "slirp4netns", pasta),
    };
    let install = format!("as root: apt install {package}");
    match (usual, other) {
        (Some(usual), _) => Check::new(name, true, told(Some(usual)), ""),
        (None, Some(other)) => {
            let hint = format!(
                "podman {podman} takes it only if containers.conf says so; else, {install}"
            );
            Check::warning(name, told(Some(other)), hint)
        }
        (None, None) => {
            let hint = format!("apps have no network; {install}");
            Check::new(name, false, told(None), hint)
        }
    }
}

fn find(directories: &[&Path], program: &str) -> Option<PathBuf> {
    let places = directories.iter().map(|directory| directory.join(program));
    places.into_iter().find(|place| place.is_file())
}

fn told(found: Option<PathBuf>) -> String {
    found.map_or_else(
        || "in none of the directories where podman looks".to_owned(),
        |path| path.display().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: PodmanVersion = PodmanVersion::new(4, 9);
    const NEW: PodmanVersion = PodmanVersion::new(5, 4);
    const OTHERS: [&str; 5] = [
        "newuidmap",
        "newgidmap",
        "netavark",
        "aardvark-dns",
        "catatonit",
    ];

    /// Looks at a machine that has these programs, half of them where only podman looks.
    fn look(podman: PodmanVersion, programs: &[&str]) -> Vec<Check> {
        let root = tempfile::tempdir().unwrap();
        let directories = ["libexec/podman", "bin"].map(|name| root.path().join(name));
        for (program, directory) in programs.iter().zip(directories.iter().cycle()) {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join(program), "").unwrap();
        }
        checks_in(&directories.each_ref().map(PathBuf::as_path), podman)
    }

    #[test]
    fn what_podman_calls_is_looked_for() {
        let all = [OTHERS.as_slice(), &["pasta"]].concat();
        let checks = look(NEW, &all);
        assert!(checks.iter().all(|check| check.ok && check.hint.is_none()));
        for (missing, package) in [
            ("newuidmap", "uidmap"),
            ("newgidmap", "uidmap"),
            ("netavark", "netavark"),
            ("aardvark-dns", "aardvark-dns"),
            ("catatonit", "catatonit"),
            ("pasta", "passt"),
        ] {
            let rest: Vec<&str> = all.iter().copied().filter(|one| *one != missing).collect();
            let checks = look(NEW, &rest);
            let lacks: Vec<&Check> = checks.iter().filter(|check| !check.ok).collect();
            assert_eq!(lacks.len(), 1, "{missing}: {checks:?}");
            assert!(lacks[0].name.contains(missing), "{lacks:?}");
            let hint = lacks[0].hint.as_deref().unwrap();
            assert!(hint.ends_with(&format!("apt install {package}")), "{hint}");
        }
    }

    #[test]
    fn podmans_version_decides_what_leads_to_the_network() {
        // Version, program, whether it is enough, what to install.
        let table = [
            (OLD, "slirp4netns", true, None),
            (OLD, "pasta", true, Some("slirp4netns")),
            (NEW, "pasta", true, None),
            (NEW, "slirp4netns", true, Some("passt")),
            (OLD, "", false, Some("slirp4netns")),
            (NEW, "", false, Some("passt")),
        ];
        for (podman, program, ok, install) in table {
            let here = Some(PathBuf::from("/usr/bin").join(program));
            let of = |name| here.clone().filter(|_| name == program);
            let check = way_out(podman, of("pasta"), of("slirp4netns"));
            assert_eq!(check.ok, ok, "{podman} {program}");
            let hint = check.hint.as_deref().unwrap_or_default();
            match install {
                Some(package) => assert!(hint.ends_with(&format!("install {package}")), "{hint}"),
                None => assert_eq!(hint, ""),
            }
        }
    }
}
