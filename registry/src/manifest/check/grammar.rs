//! The grammars of single texts in a manifest.

use crate::manifest::UserNamespace;
use crate::text::{self, Complaint};

/// Capabilities that an app may ask for: those that do nothing outside the app's own user namespace.
pub const CAPABILITIES: [&str; 16] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "KILL",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_NICE",
];

/// Devices that an app may ask for: exact names, or the start of one (with `*`).
const DEVICES: [&str; 19] = [
    "accel/*",
    "bus/usb",
    "bus/usb/*",
    "dri",
    "dri/*",
    "fuse",
    "gpiochip*",
    "hidraw*",
    "i2c-*",
    "kfd",
    "kvm",
    "net/tun",
    "nvidia*",
    "serial/by-id/*",
    "snd",
    "snd/*",
    "ttyACM*",
    "ttyUSB*",
    "video*",
];

/// Directories that belong to the container runtime.
const RESERVED: [&str; 5] = ["/proc", "/sys", "/dev", "/.archy", "/run/secrets"];

/// Highest user or group id: rootless Podman maps 65 536 of them.
const ID_MAX: u32 = 65_535;

/// Highest user or group id of a container. One of them is left out for users of its own.
pub(super) fn id_max(user_namespace: UserNamespace) -> u32 {
    match user_namespace {
        UserNamespace::Shared => ID_MAX,
        UserNamespace::Own => ID_MAX - 1,
    }
}

/// An environment variable's or build argument's name (POSIX.1 §8.1, letters of both cases).
pub(super) fn env_name(name: &str) -> Result<(), Complaint> {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let fits = name.len() <= 128
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b.is_ascii_digit());
    ok_or(fits, || {
        "must be a name of letters, digits and _, not starting with a digit".to_owned()
    })
}

/// One argument of an argv.
pub(super) fn argument(argument: &str) -> Result<(), Complaint> {
    text::check_line_or_empty(argument, 4096)
}

/// A version as developers write it.
pub(super) fn version(version: &str) -> Result<(), Complaint> {
    let fits = version.len() <= 40
        && version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".+-_~:".contains(&b));
    ok_or(fits, || {
        "must be 1 to 40 letters, digits and . + - _ ~ : starting with a letter or digit".to_owned()
    })
}

/// An SPDX licence expression, by its alphabet (SPDX 2.3 annex D).
pub(super) fn license(license: &str) -> Result<(), Complaint> {
    let fits = (1..=100).contains(&license.len())
        && license
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".+-() ".contains(&b));
    ok_or(fits, || {
        "must be an SPDX expression such as MIT OR Apache-2.0".to_owned()
    })
}

/// `uid[:gid]`, or a user (and group) name of the image.
pub(super) fn user(user: &str, id_max: u32) -> Result<(), Complaint> {
    let one = |part: &str| {
        let number = part.parse::<u32>().is_ok_and(|id| id <= id_max)
            && part.bytes().all(|b| b.is_ascii_digit());
        let name = part.len() <= 32
            && part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
        number || name
    };
    let fits = match user.split_once(':') {
        Some((user, group)) => one(user) && one(group),
        None => one(user),
    };
    ok_or(fits, || {
        format!("must be uid, uid:gid or a user name of the image; ids go up to {id_max}")
    })
}

/// An absolute path inside a container: normalised, of a plain alphabet, not the runtime's own.
pub(super) fn container_path(path: &str) -> Result<(), Complaint> {
    absolute_path(path)?;
    let reserved = RESERVED.iter().find(|reserved| {
        path.strip_prefix(**reserved)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    match reserved {
        Some(reserved) => Err(format!("must not be {reserved} or below it")),
        None => Ok(()),
    }
}

/// An absolute, normalised path of a plain alphabet, other than `/`.
pub(super) fn absolute_path(path: &str) -> Result<(), Complaint> {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+@/".contains(&b);
    let fits = path.len() <= 255
        && path.bytes().all(plain)
        && path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(part));
    ok_or(fits, || {
        "must be an absolute path of letters, digits and . _ - + @ without empty, . or .. parts"
            .to_owned()
    })
}

/// The path (and query) of a URL, starting with `/`.
pub(super) fn url_path(path: &str) -> Result<(), Complaint> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@?%#".contains(&b);
    let fits = path.len() <= 500
        && path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(plain);
    ok_or(fits, || {
        "must be a URL path starting with a single /, such as /health".to_owned()
    })
}

