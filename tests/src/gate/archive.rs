//! A second image made of a first one: the same OCI archive with one more layer, which holds a marker file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The marker's name in the image's root.
pub const MARKER: &str = ".archy-gate-release";

/// Most bytes of a part that is read into memory: image manifests and configurations, never layers.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Writes the image of `archive` to `to`, with a layer on top that holds `marker`.
///
/// # Errors
///
/// When `archive` is no OCI archive of one image or `to` cannot be written.
pub fn with_marker(archive: &Path, to: &Path, marker: &str) -> anyhow::Result<()> {
    let documents = documents(archive)?;
    let document = |digest: &Value| -> anyhow::Result<(String, Value)> {
        let digest = digest.as_str().context("a descriptor without a digest")?;
        let name = format!("blobs/{}", digest.replacen(':', "/", 1));
        let bytes = documents
            .get(&name)
            .with_context(|| format!("{} lacks {name}", archive.display()))?;
        Ok((name, serde_json::from_slice(bytes)?))
    };
    let index = documents.get("index.json").context("no index.json")?;
    let mut index: Value = serde_json::from_slice(index)?;
    let images = index["manifests"].as_array().map_or(0, Vec::len);
    ensure!(
        images == 1,
        "{} holds {images} images, not one",
        archive.display()
    );
    let (manifest_name, mut manifest) = document(&index["manifests"][0]["digest"])?;
    let (config_name, mut config) = document(&manifest["config"]["digest"])?;

    let layer = layer(marker)?;
    let diff_ids = config["rootfs"]["diff_ids"].as_array_mut();
    diff_ids
        .context("a configuration without layers")?
        .push(json!(digest(&layer)));
    if let Some(history) = config["history"].as_array_mut() {
        history.push(json!({"created_by": "the lifecycle gate"}));
    }
    let config = serde_json::to_vec(&config)?;
    describe(&mut manifest["config"], &config);
    let layers = manifest["layers"].as_array_mut();
    layers
        .context("a manifest without layers")?
        .push(json!({"mediaType": LAYER_TYPE, "digest": digest(&layer), "size": layer.len()}));
    let manifest = serde_json::to_vec(&manifest)?;
    describe(&mut index["manifests"][0], &manifest);

    let replaced = ["index.json".to_owned(), manifest_name, config_name];
    let mut target = tar::Builder::new(File::create(to).with_context(|| shown("writing", to))?);
    let mut source = open(archive)?;
    for entry in source.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if !replaced.contains(&name) {
            let header = entry.header().clone();
            target.append(&header, &mut entry)?;
        }
    }
    for blob in [&layer, &config, &manifest] {
        let name = format!("blobs/{}", digest(blob).replacen(':', "/", 1));
        append(&mut target, &name, blob)?;
    }
    append(&mut target, "index.json", &serde_json::to_vec(&index)?)?;
    target
        .into_inner()
        .and_then(|mut file| file.flush())
        .with_context(|| shown("writing", to))
}

/// Reads the archive's small files by name.
fn documents(archive: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in open(archive)?.entries()? {
        let mut entry = entry?;
        if entry.size() > DOCUMENT_BYTES_MAX || !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        found.insert(name, bytes);
    }
    Ok(found)
}

fn open(archive: &Path) -> anyhow::Result<tar::Archive<File>> {
    let file = File::open(archive).with_context(|| shown("reading", archive))?;
    Ok(tar::Archive::new(file))
}

fn layer(marker: &str) -> anyhow::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, MARKER, marker.as_bytes())?;
    Ok(layer.into_inner()?)
}

fn append<W: Write>(target: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    Ok(target.append_data(&mut header, name, Cursor::new(bytes))?)
}

fn describe(descriptor: &mut Value, bytes: &[u8]) {
    descriptor["digest"] = json!(digest(bytes));
    descriptor["size"] = json!(bytes.len());
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn shown(what: &str, path: &Path) -> String {
    format!("{what} {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of one layer as an OCI archive.
    fn archive(path: &Path) {
        let first = layer("one").unwrap();
        let config = serde_json::to_vec(&json!({
            "architecture": "amd64", "os": "linux", "history": [{}],
            "rootfs": {"type": "layers", "diff_ids": [digest(&first)]},
        }))
        .unwrap();
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "config": {"digest": digest(&config), "size": config.len()},
            "layers": [{"mediaType": LAYER_TYPE, "digest": digest(&first), "size": first.len()}],
        }))
        .unwrap();
        let index = json!({"manifests": [{"digest": digest(&manifest), "size": manifest.len()}]});
        let mut tar = tar::Builder::new(File::create(path).unwrap());
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        append(&mut tar, "index.json", index.to_string().as_bytes()).unwrap();
        for blob in [&first, &config, &manifest] {
            let name = format!("blobs/{}", digest(blob).replacen(':', "/", 1));
            append(&mut tar, &name, blob).unwrap();
        }
        tar.finish().unwrap();
    }

    #[test]
    fn the_second_image_is_the_first_and_one_layer_more() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
        archive(&first);
        with_marker(&first, &second, "2").unwrap();

        let (before, after) = (documents(&first).unwrap(), documents(&second).unwrap());
        let read = |files: &BTreeMap<String, Vec<u8>>, descriptor: &Value| -> Value {
            let digest = descriptor["digest"].as_str().unwrap();
            let bytes = &files[&format!("blobs/{}", digest.replacen(':', "/", 1))];
            assert_eq!(super::digest(bytes), digest);
            assert_eq!(descriptor["size"], bytes.len());
            serde_json::from_slice(bytes).unwrap_or(Value::Null)
        };
        let image = |files: &BTreeMap<String, Vec<u8>>| {
            let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
            assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
            let manifest = read(files, &index["manifests"][0]);
            let config = read(files, &manifest["config"]);
            for layer in manifest["layers"].as_array().unwrap() {
                read(files, layer);
            }
            (manifest, config)
        };
        let ((manifest_1, config_1), (manifest_2, config_2)) = (image(&before), image(&after));
        assert_eq!(manifest_2["layers"][0], manifest_1["layers"][0]);
        assert_eq!(
            config_2["rootfs"]["diff_ids"][0],
            config_1["rootfs"]["diff_ids"][0]
        );
        // An uncompressed layer is its own diff ID.
        assert_eq!(
            config_2["rootfs"]["diff_ids"][1],
            manifest_2["layers"][1]["digest"]
        );
        assert_eq!(config_2["history"].as_array().unwrap().len(), 2);
        assert!(after.contains_key("oci-layout"));
        // What nothing names any more is gone.
        assert_eq!(after.len(), before.len() + 1);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
        tar::Builder::new(File::create(&first).unwrap())
            .finish()
            .unwrap();
        with_marker(&first, &second, "2").unwrap_err();
    }
}
