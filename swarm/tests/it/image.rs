//! Packing images from every source, and what is said of broken ones.

use std::collections::BTreeSet;
use std::path::Path;

use archy_registry::Blake3Hash;
use archy_registry::release::{Descriptor, Platform};
use archy_swarm::image::{ImageSource, PackError, Packed, pack, platforms};
use axum::response::IntoResponse;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::layout::{Family, Form, Layout, layer, mixed, named, numbered, sha256, skopeo};

fn amd64() -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
    }
}

fn from_layout(layout: &Layout, name: Option<&str>) -> ImageSource {
    ImageSource::OciLayout {
        dir: layout.dir().to_owned(),
        name: name.map(str::to_owned),
    }
}

fn from_archive(file: &Path) -> ImageSource {
    ImageSource::OciArchive {
        file: file.to_owned(),
        name: None,
    }
}

async fn packed(source: &ImageSource) -> Result<Packed, PackError> {
    let work = tempfile::tempdir().unwrap();
    pack(source, &amd64(), work.path()).await
}

fn described(packed: &Packed) -> Vec<Descriptor> {
    packed.descriptors().cloned().collect()
}

async fn contents(packed: &Packed, descriptor: &Descriptor) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = packed.open(descriptor).await.unwrap();
    reader.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// The message without what differs from run to run.
async fn refusal(source: &ImageSource) -> String {
    let error = packed(source).await.unwrap_err();
    let text = error.to_string();
    match source {
        ImageSource::OciLayout { dir, .. } => text.replace(dir.to_str().unwrap(), "DIR"),
        ImageSource::OciArchive { file, .. } => text.replace(file.to_str().unwrap(), "FILE"),
        ImageSource::Podman { socket, .. } => text.replace(socket.to_str().unwrap(), "SOCKET"),
        ImageSource::Registry { .. } => text,
    }
}

#[tokio::test]
async fn every_kind_of_layer_is_packed_byte_for_byte() {
    for family in [Family::Oci, Family::Docker] {
        let layout = Layout::new();
        let mut layers = vec![
            (layer("plain", 70_000, 1), Form::Plain),
            (layer("gzip", 300_000, 2), Form::Gzip),
        ];
        if family == Family::Oci {
            layers.push((layer("zstd", 300_000, 3), Form::Zstd));
        }
        let manifest = layout.image("amd64", family, &layers);
        layout.index(std::slice::from_ref(&manifest));
        let packed = packed(&from_layout(&layout, None)).await.unwrap();
        assert_eq!(packed.platform, amd64());
        assert_eq!(packed.manifest.digest.to_string(), manifest["digest"]);
        assert_eq!(packed.manifest.media_type, manifest["mediaType"]);
        for descriptor in packed.descriptors() {
            let stored = std::fs::read(layout.path(&descriptor.digest.to_string())).unwrap();
            assert_eq!(descriptor.digest.to_string(), sha256(&stored));
            assert_eq!(descriptor.blake3, Blake3Hash::of(&stored));
            assert_eq!(descriptor.size_bytes, stored.len() as u64);
            assert_eq!(contents(&packed, descriptor).await, stored);
        }
        let diff_ids: Vec<String> = packed
            .layers
            .iter()
            .map(|layer| layer.diff_id.unwrap().to_string())
            .collect();
        let expected: Vec<String> = layers.iter().map(|(tar, _)| sha256(tar)).collect();
        assert_eq!(diff_ids, expected);
    }
}

#[tokio::test]
async fn an_archive_gives_the_same_as_its_layout() {
    let layout = mixed();
    let expected = packed(&from_layout(&layout, None)).await.unwrap();
    let archive = layout.archive();
    let ours = packed(&from_archive(archive.path())).await.unwrap();
    assert_eq!(described(&ours), described(&expected));
    for descriptor in ours.descriptors() {
        let (one, other) = (
            contents(&ours, descriptor).await,
            contents(&expected, descriptor).await,
        );
        assert_eq!(one, other);
    }
}

