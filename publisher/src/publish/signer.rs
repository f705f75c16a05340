//! Which Nostr key signs the events: the identity's own, or one that a remote signer keeps (NIP-46).

use std::path::{Path, PathBuf};

use archy_nostr::{Bunker, BunkerOptions, BunkerUrl, NostrKey, NostrSigner};
use jiff::Timestamp;

use crate::failure::Failure;
use crate::identity::Identity;
use crate::output::Output;

/// Chooses the signer, and introduces this machine to a remote one where it is unknown to it.
///
/// The key under which the remote signer knows this machine is kept beside the identity; it signs nothing that
/// is published.
///
/// # Errors
///
/// When the remote signer does not answer or refuses, or the machine's key cannot be kept.
pub async fn choose(
    bunker: Option<&BunkerUrl>,
    identity: &Identity,
    identity_dir: &Path,
    output: &Output,
) -> Result<NostrSigner, Failure> {
    let Some(url) = bunker else {
        return Ok(NostrSigner::Key(identity.nostr.clone()));
    };
    let path = client_key_path(identity_dir, url);
    let words = *output;
    let options = BunkerOptions::new(move |address| {
        words.warning(format_args!(
            "the remote signer asks you to agree at {address}"
        ));
    });
    output.progress("asking the remote signer");
    let bunker = if path.exists() {
        let client = NostrKey::load(&path)?;
        Bunker::resume(url, client, options)
            .await
            .map_err(|error| forgotten(error.into(), &path))?
    } else {
        let client = NostrKey::generate();
        let bunker = Bunker::connect(url, client.clone(), options).await?;
        // Kept only once the signer knows it, so that a failed introduction is tried again.
        client.save_new(&path)?;
        bunker
    };
    let pubkey = bunker.pubkey().to_string();
    if !identity.state.binds_nostr(&pubkey, Timestamp::now()) {
        output.warning(format_args!(
            "your key state does not name the Nostr key {pubkey}, so nodes show your apps as announced by an unlinked key"
        ));
    }
    Ok(NostrSigner::Bunker(Box::new(bunker)))
}

fn client_key_path(identity_dir: &Path, url: &BunkerUrl) -> PathBuf {
    let signer = url.signer.to_string();
    identity_dir.join(format!("signer-{}.key", &signer[..16]))
}

fn forgotten(failure: Failure, path: &Path) -> Failure {
    failure.hint(format!(
        "If the signer has forgotten this machine, remove {} and give a new bunker:// address",
        path.display()
    ))
}
