//! What is measured on the node itself, as its user: each measurement is a command that prints its result as JSON.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use archy_orchestrator::runtime::podman::Podman;
use archy_orchestrator::runtime::systemd::{JobResult, Systemd, Verb};
use serde_json::{Value, json};

use crate::bare::Bare;
use crate::downtime::Prober;
use crate::{Failure, daemon};

/// Longest wait for news of the publisher, or for a daemon that starts.
const DEADLINE: Duration = Duration::from_secs(60);
const DAEMON: &str = "archyd.service";

/// Performs one command.
pub(crate) fn serve(words: &[&str]) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(async {
        match words {
            ["fill", apps @ ..] => fill(apps),
            ["install", app, runs] => installs(app, runs.parse()?, true).await,
            ["archy-only", app, runs] => installs(app, runs.parse()?, false).await,
            ["start", apps, runs] => starts(apps.parse()?, runs.parse()?).await,
            ["update", app, port, runs] => updates(app, port.parse()?, runs.parse()?).await,
            _ => Err("no such measurement".into()),
        }
    })?;
    println!("{found}");
    Ok(())
}

fn reference(slug: &str) -> Result<Value, Failure> {
    let page = daemon::call("store.search", &json!({"query": slug, "limit": 100}))?;
    let apps = page["apps"].as_array().into_iter().flatten();
    let mut found = apps
        .map(|card| &card["app"])
        .filter(|app| app["slug"] == slug);
    Ok(found.next().ok_or("it is not in the catalog")?.clone())
}

/// Waits until a look finds something.
fn awaited<T>(what: &str, look: impl Fn() -> Option<T>) -> Result<T, Failure> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("waited in vain for: {what}").into())
}

/// Installs every app that is given.
fn fill(apps: &[&str]) -> Result<Value, Failure> {
    let mut jobs = Vec::new();
    for app in apps {
        let app = awaited(app, || reference(app).ok())?;
        jobs.push(daemon::begin("package.install", &json!({ "app": app }))?);
    }
    for job in &jobs {
        daemon::ends(job)?;
    }
    Ok(json!(jobs.len()))
}

/// Installs again and again by archy and, between, by hand; the image is in podman each time.
async fn installs(slug: &str, runs: usize, by_hand: bool) -> Result<Value, Failure> {
    let app = awaited(slug, || reference(slug).ok())?;
    let install = || daemon::does("package.install", &json!({ "app": app }));
    let uninstall = || daemon::does("package.uninstall", &json!({ "slug": slug }));
    install()?;
    let image = image_of(slug)?;
    let bare = Bare::of(slug)?;
    uninstall()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..runs {
        for turn in [run % 2 == 0, run % 2 != 0] {
            if turn {
                image.put_back().await?;
                let began = Instant::now();
                install()?;
                ours.push(milliseconds(began.elapsed()));
                uninstall()?;
            } else if by_hand {
                theirs.push(milliseconds(bare.install().await?));
                bare.remove().await?;
            }
        }
    }
    Ok(json!({"archy": ours, "bare": theirs}))
}

/// An image that stays in podman though archy took its name away.
struct Image {
    podman: Podman,
    id: String,
    repository: String,
    tag: String,
}

impl Image {
    async fn put_back(&self) -> Result<(), Failure> {
        let Self { podman, id, .. } = self;
        Ok(podman.tag(id, &self.repository, &self.tag).await?)
    }
}

/// Finds the image of an installed app by the names that podman has.
fn image_of(slug: &str) -> Result<Image, Failure> {
    let names = output(&[
        "podman",
        "images",
        "--no-trunc",
        "--format",
        "{{.ID}} {{.Repository}} {{.Tag}}",
    ])?;
    let part = format!("/{slug}/");
    for line in names.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [id, repository, tag] = words[..]
            && repository.contains(&part)
        {
            return Ok(Image {
                podman: Podman::new(runtime_dir().join("podman/podman.sock")),
                id: id.trim_start_matches("sha256:").to_owned(),
                repository: repository.to_owned(),
                tag: tag.to_owned(),
            });
        }
    }
    Err(format!("podman has no image of {slug}: {names}").into())
}

