//! The data directory of what runs from folders, and its orchestrator: installs, removes, lists. One command at a time.
//!
//! It is a node of its own without a daemon: what a command that was killed left behind, the next one finishes.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use archy_orchestrator::{
    Config, Copy, Instance, LogQuery, Orchestrator, Phase, UpdateError, quadlet,
};
use archy_registry::key_state::KeyState;
use archy_registry::release::{self, Draft, Image, Origin, Platform, Release};
use archy_registry::{SigningKey, Slug, Verified, sign};
use archy_swarm::image::{self, ImageSource};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::cast::{Purpose, cast};
use super::images::Podman;
use super::or_interrupted;
use crate::app::App;
use crate::failure::{Failure, chain};
use crate::output::Output;
use crate::text::plain;

/// The key that signs what runs here; it is known to nobody else, and nothing that it signs leaves this machine.
const KEY: &str = "developer.key";
/// Who works on the directory holds this file's lock.
const LOCK: &str = "lock";

/// An app's folder as a release of the developer's, with its images in podman.
#[derive(Debug)]
pub struct Prepared {
    /// The release.
    pub release: Verified<Release>,
    /// Each image, and its name in podman.
    images: Vec<(Image, String)>,
}

impl Prepared {
    /// The name of the instance.
    pub fn name(&self) -> &Slug {
        &self.release.manifest.app.id
    }
}

/// The data directory of what runs from folders.
#[derive(Debug)]
pub struct Root {
    orchestrator: Orchestrator,
    output: Output,
    work_dir: PathBuf,
    /// Held for as long as this lives.
    _lock: File,
}

/// Looks at what runs from folders, while others may be at work on it.
///
/// # Errors
///
/// When the data directory cannot be written.
pub fn watch(config: Config) -> Result<Orchestrator, Failure> {
    Ok(Orchestrator::connect(config)?)
}

