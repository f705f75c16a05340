//! Nodes on one network find each other. Needs a network interface that carries multicast.

use archy_registry::release::Endpoint;
use archy_swarm::ProviderKind;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Node, bytes, request, tag, until};

fn on(config: &mut archy_swarm::Config) {
    config.bind = vec![];
    config.discovery.mdns = true;
    config.patience.lan = DEADLINE;
}

#[tokio::test]
async fn a_blob_comes_from_a_node_that_nobody_named() {
    let data = bytes(300_000, 41);
    let holder = Node::start_with(on).await;
    holder.provide(&tag("a"), &data[..], None).await.unwrap();
    let node = Node::start_with(on).await;
    let fetch = node.fetch(request(&[&data], &[], &[]), &CancellationToken::new());
    let fetched = tokio::time::timeout(DEADLINE, fetch.finish())
        .await
        .expect("found in time")
        .unwrap();
    let report = fetched
        .providers
        .iter()
        .find(|report| report.bytes > 0)
        .unwrap();
    assert_eq!(report.kind, ProviderKind::Lan);
    assert_eq!(report.id, holder.endpoint().id);
    let seen = node.status().lan_peers;
    assert!(seen.iter().any(|peer| peer.id == holder.endpoint().id));
}

/// Somebody who dials it gets its addresses; everybody else is to see it all the same.
#[tokio::test]
async fn a_node_that_shows_up_while_it_is_dialled_is_seen() {
    let data = bytes(300_000, 42);
    let dir = tempfile::tempdir().unwrap();
    let holder = Node::start_in(dir.path(), on).await;
    holder.provide(&tag("a"), &data[..], None).await.unwrap();
    let id = holder.endpoint().id;
    holder.shutdown().await;
    let node = Node::start_with(on).await;
    let nowhere = Endpoint {
        id,
        addresses: Vec::new(),
        relays: Vec::new(),
    };
    let fetch = node.fetch(
        request(&[&data], &[], &[&nowhere]),
        &CancellationToken::new(),
    );
    let (fetched, _holder) = tokio::join!(
        tokio::time::timeout(DEADLINE, fetch.finish()),
        Node::start_in(dir.path(), on)
    );
    let fetched = fetched.expect("found in time").unwrap();
    assert!(
        fetched
            .providers
            .iter()
            .any(|report| report.id == id && report.bytes > 0)
    );
    until(async || node.status().lan_peers.iter().any(|peer| peer.id == id)).await;
}
