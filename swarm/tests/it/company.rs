//! Nodes that fetch the same find each other through the node that serves it.

use archy_swarm::{ProviderKind, UploadLimits};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Node, bytes, request, tag, wanted};

const SIZE: usize = 3 * 1024 * 1024;

#[tokio::test]
async fn who_fetched_it_before_is_named_to_those_who_come_later() {
    let data = bytes(SIZE, 1);
    let origin = Node::with_blob(&data).await;
    let early = Node::start().await;
    let fetch = async |node: &Node| {
        let request = request(&[&data], &[&origin.endpoint()], &[]);
        let fetch = node.fetch(request, &CancellationToken::new());
        let fetched = tokio::time::timeout(DEADLINE, fetch.finish()).await;
        fetched.expect("the fetch ends").unwrap()
    };
    let alone = fetch(&early).await;
    assert_eq!(alone.providers.len(), 1);

    // From now on the origin can give all but one part; who has that one, only the origin can say.
    let blob = wanted(&data).blake3;
    let mut file = std::fs::read(origin.data_file(blob)).unwrap();
    file[2_000_000] ^= 1;
    std::fs::write(origin.data_file(blob), file).unwrap();

    let late = Node::start().await;
    let fetched = fetch(&late).await;
    let peer = &fetched.providers[1];
    assert_eq!(
        (peer.id, peer.kind),
        (early.endpoint().id, ProviderKind::Peer)
    );
    assert!(peer.bytes >= 64 * 1024, "{fetched:?}");
    assert_eq!(late.read(blob, SIZE as u64).await.unwrap(), data);
}

#[tokio::test]
async fn who_does_not_share_is_not_named() {
    let data = bytes(SIZE, 2);
    let origin = Node::with_blob(&data).await;
    let quiet = Node::start().await;
    let (refusing, paused) = (Node::start().await, Node::start().await);
    refusing.refuse_uploads([tag("fetched")]);
    paused.limit_uploads(UploadLimits {
        is_paused: true,
        ..UploadLimits::default()
    });
    let late = Node::start().await;
    for (node, share) in [
        (&quiet, false),
        (&refusing, true),
        (&paused, true),
        (&late, true),
    ] {
        let mut request = request(&[&data], &[&origin.endpoint()], &[]);
        request.share = share;
        let fetch = node.fetch(request, &CancellationToken::new());
        let fetched = tokio::time::timeout(DEADLINE, fetch.finish()).await;
        let fetched = fetched.expect("the fetch ends").unwrap();
        assert_eq!(fetched.providers.len(), 1, "{fetched:?}");
    }
}
