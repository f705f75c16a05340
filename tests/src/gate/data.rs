//! Data that the gate leaves with an app and looks for later: a file in each volume, a record that the app itself keeps,
//! and the secrets that the node made.

use anyhow::{Context, ensure};

use super::look::Look;
use super::shelf::{App, Record};
use crate::node::TestNode;

/// The file's name in each volume.
const PROBE: &str = ".archy-gate-probe";

/// What was left with an app.
#[derive(Debug, Clone)]
pub struct Data {
    token: String,
    /// Each volume's folder on the node and where it is in which container.
    volumes: Vec<Place>,
    record: Option<(String, Record)>,
    secrets_dir: String,
    secrets: String,
}

#[derive(Debug, Clone)]
struct Place {
    folder: String,
    container: String,
    target: String,
}

impl Data {
    /// Leaves data with a running app. `data_dir` is its folder of volumes on the node, `token` what to leave.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or is not found at once.
    pub async fn leave(
        node: &TestNode,
        app: &App,
        data_dir: &str,
        token: &str,
        look: &Look,
    ) -> anyhow::Result<Self> {
        let slug = app.slug();
        let name = |container: &str| {
            let single = app.manifest.containers.len() == 1;
            if single {
                slug.to_owned()
            } else {
                format!("{slug}-{container}")
            }
        };
        let mut volumes = Vec::new();
        for container in &app.manifest.containers {
            for volume in &container.volumes {
                volumes.push(Place {
                    folder: format!("{data_dir}/{}", volume.name),
                    container: name(container.name.as_str()),
                    target: volume.target.clone(),
                });
            }
        }
        let secrets_dir = format!(".local/share/archy/apps/{slug}/secrets");
        let record = app.notes.record.clone();
        let data = Self {
            token: token.to_owned(),
            volumes,
            record: record.map(|record| (name(&record.container), record)),
            secrets: secrets(node, &secrets_dir).await?,
            secrets_dir,
        };
        for place in &data.volumes {
            let script = "printf %s \"$2\" >\"$1\"; chown --reference=\"$(dirname \"$1\")\" \"$1\"; sync \"$1\"";
            unshare(node, script, &[&place.probe(), token])
                .await
                .with_context(|| format!("writing {}", place.probe()))?;
        }
        data.write_record(node).await?;
        data.is_in_use(node, look).await?;
        Ok(data)
    }

    /// Tells whether the app has volumes.
    pub fn has_volumes(&self) -> bool {
        !self.volumes.is_empty()
    }

    /// Tells whether the node made secrets for the app.
    pub fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Tells whether the app itself keeps something that it can lose.
    pub fn has_record(&self) -> bool {
        let record = self.record.as_ref();
        record.is_some_and(|(_, record)| !record.lose.is_empty())
    }

    /// Checks that the data is on the node's disk.
    ///
    /// # Errors
    ///
    /// When it is not, or is another.
    pub async fn is_on_disk(&self, node: &TestNode) -> anyhow::Result<()> {
        for place in &self.volumes {
            self.reads(node, &place.probe()).await?;
        }
        let now = secrets(node, &self.secrets_dir).await?;
        ensure!(
            now == self.secrets,
            "the secrets in {} are not those of before",
            self.secrets_dir
        );
        Ok(())
    }

    /// Checks that the data is on the disk, that the containers see it where they expect it, and that the app has its record.
    ///
    /// # Errors
    ///
    /// When it is not, or is another.
    pub async fn is_in_use(&self, node: &TestNode, look: &Look) -> anyhow::Result<()> {
        self.is_on_disk(node).await?;
        for place in &self.volumes {
            let mut containers = look.containers.iter();
            let seen = containers
                .find(|seen| seen.name == place.container)
                .with_context(|| format!("there is no container {}", place.container))?;
            let inside = format!("/proc/{}/root{}/{PROBE}", seen.pid, place.target);
            self.reads(node, &inside)
                .await
                .with_context(|| format!("in container {}", place.container))?;
        }
        if let Some((container, record)) = &self.record {
            let said = execute(node, container, &record.read, &self.token)
                .await
                .context("asking the app for its record")?;
            ensure!(
                said.trim() == self.token,
                "the app's record is {said:?}, not {:?}",
                self.token
            );
        }
        Ok(())
    }

