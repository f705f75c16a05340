//! A fetch ends well while anyone has the bytes, and says who did what when nobody does.

use std::time::Duration;

use archy_swarm::{FetchError, Fetched, ProviderKind, Wanted};
use tokio_util::sync::CancellationToken;

use crate::support::{BadPeer, DEADLINE, Fault, Node, bad_peer, bytes, dead, request, tag, wanted};

const SIZE: usize = 3 * 1024 * 1024 + 17;

async fn fetch(node: &Node, request: archy_swarm::FetchRequest) -> Result<Fetched, FetchError> {
    let fetch = node.fetch(request, &CancellationToken::new());
    tokio::time::timeout(DEADLINE, fetch.finish())
        .await
        .expect("the fetch ends")
}

/// Replaces what differs from run to run.
fn stable(error: &FetchError) -> String {
    let mut text = error.to_string();
    for (n, provider) in error.providers().iter().enumerate() {
        text = text.replace(&provider.id.to_string(), &format!("<{}>", n + 1));
    }
    text
}

#[tokio::test]
async fn blobs_of_every_size_come_from_the_origin() {
    let data: Vec<Vec<u8>> = [0, 1, 1024, 16 * 1024, 16 * 1024 + 1, 100_000, SIZE]
        .iter()
        .zip(1..)
        .map(|(len, seed)| bytes(*len, seed))
        .collect();
    let origin = Node::start().await;
    for data in &data {
        let provided = origin.provide(&tag("a"), &data[..], None).await.unwrap();
        assert_eq!(provided.blake3, wanted(data).blake3);
    }
    let node = Node::start().await;
    let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let request = request(&slices, &[&origin.endpoint()], &[]);
    let running = node.fetch(request, &CancellationToken::new());
    let progress = running.progress();
    let fetched = running.finish().await.unwrap();
    for data in &data {
        let read = node.read(wanted(data).blake3, SIZE as u64).await.unwrap();
        assert_eq!(read, data);
    }
    let total: u64 = data.iter().map(|data| data.len() as u64).sum();
    assert_eq!(fetched.bytes_total, total);
    assert_eq!(fetched.providers[0].kind, ProviderKind::Origin);
    assert_eq!(fetched.providers[0].bytes, total);
    let last = progress.borrow().clone();
    assert_eq!((last.bytes_done, last.bytes_total), (total, total));
    assert_eq!((last.blobs_done, last.blobs_total), (7, 7));
    assert_eq!(last.providers[0].bytes, total);
}

#[tokio::test]
async fn a_peer_stands_in_for_a_dead_origin() {
    let data = bytes(SIZE, 1);
    let peer = Node::with_blob(&data).await;
    let node = Node::start().await;
    let fetched = fetch(&node, request(&[&data], &[&dead()], &[&peer.endpoint()]))
        .await
        .unwrap();
    assert_eq!(fetched.providers[1].bytes, SIZE as u64);
}

#[tokio::test]
async fn configured_peers_are_asked_too() {
    let data = bytes(SIZE, 2);
    let peer = Node::with_blob(&data).await;
    let endpoint = peer.endpoint();
    let node = Node::start_with(|config| config.peers = vec![endpoint]).await;
    fetch(&node, request(&[&data], &[], &[])).await.unwrap();
}

#[tokio::test]
async fn one_good_provider_is_enough_among_every_kind_of_bad_one() {
    let data = bytes(SIZE, 3);
    let good = Node::with_blob(&data).await;
    let empty = Node::start().await;
    let faults = [
        Fault::Silent,
        Fault::StallsAfter(1_000_000),
        Fault::Lies(2_000_000),
        Fault::Lies(20),
        Fault::Claims(u64::MAX),
        Fault::HangsUp,
    ];
    let mut bad = Vec::new();
    for fault in faults {
        bad.push(bad_peer(&[&data], fault).await);
    }
    let mut peers: Vec<_> = bad.iter().map(BadPeer::endpoint).collect();
    peers.push(dead());
    peers.push(empty.endpoint());
    peers.push(good.endpoint());
    let peers: Vec<_> = peers.iter().collect();
    let node = Node::start().await;
    let fetched = fetch(&node, request(&[&data], &[], &peers)).await.unwrap();
    assert_eq!(fetched.bytes_total, SIZE as u64);
    let read = node.read(wanted(&data).blake3, SIZE as u64).await.unwrap();
    assert_eq!(read, data);
}

