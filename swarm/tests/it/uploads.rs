//! What a node gives away: to many in turn, within its owner's limits, and not to those who only hold a place.

use std::num::NonZeroU64;

use archy_swarm::{Class, Config, FetchError, Patience, UploadLimits};
use futures_util::future::join_all;
use iroh_blobs::Hash;
use iroh_blobs::get::fsm::{self, AtConnected, BlobContentNext, ConnectedNext};
use iroh_blobs::protocol::GetRequest;
use tokio_util::sync::CancellationToken;

use crate::access::stranger;
use crate::support::{Node, bytes, request, tag, wanted};

/// A node that has a blob that somebody else published.
async fn peer_with(data: &[u8]) -> Node {
    let node = Node::with_blob(data).await;
    node.set_class(&tag("test"), Class::Cache).await.unwrap();
    node
}

const PAUSED: UploadLimits = UploadLimits {
    is_paused: true,
    bytes_per_second: None,
    peer_bytes_per_second: None,
};

#[tokio::test]
async fn many_are_served_in_turn() {
    let data = bytes(3_000_000, 1);
    let node = Node::with_blob(&data).await;
    let here = node.endpoint();
    // Two dozen nodes on one machine are slow for reasons of their own.
    let patient = |config: &mut Config| config.patience = Patience::default();
    let fetchers = join_all((0..24).map(|_| Node::start_with(patient))).await;
    let fetches = fetchers.iter().map(|fetcher| {
        let mut request = request(&[&data], &[&here], &[]);
        // Nobody else helps.
        request.share = false;
        fetcher.fetch(request, &CancellationToken::new()).finish()
    });
    for fetched in join_all(fetches).await {
        fetched.unwrap();
    }
    assert_eq!(node.status().requests_active, 0);
}

#[tokio::test]
async fn a_paused_node_gives_nothing_until_it_goes_on() {
    let data = bytes(3_000_000, 2);
    let (node, fetcher) = (peer_with(&data).await, Node::start().await);
    let fetch = async || {
        let request = request(&[&data], &[], &[&node.endpoint()]);
        fetcher
            .fetch(request, &CancellationToken::new())
            .finish()
            .await
    };
    node.limit_uploads(PAUSED);
    assert!(matches!(fetch().await, Err(FetchError::Exhausted { .. })));
    assert_eq!(node.status().bytes_served, 0);
    assert_eq!(node.status().upload_limits, PAUSED);
    node.limit_uploads(UploadLimits::default());
    fetch().await.unwrap();
}

#[tokio::test]
async fn a_limit_sends_fetchers_away_and_they_come_back() {
    let data = bytes(1_000_000, 3);
    let (node, fetcher) = (peer_with(&data).await, Node::start().await);
    node.limit_uploads(UploadLimits {
        is_paused: false,
        bytes_per_second: NonZeroU64::new(200_000),
        peer_bytes_per_second: None,
    });
    let request = request(&[&data], &[&node.endpoint()], &[]);
    let fetch = fetcher.fetch(request, &CancellationToken::new());
    fetch.finish().await.unwrap();
    assert!(node.status().requests_refused > 0);
}

#[tokio::test]
async fn those_who_ask_and_never_read_keep_nobody_waiting() {
    let data = bytes(8_000_000, 4);
    let node = Node::with_blob(&data).await;
    let (_endpoint, _store, connection) = stranger(&node).await;
    let mut held: Vec<AtConnected> = Vec::new();
    for _ in 0..16 {
        let request = GetRequest::blob(Hash::new(&data));
        let ask = fsm::start(connection.clone(), request, Default::default());
        held.push(ask.next().await.unwrap());
    }
    let fetcher = Node::start().await;
    let mut request = request(&[&data], &[&node.endpoint()], &[]);
    request.share = false;
    let fetch = fetcher.fetch(request, &CancellationToken::new());
    fetch.finish().await.unwrap();
    assert!(fetcher.has(wanted(&data).blake3).await.unwrap());
    drop(held);
}

