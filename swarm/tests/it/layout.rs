//! Builds OCI layouts by hand, right ones and broken ones.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::bytes;

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Gzip,
    Zstd,
}

/// Whose media types are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Oci,
    Docker,
}

pub(crate) struct Layout {
    temp: tempfile::TempDir,
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A layer with one file.
pub(crate) fn layer(name: &str, len: usize, seed: u64) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(len as u64);
    builder
        .append_data(&mut header, name, &bytes(len, seed)[..])
        .unwrap();
    builder.into_inner().unwrap()
}

fn encode(tar: &[u8], form: Form) -> Vec<u8> {
    match form {
        Form::Plain => tar.to_vec(),
        Form::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
        Form::Zstd => zstd::encode_all(tar, 3).unwrap(),
    }
}

impl Layout {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("blobs/sha256")).unwrap();
        std::fs::write(
            temp.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        Self { temp }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.dir().join("blobs/sha256").join(hex)
    }

    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        std::fs::write(self.path(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Adds an image; `change` may break its configuration and manifest before they are stored.
    pub(crate) fn image_with(
        &self,
        architecture: &str,
        family: Family,
        layers: &[(Vec<u8>, Form)],
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> Value {
        let layer_type = |form| match (family, form) {
            (Family::Oci, Form::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (Family::Oci, Form::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Family::Oci, Form::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Family::Docker, Form::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (Family::Docker, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        };
        let (config_type, manifest_type) = match family {
            Family::Oci => (
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.oci.image.manifest.v1+json",
            ),
            Family::Docker => (
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.distribution.manifest.v2+json",
            ),
        };
        let mut config = json!({
            "os": "linux",
            "architecture": architecture,
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|(tar, _)| sha256(tar)).collect::<Vec<_>>(),
            },
        });
        let descriptors: Vec<Value> = layers
            .iter()
            .map(|(tar, form)| self.blob(layer_type(*form), &encode(tar, *form)))
            .collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": null,
            "layers": descriptors,
        });
        change(&mut config, &mut manifest);
        manifest["config"] = self.blob(config_type, config.to_string().as_bytes());
        self.blob(manifest_type, manifest.to_string().as_bytes())
    }

    pub(crate) fn image(
        &self,
        architecture: &str,
        family: Family,
        layers: &[(Vec<u8>, Form)],
    ) -> Value {
        self.image_with(architecture, family, layers, |_, _| {})
    }

    /// Writes `index.json`.
    pub(crate) fn index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        std::fs::write(self.dir().join("index.json"), index.to_string()).unwrap();
    }

    /// Writes the layout as a tar file beside it.
    pub(crate) fn archive(&self) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        builder.append_dir_all(".", self.dir()).unwrap();
        builder.into_inner().unwrap();
        file
    }
}

/// Names a manifest as layouts do.
pub(crate) fn named(mut manifest: Value, name: &str) -> Value {
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    manifest
}

/// An image with each kind of layer.
pub(crate) fn mixed() -> Layout {
    let layout = Layout::new();
    let layers = [
        (layer("etc/plain", 70_000, 1), Form::Plain),
        (layer("etc/gzip", 400_000, 2), Form::Gzip),
        (layer("etc/zstd", 10, 3), Form::Zstd),
    ];
    let manifest = layout.image("amd64", Family::Oci, &layers);
    layout.index(&[named(manifest, "demo:1")]);
    layout
}

/// Runs skopeo, an independent implementation of layouts, archives and registries.
pub(crate) async fn skopeo(arguments: &[&str]) {
    let mut command = tokio::process::Command::new("skopeo");
    // Without this it wants a policy file and the home of a user.
    command.arg("--insecure-policy").args(arguments);
    let output = match command.output().await {
        Ok(output) => output,
        Err(error) => panic!("cannot run skopeo ({error}); install it with scripts/host-deps.sh"),
    };
    assert!(
        output.status.success(),
        "skopeo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Replaces each digest by its number in order of appearance: those of compressed layers change with
/// the version of the encoder.
pub(crate) fn numbered(text: &str) -> String {
    let mut seen: Vec<&str> = Vec::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("sha256:") {
        let (before, from) = rest.split_at(at);
        let (digest, after) = from.split_at(71);
        let number = seen.iter().position(|other| *other == digest);
        let number = number.unwrap_or_else(|| {
            seen.push(digest);
            seen.len() - 1
        });
        out.push_str(before);
        out.push_str(&format!("<digest {}>", number + 1));
        rest = after;
    }
    out.push_str(rest);
    out
}
