//! Drives the orchestrator by hand on a test node: publishes a manifest and local OCI layouts to itself and installs them.
//!
//! Used by the end-to-end tests; not part of the product.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archy_orchestrator::snapshot::worker;
use archy_orchestrator::{
    Config, Copy, Instance, Keep, LogQuery, Orchestrator, Papers, Phase, RollbackData,
    SettingsEdit, node_unit, quadlet,
};
use archy_registry::key_state::KeyState;
use archy_registry::manifest;
use archy_registry::proof::{SigningKey, sign};
use archy_registry::release::{self, Descriptor, Draft, Image, Origin, Platform, Release};
use archy_registry::{Blake3Hash, OciDigest, Slug, Verified};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[path = "../tests/attacks/injection.rs"]
mod injection;

const USAGE: &str = "usage: drive setup | doctor | recover | reconcile | watch | status | inject | publisher
       drive install|update MANIFEST CONTAINER=LAYOUT…
             DRIVE_KEY: file of the publisher's key; DRIVE_SEQ; DRIVE_HOST_DIRECTORY: what apps may copy from;
             DRIVE_DIE: the phase at whose beginning it is killed, as in Stopping, or DRIVE_DIE_MS later;
             DRIVE_COPY=none: no copy of the data; DRIVE_CANCEL: cancelled by a line on standard input
       drive configure SLUG EDIT
       drive render DIR MANIFEST…   (units into a directory per app)
       drive node-unit
       drive tell SLUG POINTER   (RFC 6901, into what status says of it)
       drive adoptable
       drive claim MANIFEST CONTAINER=LAYOUT…
             DRIVE_CHOSEN: which container is which, as in web=old,db=other
       drive plan SLUG
       drive migrate SLUG CONTAINER=LAYOUT…
             DRIVE_ACCEPT: what may be lost, as in web.right.NET_ADMIN,web.data./x
       drive unmigrate|finish SLUG
       drive backup SLUG | backups | thin SLUG LAST
       drive restore|rehearse ID CONTAINER=LAYOUT…
       drive start|stop|restart|reinstall|rollback|rollback-present|uninstall|purge|logs|snapshots SLUG";

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, from, to] = &arguments[..]
        && verb == worker::WORKER_ARGUMENT
    {
        return worker::copy_data(Path::new(from), Path::new(to));
    }
    drive()
}

#[tokio::main]
async fn drive() -> std::process::ExitCode {
    match run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            if let Some(archy_orchestrator::InstallError::Start(
                archy_orchestrator::StartError::Container { log, .. },
            )) = error.downcast_ref::<archy_orchestrator::InstallError>()
            {
                log.iter().for_each(|line| say(&format!("  log: {line}")));
            }
            let mut source = error.source();
            while let Some(cause) = source {
                say(&format!("  because: {cause}"));
                source = cause.source();
            }
            std::process::ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "its output is what a person or test reads"
)]
fn say(text: &str) {
    println!("{text}");
}

