//! The stage of an end-to-end run: archyd set up on test nodes, apps published, stores claimed.
//!
//! One piece of code for the tests, `make demo` and `make bench`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use archyd::api::types::{
    AppCard, AppPage, AppRef, InstallParams, Instance, InstanceList, InstanceState, Job, JobParams,
    JobRef, JobState, SearchParams, SearchResult,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::node::{Bed, TestNode, wait_until};

/// Port of the store UI and API on every node.
pub const API_PORT: u16 = 8480;
/// Port of the embedded relay on the publisher's node.
pub const RELAY_PORT: u16 = 8490;
/// Where archyd's socket is on a node.
const SOCKET: &str = "/run/user/1000/archy/archyd.sock";
/// Longest that any job of a test may take.
const JOB_DEADLINE: Duration = Duration::from_secs(180);
/// Longest that news may take from one node to the next.
const NEWS_DEADLINE: Duration = Duration::from_secs(60);

/// The publisher's node and the store nodes of a run: `a` publishes and runs the relay, the others follow it.
#[derive(Debug)]
pub struct Stage<const STORES: usize> {
    /// The publisher's node, with the embedded relay.
    pub publisher: Archyd,
    /// The nodes that install.
    pub stores: [Archyd; STORES],
    /// Their network; the last to go.
    pub bed: Bed,
}

impl<const STORES: usize> Stage<STORES> {
    /// Boots the nodes of `bed` and sets archyd up on each.
    ///
    /// # Errors
    ///
    /// When the host lacks something, a node does not boot or a daemon does not answer.
    pub async fn set_up(
        bed: Bed,
        programs: &Programs,
        stores: [&str; STORES],
    ) -> anyhow::Result<Self> {
        let (publisher, stores) = raise(&bed, programs, &stores).await?;
        let stores = stores
            .try_into()
            .ok()
            .context("the bed booted other nodes than were asked for")?;
        Ok(Self {
            publisher,
            stores,
            bed,
        })
    }

    /// Runs `test` and, when it fails, keeps the journal of every node below `target/test-logs/NAME`.
    ///
    /// # Errors
    ///
    /// What `test` returns, and where the journals are.
    pub async fn logged<T>(
        &self,
        name: &str,
        test: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        match test.await {
            Ok(value) => Ok(value),
            Err(error) => {
                let folder = repository().join("target/test-logs").join(name);
                for node in self.nodes() {
                    // A node that a test switched off has no journal to give; the test's own error matters more.
                    let _ = node.collect_logs(&folder).await;
                }
                Err(error.context(format!("journals of the nodes: {}", folder.display())))
            }
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &TestNode> {
        std::iter::once(&self.publisher.node).chain(self.stores.iter().map(|store| &store.node))
    }
}

/// Boots the publisher's node and as many others as there are names, and sets archyd up on each.
///
/// # Errors
///
/// Like [`Stage::set_up`].
pub async fn raise(
    bed: &Bed,
    programs: &Programs,
    stores: &[&str],
) -> anyhow::Result<(Archyd, Vec<Archyd>)> {
    let names: Vec<&str> = std::iter::once("a").chain(stores.iter().copied()).collect();
    let mut nodes = bed.all(&names).await?.into_iter();
    let first = nodes.next().context("the bed booted no node")?;
    let relay = format!("ws://{}:{RELAY_PORT}", first.ip().await?);
    let own_relay = format!("[relay]\nlisten = \"0.0.0.0:{RELAY_PORT}\"\n");
    let publisher = Archyd::set_up(first, programs, &config("", &own_relay)).await?;
    let followers = nodes.map(|node| {
        let config = config(&format!("\"{relay}\""), "");
        async move { Archyd::set_up(node, programs, &config).await }
    });
    let stores = futures_util::future::try_join_all(followers).await?;
    Ok((publisher, stores))
}

/// The configuration of a node that a browser on the host can open.
fn config(relays: &str, further: &str) -> String {
    format!("[api]\nlisten = \"0.0.0.0:{API_PORT}\"\n[nostr]\nrelays = [{relays}]\n{further}")
}

/// The two programs, as `make build` left them.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The command line.
    pub archy: PathBuf,
    /// The daemon.
    pub archyd: PathBuf,
}

impl Programs {
    /// Finds the programs beside the running one.
    ///
    /// # Errors
    ///
    /// When `make build` has not made them.
    pub fn built() -> anyhow::Result<Self> {
        let running = std::env::current_exe().context("finding the running program")?;
        running
            .ancestors()
            .skip(1)
            .take(2)
            .find_map(Self::in_dir)
            .context("archy and archyd are not built: run make build")
    }

