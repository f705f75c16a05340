//! Whether the devices that an app asks for are here and this user may use them.

use std::fs;
use std::path::Path;

use archy_registry::manifest::Manifest;
use rustix::fs::{Access, access};

use crate::preflight::Refusal;

/// Where descriptions of CDI devices are (cdi spec, "CDI JSON Specification").
const CDI_DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// Longest description that is read.
const CDI_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Refuses an app whose devices are not here or cannot be used.
pub(crate) fn check(manifest: &Manifest) -> Result<(), Refusal> {
    for container in &manifest.containers {
        for device in &container.devices {
            let lack = match device.strip_prefix('/') {
                Some(_) => lack_of_path(Path::new(device)),
                None => lack_of_cdi(device, &CDI_DIRECTORIES.map(Path::new)),
            };
            if let Some(lack) = lack {
                return Err(Refusal::Device {
                    app: manifest.app.id.clone(),
                    device: device.clone(),
                    lack,
                });
            }
        }
    }
    Ok(())
}

fn lack_of_path(path: &Path) -> Option<String> {
    if !path.exists() {
        return Some("this machine has no such device".to_owned());
    }
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        // Links and sub-directories lie beside the devices.
        let mut devices = entries
            .map(|entry| entry.path())
            .filter(|path| !path.is_dir());
        return match devices.any(|device| may_use(&device)) {
            true => None,
            false => Some(forbidden(path)),
        };
    }
    (!may_use(path)).then(|| forbidden(path))
}

fn may_use(path: &Path) -> bool {
    access(path, Access::READ_OK | Access::WRITE_OK).is_ok()
}

fn forbidden(path: &Path) -> String {
    format!(
        "you may not use it; as root, add this user to the group that owns it (ls -l {}), then log in again",
        path.display()
    )
}

/// Looks for a description of the device's kind; which devices there are of it is podman's to resolve.
fn lack_of_cdi(name: &str, directories: &[&Path]) -> Option<String> {
    let kind = name.split('=').next().unwrap_or_default();
    let entries = directories
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .flatten();
    let described = entries
        .filter(|entry| entry.metadata().is_ok_and(|m| m.len() <= CDI_BYTES_MAX))
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .any(|text| declares(&text, kind));
    (!described).then(|| {
        format!(
            "no file in /etc/cdi or /var/run/cdi describes {kind}; install its vendor's container toolkit and have it write one"
        )
    })
}

/// Tells whether a description, YAML or JSON, is of a kind.
fn declares(text: &str, kind: &str) -> bool {
    let quotes = |c: char| matches!(c, '"' | '\'' | ',' | ' ' | '\t' | '{' | '}');
    let words = text
        .split_once("kind")
        .map(|_| text.split(['\n', ',', '{']));
    words.into_iter().flatten().any(|line| {
        let pair = line.split_once(':');
        pair.is_some_and(|(key, value)| {
            key.trim_matches(quotes) == "kind" && value.trim().trim_matches(quotes) == kind
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_looked_for() {
        assert_eq!(lack_of_path(Path::new("/dev/null")), None);
        let missing = lack_of_path(Path::new("/dev/ttyUSB999")).unwrap();
        assert!(missing.contains("no such device"), "{missing}");
        let empty = tempfile::tempdir().unwrap();
        assert!(lack_of_path(empty.path()).unwrap().contains("group"));
    }

    #[test]
    fn cdi_devices_need_a_description() {
        let root = tempfile::tempdir().unwrap();
        let directories = [root.path()];
        let name = "nvidia.com/gpu=all";
        assert!(
            lack_of_cdi(name, &directories)
                .unwrap()
                .contains("nvidia.com/gpu")
        );
        for text in [
            "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices: []\n",
            "{\"cdiVersion\":\"0.6.0\",\"kind\":\"nvidia.com/gpu\",\"devices\":[]}",
        ] {
            fs::write(root.path().join("x"), text).unwrap();
            assert_eq!(lack_of_cdi(name, &directories), None, "{text}");
            assert!(lack_of_cdi("amd.com/gpu=0", &directories).is_some());
        }
    }
}