/// A glob below the app's data directory.
pub(super) fn glob(glob: &str) -> Result<(), Complaint> {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+@/*?[]".contains(&b);
    let fits = glob.len() <= 255 && glob.bytes().all(plain) && glob.split('/').all(part);
    ok_or(fits, || {
        "must be a relative glob such as cache/** without empty, . or .. parts".to_owned()
    })?;
    ok_or(glob.split('/').all(has_whole_classes), || {
        "has brackets that are no class of characters such as [0-9]".to_owned()
    })
}

/// Tells whether each `[` in a part of a glob opens a class that restic can read: one that it cannot fails every backup
/// ([path/filepath.Match](https://pkg.go.dev/path/filepath#Match)).
fn has_whole_classes(part: &str) -> bool {
    let mut rest = part.chars();
    while let Some(c) = rest.next() {
        if c == '[' && !skip_class(&mut rest) {
            return false;
        }
    }
    true
}

/// Goes past a class whose `[` was read; `false` where there is none.
fn skip_class(rest: &mut std::str::Chars<'_>) -> bool {
    let member = |c: Option<char>| c.is_some_and(|c| c != '-' && c != ']');
    let mut first = rest.next();
    loop {
        if !member(first) {
            return false;
        }
        first = rest.next();
        if first == Some('-') {
            if !member(rest.next()) {
                return false;
            }
            first = rest.next();
        }
        if first == Some(']') {
            return true;
        }
    }
}

/// A capability of [`CAPABILITIES`].
pub(super) fn capability(name: &str) -> Result<(), Complaint> {
    if CAPABILITIES.contains(&name) {
        return Ok(());
    }
    match name.strip_prefix("CAP_") {
        Some(short) if CAPABILITIES.contains(&short) => Err(format!("must be written {short}")),
        Some(_) | None => Err(format!(
            "is not a capability that apps may have: {}",
            CAPABILITIES.join(", ")
        )),
    }
}

/// A device below `/dev` that apps may have, or any device that the machine's owner described by CDI
/// ([cdi spec](https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md)).
pub(super) fn device(path: &str) -> Result<(), Complaint> {
    if !path.starts_with('/') {
        return cdi_device(path);
    }
    let allowed = |name: &str| {
        DEVICES
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.len() > start.len() && name.starts_with(start),
                None => name == *pattern,
            })
    };
    let fits = absolute_path(path).is_ok() && path.strip_prefix("/dev/").is_some_and(allowed);
    ok_or(fits, || {
        format!(
            "is not a device that apps may have: /dev/ and one of {}",
            DEVICES.join(", ")
        )
    })
}

/// `vendor.com/class=name`
fn cdi_device(name: &str) -> Result<(), Complaint> {
    let word = |word: &str, lower: bool| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = word.as_bytes();
        (1..=63).contains(&word.len())
            && bytes
                .iter()
                .all(|b| plain(*b) && !(lower && b.is_ascii_uppercase()))
            && end(bytes.first())
            && end(bytes.last())
    };
    let parts = name.split_once('=').and_then(|(kind, device)| {
        let (vendor, class) = kind.split_once('/')?;
        Some((vendor, class, device))
    });
    let fits = parts.is_some_and(|(vendor, class, device)| {
        word(vendor, true) && vendor.contains('.') && word(class, true) && word(device, false)
    });
    ok_or(fits, || {
        "must be a path below /dev or the name of a CDI device such as nvidia.com/gpu=all"
            .to_owned()
    })
}

/// An image reference: `[host[:port]/]path[:tag][@sha256:digest]`
/// ([distribution reference grammar](https://pkg.go.dev/github.com/distribution/reference)).
pub(super) fn image(reference: &str) -> Result<(), Complaint> {
    ok_or(reference.len() <= 255 && parse_image(reference), || {
        "must be an image reference such as docker.io/library/nginx:1.27 (lower case, [host/]name[:tag][@sha256:…])"
            .to_owned()
    })
}

fn parse_image(reference: &str) -> bool {
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    let last_slash = named.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match named[last_slash..].split_once(':') {
        Some((_, tag)) => (&named[..named.len() - tag.len() - 1], Some(tag)),
        None => (named, None),
    };
    let tag_fits = tag.is_none_or(|tag| {
        (1..=128).contains(&tag.len())
            && !tag.starts_with(['.', '-'])
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    });
    let digest_fits = digest.is_none_or(|digest| digest.parse::<crate::id::OciDigest>().is_ok());
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), rest)
        }
        Some(_) | None => (None, name),
    };
    host.is_none_or(is_registry_host)
        && path.split('/').all(is_path_component)
        && tag_fits
        && digest_fits
}

fn is_registry_host(host: &str) -> bool {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().is_ok_and(|port| port != 0)),
        None => (host, true),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    port && name.split('.').all(label)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_fit = bytes.first().is_some_and(|b| alphanumeric(*b))
        && bytes.last().is_some_and(|b| alphanumeric(*b));
    let separator =
        |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    ends_fit
        && component
            .bytes()
            .all(|b| alphanumeric(b) || b"._-".contains(&b))
        && component
            .split(|c: char| c.is_ascii_alphanumeric())
            .all(separator)
}

fn ok_or(fits: bool, complaint: impl FnOnce() -> Complaint) -> Result<(), Complaint> {
    if fits { Ok(()) } else { Err(complaint()) }
}

#[cfg(test)]
mod tests;
