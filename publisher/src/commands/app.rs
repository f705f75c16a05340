//! `archy app …`; what runs from folders is [`super::develop`]'s.

use std::collections::BTreeMap;
use std::path::Path;

use archy_orchestrator::quadlet;
use archy_registry::Slug;
use serde_json::json;

use super::{Context, develop};
use crate::app::{App, scaffold};
use crate::cli::AppCommand;
use crate::failure::Failure;

pub(super) async fn run(context: &Context<'_>, command: &AppCommand) -> Result<(), Failure> {
    match command {
        AppCommand::New { id, dir } => {
            let named = Path::new(id.as_str());
            new(context, id, dir.as_deref().unwrap_or(named))
        }
        AppCommand::Validate { dir } => validate(context, dir),
        AppCommand::Render { dir, out } => render(context, dir, out.as_deref()),
        AppCommand::Install(arguments) => develop::install(context, arguments).await,
        AppCommand::Uninstall(arguments) => develop::uninstall(context, arguments).await,
        AppCommand::List(_) => develop::list(context).await,
        AppCommand::Logs(arguments) => develop::logs(context, arguments).await,
        AppCommand::Test(arguments) => develop::test(context, arguments).await,
    }
}

fn new(context: &Context<'_>, id: &Slug, dir: &Path) -> Result<(), Failure> {
    if dir.exists() {
        let text = format!("{} exists already", dir.display());
        return Err(Failure::failed("exists", text).hint("Name another folder with --dir"));
    }
    let files = scaffold::files(id);
    for (path, content) in &files {
        write(&dir.join(path), content)?;
    }
    let written: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    let words = format!(
        "wrote {} to {}\nnext: archy app install --dev {}, then archy publish {}",
        written.join(", "),
        dir.display(),
        dir.display(),
        dir.display()
    );
    context.output.result(
        &json!({ "app": id, "folder": dir, "files": written }),
        words,
    );
    Ok(())
}

fn validate(context: &Context<'_>, dir: &Path) -> Result<(), Failure> {
    let app = App::open(dir)?;
    let rights = archy_orchestrator::rights(&app.manifest)?;
    let rights: Vec<&str> = rights.iter().map(|right| right.text.as_str()).collect();
    let warnings: Vec<String> = app.warnings.iter().map(ToString::to_string).collect();
    for warning in &warnings {
        context.output.warning(warning);
    }
    let about = &app.manifest.app;
    let result = json!({ "app": about.id, "version": about.version, "warnings": warnings, "rights": rights });
    let mut words = format!(
        "{} {} is valid; owners will be told:",
        about.id, about.version
    );
    for right in rights {
        words.push_str("\n  ");
        words.push_str(right);
    }
    context.output.result(&result, words);
    Ok(())
}

fn render(context: &Context<'_>, dir: &Path, out: Option<&Path>) -> Result<(), Failure> {
    let app = App::open(dir)?;
    let files: BTreeMap<String, String> = quadlet::preview(&app.manifest)?.files();
    let Some(out) = out else {
        let words: Vec<String> = files
            .iter()
            .map(|(name, text)| format!("# {name}\n{text}"))
            .collect();
        context.output.result(&files, words.join("\n"));
        return Ok(());
    };
    for (name, text) in &files {
        write(&out.join(name), text)?;
    }
    let names: Vec<&String> = files.keys().collect();
    let words = format!(
        "wrote {} to {}",
        names
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        out.display()
    );
    context
        .output
        .result(&json!({ "folder": out, "files": names }), words);
    Ok(())
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(path, content))
        .map_err(|error| Failure::file("write", path, &error))
}
