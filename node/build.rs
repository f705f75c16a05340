//! Makes cargo build archyd again when the web UI that it embeds, or a migration, has changed.

use std::env;
use std::path::PathBuf;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=migrations");
    // A path that is missing would make every build run this again, so its parent stands in for it.
    let dist = manifest.join("../web/dist");
    let watched = if dist.exists() {
        dist
    } else {
        manifest.join("../web")
    };
    println!("cargo::rerun-if-changed={}", watched.display());
}
