//! Nodes on one network find each other. Needs a network interface that carries multicast.

use archy_swarm::ProviderKind;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Node, bytes, request, tag};

#[tokio::test]
async fn a_blob_comes_from_a_node_that_nobody_named() {
    let on = |config: &mut archy_swarm::Config| {
        config.bind = vec![];
        config.discovery.mdns = true;
        config.patience.lan = DEADLINE;
    };
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
