//! `archy identity new|show`.

use jiff::Timestamp;
use serde_json::json;

use super::Context;
use crate::cli::IdentityCommand;
use crate::failure::Failure;
use crate::identity::{Identity, next_key_path};

pub(super) fn run(context: &Context<'_>, command: &IdentityCommand) -> Result<(), Failure> {
    let dir = context.identity_dir()?;
    let now = Timestamp::now();
    let identity = match command {
        IdentityCommand::New => {
            let identity = Identity::create(&dir, now)?;
            context.output.progress(format_args!(
                "made an identity in {}\n\
                 Keep a copy of this folder in a safe place: your DID is the name of your apps for ever, and nobody can\n\
                 make it again. {} can replace your key if it is stolen: best kept away from this machine.",
                dir.display(),
                next_key_path(&dir).display(),
            ));
            identity
        }
        IdentityCommand::Show => Identity::load(&dir, now)?,
    };
    let state = &identity.state;
    let result = json!({
        "did": identity.did(),
        "nostr": identity.nostr.pubkey().to_string(),
        "keyState": { "seq": state.seq, "hash": state.hash(), "expires": state.expires },
        "folder": dir,
    });
    let words = format!(
        "DID    {}\nNostr  {}\nKeys   state {}, valid until {}\nFolder {}",
        identity.did(),
        identity.nostr.pubkey(),
        state.seq,
        state.expires,
        dir.display()
    );
    context.output.result(&result, words);
    Ok(())
}
