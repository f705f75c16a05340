//! `archy identity …`.

use std::path::Path;

use archy_nostr::{Pubkey, RelayUrl};
use archy_registry::key_state::{NostrKey, commitment};
use archy_registry::{SigningKey, proof};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use crate::cli::{CosignArgs, IdentityCommand, LinkNostrArgs, RecoverArgs, RotateArgs};
use crate::failure::Failure;
use crate::identity::change::{self, Change, Keys, Recovery, Rotation};
use crate::identity::{Identity, PublicIdentity, export, latest_expiry, next_key_path, save_key};
use crate::node::types::{AppRef, PublishState};
use crate::publish::announce;
use crate::publish::ledger::Ledger;
use crate::text::count;

pub(super) async fn run(context: &Context<'_>, command: &IdentityCommand) -> Result<(), Failure> {
    let dir = context.identity_dir()?;
    let now = Timestamp::now();
    let secrets = &context.passphrases;
    let load = || PublicIdentity::load(&dir, now);
    let changed = |what: &str| show(context, &dir, now, Some(what));
    match command {
        IdentityCommand::New { encrypt } => {
            let passphrase = encrypt.then(|| secrets.choose()).transpose()?;
            Identity::create(&dir, passphrase.as_ref(), now)?;
            context.output.progress(format_args!(
                "made an identity in {}\n\
                 Keep a copy of this folder in a safe place: your DID is the name of your apps for ever, and nobody can\n\
                 make it again.",
                dir.display(),
            ));
            tell_next_key(context, &next_key_path(&dir));
            show(context, &dir, now, None)
        }
        IdentityCommand::Show => show(context, &dir, now, None),
        IdentityCommand::Renew(cosign) => {
            made(change::renew(&load()?, keys(context, cosign), now)?)?;
            changed("signed your key state again")
        }
        IdentityCommand::Rotate(arguments) => {
            let rotation = rotation(arguments);
            made(change::rotate(
                &load()?,
                keys(context, &arguments.cosign),
                &rotation,
                now,
            )?)?;
            tell_next_key(context, &next_key_path(&dir));
            changed("replaced your key by the next one")
        }
        IdentityCommand::Accept { file } => {
            change::accept(&load()?, secrets, file, now)?;
            changed("took up the change that others have signed")
        }
        IdentityCommand::Key { file, new, encrypt } => key(context, file, *new, *encrypt),
        IdentityCommand::Revoke { next_key, yes } => {
            if !yes {
                return Err(Failure::usage(
                    "revoking ends your keys: nodes install nothing of yours any more",
                )
                .hint("To do it, add --yes")
                .hint(
                    "With the next key, `archy identity recover` does more: you go on publishing",
                ));
            }
            made(change::revoke(&load()?, secrets, next_key.as_deref(), now)?)?;
            changed("revoked your keys")
        }
        IdentityCommand::Recover(arguments) => {
            let identity = load()?;
            let rotation = Rotation {
                recovery: Some(recovery(&identity, arguments)?),
                ..rotation(&arguments.rotate)
            };
            let keys = keys(context, &arguments.rotate.cosign);
            made(change::rotate(&identity, keys, &rotation, now)?)?;
            tell_next_key(context, &next_key_path(&dir));
            changed("replaced your key by the next one and ended what the old one signed")
        }
        IdentityCommand::LinkNostr(arguments) => {
            link(&load()?, context, arguments, now)?;
            changed("changed which Nostr keys announce for you")
        }
        IdentityCommand::Export { to, private } => {
            let identity = load()?;
            let files = export(&identity, to, *private)?;
            if *private {
                context.output.warning(
                    "whoever has these files can publish as you; keep next.key apart from the others",
                );
            }
            let words: Vec<String> = files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            let result = json!({ "did": identity.did(), "files": words });
            context.output.result(&result, words.join("\n"));
            Ok(())
        }
        IdentityCommand::Publish { relays } => publish(context, &load()?, relays).await,
    }
}

fn keys<'a>(context: &'a Context<'_>, cosign: &'a CosignArgs) -> Keys<'a> {
    Keys {
        passphrases: &context.passphrases,
        cosigners: &cosign.cosigners,
    }
}

fn rotation(arguments: &RotateArgs) -> Rotation<'_> {
    Rotation {
        next_key: arguments.next_key.as_deref(),
        others: &arguments.others,
        threshold: arguments.threshold,
        commit: &arguments.commit,
        recovery: None,
    }
}

/// A change that takes more signatures has not been made yet.
fn made(change: Change) -> Result<(), Failure> {
    match change {
        Change::Made => Ok(()),
        Change::Waits(waiting) => Err(waiting.failure("the change", "archy identity accept")),
    }
}

/// Shows the public half of a key, which is made first when it is `new`.
fn key(context: &Context<'_>, file: &Path, new: bool, encrypt: bool) -> Result<(), Failure> {
    let secrets = &context.passphrases;
    let key = if new {
        let passphrase = encrypt.then(|| secrets.choose()).transpose()?;
        let key = SigningKey::generate()?;
        save_key(&key, file, passphrase.as_ref())?;
        key
    } else {
        secrets.load_key(file)?
    };
    let did = key.did();
    let result = json!({ "key": did, "commitment": commitment(&did) });
    context.output.result(&result, did.to_string());
    Ok(())
}

