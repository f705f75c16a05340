//! Changes of an identity: each signs the next key state and checks the chain as every node will, before
//! anything is written. A change that takes the keys of others too waits in a file until they have signed it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use archy_nostr::NostrKey;
use archy_registry::key_state::{KeyState, NostrKey as Binding, chain, commitment};
use archy_registry::key_state::{KeyStateError, StepError};
use archy_registry::proof::key_file;
use archy_registry::{Blake3Hash, Did, SigningKey, Slug};
use jiff::Timestamp;

use super::passphrase::Passphrases;
use super::{
    NEXT_KEY, NOSTR_KEY, PUBLISHER_KEY, PublicIdentity, files, latest_expiry, next_key_path,
    save_key,
};
use crate::cosign::sign_with;
use crate::failure::Failure;
use crate::publish::ledger::Ledger;

/// Where the private keys of a change come from.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    /// Where their passphrases come from.
    pub passphrases: &'a Passphrases,
    /// Files of keys that sign beside the publisher's own.
    pub cosigners: &'a [PathBuf],
}

impl Keys<'_> {
    /// Reads the keys of others that are at hand.
    ///
    /// # Errors
    ///
    /// When a file cannot be used, or its passphrase is wrong.
    pub fn others(&self) -> Result<Vec<SigningKey>, Failure> {
        let load = |file: &PathBuf| self.passphrases.load_key(file);
        self.cosigners.iter().map(load).collect()
    }
}

/// What became of a change.
#[derive(Debug)]
#[must_use]
pub enum Change {
    /// It is in the identity's folder.
    Made,
    /// It takes more signatures.
    Waits(Waiting),
}

/// A statement that takes more signatures.
#[derive(Debug)]
pub struct Waiting {
    /// Where it is.
    pub file: PathBuf,
    /// How many keys have signed it.
    pub found: usize,
    /// How many must.
    pub required: usize,
}

impl Waiting {
    /// Says who has to do what before `what` counts; `then` is the command for the end.
    pub fn failure(&self, what: &str, then: &str) -> Failure {
        let (file, found, required) = (self.file.display(), self.found, self.required);
        Failure::refused(
            "cosign",
            format!("{found} of {required} keys signed {what}, which waits in {file}"),
        )
        .hint(format!(
            "Have it signed by the others: archy cosign {file} --key FILE"
        ))
        .hint(format!("Then run: {then} {file}"))
    }
}

/// Which keys a rotation brings.
#[derive(Debug, Default)]
pub struct Rotation<'a> {
    /// The file of the publisher's own next key.
    pub next_key: Option<&'a Path>,
    /// Keys of others that sign from now on.
    pub others: &'a [Did],
    /// How many sign a release together; 1 when absent.
    pub threshold: Option<u32>,
    /// Keys of others that may take over next.
    pub commit: &'a [Did],
    /// What counts of the time before, after a theft.
    pub recovery: Option<Recovery>,
}

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
pub fn renew(identity: &PublicIdentity, keys: Keys<'_>, now: Timestamp) -> Result<Change, Failure> {
    renewal(identity, keys, now, |_| Ok(()))
}

