//! Who gets what: only shared blobs, only by hash, never anything written from outside.

use archy_registry::Blake3Hash;
use archy_swarm::{ProbeError, ProvideError, ReadError};
use iroh::endpoint::{Connection, presets};
use iroh_blobs::Hash;
use iroh_blobs::protocol::{ChunkRangesSeq, GetManyRequest, GetRequest, PushRequest};
use iroh_blobs::store::mem::MemStore;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Fault, Node, bad_peer, bytes, dead, request, tag, wanted};

const SIZE: usize = 200_000;

/// A foreign client with a store of its own.
pub(crate) async fn stranger(node: &Node) -> (iroh::Endpoint, MemStore, Connection) {
    let endpoint = iroh::Endpoint::builder(presets::Minimal)
        .relay_mode(iroh::RelayMode::Disabled)
        .bind()
        .await
        .unwrap();
    let to = node.endpoint();
    let key = iroh::PublicKey::from_bytes(to.id.as_bytes()).unwrap();
    let addr = iroh::EndpointAddr::new(key).with_ip_addr(to.addresses[0]);
    let connection = endpoint.connect(addr, iroh_blobs::ALPN).await.unwrap();
    (endpoint, MemStore::new(), connection)
}

fn hash(data: &[u8]) -> Hash {
    Hash::new(data)
}

#[tokio::test]
async fn knowing_a_hash_is_not_enough() {
    let (public, private) = (bytes(SIZE, 1), bytes(SIZE, 2));
    let node = Node::with_blob(&public).await;
    let source = Node::with_blob(&private).await;
    let mut fetch = request(&[&private], &[&source.endpoint()], &[]);
    fetch.share = false;
    node.fetch(fetch, &CancellationToken::new())
        .finish()
        .await
        .unwrap();
    assert!(node.has(wanted(&private).blake3).await.unwrap());
    assert!(!node.serves(wanted(&private).blake3));

    let (_endpoint, store, connection) = stranger(&node).await;
    let remote = store.remote();
    let get = |hash| remote.execute_get(connection.clone(), GetRequest::blob(hash));
    get(hash(&public)).await.unwrap();
    get(hash(&private)).await.unwrap_err();

    // Both together, as a list and through a blob that names them.
    let many = |hashes: Vec<Hash>| {
        let count = hashes.len();
        let ranges = ChunkRangesSeq::from_ranges_infinite(vec![
            iroh_blobs::protocol::ChunkRanges::all();
            count
        ]);
        remote.execute_get_many(connection.clone(), GetManyRequest::new(hashes, ranges))
    };
    many(vec![hash(&public)]).await.unwrap_err();
    many(vec![hash(&public), hash(&private)]).await.unwrap_err();
    let list: Vec<u8> = [hash(&public), hash(&private)]
        .iter()
        .flat_map(|hash| *hash.as_bytes())
        .collect();
    node.provide(&tag("list"), &list[..], None).await.unwrap();
    remote
        .execute_get(connection.clone(), GetRequest::all(hash(&list)))
        .await
        .unwrap_err();

    // Shared and withdrawn.
    node.share(&tag("fetched"), true).await.unwrap();
    get(hash(&private)).await.unwrap();
    node.withdraw(&tag("fetched")).await.unwrap();
    get(hash(&private)).await.unwrap_err();
    assert!(node.status().requests_refused >= 3);
    assert!(node.status().bytes_served >= SIZE as u64);
}

#[tokio::test]
async fn nothing_is_written_from_outside() {
    let node = Node::start().await;
    let (_endpoint, store, connection) = stranger(&node).await;
    let data = bytes(SIZE, 3);
    store.add_slice(&data).await.unwrap();
    let push = PushRequest::new(hash(&data), ChunkRangesSeq::root());
    // The refusal may come after the last byte was sent, so only the outcome counts.
    store.remote().execute_push(connection, push).await.ok();
    assert!(!node.has(wanted(&data).blake3).await.unwrap());
}

