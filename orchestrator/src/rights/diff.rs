//! What an app could do after a change that it cannot do now, and the other way round.

use super::grants::{Amount, Grant, Granted, Loosening, is_root};
use super::{Right, capability};

/// What an update of an app changes about its rights. Empty lists mean that nothing changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RightsDiff {
    /// What the app could do afterwards and cannot do now, the weightiest first.
    pub gained: Vec<Right>,
    /// What the app can do now and could not do afterwards, the weightiest first.
    pub lost: Vec<Right>,
}

impl RightsDiff {
    /// Tells whether the app could do exactly the same.
    pub fn is_empty(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty()
    }
}

/// Compares what an app's units let it do before and after a change.
///
/// A right counts as gained when nothing that the app had before covers it: a higher limit is a gain, a lower one a
/// loss; the node's own network covers every port. What one way gains, the way back loses in the same words.
pub fn diff(before: &Granted, after: &Granted) -> RightsDiff {
    RightsDiff {
        gained: beyond(after, before),
        lost: beyond(before, after),
    }
}

/// Lists what `more` allows and `less` does not.
fn beyond(more: &Granted, less: &Granted) -> Vec<Right> {
    let is_beyond = |grant: &&Grant| {
        let is_new = |container| !less.containers.contains(container);
        let comes_along = grant.is_usual() && grant.container().is_some_and(is_new);
        !comes_along && !less.grants.iter().any(|had| had.covers(grant))
    };
    let mut rights: Vec<Right> = more
        .grants
        .iter()
        .filter(is_beyond)
        .map(|grant| right(grant, more, less))
        .collect();
    rights.sort_by_key(|right| (!right.weighty, right.kind));
    rights
}

fn right(grant: &Grant, more: &Granted, less: &Granted) -> Right {
    let place = match grant.container() {
        Some(container) if more.containers.len() > 1 => format!(" (container {container})"),
        _ => String::new(),
    };
    let (weighty, text) = match grant {
        Grant::Container(name) => (false, format!("Runs one container more, {name}.")),
        Grant::HostNetwork => (
            true,
            "Uses this machine's own network: it can reach every service on this machine and open any port.".to_owned(),
        ),
        Grant::Internet => (
            true,
            "Can reach the internet and your local network.".to_owned(),
        ),
        Grant::App(other) => (
            false,
            format!("Can reach what the app {other} offers to other apps."),
        ),
        Grant::HostFile { path, .. } => (
            true,
            format!("Copies the file {path} of this machine{place}, if you allow its folder."),
        ),
        Grant::Port { address, port, udp } => {
            let udp = if *udp { " (UDP)" } else { "" };
            let at = address.as_ref().map(|address| format!(" at {address}"));
            let at = at.unwrap_or_default();
            let text = format!("Can be opened from your network through port {port}{udp} of this machine{at}.");
            (false, text)
        }
        Grant::Folder {
            path,
            own,
            writable,
            ..
        } => {
            let verb = if *writable { "Reads and writes" } else { "Reads" };
            match own {
                Some(volume) => (false, format!("{verb} a folder of its own, {volume}{place}.")),
                None => (true, format!("{verb} the folder {path} of this machine{place}.")),
            }
        }
        // A slug has no dot: CONTAINER.VARIABLE is a value with a secret in it.
        Grant::Secret { name, .. } => match name.split_once('.') {
            Some((_, variable)) => (false, format!("Is given a secret in its variable {variable}{place}.")),
            None => (false, format!("Is given the generated secret {name}{place}.")),
        },
        Grant::User { user, group, .. } => {
            let text = match (user, group) {
                (None, _) => format!("Runs as whatever user its image names{place}."),
                (user, _) if is_root(user) => format!("Runs as the administrator of its own containers, which is no administrator of this machine{place}."),
                (Some(user), None) => format!("Runs as user {user}{place}."),
                (Some(user), Some(group)) => format!("Runs as user {user} with group {group}{place}."),
            };
            (false, text)
        }
        Grant::Capability { name, .. } => {
            let (words, weighty) = capability(name);
            (weighty, format!("May {words} ({name}){place}."))
        }
        Grant::Device { path, .. } => (true, format!("Uses the device {path} of this machine{place}.")),
        Grant::Loosened { what, .. } => match what {
            Loosening::WritableRoot => (false, format!("Can change its own program files while it runs{place}.")),
            Loosening::NewPrivileges => (true, format!("Its programs may take rights that they were not started with{place}.")),
            Loosening::SharedUsers => (false, format!("Runs with the users of all apps, of which the administrator is the account that runs archy{place}.")),
            Loosening::UsualCapabilities => (true, format!("Keeps the special rights that podman gives by default{place}.")),
        },
        Grant::Limit {
            container,
            what,
            most,
        } => {
            let other = less.grants.iter().find_map(|grant| {
                let Grant::Limit {
                    container: same,
                    what: of,
                    most,
                } = grant
                else {
                    return None;
                };
                (same == container && of == what).then_some(*most)
            });
            let amount = Amount(*what, *most);
            let text = match other {
                Some(other) => format!("May use up to {amount} rather than {}{place}.", Amount(*what, other)),
                None => format!("May use up to {amount}{place}."),
            };
            (false, text)
        }
        Grant::Other { unit, setting } => (
            true,
            format!("Is run with a setting that this version of archy cannot explain: {setting} in {unit}."),
        ),
    };
    Right {
        kind: grant.kind(),
        weighty,
        text,
    }
}