    /// Finds the programs in `dir`.
    pub fn in_dir(dir: &Path) -> Option<Self> {
        let programs = Self {
            archy: dir.join("archy"),
            archyd: dir.join("archyd"),
        };
        (programs.archy.is_file() && programs.archyd.is_file()).then_some(programs)
    }
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is below the repository's root")
}

/// Where `make apps` puts the images.
pub fn app_images() -> PathBuf {
    std::env::var_os("ARCHY_APPS_OUT")
        .map_or_else(|| repository().join("target/apps"), PathBuf::from)
}

/// An app of this repository, ready to be published.
#[derive(Debug, Clone)]
pub struct ShippedApp {
    /// Its slug.
    pub slug: &'static str,
    /// Its containers.
    pub containers: &'static [&'static str],
}

/// A page in a scratch image.
pub const HELLO: ShippedApp = ShippedApp {
    slug: "hello",
    containers: &["web"],
};
/// Calendars and contacts: one container with data.
pub const RADICALE: ShippedApp = ShippedApp {
    slug: "radicale",
    containers: &["web"],
};
/// A site with its database: a stack with a private network and a generated secret.
pub const WORDPRESS: ShippedApp = ShippedApp {
    slug: "wordpress",
    containers: &["db", "web"],
};
/// The apps that ship with the project; the smallest first.
pub const SHIPPED_APPS: [&ShippedApp; 3] = [&HELLO, &RADICALE, &WORDPRESS];

/// A node with archyd on it.
#[derive(Debug)]
pub struct Archyd {
    /// The machine.
    pub node: TestNode,
}

impl Archyd {
    /// Installs the programs on `node`, writes its configuration and starts the daemon.
    ///
    /// # Errors
    ///
    /// When a command on the node fails or the daemon does not answer.
    pub async fn set_up(node: TestNode, programs: &Programs, config: &str) -> anyhow::Result<Self> {
        let folder = "/home/archy/programs";
        node.exec_ok(&["mkdir", "-p", folder]).await?;
        let installer = repository().join("scripts/install.sh");
        for file in [&programs.archy, &programs.archyd, &installer] {
            let name = file
                .file_name()
                .context("a program without a name")?
                .to_string_lossy();
            node.push(file, &format!("{folder}/{name}")).await?;
        }
        // What `make install` runs.
        node.exec_root(&["bash", &format!("{folder}/install.sh"), folder])
            .await?;
        let local = tempfile::NamedTempFile::new().context("writing the configuration")?;
        std::fs::write(local.path(), config).context("writing the configuration")?;
        node.exec_ok(&["mkdir", "-p", "/home/archy/.config/archy"])
            .await?;
        node.push(local.path(), "/home/archy/.config/archy/archyd.toml")
            .await?;
        node.exec_ok(&["archyd", "setup", "--now"]).await?;
        let archyd = Self { node };
        archyd.answers().await?;
        Ok(archyd)
    }

    /// Waits until the daemon answers.
    ///
    /// # Errors
    ///
    /// When it does not within a minute.
    pub async fn answers(&self) -> anyhow::Result<()> {
        awaited("archyd answers", NEWS_DEADLINE, async || {
            Ok(self.call::<_, Value>("node.status", json!({})).await.ok())
        })
        .await?;
        Ok(())
    }

