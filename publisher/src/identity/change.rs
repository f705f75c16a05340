//! Changes of an identity: each signs the next key state and checks the chain as every node will, before
//! anything is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use archy_nostr::NostrKey;
use archy_registry::key_state::{KeyState, NostrKey as Binding, chain, commitment};
use archy_registry::proof::key_file;
use archy_registry::{Blake3Hash, SigningKey, Slug, sign};
use jiff::Timestamp;

use super::passphrase::Passphrases;
use super::{
    NEXT_KEY, NOSTR_KEY, PUBLISHER_KEY, PublicIdentity, files, latest_expiry, next_key_path,
    save_key,
};
use crate::failure::Failure;
use crate::publish::ledger::Ledger;

/// What a recovery says of the time before it.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Lowest `seq` that counts, per app.
    pub floors: BTreeMap<Slug, u64>,
    /// Releases of earlier keys that stay valid.
    pub reaffirm: Vec<Blake3Hash>,
}

/// Says the same for longer: a new state by the same key.
///
/// # Errors
///
/// When the key cannot be used, or the chain has no room.
pub fn renew(
    identity: &PublicIdentity,
    passphrases: &Passphrases,
    now: Timestamp,
) -> Result<(), Failure> {
    renewal(identity, passphrases, now, |_| Ok(()))
}

/// Binds a Nostr pubkey to the DID, or no longer.
///
/// # Errors
///
/// When there are too many, the key cannot be used, or there is nothing to remove.
pub fn link_nostr(
    identity: &PublicIdentity,
    passphrases: &Passphrases,
    add: Option<Binding>,
    remove: Option<&str>,
    now: Timestamp,
) -> Result<(), Failure> {
    renewal(identity, passphrases, now, |state| {
        if let Some(pubkey) = remove {
            let before = state.nostr.len();
            state.nostr.retain(|key| key.pubkey != pubkey);
            if state.nostr.len() == before {
                return Err(Failure::not_found(format!("{pubkey} is not linked")));
            }
        }
        if let Some(binding) = add {
            state.nostr.retain(|key| key.pubkey != binding.pubkey);
            state.nostr.push(binding);
        }
        Ok(())
    })
}

fn renewal(
    identity: &PublicIdentity,
    passphrases: &Passphrases,
    now: Timestamp,
    change: impl FnOnce(&mut KeyState) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut state = KeyState::after(identity.state(), now, latest_expiry(now)?);
    change(&mut state)?;
    let key = identity.key(passphrases)?;
    let states = follow(identity, &state, &key, now)?;
    if chain::join(&states).len() > chain::RENEWAL_BYTES_MAX {
        return Err(Failure::refused(
            "full",
            "your key states have grown so long that the rest is kept for rotations and revocations",
        )
        .hint("Rotate instead: archy identity rotate"));
    }
    files::write_states(&identity.dir, &states)
}

/// Ends the keys: by the current key, or by the next one, which a thief of the current key cannot overrule.
///
/// # Errors
///
/// When the keys are revoked already, or the key cannot be used.
pub fn revoke(
    identity: &PublicIdentity,
    passphrases: &Passphrases,
    next_key: Option<&Path>,
    now: Timestamp,
) -> Result<(), Failure> {
    let key = match next_key {
        Some(path) => committed(identity, passphrases, path)?,
        None => identity.key(passphrases)?,
    };
    let state = KeyState {
        keys: Vec::new(),
        ..KeyState::after(identity.state(), now, latest_expiry(now)?)
    };
    let states = follow(identity, &state, &key, now)?;
    files::write_states(&identity.dir, &states)
}

