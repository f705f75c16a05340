//! Which events the relay takes, as a pure function; the reasons are the machine-readable prefixes of NIP-01.

use super::{Accept, Limits};
use crate::clock::FUTURE_SECONDS_MAX;
use crate::event::{Class, Event};
use crate::opinion::KIND_REVIEWERS;
use crate::statement::KIND;

/// Kinds that are lists: mute lists, sets of pubkeys and app curation sets (NIP-51).
const LISTS: [u16; 3] = [10_000, KIND_REVIEWERS, 30_267];
/// Longest `d` tag in bytes.
const D_BYTES_MAX: usize = 256;

/// Checks an event before its signature.
///
/// # Errors
///
/// What to tell the client.
pub(super) fn check(
    event: &Event,
    accept: &Accept,
    limits: &Limits,
    now: u64,
) -> Result<(), String> {
    if !accept.kinds.contains(&event.kind) {
        return Err(format!("blocked: kind {} is not taken here", event.kind));
    }
    if accept
        .authors
        .as_ref()
        .is_some_and(|authors| !authors.contains(&event.pubkey))
    {
        return Err("restricted: only listed authors may write here".to_owned());
    }
    if event.content.len() > limits.content_bytes_max {
        let max = limits.content_bytes_max;
        return Err(format!("invalid: content has more than {max} bytes"));
    }
    let tags_max = if LISTS.contains(&event.kind) {
        limits.list_tags_max
    } else {
        limits.tags_max
    };
    if event.tags.len() > tags_max {
        return Err(format!("invalid: more than {tags_max} tags"));
    }
    let long = |text: &String| text.len() > limits.tag_bytes_max;
    if event.tags.iter().flatten().any(long) {
        let max = limits.tag_bytes_max;
        return Err(format!("invalid: a tag element has more than {max} bytes"));
    }
    if event.created_at > now + FUTURE_SECONDS_MAX {
        return Err(format!(
            "invalid: created_at is more than {FUTURE_SECONDS_MAX} s in the future"
        ));
    }
    if event.is_expired(now) {
        return Err("invalid: the event has expired".to_owned());
    }
    if Class::of(event.kind) == Class::Addressable {
        let d = event
            .tag("d")
            .ok_or("invalid: an addressable event needs a d tag")?;
        if d.len() > D_BYTES_MAX {
            return Err(format!(
                "invalid: the d tag has more than {D_BYTES_MAX} bytes"
            ));
        }
        if event.kind == KIND && !accept.foreign_app_data && !d.starts_with("archy:") {
            return Err(
                "blocked: of kind 30078 only d tags that start with archy: are taken".to_owned(),
            );
        }
    }
    Ok(())
}
