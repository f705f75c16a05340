//! `archy storage show|check`: how much room downloads take, and whether they are what they should be.

use serde_json::{Value, json};

use super::Context;
use super::store::parse;
use crate::cli::StorageCommand;
use crate::failure::Failure;
use crate::node::types::{BadBlob, FsckReport, StoragePage};
use crate::text::{count, plain, size};

pub(super) async fn run(context: &Context<'_>, command: &StorageCommand) -> Result<(), Failure> {
    let node = context.node()?;
    let answer: Value = match command {
        StorageCommand::Show => node.call("storage.show", &json!({})).await?,
        StorageCommand::Check { stop } => {
            node.call("storage.fsck", &json!({ "stop": stop })).await?
        }
    };
    let mut words = words(&parse(&answer)?);
    if let StorageCommand::Check { stop: false } = command {
        words.push_str("\n`archy storage show` says how far the check is");
    }
    context.output.result(&answer, words);
    Ok(())
}

fn words(page: &StoragePage) -> String {
    let quota = page.quota_bytes.map_or_else(
        || "no quota".to_owned(),
        |bytes| format!("at most {}", size(bytes)),
    );
    let mut lines = vec![
        format!("downloads   {}, {quota}", size(page.used_bytes)),
        format!("freeable    {}", size(page.freeable_bytes)),
        format!(
            "disk        {} free, of which {} stay free",
            size(page.free_bytes),
            size(page.kept_bytes)
        ),
    ];
    lines.extend(page.classes.iter().map(|usage| {
        let blobs = usize::try_from(usage.blobs).unwrap_or(usize::MAX);
        format!(
            "{:<12}{} in {}",
            plain(&usage.class),
            size(usage.size_bytes),
            count(blobs, "blob")
        )
    }));
    lines.extend(page.fsck.iter().flat_map(fsck_words));
    lines.join("\n")
}

fn fsck_words(fsck: &FsckReport) -> Vec<String> {
    let how = match (&fsck.ended, &fsck.problem) {
        (_, Some(problem)) => format!("failed: {}", plain(&problem.message)),
        (Some(ended), None) => format!("ended {ended}"),
        (None, None) => format!("under way since {}", fsck.began),
    };
    let mut lines = vec![format!(
        "check       {how}; {} of {} blobs, {} bad; {} of files that nothing needs",
        fsck.blobs_done,
        fsck.blobs_total,
        fsck.bad.len(),
        size(fsck.unheld_bytes)
    )];
    lines.extend(fsck.bad.iter().map(bad_words));
    lines
}

fn bad_words(bad: &BadBlob) -> String {
    let sets: Vec<String> = bad.sets.iter().map(|set| plain(set)).collect();
    let end = match &bad.hint {
        _ if bad.mended => "; fetched again".to_owned(),
        Some(hint) => format!("; {}", plain(hint)),
        None => String::new(),
    };
    format!(
        "  {} {} ({}) of {}{end}",
        plain(&bad.wrong),
        plain(&bad.blob),
        size(bad.size_bytes),
        sets.join(", ")
    )
}
