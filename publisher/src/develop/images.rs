//! Makes the images of an app's folder with the developer's own podman: built from their contexts, or pulled as the manifest
//! says. An image that was built from what is there now is not built again.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output as Finished, Stdio};

use archy_registry::Slug;
use archy_registry::manifest::{Container, Manifest, PullPolicy, Source};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::Command;

use super::context::{self, Recipe};
use crate::app::inside;
use crate::failure::{Class, Failure};
use crate::output::Output;
use crate::text::plain;

/// How a tag ends that the developer makes by hand.
const BY_HAND: &str = ":local";
/// How the names begin that images of this machine have.
const LOCAL: &str = "localhost/";
/// How the names begin that images of installed apps have.
const INSTALLED: &str = "localhost/archy/";
/// The Containerfile unless the manifest names another.
const CONTAINERFILE: &str = "Containerfile";
/// How the name of a Containerfile ends that podman gives to the C preprocessor first (podman-build(1)).
const PREPROCESSED: &str = ".in";
/// Lines of podman's that go with a failure.
const LAST_LINES: usize = 12;

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was built.
    Built,
    /// It had been built from the same context.
    Unchanged,
    /// The developer makes it by hand.
    ByHand,
    /// It was pulled.
    Pulled,
    /// It was there.
    There,
}

/// The name of a container's image in the local podman: what the manifest says, or `localhost/APP-CONTAINER:latest` for one
/// that is built. A tag without a registry is below `localhost/`, where podman puts what it builds.
pub fn name(app: &Slug, container: &Container) -> String {
    match &container.source {
        Source::Pull { image, .. } => image.clone(),
        Source::Build { tag: Some(tag), .. } if has_registry(tag) => tag.clone(),
        Source::Build { tag: Some(tag), .. } => format!("{LOCAL}{tag}"),
        Source::Build { tag: None, .. } => format!("{LOCAL}{app}-{}:latest", container.name),
    }
}

/// Tells whether a reference begins with a registry, by the rule that podman goes by.
fn has_registry(reference: &str) -> bool {
    let first = reference.split_once('/').map(|(first, _)| first);
    first.is_some_and(|first| first == "localhost" || first.contains(['.', ':']))
}

/// Refuses to build under a name that images of others may have: whoever made the folder chose it, and what has that name
/// here is run and published by it.
fn check_name(name: &str) -> Result<(), Failure> {
    if name.starts_with(LOCAL) && !name.starts_with(INSTALLED) {
        return Ok(());
    }
    let text = format!("archy does not build an image named {name}, for that may be another's");
    Err(Failure::refused("image", text).hint(
        "Begin its `tag` in manifest.yml with localhost/; or build it yourself and publish with --no-build",
    ))
}

/// Refuses a Containerfile that the C preprocessor would read first: `#include` and `__has_include` in it reach every file of
/// the developer's.
fn check_plain(containerfile: &Path) -> Result<(), Failure> {
    let name = containerfile.as_os_str().as_encoded_bytes();
    if !name.ends_with(PREPROCESSED.as_bytes()) {
        return Ok(());
    }
    let text = format!(
        "podman would give {} to the C preprocessor, which can include any file of yours",
        containerfile.display()
    );
    Err(Failure::refused("image", text).hint(format!(
        "Rename it, so that its name does not end in {PREPROCESSED}; or build it yourself and publish with --no-build"
    )))
}

/// The developer's podman.
#[derive(Debug, Clone)]
pub struct Podman<'a> {
    /// The program.
    program: PathBuf,
    /// Where its progress goes.
    output: &'a Output,
}

impl<'a> Podman<'a> {
    /// The podman in the search path.
    pub fn new(output: &'a Output) -> Self {
        Self {
            program: PathBuf::from("podman"),
            output,
        }
    }

    /// Makes the images of the containers of the app in `dir` that are `wanted`, and returns their names in podman.
    ///
    /// # Errors
    ///
    /// When an image cannot be built or pulled, with podman's last words, or one that is made by hand is missing.
    pub async fn make(
        &self,
        dir: &Path,
        manifest: &Manifest,
        wanted: impl Fn(&Container) -> bool,
    ) -> Result<Vec<(Slug, String)>, Failure> {
        let app = &manifest.app.id;
        let mut names = Vec::new();
        for container in manifest
            .containers
            .iter()
            .filter(|container| wanted(container))
        {
            let name = name(app, container);
            let made = self.make_one(dir, container, &name).await?;
            let words = match made {
                Made::Built => "built",
                Made::Unchanged => "built before from the same context",
                Made::ByHand => "yours, made by hand",
                Made::Pulled => "pulled",
                Made::There => "in podman already",
            };
            self.output.progress(format_args!("image {name}: {words}"));
            names.push((container.name.clone(), name));
        }
        Ok(names)
    }