#[tokio::test]
async fn a_half_fetched_blob_is_not_served() {
    let data = bytes(3_000_000, 4);
    let peer = bad_peer(&[&data], Fault::StallsAfter(2_000_000)).await;
    let node = Node::start().await;
    node.fetch(
        request(&[&data], &[&peer.endpoint()], &[]),
        &CancellationToken::new(),
    )
    .finish()
    .await
    .unwrap_err();
    let (_endpoint, store, connection) = stranger(&node).await;
    store
        .remote()
        .execute_get(connection, GetRequest::blob(hash(&data)))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_probe_proves_serving() {
    let data = bytes(SIZE, 5);
    let blob = wanted(&data).blake3;
    let node = Node::with_blob(&data).await;
    let asker = Node::start().await;
    assert_eq!(asker.probe(&node.endpoint(), blob).await, Ok(SIZE as u64));
    // A node can ask itself, too.
    assert_eq!(node.probe(&node.endpoint(), blob).await, Ok(SIZE as u64));
    let other = Blake3Hash::of(b"other");
    assert_eq!(
        asker.probe(&node.endpoint(), other).await,
        Err(ProbeError::NotServed {
            endpoint: node.endpoint().id,
            blake3: other
        })
    );
    assert!(matches!(
        asker.probe(&dead(), blob).await,
        Err(ProbeError::Unreachable { .. })
    ));
    let liar = bad_peer(&[&data], Fault::Claims(1)).await;
    assert!(matches!(
        asker.probe(&liar.endpoint(), blob).await,
        Err(ProbeError::Unproven { .. })
    ));
}

#[tokio::test]
async fn what_is_provided_must_be_what_was_announced() {
    let node = Node::start().await;
    let data = bytes(SIZE, 6);
    let expected = Blake3Hash::of(b"something else");
    let error = node
        .provide(&tag("a"), &data[..], Some(expected))
        .await
        .unwrap_err();
    assert!(matches!(error, ProvideError::WrongHash { .. }), "{error}");
    assert!(node.tags().is_empty());
    assert!(!node.serves(wanted(&data).blake3));

    let provided = node
        .provide(&tag("a"), &data[..], Some(wanted(&data).blake3))
        .await
        .unwrap();
    assert_eq!(provided.size_bytes, SIZE as u64);
    assert!(matches!(
        node.read(provided.blake3, 1000).await,
        Err(ReadError::TooLarge { .. })
    ));
    assert!(matches!(
        node.read(expected, 1000).await,
        Err(ReadError::Absent { .. })
    ));
    assert_eq!(
        node.adopt(&tag("b"), provided.blake3).await.unwrap(),
        Some(provided)
    );
    assert_eq!(node.adopt(&tag("b"), expected).await.unwrap(), None);
}

#[tokio::test]
async fn tags_survive_a_restart_and_space_is_freed_without_them() {
    let temp = tempfile::tempdir().unwrap();
    let (kept, dropped) = (bytes(SIZE, 7), bytes(SIZE, 8));
    let quick = |config: &mut archy_swarm::Config| {
        config.gc_interval = std::time::Duration::from_millis(50);
    };
    let node = Node::start_in(temp.path(), quick).await;
    let id = node.endpoint().id;
    node.provide(&tag("kept"), &kept[..], None).await.unwrap();
    node.provide(&tag("dropped"), &dropped[..], None)
        .await
        .unwrap();
    node.shutdown().await;

    let node = Node::start_in(temp.path(), quick).await;
    assert_eq!(node.endpoint().id, id);
    assert_eq!(node.tags().len(), 2);
    assert!(node.serves(wanted(&kept).blake3));
    assert_eq!(node.withdraw(&tag("dropped")).await.unwrap(), 1);
    let gone = async {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
        while node.has(wanted(&dropped).blake3).await.unwrap()
            || node.data_file(wanted(&dropped).blake3).exists()
        {
            tick.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
    assert!(node.has(wanted(&kept).blake3).await.unwrap());
    let status = node.status();
    assert_eq!((status.blobs, status.blob_bytes), (1, SIZE as u64));
}

#[tokio::test]
async fn a_store_is_used_by_one_node_at_a_time() {
    let node = Node::start().await;
    let second =
        archy_swarm::Swarm::start(crate::support::config(&node.dir), CancellationToken::new());
    let error = second.await.unwrap_err().to_string();
    assert!(error.contains("is another archyd using it?"), "{error}");
}
