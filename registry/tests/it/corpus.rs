//! The fuzzer's corpus, replayed: every input that ever reached new code goes through the same properties again.

use std::path::{Path, PathBuf};

use crate::properties::ALL;

#[test]
fn the_corpus_of_the_fuzzer_still_holds() {
    for (name, property) in ALL {
        let files = files(name);
        assert!(!files.is_empty(), "fuzz/corpus/{name} is empty");
        for file in files {
            let input = std::fs::read(&file).unwrap();
            let held = std::panic::catch_unwind(|| property(&input));
            assert!(held.is_ok(), "{} breaks {name}", file.display());
        }
    }
}

fn files(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}
