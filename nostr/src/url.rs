//! The address of a relay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Not the address of a relay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not the address of a Nostr relay: {why}; write it like wss://relay.example.org"
)]
pub struct UrlError {
    text: String,
    why: &'static str,
}

/// The address of a relay: `ws://` or `wss://`, without credentials and fragment.
///
/// Two spellings of one address compare equal: scheme and host are in lower case, the default port is
/// left out, and an empty path is `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayUrl(url::Url);

impl RelayUrl {
    /// Returns the address as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the host.
    pub(crate) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Returns the port, the scheme's when none is written.
    pub(crate) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }
}

impl TryFrom<url::Url> for RelayUrl {
    type Error = UrlError;

    fn try_from(url: url::Url) -> Result<Self, UrlError> {
        let why = match url.scheme() {
            "ws" | "wss" if url.host_str().is_none_or(str::is_empty) => "it names no host",
            "ws" | "wss" if !url.username().is_empty() || url.password().is_some() => {
                "credentials in it would be logged"
            }
            "ws" | "wss" if url.fragment().is_some() => "it has a fragment",
            "ws" | "wss" => return Ok(Self(url)),
            _ => "its scheme is neither ws nor wss",
        };
        Err(UrlError {
            text: url.scheme().to_owned() + "://…",
            why,
        })
    }
}

impl FromStr for RelayUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let shown = || text.chars().take(120).collect();
        let url = url::Url::parse(text).map_err(|_| UrlError {
            text: shown(),
            why: "it is no URL",
        })?;
        Self::try_from(url).map_err(|error| UrlError {
            text: shown(),
            ..error
        })
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RelayUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RelayUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_equal() {
        let one: RelayUrl = "WSS://Relay.Example.org:443".parse().unwrap();
        assert_eq!(one, "wss://relay.example.org/".parse().unwrap());
        assert_eq!(one.port(), 443);
    }

    #[test]
    fn what_is_refused_says_why() {
        let table = [
            ("https://relay.example.org", "its scheme is neither"),
            ("wss://me:secret@relay.example.org", "credentials"),
            ("wss://relay.example.org/#x", "fragment"),
            ("relay.example.org", "it is no URL"),
        ];
        for (text, why) in table {
            let error = text.parse::<RelayUrl>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
