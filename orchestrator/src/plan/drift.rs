//! Containers that do not run as their unit says: started before it changed, by hand, with a secret that is another now, or
//! not well without systemd's knowing.

use std::collections::BTreeSet;

use super::{Machine, is_up};
use crate::desired::Desired;
use crate::names;
use crate::quadlet::unit::{Line, read, words};
use crate::quadlet::{LABEL_APP, LABEL_CONTAINER, LABEL_ROOT, LABEL_UNIT};
use crate::runtime::podman::Container;

/// Lists the units that must be started again for their containers to be what they should.
pub(super) fn stale_units(desired: &Desired, machine: &Machine, root: &str) -> Vec<String> {
    let id = desired.app.to_string();
    let mut stale = Vec::new();
    for name in desired.containers() {
        let unit = names::container_unit(desired.slug(), name);
        let text = desired
            .units
            .get(&names::container_file(desired.slug(), name));
        let (Some(text), true) = (text, machine.units.get(&unit).is_some_and(is_up)) else {
            continue;
        };
        let container = machine.containers.iter().find(|container| {
            container.label(LABEL_APP) == Some(id.as_str())
                && container.label(LABEL_ROOT) == Some(root)
                && container.label(LABEL_CONTAINER) == Some(name.as_str())
                && container.state == "running"
        });
        let meant = Meant::read(text);
        let drifted = container.is_some_and(|container| meant.differs_from(container));
        let outdated = meant
            .secrets
            .iter()
            .any(|s| machine.different_secrets.contains(s));
        if drifted || outdated || machine.ailing.contains(&unit) {
            stale.push(unit);
        }
    }
    stale
}

/// What a unit says about its container, as far as podman's list shows it.
#[derive(Debug, Default)]
struct Meant {
    mark: Option<String>,
    ports: BTreeSet<(u16, u16, String)>,
    secrets: BTreeSet<String>,
}

impl Meant {
    fn read(text: &str) -> Self {
        let mut meant = Self::default();
        let lines = read(text).unwrap_or_default();
        for Line { key, raw, .. } in lines.iter().filter(|line| line.section == "Container") {
            let words = words(raw).unwrap_or_default();
            match key.as_str() {
                "Label" => {
                    let marks = words.iter().filter_map(|label| label.split_once('='));
                    let mut marks = marks.filter(|(name, _)| *name == LABEL_UNIT);
                    meant.mark = marks.next().map(|(_, mark)| mark.to_owned()).or(meant.mark);
                }
                "PublishPort" => meant.ports.extend(port(raw)),
                "Secret" => {
                    let names = words.iter().filter_map(|word| word.split(',').next());
                    meant.secrets.extend(names.map(str::to_owned));
                }
                _ => {}
            }
        }
        meant
    }

    /// Units of earlier versions carry no mark, so that only their ports are compared.
    fn differs_from(&self, container: &Container) -> bool {
        let mark = self.mark.as_deref();
        let live: BTreeSet<(u16, u16, String)> = container
            .ports
            .iter()
            .flatten()
            .flat_map(|port| {
                (0..port.range.max(1)).map(|step| {
                    let (host, inside) = (
                        port.host_port.saturating_add(step),
                        port.container_port.saturating_add(step),
                    );
                    (host, inside, port.protocol.clone())
                })
            })
            .collect();
        mark.is_some() && container.label(LABEL_UNIT) != mark || live != self.ports
    }
}

/// Reads `[ADDRESS:]HOST:CONTAINER/PROTOCOL`.
fn port(raw: &str) -> Option<(u16, u16, String)> {
    let (ports, protocol) = raw.rsplit_once('/')?;
    let mut numbers = ports.rsplit(':');
    let inside = numbers.next()?.parse().ok()?;
    let host = numbers.next()?.parse().ok()?;
    Some((host, inside, protocol.to_owned()))
}
