//! Makes archyd a service of its user, and tells what the machine lacks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use archy_orchestrator::runtime::systemd::{JobResult, Systemd, SystemdError, Verb};
use archy_orchestrator::{Check, MachineError, can_confine, node_unit};

use crate::config::Paths;
use crate::daemon::host_config;
use crate::machine::{Host, HostError};

/// Name of the daemon's own unit.
pub const UNIT: &str = "archyd.service";

/// archyd could not be made a service.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Directories.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Pause unit and podman's socket.
    #[error("could not prepare podman for apps")]
    Machine(#[from] MachineError),
    /// systemd.
    #[error("could not reach the user's systemd")]
    Systemd(#[from] SystemdError),
    /// The unit's file.
    #[error("could not write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It does not start.
    #[error("archyd does not start ({0}); read `journalctl --user -u archyd`")]
    Start(String),
}

/// Writes and enables archyd's unit and what apps need; starts it with `now`. Doing it again changes nothing.
///
/// # Errors
///
/// [`SetupError`].
pub async fn install(paths: &Paths, program: &Path, now: bool) -> Result<PathBuf, SetupError> {
    let config = host_config(paths);
    let systemd = Arc::new(Systemd::new(&config.bus_socket));
    let host = Host::connect(config)?;
    host.setup().await?;
    let path = paths.user_unit_dir.join(UNIT);
    let is_confined = can_confine(&systemd).await;
    if !is_confined {
        tracing::warn!(
            "this machine lets no service have a user namespace of its own, so archyd.service is confined less"
        );
    }
    let text = node_unit(program, is_confined);
    if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
        let write = |source| SetupError::Write {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&paths.user_unit_dir).map_err(write)?;
        std::fs::write(&path, text).map_err(write)?;
        systemd.reload().await?;
    }
    systemd.enable(&[UNIT]).await?;
    if now {
        let result = systemd.job(Verb::Restart, UNIT).await?;
        if result != JobResult::Done {
            return Err(SetupError::Start(format!("{result:?}")));
        }
    }
    Ok(path)
}

/// Looks at the machine.
///
/// # Errors
///
/// [`HostError`] when not even its directories can be made.
pub async fn doctor(paths: &Paths) -> Result<Vec<Check>, HostError> {
    let host = Host::connect(host_config(paths))?;
    let mut checks = host.doctor().await;
    let socket = paths.socket();
    let answers = tokio::net::UnixStream::connect(&socket).await.is_ok();
    checks.push(Check {
        name: "archyd".to_owned(),
        ok: answers,
        found: if answers {
            format!("answers on {}", socket.display())
        } else {
            "does not run".to_owned()
        },
        hint: (!answers).then(|| "run `archyd setup --now`".to_owned()),
    });
    Ok(checks)
}