#[tokio::test]
async fn archives_and_layouts_of_skopeo_are_understood() {
    let layout = mixed();
    let expected = packed(&from_layout(&layout, None)).await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let from = format!("oci:{}:demo:1", layout.dir().display());
    let archive = temp.path().join("image.tar");
    let to_archive = format!("oci-archive:{}", archive.display());
    skopeo(&["copy", "--preserve-digests", &from, &to_archive]).await;
    let theirs = packed(&from_archive(&archive)).await.unwrap();
    assert_eq!(described(&theirs), described(&expected));

    let copy = temp.path().join("copy");
    let to_layout = format!("oci:{}:other", copy.display());
    skopeo(&["copy", "--preserve-digests", &from, &to_layout]).await;
    let source = ImageSource::OciLayout {
        dir: copy,
        name: Some("other".to_owned()),
    };
    let theirs = packed(&source).await.unwrap();
    assert_eq!(described(&theirs), described(&expected));
}

#[tokio::test]
async fn the_image_for_the_platform_is_found_through_indexes() {
    let layout = Layout::new();
    let one = |seed| [(layer("file", 1000, seed), Form::Gzip)];
    let wanted = layout.image("amd64", Family::Oci, &one(1));
    let other = layout.image("arm64", Family::Oci, &one(2));
    let attestation = layout.image_with("amd64", Family::Oci, &one(3), |_, manifest| {
        manifest["artifactType"] = json!("application/vnd.example");
    });
    let inner = json!({"schemaVersion": 2, "manifests": [wanted, other, attestation]});
    let inner = layout.blob(
        "application/vnd.oci.image.index.v1+json",
        inner.to_string().as_bytes(),
    );
    layout.index(&[inner]);
    let source = from_layout(&layout, None);
    let packed = packed(&source).await.unwrap();
    assert_eq!(packed.manifest.digest.to_string(), wanted["digest"]);
    let work = tempfile::tempdir().unwrap();
    let names: BTreeSet<String> = platforms(&source, work.path())
        .await
        .unwrap()
        .into_iter()
        .map(|platform| platform.architecture)
        .collect();
    assert_eq!(names, BTreeSet::from(["amd64".into(), "arm64".into()]));
}

