//! `archy publish`.

use super::Context;
use crate::cli::PublishArgs;
use crate::failure::Failure;
use crate::publish::{Published, PublishedDelta, Request, prepare};
use crate::text::{count, size};

pub(super) async fn run(context: &Context<'_>, arguments: &PublishArgs) -> Result<(), Failure> {
    let nostr_signer = super::bunker(&arguments.signer)?;
    let node = context.node()?;
    let identity_dir = context.identity_dir()?;
    let work = super::work_dir(context, "archy-publish-")?;
    let request = Request {
        dir: &arguments.dir,
        images: &arguments.images,
        build: !arguments.no_build,
        platforms: &arguments.platforms,
        relays: &arguments.relays,
        origin_addresses: &arguments.origin_addresses,
        identity_dir: &identity_dir,
        passphrases: &context.passphrases,
        nostr_signer: nostr_signer.as_ref(),
        nip82: arguments.nip82,
        deltas: !arguments.no_deltas,
        release: arguments.release.as_deref(),
        cosigners: &arguments.cosign.cosigners,
        podman_socket: context.environment.podman_socket()?,
        work_dir: work.path().to_owned(),
    };
    let prepared = prepare(&request, &node, context.output, arguments.dry_run).await?;
    let published = if arguments.dry_run {
        prepared.dry_run()?
    } else {
        prepared.publish(&request, &node, context.output).await?
    };
    for failed in published
        .announced
        .iter()
        .flat_map(|announced| &announced.failed)
        .chain(published.listed.iter().flat_map(|listed| &listed.failed))
    {
        context
            .output
            .warning(format_args!("{}: {}", failed.relay, failed.reason));
    }
    context.output.result(&published, words(&published));
    Ok(())
}

fn words(published: &Published) -> String {
    let Published {
        app,
        version,
        seq,
        release,
        ..
    } = published;
    let what = format!(
        "{} {version}, release {seq}\nrelease  {release}\napp      {}/{}\nruns on  {}, {} to download",
        app.slug,
        app.publisher,
        app.slug,
        published.platforms.join(", "),
        size(published.download_size_bytes)
    );
    let saves_most =
        |delta: &&PublishedDelta| delta.layer_size_bytes.saturating_sub(delta.size_bytes);
    let what = match published.deltas.iter().max_by_key(saves_most) {
        None => what,
        Some(delta) => format!(
            "{what}\nupdates  {}, such as {} instead of {}",
            count(published.deltas.len(), "delta"),
            size(delta.size_bytes),
            size(delta.layer_size_bytes)
        ),
    };
    match &published.announced {
        Some(announced) => {
            let listed = match &published.listed {
                Some(listed) => format!("\nlisted   as application {}", listed.application),
                None => String::new(),
            };
            format!(
                "published {what}\nannounced on {}: {}{listed}",
                count(announced.accepted.len(), "relay"),
                announced.accepted.join(", ")
            )
        }
        None => format!("would publish {what}\nnothing was sent"),
    }
}
