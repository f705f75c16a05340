//! `archy catalog build|sign|verify`.

use std::path::Path;

use jiff::Timestamp;

use super::Context;
use crate::catalog::{self, Given, Summary, own};
use crate::cli::registry::{CatalogBuildArgs, CatalogCommand};
use crate::failure::Failure;
use crate::identity::{Identity, PublicIdentity};
use crate::publish;
use crate::text::{count, plain};

pub(super) async fn run(context: &Context<'_>, command: &CatalogCommand) -> Result<(), Failure> {
    let now = Timestamp::now();
    match command {
        CatalogCommand::Build(arguments) => build(context, arguments, now).await,
        CatalogCommand::Sign { file, out } => {
            let identity = PublicIdentity::load(&context.identity_dir()?, now)?;
            let key = identity.key(&context.passphrases)?;
            let (bytes, summary) = catalog::signed(&catalog::read(file)?, &identity, &key, now)?;
            catalog::write(out, &bytes)?;
            show(context, &summary, "signed", Some(out));
            Ok(())
        }
        CatalogCommand::Verify { file, operator } => {
            let (_, summary) = catalog::check(&catalog::read(file)?, *operator, now)?;
            let refused: Vec<String> = summary
                .releases
                .iter()
                .filter_map(words_of_refusal)
                .collect();
            if refused.is_empty() {
                show(context, &summary, "valid", None);
                return Ok(());
            }
            let text = format!(
                "nodes would refuse {} of the catalog",
                count(refused.len(), "release")
            );
            let mut failure = Failure::refused("release", text)
                .hint("Build it again without them, or with the key states of their publishers");
            failure.details = refused;
            Err(failure)
        }
    }
}

async fn build(
    context: &Context<'_>,
    arguments: &CatalogBuildArgs,
    now: Timestamp,
) -> Result<(), Failure> {
    let dir = context.identity_dir()?;
    let identity = PublicIdentity::load(&dir, now)?;
    let mut given = Given::read(&arguments.files)?;
    given
        .releases
        .extend(own_releases(context, arguments, &dir, now).await?);
    let request = catalog::Request {
        name: &arguments.name,
        days: arguments.days,
    };
    let (bytes, summary) = catalog::build(&request, &identity, given, now)?;
    catalog::write(&arguments.out, &bytes)?;
    show(context, &summary, "built", Some(&arguments.out));
    context.output.progress(format_args!(
        "sign it with: archy catalog sign {}",
        arguments.out.display()
    ));
    Ok(())
}

/// Signs the apps that nobody signed.
async fn own_releases(
    context: &Context<'_>,
    arguments: &CatalogBuildArgs,
    identity_dir: &Path,
    now: Timestamp,
) -> Result<Vec<Vec<u8>>, Failure> {
    let mut folders = Vec::new();
    for path in &arguments.apps {
        folders.extend(own::folders(path)?);
    }
    if !arguments.images.is_empty() && folders.len() != 1 {
        return Err(Failure::usage(
            "--image is for one --app with one app in it",
        ));
    }
    if folders.is_empty() {
        return Ok(Vec::new());
    }
    let identity = Identity::load(identity_dir, &context.passphrases, now)?;
    let work = super::work_dir(context, "archy-catalog-")?;
    let mut releases = Vec::new();
    for folder in &folders {
        let request = publish::Request {
            dir: folder,
            images: &arguments.images,
            build: true,
            platforms: &arguments.platforms,
            relays: &[],
            origin_addresses: &[],
            identity_dir,
            passphrases: &context.passphrases,
            nostr_signer: None,
            nip82: false,
            deltas: false,
            release: None,
            cosigners: &arguments.cosign.cosigners,
            podman_socket: context.environment.podman_socket()?,
            work_dir: work.path().to_owned(),
        };
        releases.push(own::release(&request, &identity, context.output, now).await?);
    }
    Ok(releases)
}

fn show(context: &Context<'_>, summary: &Summary, what: &str, out: Option<&Path>) {
    let mut lines = vec![format!(
        "{what}: {}, catalog {} of {}, {}, news until {}",
        plain(&summary.name),
        summary.seq,
        summary.operator,
        count(summary.releases.len(), "app"),
        summary.expires,
    )];
    lines.extend(
        summary
            .releases
            .iter()
            .map(|one| format!("  {} {}", one.app, one.seq)),
    );
    lines.extend(
        summary
            .stale
            .then(|| "its time is over: sign a new one".to_owned()),
    );
    lines.extend(summary.hash.as_ref().map(|hash| format!("hash {hash}")));
    lines.extend(out.map(|path| format!("wrote {}", path.display())));
    context.output.result(summary, lines.join("\n"));
}

fn words_of_refusal(listed: &catalog::Listed) -> Option<String> {
    let why = listed.refused.as_ref()?;
    Some(format!("{} {}: {why}", listed.app, listed.seq))
}
