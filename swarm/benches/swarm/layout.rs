//! Images to move: OCI layouts that are made up once.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use archy_registry::release::Platform;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An image in OCI layout.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    /// Length of all blobs in bytes.
    pub(crate) size_bytes: u64,
}

/// How layers are packed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Makes an image with one layer of chance bytes that is not compressed.
pub(crate) fn chance(dir: &Path, size_bytes: u64) -> Layout {
    layout(&dir.join(format!("image-{size_bytes}")), |maker| {
        maker.layer(Packing::Plain, |tar| {
            let mut rng = fastrand::Rng::with_seed(size_bytes);
            let mut data = vec![0; usize::try_from(size_bytes).unwrap()];
            rng.fill(&mut data);
            append(tar, "data", &data);
        });
    })
}

/// Makes an image like that of a large app: four layers, 6000 files, about 300 MB compressed and 500 MB unpacked.
pub(crate) fn app(dir: &Path) -> Layout {
    layout(&dir.join("image-app"), |maker| {
        for (number, files) in [600, 2200, 2400, 800].into_iter().enumerate() {
            maker.layer(Packing::Gzip, |tar| files_of_app(tar, number, files));
        }
    })
}

/// Makes an image of as many files in any number of layers, packed in any way.
pub(crate) fn packed(dir: &Path, packing: Packing, layers: usize) -> Layout {
    let name = format!("image-{packing:?}-{layers}").to_lowercase();
    layout(&dir.join(name), |maker| {
        for number in 0..layers {
            maker.layer(packing, |tar| files_of_app(tar, number, 6000 / layers));
        }
    })
}

fn files_of_app(tar: &mut tar::Builder<impl Write>, number: usize, files: usize) {
    let mut rng = fastrand::Rng::with_seed(number as u64);
    for file in 0..files {
        let name = format!("usr/lib/app-{number}/{:02}/{file}", file % 50);
        append(tar, &name, &content(&mut rng));
    }
}

/// Half of a file is as dense as a program, half is words.
fn content(rng: &mut fastrand::Rng) -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "return ",
        "value = ",
        "def call(self, ",
        "):\n    ",
        "import ",
        "if not ",
        "else:\n    ",
        "self.",
    ];
    let half = rng.usize(10_000..70_000);
    let mut content = vec![0; half];
    rng.fill(&mut content);
    while content.len() < 2 * half {
        content.extend_from_slice(WORDS[rng.usize(0..WORDS.len())].as_bytes());
        if rng.u8(0..4) == 0 {
            content.extend_from_slice(rng.u16(..).to_string().as_bytes());
        }
    }
    content
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, data: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(data.len() as u64);
    tar.append_data(&mut header, name, data).unwrap();
}

/// Fills a layout, unless that was done before.
fn layout(dir: &Path, fill: impl FnOnce(&mut Maker)) -> Layout {
    let index = dir.join("index.json");
    if !index.exists() {
        std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        let mut maker = Maker {
            dir: dir.to_owned(),
            layers: Vec::new(),
            diff_ids: Vec::new(),
        };
        fill(&mut maker);
        maker.finish();
    }
    let blobs = std::fs::read_dir(dir.join("blobs/sha256")).unwrap();
    let sizes = blobs.map(|blob| blob.unwrap().metadata().unwrap().len());
    Layout {
        dir: dir.to_owned(),
        size_bytes: sizes.sum(),
    }
}

#[derive(Debug)]
struct Maker {
    dir: PathBuf,
    layers: Vec<Value>,
    diff_ids: Vec<String>,
}

impl Maker {
    fn layer(&mut self, packing: Packing, fill: impl FnOnce(&mut tar::Builder<BufWriter<File>>)) {
        let path = self.dir.join("layer");
        let mut tar = tar::Builder::new(BufWriter::new(File::create(&path).unwrap()));
        fill(&mut tar);
        tar.into_inner().unwrap().into_inner().unwrap();
        self.diff_ids.push(digest(&path));
        let mut media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
        if packing != Packing::Plain {
            let compressed = self.dir.join("layer.compressed");
            let mut tar = File::open(&path).unwrap();
            let file = BufWriter::new(File::create(&compressed).unwrap());
            if packing == Packing::Gzip {
                let mut gzip = GzEncoder::new(file, Compression::fast());
                io::copy(&mut tar, &mut gzip).unwrap();
                gzip.finish().unwrap().flush().unwrap();
                media_type.push_str("+gzip");
            } else {
                zstd::stream::copy_encode(tar, file, 3).unwrap();
                media_type.push_str("+zstd");
            }
            std::fs::rename(&compressed, &path).unwrap();
        }
        let layer = self.keep(&path, &media_type);
        self.layers.push(layer);
    }

    /// Moves a file to its place and returns its descriptor.
    fn keep(&self, path: &Path, media_type: &str) -> Value {
        let digest = digest(path);
        let size = path.metadata().unwrap().len();
        let name = digest.trim_start_matches("sha256:");
        std::fs::rename(path, self.dir.join("blobs/sha256").join(name)).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn document(&self, media_type: &str, document: &Value) -> Value {
        let path = self.dir.join("document");
        std::fs::write(&path, document.to_string()).unwrap();
        self.keep(&path, media_type)
    }

    fn finish(self) {
        let config = self.document(
            "application/vnd.oci.image.config.v1+json",
            &json!({
                "architecture": Platform::host().architecture,
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            }),
        );
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = self.document(
            media_type,
            &json!({
                "schemaVersion": 2,
                "mediaType": media_type,
                "config": config,
                "layers": self.layers,
            }),
        );
        let write = |name: &str, document: Value| {
            std::fs::write(self.dir.join(name), document.to_string()).unwrap();
        };
        write("oci-layout", json!({"imageLayoutVersion": "1.0.0"}));
        write(
            "index.json",
            json!({"schemaVersion": 2, "manifests": [manifest]}),
        );
    }
}

fn digest(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).unwrap();
        if read == 0 {
            return format!("sha256:{}", hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}