/// Starts the daemon again and again: until its API answers, and until it tells of every app that it runs.
async fn starts(apps: usize, runs: usize) -> Result<Value, Failure> {
    let systemd = Systemd::new(&runtime_dir().join("bus"));
    systemd.job(Verb::Stop, DAEMON).await?;
    let (mut answered, mut told) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let began = Instant::now();
        let mut child = Command::new("archyd")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut first = None;
        tells_of(apps, || {
            first.get_or_insert_with(|| began.elapsed());
        })?;
        told.push(milliseconds(began.elapsed()));
        answered.extend(first.map(milliseconds));
        let process = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
        child.wait()?;
    }
    systemd.reset_failed(DAEMON).await?;
    systemd.job(Verb::Start, DAEMON).await?;
    Ok(json!({"answers": answered, "tells": told}))
}

/// Waits until the daemon tells of so many running apps; `answered` hears of every answer.
fn tells_of(apps: usize, mut answered: impl FnMut()) -> Result<(), Failure> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Ok(list) = daemon::call("package.list", &json!({})) {
            answered();
            let instances = list["instances"].as_array().into_iter().flatten();
            if instances.filter(|app| app["state"] == "running").count() >= apps {
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("the daemon does not tell of all apps".into())
}

/// Updates an app again and again and, between, restarts its unit by hand; both are how long its page did not answer.
async fn updates(slug: &str, port: u16, runs: usize) -> Result<Value, Failure> {
    let systemd = Systemd::new(&runtime_dir().join("bus"));
    let unit = format!("archy.{slug}.web.service");
    let (mut updates, mut restarts) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let version = format!("1.{}.0", run + 1);
        publish(slug, &version)?;
        let app = reference(slug)?;
        awaited("the new version", || {
            let page = daemon::call("store.show", &app).ok()?;
            (page["card"]["version"] == version.as_str()).then_some(())
        })?;
        for turn in [run % 2 == 0, run % 2 != 0] {
            let prober = Prober::on(port)?;
            if turn {
                daemon::does("package.update", &json!({ "slug": slug }))?;
                updates.push(milliseconds(prober.longest()?));
                let status = daemon::call("package.status", &json!({ "slug": slug }))?;
                if status["before"]["hasData"] != true {
                    return Err(format!("the update left no copy of the data: {status}").into());
                }
            } else {
                // systemd refuses a unit that is started too often.
                systemd.reset_failed(&unit).await?;
                let done = systemd.job(Verb::Restart, &unit).await?;
                if done != JobResult::Done {
                    return Err(format!("{unit} did not restart: {done:?}").into());
                }
                restarts.push(milliseconds(prober.longest()?));
            }
            // The look that the change asked for must not fall into the next measurement.
            std::thread::sleep(Duration::from_millis(700));
        }
    }
    Ok(json!({"update": updates, "restart": restarts}))
}

/// Publishes another version of an app that was published from this node.
fn publish(slug: &str, version: &str) -> Result<(), Failure> {
    let manifest = format!("apps/{slug}/manifest.yml");
    let text = std::fs::read_to_string(&manifest)?;
    let lines = text
        .lines()
        .map(|line| match line.starts_with("  version: ") {
            true => format!("  version: {version}"),
            false => line.to_owned(),
        });
    let text: Vec<String> = lines.collect();
    std::fs::write(&manifest, text.join("\n"))?;
    let folder = format!("apps/{slug}");
    output(&[
        "archy",
        "publish",
        &folder,
        "--image",
        "web=oci-archive:tiny.oci.tar",
    ])
    .map(drop)
}

fn output(words: &[&str]) -> Result<String, Failure> {
    let (program, arguments) = words.split_first().ok_or("no command")?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn runtime_dir() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(PathBuf::new, PathBuf::from)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