/// Replaces the key by the next one and makes a new next one; returns where that is.
///
/// With a [`Recovery`] it also says what counts of the time before, and makes a new Nostr key: with the old one a
/// thief could put events in the places of the owner's on every relay.
///
/// # Errors
///
/// When the next key is not the one that was committed to, or the files cannot be written.
pub fn rotate(
    identity: &PublicIdentity,
    passphrases: &Passphrases,
    next_key: Option<&Path>,
    recovery: Option<&Recovery>,
    now: Timestamp,
) -> Result<PathBuf, Failure> {
    let dir = &identity.dir;
    let path = next_key.map_or_else(|| next_key_path(dir), Path::to_owned);
    let key = committed(identity, passphrases, &path)?;
    // The new keys rest as the one that comes in did.
    let passphrase = if key_file::is_encrypted(&path)? {
        Some(passphrases.choose()?)
    } else {
        None
    };
    let next = SigningKey::generate()?;
    let nostr = recovery.map(|_| NostrKey::generate());
    let mut state = KeyState {
        keys: vec![key.did()],
        next: vec![commitment(&next.did())],
        ..KeyState::after(identity.state(), now, latest_expiry(now)?)
    };
    if let Some(recovery) = recovery {
        state.floors.extend(recovery.floors.clone());
        for hash in &recovery.reaffirm {
            if !state.reaffirm.contains(hash) {
                state.reaffirm.push(*hash);
            }
        }
    }
    if let Some(nostr) = &nostr {
        let old = identity.nostr()?.pubkey().to_string();
        state.nostr.retain(|binding| binding.pubkey != old);
        state.nostr.push(Binding {
            pubkey: nostr.pubkey().to_string(),
            expires: state.expires,
        });
    }
    let states = follow(identity, &state, &key, now)?;
    files::discard_prepared(dir)?;
    if let Some(nostr) = &nostr {
        nostr.save_new(&files::prepared(dir, NOSTR_KEY))?;
    }
    save_key(
        &key,
        &files::prepared(dir, PUBLISHER_KEY),
        passphrase.as_ref(),
    )?;
    save_key(&next, &files::prepared(dir, NEXT_KEY), passphrase.as_ref())?;
    let ledger = Ledger::new(dir);
    for (slug, floor) in recovery.iter().flat_map(|recovery| &recovery.floors) {
        ledger.raise(slug, floor.saturating_sub(1))?;
    }
    files::rotate(dir, &states)?;
    Ok(next_key_path(dir))
}

/// Completes the floors of a recovery: every app in the ledger that `given` does not name gets the number after
/// its last release. Each is above the floor before, because the same floor would start no new count.
///
/// # Errors
///
/// When the ledger cannot be read, or a given floor is not above the one before.
pub fn floors(
    identity: &PublicIdentity,
    given: &[(Slug, u64)],
) -> Result<BTreeMap<Slug, u64>, Failure> {
    let before = &identity.state().floors;
    let mut floors = BTreeMap::new();
    for (slug, floor) in given {
        if let Some(before) = before.get(slug).filter(|before| floor <= before) {
            return Err(Failure::usage(format!(
                "the floor of {slug} is {before} already; a recovery needs a higher one"
            )));
        }
        floors.insert(slug.clone(), *floor);
    }
    let ledger = Ledger::new(&identity.dir);
    for slug in ledger.apps()? {
        let above = before.get(&slug).map_or(1, |before| before + 1);
        let floor = ledger.next(&slug, None)?.max(above);
        floors.entry(slug).or_insert(floor);
    }
    Ok(floors)
}

fn committed(
    identity: &PublicIdentity,
    passphrases: &Passphrases,
    path: &Path,
) -> Result<SigningKey, Failure> {
    if !path.exists() {
        return Err(
            Failure::not_found(format!("there is no key file {}", path.display()))
                .hint("Take the next key out of its safe place and name it with --next-key FILE"),
        );
    }
    let key = passphrases.load_key(path)?;
    if !identity.state().next.contains(&commitment(&key.did())) {
        return Err(Failure::refused(
            "notCommitted",
            format!(
                "{} is not the key that your key state {} committed to, so nobody would believe it",
                path.display(),
                identity.state().seq
            ),
        )
        .hint("Use the next key that your last rotation made"));
    }
    Ok(key)
}

/// Signs a state and checks the chain that it makes as every node will.
fn follow(
    identity: &PublicIdentity,
    state: &KeyState,
    key: &SigningKey,
    now: Timestamp,
) -> Result<Vec<Vec<u8>>, Failure> {
    let mut states = identity.states.clone();
    states.push(sign(state, key, now)?.bytes);
    let wire = chain::join(&states);
    if wire.len() > chain::SIZE_BYTES_MAX {
        return Err(Failure::refused(
            "full",
            format!(
                "your key states would have {} bytes, and nodes read at most {}",
                wire.len(),
                chain::SIZE_BYTES_MAX
            ),
        )
        .hint("Reaffirm fewer releases, or name fewer floors"));
    }
    chain::verify(&wire, identity.did(), now)?;
    Ok(states)
}
