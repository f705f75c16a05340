//! A publisher's keys on disk: the DID's key, the key that may replace it, a Nostr key, and the chain of signed
//! key states that says which of them count. Nothing here talks to anybody.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use archy_nostr::NostrKey;
use archy_registry::key_state::{self, KeyHistory, KeyState, chain};
use archy_registry::proof::key_file::{self, Cost, Passphrase};
use archy_registry::{Did, SigningKey, Verified, sign};
use jiff::Timestamp;

use crate::failure::Failure;

pub mod change;
pub mod files;
pub mod passphrase;

pub use files::export;
use passphrase::Passphrases;

/// The key that signs releases and announcements.
const PUBLISHER_KEY: &str = "publisher.key";
/// The key that may replace it.
const NEXT_KEY: &str = "next.key";
/// The key that signs Nostr events.
const NOSTR_KEY: &str = "nostr.key";
/// The signed key states, oldest first.
const KEY_STATE: &str = "key-state.json";

/// What everybody may know of a publisher: its key states.
#[derive(Debug)]
pub struct PublicIdentity {
    /// Where the keys are.
    pub dir: PathBuf,
    /// The states that count.
    pub history: KeyHistory,
    /// The states' signed bytes, oldest first; a state is signed once and never made again.
    pub states: Vec<Vec<u8>>,
}

/// Who publishes.
#[derive(Debug)]
pub struct Identity {
    /// Signs releases and announcements.
    pub key: SigningKey,
    /// Signs Nostr events.
    pub nostr: NostrKey,
    /// Which keys speak for the DID.
    pub state: Verified<KeyState>,
    /// That state's signed bytes.
    pub state_bytes: Vec<u8>,
    /// All states, as they travel.
    pub chain: Vec<u8>,
}

impl PublicIdentity {
    /// Reads the key states in the folder `dir`, and checks the whole chain and who can read the keys.
    ///
    /// # Errors
    ///
    /// When there is none, others can read its keys, or a state does not hold.
    pub fn load(dir: &Path, now: Timestamp) -> Result<Self, Failure> {
        if !dir.join(KEY_STATE).exists() && !dir.join(PUBLISHER_KEY).exists() {
            return Err(Failure::failed("noIdentity", format!("there is no publisher identity in {}", dir.display()))
                .hint("Make one with: archy identity new")
                .hint("Or copy the folder from the machine on which you published before: your DID names your apps"));
        }
        files::settle(dir)?;
        for name in [PUBLISHER_KEY, NEXT_KEY] {
            if dir.join(name).exists() {
                key_file::is_encrypted(&dir.join(name))?;
            }
        }
        let path = dir.join(KEY_STATE);
        let bytes = std::fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
        let states = chain::split(&bytes)?;
        let publisher = chain::claimed_publisher(&bytes)
            .ok_or_else(|| mixed_up(dir, &format!("{KEY_STATE} names no publisher")))?;
        let mut history = KeyHistory::new(publisher);
        history.admit(&states, now)?;
        Ok(Self {
            dir: dir.to_owned(),
            history,
            states,
        })
    }

    /// Returns the DID: the name under which everybody knows this publisher.
    pub fn did(&self) -> Did {
        self.history.publisher()
    }

    /// Returns the state that counts.
    pub fn state(&self) -> &Verified<KeyState> {
        self.history.newest()
    }

    /// Returns the states as they travel.
    pub fn chain(&self) -> Vec<u8> {
        chain::join(&self.states)
    }

    /// Reads the key that signs Nostr events.
    ///
    /// # Errors
    ///
    /// When it is missing or others can read it.
    pub fn nostr(&self) -> Result<NostrKey, Failure> {
        Ok(NostrKey::load(&self.dir.join(NOSTR_KEY))?)
    }

    /// Reads the key that signs now.
    ///
    /// # Errors
    ///
    /// When the keys are revoked, the passphrase is wrong or the file is not of this identity.
    pub fn key(&self, passphrases: &Passphrases) -> Result<SigningKey, Failure> {
        if self.state().is_revoked() {
            return Err(Failure::refused(
                "revoked",
                format!("you revoked the keys of {}, so they sign nothing", self.did()),
            )
            .hint("Take the next key out of its safe place and run: archy identity recover --next-key FILE"));
        }
        let key = passphrases.load_key(&self.dir.join(PUBLISHER_KEY))?;
        if !self.state().keys.contains(&key.did()) {
            return Err(mixed_up(
                &self.dir,
                &format!("{PUBLISHER_KEY} is not a key of {KEY_STATE}"),
            ));
        }
        Ok(key)
    }
}

