//! The address of a remote signer: `bunker://<pubkey>?relay=<wss://…>&secret=<…>`.

use std::fmt;
use std::str::FromStr;

use crate::event::Pubkey;
use crate::url::RelayUrl;

/// Most relays over which a signer is asked.
const RELAYS_MAX: usize = 8;
/// Longest address in bytes.
const URL_BYTES_MAX: usize = 4096;

/// Not the address of a remote signer. Never shows the address: it holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not the address of a remote signer: {0}; copy it from the signer, it begins with bunker://"
)]
pub struct BunkerUrlError(&'static str);

/// The address of a remote signer (NIP-46).
#[derive(Clone, PartialEq, Eq)]
pub struct BunkerUrl {
    /// The signer's own key; not the key that it signs with.
    pub signer: Pubkey,
    /// Where it listens.
    pub relays: Vec<RelayUrl>,
    /// Lets a client introduce itself, most often once.
    pub secret: Option<String>,
}

impl FromStr for BunkerUrl {
    type Err = BunkerUrlError;

    fn from_str(text: &str) -> Result<Self, BunkerUrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(BunkerUrlError("it is too long"));
        }
        let url = url::Url::parse(text).map_err(|_| BunkerUrlError("it is no URL"))?;
        if url.scheme() != "bunker" {
            return Err(BunkerUrlError("its scheme is not bunker"));
        }
        let signer = url.host_str().and_then(|host| host.parse().ok());
        let mut relays = Vec::new();
        let mut secret = None;
        for (name, value) in url.query_pairs() {
            match &*name {
                "relay" => relays.push(
                    value
                        .parse()
                        .map_err(|_| BunkerUrlError("one of its relays is no relay address"))?,
                ),
                "secret" if !value.is_empty() => secret = Some(value.into_owned()),
                _ => {}
            }
        }
        relays.sort();
        relays.dedup();
        if relays.is_empty() {
            return Err(BunkerUrlError("it names no relay"));
        }
        if relays.len() > RELAYS_MAX {
            return Err(BunkerUrlError("it names more than 8 relays"));
        }
        Ok(Self {
            signer: signer.ok_or(BunkerUrlError("it names no pubkey"))?,
            relays,
            secret,
        })
    }
}

impl fmt::Debug for BunkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BunkerUrl({})", self.signer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_its_secret_never_shown() {
        let pubkey = "ab".repeat(32);
        let text = format!(
            "bunker://{pubkey}?relay=wss%3A%2F%2Fb.example&relay=wss://a.example&secret=hunter%202&perms=x"
        );
        let url: BunkerUrl = text.parse().unwrap();
        assert_eq!(url.signer.to_string(), pubkey);
        let relays: Vec<_> = url.relays.iter().map(RelayUrl::as_str).collect();
        assert_eq!(relays, ["wss://a.example/", "wss://b.example/"]);
        assert_eq!(url.secret.as_deref(), Some("hunter 2"));
        assert!(!format!("{url:?}").contains("hunter"));
    }

    #[test]
    fn what_is_refused_says_why_without_the_secret() {
        let pubkey = "ab".repeat(32);
        let many = "&relay=wss://".to_owned();
        let many: String = (0..9).map(|n| format!("{many}r{n}.example")).collect();
        let table = [
            ("hunter2".to_owned(), "it is no URL"),
            (
                format!("nostrconnect://{pubkey}?relay=wss://a&secret=hunter2"),
                "scheme",
            ),
            (format!("bunker://{pubkey}?secret=hunter2"), "no relay"),
            (
                format!("bunker://{pubkey}?relay=https://hunter2"),
                "no relay address",
            ),
            (
                "bunker://abcd?relay=wss://a&secret=hunter2".to_owned(),
                "no pubkey",
            ),
            (format!("bunker://{pubkey}?{many}"), "more than 8"),
            ("x".repeat(5000), "too long"),
        ];
        for (text, why) in table {
            let error = text.parse::<BunkerUrl>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
