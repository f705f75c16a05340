//! The order of things: a node with forty apps, then one measurement after another.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::node::{Node, repository};
use crate::services::Services;
use crate::trace::Trace;
use crate::{Failure, Figure, median, quantile};

/// Apps that are installed meanwhile.
const APPS: usize = 40;
/// The app that is installed again and again, beside the forty.
const GUEST: &str = "tiny-41";
/// The app that is updated; its page is on this port. It alone has data, which each update copies.
const UPDATED: (&str, &str) = ("tiny-01", "21001");
/// Files of its data.
const FILES: usize = 3000;
/// Looks at the machine that are timed.
const LOOKS: usize = 60;
/// Looks during which processes are counted.
const LOOKS_COUNTED: usize = 20;
/// Installs, by archy and by hand.
const INSTALLS: usize = 15;
/// Installs during which processes are counted.
const INSTALLS_COUNTED: usize = 3;
const STARTS: usize = 11;
const UPDATES: usize = 9;
/// Longest wait for so many looks.
const LOOKS_DEADLINE: Duration = Duration::from_secs(300);
/// Seconds between two looks of the daemon here, so that many can be seen; the shipped one looks every 30 s.
const LOOK_EVERY_SECONDS: &str = "1";

const IMAGE: &str = r#"
mkdir -p context/www && cp "$(command -v busybox)" context/busybox && echo '<h1>hi</h1>' >context/www/index.html
printf 'FROM scratch\nCOPY busybox /bin/busybox\nCOPY www /www\nENTRYPOINT ["/bin/busybox"]\n' >context/Containerfile
podman build --quiet --tag localhost/tiny:latest context
podman save --quiet --format oci-archive --output tiny.oci.tar localhost/tiny:latest
podman rmi --force localhost/tiny:latest
"#;

/// Plays everything; tells whether all bounds are met.
pub(crate) fn play() -> Result<bool, Failure> {
    let node = set_up()?;
    let prove = std::env::var_os("PROVE").is_some_and(|value| !value.is_empty());
    if prove {
        return counter_counts(&node);
    }
    let mut figures = Vec::new();
    let mut found = |name, value, unit, bound| {
        figures.push(Figure {
            name,
            value,
            unit,
            bound,
        });
    };

    say("looks that find nothing to do");
    let looks = looks(&node, LOOKS)?;
    tell("p95", quantile(looks.clone(), 0.95));
    tell("longest", quantile(looks.clone(), 1.0));
    found("reconcile_noop_ms_40", median(looks), "ms", 50.0);
    say("processes started by them, by archyd and by podman's service");
    let watched = [archyd(&node)?, podman(&node)?];
    let (trace, services) = (Trace::of(&watched)?, Services::on(&node)?);
    self::looks(&node, LOOKS_COUNTED)?;
    let spawned = trace.count()? + services.count()?;
    found("reconcile_spawned", spawned as f64, "processes", 0.0);

    // From here on it looks as often as it does anywhere.
    node.shell(
        "sed -i '/^look_every/d' .config/archy/archyd.toml; systemctl --user restart archyd",
    )?;

    say("installs, by archy and by hand");
    let runs = inside(&node, &["install", GUEST, &INSTALLS.to_string()])?;
    let (archy, bare) = (median(list(&runs, "archy")), median(list(&runs, "bare")));
    tell("by archy", archy);
    tell("by hand", bare);
    found("install_ratio", archy / bare, "", 1.15);
    found(
        "install_spawned",
        spawned_by_install(&node)?,
        "processes",
        1.0,
    );

    say("starts of the daemon");
    let runs = inside(&node, &["start", &APPS.to_string(), &STARTS.to_string()])?;
    tell("until it tells of every app", median(list(&runs, "tells")));
    found(
        "daemon_start_ms_40",
        median(list(&runs, "answers")),
        "ms",
        300.0,
    );

    say("updates, and restarts by hand");
    let runs = updates(&node, UPDATES)?;
    let (update, restart) = (
        median(list(&runs, "update")),
        median(list(&runs, "restart")),
    );
    tell("down for an update", update);
    tell("down for a restart", restart);
    found("update_downtime_extra_ms", update - restart, "ms", 100.0);
    write(&figures)
}

