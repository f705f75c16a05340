//! `archy app install|uninstall|list|logs --dev` and `archy app test`.

use std::path::Path;

use archy_orchestrator::{Config, Instance, InstanceState, Orchestrator};
use archy_registry::Slug;
use archy_registry::manifest::InterfaceKind;
use serde_json::json;

use super::Context;
use crate::app::App;
use crate::cli::develop::{
    DevInstallArgs, DevLogsArgs, DevUninstallArgs, FolderOrId, MachineArgs, TestArgs,
};
use crate::develop::cast::Purpose;
use crate::develop::root::{self, Root};
use crate::develop::{trial, until_interrupted};
use crate::failure::Failure;
use crate::text::{count, plain, table};

pub(super) async fn install(
    context: &Context<'_>,
    arguments: &DevInstallArgs,
) -> Result<(), Failure> {
    let work = work_dir(context)?;
    let config = config(context, &arguments.machine)?;
    let instance = until_interrupted(async |cancel| {
        let root = Root::open(config, work.path().to_owned(), context.output).await?;
        let prepared = root.prepare(&arguments.dir, Purpose::Dev, cancel).await?;
        root.install(&prepared, cancel).await
    })
    .await?;
    context.output.result(&instance, words(&instance));
    Ok(())
}

pub(super) async fn uninstall(
    context: &Context<'_>,
    arguments: &DevUninstallArgs,
) -> Result<(), Failure> {
    let work = work_dir(context)?;
    let config = context.environment.development()?;
    let app = id(&arguments.app)?;
    let name = until_interrupted(async |cancel| {
        let root = Root::open(config, work.path().to_owned(), context.output).await?;
        let name = root::named(root.orchestrator(), &app);
        root.uninstall(&name, arguments.purge, cancel).await?;
        Ok(name)
    })
    .await?;
    let words = if arguments.purge {
        format!("removed {name} and its data")
    } else {
        format!("removed {name}; its data stays")
    };
    let result = json!({ "name": name, "purged": arguments.purge });
    context.output.result(&result, words);
    Ok(())
}

pub(super) async fn list(context: &Context<'_>) -> Result<(), Failure> {
    let instances = watch(context)?.look().await?.instances;
    let mut rows = vec![
        ["NAME", "VERSION", "STATE", "OPEN"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(instances.iter().map(|instance| {
        vec![
            instance.app.slug.to_string(),
            instance.version.clone(),
            state(instance.state),
            urls(instance).into_iter().next().unwrap_or_default(),
        ]
    }));
    let words = if instances.is_empty() {
        "nothing runs from a folder; archy app install --dev FOLDER starts one".to_owned()
    } else {
        table(&rows)
    };
    context.output.result(&instances, words);
    Ok(())
}

pub(super) async fn logs(context: &Context<'_>, arguments: &DevLogsArgs) -> Result<(), Failure> {
    let orchestrator = watch(context)?;
    let name = root::named(&orchestrator, &id(&arguments.app)?);
    let lines = root::last_lines(&orchestrator, &name, arguments.lines).await?;
    context.output.result(&lines, lines.join("\n"));
    Ok(())
}

pub(super) async fn test(context: &Context<'_>, arguments: &TestArgs) -> Result<(), Failure> {
    let work = work_dir(context)?;
    let config = config(context, &arguments.machine)?;
    let (name, passed) = until_interrupted(async |cancel| {
        let root = Root::open(config, work.path().to_owned(), context.output).await?;
        let prepared = root.prepare(&arguments.dir, Purpose::Test, cancel).await?;
        let passed = trial::run(&root, &prepared, arguments.keep, context.output, cancel).await?;
        Ok((prepared.name().clone(), passed))
    })
    .await?;
    let seconds: f64 = passed.iter().map(|passed| passed.seconds).sum();
    let words = format!(
        "{name} came through {} in {seconds:.1} s",
        count(passed.len(), "state")
    );
    let result = json!({ "name": name, "kept": arguments.keep, "states": passed });
    context.output.result(&result, words);
    Ok(())
}

fn config(context: &Context<'_>, machine: &MachineArgs) -> Result<Config, Failure> {
    let mut config = context.environment.development()?;
    config.host_directories.clone_from(&machine.copy_from_host);
    Ok(config)
}

fn watch(context: &Context<'_>) -> Result<Orchestrator, Failure> {
    root::watch(context.environment.development()?)
}

/// A directory for images on their way, gone with the command.
fn work_dir(context: &Context<'_>) -> Result<tempfile::TempDir, Failure> {
    super::work_dir(context, "archy-app-")
}

/// The app's id, as it was typed or from the folder's manifest.
fn id(app: &FolderOrId) -> Result<Slug, Failure> {
    match app {
        FolderOrId::Id(id) => Ok(id.clone()),
        FolderOrId::Folder(dir) => Ok(App::open(Path::new(dir))?.manifest.app.id),
    }
}

/// Writes a state as programs read it: `crash-looping`.
fn state(state: InstanceState) -> String {
    let word = json!(state);
    word.as_str().unwrap_or_default().to_owned()
}

fn urls(instance: &Instance) -> Vec<String> {
    let interfaces = instance.interfaces.iter();
    let pages = interfaces.filter(|interface| interface.kind == InterfaceKind::Ui);
    pages
        .map(|page| format!("http://localhost:{}{}", page.host_port, page.path))
        .collect()
}

fn words(instance: &Instance) -> String {
    let name = &instance.app.slug;
    let mut text = format!("{name} {} runs", plain(&instance.version));
    for url in urls(instance) {
        text.push_str(&format!("\nopen    {url}"));
    }
    for port in &instance.ports {
        text.push_str(&format!(
            "\nport    {} {} of {}: {}",
            port.container_port,
            json!(port.protocol).as_str().unwrap_or_default(),
            port.container,
            port.host_port
        ));
    }
    text.push_str(&format!("\ndata    {}", instance.data_dir.display()));
    for container in &instance.containers {
        text.push_str(&format!("\nunit    {}", container.unit));
    }
    text.push_str(&format!("\nlogs    archy app logs --dev {name}"));
    text
}