impl Identity {
    /// Makes new keys in the folder `dir`, which must not exist; behind `passphrase` if there is one.
    ///
    /// The folder appears complete or not at all.
    ///
    /// # Errors
    ///
    /// When there is an identity already, or the files cannot be written.
    pub fn create(
        dir: &Path,
        passphrase: Option<&Passphrase>,
        now: Timestamp,
    ) -> Result<PublicIdentity, Failure> {
        if dir.exists() {
            return Err(Failure::failed(
                "exists",
                format!("there is an identity in {} already", dir.display()),
            )
            .hint(
                "`archy identity show` shows it; --identity names another folder for a second one",
            ));
        }
        let parent = dir
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let write = |error: std::io::Error| Failure::file("write to", parent, &error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(write)?;
        let staging = tempfile::Builder::new()
            .prefix(".identity-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(write)?;
        fill(staging.path(), passphrase, now)?;
        std::fs::rename(staging.path(), dir)
            .map_err(|error| Failure::file("write", dir, &error))?;
        files::sync(parent).map_err(write)?;
        PublicIdentity::load(dir, now)
    }

    /// Reads the identity in the folder `dir`, with the keys to sign.
    ///
    /// # Errors
    ///
    /// When there is none, others can read its keys, or its files do not belong together.
    pub fn load(dir: &Path, passphrases: &Passphrases, now: Timestamp) -> Result<Self, Failure> {
        let public = PublicIdentity::load(dir, now)?;
        let key = public.key(passphrases)?;
        let nostr = public.nostr()?;
        let state = public.state().clone();
        if !state.binds_nostr(&nostr.pubkey().to_string(), now) {
            return Err(mixed_up(
                dir,
                &format!("{KEY_STATE} does not bind the key in {NOSTR_KEY}, or no longer"),
            )
            .hint("Or bind it: archy identity link-nostr --add own"));
        }
        Ok(Self {
            key,
            nostr,
            state,
            state_bytes: public.states.last().cloned().unwrap_or_default(),
            chain: public.chain(),
        })
    }

    /// Returns the DID: the name under which everybody knows this publisher.
    pub fn did(&self) -> Did {
        self.state.publisher
    }
}

/// Names the file of the next key, for the words that say where to keep it.
pub fn next_key_path(dir: &Path) -> PathBuf {
    dir.join(NEXT_KEY)
}

fn fill(dir: &Path, passphrase: Option<&Passphrase>, now: Timestamp) -> Result<(), Failure> {
    let (key, next, nostr) = (
        SigningKey::generate()?,
        SigningKey::generate()?,
        NostrKey::generate(),
    );
    save_key(&key, &dir.join(PUBLISHER_KEY), passphrase)?;
    save_key(&next, &dir.join(NEXT_KEY), passphrase)?;
    nostr.save_new(&dir.join(NOSTR_KEY))?;
    let expires = latest_expiry(now)?;
    let binding = key_state::NostrKey {
        pubkey: nostr.pubkey().to_string(),
        expires,
    };
    let state = KeyState::first(key.did(), &[next.did()], vec![binding], now, expires);
    let signed = sign(&state, &key, now)?;
    files::write_states(dir, &[signed.bytes])
}

/// Writes a new key file, behind `passphrase` if there is one.
pub(crate) fn save_key(
    key: &SigningKey,
    path: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<(), Failure> {
    match passphrase {
        Some(passphrase) => key_file::save_new(key, path, passphrase, Cost::default())?,
        None => key.save_new(path)?,
    }
    Ok(())
}

/// Returns the latest date until which a key state of now may be valid.
pub(crate) fn latest_expiry(now: Timestamp) -> Result<Timestamp, Failure> {
    now.checked_add(key_state::VALIDITY_MAX).map_err(|error| {
        Failure::failed("clock", format!("this machine's clock says {now}: {error}"))
    })
}

fn mixed_up(dir: &Path, why: &str) -> Failure {
    Failure::failed(
        "mixedUp",
        format!(
            "the files in {} do not belong together: {why}",
            dir.display()
        ),
    )
    .hint("Put the whole folder back from your backup")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_only_its_owner_can_read_it() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("archy/identity");
        let now = Timestamp::now();
        let made = Identity::create(&dir, None, now).unwrap();
        let again = Identity::load(&dir, &Passphrases::none(), now).unwrap();
        assert_eq!(again.did(), made.did());
        assert_eq!(again.state.hash(), made.state().hash());
        assert_eq!(again.state.next.len(), 1);
        assert_eq!(
            Identity::create(&dir, None, now).unwrap_err().kind,
            "exists"
        );
        assert_eq!(
            std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
        for file in std::fs::read_dir(&dir).unwrap() {
            assert_eq!(
                file.unwrap().metadata().unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn files_of_two_identities_do_not_mix() {
        let home = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let [a, b] = ["a", "b"].map(|name| home.path().join(name));
        Identity::create(&a, None, now).unwrap();
        Identity::create(&b, None, now).unwrap();
        for file in [PUBLISHER_KEY, NOSTR_KEY] {
            let kept = std::fs::read(a.join(file)).unwrap();
            std::fs::copy(b.join(file), a.join(file)).unwrap();
            assert_eq!(
                Identity::load(&a, &Passphrases::none(), now)
                    .unwrap_err()
                    .kind,
                "mixedUp",
                "{file}"
            );
            std::fs::write(a.join(file), kept).unwrap();
        }
        Identity::load(&a, &Passphrases::none(), now).unwrap();
    }

    #[test]
    fn who_has_no_identity_is_told_how_to_make_one() {
        let home = tempfile::tempdir().unwrap();
        let failure =
            PublicIdentity::load(&home.path().join("identity"), Timestamp::now()).unwrap_err();
        assert_eq!(failure.kind, "noIdentity");
        assert!(failure.hints[0].contains("archy identity new"));
    }
}