async fn run() -> Result<(), Failure> {
    let home = PathBuf::from(std::env::var("HOME")?);
    let runtime = PathBuf::from(std::env::var("XDG_RUNTIME_DIR")?);
    let data = std::env::var("ARCHY_DATA_DIR")
        .map_or_else(|_| home.join(".local/share/archy"), PathBuf::from);
    let mut config = Config::usual(&home, runtime, data);
    config
        .host_directories
        .extend(std::env::var_os("DRIVE_HOST_DIRECTORY").map(PathBuf::from));
    let orchestrator = Orchestrator::connect(config)?;
    let cancel = CancellationToken::new();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["setup"] => orchestrator.setup().await?,
        ["doctor"] => {
            for check in orchestrator.doctor().await {
                let mark = if check.ok { "ok" } else { "MISSING" };
                say(&format!(
                    "{mark:8}{}: {} {}",
                    check.name,
                    check.found,
                    check.hint.unwrap_or_default()
                ));
            }
        }
        ["recover"] => say(&format!("{:?}", orchestrator.recover().await?)),
        ["reconcile"] => {
            let began = std::time::Instant::now();
            let plan = orchestrator.reconcile_once().await?;
            say(&format!("{plan}took {} ms", began.elapsed().as_millis()));
        }
        ["watch"] => {
            let mut seen = orchestrator.observed();
            let telling = async {
                while seen.changed().await.is_ok() {
                    for instance in &seen.borrow_and_update().instances {
                        let restarts: Vec<u32> =
                            instance.containers.iter().map(|c| c.restarts).collect();
                        say(&format!(
                            "{} {} {:?} {restarts:?} {:?} next {:?}",
                            Timestamp::now(),
                            instance.app.slug,
                            instance.state,
                            instance.reason,
                            instance.next_try
                        ));
                    }
                }
            };
            orchestrator.recover().await?;
            tokio::select! {
                () = orchestrator.run(cancel) => {}
                () = telling => {}
            }
        }
        ["status"] => {
            orchestrator.reconcile_once().await?;
            let observed = orchestrator.observed().borrow().clone();
            say(&serde_json::to_string_pretty(&observed)?);
        }
        ["tell", slug, pointer] => {
            let installed = serde_json::to_value(find(&orchestrator, slug).await?)?;
            let found = installed.pointer(pointer).ok_or("no such member")?;
            say(&found
                .as_str()
                .map_or_else(|| found.to_string(), str::to_owned));
        }
        ["adoptable"] => {
            let found = orchestrator.adoptable().await?;
            say(&serde_json::to_string_pretty(&found)?);
        }
        ["claim", manifest, ref layouts @ ..] => {
            let release = publish(&home, manifest, &pairs(layouts)?)?;
            let chosen = std::env::var("DRIVE_CHOSEN").unwrap_or_default();
            let chosen: Vec<&str> = chosen.split(',').filter(|one| !one.is_empty()).collect();
            let chosen: BTreeMap<Slug, String> = pairs(&chosen)?;
            let claimed = orchestrator.claim(&release, &chosen).await?;
            say(&serde_json::to_string_pretty(&claimed)?);
        }
        ["plan", slug] => {
            for item in orchestrator.migration_plan(&slug.parse()?).await?.items {
                say(&format!("{:?} {}: {}", item.effect, item.id, item.words));
            }
        }
        ["migrate", slug, ref layouts @ ..] => {
            let installed = find(&orchestrator, slug).await?;
            let release = stored(&home, &installed.release)?;
            load(&orchestrator, &release, pairs(layouts)?).await?;
            let accepted = std::env::var("DRIVE_ACCEPT").unwrap_or_default();
            let accepted = accepted.split(',').map(str::to_owned).collect();
            let done = orchestrator
                .migrate(&release, &accepted, &phase, &cancel)
                .await?;
            say(&serde_json::to_string_pretty(&done)?);
        }
        ["publisher"] => say(&key(&home)?.did().to_string()),
        ["node-unit"] => say(&node_unit(Path::new("/usr/local/bin/archyd"), true)),
        ["render", directory, ref manifests @ ..] => render(Path::new(directory), manifests)?,
        ["inject"] => inject(orchestrator.config()).await?,
        [verb @ ("install" | "update"), manifest, ref layouts @ ..] => {
            bring(&orchestrator, &home, verb == "update", manifest, layouts).await?
        }
        ["configure", slug, edit] => {
            let edit: SettingsEdit = serde_json::from_str(edit)?;
            let installed = find(&orchestrator, slug).await?;
            let release = stored(&home, &installed.release)?;
            let done = orchestrator
                .configure(&release, &edit, &phase, &cancel)
                .await?;
            say(&serde_json::to_string_pretty(&done)?);
        }
        [verb @ ("reinstall" | "rollback" | "rollback-present"), slug] => {
            let installed = find(&orchestrator, slug).await?;
            let before = installed.before.map(|before| before.release);
            let changed = if verb == "reinstall" {
                let release = stored(&home, &installed.release)?;
                orchestrator.reinstall(&release, &phase, &cancel).await?
            } else {
                let release = stored(&home, &before.ok_or("no version before")?)?;
                let data = match verb {
                    "rollback" => RollbackData::Earlier,
                    _ => RollbackData::Present,
                };
                orchestrator
                    .roll_back(&release, data, &phase, &cancel)
                    .await?
            };
            say(&serde_json::to_string_pretty(&changed)?);
        }
        ["backup", slug] => {
            let installed = find(&orchestrator, slug).await?;
            let papers = Papers {
                release: std::fs::read(releases(&home).join(installed.release.to_string()))?,
                keys: None,
            };
            let slug: Slug = slug.parse()?;
            let made = orchestrator
                .back_up(&slug, &papers, &phase, &cancel)
                .await?;
            say(&made.id.to_string());
        }
        ["backups"] => {
            for backup in orchestrator.list_backups().await?.backups {
                let proofs = orchestrator.shelf().proofs;
                let proof = proofs.get(&backup.id).map(|proof| &proof.failure);
                say(&format!(
                    "{} {} {} {proof:?}",
                    backup.id, backup.app.slug, backup.version
                ));
            }
        }
        ["thin", slug, last] => {
            let mut backups = orchestrator.list_backups().await?.backups.into_iter();
            let app = backups.find(|backup| backup.app.slug.as_str() == slug);
            let keep = Keep {
                last: last.parse()?,
                daily: 0,
                weekly: 0,
                monthly: 0,
            };
            let app = app.ok_or("it has no backup")?.app;
            let gone = orchestrator.thin_backups(&app, keep).await?;
            say(&format!("{gone} gone"));
        }
        [verb @ ("restore" | "rehearse"), id, ref layouts @ ..] => {
            let backup = orchestrator.find_backup(&id.parse()?).await?;
            let papers = orchestrator.backup_papers(&backup).await?;
            let keys = KeyState::implicit(backup.app.publisher);
            let release = release::verify(&papers.release, &keys, Timestamp::now())?;
            load(&orchestrator, &release, pairs(layouts)?).await?;
            if verb == "restore" {
                let restored = orchestrator
                    .restore(&release, &backup, &phase, &cancel)
                    .await?;
                say(&serde_json::to_string_pretty(&restored)?);
            } else {
                let proof = orchestrator
                    .rehearse(&release, &backup, &phase, &cancel)
                    .await;
                orchestrator.drop_images(&backup.app.slug).await;
                say(&format!("{:?}", proof?.failure));
            }
        }
        ["snapshots", slug] => {
            for snapshot in orchestrator.snapshots(&slug.parse()?)? {
                say(&format!(
                    "{} {:?} {}",
                    snapshot.id, snapshot.reason, snapshot.version
                ));
            }
        }
        [verb, slug] => {
            let slug: Slug = slug.parse()?;
            match verb {
                "start" => say(&format!(
                    "{:?}",
                    orchestrator.start(&slug, &cancel).await?.state
                )),
                "stop" => say(&format!(
                    "{:?}",
                    orchestrator.stop(&slug, &cancel).await?.state
                )),
                "restart" => say(&format!(
                    "{:?}",
                    orchestrator.restart(&slug, &cancel).await?.state
                )),
                "uninstall" => orchestrator.uninstall(&slug, &cancel).await?,
                "unmigrate" => say(&format!(
                    "{:?}",
                    orchestrator.unmigrate(&slug, &phase).await?.state
                )),
                "finish" => say(&format!(
                    "{:?}",
                    orchestrator.finish_adoption(&slug).await?.state
                )),
                "purge" => orchestrator.purge(&slug, &cancel).await?,
                "logs" => {
                    let query = LogQuery {
                        lines: Some(100),
                        ..LogQuery::default()
                    };
                    let mut lines = orchestrator.logs(&slug, &query)?;
                    while let Some(line) = lines.next().await? {
                        say(&format!("{} {:?} {}", line.at, line.source, line.text));
                    }
                }
                _ => return Err(USAGE.into()),
            }
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// Writes the units of manifests, each app's into a directory of its own.
fn render(directory: &Path, manifests: &[&str]) -> Result<(), Failure> {
    for file in manifests {
        let parsed = manifest::parse(&std::fs::read_to_string(file)?)?;
        let units = quadlet::preview(&parsed.manifest)?;
        let place = directory.join(parsed.manifest.app.id.as_str());
        std::fs::create_dir_all(&place)?;
        for (name, text) in units.files() {
            std::fs::write(place.join(name), text)?;
        }
        say(parsed.manifest.app.id.as_str());
    }
    Ok(())
}

/// Puts every manifest of the injection table that can be rendered before the machine's own generator.
async fn inject(config: &Config) -> Result<(), Failure> {
    let staging = config.staging_dir.join(".inject");
    let (mut refused, mut passed) = (0, 0);
    let mut seen = std::collections::BTreeSet::new();
    for case in injection::cases() {
        let Some(set) = case
            .manifest
            .and_then(|manifest| quadlet::preview(&manifest).ok())
        else {
            refused += 1;
            continue;
        };
        if !seen.insert(set.files()) {
            continue;
        }
        let _ = std::fs::remove_dir_all(&staging);
        let staged = quadlet::validate::stage(&set, &staging, &config.generator).await;
        staged.map_err(|error| {
            let text: String = case.text.chars().take(60).collect();
            format!("{}{} = {text:?}: {error}", case.base, case.field)
        })?;
        passed += 1;
    }
    let _ = std::fs::remove_dir_all(&staging);
    say(&format!(
        "{refused} refused, {passed} taken by the generator as meant"
    ));
    Ok(())
}

/// Says a phase, and dies there if that is asked for.
fn phase(phase: Phase) {
    let text = format!("{phase:?}");
    say(&format!("{} {text}", Timestamp::now()));
    if std::env::var("DRIVE_DIE").is_ok_and(|name| text.starts_with(&name)) {
        let after = std::env::var("DRIVE_DIE_MS").ok();
        let after = after.and_then(|after| after.parse().ok()).unwrap_or(0);
        if after == 0 {
            std::process::abort();
        }
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(after));
            std::process::abort();
        });
    }
}

