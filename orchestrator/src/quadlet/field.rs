//! Fields of a manifest's container as the values of a unit: each against its allow-list.

use std::collections::BTreeSet;
use std::time::Duration;

use archy_registry::manifest::{CAPABILITIES, Container, Span};

use super::unit::{Argument, Plain, Word};
use super::{Limits, RenderError};

pub(super) fn plain(field: &str, text: &str) -> Result<Plain, RenderError> {
    Plain::new(text).map_err(|source| RenderError::Text {
        field: field.to_owned(),
        source,
    })
}

pub(super) fn word(field: &str, text: String) -> Result<Word, RenderError> {
    Word::new(text).map_err(|source| RenderError::Text {
        field: field.to_owned(),
        source,
    })
}

pub(super) fn argument(field: &str, text: &str) -> Result<Argument, RenderError> {
    Argument::new(text).map_err(|source| RenderError::Text {
        field: field.to_owned(),
        source,
    })
}

/// Whole seconds, rounded up, at least one.
pub(super) fn seconds(span: Option<Span>, default: Duration) -> u64 {
    let span = span.map_or(default, Span::as_duration);
    u64::try_from(span.as_millis().div_ceil(1000)).map_or(u64::MAX, |seconds| seconds.max(1))
}

pub(super) fn variable_name(name: &str, field: &str) -> Result<(), RenderError> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if starts && plain && name.len() <= 128 {
        return Ok(());
    }
    Err(RenderError::NotAllowed {
        field: field.to_owned(),
        value: name.chars().take(80).collect(),
        allowed: "a variable's name has letters, digits and underscores, and starts with no digit",
    })
}

pub(super) fn user(
    user: Option<&str>,
    field: &str,
) -> Result<(Option<Plain>, Option<Plain>), RenderError> {
    let Some(text) = user else {
        return Ok((None, None));
    };
    let part = |part: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let starts = part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        starts && part.len() <= 32 && part.bytes().all(inner)
    };
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    if !part(name) || !group.is_none_or(part) {
        return Err(RenderError::NotAllowed {
            field: field.to_owned(),
            value: text.chars().take(80).collect(),
            allowed: "write uid, uid:gid or a user name of the image",
        });
    }
    let group = group.map(|group| plain(field, group)).transpose()?;
    Ok((Some(plain(field, name)?), group))
}

pub(super) fn capabilities(container: &Container, field: &str) -> Result<Vec<Word>, RenderError> {
    let capabilities: BTreeSet<&String> = container.capabilities.iter().collect();
    let words = capabilities.into_iter().map(|capability| {
        if !CAPABILITIES.contains(&capability.as_str()) {
            return Err(RenderError::NotAllowed {
                field: field.to_owned(),
                value: capability.chars().take(80).collect(),
                allowed: "write the name of a capability that apps may have, without CAP_, as in NET_BIND_SERVICE",
            });
        }
        word(field, capability.clone())
    });
    words.collect()
}

pub(super) fn devices(container: &Container, field: &str) -> Result<Vec<Word>, RenderError> {
    let devices = container.devices.iter().map(|device| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'.');
        let below = device.starts_with("/dev/") && !device.contains("..") && !device.ends_with('/');
        let cdi = device.split_once('=').is_some_and(|(kind, name)| {
            let words = kind.split('/').chain([name]);
            let word = |word: &str| word.starts_with(|c: char| c.is_ascii_alphanumeric());
            kind.split('/').count() == 2 && words.clone().all(word) && !name.contains('/')
        });
        let text = match cdi {
            true => device.replacen('=', "", 1),
            false => device.clone(),
        };
        if !(below || cdi) || !text.bytes().all(plain) {
            return Err(RenderError::NotAllowed {
                field: field.to_owned(),
                value: device.chars().take(80).collect(),
                allowed: "write the path of a device below /dev, as in /dev/dri, or a CDI device, as in nvidia.com/gpu=all",
            });
        }
        word(field, device.clone())
    });
    devices.collect()
}

/// Paths whose replacement would break the container or hide what podman mounts there.
const RESERVED_TARGETS: [&str; 5] = ["/proc", "/sys", "/dev", "/.archy", "/run/secrets"];

pub(super) fn target<'a>(target: &'a str, field: &str) -> Result<&'a str, RenderError> {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let reserved = RESERVED_TARGETS.iter().any(|reserved| {
        let below = target.strip_prefix(reserved);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let parts = target.strip_prefix('/').map(|path| path.split('/'));
    let well_formed = parts.is_some_and(|mut parts| parts.all(part));
    if !well_formed || reserved || target.len() > 255 || target.contains([':', ',']) {
        return Err(RenderError::NotAllowed {
            field: field.to_owned(),
            value: target.chars().take(80).collect(),
            allowed: "write an absolute path of the image other than /proc, /sys, /dev and /run/secrets, without .., : and ,",
        });
    }
    Ok(target)
}

/// Keeps the groups of this user, which is what opens devices; only crun can.
pub(crate) const KEEP_GROUPS: &str = "--group-add=keep-groups";

/// How the ids of a container with users of its own are podman's: each is the next one, so that none is podman's first,
/// which is the account that runs it (podman-create(1), `--uidmap`, where podman is rootless).
pub(crate) const OWN_IDS: &str = "0:1:65535";

/// An id of a container with users of its own, as podman counts.
pub(crate) fn own_id(id: u32) -> u32 {
    id.saturating_add(1)
}

pub(super) fn limits(container: &Container, possible: Limits) -> Result<Vec<Word>, RenderError> {
    let resources = &container.resources;
    let cpus = resources.cpus.filter(|_| possible.cpu);
    let pids = resources.pids.filter(|_| possible.pids);
    let cpus = cpus.map(|cpus| format!("--cpus={cpus}"));
    let pids = pids.map(|pids| format!("--pids-limit={pids}"));
    // A device's group is the owner's: without it the device could not be opened inside.
    let groups = (!container.devices.is_empty()).then(|| KEEP_GROUPS.to_owned());
    let limits = cpus.into_iter().chain(pids).chain(groups);
    limits.map(|limit| word("resources", limit)).collect()
}

/// Returns the entrypoint and the command. With an entrypoint of the manifest, its command belongs to the same JSON list:
/// podman then drops the image's own command, and the list can carry every text.
pub(super) fn command(
    container: &Container,
    at: &dyn Fn(&str) -> String,
) -> Result<(Vec<Argument>, Vec<Word>), RenderError> {
    if container.entrypoint.is_empty() {
        let words = container.command.iter();
        let words = words.map(|text| word(&at("command"), text.clone()));
        return Ok((Vec::new(), words.collect::<Result<_, _>>()?));
    }
    let entrypoint = container.entrypoint.iter().map(|text| (text, "entrypoint"));
    let command = container.command.iter().map(|text| (text, "command"));
    let arguments = entrypoint
        .chain(command)
        .map(|(text, field)| argument(&at(field), text));
    Ok((arguments.collect::<Result<_, _>>()?, Vec::new()))
}