#[tokio::test]
async fn what_a_node_is_the_origin_of_knows_no_limit() {
    let data = bytes(3_000_000, 5);
    let (node, fetcher) = (Node::with_blob(&data).await, Node::start().await);
    node.limit_uploads(UploadLimits {
        is_paused: true,
        bytes_per_second: NonZeroU64::new(1),
        peer_bytes_per_second: NonZeroU64::new(1),
    });
    let request = request(&[&data], &[&node.endpoint()], &[]);
    let fetch = fetcher.fetch(request, &CancellationToken::new());
    fetch.finish().await.unwrap();
    assert_eq!(node.status().requests_refused, 0);
}

#[tokio::test]
async fn a_tag_that_is_refused_is_not_here_until_it_is_served_again() {
    let (data, published) = (bytes(3_000_000, 6), bytes(300_000, 7));
    let (node, fetcher) = (Node::start().await, Node::start().await);
    for (name, data, class) in [
        ("app/notes/1", &data, Class::Installed),
        ("release/notes/1", &published, Class::Publishing),
    ] {
        node.provide(&tag(name), &data[..], None).await.unwrap();
        node.set_class(&tag(name), class).await.unwrap();
    }
    let here = node.endpoint();
    let fetch = async |data: &[u8]| {
        let request = request(&[data], &[], &[&here]);
        fetcher
            .fetch(request, &CancellationToken::new())
            .finish()
            .await
    };
    node.refuse_uploads([tag("app/notes"), tag("release/notes")]);
    let Err(FetchError::Exhausted { providers, .. }) = fetch(&data).await else {
        panic!("it gave away what its owner switched off");
    };
    // Whoever has nothing to give is at no fault.
    let said = &providers[0];
    assert_eq!((said.bytes, said.lied, said.damaged), (0, false, false));
    assert!(said.failures.is_empty(), "{said}");
    assert!(!node.serves(wanted(&data).blake3));
    assert_eq!(node.uploaded(&tag("app/notes/1")), 0);
    // A publisher serves what it published, whatever else holds.
    node.limit_uploads(PAUSED);
    fetch(&published).await.unwrap();
    node.limit_uploads(UploadLimits::default());

    let mut counted = node.watch_uploads();
    node.refuse_uploads([]);
    fetch(&data).await.unwrap();
    let all = (data.len() + published.len()) as u64;
    counted.wait_for(|sum| *sum >= all).await.unwrap();
    let mut uploads = node.uploads();
    uploads.sort();
    assert_eq!(
        uploads,
        [
            (tag("app/notes/1"), data.len() as u64),
            (tag("release/notes/1"), published.len() as u64)
        ]
    );
}

#[tokio::test]
async fn a_pause_breaks_off_what_is_being_sent() {
    // More than fits on the way: it cannot be sent to its end before anybody reads it.
    let data = bytes(48_000_000, 8);
    let node = peer_with(&data).await;
    let (_endpoint, _store, connection) = stranger(&node).await;
    let ask = fsm::start(
        connection,
        GetRequest::blob(Hash::new(&data)),
        Default::default(),
    );
    let ConnectedNext::StartRoot(start) = ask.next().await.unwrap().next().await.unwrap() else {
        panic!("a request for a blob begins with it");
    };
    let (mut content, size) = start.next().next().await.unwrap();
    assert_eq!(size, data.len() as u64);
    node.limit_uploads(PAUSED);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(5));
    while node.status().requests_active > 0 {
        tick.tick().await;
    }
    loop {
        content = match content.next().await {
            BlobContentNext::More((_, Err(_))) => break,
            BlobContentNext::More((content, Ok(_))) => content,
            BlobContentNext::Done(_) => panic!("it went on as if nothing had been said"),
        };
    }
    assert!(node.uploaded(&tag("test")) < data.len() as u64);
}