#[tokio::test]
async fn each_failure_is_told_apart() {
    // No longer than one request: which of several meets a stall would be chance.
    let data = bytes(200 * 1024, 4);
    let faults = [
        (Fault::Silent, Duration::from_millis(400)),
        (Fault::StallsAfter(100_000), Duration::from_secs(3)),
        (Fault::Lies(20), DEADLINE),
        (Fault::Claims(u64::MAX), DEADLINE),
    ];
    let mut messages = Vec::new();
    for (fault, stall) in faults {
        let peer = bad_peer(&[&data], fault).await;
        let node = Node::start_with(|config| {
            config.patience.attempts_max = 2;
            config.patience.connect = DEADLINE;
            config.patience.stall = stall;
        });
        let request = request(&[&data], &[&peer.endpoint()], &[]);
        let error = fetch(&node.await, request).await.unwrap_err();
        messages.push(stable(&error));
    }
    let empty = Node::start().await;
    let node = Node::start_with(|config| {
        config.patience.attempts_max = 1;
        config.patience.connect = Duration::from_secs(4);
        config.patience.stall = DEADLINE;
    })
    .await;
    let error = fetch(&node, request(&[&data], &[&empty.endpoint()], &[&dead()]))
        .await
        .unwrap_err();
    messages.push(stable(&error));
    let error = fetch(&node, request(&[&data], &[], &[])).await.unwrap_err();
    messages.push(stable(&error));
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[tokio::test]
async fn a_flipped_bit_on_a_peers_disk_never_arrives() {
    let data = bytes(SIZE, 5);
    let damaged = Node::with_blob(&data).await;
    let blob = wanted(&data).blake3;
    let mut file = std::fs::read(damaged.data_file(blob)).unwrap();
    file[2_000_000] ^= 0x10;
    std::fs::write(damaged.data_file(blob), file).unwrap();

    let node = Node::start().await;
    let error = fetch(&node, request(&[&data], &[], &[&damaged.endpoint()]))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&damaged.endpoint().id.to_string()), "{text}");
    let report = &error.providers()[0];
    assert!(report.damaged && !report.lied, "{report:?}");
    assert!(!node.has(blob).await.unwrap());

    let good = Node::with_blob(&data).await;
    let fetched = fetch(
        &node,
        request(&[&data], &[&good.endpoint()], &[&damaged.endpoint()]),
    )
    .await
    .unwrap();
    assert!(fetched.bytes_reused > 1_000_000, "{fetched:?}");
    assert_eq!(node.read(blob, SIZE as u64).await.unwrap(), data);
}

#[tokio::test]
async fn a_liar_is_named_and_not_asked_again() {
    let data: Vec<Vec<u8>> = (20..28).map(|seed| bytes(SIZE / 4, seed)).collect();
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let liar = bad_peer(&data, Fault::Lies(100_000)).await;
    let node = Node::start().await;
    let error = fetch(&node, request(&data, &[], &[&liar.endpoint()]))
        .await
        .unwrap_err();
    let report = &error.providers()[0];
    assert!(report.lied && !report.damaged, "{report:?}");
    assert_eq!(report.failures, ["sent bytes that do not match the hash"]);
    // No more than were under way when the first lie was found out.
    assert!(liar.requests() <= 4, "{} requests", liar.requests());

    let origin = Node::start().await;
    for data in &data {
        origin.provide(&tag("a"), *data, None).await.unwrap();
    }
    fetch(
        &node,
        request(&data, &[&origin.endpoint()], &[&liar.endpoint()]),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_wrong_size_in_the_request_is_found_out() {
    let data = bytes(SIZE, 8);
    let origin = Node::with_blob(&data).await;
    let node = Node::start().await;
    let mut short = request(&[&data], &[&origin.endpoint()], &[]);
    short.blobs = vec![Wanted {
        size_bytes: 1000,
        ..wanted(&data)
    }];
    let error = fetch(&node, short.clone()).await.unwrap_err();
    assert!(matches!(error, FetchError::Exhausted { .. }), "{error}");
    assert!(error.to_string().contains("instead of 1000"), "{error}");
    fetch(&node, request(&[&data], &[&origin.endpoint()], &[]))
        .await
        .unwrap();
    let error = fetch(&node, short).await.unwrap_err();
    assert!(matches!(error, FetchError::WrongSize { .. }), "{error}");
}

#[tokio::test]
async fn two_fetches_of_one_blob_transfer_it_once() {
    let data = bytes(SIZE, 9);
    let origin = Node::with_blob(&data).await;
    let node = Node::start().await;
    let one = request(&[&data], &[&origin.endpoint()], &[]);
    let mut other = one.clone();
    other.tag = tag("other");
    let (one, other) = tokio::join!(fetch(&node, one), fetch(&node, other));
    let sent = |fetched: &Fetched| fetched.providers.iter().map(|p| p.bytes).sum::<u64>();
    assert_eq!(sent(&one.unwrap()) + sent(&other.unwrap()), SIZE as u64);
}

#[tokio::test]
async fn a_cancelled_fetch_ends_at_once_and_keeps_its_bytes() {
    let data = bytes(SIZE, 10);
    let peer = bad_peer(&[&data], Fault::StallsAfter(2_000_000)).await;
    let node = Node::start_with(|config| config.patience.stall = DEADLINE).await;
    let cancel = CancellationToken::new();
    let running = node.fetch(request(&[&data], &[&peer.endpoint()], &[]), &cancel);
    let mut progress = running.progress();
    progress
        .wait_for(|progress| progress.bytes_done > 1_500_000)
        .await
        .unwrap();
    assert_eq!(node.status().fetches.len(), 1);
    cancel.cancel();
    assert!(matches!(running.finish().await, Err(FetchError::Cancelled)));
    assert!(node.status().fetches.is_empty());
    let good = Node::with_blob(&data).await;
    let fetched = fetch(&node, request(&[&data], &[&good.endpoint()], &[]))
        .await
        .unwrap();
    assert!(fetched.bytes_reused > 1_000_000, "{fetched:?}");
}

#[tokio::test]
async fn shutdown_ends_fetches() {
    let data = bytes(SIZE, 11);
    let peer = bad_peer(&[&data], Fault::Silent).await;
    let node = Node::start_with(|config| config.patience.stall = DEADLINE).await;
    let running = node.fetch(
        request(&[&data], &[&peer.endpoint()], &[]),
        &CancellationToken::new(),
    );
    tokio::time::timeout(DEADLINE, node.shutdown())
        .await
        .unwrap();
    assert!(matches!(running.finish().await, Err(FetchError::Cancelled)));
}
