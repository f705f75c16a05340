//! `archy store search|show`, and finding the app that an owner means.

use serde_json::{Value, json};

use super::Context;
use crate::app::AppName;
use crate::cli::{SearchArgs, StoreCommand};
use crate::failure::Failure;
use crate::node::Node;
use crate::node::types::{AppPage, AppRef, SearchResult};
use crate::text::{count, plain, size, table};

/// Most apps of one answer.
const PAGE: u32 = 100;

pub(super) async fn run(context: &Context<'_>, command: &StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Search(arguments) => search(context, arguments).await,
        StoreCommand::Show { app } => show(context, app).await,
    }
}

/// Finds which app a name means; a short name must belong to one publisher only.
pub(super) async fn resolve(node: &Node, name: &AppName) -> Result<AppRef, Failure> {
    let slug = match name {
        AppName::Full(app) => {
            return Ok(AppRef {
                publisher: app.publisher.to_string(),
                slug: app.slug.to_string(),
            });
        }
        AppName::Short(slug) => slug.as_str(),
    };
    let params = json!({ "query": slug, "limit": PAGE });
    let found: SearchResult = node.call("store.search", &params).await?;
    let mut apps: Vec<AppRef> = found
        .apps
        .into_iter()
        .map(|card| card.app)
        .filter(|app| app.slug == slug)
        .collect();
    match (apps.pop(), apps.is_empty()) {
        (Some(app), true) => Ok(app),
        (Some(last), false) => {
            apps.push(last);
            let mut failure = Failure::usage(format!("several publishers have an app named {slug}: name one in full"));
            failure.details = apps.iter().map(|app| format!("{}/{}", app.publisher, app.slug)).collect();
            Err(failure)
        }
        (None, _) if found.hidden > 0 => Err(Failure::not_found(format!(
            "your policy hides what is named {slug}"
        ))
        .hint("Name it in full, as did:key:…/app; `archy policy show` lists whom you blocked")),
        (None, _) => Err(Failure::not_found(format!("the node has not heard of an app named {slug}"))
            .hint("`archy store search` lists what it knows; `archy status` shows whether its relays are connected")),
    }
}

async fn search(context: &Context<'_>, arguments: &SearchArgs) -> Result<(), Failure> {
    let params = json!({
        "query": arguments.words.join(" "), "category": arguments.category,
        "architecture": arguments.architecture, "pointsMin": arguments.points.unwrap_or(0),
        "withoutRights": arguments.without, "sort": arguments.sort, "limit": PAGE,
    });
    let answer: Value = context.node()?.call("store.search", &params).await?;
    let found: SearchResult = parse(&answer)?;
    let mut rows = vec![
        ["APP", "VERSION", "SIZE", "PUBLISHER", "TRUST", "WHAT"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for card in &found.apps {
        let installed = card
            .installed
            .as_deref()
            .map(|state| format!(" ({state})"))
            .unwrap_or_default();
        rows.push(vec![
            format!("{}{installed}", card.app.slug),
            plain(&card.version),
            size(card.download_size_bytes),
            short_did(&card.app.publisher),
            format!("{:.0} {}", card.trust.points, spaced(&card.trust.band)),
            plain(&card.tagline),
        ]);
    }
    let shown = u32::try_from(found.apps.len()).unwrap_or(u32::MAX);
    let mut words = match shown {
        0 => "no app found".to_owned(),
        shown if shown + found.hidden < found.total => {
            format!("{}{shown} of {} apps", table(&rows), found.total)
        }
        _ => table(&rows),
    };
    if let Some(corrected) = &found.corrected {
        words = format!(
            "nothing is called that; this is of {}\n{words}",
            plain(corrected)
        );
    }
    if found.hidden > 0 {
        words = format!(
            "{}\nyour policy hides {}: `archy policy show`",
            words.trim_end(),
            count(found.hidden as usize, "app")
        );
    }
    context.output.result(&answer, words);
    Ok(())
}

async fn show(context: &Context<'_>, name: &AppName) -> Result<(), Failure> {
    let node = context.node()?;
    let app = resolve(&node, name).await?;
    let answer: Value = node.call("store.show", &app).await?;
    let page: AppPage = parse(&answer)?;
    context.output.result(&answer, page_words(&page));
    Ok(())
}

fn page_words(page: &AppPage) -> String {
    let card = &page.card;
    let mut lines = vec![
        format!("{} {}", plain(&card.name), plain(&card.version)),
        plain(&card.tagline),
        String::new(),
        format!("app        {}/{}", card.app.publisher, card.app.slug),
        format!(
            "download   {}, for {}",
            size(card.download_size_bytes),
            card.architectures.join(", ")
        ),
    ];
    lines.extend(
        page.license
            .as_ref()
            .map(|license| format!("licence    {}", plain(license))),
    );
    lines.extend(
        page.website
            .as_ref()
            .map(|website| format!("website    {}", plain(website))),
    );
    lines.extend(page.release.as_ref().map(|release| {
        format!(
            "release    {} of {}, {}",
            release.seq, release.created, release.hash
        )
    }));
    lines.extend(
        card.installed
            .as_ref()
            .map(|state| format!("installed  {state}")),
    );
    let trust = &page.publisher.trust;
    lines.push(format!(
        "\ntrust in the publisher: {:.1} of 100, {}",
        trust.points,
        spaced(&trust.band)
    ));
    lines.extend(
        page.publisher
            .reasons
            .iter()
            .map(|reason| format!("  {:+.1}  {}", reason.points, plain(&reason.text))),
    );
    lines.push("\nit may".to_owned());
    lines.extend(
        page.rights
            .iter()
            .map(|right| format!("  {}", plain(&right.text))),
    );
    if let (Some(warning), None) = (&page.warning, &page.problem) {
        lines.push(format!("\nwarning: {}", plain(&warning.message)));
    }
    if let Some(problem) = &page.problem {
        lines.push(format!(
            "\ncannot be installed now: {}",
            plain(&problem.message)
        ));
        lines.extend(
            problem
                .hint
                .as_ref()
                .map(|hint| format!("hint: {}", plain(hint))),
        );
    }
    lines.join("\n")
}

/// Reads the members that are shown; the whole answer is what `--json` writes.
pub(super) fn parse<T: serde::de::DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|error| {
        Failure::failed("node", format!("the node's answer cannot be read: {error}"))
    })
}

/// Shortens a DID to what a person compares.
fn short_did(did: &str) -> String {
    let key = did.strip_prefix("did:key:").unwrap_or(did);
    if key.len() > 16 && key.is_ascii() {
        format!("{}…{}", &key[..8], &key[key.len() - 6..])
    } else {
        plain(key)
    }
}

/// Writes a name like `someTrust` as words.
pub(super) fn spaced(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_and_spaced() {
        let did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
        assert_eq!(short_did(did), "z6MkhaXg…ta2doK");
        assert_eq!(spaced("someTrust"), "some trust");
    }
}
