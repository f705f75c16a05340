//! Memory at hand.

use std::io::Write;
use std::path::Path;

/// More than what is timed fills.
const BYTES: usize = 2048 << 20;
const CHUNK_BYTES: usize = 1 << 20;

/// Fills a part of the page cache and gives it back, so that what is timed next finds memory at hand.
///
/// The host of a virtual machine takes back what is free there. To get it again took up to two seconds per GiB, half of
/// what is measured here, and fell on whoever came first.
pub(crate) fn warm(dir: &Path) {
    let mut file = tempfile::tempfile_in(dir).unwrap();
    let chunk = vec![0; CHUNK_BYTES];
    for _ in 0..BYTES / CHUNK_BYTES {
        file.write_all(&chunk).unwrap();
    }
}
