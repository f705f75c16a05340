//! Which ports of the node are free, and who holds those that are not.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use archy_registry::manifest::{Manifest, Protocol};

use crate::desired::{Desired, Wish};
use crate::runtime::podman::PublishedPort;
use crate::settings::{AssignError, Settings};

/// Decides an app's ports: those of other apps count as taken even while these do not run, the app's own as free.
pub(crate) fn assign(
    manifest: &Manifest,
    all: &[Desired],
    wished: &Settings,
) -> Result<Settings, AssignError> {
    let installed = all.iter().filter(|app| app.wish != Wish::Removed);
    let (own, others): (Vec<_>, Vec<_>) = installed.partition(|app| app.slug() == &manifest.app.id);
    let has = |apps: &[&Desired], port, protocol| {
        let mut bindings = apps.iter().flat_map(|app| &app.settings.ports);
        bindings.any(|b| b.host_port == port && b.protocol == protocol)
    };
    Settings::assign(manifest, wished, |port, protocol| {
        !has(&others, port, protocol) && (has(&own, port, protocol) || is_free(port, protocol))
    })
}

/// Tells whether `port` can be taken now, on all addresses, by this user.
pub(crate) fn is_free(port: u16, protocol: Protocol) -> bool {
    let addresses = [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
    ];
    addresses.iter().all(|address| {
        let error = match protocol {
            Protocol::Tcp => TcpListener::bind(address).err(),
            Protocol::Udp => UdpSocket::bind(address).err(),
        };
        // A machine without IPv6 has no such address, which keeps no port busy.
        error.is_none_or(|error| address.is_ipv6() && error.kind() != std::io::ErrorKind::AddrInUse)
    })
}

/// Tells whether a container's published port is, or spans, this one.
pub(crate) fn has(published: &PublishedPort, port: u16, protocol: Protocol) -> bool {
    let name = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let first = published.host_port;
    let last = first.saturating_add(published.range.max(1) - 1);
    (first..=last).contains(&port) && published.protocol.split(',').any(|one| one == name)
}

/// Names the program of this user that listens on `port`; `None` when it belongs to another user.
pub(crate) fn holder(port: u16, protocol: Protocol) -> Option<String> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, port, protocol))
        .collect();
    let sockets: BTreeMap<String, ()> = inodes
        .iter()
        .map(|inode| (format!("socket:[{inode}]"), ()))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = files.flatten().any(|file| {
            let target = fs::read_link(file.path());
            target.is_ok_and(|target| sockets.contains_key(&*target.to_string_lossy()))
        });
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(name.trim_end().to_owned());
        }
    }
    None
}

/// Lists the inodes of sockets of `/proc/net/tcp` and its like that listen on `port` (proc_net_tcp(5)).
fn listening(table: &str, port: u16, protocol: Protocol) -> Vec<String> {
    let listens = match protocol {
        Protocol::Tcp => "0A",
        Protocol::Udp => "07",
    };
    let port = format!(":{port:04X}");
    let rows = table.lines().skip(1).filter_map(|row| {
        let columns: Vec<&str> = row.split_ascii_whitespace().collect();
        let ours = columns.get(1)?.ends_with(&port) && *columns.get(3)? == listens;
        ours.then(|| columns.get(9).map(|&inode| inode.to_owned()))?
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_port_is_one_of_its_protocol() {
        let published = |host_port, range, protocol: &str| PublishedPort {
            container_port: 1,
            host_port,
            range,
            protocol: protocol.to_owned(),
        };
        let table = [
            (published(53, 1, "udp"), Protocol::Udp, true),
            (published(53, 1, "udp"), Protocol::Tcp, false),
            (published(53, 0, "tcp"), Protocol::Tcp, true),
            (published(53, 1, "tcp,udp"), Protocol::Udp, true),
            (published(50, 4, "tcp"), Protocol::Tcp, true),
            (published(50, 3, "tcp"), Protocol::Tcp, false),
        ];
        for (published, protocol, wanted) in table {
            assert_eq!(has(&published, 53, protocol), wanted, "{published:?}");
        }
    }

    #[test]
    fn a_taken_port_has_a_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port, Protocol::Tcp));
        assert!(holder(port, Protocol::Tcp).is_some());
    }
}
