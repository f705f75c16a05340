//! The command line: what it prints, and the codes it ends with.

use std::path::Path;
use std::process::{Command, Output};

fn archyd(root: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_archyd"))
        .args(arguments)
        .env_clear()
        .env("HOME", root)
        .env("XDG_RUNTIME_DIR", root.join("run"))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_claim_code_is_printed_alone_and_stays_the_same() {
    let root = tempfile::tempdir().unwrap();
    let first = archyd(root.path(), &["claim"]);
    let code = text(&first.stdout).trim();
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(code.len(), 19, "{code}");
    let again = archyd(root.path(), &["claim"]);
    assert_eq!(text(&again.stdout).trim(), code);
    let reset = archyd(root.path(), &["claim", "--reset"]);
    assert_ne!(text(&reset.stdout).trim(), code);
}

#[test]
fn a_wrong_configuration_names_the_key_and_ends_with_2() {
    let root = tempfile::tempdir().unwrap();
    let wrong = archyd(root.path(), &["run", "--set", "api.listn=127.0.0.1:1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(
        text(&wrong.stderr),
        "archyd: unknown key api.listn in --set; did you mean api.listen?\n"
    );
    let file = root.path().join(".config/archy/archyd.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "[api]\nlisten = \n").unwrap();
    let wrong = archyd(root.path(), &["version"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("archyd.toml is not valid TOML"));
}

#[test]
fn the_printed_defaults_are_a_configuration() {
    let root = tempfile::tempdir().unwrap();
    let defaults = archyd(root.path(), &["defaults"]);
    let file = root.path().join("defaults.toml");
    std::fs::write(&file, &defaults.stdout).unwrap();
    let read = archyd(
        root.path(),
        &["version", "--config", file.to_str().unwrap()],
    );
    assert!(read.status.success(), "{}", text(&read.stderr));
    assert_eq!(
        text(&read.stdout),
        concat!("archyd ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn without_a_runtime_directory_it_says_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_archyd"))
        .env_clear()
        .env("HOME", root.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("loginctl enable-linger"));
}
