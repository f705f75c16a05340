//! The cheapest correct way to do by hand what an install does: write the same units, have systemd read them, start them,
//! wait until the container is healthy. No process of its own: systemd is asked over D-Bus, as archy asks it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use archy_orchestrator::runtime::podman::Podman;
use archy_orchestrator::runtime::systemd::{JobResult, Systemd, Verb};

use crate::Failure;

/// What archy calls the app, and the hand calls its copy; as long, so that the files are.
const OURS: &str = "archy.";
const THEIRS: &str = "bare5.";

/// The units of an installed app under other names and marks, so that the daemon takes no notice of them.
pub(crate) struct Bare {
    directory: PathBuf,
    files: BTreeMap<String, String>,
    service: String,
    networks: Vec<String>,
    pub(crate) systemd: Systemd,
    podman: Podman,
}

impl Bare {
    /// Reads the units of an installed app.
    pub(crate) fn of(app: &str) -> Result<Self, Failure> {
        let home = PathBuf::from(std::env::var("HOME")?);
        let runtime = PathBuf::from(std::env::var("XDG_RUNTIME_DIR")?);
        let quadlet = home.join(".config/containers/systemd");
        std::fs::create_dir_all(&quadlet)?;
        std::fs::write(home.join("bare-wanted"), "")?;
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(quadlet.join("archy").join(app))?.flatten() {
            let name = entry.file_name().to_string_lossy().replace(OURS, THEIRS);
            let text = std::fs::read_to_string(entry.path())?;
            files.insert(name, renamed(&text, app, &home));
        }
        let services = files
            .keys()
            .filter_map(|name| name.strip_suffix(".container"));
        let service = services
            .map(|stem| format!("{stem}.service"))
            .next()
            .ok_or("an app without a container")?;
        let networks = files.values().flat_map(|text| text.lines());
        let networks = networks
            .filter_map(|line| line.strip_prefix("NetworkName="))
            .map(str::to_owned)
            .collect();
        Ok(Self {
            directory: quadlet.join("bare"),
            files,
            service,
            networks,
            systemd: Systemd::new(&runtime.join("bus")),
            podman: Podman::new(runtime.join("podman/podman.sock")),
        })
    }

    /// Installs by hand and returns how long that took.
    pub(crate) async fn install(&self) -> Result<Duration, Failure> {
        let began = Instant::now();
        std::fs::create_dir_all(&self.directory)?;
        for (name, text) in &self.files {
            std::fs::write(self.directory.join(name), text)?;
        }
        self.systemd.reload().await?;
        let started = self.systemd.job(Verb::Start, &self.service).await?;
        let took = began.elapsed();
        match started {
            JobResult::Done => Ok(took),
            other @ (JobResult::Failed | JobResult::Dependency | JobResult::Other(_)) => {
                Err(format!("{} did not start: {other:?}", self.service).into())
            }
        }
    }

    /// Leaves nothing.
    pub(crate) async fn remove(&self) -> Result<(), Failure> {
        self.systemd.job(Verb::Stop, &self.service).await?;
        self.systemd.reset_failed(&self.service).await?;
        for name in self.files.keys() {
            if let Some((stem, kind @ ("network" | "volume"))) = name.rsplit_once('.') {
                let unit = format!("{stem}-{kind}.service");
                self.systemd.job(Verb::Stop, &unit).await?;
            }
        }
        for network in &self.networks {
            self.podman.remove_network(network).await?;
        }
        std::fs::remove_dir_all(&self.directory)?;
        self.systemd.reload().await?;
        Ok(())
    }
}

fn renamed(text: &str, app: &str, home: &Path) -> String {
    let lines = text.lines().map(|line| {
        if line.starts_with("ConditionPathExists=") {
            return format!("ConditionPathExists={}/bare-wanted", home.display());
        }
        if let Some(name) = line.strip_prefix("ContainerName=") {
            return format!(
                "ContainerName=bare5-{}",
                name.strip_prefix(app).unwrap_or(name)
            );
        }
        line.replace("archy.", THEIRS).replace("X-Archy", "X-Bare5")
    });
    // The pause unit is the node's, whoever installs.
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
