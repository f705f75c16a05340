//! Somebody with a home folder who types commands.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// The JSON document on standard output; nothing else may be there.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.err, "", "progress and --json do not mix");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) struct Person {
    home: tempfile::TempDir,
    archy: PathBuf,
    socket: Option<PathBuf>,
}

impl Person {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            archy: PathBuf::from(env!("CARGO_BIN_EXE_archy")),
            socket: None,
        }
    }

    /// Installs `archy` in the home folder, and beside it an `archyd` that is this script.
    pub(crate) fn with_archyd(script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let person = Self::new();
        let (archy, archyd) = (person.home().join("archy"), person.home().join("archyd"));
        std::fs::copy(&person.archy, &archy).unwrap();
        std::fs::write(&archyd, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&archyd, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { archy, ..person }
    }

    pub(crate) fn with_node(socket: &Path) -> Self {
        Self {
            socket: Some(socket.to_owned()),
            ..Self::new()
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn identity_dir(&self) -> PathBuf {
        self.home().join(".config/archy/identity")
    }

    /// Runs `archy` in the home folder.
    pub(crate) async fn types(&self, arguments: &[&str]) -> Answer {
        let mut command = tokio::process::Command::new(&self.archy);
        command
            .args(arguments)
            .current_dir(self.home())
            .env_clear()
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.home())
            .env("TMPDIR", self.home());
        if let Some(socket) = &self.socket {
            command.env("ARCHY_NODE", socket);
        }
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Answer {
            code: status.code().unwrap(),
            out: text(stdout),
            err: text(stderr),
        }
    }

    /// Runs `archy` and writes what a terminal would show, with the home folder as `~`.
    pub(crate) async fn terminal(&self, arguments: &[&str]) -> String {
        let Answer { code, out, err } = self.types(arguments).await;
        let mut text = format!("$ archy {}\n{err}{out}", arguments.join(" "));
        if code != 0 {
            text.push_str(&format!("[exit code {code}]\n"));
        }
        text.replace(&self.home().display().to_string(), "~")
    }
}
