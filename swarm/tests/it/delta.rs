//! Updates by deltas, from a packed image to what a client that we did not write pulls.

use std::path::Path;

use archy_registry::release::{Delta, Descriptor, Image, Platform, Tar};
use archy_registry::{Blake3Hash, OciDigest};
use archy_swarm::image::delta::{self, BuildError, Fault, Form, Here, Patch, Plan, VerifiedForm};
use archy_swarm::image::{DOCUMENT_SIZE_BYTES_MAX, ImageSource, Packed, pack, variant};
use archy_swarm::{FetchRequest, Wanted};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::layout::{Family, Form as Stored, Layout, skopeo};
use crate::support::{Node, bytes, tag};

/// Two releases of an image with a base that stays and an app of 300 files, some of which change.
struct Releases {
    old: Packed,
    new: Packed,
    patch: Patch,
    temp: tempfile::TempDir,
}

impl Releases {
    async fn make(family: Family, old: Stored, new: Stored) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let old = packed(&temp, family, old, 1).await;
        let new = packed(&temp, family, new, 2).await;
        let node = Node::start().await;
        provide(&node, &old).await;
        let base = &old.layers[1];
        let patch = delta::between(
            Form::of_layer(base).unwrap(),
            node.open(base.blake3).await.unwrap(),
            &new,
            &new.layers[1],
            u64::MAX,
            temp.path(),
        );
        let patch = patch.await.unwrap();
        Self {
            old,
            new,
            patch,
            temp,
        }
    }

    /// A node that serves the new release and the delta.
    async fn origin(&self) -> Node {
        let origin = Node::start().await;
        provide(&origin, &self.new).await;
        let patch = self.patch.open().await.unwrap();
        let expected = Some(self.patch.delta.blake3);
        origin
            .provide(&tag("release"), patch, expected)
            .await
            .unwrap();
        origin
    }

    fn work(&self) -> &Path {
        self.temp.path()
    }
}

fn amd64() -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
    }
}

