//! `make bench`: README's figures, measured on real nodes and written to `target/bench/slice.json`.
#![expect(
    clippy::print_stdout,
    reason = "a person reads the figures where they started the command"
)]

use std::time::Duration;

use anyhow::{Context, ensure};
use archy_tests::node::{Bed, wait_until};
use archy_tests::stage::{Archyd, HELLO, Programs, SHIPPED_APPS, Stage, repository};
use archyd::api::types::{AppRef, JobState, UninstallParams};
use serde::Serialize;

/// Runs of each measurement; the median counts.
const RUNS: usize = 7;
/// Reconcile ticks to see; the daemon looks every 30 s and when something changes.
const TICKS: usize = 5;
/// Longest wait for them.
const TICKS_DEADLINE: Duration = Duration::from_secs(240);

/// One figure, as `target/bench/*.json` holds it.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    bound: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let release = repository().join("target/release");
    let programs =
        Programs::in_dir(&release).context("run make bench, which builds the release programs")?;
    let stage = Stage::set_up(Bed::new("bench"), &programs, ["b"]).await?;
    let figures = stage.logged("bench", measure(&stage)).await?;
    let folder = repository().join("target/bench");
    std::fs::create_dir_all(&folder).context("making target/bench")?;
    std::fs::write(
        folder.join("slice.json"),
        serde_json::to_vec_pretty(&figures)?,
    )
    .context("writing slice.json")?;
    for figure in &figures {
        println!(
            "{:<16} {:>8.1} {} (bound {})",
            figure.name, figure.value, figure.unit, figure.bound
        );
    }
    Ok(())
}

async fn measure(stage: &Stage<1>) -> anyhow::Result<Vec<Figure>> {
    let (a, [b]) = (&stage.publisher, &stage.stores);
    for app in SHIPPED_APPS {
        a.publish(app).await?;
    }
    let hello = b.hears_of(HELLO.slug).await?;
    let mut figures = Vec::new();
    let figure = |name, value, unit, bound| Figure {
        name,
        value,
        unit,
        bound,
    };
    figures.push(figure("start_ms", start_ms(b).await?, "ms", 300.0));
    figures.push(figure("idle_rss_mb", rss_mb(b).await?, "MB", 100.0));
    figures.push(figure(
        "install_ms",
        install_ms(b, &hello).await?,
        "ms",
        1500.0,
    ));
    for app in SHIPPED_APPS {
        let heard = b.hears_of(app.slug).await?;
        if b.instance(app.slug).await?.is_none() {
            install(b, &heard).await?;
        }
    }
    figures.push(figure("reconcile_ms_3", reconcile_ms(b).await?, "ms", 50.0));
    Ok(figures)
}

async fn install(store: &Archyd, app: &AppRef) -> anyhow::Result<()> {
    let job = store.install(app).await?;
    ensure!(
        job.state == JobState::Succeeded,
        "{} ended {:?}: {:?}",
        app.slug,
        job.state,
        job.problem
    );
    Ok(())
}

/// From the call to the job's end, with image and release already on the node: by the job's own clock.
async fn install_ms(store: &Archyd, app: &AppRef) -> anyhow::Result<f64> {
    install(store, app).await?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let uninstall = UninstallParams {
            slug: app.slug.clone(),
            purge: false,
            force: false,
        };
        store.does("package.uninstall", uninstall).await?;
        let job = store.install(app).await?;
        ensure!(job.state == JobState::Succeeded, "{:?}", job.problem);
        let created: jiff::Timestamp = job.created.parse()?;
        let updated: jiff::Timestamp = job.updated.parse()?;
        runs.push(updated.duration_since(created).as_secs_f64() * 1000.0);
    }
    Ok(median(runs))
}

/// From `systemctl start` to the first answer on the socket, without the cost of reaching the node.
async fn start_ms(store: &Archyd) -> anyhow::Result<f64> {
    // systemd refuses a unit that is started too often; `reset-failed` makes it forget.
    const SCRIPT: &str = "systemctl --user stop archyd.service; systemctl --user reset-failed archyd.service; \
        t=$(date +%s%N); systemctl --user start --no-block archyd.service; \
        until curl --silent --fail --output /dev/null --unix-socket /run/user/1000/archy/archyd.sock http://localhost/session; \
        do [ $(( $(date +%s%N) - t )) -lt 20000000000 ] || exit 1; done; \
        echo $(( ($(date +%s%N) - t) / 1000 ))";
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let us: f64 = store
            .node
            .exec_ok(&["sh", "-c", SCRIPT])
            .await?
            .trim()
            .parse()?;
        runs.push(us / 1000.0);
    }
    Ok(median(runs))
}

/// Resident memory of the daemon, which has followed its relay and done nothing else.
async fn rss_mb(store: &Archyd) -> anyhow::Result<f64> {
    let pid = store
        .node
        .exec_ok(&[
            "systemctl",
            "--user",
            "show",
            "--value",
            "--property=MainPID",
            "archyd.service",
        ])
        .await?;
    let status = store
        .node
        .exec_ok(&["cat", &format!("/proc/{}/status", pid.trim())])
        .await?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("no VmRSS in /proc/PID/status")?;
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .context("VmRSS without a number")?
        .parse()?;
    Ok(kib / 1024.0)
}

/// Reconcile ticks that found nothing to do, with three apps installed: what the daemon's journal says of them.
async fn reconcile_ms(store: &Archyd) -> anyhow::Result<f64> {
    let config = "/home/archy/.config/archy/archyd.toml";
    let script = format!(
        "printf '[log]\\nfilter = \"warn,archy_orchestrator=debug\"\\n' >> {config}; systemctl --user restart archyd.service"
    );
    store.node.exec_ok(&["sh", "-c", &script]).await?;
    wait_until(
        "the reconciler has looked often enough",
        TICKS_DEADLINE,
        async || ticks(store).await.is_ok_and(|ticks| ticks.len() >= TICKS),
    )
    .await?;
    Ok(median(ticks(store).await?))
}

async fn ticks(store: &Archyd) -> anyhow::Result<Vec<f64>> {
    let journal = store
        .node
        .logs(&["--user", "-u", "archyd", "--output=cat", "--no-pager"])
        .await?;
    let quiet = journal
        .lines()
        .filter(|line| line.contains("reconciled apps_changed=0 "));
    let figures = quiet.filter_map(|line| {
        line.rsplit_once("duration_us=")?
            .1
            .trim()
            .parse::<f64>()
            .ok()
    });
    Ok(figures.map(|us| us / 1000.0).collect())
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}
