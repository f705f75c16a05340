//! What a node's podman and systemd show of one app. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::archive::MARKER;
use crate::node::TestNode;

/// What was seen of an app at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// The kernel's name of this boot.
    pub boot: String,
    /// The daemon's process.
    pub daemon: String,
    /// The state of each unit that was asked for, in systemd's word.
    pub units: BTreeMap<String, String>,
    /// Containers with the app's label, running or not.
    pub containers: Vec<Seen>,
}

/// A container of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its ID.
    pub id: String,
    /// Its image's ID.
    pub image: String,
    /// Its state, in podman's word.
    pub state: String,
    /// Its first process, as the node numbers it; 0 when none runs.
    pub pid: u32,
    /// When it was started, in seconds since 1970.
    pub started: String,
    /// What the marker file in its root holds.
    pub marker: Option<String>,
    /// Which port of the node leads to which of the container.
    pub ports: BTreeSet<PublishedPort>,
}

/// A port of the node that leads to one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    /// In the container.
    pub container: u16,
    /// On the node.
    pub host: u16,
    /// UDP, or else TCP.
    pub udp: bool,
}

/// One line for each thing. The first argument is the app's label, the others are units.
const SCRIPT: &str = r#"
set -e
label=io.archy.app=$1
shift
echo "boot $(cat /proc/sys/kernel/random/boot_id)"
echo "daemon $(systemctl --user show --value --property=MainPID archyd.service)"
for unit; do echo "unit $unit $(systemctl --user show --value --property=ActiveState "$unit")"; done
podman ps --all --no-trunc --filter "label=$label" \
  --format 'container {{.Names}} {{.ID}} {{.ImageID}} {{.State}} {{.Pid}} {{.StartedAt}}'
ids=$(podman ps --all --quiet --no-trunc --filter "label=$label")
if [ -n "$ids" ]; then
  podman container inspect --format 'ports {{.Id}} {{json .NetworkSettings.Ports}}' $ids
  podman container inspect --format '{{.Id}} {{.State.Pid}}' $ids | podman unshare sh -c '
    while read -r id pid; do
      file=/proc/$pid/root/MARKER
      if [ "$pid" != 0 ] && [ -e "$file" ]; then echo "marker $id $(cat "$file")"; fi
    done'
fi
"#;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_port: String,
}

impl Look {
    /// Looks at the app with this label and at these units.
    ///
    /// # Errors
    ///
    /// When podman or systemd do not answer, or with something unknown.
    pub async fn at(node: &TestNode, label: &str, units: &[String]) -> anyhow::Result<Self> {
        let script = SCRIPT.replace("MARKER", MARKER);
        let mut argv = vec!["sh", "-c", &script, "sh", label];
        argv.extend(units.iter().map(String::as_str));
        let said = node.exec_ok(&argv).await?;
        Self::read(&said).with_context(|| format!("reading what the node says: {said}"))
    }

    fn read(said: &str) -> anyhow::Result<Self> {
        let mut look = Self::default();
        for line in said.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["boot", boot] => look.boot = (*boot).to_owned(),
                ["daemon", pid] => look.daemon = (*pid).to_owned(),
                ["unit", unit, state] => {
                    look.units.insert((*unit).to_owned(), (*state).to_owned());
                }
                ["container", name, id, image, state, pid, started] => look.containers.push(Seen {
                    name: (*name).to_owned(),
                    id: (*id).to_owned(),
                    image: (*image).to_owned(),
                    state: (*state).to_owned(),
                    pid: pid.parse()?,
                    started: (*started).to_owned(),
                    marker: None,
                    ports: BTreeSet::new(),
                }),
                ["ports", id, ports] => {
                    // One that was removed meanwhile is none of this look.
                    if let Some(seen) = look.container(id) {
                        seen.ports = read_ports(ports)?;
                    }
                }
                ["marker", id, marker] => {
                    if let Some(seen) = look.container(id) {
                        seen.marker = Some((*marker).to_owned());
                    }
                }
                _ => bail!("an unknown line: {line}"),
            }
        }
        Ok(look)
    }

    fn container(&mut self, id: &str) -> Option<&mut Seen> {
        self.containers.iter_mut().find(|seen| seen.id == id)
    }

    /// Each container's ID.
    pub fn ids(&self) -> BTreeSet<&str> {
        self.containers.iter().map(|c| c.id.as_str()).collect()
    }

    /// Each container's ID and when it was started.
    pub fn runs(&self) -> BTreeSet<(&str, &str)> {
        let runs = self.containers.iter();
        runs.map(|c| (c.id.as_str(), c.started.as_str())).collect()
    }

    /// Each container's name and image.
    pub fn images(&self) -> BTreeSet<(&str, &str)> {
        let images = self.containers.iter();
        images
            .map(|c| (c.name.as_str(), c.image.as_str()))
            .collect()
    }

    /// Every port of the node that leads to the app.
    pub fn ports(&self) -> BTreeSet<PublishedPort> {
        let ports = self.containers.iter().flat_map(|c| c.ports.iter());
        ports.copied().collect()
    }
}

fn read_ports(json: &str) -> anyhow::Result<BTreeSet<PublishedPort>> {
    let found: Option<BTreeMap<String, Option<Vec<Binding>>>> = serde_json::from_str(json)?;
    let mut ports = BTreeSet::new();
    for (name, bindings) in found.unwrap_or_default() {
        let (container, protocol) = name.split_once('/').context("a port without a protocol")?;
        for binding in bindings.unwrap_or_default() {
            ports.insert(PublishedPort {
                container: container.parse()?,
                host: binding.host_port.parse()?,
                udp: protocol == "udp",
            });
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_read_line_by_line() {
        let look = Look::read(
            "boot 1-2\n\
             daemon 77\n\
             unit archy.a.web.service active\n\
             container a 0a 9f running 123 1795324831\n\
             container a-db 0b 9e exited 0 1795324800\n\
             ports 0a {\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8080\"}],\"53/udp\":[{\"HostIp\":\"\",\"HostPort\":\"53\"}],\"9/tcp\":null}\n\
             ports 0b {}\n\
             marker 0a 2\n",
        )
        .unwrap();
        assert_eq!((look.boot.as_str(), look.daemon.as_str()), ("1-2", "77"));
        assert_eq!(look.units["archy.a.web.service"], "active");
        assert!(look.ids().iter().eq(&["0a", "0b"]));
        assert_eq!(look.containers[0].marker.as_deref(), Some("2"));
        assert_eq!(look.containers[1].marker, None);
        let port = |container, host, udp| PublishedPort {
            container,
            host,
            udp,
        };
        assert!(
            look.ports()
                .into_iter()
                .eq([port(53, 53, true), port(80, 8080, false)])
        );
        Look::read("container a 0a\n").unwrap_err();
    }
}
