//! `archy registry list|add|remove|move|test`.

use std::path::Path;

use serde_json::{Value, json};

use super::Context;
use super::store::parse;
use crate::cli::registry::{RegistryAddArgs, RegistryCommand};
use crate::failure::Failure;
use crate::node::types::Problem;
use crate::node::types::registry::{CatalogInfo, RegistryList, RegistryTest};
use crate::text::{plain, table};

pub(super) async fn run(context: &Context<'_>, command: &RegistryCommand) -> Result<(), Failure> {
    match command {
        RegistryCommand::List => lists(context, "registry.list", &json!({})).await,
        RegistryCommand::Add(arguments) => {
            lists(context, "registry.add", &add_params(arguments)?).await
        }
        RegistryCommand::Remove { name, oci } => {
            let params = json!({ "name": name, "oci": oci });
            lists(context, "registry.remove", &params).await
        }
        RegistryCommand::Move {
            name,
            position,
            oci,
        } => {
            let params = json!({ "name": name, "position": position, "oci": oci });
            lists(context, "registry.move", &params).await
        }
        RegistryCommand::Test { registry, oci } => test(context, registry, *oci).await,
    }
}

fn add_params(arguments: &RegistryAddArgs) -> Result<Value, Failure> {
    let credentials = arguments.credentials.as_deref().map(absolute).transpose()?;
    Ok(json!({
        "url": location(&arguments.location, arguments.oci)?,
        "name": arguments.name,
        "operator": arguments.operator,
        "ttlSeconds": arguments.ttl,
        "position": arguments.position,
        "oci": arguments.oci,
        "credentialsFile": credentials,
    }))
}

/// Writes a location as the node wants it: it has another working directory. A folder of images is told from a host by how
/// its path begins.
fn location(text: &str, oci: bool) -> Result<String, Failure> {
    let is_path = if oci {
        text.starts_with(['/', '.'])
    } else {
        !text.contains("://") && !text.starts_with("blob:")
    };
    if !is_path {
        return Ok(text.to_owned());
    }
    absolute(Path::new(text))
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let absolute =
        std::path::absolute(path).map_err(|error| Failure::file("find", path, &error))?;
    let text = absolute.into_os_string().into_string();
    text.map_err(|path| Failure::usage(format!("{} is not UTF-8", path.display())))
}

/// Asks for the lists, or for a change to them, and shows what they are now.
async fn lists(context: &Context<'_>, method: &str, params: &Value) -> Result<(), Failure> {
    let answer: Value = context.node()?.call(method, params).await?;
    let lists: RegistryList = parse(&answer)?;
    context.output.result(&answer, list_words(&lists));
    Ok(())
}

async fn test(context: &Context<'_>, registry: &str, oci: bool) -> Result<(), Failure> {
    // A name has neither; every location has one of them.
    let is_location = registry.contains(['/', ':', '.']);
    let params = if is_location {
        json!({ "url": location(registry, oci)?, "oci": oci })
    } else {
        json!({ "name": registry, "oci": oci })
    };
    let answer: Value = context.node()?.call("registry.test", &params).await?;
    let test: RegistryTest = parse(&answer)?;
    if let Some(problem) = test.problem {
        return Err(problem.into());
    }
    context.output.result(&answer, test_words(&test));
    Ok(())
}

fn list_words(lists: &RegistryList) -> String {
    if lists.registries.is_empty() && lists.oci.is_empty() {
        return "no registry; the node knows apps from its relays alone".to_owned();
    }
    let header = |names: [&str; 4]| names.map(str::to_owned).to_vec();
    let mut parts = Vec::new();
    if !lists.registries.is_empty() {
        let mut rows = vec![header(["REGISTRY", "WHERE", "OPERATOR", "CATALOG"])];
        for entry in &lists.registries {
            let catalog = match &entry.catalog {
                Some(catalog) => catalog_words(catalog),
                None => "none yet".to_owned(),
            };
            let failure = entry.last_error.as_ref().map(problem_words);
            rows.push(vec![
                entry.name.clone(),
                plain(&entry.url),
                entry.operator.clone(),
                [Some(catalog), failure]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join("; "),
            ]);
        }
        parts.push(table(&rows));
    }
    if !lists.oci.is_empty() {
        let mut rows = vec![header(["IMAGES", "WHERE", "CREDENTIALS", ""])];
        for entry in &lists.oci {
            let credentials = if entry.credentials { "yes" } else { "no" };
            rows.push(
                [entry.name.as_str(), &plain(&entry.place), credentials, ""]
                    .map(str::to_owned)
                    .to_vec(),
            );
        }
        parts.push(table(&rows));
    }
    parts.join("\n")
}

fn test_words(test: &RegistryTest) -> String {
    let Some(catalog) = &test.catalog else {
        return "it answers".to_owned();
    };
    let mut lines = vec![format!(
        "{}: {}",
        plain(&catalog.name),
        catalog_words(catalog)
    )];
    lines.extend(
        test.operator
            .iter()
            .map(|operator| format!("signed by {operator}")),
    );
    lines.extend(test.refused.iter().map(|refused| {
        let app = &refused.app;
        let problem = problem_words(&refused.problem);
        format!("refused {}/{}: {problem}", app.publisher, app.slug)
    }));
    lines.join("\n")
}

fn catalog_words(catalog: &CatalogInfo) -> String {
    let mut words = format!("{}, {} apps", catalog.seq, catalog.releases);
    if catalog.refused > 0 {
        words.push_str(&format!(", {} refused", catalog.refused));
    }
    if catalog.stale {
        words.push_str(&format!(", no news since {}", plain(&catalog.expires)));
    }
    words
}

fn problem_words(problem: &Problem) -> String {
    plain(&problem.message)
}