/// A node whose daemon runs forty apps and knows one more.
fn set_up() -> Result<Node, Failure> {
    say("a node with forty apps");
    let node = Node::boot()?;
    let program = std::env::current_exe()?;
    let built: PathBuf = program.ancestors().skip(2).take(1).collect();
    let installer = repository().join("scripts/install.sh");
    for (file, name) in [
        (built.join("archy"), "archy"),
        (built.join("archyd"), "archyd"),
        (installer, "install.sh"),
    ] {
        if !file.is_file() {
            return Err(format!("{} is missing: make bench-orchestrator", file.display()).into());
        }
        node.push(&file, &format!("/home/archy/programs/{name}"))?;
    }
    node.push(&program, "/home/archy/bench")?;
    node.exec_root(&[
        "bash",
        "/home/archy/programs/install.sh",
        "/home/archy/programs",
    ])?;
    let config = format!(
        "[relay]\nlisten = \"127.0.0.1:8490\"\n[apps]\nlook_every_seconds = {LOOK_EVERY_SECONDS}\n[log]\nfilter = \"info,archy_orchestrator=debug\"\n"
    );
    node.shell(&format!(
        "mkdir -p .config/archy; printf %s '{config}' >.config/archy/archyd.toml"
    ))?;
    node.exec(&["archyd", "setup", "--now"])?;
    node.shell(IMAGE)?;
    node.exec(&["archy", "identity", "new"])?;
    let mut names = Vec::new();
    for number in 1..=APPS + 1 {
        let name = format!("tiny-{number:02}");
        let manifest = manifest(&name, number);
        node.shell(&format!(
            "mkdir -p apps/{name}; printf %s '{manifest}' >apps/{name}/manifest.yml; \
             archy publish apps/{name} --image web=oci-archive:tiny.oci.tar"
        ))?;
        names.push(name);
    }
    let mut words = vec!["fill"];
    words.extend(names.iter().take(APPS).map(String::as_str));
    inside(&node, &words)?;
    let (app, _) = UPDATED;
    node.exec(&["podman", "exec", app, "/bin/busybox", "sh", "-c", &fill()])?;
    Ok(node)
}

/// Writes the data of the app that is updated: small files, of which none is as long as another one.
fn fill() -> String {
    format!(
        "cd /data; n=0; text=; while [ $n -lt {FILES} ]; do text=$text.; echo $text >$n; n=$((n+1)); done"
    )
}

/// Its check seldom runs, because forty of them at once are a load of their own, which is podman's.
fn manifest(name: &str, number: usize) -> String {
    let volumes = if name == UPDATED.0 {
        "    volumes:\n      - {name: data, target: /data, data_uid: 1000}\n"
    } else {
        ""
    };
    format!(
        "app:\n  id: {name}\n  name: {name}\n  version: 1.0.0\n  tagline: One page\n  category: other\n\
         containers:\n  - name: web\n    source: {{type: pull, image: \"localhost/tiny:latest\"}}\n    user: \"1000:1000\"\n\
         \x20   readonly_root: true\n    command: [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n\
         {volumes}\x20   ports:\n      - {{container: 8080, host: {}}}\n    resources: {{memory: 32M, pids: 16}}\n\
         \x20   health_check: {{type: http, port: 8080, path: /, interval: 10m}}\n    stop_timeout: 5s\n\
         interfaces:\n  - {{name: Page, port: 8080, type: ui}}\n",
        21_000 + number
    )
}

fn inside(node: &Node, words: &[&str]) -> Result<Value, Failure> {
    let mut argv = vec!["/home/archy/bench", "inside"];
    argv.extend(words);
    let said = node.exec(&argv)?;
    let last = said
        .lines()
        .last()
        .ok_or("a measurement without a result")?;
    Ok(serde_json::from_str(last)?)
}

