//! Finds the blobs inside a tar of an OCI layout without unpacking it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use archy_registry::OciDigest;

use super::PackError;
use super::content::Span;
use super::model::DOCUMENT_SIZE_BYTES_MAX;

/// Most entries of an archive.
const ENTRIES_MAX: usize = 4096;
const EXPECTED: &str = "an OCI archive (podman save --format oci-archive)";

/// What an archive holds.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) index: Vec<u8>,
    pub(super) blobs: HashMap<OciDigest, Span>,
}

/// Reads the headers of an archive.
pub(super) fn open(path: &Path) -> Result<Archive, PackError> {
    let file = File::open(path).map_err(|error| PackError::io("open", path, error))?;
    let length = file
        .metadata()
        .map_err(|error| PackError::io("open", path, error))?
        .len();
    read(path, file, length)
}

fn read(path: &Path, file: impl Read + Seek, length: u64) -> Result<Archive, PackError> {
    let broken = |error: io::Error| PackError::NotALayout {
        path: path.to_owned(),
        expected: EXPECTED,
        reason: format!(
            "it is not a whole tar file ({error}); a compressed one must be unpacked first"
        ),
    };
    let mut archive = tar::Archive::new(file);
    let mut index = None;
    let mut blobs = HashMap::new();
    let mut docker = false;
    for (count, entry) in archive.entries_with_seek().map_err(broken)?.enumerate() {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refuse = |reason| PackError::UnsafeArchive {
            path: path.to_owned(),
            entry: name.chars().take(200).collect(),
            reason,
        };
        if count >= ENTRIES_MAX {
            return Err(refuse("comes after too many others"));
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() {
            return Err(refuse("is neither a file nor a directory"));
        }
        let inner = name.strip_prefix("./").unwrap_or(&name);
        let safe = inner
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
        if !safe {
            return Err(refuse("leaves the archive"));
        }
        let span = Span {
            path: path.to_owned(),
            offset: entry.raw_file_position(),
            size_bytes: entry.size(),
        };
        if span
            .offset
            .checked_add(span.size_bytes)
            .is_none_or(|end| end > length)
        {
            return Err(refuse("is cut off"));
        }
        if let Some(hex) = inner.strip_prefix("blobs/sha256/") {
            let digest: OciDigest = format!("sha256:{hex}")
                .parse()
                .map_err(|_| refuse("is not named by a digest"))?;
            if blobs.insert(digest, span).is_some() {
                return Err(refuse("occurs twice"));
            }
        } else if inner == "index.json" {
            if span.size_bytes > DOCUMENT_SIZE_BYTES_MAX {
                return Err(refuse("is too large"));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            if index.replace(bytes).is_some() {
                return Err(refuse("occurs twice"));
            }
        } else if inner == "manifest.json" {
            docker = true;
        }
    }
    let index = index.ok_or_else(|| PackError::NotALayout {
        path: path.to_owned(),
        expected: EXPECTED,
        reason: if docker {
            "it is a docker archive; save the image in OCI format".to_owned()
        } else {
            "it has no index.json".to_owned()
        },
    })?;
    Ok(Archive { index, blobs })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut tar::Builder<Vec<u8>>);

    fn file(builder: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8]) {
        let mut header = tar::Header::new_ustar();
        // Written directly: the builder itself refuses names that leave the archive.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    fn link(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        builder
            .append_link(&mut header, "blobs/sha256/link", "/etc/passwd")
            .unwrap();
    }

    fn outcome(change: Change) -> String {
        let mut builder = tar::Builder::new(Vec::new());
        file(&mut builder, "index.json", b"{}");
        change(&mut builder);
        let bytes = builder.into_inner().unwrap();
        let length = bytes.len() as u64;
        match read(Path::new("image.tar"), io::Cursor::new(bytes), length) {
            Ok(archive) => format!("ok, {} blobs", archive.blobs.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn only_plain_files_in_their_place_are_accepted() {
        let blob = "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(blob.len(), 77);
        let cases: [(&str, Change); 9] = [
            ("nothing else", |_| {}),
            ("a blob", |builder| {
                file(
                    builder,
                    "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                    b"",
                )
            }),
            ("a blob twice", |builder| {
                for name in ["", "./"] {
                    file(
                        builder,
                        &format!(
                            "{name}blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                        ),
                        b"",
                    );
                }
            }),
            ("a second index", |builder| {
                file(builder, "index.json", b"{}")
            }),
            ("traversal", |builder| {
                file(builder, "blobs/sha256/../../x", b"")
            }),
            ("an absolute name", |builder| {
                file(builder, "/index.json", b"")
            }),
            ("another name for a blob", |builder| {
                file(builder, "blobs/sha256/E3", b"")
            }),
            ("a symbolic link", |builder| {
                link(builder, tar::EntryType::Symlink)
            }),
            ("a hard link", |builder| link(builder, tar::EntryType::Link)),
        ];
        let lines: Vec<String> = cases
            .iter()
            .map(|(name, change)| format!("{name}: {}", outcome(*change)))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_cut_off_archive_is_refused() {
        let mut builder = tar::Builder::new(Vec::new());
        file(&mut builder, "index.json", &[b' '; 5000]);
        let mut bytes = builder.into_inner().unwrap();
        bytes.truncate(2000);
        let length = bytes.len() as u64;
        read(Path::new("image.tar"), io::Cursor::new(bytes), length).unwrap_err();
    }
}