    /// Calls a method of the API over the daemon's own socket.
    ///
    /// # Errors
    ///
    /// When the daemon cannot be reached or answers with an error; the text holds its message.
    pub async fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        params: P,
    ) -> anyhow::Result<R> {
        let request =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let output = self
            .node
            .exec_ok(&[
                "curl",
                "--silent",
                "--show-error",
                "--max-time",
                "60",
                "--unix-socket",
                SOCKET,
                "--header",
                "content-type: application/json",
                "--data-binary",
                &request,
                "http://localhost/rpc/v1",
            ])
            .await?;
        let mut answer: Value = serde_json::from_str(&output)
            .with_context(|| format!("{method} answered what is not JSON: {output}"))?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        serde_json::from_value(answer["result"].take())
            .with_context(|| format!("reading the answer of {method}"))
    }

    /// Makes the publisher's keys unless they are there.
    pub(crate) async fn has_identity(&self) -> anyhow::Result<()> {
        if !self
            .node
            .exec(&["archy", "identity", "show"])
            .await?
            .status
            .success()
        {
            self.node.exec_ok(&["archy", "identity", "new"]).await?;
        }
        Ok(())
    }

    /// Returns the URL of the store, as a browser on the host opens it.
    ///
    /// # Errors
    ///
    /// When the node has no address.
    pub async fn store_url(&self) -> anyhow::Result<String> {
        Ok(format!("http://{}:{API_PORT}", self.node.ip().await?))
    }

    /// Returns the code with which a person claims this store.
    ///
    /// # Errors
    ///
    /// When it has been claimed.
    pub async fn claim_code(&self) -> anyhow::Result<String> {
        Ok(self
            .node
            .exec_ok(&["archyd", "claim"])
            .await?
            .trim()
            .to_owned())
    }

    /// Publishes an app of this repository from this node and returns what `archy publish --json` said.
    ///
    /// # Errors
    ///
    /// When the images are not built (`make apps`) or the command refuses.
    pub async fn publish(&self, app: &ShippedApp) -> anyhow::Result<Value> {
        self.has_identity().await?;
        self.publish_as(app, None).await
    }

    /// Publishes an app of this repository as another version, with the keys that the node has.
    ///
    /// # Errors
    ///
    /// As [`Archyd::publish`].
    pub async fn publish_version(&self, app: &ShippedApp, version: &str) -> anyhow::Result<Value> {
        self.publish_as(app, Some(version)).await
    }

    async fn publish_as(&self, app: &ShippedApp, version: Option<&str>) -> anyhow::Result<Value> {
        let folder = format!("/home/archy/{}", app.slug);
        self.node
            .push(&repository().join("apps").join(app.slug), &folder)
            .await?;
        if let Some(version) = version {
            let edit = format!("s/^  version: .*/  version: {version}/");
            let manifest = format!("{folder}/manifest.yml");
            self.node
                .exec_ok(&["sed", "--in-place", &edit, &manifest])
                .await?;
        }
        let mut argv = vec![
            "archy".to_owned(),
            "--json".to_owned(),
            "publish".to_owned(),
            folder,
        ];
        for container in app.containers {
            let archive = app_images()
                .join(app.slug)
                .join(format!("{container}.oci.tar"));
            ensure!(
                archive.is_file(),
                "{} is missing: run make apps",
                archive.display()
            );
            let remote = format!("/home/archy/{}-{container}.oci.tar", app.slug);
            self.node.push(&archive, &remote).await?;
            argv.extend([
                "--image".to_owned(),
                format!("{container}=oci-archive:{remote}"),
            ]);
        }
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let said = self.node.exec_ok(&argv).await?;
        serde_json::from_str(&said).with_context(|| format!("archy publish --json said: {said}"))
    }

    /// Waits until the catalog shows `slug` and returns which app it is.
    ///
    /// # Errors
    ///
    /// When the news has not arrived within a minute.
    pub async fn hears_of(&self, slug: &str) -> anyhow::Result<AppRef> {
        awaited(
            &format!("{slug} is in the catalog"),
            NEWS_DEADLINE,
            async || self.knows(slug).await,
        )
        .await
    }

    /// Waits until the catalog shows this very app.
    ///
    /// # Errors
    ///
    /// When the news has not arrived within a minute.
    pub async fn hears_from(&self, app: &AppRef) -> anyhow::Result<()> {
        awaited(
            &format!("{app:?} is in the catalog"),
            NEWS_DEADLINE,
            async || {
                let known = self.search(&app.slug).await?;
                Ok(known.into_iter().find(|card| card.app == *app).map(drop))
            },
        )
        .await
    }

    /// Waits until the catalog shows the app with this slug that `publisher` published.
    ///
    /// # Errors
    ///
    /// When the publisher's own node does not know it or the news has not arrived within a minute.
    pub async fn hears_from_node(&self, publisher: &Self, slug: &str) -> anyhow::Result<AppRef> {
        let identity: Value = serde_json::from_str(
            &publisher
                .node
                .exec_ok(&["archy", "--json", "identity", "show"])
                .await?,
        )?;
        let did = identity["did"]
            .as_str()
            .context("archy identity show tells no did")?;
        let app = AppRef {
            publisher: did.to_owned(),
            slug: slug.to_owned(),
        };
        self.hears_from(&app).await?;
        Ok(app)
    }

    /// Waits until `seq` is the newest counter that this node has seen of the app.
    ///
    /// # Errors
    ///
    /// When the news has not arrived within a minute.
    pub async fn hears_of_seq(&self, app: &AppRef, seq: u64) -> anyhow::Result<()> {
        awaited(
            &format!("release {seq} of {app:?} is known"),
            NEWS_DEADLINE,
            async || {
                let page: AppPage = self.call("store.show", app).await?;
                Ok((page.versions.first().map(|version| version.seq) == Some(seq)).then_some(()))
            },
        )
        .await
    }

    /// Returns the app with this slug, if the catalog shows one now.
    ///
    /// # Errors
    ///
    /// When the daemon does not answer.
    pub async fn knows(&self, slug: &str) -> anyhow::Result<Option<AppRef>> {
        let known = self.search(slug).await?;
        Ok(known
            .into_iter()
            .map(|card| card.app)
            .find(|app| app.slug == slug))
    }

    async fn search(&self, query: &str) -> anyhow::Result<Vec<AppCard>> {
        let params = SearchParams {
            query: query.to_owned(),
            limit: Some(100),
            ..SearchParams::default()
        };
        let found: SearchResult = self.call("store.search", &params).await?;
        Ok(found.apps)
    }

    /// Installs an app with one call and waits for the job's end, whichever it is.
    ///
    /// # Errors
    ///
    /// When the call is refused or the job does not end.
    pub async fn install(&self, app: &AppRef) -> anyhow::Result<Job> {
        let job: JobRef = self
            .call(
                "package.install",
                InstallParams {
                    app: app.clone(),
                    release: None,
                },
            )
            .await?;
        self.ends(&job).await
    }

    /// Calls a method that starts a job and waits for the job's success.
    ///
    /// # Errors
    ///
    /// When the job ends otherwise.
    pub async fn does<P: Serialize>(&self, method: &str, params: P) -> anyhow::Result<Job> {
        let job: JobRef = self.call(method, params).await?;
        let job = self.ends(&job).await?;
        ensure!(
            job.state == JobState::Succeeded,
            "{method} ended {:?}: {:?}",
            job.state,
            job.problem
        );
        Ok(job)
    }

    /// Waits for a job's end, through restarts of the daemon.
    ///
    /// # Errors
    ///
    /// When it does not end within three minutes.
    pub async fn ends(&self, job: &JobRef) -> anyhow::Result<Job> {
        awaited(&format!("job {} ends", job.job), JOB_DEADLINE, async || {
            // The daemon may be down between two asks: that is what some tests are about.
            let Ok(job) = self
                .call::<_, Job>(
                    "job.show",
                    JobParams {
                        job: job.job.clone(),
                    },
                )
                .await
            else {
                return Ok(None);
            };
            Ok((!matches!(job.state, JobState::Queued | JobState::Running)).then_some(job))
        })
        .await
    }

    /// Returns the instance of `slug`, if there is one.
    ///
    /// # Errors
    ///
    /// When the daemon does not answer.
    pub async fn instance(&self, slug: &str) -> anyhow::Result<Option<Instance>> {
        let list: InstanceList = self.call("package.list", json!({})).await?;
        Ok(list
            .instances
            .into_iter()
            .find(|instance| instance.app.slug == slug))
    }

    /// Waits until the instance of `slug` is in `state`.
    ///
    /// # Errors
    ///
    /// When it is not within a minute.
    pub async fn becomes(&self, slug: &str, state: InstanceState) -> anyhow::Result<()> {
        awaited(&format!("{slug} is {state:?}"), NEWS_DEADLINE, async || {
            let found = self.instance(slug).await.ok().flatten();
            Ok(found.filter(|instance| instance.state == state).map(drop))
        })
        .await
    }

    /// Waits until `is_so` holds for the instance of `slug`.
    ///
    /// # Errors
    ///
    /// When it does not within a minute.
    pub async fn comes_to(
        &self,
        what: &str,
        slug: &str,
        is_so: impl Fn(&Instance) -> bool,
    ) -> anyhow::Result<()> {
        awaited(what, NEWS_DEADLINE, async || {
            let instance = self.instance(slug).await?;
            Ok(instance.filter(|instance| is_so(instance)).map(drop))
        })
        .await
    }

    /// Waits until the app's page shows this version, and returns the page.
    ///
    /// # Errors
    ///
    /// When it does not within a minute.
    pub async fn comes_to_offer(&self, app: &AppRef, version: &str) -> anyhow::Result<AppPage> {
        let what = format!("{} {version} is offered", app.slug);
        awaited(&what, NEWS_DEADLINE, async || {
            let page: AppPage = self.call("store.show", app).await?;
            Ok((page.card.version == version).then_some(page))
        })
        .await
    }

    /// Returns the address of the app's page, as the store's Open button builds it.
    ///
    /// # Errors
    ///
    /// When the app has no page or no port.
    pub async fn page_of(&self, instance: &Instance) -> anyhow::Result<String> {
        let page = instance
            .interfaces
            .iter()
            .find(|interface| interface.kind == "ui")
            .with_context(|| format!("{} has no page", instance.app.slug))?;
        let port = page
            .port
            .with_context(|| format!("the page of {} has no port", instance.app.slug))?;
        Ok(format!(
            "http://{}:{port}{}",
            self.node.ip().await?,
            page.path
        ))
    }

    /// Lists the running containers, each with the time at which it started.
    ///
    /// # Errors
    ///
    /// When podman fails.
    pub async fn containers(&self) -> anyhow::Result<Vec<String>> {
        let listed = self
            .node
            .exec_ok(&[
                "podman",
                "ps",
                "--no-trunc",
                "--format",
                "{{.ID}} {{.StartedAt}}",
            ])
            .await?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// Kills the daemon with SIGKILL; systemd starts it again.
    ///
    /// # Errors
    ///
    /// When systemd refuses.
    pub async fn kill_daemon(&self) -> anyhow::Result<()> {
        self.node
            .exec_ok(&[
                "systemctl",
                "--user",
                "kill",
                "--signal=SIGKILL",
                "archyd.service",
            ])
            .await?;
        Ok(())
    }

    /// Checks that no unit file, unit, container or network of `slug` is left.
    ///
    /// # Errors
    ///
    /// When one is; the text names it.
    pub async fn nothing_runs_of(&self, slug: &str) -> anyhow::Result<()> {
        ensure!(
            self.instance(slug).await?.is_none(),
            "{slug} is still listed"
        );
        let left = self.left_of(slug).await?;
        ensure!(left.is_empty(), "left of {slug}: {left:?}");
        Ok(())
    }

    /// Lists what the node still has of an app besides its data, by the names that the orchestrator gives.
    ///
    /// # Errors
    ///
    /// When systemd or podman do not answer.
    pub async fn left_of(&self, slug: &str) -> anyhow::Result<Vec<String>> {
        let script = format!(
            "set -e; \
             ls -d .config/containers/systemd/archy/{slug} 2>/dev/null || true; \
             systemctl --user list-units --all --plain --no-legend 'archy.{slug}.*' 'archy.{slug}-*'; \
             podman ps --all --format '{{{{.Names}}}}' --filter 'name=^{slug}(-|$)'; \
             podman network ls --format '{{{{.Name}}}}' --filter 'name=^archy.{slug}$'"
        );
        let left = self.node.exec_ok(&["sh", "-c", &script]).await?;
        Ok(left.lines().map(str::to_owned).collect())
    }
}

/// Looks until `look` finds something; its last error is the reason when it never does.
pub(crate) async fn awaited<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let mut last = Ok(None);
    let waited = wait_until(what, deadline, async || {
        last = look().await;
        matches!(last, Ok(Some(_)))
    })
    .await;
    match last {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(waited
            .err()
            .context("a wait that ended without a result")?
            .into()),
        Err(error) => Err(error.context(format!("waiting for: {what}"))),
    }
}
