//! Where a registry's catalog is, and which addresses may be asked for it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use archy_registry::{Blake3Hash, Slug};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Characters of a name that is made of a location.
const NAME_CHARS: usize = 30;

/// Where a catalog is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Location {
    /// `https://…`
    Https(Url),
    /// An absolute path.
    File(PathBuf),
    /// `blob:HASH`, fetched from the nodes that this one knows.
    Blob(Blake3Hash),
}

/// A text is no location of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Neither of the three.
    #[error("{0:?} is neither an https:// URL, an absolute path nor blob:HASH")]
    Form(String),
    /// Unencrypted, or with a name and password.
    #[error("{0:?} must be an https:// URL with a host, without user name, password and fragment")]
    Url(String),
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let form = || LocationError::Form(text.chars().take(200).collect());
        if text.len() > 2048 || text.chars().any(char::is_control) {
            return Err(form());
        }
        if text.starts_with('/') {
            return Ok(Self::File(PathBuf::from(text)));
        }
        if let Some(hash) = text.strip_prefix("blob:") {
            return hash.parse().map(Self::Blob).map_err(|_| form());
        }
        let url: Url = text.parse().map_err(|_| form())?;
        check_url(&url)?;
        Ok(Self::Https(url))
    }
}

/// Checks the form of a URL that is going to be asked, also one that a server redirects to.
pub(super) fn check_url(url: &Url) -> Result<(), LocationError> {
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if url.scheme() != "https" || url.host().is_none() || !plain {
        return Err(LocationError::Url(url.as_str().chars().take(200).collect()));
    }
    Ok(())
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(url) => f.write_str(url.as_str()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Blob(hash) => write!(f, "blob:{hash}"),
        }
    }
}

impl TryFrom<String> for Location {
    type Error = LocationError;

    fn try_from(text: String) -> Result<Self, LocationError> {
        text.parse()
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

impl Location {
    /// Makes a name of the location: its host, file name or hash.
    pub(super) fn name(&self) -> Slug {
        let text = match self {
            Self::Https(url) => url.host_str().unwrap_or_default().to_owned(),
            Self::File(path) => path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default(),
            Self::Blob(hash) => format!("blob-{}", &hash.to_string()[..8]),
        };
        slug(&text)
    }
}

/// Makes a name of any text.
pub(super) fn slug(text: &str) -> Slug {
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let name: String = words.join("-").chars().take(NAME_CHARS).collect();
    let named = name.trim_end_matches('-').parse();
    named.unwrap_or_else(|_| {
        format!("registry-{}", name.trim_matches('-'))
            .trim_end_matches('-')
            .parse()
            .unwrap_or_else(|_| "registry".parse().expect("letters make a slug"))
    })
}

/// The addresses that requests for one location may reach: public ones, and the one that the owner wrote out.
///
/// A name, a redirect or a changed DNS answer cannot lead into the owner's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    written: Option<SocketAddr>,
}

impl Reach {
    /// Allows what the owner's own URL says.
    pub(super) fn of(url: &Url) -> Self {
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) | None => None,
        };
        let port = url.port_or_known_default();
        Self {
            written: ip.zip(port).map(SocketAddr::from),
        }
    }

    /// Tells whether `address` may be connected to.
    pub(super) fn allows(&self, address: SocketAddr) -> bool {
        self.written == Some(address) || is_public(address.ip())
    }
}

/// Tells whether an address is one of the open internet (IANA special-purpose registries, RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match embedded_v4(ip) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocols = a == 192 && b == 0 && c == 0;
    let relay_anycast = a == 192 && b == 88 && c == 99;
    let benchmarks = a == 198 && (b == 18 || b == 19);
    !(a == 0
        || a >= 240
        || shared
        || protocols
        || relay_anycast
        || benchmarks
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let global_unicast = first & 0xe000 == 0x2000;
    let documentation = (first == 0x2001 && second == 0x0db8) || first & 0xfff0 == 0x3ff0;
    let protocols = first == 0x2001 && second < 0x0200;
    global_unicast && !documentation && !protocols
}

/// Returns the IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4).
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(v4(high, low))
        }
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_and_written() {
        let hash = Blake3Hash::of(b"x");
        for text in [
            "https://apps.example.org/catalog.json".to_owned(),
            "https://10.0.0.2:8443/catalog.json?a=b".to_owned(),
            "/srv/catalog.json".to_owned(),
            format!("blob:{hash}"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "catalog.json",
            "http://example.org/",
            "ftp://example.org/",
            "https://",
            "https://user:secret@example.org/",
            "https://user@example.org/",
            "https://example.org/#part",
            "file:///etc/passwd",
            "blob:12",
            "/a\nb",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_made_of_hosts_files_and_hashes() {
        let name = |text: &str| text.parse::<Location>().unwrap().name().to_string();
        assert_eq!(name("https://Apps.Example.org/c.json"), "apps-example-org");
        assert_eq!(name("/srv/Home Apps.json"), "home-apps");
        assert_eq!(name("/…"), "registry");
    }

    #[test]
    fn only_public_addresses_and_the_one_written_out_are_reached() {
        let at = |ip: &str, port: u16| SocketAddr::new(ip.parse().unwrap(), port);
        let reach = Reach::of(&"https://example.org/".parse().unwrap());
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "192.0.0.8",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::1",
            "::127.0.0.1",
            "64:ff9b:1::1",
            "3fff::1",
        ] {
            assert!(!reach.allows(at(ip, 443)), "{ip}");
        }
        for ip in [
            "1.1.1.1",
            "93.184.216.34",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(reach.allows(at(ip, 443)), "{ip}");
        }
        let own = Reach::of(&"https://10.1.2.3:8443/".parse().unwrap());
        assert!(own.allows(at("10.1.2.3", 8443)));
        assert!(!own.allows(at("10.1.2.3", 22)), "only the port itself");
        assert!(!own.allows(at("10.1.2.4", 8443)), "only the address itself");
    }
}
