//! Where things are on disk (XDG base directories; `ARCHY_DATA_DIR` moves the data).

use std::path::{Path, PathBuf};

use super::layer::Environment;

/// Directories and files of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The user's home.
    pub home: PathBuf,
    /// The usual configuration file.
    pub config_file: PathBuf,
    /// Everything that must be kept.
    pub data_dir: PathBuf,
    /// Sockets.
    pub runtime_dir: PathBuf,
    /// `$XDG_RUNTIME_DIR` itself.
    pub user_runtime_dir: PathBuf,
    /// Quadlet units of all apps.
    pub unit_dir: PathBuf,
    /// The user's systemd units.
    pub user_unit_dir: PathBuf,
}

/// There is no place to put things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// No home directory.
    #[error(
        "HOME is not set to an absolute path; archyd runs as an ordinary user with a home directory"
    )]
    Home,
    /// No runtime directory.
    #[error(
        "XDG_RUNTIME_DIR is not set; archyd needs a login session or `loginctl enable-linger` for its user"
    )]
    Runtime,
}

impl Paths {
    /// Reads `HOME`, `XDG_*` and `ARCHY_DATA_DIR`; `data_dir` wins over all of them.
    ///
    /// # Errors
    ///
    /// [`PathsError`] when a directory that is needed has no name.
    pub fn discover(
        environment: &Environment,
        data_dir: Option<&Path>,
    ) -> Result<Self, PathsError> {
        let absolute = |name: &str| {
            environment
                .get(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let home = absolute("HOME").ok_or(PathsError::Home)?;
        let config = absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let data = absolute("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
        let runtime = absolute("XDG_RUNTIME_DIR").ok_or(PathsError::Runtime)?;
        Ok(Self {
            config_file: config.join("archy/archyd.toml"),
            data_dir: data_dir
                .map(Path::to_owned)
                .or_else(|| absolute("ARCHY_DATA_DIR"))
                .unwrap_or_else(|| data.join("archy")),
            runtime_dir: runtime.join("archy"),
            unit_dir: config.join("containers/systemd/archy"),
            user_unit_dir: config.join("systemd/user"),
            user_runtime_dir: runtime,
            home,
        })
    }

    /// The Unix socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("archyd.sock")
    }

    /// Jobs and sessions.
    pub fn node_db(&self) -> PathBuf {
        self.data_dir.join("node.db")
    }

    /// Catalog, evidence and releases.
    pub fn registry_db(&self) -> PathBuf {
        self.data_dir.join("archy.db")
    }

    /// The owner's lists of registries.
    pub fn registries_file(&self) -> PathBuf {
        self.data_dir.join("registries.json")
    }

    /// Signed releases that were put on this machine by hand.
    pub fn manifests_dir(&self) -> PathBuf {
        self.data_dir.join("manifests")
    }

    /// For images on their way.
    pub fn work_dir(&self) -> PathBuf {
        self.data_dir.join("work")
    }

    /// What the owner lets the node show, install and update by itself.
    pub fn policy_file(&self) -> PathBuf {
        self.data_dir.join("policy.json")
    }

    /// What the owner lets the node give away to others.
    pub fn seeding_file(&self) -> PathBuf {
        self.data_dir.join("seeding.json")
    }

    /// Keys and the password's hash.
    pub fn keys_dir(&self) -> PathBuf {
        self.data_dir.join("keys")
    }
}