    /// Puts every probe out of sight, for a proof that it is missed.
    ///
    /// # Errors
    ///
    /// When a file cannot be moved.
    pub async fn hide(&self, node: &TestNode) -> anyhow::Result<()> {
        self.move_probes(node, "mv \"$1\" \"$1.hidden\"").await
    }

    /// Takes back [`Data::hide`].
    ///
    /// # Errors
    ///
    /// When a file cannot be moved.
    pub async fn bring_back(&self, node: &TestNode) -> anyhow::Result<()> {
        self.move_probes(node, "mv \"$1.hidden\" \"$1\"").await
    }

    /// Puts the secrets out of sight.
    ///
    /// # Errors
    ///
    /// When they cannot be moved.
    pub async fn hide_secrets(&self, node: &TestNode) -> anyhow::Result<()> {
        let hidden = format!("{}.hidden", self.secrets_dir);
        node.exec_ok(&["mv", &self.secrets_dir, &hidden]).await?;
        Ok(())
    }

    /// Takes back [`Data::hide_secrets`].
    ///
    /// # Errors
    ///
    /// When they cannot be moved.
    pub async fn bring_back_secrets(&self, node: &TestNode) -> anyhow::Result<()> {
        let hidden = format!("{}.hidden", self.secrets_dir);
        // archyd may have made an empty folder meanwhile, which mv would put them into.
        node.exec_ok(&["rm", "-rf", &self.secrets_dir]).await?;
        node.exec_ok(&["mv", &hidden, &self.secrets_dir]).await?;
        Ok(())
    }

    /// Has the app write its record, if it can.
    ///
    /// # Errors
    ///
    /// When it fails to.
    pub async fn write_record(&self, node: &TestNode) -> anyhow::Result<()> {
        if let Some((container, record)) = &self.record {
            execute(node, container, &record.write, &self.token)
                .await
                .context("having the app write a record")?;
        }
        Ok(())
    }

    /// Has the app lose its record.
    ///
    /// # Errors
    ///
    /// When it fails to.
    pub async fn lose_record(&self, node: &TestNode) -> anyhow::Result<()> {
        if let Some((container, record)) = &self.record {
            execute(node, container, &record.lose, &self.token)
                .await
                .context("having the app lose its record")?;
        }
        Ok(())
    }

    async fn move_probes(&self, node: &TestNode, script: &str) -> anyhow::Result<()> {
        let mut probes: Vec<String> = self.volumes.iter().map(Place::probe).collect();
        probes.sort_unstable();
        probes.dedup();
        for probe in probes {
            unshare(node, script, &[&probe]).await?;
        }
        Ok(())
    }

    async fn reads(&self, node: &TestNode, path: &str) -> anyhow::Result<()> {
        let found = unshare(node, "cat \"$1\"", &[path])
            .await
            .with_context(|| format!("the data in {path} is gone"))?;
        ensure!(
            found == self.token,
            "{path} holds {found:?}, not {:?}",
            self.token
        );
        Ok(())
    }
}

impl Place {
    fn probe(&self) -> String {
        format!("{}/{PROBE}", self.folder)
    }
}

/// Runs a script as the user to whom all of an app's users belong.
async fn unshare(node: &TestNode, script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut argv = vec!["podman", "unshare", "sh", "-e", "-c", script, "sh"];
    argv.extend(arguments);
    Ok(node.exec_ok(&argv).await?)
}

async fn execute(
    node: &TestNode,
    container: &str,
    command: &[String],
    token: &str,
) -> anyhow::Result<String> {
    let command: Vec<String> = command
        .iter()
        .map(|word| word.replace("{token}", token))
        .collect();
    let mut argv = vec!["podman", "exec", container];
    argv.extend(command.iter().map(String::as_str));
    Ok(node.exec_ok(&argv).await?)
}

/// A word that is another one as soon as a secret is.
async fn secrets(node: &TestNode, folder: &str) -> anyhow::Result<String> {
    let script = "cd \"$1\" 2>/dev/null || exit 0; find . -type f | sort | xargs -r sha256sum";
    Ok(node.exec_ok(&["sh", "-c", script, "sh", folder]).await?)
}
