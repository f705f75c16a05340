//! Builds the health probe: a static program that runs in any image, also one without a C library.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=probe/main.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let rustc = env::var("RUSTC").expect("cargo sets RUSTC");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("probe");
    let mut command = Command::new(rustc);
    command
        .args(["--edition=2024", "--crate-name=archy_probe", "--target"])
        .arg(&target)
        .args(["-C", "target-feature=+crt-static"])
        .args(["-C", "opt-level=z", "-C", "lto=fat", "-C", "panic=abort"])
        .args(["-C", "strip=symbols", "-C", "codegen-units=1"])
        .arg("-o")
        .arg(&out)
        .arg("probe/main.rs");
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        command.arg("-C").arg(format!("linker={linker}"));
    }
    let status = command.status().expect("rustc starts");
    assert!(
        status.success(),
        "the health probe does not build for {target}: a static link needs the C library's static files (Debian: libc6-dev)"
    );
}
