//! Nodes that fetch the same find each other through the node that serves it.

use std::net::SocketAddr;
use std::time::Duration;

use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;
use archy_swarm::{Config, Fetched, ProviderKind, UploadLimits};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Node, bytes, request, tag, until, wanted};

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

/// An origin that began anew, so that it knows nobody, and lacks a part of what it publishes.
struct Amnesiac {
    node: Node,
    _dir: tempfile::TempDir,
}

impl Amnesiac {
    /// Publishes at an address that no other test uses, is fetched from by everybody in turn, and then forgets them.
    async fn after_fetches(address: &str, data: &[u8], by: &[&Node]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |address: SocketAddr| move |config: &mut Config| config.bind = vec![address];
        let node =
            Node::start_in(dir.path(), at(SocketAddr::new(address.parse().unwrap(), 0))).await;
        node.provide(&tag("test"), data, None).await.unwrap();
        let address = node.endpoint().addresses[0];
        for node_of_them in by {
            let request = request(&[data], &[&node.endpoint()], &[]);
            let fetch = node_of_them.fetch(request, &CancellationToken::new());
            let fetched = tokio::time::timeout(DEADLINE, fetch.finish()).await;
            fetched.expect("the fetch ends").unwrap();
        }
        node.shutdown().await;
        let file = node.data_file(wanted(data).blake3);
        drop(node);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[2_000_000] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        until(async || std::net::UdpSocket::bind(address).is_ok()).await;
        let node = Node::start_in(dir.path(), at(address)).await;
        Self { node, _dir: dir }
    }
}

/// Fetches again and again, until it can be had.
async fn fetch_at_last(node: &Node, data: &[u8], origin: &Endpoint) -> Fetched {
    let trying = async {
        loop {
            let request = request(&[data], &[origin], &[]);
            let fetch = node.fetch(request, &CancellationToken::new());
            if let Ok(fetched) = fetch.finish().await {
                return fetched;
            }
        }
    };
    let fetched = tokio::time::timeout(DEADLINE, trying).await;
    fetched.expect("somebody has all of it")
}

fn gave(fetched: &Fetched) -> Vec<EndpointId> {
    let peers = fetched.providers.iter();
    let gave = peers.filter(|report| report.kind == ProviderKind::Peer && report.bytes > 0);
    gave.map(|report| report.id).collect()
}

fn tells_often(config: &mut Config) {
    config.announce_interval = Duration::from_millis(40);
}

#[tokio::test]
async fn an_origin_that_forgot_everybody_is_told_again_who_seeds() {
    let data = bytes(SIZE, 3);
    let seeder = Node::start_with(tells_often).await;
    let origin = Amnesiac::after_fetches("127.0.3.1", &data, &[&seeder]).await;
    let late = Node::start().await;
    let fetched = fetch_at_last(&late, &data, &origin.node.endpoint()).await;
    assert_eq!(gave(&fetched), [seeder.endpoint().id]);
}

#[tokio::test]
async fn a_seeder_that_began_anew_tells_whom_it_is_told_to() {
    let data = bytes(SIZE, 4);
    let dir = tempfile::tempdir().unwrap();
    let seeder = Node::start_in(dir.path(), |_| {}).await;
    let origin = Amnesiac::after_fetches("127.0.3.2", &data, &[&seeder]).await;
    seeder.shutdown().await;
    let seeder = Node::start_in(dir.path(), tells_often).await;
    let origin = origin.node.endpoint();
    seeder.seed(&tag("fetched"), std::slice::from_ref(&origin));
    let late = Node::start().await;
    let fetched = fetch_at_last(&late, &data, &origin).await;
    assert_eq!(gave(&fetched), [seeder.endpoint().id]);
}

#[tokio::test]
async fn who_withdraws_it_is_named_no_more() {
    let data = bytes(SIZE, 6);
    let seeder = Node::start_with(tells_often).await;
    let origin = Amnesiac::after_fetches("127.0.3.4", &data, &[&seeder]).await;
    let (at, who) = (origin.node.endpoint(), seeder.endpoint());
    until(async || is_named(&at, &data, &who).await).await;
    seeder.withdraw(&tag("fetched")).await.unwrap();
    // Who is not told forgets it after ten minutes.
    until(async || !is_named(&at, &data, &who).await).await;
}

/// Tells whether a node that fetches from an origin hears of a seeder there.
async fn is_named(origin: &Endpoint, data: &[u8], seeder: &Endpoint) -> bool {
    let node = Node::start().await;
    let mut request = request(&[data], &[origin], &[]);
    request.share = false;
    let fetch = node.fetch(request, &CancellationToken::new());
    let fetched = tokio::time::timeout(DEADLINE, fetch.finish()).await;
    let asked: Vec<EndpointId> = match fetched.expect("the fetch ends") {
        Ok(fetched) => fetched.providers.iter().map(|report| report.id).collect(),
        Err(error) => error.providers().iter().map(|report| report.id).collect(),
    };
    asked.contains(&seeder.id)
}

#[tokio::test]
async fn a_seeder_whose_uploads_are_paused_keeps_quiet_until_they_go_on() {
    let data = bytes(SIZE, 5);
    let rarely = |config: &mut Config| config.announce_interval = Duration::from_millis(800);
    let paused = Node::start_with(tells_often).await;
    let limits = UploadLimits::default();
    paused.limit_uploads(UploadLimits {
        is_paused: true,
        ..limits
    });
    let other = Node::start_with(rarely).await;
    let origin = Amnesiac::after_fetches("127.0.3.3", &data, &[&paused, &other]).await;
    let endpoint = origin.node.endpoint();
    let late = Node::start().await;
    let fetched = fetch_at_last(&late, &data, &endpoint).await;
    assert_eq!(gave(&fetched), [other.endpoint().id]);
    other.shutdown().await;
    paused.limit_uploads(limits);
    let last = Node::start().await;
    let named = async {
        loop {
            let fetched = fetch_at_last(&last, &data, &endpoint).await;
            if gave(&fetched).contains(&paused.endpoint().id) {
                return;
            }
            last.withdraw(&tag("fetched")).await.unwrap();
            last.collect().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, named)
        .await
        .expect("the seeder speaks up");
}