    async fn make_one(
        &self,
        dir: &Path,
        container: &Container,
        name: &str,
    ) -> Result<Made, Failure> {
        match &container.source {
            Source::Build { .. } if name.ends_with(BY_HAND) => {
                if self.has(name).await? {
                    return Ok(Made::ByHand);
                }
                let text = format!("podman has no image {name}");
                Err(Failure::new(Class::NotFound, "image", text).hint(format!(
                    "A tag that ends in {BY_HAND} is made by hand: podman build --tag {name} CONTEXT; or give it another tag"
                )))
            }
            Source::Build {
                context,
                dockerfile,
                build_args,
                pull_policy,
                ..
            } => {
                check_name(name)?;
                let containerfile = dockerfile.as_ref().map(ToString::to_string);
                let recipe = Recipe {
                    containerfile: containerfile.as_deref().unwrap_or(CONTAINERFILE),
                    build_args,
                };
                let context = dir.join(context.to_string());
                self.build((dir, &context), recipe, *pull_policy, name)
                    .await
            }
            Source::Pull { pull_policy, .. } => self.pull(*pull_policy, name).await,
        }
    }

    async fn build(
        &self,
        (dir, context): (&Path, &Path),
        recipe: Recipe<'_>,
        pull_policy: PullPolicy,
        name: &str,
    ) -> Result<Made, Failure> {
        let context = inside("image", dir, context).map_err(|failure| {
            failure.hint("`context` in manifest.yml is a folder, relative to manifest.yml")
        })?;
        let containerfile = context.join(recipe.containerfile);
        if !containerfile.is_file() {
            let text = format!("there is no {}", containerfile.display());
            return Err(Failure::new(Class::NotFound, "image", text)
                .hint("`dockerfile` in manifest.yml names another, relative to the context"));
        }
        let followed = inside("image", dir, &containerfile)?;
        check_plain(&containerfile)?;
        check_plain(&followed)?;
        let hash = context::hash(&context, recipe)?.to_string();
        if self.label(name).await? == Some(hash.clone()) {
            return Ok(Made::Unchanged);
        }
        let mut command = self.command(&["build", "--format=oci"]);
        command
            .arg(format!("--pull={}", policy(pull_policy)))
            .arg(format!("--label={}={hash}", context::LABEL))
            .arg(format!("--tag={name}"))
            .arg("--file")
            .arg(&containerfile);
        for (argument, value) in recipe.build_args {
            command.arg(format!("--build-arg={argument}={value}"));
        }
        command.arg(&context);
        self.follow(command, &format!("build the image {name}"))
            .await?;
        Ok(Made::Built)
    }

    async fn pull(&self, pull_policy: PullPolicy, name: &str) -> Result<Made, Failure> {
        match pull_policy {
            PullPolicy::Missing if self.has(name).await? => return Ok(Made::There),
            PullPolicy::Never if self.has(name).await? => return Ok(Made::There),
            PullPolicy::Never => {
                let text =
                    format!("podman has no image {name}, and manifest.yml says never to pull it");
                return Err(Failure::new(Class::NotFound, "image", text)
                    .hint("Make it, or change its pull_policy"));
            }
            PullPolicy::Missing | PullPolicy::Always => {}
        }
        let command = self.command(&["pull", "--", name]);
        self.follow(command, &format!("pull the image {name}"))
            .await?;
        Ok(Made::Pulled)
    }

    /// Puts an image into podman once more in OCI's form, without a name: one in Docker's has another configuration there than
    /// in a release, so another ID. `work` is for the image on its way.
    ///
    /// # Errors
    ///
    /// What podman said.
    pub(super) async fn load_as_oci(&self, name: &str, work: &Path) -> Result<(), Failure> {
        let action = format!("load the image {name}");
        // By its ID, so that no name moves to what is loaded.
        let inspect = ["image", "inspect", "--format={{.Id}}", "--", name];
        let id = self.answer(&inspect, &action).await?;
        let archive = work.join("image.oci.tar");
        let mut save = self.command(&["save", "--quiet", "--format=oci-archive"]);
        save.arg(format!("--output={}", archive.display()))
            .arg(id.trim());
        self.follow(save, &action).await?;
        let mut load = self.command(&["load", "--quiet"]);
        load.arg(format!("--input={}", archive.display()));
        self.follow(load, &action).await?;
        std::fs::remove_file(&archive).map_err(|error| Failure::file("remove", &archive, &error))
    }