async fn find(orchestrator: &Orchestrator, slug: &str) -> Result<Instance, Failure> {
    orchestrator.reconcile_once().await?;
    let observed = orchestrator.observed().borrow().clone();
    let mut instances = observed.instances.into_iter();
    let found = instances.find(|instance| instance.app.slug.as_str() == slug);
    Ok(found.ok_or("it is not installed")?)
}

async fn bring(
    orchestrator: &Orchestrator,
    home: &Path,
    is_update: bool,
    manifest: &str,
    layouts: &[&str],
) -> Result<(), Failure> {
    let layouts: BTreeMap<Slug, PathBuf> = pairs(layouts)?;
    let release = publish(home, manifest, &layouts)?;
    if is_update {
        orchestrator.preflight_change(&release).await?;
    } else {
        orchestrator.preflight(&release).await?;
    }
    load(orchestrator, &release, layouts).await?;
    let began = std::time::Instant::now();
    let progress = |reached| {
        phase(reached);
        say(&format!(
            "{reached:?} after {} ms",
            began.elapsed().as_millis()
        ))
    };
    let cancel = CancellationToken::new();
    if std::env::var_os("DRIVE_CANCEL").is_some() {
        let cancel = cancel.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_line(&mut String::new());
            cancel.cancel();
        });
    }
    let instance = if is_update {
        let copy = match std::env::var("DRIVE_COPY").as_deref() {
            Ok("none") => Copy::None,
            _ => Copy::First,
        };
        orchestrator
            .update(&release, copy, &progress, &cancel)
            .await?
    } else {
        orchestrator.install(&release, &progress, &cancel).await?
    };
    say(&serde_json::to_string_pretty(&instance)?);
    Ok(())
}

