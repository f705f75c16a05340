//! `archy announce`.

use super::Context;
use crate::cli::AnnounceArgs;
use crate::failure::Failure;
use crate::publish::renew::{Publisher, Renewed, Request, apps, renew};
use crate::text::count;

pub(super) async fn run(context: &Context<'_>, arguments: &AnnounceArgs) -> Result<(), Failure> {
    let nostr_signer = super::bunker(&arguments.signer)?;
    let node = context.node()?;
    let identity_dir = context.identity_dir()?;
    let work_dir = context.environment.work_dir();
    let request = Request {
        apps: &arguments.apps,
        relays: &arguments.relays,
        origin_addresses: &arguments.origin_addresses,
        identity_dir: &identity_dir,
        passphrases: &context.passphrases,
        nostr_signer: nostr_signer.as_ref(),
        work_dir: &work_dir,
    };
    let apps = apps(&request)?;
    let publisher = Publisher::load(&request, context.output).await?;
    let mut renewed = Vec::new();
    let mut first_failure = None;
    // One app that cannot be announced keeps no other from being announced.
    for slug in &apps {
        match renew(&request, &publisher, slug, &node).await {
            Ok(one) => {
                for failed in &one.announced.failed {
                    context
                        .output
                        .warning(format_args!("{}: {}", failed.relay, failed.reason));
                }
                renewed.push(one);
            }
            Err(failure) => {
                context
                    .output
                    .warning(format_args!("{slug}: {}", failure.error));
                first_failure.get_or_insert(failure);
            }
        }
    }
    if let Some(failure) = first_failure {
        return Err(failure);
    }
    context.output.result(&renewed, words(&renewed));
    Ok(())
}

fn words(renewed: &[Renewed]) -> String {
    let line = |one: &Renewed| {
        format!(
            "{} {}, release {}: announced on {}, valid until {}\n",
            one.app.slug,
            one.version,
            one.seq,
            count(one.announced.accepted.len(), "relay"),
            one.expires
        )
    };
    renewed.iter().map(line).collect()
}