#[tokio::test]
async fn the_wrong_choice_is_explained() {
    let one = |seed| [(layer("file", 1000, seed), Form::Plain)];
    let mut messages = Vec::new();

    let layout = Layout::new();
    let arm = layout.image("arm64", Family::Oci, &one(1));
    layout.index(std::slice::from_ref(&arm));
    messages.push(refusal(&from_layout(&layout, None)).await);

    let first = named(layout.image("amd64", Family::Oci, &one(2)), "app:1");
    let second = named(layout.image("amd64", Family::Oci, &one(3)), "app:2");
    layout.index(&[first.clone(), second]);
    messages.push(refusal(&from_layout(&layout, None)).await);
    messages.push(refusal(&from_layout(&layout, Some("app:3"))).await);
    let chosen = packed(&from_layout(&layout, Some("app:1"))).await.unwrap();
    assert_eq!(chosen.manifest.digest.to_string(), first["digest"]);

    layout.index(&[]);
    messages.push(refusal(&from_layout(&layout, None)).await);

    let empty = tempfile::tempdir().unwrap();
    let source = ImageSource::OciLayout {
        dir: empty.path().to_owned(),
        name: None,
    };
    messages.push(refusal(&source).await);
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), "no tar").unwrap();
    messages.push(refusal(&from_archive(text.path())).await);
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[tokio::test]
async fn broken_images_are_refused_by_digest() {
    let layers = || {
        vec![
            (layer("a", 1000, 1), Form::Gzip),
            (layer("b", 1000, 2), Form::Plain),
        ]
    };
    let mut messages = Vec::new();
    let mut check = async |change: &dyn Fn(&mut serde_json::Value, &mut serde_json::Value),
                           damage: &dyn Fn(&Layout)| {
        let layout = Layout::new();
        let manifest = layout.image_with("amd64", Family::Oci, &layers(), change);
        layout.index(&[manifest]);
        damage(&layout);
        messages.push(numbered(&refusal(&from_layout(&layout, None)).await));
    };
    let plain = sha256(&layers()[1].0);
    let intact = |_: &mut serde_json::Value, _: &mut serde_json::Value| {};
    check(&intact, &|layout| {
        let mut bytes = std::fs::read(layout.path(&plain)).unwrap();
        bytes[700] ^= 4;
        std::fs::write(layout.path(&plain), bytes).unwrap();
    })
    .await;
    check(&intact, &|layout| {
        std::fs::write(layout.path(&plain), b"short").unwrap();
    })
    .await;
    check(&intact, &|layout| {
        std::fs::remove_file(layout.path(&plain)).unwrap();
    })
    .await;
    let nothing = |_: &Layout| {};
    check(
        &|config, _| config["rootfs"]["diff_ids"][0] = json!(sha256(b"else")),
        &nothing,
    )
    .await;
    check(
        &|config, _| config["rootfs"]["diff_ids"] = json!([sha256(b"one")]),
        &nothing,
    )
    .await;
    check(
        &|_, manifest| manifest["layers"][0]["mediaType"] = json!("application/x-squashfs"),
        &nothing,
    )
    .await;
    check(
        &|_, manifest| {
            manifest["layers"][0]["mediaType"] =
                json!("application/vnd.oci.image.layer.v1.tar+zstd");
        },
        &nothing,
    )
    .await;
    check(
        &|_, manifest| manifest["layers"][0]["size"] = json!(1u64 << 40),
        &nothing,
    )
    .await;
    check(
        &|_, manifest| manifest["schemaVersion"] = json!(1),
        &nothing,
    )
    .await;
    check(
        &|_, manifest| {
            let many = vec![manifest["layers"][1].clone(); 200];
            manifest["layers"] = json!(many);
        },
        &nothing,
    )
    .await;
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[tokio::test]
async fn what_no_node_would_take_is_told_before_it_is_published() {
    type Change = fn(&mut serde_json::Value, &mut serde_json::Value);
    let cases: [(Change, &str); 3] = [
        (
            |config, _| config["config"] = json!({"Labels": {"a": "<".repeat(70_000)}}),
            "has 420001 bytes of labels in JSON, more than the 393216 allowed: build the image with less",
        ),
        (
            |_, manifest| manifest["annotations"] = json!({"a": "<".repeat(70_000)}),
            "has 420001 bytes of annotations in JSON, more than the 393216 allowed: build the image with less",
        ),
        (
            |config, _| config["history"] = json!([{"comment": "x".repeat(1 << 20)}]),
            "more than the 1048576 allowed for a configuration",
        ),
    ];
    for (change, expected) in cases {
        let layout = Layout::new();
        let layers = [(layer("a", 1000, 1), Form::Gzip)];
        let manifest = layout.image_with("amd64", Family::Oci, &layers, change);
        layout.index(&[manifest]);
        let refused = refusal(&from_layout(&layout, None)).await;
        assert!(refused.ends_with(expected), "{refused}");
    }
}

#[tokio::test]
async fn podman_is_asked_over_its_socket() {
    let layout = mixed();
    let expected = packed(&from_layout(&layout, None)).await.unwrap();
    let archive = std::fs::read(layout.archive().path()).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let socket = temp.path().join("podman.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let answer = move |uri: http::Uri| async move {
        let known = "/v4.0.0/libpod/images/localhost/demo:1/get?format=oci-archive";
        if uri.path_and_query().unwrap() == known {
            return archive.into_response();
        }
        let error =
            r#"{"cause":"image not known","message":"nope: image not known","response":404}"#;
        (http::StatusCode::NOT_FOUND, error).into_response()
    };
    let router = axum::Router::new().fallback(answer);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await });

    let source = |name: &str| ImageSource::Podman {
        socket: socket.clone(),
        name: name.to_owned(),
    };
    let theirs = packed(&source("localhost/demo:1")).await.unwrap();
    assert_eq!(described(&theirs), described(&expected));
    let absent = ImageSource::Podman {
        socket: temp.path().join("absent.sock"),
        name: "demo".to_owned(),
    };
    let messages = [
        refusal(&source("nope")).await,
        refusal(&source("../../containers/json?x")).await,
        refusal(&absent).await,
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}