impl Root {
    /// Opens the directory for work, and finishes what a killed command left. `work_dir` is for images on their way.
    ///
    /// # Errors
    ///
    /// When another command is at work, or the machine lacks what apps need.
    pub async fn open(config: Config, work_dir: PathBuf, output: &Output) -> Result<Self, Failure> {
        let dir = config.data_dir.clone();
        let unwritable = |error: std::io::Error| Failure::file("write to", &dir, &error);
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&dir);
        made.map_err(unwritable)?;
        let lock = File::create(dir.join(LOCK)).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("another archy app command is at work in {}", dir.display());
                return Err(Failure::failed("busy", text).hint("Try again when it has ended"));
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let orchestrator = Orchestrator::connect(config)?;
        // First, because it starts podman's socket; what it lacks is told in order below.
        let set_up = match orchestrator.is_set_up() {
            true => Ok(()),
            false => orchestrator.setup().await,
        };
        let lacks = orchestrator.essentials().await;
        let lacks: Vec<_> = lacks.into_iter().filter(|check| !check.ok).collect();
        if let Some(first) = lacks.first() {
            let text = format!(
                "this machine cannot run apps: {}: {}",
                first.name, first.found
            );
            let mut failure = Failure::failed("machine", text);
            failure.hints = lacks.into_iter().filter_map(|check| check.hint).collect();
            return Err(failure
                .hint("`archyd setup` prepares an account, `archyd doctor` looks at all of it"));
        }
        set_up?;
        let taken_back = orchestrator.recover().await?;
        for app in taken_back {
            output.progress(format_args!("took back the unfinished install of {app}"));
        }
        Ok(Self {
            orchestrator,
            output: *output,
            work_dir,
            _lock: lock,
        })
    }

    /// What installs, starts and removes here.
    pub fn orchestrator(&self) -> &Orchestrator {
        &self.orchestrator
    }

    /// Makes the images of the app in `dir`, and a release of it.
    ///
    /// # Errors
    ///
    /// When the manifest is not sound, an image cannot be made, or somebody interrupts.
    pub async fn prepare(
        &self,
        dir: &Path,
        purpose: Purpose,
        cancel: &CancellationToken,
    ) -> Result<Prepared, Failure> {
        let app = App::open(dir)?;
        for warning in &app.warnings {
            self.output.warning(warning);
        }
        quadlet::preview(&app.manifest)?;
        let key = self.key()?;
        let manifest = cast(&app.manifest, purpose, key.did());
        let podman = Podman::new(&self.output);
        let making = podman.make(dir, &app.manifest, |_| true);
        let names = or_interrupted(cancel, making).await?;
        let mut images = Vec::new();
        for (container, name) in names {
            images.push((self.describe(container, &name, cancel).await?, name));
        }
        let now = Timestamp::now();
        let seq = u64::try_from(now.as_second()).unwrap_or(1);
        let described = images.iter().map(|(image, _)| image.clone()).collect();
        let draft = Draft::new(key.did(), seq, now, manifest, described, Origin::default());
        let signed = sign(&release::assemble(draft)?, &key, now)?;
        let release = release::verify(&signed.bytes, &KeyState::implicit(key.did()), now)?;
        Ok(Prepared { release, images })
    }

    /// Describes an image of podman's as a release does.
    async fn describe(
        &self,
        container: Slug,
        name: &str,
        cancel: &CancellationToken,
    ) -> Result<Image, Failure> {
        let source = ImageSource::Podman {
            socket: self.orchestrator.config().podman_socket.clone(),
            name: name.to_owned(),
        };
        let packing = async {
            let platform = Platform::host();
            Ok(image::pack(&source, &platform, &self.work_dir).await?)
        };
        let packed = or_interrupted(cancel, packing).await?;
        Ok(Image {
            container,
            platform: packed.platform.clone(),
            manifest: packed.manifest.clone(),
            config: packed.config.clone(),
            layers: packed.layers.clone(),
        })
    }

    /// Installs a release, or puts it in the place of the one that is installed, whose data stays.
    ///
    /// # Errors
    ///
    /// When it does not come up; then all is as before.
    pub async fn install(
        &self,
        prepared: &Prepared,
        cancel: &CancellationToken,
    ) -> Result<Instance, Failure> {
        let name = prepared.name();
        let release = &prepared.release;
        self.keep_images(prepared).await?;
        let progress = |phase: Phase| {
            if phase == Phase::Starting {
                self.output.progress(format_args!("starting {name}"));
            }
        };
        let orchestrator = &self.orchestrator;
        let updated = orchestrator
            .update(release, Copy::None, &progress, cancel)
            .await;
        let done = match updated {
            Err(UpdateError::NotInstalled(_)) => orchestrator
                .install(release, &progress, cancel)
                .await
                .map_err(Failure::from),
            updated => updated.map_err(Failure::from),
        };
        if done.is_err() {
            orchestrator.drop_images(name).await;
        }
        self.tell_dependents(name).await;
        done
    }

    /// Names the images so that podman keeps them for the instance.
    async fn keep_images(&self, prepared: &Prepared) -> Result<(), Failure> {
        let name = prepared.name();
        let unnamed = |error: &dyn std::error::Error| Failure::failed("image", chain(error));
        for (image, source) in &prepared.images {
            let named = self.orchestrator.name_image(name, image).await;
            if named.map_err(|error| unnamed(&error))? {
                continue;
            }
            let podman = Podman::new(&self.output);
            podman.load_as_oci(source, &self.work_dir).await?;
            let named = self.orchestrator.name_image(name, image).await;
            if !named.map_err(|error| unnamed(&error))? {
                let text = format!("podman's image {source} is not the one that it exports");
                return Err(Failure::failed("image", text)
                    .hint("Was it built again meanwhile? Run the same command again"));
            }
        }
        Ok(())
    }

    /// Lets apps that use one that was made anew find it again: no node looks after them.
    async fn tell_dependents(&self, name: &Slug) {
        let told = async {
            if self.orchestrator.dependents(name)?.is_empty() {
                return Ok(());
            }
            self.orchestrator.reconcile_once().await.map(drop)
        };
        if let Err(error) = told.await {
            self.output.warning(chain(&error));
        }
    }

    /// Removes an instance; its data stays unless it is purged.
    ///
    /// # Errors
    ///
    /// When there is none, others need it, or something of it cannot be removed.
    pub async fn uninstall(
        &self,
        name: &Slug,
        purge: bool,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        if purge {
            self.orchestrator.purge(name, cancel).await?;
        } else {
            self.orchestrator.uninstall(name, cancel).await?;
        }
        Ok(())
    }

    /// Reads the developer's key, or makes it.
    fn key(&self) -> Result<SigningKey, Failure> {
        let path = self.orchestrator.config().data_dir.join(KEY);
        if path.exists() {
            return Ok(SigningKey::load(&path)?);
        }
        let key = SigningKey::generate()?;
        key.save_new(&path)?;
        Ok(key)
    }
}

/// Finds the instance that `app` means: one of that very name, or the development instance of the app.
///
/// # Errors
///
/// When what there is cannot be read.
pub fn named(orchestrator: &Orchestrator, app: &Slug) -> Slug {
    let apps = orchestrator.config().apps_dir();
    if apps.join(app.as_str()).is_dir() {
        app.clone()
    } else {
        Purpose::Dev.name(app)
    }
}

/// Reads the last lines of an instance's log.
///
/// # Errors
///
/// When it is not installed or the journal cannot be read.
pub async fn last_lines(
    orchestrator: &Orchestrator,
    name: &Slug,
    lines: u32,
) -> Result<Vec<String>, Failure> {
    let query = LogQuery {
        lines: Some(lines),
        ..LogQuery::default()
    };
    let mut stream = orchestrator.logs(name, &query)?;
    let mut last = Vec::new();
    let unread = |error: archy_orchestrator::runtime::journal::JournalError| {
        Failure::failed("journal", chain(&error))
    };
    while let Some(line) = stream.next().await.map_err(unread)? {
        last.push(format!("{} {}  {}", line.at, line.unit, plain(&line.text)));
    }
    Ok(last)
}
