//! The loopback registry hands images over while they still arrive.

use archy_registry::OciDigest;
use archy_registry::release::Descriptor;
use archy_swarm::FetchRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Fault, Node, bad_peer, bytes, request, wanted};

const SIZE: usize = 3 * 1024 * 1024 + 17;

/// A layer with these bytes.
fn layer(data: &[u8]) -> Descriptor {
    Descriptor {
        digest: OciDigest::from_sha256([7; 32]),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        size_bytes: data.len() as u64,
        blake3: wanted(data).blake3,
        diff_id: None,
    }
}

/// Asks for a blob and reads the head of the answer.
async fn get(node: &Node, layer: &Descriptor, range: &str) -> (String, TcpStream) {
    let reference = node.oci().reference("demo", &layer.digest);
    let (path, _) = reference.split_once("/demo").unwrap();
    let secret = path.split_once('/').unwrap().1;
    let path = format!("/v2/{secret}/demo/blobs/{}", layer.digest);
    let mut stream = TcpStream::connect(node.oci().address()).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{range}\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap(), stream)
}

fn fetch(node: &Node, request: FetchRequest) -> archy_swarm::Fetch {
    node.fetch(request, &CancellationToken::new())
}

#[tokio::test]
async fn bytes_are_handed_over_while_others_are_missing_and_withdrawing_breaks_off() {
    let data = bytes(SIZE, 1);
    let half = bad_peer(&[&data], Fault::StallsAfter(2_000_000)).await;
    let node = Node::start_with(|config| config.patience.stall = DEADLINE).await;
    let layer = layer(&data);
    node.oci().serve("demo", [&layer]).unwrap();
    let (head, mut stream) = get(&node, &layer, "").await;
    assert!(head.contains(&format!("content-length: {SIZE}")), "{head}");
    let running = fetch(&node, request(&[&data], &[&half.endpoint()], &[]));
    let mut first = vec![0; 500_000];
    let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut first));
    read.await
        .expect("bytes come before the fetch ends")
        .unwrap();
    assert_eq!(first, data[..500_000]);
    assert!(!node.has(wanted(&data).blake3).await.unwrap());
    node.oci().withdraw("demo");
    let mut rest = Vec::new();
    let end = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
    end.expect("the answer breaks off").ok();
    assert!(rest.len() < SIZE - 500_000, "it is no whole answer");
    drop(running);
}

#[tokio::test]
async fn whole_and_partial_reads_that_began_before_the_fetch_are_right() {
    let data = bytes(SIZE, 2);
    let origin = Node::with_blob(&data).await;
    let node = Node::start().await;
    let layer = layer(&data);
    node.oci().serve("demo", [&layer]).unwrap();
    let (_, mut whole) = get(&node, &layer, "").await;
    let (head, mut part) = get(&node, &layer, "Range: bytes=1000000-2999999\r\n").await;
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    let running = fetch(&node, request(&[&data], &[&origin.endpoint()], &[]));
    let read = async {
        let (mut all, mut some) = (Vec::new(), Vec::new());
        whole.read_to_end(&mut all).await.unwrap();
        part.read_to_end(&mut some).await.unwrap();
        (all, some)
    };
    let (all, some) = tokio::time::timeout(DEADLINE, read).await.unwrap();
    assert!(all == data && some == data[1_000_000..3_000_000]);
    running.finish().await.unwrap();
}
