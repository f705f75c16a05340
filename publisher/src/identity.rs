//! A publisher's keys on disk: the DID's key, the key that may replace it, a Nostr key, and the signed key
//! state that binds them. Nothing here talks to anybody.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use archy_nostr::NostrKey;
use archy_registry::key_state::{self, KeyState};
use archy_registry::{Did, SigningKey, Verified, sign};
use jiff::Timestamp;

use crate::failure::Failure;

/// The key that signs releases and announcements.
const PUBLISHER_KEY: &str = "publisher.key";
/// The key that may replace it.
const NEXT_KEY: &str = "next.key";
/// The key that signs Nostr events.
const NOSTR_KEY: &str = "nostr.key";
/// The signed key state.
const KEY_STATE: &str = "key-state.json";

/// Who publishes.
#[derive(Debug)]
pub struct Identity {
    /// Signs releases and announcements.
    pub key: SigningKey,
    /// Signs Nostr events.
    pub nostr: NostrKey,
    /// Which keys speak for the DID.
    pub state: Verified<KeyState>,
    /// The state's signed bytes; a state is signed once and never made again.
    pub state_bytes: Vec<u8>,
}

impl Identity {
    /// Makes new keys in the folder `dir`, which must not exist.
    ///
    /// The folder appears complete or not at all.
    ///
    /// # Errors
    ///
    /// When there is an identity already, or the files cannot be written.
    pub fn create(dir: &Path, now: Timestamp) -> Result<Self, Failure> {
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
        fill(staging.path(), now)?;
        std::fs::rename(staging.path(), dir)
            .map_err(|error| Failure::file("write", dir, &error))?;
        std::fs::File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(write)?;
        Self::load(dir, now)
    }

    /// Reads the identity in the folder `dir`.
    ///
    /// # Errors
    ///
    /// When there is none, others can read its keys, or its files do not belong together.
    pub fn load(dir: &Path, now: Timestamp) -> Result<Self, Failure> {
        if !dir.join(PUBLISHER_KEY).exists() {
            return Err(Failure::failed("noIdentity", format!("there is no publisher identity in {}", dir.display()))
                .hint("Make one with: archy identity new")
                .hint("Or copy the folder from the machine on which you published before: your DID names your apps"));
        }
        let key = SigningKey::load(&dir.join(PUBLISHER_KEY))?;
        let nostr = NostrKey::load(&dir.join(NOSTR_KEY))?;
        let path = dir.join(KEY_STATE);
        let state_bytes =
            std::fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
        let state = key_state::verify(&state_bytes, None, now)?;
        if !state.keys.contains(&key.did()) {
            return Err(mixed_up(
                dir,
                &format!("{PUBLISHER_KEY} is not a key of {KEY_STATE}"),
            ));
        }
        if !state.binds_nostr(&nostr.pubkey().to_string(), now) {
            return Err(mixed_up(
                dir,
                &format!("{KEY_STATE} does not bind the key in {NOSTR_KEY}, or no longer"),
            ));
        }
        Ok(Self {
            key,
            nostr,
            state,
            state_bytes,
        })
    }

    /// Returns the DID: the name under which everybody knows this publisher.
    pub fn did(&self) -> Did {
        self.state.publisher
    }
}

/// Lists the files that must be kept, for the words that say so.
pub fn next_key_path(dir: &Path) -> PathBuf {
    dir.join(NEXT_KEY)
}

fn fill(dir: &Path, now: Timestamp) -> Result<(), Failure> {
    let (key, next, nostr) = (
        SigningKey::generate()?,
        SigningKey::generate()?,
        NostrKey::generate(),
    );
    key.save_new(&dir.join(PUBLISHER_KEY))?;
    next.save_new(&dir.join(NEXT_KEY))?;
    nostr.save_new(&dir.join(NOSTR_KEY))?;
    let expires = now.checked_add(key_state::VALIDITY_MAX).map_err(|error| {
        Failure::failed("clock", format!("this machine's clock says {now}: {error}"))
    })?;
    let binding = key_state::NostrKey {
        pubkey: nostr.pubkey().to_string(),
        expires,
    };
    let state = KeyState::first(key.did(), &[next.did()], vec![binding], now, expires);
    let signed = sign(&state, &key, now)?;
    let path = dir.join(KEY_STATE);
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| {
        std::io::Write::write_all(&mut file, &signed.bytes)?;
        file.sync_all()
    })
    .map_err(|error| Failure::file("write", &path, &error))
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
        let made = Identity::create(&dir, now).unwrap();
        let again = Identity::load(&dir, now).unwrap();
        assert_eq!(again.did(), made.did());
        assert_eq!(again.state.hash(), made.state.hash());
        assert_eq!(again.state.next.len(), 1);
        assert_eq!(Identity::create(&dir, now).unwrap_err().kind, "exists");
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
        Identity::create(&a, now).unwrap();
        Identity::create(&b, now).unwrap();
        for file in [PUBLISHER_KEY, NOSTR_KEY] {
            let kept = std::fs::read(a.join(file)).unwrap();
            std::fs::copy(b.join(file), a.join(file)).unwrap();
            assert_eq!(
                Identity::load(&a, now).unwrap_err().kind,
                "mixedUp",
                "{file}"
            );
            std::fs::write(a.join(file), kept).unwrap();
        }
        Identity::load(&a, now).unwrap();
    }

    #[test]
    fn who_has_no_identity_is_told_how_to_make_one() {
        let home = tempfile::tempdir().unwrap();
        let failure = Identity::load(&home.path().join("identity"), Timestamp::now()).unwrap_err();
        assert_eq!(failure.kind, "noIdentity");
        assert!(failure.hints[0].contains("archy identity new"));
    }
}