/// 300 files of 20 KB; every hundredth differs in each version, and one comes in.
fn files(version: u64) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for n in 0..300 {
        let seed = if n % 100 == 50 { 1000 + version } else { n };
        let names = if n == 100 && version > 1 { 2 } else { 1 };
        for copy in 0..names {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(20_000);
            let name = format!("usr/lib/{n}-{copy}");
            let data = bytes(20_000, seed + 10_000 * copy);
            builder.append_data(&mut header, name, &data[..]).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

async fn packed(temp: &tempfile::TempDir, family: Family, form: Stored, version: u64) -> Packed {
    let layout = Layout::new();
    let base = crate::layout::layer("etc/base", 400_000, 9);
    let layers = [(base, Stored::Gzip), (files(version), form)];
    let image = layout.image("amd64", family, &layers);
    layout.index(&[image]);
    let source = ImageSource::OciArchive {
        // The layout goes before the image does.
        file: temp.path().join(format!("{version}.tar")),
        name: None,
    };
    std::fs::copy(
        layout.archive().path(),
        temp.path().join(format!("{version}.tar")),
    )
    .unwrap();
    pack(&source, &amd64(), temp.path()).await.unwrap()
}

async fn provide(node: &Node, packed: &Packed) {
    for blob in packed.descriptors() {
        let bytes = packed.open(blob).await.unwrap();
        node.provide(&tag("release"), bytes, Some(blob.blake3))
            .await
            .unwrap();
    }
}

fn image(packed: &Packed) -> Image {
    Image {
        container: "web".parse().unwrap(),
        platform: packed.platform.clone(),
        manifest: packed.manifest.clone(),
        config: packed.config.clone(),
        layers: packed.layers.clone(),
    }
}

/// What a node has that installed the old release.
fn here(old: &Packed) -> Here {
    let mut here = Here::default();
    for layer in &old.layers {
        here.add_form(Form::of_layer(layer).unwrap());
    }
    here
}

async fn fetch(node: &Node, origin: &Node, blobs: Vec<Wanted>) -> u64 {
    let request = FetchRequest {
        tag: tag("new"),
        class: archy_swarm::Class::Cache,
        blobs,
        origin: vec![origin.endpoint()],
        peers: vec![],
        share: true,
    };
    let fetch = node.fetch(request, &CancellationToken::new());
    let fetched = fetch.finish().await.unwrap();
    fetched.bytes_total - fetched.bytes_reused
}

async fn build(node: &Node, plan: &Plan) -> Result<Vec<VerifiedForm>, BuildError> {
    let mut forms = Vec::new();
    for step in &plan.steps {
        forms.extend(delta::build(node, &tag("new"), step).await?);
    }
    Ok(forms)
}

fn sha256(bytes: &[u8]) -> OciDigest {
    OciDigest::from_sha256(Sha256::digest(bytes).into())
}

#[tokio::test]
async fn an_update_moves_what_changed_and_gives_podman_the_signed_content() {
    for (family, old, new) in [
        (Family::Oci, Stored::Gzip, Stored::Zstd),
        (Family::Docker, Stored::Gzip, Stored::Gzip),
    ] {
        let releases = Releases::make(family, old, new).await;
        let (origin, node) = (releases.origin().await, Node::start().await);
        provide(&node, &releases.old).await;

        let image = image(&releases.new);
        let delta = &releases.patch.delta;
        let plan = delta::plan([&image], std::slice::from_ref(delta), &here(&releases.old));
        let documents = image.manifest.size_bytes + image.config.size_bytes;
        assert_eq!(plan.bytes_needed, documents + delta.size_bytes);
        // Four files of three hundred: three that changed and a new one.
        assert!(plan.bytes_needed * 50 < plan.bytes_of_all, "{plan:?}");
        assert_eq!(fetch(&node, &origin, plan.blobs()).await, plan.bytes_needed);

        let forms = build(&node, &plan).await.unwrap();
        assert_eq!(forms.len(), 1);
        assert_eq!(Some(forms[0].diff_id), image.layers[1].diff_id);
        assert!(!node.has(image.layers[1].blake3).await.unwrap());
        for shared in [delta.blake3, delta.tar.blake3] {
            assert!(node.serves(shared), "others can have what it was made of");
        }

        let manifest = node.read(image.manifest.blake3, DOCUMENT_SIZE_BYTES_MAX);
        let config = node.read(image.config.blake3, DOCUMENT_SIZE_BYTES_MAX);
        let (manifest, config) = (manifest.await.unwrap(), config.await.unwrap());
        let variant = variant(&image, &manifest, &config, &forms)
            .unwrap()
            .unwrap();
        node.oci().serve_variant("demo/web", &variant).unwrap();
        let reference = node.oci().reference("demo/web", &variant.digest);
        let copy = releases.work().join("copy");
        let to = format!("dir:{}", copy.display());
        let from = format!("docker://{reference}");
        skopeo(&[
            "copy",
            "--preserve-digests",
            "--src-tls-verify=false",
            &from,
            &to,
        ])
        .await;
        let blob = |digest: OciDigest| std::fs::read(copy.join(digest.to_hex()));
        // The tar, byte for byte, under the digest that the signed configuration names.
        assert!(blob(forms[0].diff_id).unwrap() == files(2));
        assert_eq!(blob(image.config.digest).unwrap(), &config[..]);
        blob(image.layers[0].digest).unwrap();

        // Made once, it is a form like any other.
        let mut here = here(&releases.old);
        here.add_form(Form::of_tar(delta.to, &delta.tar));
        let again = delta::plan([&image], std::slice::from_ref(delta), &here);
        assert_eq!(again.bytes_needed, documents);
        assert_eq!(build(&node, &again).await.unwrap(), forms);
    }
}

#[tokio::test]
async fn a_tar_that_was_made_is_the_base_of_the_next_update() {
    let releases = Releases::make(Family::Oci, Stored::Gzip, Stored::Zstd).await;
    let node = releases.origin().await;
    let (old, new) = (&releases.old.layers[1], &releases.new.layers[1]);
    let back = delta::between(
        Form::of_layer(new).unwrap(),
        node.open(new.blake3).await.unwrap(),
        &releases.old,
        old,
        u64::MAX,
        releases.work(),
    );
    let back = back.await.unwrap();
    let bytes = back.open().await.unwrap();
    node.provide(&tag("new"), bytes, None).await.unwrap();
    let tar = files(2);
    node.provide(&tag("new"), &tar[..], None).await.unwrap();
    let mut here = Here::default();
    here.add_form(Form::of_tar(
        new.diff_id.unwrap(),
        &releases.patch.delta.tar,
    ));
    let image = Image {
        layers: vec![old.clone()],
        ..image(&releases.old)
    };
    let plan = delta::plan([&image], std::slice::from_ref(&back.delta), &here);
    let forms = build(&node, &plan).await.unwrap();
    assert_eq!(Some(forms[0].diff_id), old.diff_id);
}

/// A node with the old release, and a delta that was tampered with or signed wrongly.
async fn refused(
    releases: &Releases,
    change: impl FnOnce(&mut Delta, &mut Vec<u8>),
    base: &[u8],
) -> BuildError {
    let node = Node::start().await;
    let mut patch = Vec::new();
    let mut file = releases.patch.open().await.unwrap();
    tokio::io::AsyncReadExt::read_to_end(&mut file, &mut patch)
        .await
        .unwrap();
    let mut delta = releases.patch.delta.clone();
    change(&mut delta, &mut patch);
    delta.blake3 = Blake3Hash::of(&patch);
    for blob in [&patch[..], base] {
        node.provide(&tag("old"), blob, None).await.unwrap();
    }
    let tar = Tar {
        blake3: Blake3Hash::of(base),
        size_bytes: base.len() as u64,
    };
    let mut here = Here::default();
    here.add_form(Form::of_tar(delta.from, &tar));
    let mut image = image(&releases.new);
    image.layers.remove(0);
    image.layers[0].diff_id = Some(delta.to);
    let plan = delta::plan([&image], std::slice::from_ref(&delta), &here);
    let error = build(&node, &plan).await.unwrap_err();
    assert!(!node.serves(delta.tar.blake3));
    let held = node
        .tags()
        .into_iter()
        .find(|usage| usage.tag == tag("new"));
    assert_eq!(held, None, "nothing of it is kept: {error}");
    error
}

#[tokio::test]
async fn a_bad_delta_is_told_and_leaves_nothing() {
    let releases = Releases::make(Family::Oci, Stored::Gzip, Stored::Zstd).await;
    let (old, new) = (files(1), files(2));
    let fault = |error: BuildError| {
        let BuildError::Delta { fault, .. } = error else {
            panic!("{error}");
        };
        fault
    };
    let cut = refused(&releases, |_, patch| patch.truncate(9000), &old).await;
    assert_eq!(fault(cut), Fault::CutOff);
    let longer = refused(&releases, |_, patch| patch.push(0), &old).await;
    assert_eq!(fault(longer), Fault::Trailing);
    let other = sha256(b"another tar");
    let wrong = refused(&releases, |delta, _| delta.to = other, &old).await;
    assert_eq!(fault(wrong), Fault::Other(sha256(&new)));
    let hash = Blake3Hash::of(b"another tar");
    let wrong = refused(&releases, |delta, _| delta.tar.blake3 = hash, &old).await;
    assert_eq!(fault(wrong), Fault::OtherBlob(Blake3Hash::of(&new)));
    let less = refused(&releases, |delta, _| delta.tar.size_bytes -= 1, &old).await;
    assert!(matches!(fault(less), Fault::TooLong { .. }));

    // Not the publisher's fault: the blob is not the layer as which another release signed it.
    let mut other_base = old.clone();
    other_base[70_000] ^= 1;
    let wrong_base = refused(&releases, |_, _| {}, &other_base).await;
    assert!(
        matches!(wrong_base, BuildError::Form { .. }),
        "{wrong_base}"
    );
}

#[tokio::test]
async fn a_delta_that_rotted_here_is_not_said_to_be_the_publishers() {
    let releases = Releases::make(Family::Oci, Stored::Gzip, Stored::Zstd).await;
    let node = Node::start().await;
    let mut patch = Vec::new();
    let mut file = releases.patch.open().await.unwrap();
    tokio::io::AsyncReadExt::read_to_end(&mut file, &mut patch)
        .await
        .unwrap();
    let (old, delta) = (files(1), releases.patch.delta.clone());
    for blob in [&patch[..], &old] {
        node.provide(&tag("old"), blob, None).await.unwrap();
    }
    patch.truncate(9000);
    std::fs::write(node.data_file(delta.blake3), &patch).unwrap();

    let mut here = Here::default();
    let tar = Tar {
        blake3: Blake3Hash::of(&old),
        size_bytes: old.len() as u64,
    };
    here.add_form(Form::of_tar(delta.from, &tar));
    let mut image = image(&releases.new);
    image.layers.remove(0);
    let plan = delta::plan([&image], std::slice::from_ref(&delta), &here);
    let error = build(&node, &plan).await.unwrap_err();
    let is_local = matches!(
        &error,
        BuildError::Disk {
            what: "a delta",
            ..
        }
    );
    assert!(is_local, "{error}");
}

#[tokio::test]
async fn a_form_counts_only_once_it_was_unpacked_and_hashed() {
    let releases = Releases::make(Family::Oci, Stored::Gzip, Stored::Zstd).await;
    let node = Node::start().await;
    provide(&node, &releases.new).await;
    let layer = &releases.new.layers[1];
    let wanted = Descriptor {
        digest: sha256(b"recompressed"),
        blake3: Blake3Hash::of(b"recompressed"),
        ..layer.clone()
    };
    let mut image = image(&releases.new);
    image.layers = vec![wanted];
    let mut here = Here::default();
    here.add_form(Form::of_layer(layer).unwrap());
    let plan = delta::plan([&image], &[], &here);
    assert_eq!(build(&node, &plan).await.unwrap()[0].digest, layer.digest);

    let lying = sha256(b"not what it unpacks to");
    image.layers[0].diff_id = Some(lying);
    let mut here = Here::default();
    let signed_wrongly = Descriptor {
        diff_id: Some(lying),
        ..layer.clone()
    };
    here.add_form(Form::of_layer(&signed_wrongly).unwrap());
    let plan = delta::plan([&image], &[], &here);
    let error = build(&node, &plan).await.unwrap_err();
    assert!(matches!(error, BuildError::Form { .. }), "{error}");
}