/// Binds a Nostr pubkey to the DID, or no longer.
///
/// # Errors
///
/// When there are too many, the key cannot be used, or there is nothing to remove.
pub fn link_nostr(
    identity: &PublicIdentity,
    keys: Keys<'_>,
    add: Option<Binding>,
    remove: Option<&str>,
    now: Timestamp,
) -> Result<Change, Failure> {
    renewal(identity, keys, now, |state| {
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
    keys: Keys<'_>,
    now: Timestamp,
    change: impl FnOnce(&mut KeyState) -> Result<(), Failure>,
) -> Result<Change, Failure> {
    let mut state = KeyState::after(identity.state(), now, latest_expiry(now)?);
    change(&mut state)?;
    let own = identity.key(keys.passphrases)?;
    let next = follow(identity, &state, &own, &keys.others()?, now)?;
    if chain::join(&next.states).len() > chain::RENEWAL_BYTES_MAX {
        return Err(Failure::refused(
            "full",
            "your key states have grown so long that the rest is kept for rotations and revocations",
        )
        .hint("Rotate instead: archy identity rotate"));
    }
    next.write(&identity.dir, files::write_states)
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
) -> Result<Change, Failure> {
    let key = match next_key {
        Some(path) => committed(identity, passphrases, path)?,
        None => identity.key(passphrases)?,
    };
    let state = KeyState {
        keys: Vec::new(),
        ..KeyState::after(identity.state(), now, latest_expiry(now)?)
    };
    follow(identity, &state, &key, &[], now)?.write(&identity.dir, files::write_states)
}

/// Replaces the key by the next one and makes a new next one.
///
/// With a [`Recovery`] it also says what counts of the time before, and makes a new Nostr key: with the old one a
/// thief could put events in the places of the owner's on every relay.
///
/// # Errors
///
/// When the next key is not the one that was committed to, or the files cannot be written.
pub fn rotate(
    identity: &PublicIdentity,
    keys: Keys<'_>,
    rotation: &Rotation<'_>,
    now: Timestamp,
) -> Result<Change, Failure> {
    let dir = &identity.dir;
    if identity.state().threshold > 1 && rotation.threshold.is_none() {
        return Err(Failure::usage(format!(
            "your releases take {} keys, and this would leave one",
            identity.state().threshold
        ))
        .hint(
            "Name the keys of the others with --key, and with --threshold how many sign together",
        ));
    }
    let path = rotation
        .next_key
        .map_or_else(|| next_key_path(dir), Path::to_owned);
    let key = committed(identity, keys.passphrases, &path)?;
    // The new keys rest as the one that comes in did.
    let passphrase = if key_file::is_encrypted(&path)? {
        Some(keys.passphrases.choose()?)
    } else {
        None
    };
    let next = SigningKey::generate()?;
    let nostr = rotation.recovery.as_ref().map(|_| NostrKey::generate());
    let committed_next = std::iter::once(next.did()).chain(rotation.commit.iter().copied());
    let mut state = KeyState {
        keys: std::iter::once(key.did())
            .chain(rotation.others.iter().copied())
            .collect(),
        threshold: rotation.threshold.unwrap_or(1),
        next: committed_next.map(|key| commitment(&key)).collect(),
        ..KeyState::after(identity.state(), now, latest_expiry(now)?)
    };
    if let Some(recovery) = &rotation.recovery {
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
    let follows = follow(identity, &state, &key, &keys.others()?, now)?;
    files::discard_prepared(dir)?;
    if let Some(nostr) = &nostr {
        nostr.save_new(&files::prepared(dir, NOSTR_KEY))?;
    }
    for (key, name) in [(&key, PUBLISHER_KEY), (&next, NEXT_KEY)] {
        save_key(key, &files::prepared(dir, name), passphrase.as_ref())?;
    }
    let ledger = Ledger::new(dir);
    let recovery = rotation.recovery.iter();
    for (slug, floor) in recovery.flat_map(|recovery| &recovery.floors) {
        ledger.raise(slug, floor.saturating_sub(1))?;
    }
    follows.write(dir, files::rotate)
}

/// Takes up a change that waited until others had signed it.
///
/// # Errors
///
/// When it still lacks signatures, or does not follow the state that counts.
pub fn accept(
    identity: &PublicIdentity,
    passphrases: &Passphrases,
    file: &Path,
    now: Timestamp,
) -> Result<(), Failure> {
    let state = std::fs::read(file).map_err(|error| Failure::file("read", file, &error))?;
    let mut states = identity.states.clone();
    states.push(state);
    let history = chain::verify(&chain::join(&states), identity.did(), now)?;
    let prepared = files::prepared(&identity.dir, PUBLISHER_KEY);
    if history.newest().keys == identity.state().keys {
        files::write_states(&identity.dir, &states)?;
    } else if prepared.exists()
        && history
            .newest()
            .keys
            .contains(&passphrases.load_key(&prepared)?.did())
    {
        files::rotate(&identity.dir, &states)?;
    } else {
        return Err(Failure::refused(
            "keyState",
            format!(
                "the keys that {} brings are not in this folder",
                file.display()
            ),
        )
        .hint("Accept it where it was made, or begin again: archy identity rotate"));
    }
    match std::fs::remove_file(file) {
        Err(error) => Err(Failure::file("remove", file, &error)),
        Ok(()) => Ok(()),
    }
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

/// The states after a change, the last of which may lack signatures.
struct Next {
    states: Vec<Vec<u8>>,
    seq: u64,
    /// How many keys have signed the last, and how many must; `None` when it is complete.
    lacks: Option<(usize, usize)>,
}

impl Next {
    /// Has `make` put the states in their place, or puts the last aside for others to sign.
    fn write(
        self,
        dir: &Path,
        make: impl FnOnce(&Path, &[Vec<u8>]) -> Result<(), Failure>,
    ) -> Result<Change, Failure> {
        let Some((found, required)) = self.lacks else {
            make(dir, &self.states)?;
            return Ok(Change::Made);
        };
        let file = files::write_pending(
            dir,
            &format!("key-state-{}.json", self.seq),
            self.states.last().map_or(&[], Vec::as_slice),
        )?;
        Ok(Change::Waits(Waiting {
            file,
            found,
            required,
        }))
    }
}

/// Signs a state and checks the chain that it makes as every node will.
fn follow(
    identity: &PublicIdentity,
    state: &KeyState,
    own: &SigningKey,
    others: &[SigningKey],
    now: Timestamp,
) -> Result<Next, Failure> {
    let mut states = identity.states.clone();
    states.push(sign_with(state, own, others, now)?.bytes);
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
    let lacks = match chain::verify(&wire, identity.did(), now) {
        Ok(_) => None,
        Err(KeyStateError::Step(StepError::Proofs { found, required })) if found < required => {
            Some((found, required))
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Next {
        states,
        seq: state.seq,
        lacks,
    })
}