fn recovery(identity: &PublicIdentity, arguments: &RecoverArgs) -> Result<Recovery, Failure> {
    let mut reaffirm = arguments.reaffirm.clone();
    if let Some(before) = arguments.reaffirm_before {
        let noted = Ledger::new(&identity.dir).noted()?;
        let kept = noted.iter().filter(|noted| noted.signed < before);
        reaffirm.extend(kept.map(|noted| noted.release));
    }
    Ok(Recovery {
        floors: change::floors(identity, &arguments.floors)?,
        reaffirm,
    })
}

/// Shows the identity; after a change also what was done and what is left to do.
fn show(
    context: &Context<'_>,
    dir: &Path,
    now: Timestamp,
    changed: Option<&str>,
) -> Result<(), Failure> {
    let identity = PublicIdentity::load(dir, now)?;
    if let Some(changed) = changed {
        context.output.progress(format_args!(
            "{changed}\nNodes do not know yet; tell them with: archy identity publish"
        ));
    }
    let nostr = identity.nostr()?.pubkey().to_string();
    let state = identity.state();
    let mut words = format!("DID    {}\nNostr  {nostr}\n", identity.did());
    for key in state.nostr.iter().filter(|key| key.pubkey != nostr) {
        words.push_str(&format!("       {} until {}\n", key.pubkey, key.expires));
    }
    let (word, date) = if state.is_revoked() {
        ("revoked on", state.created)
    } else {
        ("valid until", state.expires)
    };
    words.push_str(&format!(
        "Keys   state {}, {word} {date}\nFolder {}",
        state.seq,
        dir.display()
    ));
    context.output.result(&described(&identity, &nostr), words);
    Ok(())
}

fn described(identity: &PublicIdentity, nostr: &str) -> Value {
    let state = identity.state();
    json!({
        "did": identity.did(),
        "nostr": nostr,
        "linked": state.nostr,
        "keyState": {
            "seq": state.seq,
            "hash": state.hash(),
            "created": state.created,
            "expires": state.expires,
            "keys": state.keys,
            "threshold": state.threshold,
            "revoked": state.is_revoked(),
            "floors": state.floors,
            "reaffirm": state.reaffirm,
        },
        "folder": identity.dir,
    })
}

fn tell_next_key(context: &Context<'_>, path: &Path) {
    context.output.progress(format_args!(
        "{} can replace your key if that is stolen, and is worth nothing if it is stolen along with it.\n\
         Copy it to a place that is not this machine, such as a stick in a drawer, then delete it here.",
        path.display()
    ));
}

fn link(
    identity: &PublicIdentity,
    context: &Context<'_>,
    arguments: &LinkNostrArgs,
    now: Timestamp,
) -> Result<(), Failure> {
    let own = identity.nostr()?.pubkey();
    let parse = |text: &String| match text.as_str() {
        "own" => Ok(own),
        text => text
            .parse::<Pubkey>()
            .map_err(|error| Failure::usage(error.to_string())),
    };
    let add = arguments.add.as_ref().map(parse).transpose()?;
    let remove = arguments.remove.as_ref().map(parse).transpose()?;
    if remove == Some(own) {
        return Err(
            Failure::usage("that is the key in nostr.key, with which you announce")
                .hint("Put another key into nostr.key and link that one first"),
        );
    }
    let expires = match arguments.expires {
        Some(expires) if expires <= now => {
            return Err(Failure::usage(format!("{expires} is over")));
        }
        Some(expires) => expires,
        None => latest_expiry(now)?,
    };
    let binding = add.map(|pubkey| NostrKey {
        pubkey: pubkey.to_string(),
        expires: proof::whole_seconds(expires),
    });
    let remove = remove.map(|pubkey| pubkey.to_string());
    let keys = keys(context, &arguments.cosign);
    made(change::link_nostr(
        identity,
        keys,
        binding,
        remove.as_deref(),
        now,
    )?)
}

async fn publish(
    context: &Context<'_>,
    identity: &PublicIdentity,
    relays: &[RelayUrl],
) -> Result<(), Failure> {
    let mut of_node = Vec::new();
    if relays.is_empty() {
        // The node names its relays along with an app's state; which app does not matter here.
        let asked = AppRef {
            publisher: identity.did().to_string(),
            slug: "identity".to_owned(),
        };
        let state: PublishState = context.node()?.call("publish.state", &asked).await?;
        of_node = state.relays;
    }
    let relays = announce::relays(relays, &of_node)?;
    let nostr = identity.nostr()?;
    let told = announce::tell_keys(identity.did(), &identity.chain(), &nostr, &relays).await?;
    for failed in &told.failed {
        let (relay, reason) = (&failed.relay, &failed.reason);
        context.output.warning(format_args!("{relay}: {reason}"));
    }
    let words = format!(
        "told {}: {}",
        count(told.accepted.len(), "relay"),
        told.accepted.join(", ")
    );
    context.output.result(&told, words);
    Ok(())
}
