//! The endpoint that a release names as its origin: the node's own, at addresses that others can use.

use std::net::SocketAddr;

use archy_registry::release::Endpoint;

use crate::failure::Failure;
use crate::node::types::EndpointInfo;

/// Addresses that a release may name.
const ADDRESSES_MAX: usize = 16;
/// iroh relays that a release may name.
const RELAYS_MAX: usize = 4;

/// Returns the endpoint for the release: with the given addresses, else with the node's own.
///
/// Loopback addresses are named only where the node has no others.
///
/// # Errors
///
/// When the node's endpoint cannot be read or cannot be reached by anybody.
pub fn endpoint(info: &EndpointInfo, given: &[SocketAddr]) -> Result<Endpoint, Failure> {
    let mut addresses = if given.is_empty() {
        own_addresses(info)?
    } else {
        given.to_vec()
    };
    if addresses.iter().any(|address| !address.ip().is_loopback()) {
        addresses.retain(|address| !address.ip().is_loopback());
    }
    named(info, addresses)
}

/// Returns the endpoint under which to look for it from here: at all addresses that are known.
///
/// # Errors
///
/// See [`endpoint`].
pub fn probe_endpoint(info: &EndpointInfo, given: &[SocketAddr]) -> Result<Endpoint, Failure> {
    let mut addresses = own_addresses(info)?;
    addresses.extend(given);
    named(info, addresses)
}

fn named(info: &EndpointInfo, mut addresses: Vec<SocketAddr>) -> Result<Endpoint, Failure> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() && info.relays.is_empty() {
        return Err(Failure::failed(
            "noOrigin",
            "the node knows no address at which others reach it",
        )
        .hint("Name one with --origin-address IP:PORT"));
    }
    Ok(Endpoint {
        id: info.id.parse().map_err(|error| unreadable(&error))?,
        addresses,
        relays: info.relays.iter().take(RELAYS_MAX).cloned().collect(),
    })
}

fn own_addresses(info: &EndpointInfo) -> Result<Vec<SocketAddr>, Failure> {
    let parse = |text: &String| {
        text.parse::<SocketAddr>()
            .map_err(|error| unreadable(&error))
    };
    let addresses: Vec<SocketAddr> = info.addresses.iter().map(parse).collect::<Result<_, _>>()?;
    Ok(addresses
        .into_iter()
        .filter(|address| !address.ip().is_unspecified() && address.port() != 0)
        .collect())
}

fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::failed(
        "node",
        format!("the node's endpoint cannot be read: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(addresses: &[&str]) -> EndpointInfo {
        EndpointInfo {
            id: "ab".repeat(32),
            addresses: addresses.iter().map(|&text| text.to_owned()).collect(),
            relays: Vec::new(),
        }
    }

    fn addresses(endpoint: &Endpoint) -> Vec<String> {
        endpoint.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn others_are_told_addresses_that_they_can_use() {
        let node = info(&[
            "127.0.0.1:4000",
            "192.0.2.7:4000",
            "0.0.0.0:4000",
            "192.0.2.7:4000",
        ]);
        assert_eq!(
            addresses(&endpoint(&node, &[]).unwrap()),
            ["192.0.2.7:4000"]
        );
        let outside = ["203.0.113.1:9".parse().unwrap()];
        assert_eq!(
            addresses(&endpoint(&node, &outside).unwrap()),
            ["203.0.113.1:9"]
        );
        let probed = probe_endpoint(&node, &outside).unwrap();
        assert_eq!(
            addresses(&probed),
            ["127.0.0.1:4000", "192.0.2.7:4000", "203.0.113.1:9"]
        );
        assert_eq!(
            addresses(&endpoint(&info(&["127.0.0.1:4000"]), &[]).unwrap()),
            ["127.0.0.1:4000"]
        );
    }

    #[test]
    fn a_node_that_nobody_reaches_publishes_nothing() {
        assert_eq!(
            endpoint(&info(&["0.0.0.0:4000"]), &[]).unwrap_err().kind,
            "noOrigin"
        );
    }
}
