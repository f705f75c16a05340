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

#[tokio::test]
async fn several_ranges_come_in_one_answer_in_the_order_asked_for_also_while_they_arrive() {
    let data = bytes(SIZE, 3);
    let origin = Node::with_blob(&data).await;
    let node = Node::start().await;
    let layer = layer(&data);
    node.oci().serve("demo", [&layer]).unwrap();
    let ranges = "Range: bytes=3000000-3000009,0-1,1000000-1999999,-3\r\n";
    let (head, mut early) = get(&node, &layer, ranges).await;
    let running = fetch(&node, request(&[&data], &[&origin.endpoint()], &[]));
    let mut body = Vec::new();
    let read = tokio::time::timeout(DEADLINE, early.read_to_end(&mut body));
    read.await.unwrap().unwrap();
    running.finish().await.unwrap();
    let (late_head, mut late) = get(&node, &layer, ranges).await;
    let mut late_body = Vec::new();
    late.read_to_end(&mut late_body).await.unwrap();
    for (head, body) in [(head, body), (late_head, late_body)] {
        assert!(head.starts_with("HTTP/1.1 206"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
        let boundary = head
            .split_once("multipart/byteranges; boundary=")
            .unwrap()
            .1;
        let boundary = boundary.lines().next().unwrap();
        let mut expected = Vec::new();
        for part in [
            3_000_000..3_000_010,
            0..2,
            1_000_000..2_000_000,
            SIZE - 3..SIZE,
        ] {
            let range = format!("bytes {}-{}/{SIZE}", part.start, part.end - 1);
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {range}\r\n\r\n"
            );
            expected.extend_from_slice(head.as_bytes());
            expected.extend_from_slice(&data[part]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(body == expected, "parts and frame are as asked for");
    }
}