/// Reads `NAME=VALUE` pairs.
fn pairs<V: From<String>>(pairs: &[&str]) -> Result<BTreeMap<Slug, V>, Failure> {
    let pairs = pairs.iter().map(|pair| {
        let (name, value) = pair.split_once('=').ok_or(USAGE)?;
        Ok((name.parse()?, V::from(value.to_owned())))
    });
    pairs.collect()
}

/// Brings a release's images into podman from local layouts.
async fn load(
    orchestrator: &Orchestrator,
    release: &Verified<Release>,
    layouts: BTreeMap<Slug, PathBuf>,
) -> Result<(), Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = serve(listener, Arc::new(layouts));
    let began = std::time::Instant::now();
    let loading = async {
        for image in &release.images {
            let reference = format!("{address}/{}@{}", image.container, image.manifest.digest);
            let slug = &release.manifest.app.id;
            orchestrator
                .load_image(slug, image, &reference, &|_| {})
                .await?;
        }
        Ok::<(), Failure>(())
    };
    tokio::select! {
        loaded = loading => loaded?,
        stopped = serving => stopped?,
    }
    say(&format!("loaded after {} ms", began.elapsed().as_millis()));
    Ok(())
}

fn releases(home: &Path) -> PathBuf {
    home.join("drive-releases")
}

/// Signs a release of the layouts' images, and verifies it as a node would.
fn publish(
    home: &Path,
    manifest: &str,
    layouts: &BTreeMap<Slug, PathBuf>,
) -> Result<Verified<Release>, Failure> {
    let parsed = manifest::parse(&std::fs::read_to_string(manifest)?)?;
    let key = key(home)?;
    let seq = std::env::var("DRIVE_SEQ").map_or(Ok(1), |seq| seq.parse())?;
    let images = layouts
        .iter()
        .map(|(container, layout)| image(container, layout));
    let now = Timestamp::now();
    let release = release::assemble(Draft {
        publisher: key.did(),
        seq,
        created: now,
        expires: now + SignedDuration::from_hours(24 * 20),
        manifest: parsed.manifest,
        images: images.collect::<Result<_, _>>()?,
        icon: None,
        screenshots: Vec::new(),
        deltas: Vec::new(),
        origin: Origin::default(),
    })?;
    let signed = sign(&release, &key, now)?;
    let verified = release::verify(&signed.bytes, &KeyState::implicit(key.did()), now)?;
    let stored = releases(home);
    std::fs::create_dir_all(&stored)?;
    std::fs::write(stored.join(verified.hash().to_string()), &signed.bytes)?;
    Ok(verified)
}

