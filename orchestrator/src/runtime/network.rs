//! Whether the machine's way out is metered, as NetworkManager says over D-Bus
//! (networkmanager.dev/docs/api/latest/gdbus-org.freedesktop.NetworkManager.html). Asks for nothing else and changes nothing.
//!
//! systemd-networkd knows no such property; on a machine without NetworkManager nobody says, and that is an answer too.

use futures_util::StreamExt;
use futures_util::stream::select;
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant};

const SERVICE: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";
const BUS: &str = "org.freedesktop.DBus";

/// Whether bytes cost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metered {
    /// Nobody says.
    Unknown,
    /// They do, or probably do.
    Yes,
    /// They do not, or probably not.
    No,
}

impl Metered {
    /// Reads NetworkManager's `NMMetered`: a guess counts.
    fn from_value(value: u32) -> Self {
        match value {
            1 | 3 => Self::Yes,
            2 | 4 => Self::No,
            _ => Self::Unknown,
        }
    }
}

/// The system's bus cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("could not ask the system's bus about the network")]
pub struct NetworkError(#[source] Box<zbus::Error>);

impl From<zbus::Error> for NetworkError {
    fn from(error: zbus::Error) -> Self {
        Self(Box::new(error))
    }
}

/// Tells how it is now, and whenever that may have changed; returns when the bus hangs up.
///
/// # Errors
///
/// [`NetworkError`] when there is no such bus, or it does not answer.
pub async fn follow(tell: impl FnMut(Metered)) -> Result<(), NetworkError> {
    let connection = Connection::system().await?;
    follow_on(&connection, tell).await
}

async fn follow_on(
    connection: &Connection,
    mut tell: impl FnMut(Metered),
) -> Result<(), NetworkError> {
    let signal = || MatchRule::builder().msg_type(zbus::message::Type::Signal);
    let changed = signal()
        .path(PATH)
        .interface("org.freedesktop.DBus.Properties")
        .member("PropertiesChanged")
        .arg(0, SERVICE)
        .build()?;
    let owned = signal()
        .interface(BUS)
        .member("NameOwnerChanged")
        .arg(0, SERVICE)
        .build()?;
    // First the signals, then the question: no change falls between.
    let hints = select(
        MessageStream::for_match_rule(changed, connection, None).await?,
        MessageStream::for_match_rule(owned, connection, None).await?,
    );
    let mut hints = std::pin::pin!(hints);
    loop {
        tell(ask(connection).await?);
        match hints.next().await {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Ok(()),
        }
    }
}

async fn ask(connection: &Connection) -> Result<Metered, NetworkError> {
    // A question to the service itself could start it.
    let is_there = connection
        .call_method(
            Some(BUS),
            "/org/freedesktop/DBus",
            Some(BUS),
            "NameHasOwner",
            &SERVICE,
        )
        .await?;
    if !is_there.body().deserialize::<bool>()? {
        return Ok(Metered::Unknown);
    }
    let properties = Some("org.freedesktop.DBus.Properties");
    let value = connection
        .call_method(
            Some(SERVICE),
            PATH,
            properties,
            "Get",
            &(SERVICE, "Metered"),
        )
        .await;
    // An old one lacks the property, and one that has just gone does not answer.
    let Ok(value) = value else {
        return Ok(Metered::Unknown);
    };
    let value = value.body().deserialize::<OwnedVariant>();
    let value = value.ok().and_then(|value| u32::try_from(value).ok());
    Ok(value.map_or(Metered::Unknown, Metered::from_value))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Answers like a bus on which NetworkManager is, or is not when `value` is `None`; each value read is the next one.
    async fn bus(stream: UnixStream, mut values: Vec<Option<u32>>) {
        let guid = zbus::Guid::generate();
        let builder = zbus::connection::Builder::unix_stream(stream)
            .server(guid)
            .p2p();
        let connection = builder.build().await.unwrap();
        let mut calls = MessageStream::from(&connection);
        values.reverse();
        while let Some(Ok(call)) = calls.next().await {
            let header = call.header();
            match header.member().map(|member| member.as_str()) {
                Some("NameHasOwner") => {
                    let is_there = values.last().copied().flatten().is_some();
                    connection.reply(&header, &is_there).await.unwrap();
                    if is_there {
                        continue;
                    }
                }
                Some("Get") => {
                    let value = values.last().copied().flatten().unwrap();
                    let value = zbus::Variant::from(value);
                    connection.reply(&header, &value).await.unwrap();
                }
                _ => continue,
            }
            values.pop();
            if values.is_empty() {
                return;
            }
            let none: [&str; 0] = [];
            let changes: std::collections::HashMap<&str, zbus::Variant<'_>> =
                std::collections::HashMap::new();
            connection
                .emit_signal(
                    None::<&str>,
                    PATH,
                    "org.freedesktop.DBus.Properties",
                    "PropertiesChanged",
                    &(SERVICE, changes, none),
                )
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn what_network_manager_says_is_followed_until_the_bus_hangs_up() {
        let (here, there) = UnixStream::pair().unwrap();
        let says = [None, Some(1), Some(2), Some(3), Some(4), Some(0), Some(99)];
        let serving = bus(there, says.to_vec());
        let mut told = Vec::new();
        let following = async {
            let builder = zbus::connection::Builder::unix_stream(here).p2p();
            let connection = builder.build().await.unwrap();
            follow_on(&connection, |metered| told.push(metered)).await
        };
        // The bus hangs up without a word, so how it ends is up to the socket.
        let ((), _) = tokio::join!(serving, following);
        use Metered::{No, Unknown, Yes};
        assert_eq!(told, [Unknown, Yes, No, Yes, No, Unknown, Unknown]);
    }
}
