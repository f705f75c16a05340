//! What providers say that they have: it is asked again when it was too little, and counts once it is proven.

use archy_swarm::{Fetch, Fetched, ProviderKind};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Fault, Node, bad_peer, bytes, request, tag, until, wanted};

const SIZE: usize = 4 * 1024 * 1024 + 3;

/// A node that waits for its providers as long as a test lasts, however slow the machine is.
async fn patient() -> Node {
    Node::start_with(|config| {
        config.patience.idle = DEADLINE;
        config.patience.stall = DEADLINE;
        config.patience.connect = DEADLINE;
    })
    .await
}

async fn end(fetch: Fetch) -> Fetched {
    let fetched = tokio::time::timeout(DEADLINE, fetch.finish()).await;
    fetched.expect("the fetch ends").unwrap()
}

#[tokio::test]
async fn an_origin_that_refused_is_asked_again_when_it_serves() {
    let data = bytes(SIZE, 1);
    let origin = Node::start().await;
    let node = patient().await;
    let request = request(&[&data], &[&origin.endpoint()], &[]);
    let fetch = node.fetch(request, &CancellationToken::new());
    until(async || origin.status().requests_refused > 0).await;
    origin.provide(&tag("late"), &data[..], None).await.unwrap();
    let fetched = end(fetch).await;
    assert_eq!(fetched.providers[0].bytes, SIZE as u64);
}

#[tokio::test]
async fn a_peer_that_refused_is_asked_again_when_it_serves() {
    let data = bytes(SIZE, 2);
    let peer = Node::with_blob(&data).await;
    peer.share(&tag("test"), false).await.unwrap();
    let node = patient().await;
    let request = request(&[&data], &[], &[&peer.endpoint()]);
    let fetch = node.fetch(request, &CancellationToken::new());
    // Once more than at first.
    until(async || peer.status().requests_refused > 1).await;
    peer.share(&tag("test"), true).await.unwrap();
    assert_eq!(end(fetch).await.providers[0].bytes, SIZE as u64);
}

/// Whether it is an origin, believed to have everything, or a peer, who is observed.
async fn a_part_and_then_the_rest(kind: ProviderKind, seed: u64) {
    let data = bytes(SIZE, seed);
    let source = bad_peer(&[&data], Fault::HasOnly(2_000_000)).await;
    let provider = patient().await;
    let first = request(&[&data], &[&source.endpoint()], &[]);
    let filling = provider.fetch(first, &CancellationToken::new());
    let part = filling.progress();
    until(async || part.borrow().bytes_done > 1_000_000).await;

    let node = patient().await;
    let endpoint = provider.endpoint();
    let only = [&endpoint];
    let request = match kind {
        ProviderKind::Origin => request(&[&data], &only, &[]),
        ProviderKind::Lan | ProviderKind::Peer => request(&[&data], &[], &only),
    };
    let fetch = node.fetch(request, &CancellationToken::new());
    // It has given what it has.
    let got = fetch.progress();
    until(async || got.borrow().bytes_done > 1_000_000).await;
    source.complete().await.unwrap();
    end(filling).await;
    let fetched = end(fetch).await;
    assert_eq!(fetched.providers[0].bytes, SIZE as u64, "{fetched:?}");
    let read = node.read(wanted(&data).blake3, SIZE as u64).await.unwrap();
    assert_eq!(read, data);
}

#[tokio::test]
async fn an_origin_that_had_a_part_is_asked_again_for_the_rest() {
    a_part_and_then_the_rest(ProviderKind::Origin, 3).await;
}

#[tokio::test]
async fn a_peer_that_had_a_part_is_asked_again_for_the_rest() {
    a_part_and_then_the_rest(ProviderKind::Peer, 4).await;
}

/// What it breaks off at lies in a piece of which it has the beginning: that it claims so much does not mean that
/// it has the rest, or never will.
#[tokio::test]
async fn an_origin_that_broke_off_within_a_piece_is_asked_again_for_the_rest() {
    let data = bytes(200 * 1024, 6);
    let origin = bad_peer(&[&data], Fault::HasOnly(112 * 1024)).await;
    let node = patient().await;
    let request = request(&[&data], &[&origin.endpoint()], &[]);
    let fetch = node.fetch(request, &CancellationToken::new());
    // First because it broke off, and then for what it gets.
    until(async || origin.observed() > 1).await;
    origin.complete().await.unwrap();
    let fetched = end(fetch).await;
    assert_eq!(fetched.providers[0].bytes, data.len() as u64, "{fetched:?}");
}

#[tokio::test]
async fn who_claims_what_it_does_not_have_does_not_count() {
    let data = bytes(SIZE, 5);
    let boaster = bad_peer(&[&data], Fault::Boasts).await;
    let origin = Node::with_blob(&data).await;
    let node = Node::start().await;
    let request = request(&[&data], &[&origin.endpoint()], &[&boaster.endpoint()]);
    let fetched = end(node.fetch(request, &CancellationToken::new())).await;
    let bytes: Vec<u64> = fetched
        .providers
        .iter()
        .map(|report| report.bytes)
        .collect();
    assert_eq!(bytes, [SIZE as u64, 0], "{fetched:?}");
    let attempts_max = archy_swarm::Patience::default().attempts_max as usize;
    assert!(boaster.requests() <= attempts_max, "{}", boaster.requests());
}