fn list(runs: &Value, name: &str) -> Vec<f64> {
    let list = runs[name].as_array().into_iter().flatten();
    list.filter_map(Value::as_f64).collect()
}

/// Waits for further looks of the daemon that find nothing to do; returns what its journal says of each, in milliseconds.
fn looks(node: &Node, wanted: usize) -> Result<Vec<f64>, Failure> {
    let began = node.exec(&["date", "+%s.%N"])?;
    let since = format!("@{}", began.trim());
    let journal = [
        "journalctl",
        "--user",
        "--unit=archyd",
        "--output=cat",
        "--no-pager",
        "--since",
        &since,
    ];
    let deadline = Instant::now() + LOOKS_DEADLINE;
    loop {
        // Seldom, because reading the journal is work on the same machine.
        std::thread::sleep(Duration::from_secs(5));
        let said = node.exec(&journal)?;
        let quiet = said
            .lines()
            .filter(|line| line.contains("reconciled apps_changed=0 "));
        let times = quiet.filter_map(|line| {
            let (_, us) = line.rsplit_once("duration_us=")?;
            us.trim().parse::<f64>().ok()
        });
        let found: Vec<f64> = times.map(|us| us / 1000.0).collect();
        if found.len() >= wanted {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("only {} looks that find nothing to do", found.len()).into());
        }
    }
}

fn archyd(node: &Node) -> Result<u32, Failure> {
    node.host_pid("/usr/local/bin/archyd")
}

fn podman(node: &Node) -> Result<u32, Failure> {
    node.host_pid("/usr/bin/podman --log-level=info system service")
}

/// Processes that archyd starts for one install, and services that it has started. Each install needs the generator's check,
/// so that none found is a blind counter.
fn spawned_by_install(node: &Node) -> Result<f64, Failure> {
    let (trace, services) = (Trace::of(&[archyd(node)?])?, Services::on(node)?);
    inside(node, &["archy-only", GUEST, &INSTALLS_COUNTED.to_string()])?;
    let installs = INSTALLS_COUNTED + 1;
    let spawned = trace.count()?;
    if spawned < installs {
        return Err(format!(
            "{installs} installs, each with a check, and {spawned} processes: the counter is blind"
        )
        .into());
    }
    let spawned = spawned + services.count()?;
    Ok(spawned as f64 / installs as f64)
}

/// Updates and restarts the app with data. Each update needs a service that copies, so that none found is a blind counter.
fn updates(node: &Node, runs: usize) -> Result<Value, Failure> {
    let (app, port) = UPDATED;
    let services = Services::on(node)?;
    let found = inside(node, &["update", app, port, &runs.to_string()])?;
    let started = services.count()?;
    if started < runs {
        return Err(format!(
            "{runs} updates, each with a copy, and {started} services: the counter is blind"
        )
        .into());
    }
    Ok(found)
}

fn counter_counts(node: &Node) -> Result<bool, Failure> {
    let spawned = spawned_by_install(node)?;
    println!("an install is seen to start {spawned} processes");
    updates(node, 1)?;
    println!("an update is seen to start services");
    // Asking for the journal's end is a process of this one's.
    let services = Services::on(node)?;
    let trace = Trace::of(&[std::process::id()])?;
    let quiet = trace.count()? + services.count()?;
    println!("what does nothing is seen to start {quiet}");
    Ok(quiet == 0)
}

fn write(figures: &[Figure]) -> Result<bool, Failure> {
    println!();
    let mut all = true;
    for figure in figures {
        let met = figure.value <= figure.bound;
        all &= met;
        let word = if met { "" } else { "   MISSED" };
        println!(
            "{:<26}{:>9.2} {:<10} bound {}{word}",
            figure.name, figure.value, figure.unit, figure.bound
        );
    }
    let folder = repository().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join("orchestrator.json"),
        serde_json::to_vec_pretty(figures)?,
    )?;
    Ok(all)
}

fn say(what: &str) {
    println!("== {what}");
}

fn tell(what: &str, value: f64) {
    println!("   {what:<40}{value:>9.1} ms");
}
