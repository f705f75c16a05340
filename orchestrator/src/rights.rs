//! What an app may do, in plain sentences, read off the units that would run: what is not in them, it cannot.

use std::collections::BTreeMap;

use archy_registry::manifest::{Hook, Hooks, Manifest, NetworkPolicy};
use serde::{Deserialize, Serialize};

use crate::names;
use crate::quadlet::unit::{Unit, Value};
use crate::quadlet::{self, PROBE_PATH, RenderError};

mod diff;
mod grants;

pub use diff::{RightsDiff, diff};
pub use grants::Granted;

/// One thing that an app may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Right {
    /// What it is about.
    pub kind: RightKind,
    /// Whether its owner should think twice.
    pub weighty: bool,
    /// A sentence.
    pub text: String,
}

/// What a right is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum RightKind {
    Network,
    Ports,
    Data,
    Secret,
    User,
    Capability,
    Device,
    Limit,
    Container,
    /// A setting that no other kind describes.
    Other,
}

/// Lists what the app may do, the weightiest first within the order of [`RightKind`].
///
/// # Errors
///
/// [`RenderError`] when the manifest cannot be rendered, and so cannot run at all.
pub fn rights(manifest: &Manifest) -> Result<Vec<Right>, RenderError> {
    let set = quadlet::preview(manifest)?;
    let containers: Vec<&Unit> = set
        .units
        .iter()
        .filter(|(name, _)| name.ends_with(".container"))
        .map(|(_, unit)| unit)
        .collect();
    let mut rights = vec![network(manifest, &set.units)];
    rights.extend(ports(manifest, &containers));
    rights.push(data(&containers));
    rights.push(user(&containers));
    rights.extend(capabilities(&containers));
    let devices = every(&containers, "AddDevice");
    rights.extend(neighbours(manifest, &set.units));
    rights.extend(hooks(&manifest.hooks));
    rights.extend(devices.into_iter().map(|device| Right {
        kind: RightKind::Device,
        weighty: true,
        text: format!("Uses the device {device} of this machine."),
    }));
    Ok(rights)
}

fn network(manifest: &Manifest, units: &std::collections::BTreeMap<String, Unit>) -> Right {
    let internal = units
        .values()
        .flat_map(|unit| unit.values("Network", "Internal"))
        .next();
    let (weighty, text) = match internal.map(texts) {
        _ if manifest.network_policy == NetworkPolicy::Host => (
            true,
            "Uses this machine's own network: it can reach the internet, your local network and every service on this machine.",
        ),
        Some(value) if value == ["true"] => (
            false,
            "Cannot reach the internet, your local network or other apps; its own containers reach each other.",
        ),
        _ => (true, "Can reach the internet and your local network."),
    };
    Right {
        kind: RightKind::Network,
        weighty,
        text: text.to_owned(),
    }
}

/// What it has to do with other apps.
fn neighbours(manifest: &Manifest, units: &BTreeMap<String, Unit>) -> Vec<Right> {
    let needs = manifest.dependencies.iter().map(|dependency| {
        let file = names::edge_file(&manifest.app.id, &dependency.app);
        match units.contains_key(&file) {
            true => format!(
                "Can reach what the app {} offers to other apps.",
                dependency.app
            ),
            false => format!("Needs the app {}.", dependency.app),
        }
    });
    let exports: Vec<String> = manifest
        .exports
        .iter()
        .map(|e| e.name.to_string())
        .collect();
    let tells = (!exports.is_empty()).then(|| {
        let reachable = crate::neighbours::reachable(manifest);
        let reachable: Vec<String> = reachable.iter().map(ToString::to_string).collect();
        let reach = match reachable.is_empty() {
            true => String::new(),
            false => format!(" and lets them reach its containers {}", list(&reachable)),
        };
        format!(
            "Tells apps that you install to use it its {}{reach}.",
            list(&exports)
        )
    });
    let texts = needs.chain(tells);
    texts
        .map(|text| Right {
            kind: RightKind::Network,
            weighty: false,
            text,
        })
        .collect()
}

fn hooks(hooks: &Hooks) -> Vec<Right> {
    let all = [
        &hooks.post_install,
        &hooks.pre_update,
        &hooks.post_update,
        &hooks.pre_uninstall,
    ];
    let copies = all.into_iter().flatten().filter_map(|step| match step {
        Hook::CopyFromHost { from, .. } => Some(from),
        Hook::Exec { .. } => None,
    });
    copies
        .map(|from| Right {
            kind: RightKind::Data,
            weighty: true,
            text: format!("Copies the file {from} of this machine, if you allow its folder."),
        })
        .collect()
}

