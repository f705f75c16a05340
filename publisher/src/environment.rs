//! Where things are for this user: the only module that reads the process's environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use archy_orchestrator::Config;

use crate::failure::Failure;

/// The environment variables that matter, taken once.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes the variables of this process.
    pub fn of_process() -> Self {
        std::env::vars().collect()
    }

    /// Returns the node's socket: `$XDG_RUNTIME_DIR/archy/archyd.sock`.
    ///
    /// # Errors
    ///
    /// When `XDG_RUNTIME_DIR` is not set.
    pub fn node_socket(&self) -> Result<PathBuf, Failure> {
        Ok(self.runtime_dir()?.join("archy/archyd.sock"))
    }

    /// Returns podman's REST socket: `$XDG_RUNTIME_DIR/podman/podman.sock`.
    ///
    /// # Errors
    ///
    /// When `XDG_RUNTIME_DIR` is not set.
    pub fn podman_socket(&self) -> Result<PathBuf, Failure> {
        Ok(self.runtime_dir()?.join("podman/podman.sock"))
    }

    /// Returns the folder of the publisher's keys: `$XDG_CONFIG_HOME/archy/identity`.
    ///
    /// # Errors
    ///
    /// When `HOME` is not set.
    pub fn identity_dir(&self) -> Result<PathBuf, Failure> {
        Ok(self
            .home_dir("XDG_CONFIG_HOME", ".config")?
            .join("archy/identity"))
    }

    /// Returns the folder for a command's temporary files.
    pub fn work_dir(&self) -> PathBuf {
        self.absolute("TMPDIR")
            .unwrap_or_else(|| PathBuf::from("/var/tmp"))
    }

    /// Returns where apps run from their folders: `dev` in the data directory that a node of this user has
    /// (`ARCHY_DATA_DIR`, else `$XDG_DATA_HOME/archy`), with the same systemd and podman.
    ///
    /// # Errors
    ///
    /// When `HOME` or `XDG_RUNTIME_DIR` is not set.
    pub fn development(&self) -> Result<Config, Failure> {
        let no_home = || Failure::failed("noHome", "HOME is not set to an absolute path");
        let home = self.absolute("HOME").ok_or_else(no_home)?;
        let data = match self.absolute("ARCHY_DATA_DIR") {
            Some(directory) => directory,
            None => self
                .home_dir("XDG_DATA_HOME", ".local/share")?
                .join("archy"),
        };
        let config = self.home_dir("XDG_CONFIG_HOME", ".config")?;
        Ok(Config {
            unit_dir: config.join("containers/systemd/archy"),
            staging_dir: config.join("containers/archy-staging"),
            user_unit_dir: config.join("systemd/user"),
            ..Config::usual(home, self.runtime_dir()?, data.join("dev"))
        })
    }

    fn runtime_dir(&self) -> Result<PathBuf, Failure> {
        self.absolute("XDG_RUNTIME_DIR").ok_or_else(|| {
            Failure::failed(
                "noRuntimeDir",
                "XDG_RUNTIME_DIR is not set, so neither the node nor podman can be found",
            )
            .hint("Log in as the user that runs archyd (`su` makes no session), or name its socket with --node")
        })
    }

    fn home_dir(&self, variable: &str, below_home: &str) -> Result<PathBuf, Failure> {
        self.absolute(variable)
            .or_else(|| Some(self.absolute("HOME")?.join(below_home)))
            .ok_or_else(|| Failure::failed("noHome", "HOME is not set to an absolute path"))
    }

    fn absolute(&self, variable: &str) -> Option<PathBuf> {
        self.0
            .get(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}
