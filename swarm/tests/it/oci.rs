//! The loopback registry, as a client that we did not write sees it.

use std::fmt::Write as _;
use std::path::Path;

use archy_registry::OciDigest;
use archy_registry::release::{Descriptor, Platform};
use archy_swarm::image::{ImageSource, Packed, pack};
use archy_swarm::{FetchRequest, Wanted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::layout::{Layout, mixed, numbered, skopeo};
use crate::support::{Node, tag};

pub(crate) async fn packed(layout: &Layout, work: &Path) -> Packed {
    packed_for("amd64", layout, work).await
}

pub(crate) async fn packed_for(architecture: &str, layout: &Layout, work: &Path) -> Packed {
    let source = ImageSource::OciLayout {
        dir: layout.dir().to_owned(),
        name: None,
    };
    pack(&source, &linux(architecture), work).await.unwrap()
}

fn linux(architecture: &str) -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
    }
}

/// A node that serves the image's blobs to others.
pub(crate) async fn publish(packed: &Packed) -> Node {
    let node = Node::start().await;
    provide(&node, packed).await;
    node
}

pub(crate) async fn provide(node: &Node, packed: &Packed) {
    for descriptor in packed.descriptors() {
        let reader = packed.open(descriptor).await.unwrap();
        node.provide(&tag("release"), reader, Some(descriptor.blake3))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_image_goes_all_the_way_with_its_digest() {
    let layout = mixed();
    let temp = tempfile::tempdir().unwrap();
    let packed = packed(&layout, temp.path()).await;
    let origin = publish(&packed).await;
    let node = Node::start().await;
    let request = FetchRequest {
        tag: tag("release"),
        class: archy_swarm::Class::Cache,
        blobs: packed.descriptors().map(Wanted::from).collect(),
        origin: vec![origin.endpoint()],
        peers: vec![],
        share: true,
    };
    let fetch = node.fetch(request, &CancellationToken::new());
    fetch.finish().await.unwrap();

    node.oci().serve("demo/web", packed.descriptors()).unwrap();
    let reference = node.oci().reference("demo/web", &packed.manifest.digest);
    let copy = temp.path().join("copy");
    let to = format!("oci:{}:copied", copy.display());
    let from = format!("docker://{reference}");
    skopeo(&[
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        &from,
        &to,
    ])
    .await;
    for descriptor in packed.descriptors() {
        let hex = descriptor.digest.to_hex();
        let ours = std::fs::read(layout.path(&descriptor.digest.to_string())).unwrap();
        let theirs = std::fs::read(copy.join("blobs/sha256").join(hex)).unwrap();
        assert_eq!(ours, theirs);
    }

    // Our own client for registries sees the same image there.
    let source = ImageSource::Registry {
        reference,
        login: None,
        plain_http: true,
    };
    let pulled = pack(&source, &linux("amd64"), temp.path()).await.unwrap();
    let all = |packed: &Packed| packed.descriptors().cloned().collect::<Vec<Descriptor>>();
    assert_eq!(all(&pulled), all(&packed));
}

/// Sends one request and returns status line, interesting headers and length of the body.
async fn ask(node: &Node, method: &str, path: &str, range: Option<&str>) -> String {
    let mut stream = TcpStream::connect(node.oci().address()).await.unwrap();
    let range = range.map_or(String::new(), |range| format!("Range: {range}\r\n"));
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{range}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let mut text = lines.next().unwrap().to_owned();
    let mut headers: Vec<&str> = lines
        .filter(|line| !line.starts_with("date") && !line.starts_with("connection"))
        .collect();
    headers.sort_unstable();
    for header in headers {
        write!(text, "\n  {header}").unwrap();
    }
    let body = &answer[end + 4..];
    write!(text, "\n  body: {} bytes", body.len()).unwrap();
    text
}

#[tokio::test]
async fn only_what_was_registered_is_served() {
    let layout = mixed();
    let temp = tempfile::tempdir().unwrap();
    let packed = packed(&layout, temp.path()).await;
    let node = publish(&packed).await;
    node.oci().serve("demo", packed.descriptors()).unwrap();
    let reference = node.oci().reference("demo", &packed.manifest.digest);
    let path = reference.split_once('/').unwrap().1;
    let secret = path.split_once('/').unwrap().0;
    let layer = packed.layers[1].digest;
    let absent = OciDigest::from_sha256([1; 32]);
    let manifest = packed.manifest.digest;
    let wrong = "0".repeat(secret.len());
    let requests = [
        ("GET", "/v2/".to_owned(), None),
        (
            "HEAD",
            format!("/v2/{secret}/demo/manifests/{manifest}"),
            None,
        ),
        (
            "GET",
            format!("/v2/{secret}/demo/manifests/{manifest}"),
            None,
        ),
        ("HEAD", format!("/v2/{secret}/demo/blobs/{layer}"), None),
        ("GET", format!("/v2/{secret}/demo/blobs/{layer}"), None),
        (
            "GET",
            format!("/v2/{secret}/demo/blobs/{layer}"),
            Some("bytes=100-199"),
        ),
        (
            "GET",
            format!("/v2/{secret}/demo/blobs/{layer}"),
            Some("bytes=399000-"),
        ),
        (
            "GET",
            format!("/v2/{secret}/demo/blobs/{layer}"),
            Some("bytes=9999999-"),
        ),
        ("GET", format!("/v2/{secret}/demo/blobs/{absent}"), None),
        ("GET", format!("/v2/{secret}/other/blobs/{layer}"), None),
        ("GET", format!("/v2/{wrong}/demo/blobs/{layer}"), None),
        ("GET", format!("/v2/demo/blobs/{layer}"), None),
        ("GET", format!("/v2/{secret}/demo/manifests/latest"), None),
        ("GET", "/v2/_catalog".to_owned(), None),
        ("GET", "/".to_owned(), None),
        (
            "PUT",
            format!("/v2/{secret}/demo/manifests/{manifest}"),
            None,
        ),
        ("POST", format!("/v2/{secret}/demo/blobs/uploads/"), None),
    ];
    let mut text = String::new();
    for (method, path, range) in requests {
        let answer = ask(&node, method, &path, range).await;
        let range = range.unwrap_or_default();
        writeln!(text, "{method} {path} {range}\n  {answer}\n").unwrap();
    }
    let text = text.replace(secret, "SECRET").replace(&wrong, "WRONG");
    insta::assert_snapshot!(numbered(&text));

    node.oci().withdraw("demo");
    let gone = format!("/v2/{secret}/demo/blobs/{layer}");
    assert!(
        ask(&node, "GET", &gone, None)
            .await
            .starts_with("HTTP/1.1 404")
    );
    node.oci()
        .serve("../demo", packed.descriptors())
        .unwrap_err();
}

#[tokio::test]
async fn two_starts_have_different_secrets() {
    let (one, other) = (Node::start().await, Node::start().await);
    let digest = OciDigest::from_sha256([1; 32]);
    let secret = |node: &Node| {
        let reference = node.oci().reference("a", &digest);
        reference.split('/').nth(1).unwrap().to_owned()
    };
    assert_ne!(secret(&one), secret(&other));
    assert_eq!(secret(&one).len(), 32);
}