    /// Tells whether podman has an image.
    async fn has(&self, name: &str) -> Result<bool, Failure> {
        let mut command = self.command(&["image", "exists", "--", name]);
        let finished = self.finish(&mut command).await?;
        match finished.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            Some(_) | None => Err(said(&format!("look for the image {name}"), &finished)),
        }
    }

    /// Reads the hash of what an image was built from; `None` when there is no image, or it was built by something else.
    async fn label(&self, name: &str) -> Result<Option<String>, Failure> {
        if !self.has(name).await? {
            return Ok(None);
        }
        let action = format!("inspect the image {name}");
        let inspect = ["image", "inspect", "--format={{json .Labels}}", "--", name];
        let labels = self.answer(&inspect, &action).await?;
        let labels: serde_json::Value = serde_json::from_str(&labels).unwrap_or_default();
        Ok(labels[context::LABEL].as_str().map(str::to_owned))
    }

    /// Runs podman and returns what it wrote.
    async fn answer(&self, arguments: &[&str], action: &str) -> Result<String, Failure> {
        let finished = self.finish(&mut self.command(arguments)).await?;
        if !finished.status.success() {
            return Err(said(action, &finished));
        }
        Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
    }

    /// Runs podman, shows what it writes as it comes, and keeps the end of it for a failure.
    async fn follow(&self, mut command: Command, action: &str) -> Result<(), Failure> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.no_podman(&error))?;
        let mut last = VecDeque::new();
        let mut complaint = None;
        let mut out = lines(child.stdout.take());
        let mut error = lines(child.stderr.take());
        while out.is_some() || error.is_some() {
            let (line, is_error) = tokio::select! {
                line = next(&mut out), if out.is_some() => (line, false),
                line = next(&mut error), if error.is_some() => (line, true),
            };
            let line = line.map(|line| plain(line.trim_end()));
            let Some(line) = line.filter(|line| !line.is_empty()) else {
                continue;
            };
            self.output.progress(format_args!("  {line}"));
            if is_error {
                complaint = Some(line.clone());
            }
            last.push_back(line);
            if last.len() > LAST_LINES {
                last.pop_front();
            }
        }
        let status = child.wait().await.map_err(|error| self.no_podman(&error))?;
        if status.success() {
            return Ok(());
        }
        let mut failure = failed(action, status, complaint.or_else(|| last.back().cloned()));
        if !self.output.shows_progress() {
            failure.details = last.into();
        }
        Err(failure)
    }

    async fn finish(&self, command: &mut Command) -> Result<Finished, Failure> {
        let finished = command.output().await;
        finished.map_err(|error| self.no_podman(&error))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn no_podman(&self, error: &std::io::Error) -> Failure {
        let text = format!("cannot run {}: {error}", self.program.display());
        Failure::failed("podman", text).hint("Install podman 4.4 or newer from your distribution")
    }
}

fn policy(pull_policy: PullPolicy) -> &'static str {
    match pull_policy {
        PullPolicy::Missing => "missing",
        PullPolicy::Always => "always",
        PullPolicy::Never => "never",
    }
}

type Pipe<R> = Option<Lines<BufReader<R>>>;

fn lines<R: AsyncRead>(pipe: Option<R>) -> Pipe<R> {
    pipe.map(|pipe| BufReader::new(pipe).lines())
}

/// Waits for a line; at the end there is no pipe any more.
async fn next<R: AsyncRead + Unpin>(pipe: &mut Pipe<R>) -> Option<String> {
    let line = match pipe {
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => None,
    };
    if line.is_none() {
        *pipe = None;
    }
    line
}

fn said(action: &str, finished: &Finished) -> Failure {
    let text = String::from_utf8_lossy(&finished.stderr);
    let complaint = text.lines().next_back();
    failed(action, finished.status, complaint.map(plain))
}

/// The reason is what podman complained of last.
fn failed(action: &str, status: ExitStatus, complaint: Option<String>) -> Failure {
    let reason = complaint.unwrap_or_else(|| format!("it ended with {status}"));
    Failure::failed("image", format!("podman cannot {action}: {reason}"))
}

#[cfg(test)]
mod tests;