/// Verifies a release again that was published before.
fn stored(home: &Path, hash: &Blake3Hash) -> Result<Verified<Release>, Failure> {
    let bytes = std::fs::read(releases(home).join(hash.to_string()))?;
    let unverified: serde_json::Value = serde_json::from_slice(&bytes)?;
    let publisher = unverified["publisher"].as_str().ok_or("no publisher")?;
    let keys = KeyState::implicit(publisher.parse()?);
    Ok(release::verify(&bytes, &keys, Timestamp::now())?)
}

fn key(home: &Path) -> Result<SigningKey, Failure> {
    let file = std::env::var("DRIVE_KEY").map_or_else(|_| home.join("drive.key"), PathBuf::from);
    if file.exists() {
        return Ok(SigningKey::load(&file)?);
    }
    let key = SigningKey::generate()?;
    key.save_new(&file)?;
    Ok(key)
}

fn blob(layout: &Path, digest: &str) -> Result<Vec<u8>, Failure> {
    let hex = digest
        .strip_prefix("sha256:")
        .ok_or("not a sha256 digest")?;
    Ok(std::fs::read(layout.join("blobs/sha256").join(hex))?)
}

fn image(container: &Slug, layout: &Path) -> Result<Image, Failure> {
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let entry = &index["manifests"][0];
    let manifest: serde_json::Value =
        serde_json::from_slice(&blob(layout, entry["digest"].as_str().ok_or("no digest")?)?)?;
    let config_digest = manifest["config"]["digest"].as_str().ok_or("no config")?;
    let config: serde_json::Value = serde_json::from_slice(&blob(layout, config_digest)?)?;
    let descriptor = |entry: &serde_json::Value, diff_id: Option<&serde_json::Value>| {
        let digest = entry["digest"].as_str().ok_or("no digest")?;
        let bytes = blob(layout, digest)?;
        Ok::<Descriptor, Failure>(Descriptor {
            media_type: entry["mediaType"]
                .as_str()
                .ok_or("no media type")?
                .to_owned(),
            digest: digest.parse::<OciDigest>()?,
            size_bytes: bytes.len() as u64,
            blake3: Blake3Hash::of(&bytes),
            diff_id: diff_id
                .and_then(serde_json::Value::as_str)
                .map(str::parse)
                .transpose()?,
        })
    };
    let layers = manifest["layers"]
        .as_array()
        .ok_or("no layers")?
        .iter()
        .enumerate();
    Ok(Image {
        container: container.clone(),
        platform: Platform::host(),
        manifest: descriptor(entry, None)?,
        config: descriptor(&manifest["config"], None)?,
        layers: layers
            .map(|(index, layer)| descriptor(layer, Some(&config["rootfs"]["diff_ids"][index])))
            .collect::<Result<_, _>>()?,
    })
}

/// Answers podman's pulls from the layouts: manifests and blobs by digest (OCI distribution-spec, "Pull").
async fn serve(
    listener: tokio::net::TcpListener,
    layouts: Arc<BTreeMap<Slug, PathBuf>>,
) -> Result<(), Failure> {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let layouts = Arc::clone(&layouts);
        connections.spawn(async move {
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = answer(request.uri().path(), &layouts);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

fn answer(path: &str, layouts: &BTreeMap<Slug, PathBuf>) -> Response<Full<Bytes>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let found = match parts[..] {
        ["v2"] => Some((Vec::new(), "application/json".to_owned())),
        ["v2", name, kind @ ("manifests" | "blobs"), digest] => {
            let layout = name
                .parse::<Slug>()
                .ok()
                .and_then(|name| layouts.get(&name));
            layout
                .and_then(|layout| blob(layout, digest).ok())
                .map(|bytes| {
                    let manifest: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
                    let media_type =
                        manifest.and_then(|json| Some(json["mediaType"].as_str()?.to_owned()));
                    let media_type = match kind {
                        "manifests" => media_type.unwrap_or_else(|| {
                            "application/vnd.oci.image.manifest.v1+json".to_owned()
                        }),
                        _ => "application/octet-stream".to_owned(),
                    };
                    (bytes, media_type)
                })
        }
        _ => None,
    };
    let (status, bytes, media_type) = match found {
        Some((bytes, media_type)) => (200, bytes, media_type),
        None => (404, Vec::new(), "application/json".to_owned()),
    };
    let response = Response::builder()
        .status(status)
        .header("Content-Type", media_type);
    response
        .body(Full::new(Bytes::from(bytes)))
        .unwrap_or_default()
}
