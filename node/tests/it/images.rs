//! Images that neither a node nor the publisher has any more: from the owner's registries and folders of images.

use std::path::{Path, PathBuf};

use archy_registry::Blake3Hash;
use archy_registry::release::{Descriptor, Image};
use archy_swarm::{Class, FetchRequest, Swarm, Wanted};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::bed::{Node, Publisher, Relay, app, layer, swarm_config};

/// An app that the node knows, whose publisher gives it no more, and a mirror of its image.
struct Orphan {
    node: Node,
    notes: Value,
    image: Image,
    mirror: Swarm,
    dir: tempfile::TempDir,
    _publisher: Publisher,
    _relay: Relay,
}

impl Orphan {
    async fn new() -> Self {
        let relay = Relay::start().await;
        let publisher = Publisher::start().await;
        let node = Node::start(&relay, &[]).await;
        let notes = app(&publisher, "notes");
        let signed = publisher.publish(&relay, "notes", 1, &layer("one")).await;
        node.has_release(&notes).await;
        let image = signed.release.images[0].clone();

        let dir = tempfile::tempdir().unwrap();
        let config = swarm_config(&dir.path().join("mirror"));
        let mirror = Swarm::start(config, CancellationToken::new()).await;
        let mirror = mirror.unwrap();
        let request = FetchRequest {
            tag: "mirror".parse().unwrap(),
            class: Class::Cache,
            blobs: image.descriptors().map(Wanted::from).collect(),
            origin: vec![publisher.endpoint()],
            peers: Vec::new(),
            share: false,
        };
        let fetch = mirror.fetch(request, &CancellationToken::new());
        fetch.finish().await.unwrap();
        let given = "test".parse().unwrap();
        publisher.swarm.withdraw(&given).await.unwrap();
        Self {
            node,
            notes,
            image,
            mirror,
            dir,
            _publisher: publisher,
            _relay: relay,
        }
    }

    /// Serves the image as a registry does, and returns the registry's `HOST:PORT/PATH`.
    fn registry(&self) -> String {
        let oci = self.mirror.oci();
        oci.serve("notes", self.image.descriptors()).unwrap();
        let reference = oci.reference("notes", &self.image.manifest.digest);
        reference.split_once("/notes@").unwrap().0.to_owned()
    }

    /// Lets skopeo copy the image into a folder.
    async fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        let digest = self.image.manifest.digest;
        let from = format!("docker://{}/notes@{digest}", self.registry());
        let to = format!("oci:{}:notes", folder.display());
        let mut skopeo = tokio::process::Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--preserve-digests"]);
        skopeo.args(["--src-tls-verify=false", &from, &to]);
        let output = skopeo.output().await.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        folder
    }

    async fn add(&self, name: &str, place: &str) {
        let params = json!({"url": place, "name": name, "oci": true});
        self.node.rpc("registry.add", params).await.unwrap();
    }

    async fn add_folder(&self, folder: &Path) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        self.add(name, folder.to_str().unwrap()).await;
    }

    /// Tries to install and returns what was said of the registries.
    async fn refused(&self) -> Vec<String> {
        let job = self.node.install(&self.notes).await;
        assert_eq!(job["problem"]["kind"], "noProvider", "{job}");
        let details = job["problem"]["details"].as_array().unwrap().iter();
        let details = details.map(|detail| detail.as_str().unwrap().to_owned());
        details
            .filter(|detail| detail.starts_with("registry "))
            .collect()
    }

    /// Installs, and checks that it is the image that was signed.
    async fn installed(self) {
        let job = self.node.install(&self.notes).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        let (digest, bytes) = {
            let loaded = self.node.machine.loaded.lock().unwrap();
            loaded.last().unwrap().clone()
        };
        assert_eq!(digest, self.image.layers[0].digest.to_string());
        assert_eq!(Blake3Hash::of(&bytes), self.image.layers[0].blake3);
        self.node.daemon.stop().await;
    }
}

fn blob(folder: &Path, blob: &Descriptor) -> PathBuf {
    folder.join("blobs/sha256").join(blob.digest.to_hex())
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_of_images_are_asked_in_the_owners_order() {
    let orphan = Orphan::new().await;
    orphan.add("nobody", "127.0.0.1:1").await;
    let empty = orphan.dir.path().join("empty");
    std::fs::create_dir_all(empty.join("blobs/sha256")).unwrap();
    orphan.add_folder(&empty).await;
    let reasons = orphan.refused().await;
    let manifest = orphan.image.manifest.digest;
    assert!(reasons[0].starts_with("registry nobody: "), "{reasons:?}");
    let lacks = format!("{} does not have {manifest}", empty.display());
    assert_eq!(reasons[1..], [format!("registry empty: {lacks}")]);
    let mirror = orphan.registry();
    orphan.add("mirror", &mirror).await;
    orphan.installed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_images_is_believed_as_far_as_its_bytes_are_right() {
    let orphan = Orphan::new().await;
    let layer = orphan.image.layers[0].clone();
    let flipped = orphan.folder("flipped").await;
    let mut bytes = std::fs::read(blob(&flipped, &layer)).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(blob(&flipped, &layer), bytes).unwrap();
    let cut = orphan.folder("cut").await;
    let file = std::fs::File::options()
        .write(true)
        .open(blob(&cut, &layer));
    file.unwrap().set_len(1000).unwrap();
    let pipe = orphan.folder("pipe").await;
    std::fs::remove_file(blob(&pipe, &layer)).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(blob(&pipe, &layer))
        .status();
    assert!(made.unwrap().success());
    for folder in [&flipped, &cut, &pipe] {
        orphan.add_folder(folder).await;
    }
    let reasons = orphan.refused().await.join("\n");
    let reasons = reasons.replace(orphan.dir.path().to_str().unwrap(), "");
    insta::assert_snapshot!(reasons);

    let good = orphan.folder("good").await;
    let test = |place: &Path| {
        let params = json!({"url": place.to_str().unwrap(), "oci": true});
        orphan.node.rpc("registry.test", params)
    };
    assert_eq!(test(&good).await.unwrap()["problem"], Value::Null);
    let other = test(orphan.dir.path()).await.unwrap();
    assert_eq!(other["problem"]["kind"], "unreachable", "{other}");
    orphan.add_folder(&good).await;
    orphan.installed().await;
}