fn ports(manifest: &Manifest, containers: &[&Unit]) -> Option<Right> {
    if manifest.network_policy == NetworkPolicy::Host {
        let ports = manifest
            .containers
            .iter()
            .flat_map(|container| &container.ports);
        let ports: Vec<String> = ports.map(|port| port.container.to_string()).collect();
        return Some(Right {
            kind: RightKind::Ports,
            weighty: false,
            text: format!(
                "Can be opened on any port it likes, as declared on {}.",
                list(&ports)
            ),
        })
        .filter(|_| !ports.is_empty());
    }
    let published = every(containers, "PublishPort");
    let ports: Vec<String> = published
        .iter()
        .filter_map(|port| {
            let inside = port.rsplit(':').next()?;
            let (number, protocol) = inside.split_once('/')?;
            Some(if protocol == "udp" {
                format!("{number} (UDP)")
            } else {
                number.to_owned()
            })
        })
        .collect();
    let text = match ports.len() {
        0 => "Cannot be opened from outside: it publishes no port.".to_owned(),
        1 => format!(
            "Can be opened by everyone who reaches this machine, through its port {}.",
            list(&ports)
        ),
        _ => format!(
            "Can be opened by everyone who reaches this machine, through its ports {}.",
            list(&ports)
        ),
    };
    Some(Right {
        kind: RightKind::Ports,
        weighty: false,
        text,
    })
}

fn data(containers: &[&Unit]) -> Right {
    let volumes: std::collections::BTreeSet<String> = every(containers, "Volume")
        .into_iter()
        .filter(|volume| !volume.contains(PROBE_PATH))
        .filter_map(|volume| {
            let file = volume
                .split(':')
                .next()?
                .strip_suffix(".volume")?
                .to_owned();
            file.rsplit('.').next().map(str::to_owned)
        })
        .collect();
    let volumes: Vec<String> = volumes.into_iter().collect();
    let text = if volumes.is_empty() {
        "Keeps no data; everything it writes is gone when it stops.".to_owned()
    } else {
        format!(
            "Keeps data in folders of its own ({}); it sees none of your other files.",
            list(&volumes)
        )
    };
    Right {
        kind: RightKind::Data,
        weighty: false,
        text,
    }
}

fn user(containers: &[&Unit]) -> Right {
    let as_root = containers.iter().any(|unit| {
        let user = unit.values("Container", "User").flat_map(texts).next();
        user.is_none_or(|user| user == "0" || user == "root")
    });
    let text = if as_root {
        "Runs as the administrator of its own containers, which is no administrator of this machine."
    } else {
        "Runs as an ordinary user inside its containers."
    };
    Right {
        kind: RightKind::User,
        weighty: false,
        text: text.to_owned(),
    }
}

fn capabilities(containers: &[&Unit]) -> Vec<Right> {
    let names: std::collections::BTreeSet<String> =
        every(containers, "AddCapability").into_iter().collect();
    if names.is_empty() {
        return vec![Right {
            kind: RightKind::Capability,
            weighty: false,
            text: "Has no special rights inside its containers.".to_owned(),
        }];
    }
    let sentence = |name: String| {
        let (words, weighty) = capability(&name);
        Right {
            kind: RightKind::Capability,
            weighty,
            text: format!("May {words} ({name})."),
        }
    };
    names.into_iter().map(sentence).collect()
}

/// Says what a capability is for, and whether its owner should think twice (capabilities(7)).
fn capability(name: &str) -> (&'static str, bool) {
    let words = match name {
        "AUDIT_WRITE" => "write to the audit log",
        "CHOWN" => "change who owns its files",
        "DAC_OVERRIDE" => "read and write its files whatever their permissions",
        "FOWNER" | "FSETID" => "change the permissions of its files",
        "IPC_LOCK" => "keep memory from being swapped out",
        "KILL" => "end its own processes of any user",
        "MKNOD" => "make device files",
        "NET_ADMIN" => "configure the network of its containers",
        "NET_BIND_SERVICE" => "use ports below 1024 inside its containers",
        "NET_RAW" => "send raw network packets",
        "SETFCAP" | "SETPCAP" => "hand its rights to its own programs",
        "SETGID" | "SETUID" => "switch between the users inside its containers",
        "SYS_CHROOT" => "change its root directory",
        "SYS_NICE" => "raise the priority of its processes",
        "SYS_RESOURCE" => "raise its own limits",
        // A capability that nobody described is none to wave through.
        _ => return ("use a special right", true),
    };
    let weighty = matches!(name, "NET_ADMIN" | "NET_RAW" | "MKNOD" | "SYS_RESOURCE");
    (words, weighty)
}

fn every(containers: &[&Unit], key: &str) -> Vec<String> {
    let values = containers
        .iter()
        .flat_map(|unit| unit.values("Container", key).collect::<Vec<_>>());
    values.flat_map(texts).collect()
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Plain(text) => vec![text.as_str().to_owned()],
        Value::Words(words) => words.iter().map(|word| word.as_str().to_owned()).collect(),
        Value::Json(list) => list.iter().map(|text| text.as_str().to_owned()).collect(),
    }
}

fn list(items: &[String]) -> String {
    items.join(", ")
}
