//! Statements that take the keys of several people: each signs the file that the others signed, in any order.

use std::path::Path;

use archy_registry::key_state::{self, KeyState};
use archy_registry::proof::add_proof;
use archy_registry::release::{self, Release};
use archy_registry::{Did, Signed, SigningKey, json, sign};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::identity::files::write_whole;
use crate::text::plain;

/// A statement that one more key has signed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cosigned {
    /// Whose statement it is.
    pub publisher: Did,
    /// What it says, in one line.
    pub what: String,
    /// How many keys have signed it now.
    pub proofs: usize,
}

/// Signs a statement with the publisher's own key and those of `others` that are at hand.
///
/// # Errors
///
/// When it cannot be signed, or one key is given twice.
pub fn sign_with<T: Serialize>(
    statement: &T,
    own: &SigningKey,
    others: &[SigningKey],
    now: Timestamp,
) -> Result<Signed, Failure> {
    others
        .iter()
        .try_fold(sign(statement, own, now)?, |signed, key| {
            Ok(add_proof(&signed.bytes, key, now)?)
        })
}

/// Adds the signature of `key` to the statement in a file, and writes it in its place.
///
/// # Errors
///
/// When the file holds neither a release nor a key state, a signature in it does not hold, or `key` has signed it.
pub fn add(file: &Path, key: &SigningKey, now: Timestamp) -> Result<Cosigned, Failure> {
    let bytes = std::fs::read(file).map_err(|error| Failure::file("read", file, &error))?;
    let (publisher, what) = describe(&bytes)?;
    let signed = add_proof(&bytes, key, now)?;
    let name = file
        .file_name()
        .ok_or_else(|| Failure::usage(format!("{} is no file", file.display())))?;
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    write_whole(dir, name, &signed.bytes)?;
    Ok(Cosigned {
        publisher,
        what,
        proofs: proofs(&signed.bytes),
    })
}

/// Says whose statement it is and what it says. Believes nothing: whoever signs reads this first.
fn describe(bytes: &[u8]) -> Result<(Did, String), Failure> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    let foreign = |error: serde_json::Error| {
        Failure::refused(
            "malformed",
            format!("that is no release and no key state: {error}"),
        )
    };
    let Ok(Value::Object(mut document)) = json::parse(bytes, release::SIZE_BYTES_MAX) else {
        return Err(Failure::refused(
            "malformed",
            "that is no release and no key state",
        ));
    };
    document.remove("proof");
    let document = Value::Object(document);
    let kind: Kind = Kind::deserialize(&document).map_err(foreign)?;
    match kind.r#type.as_str() {
        release::TYPE => {
            let release = Release::deserialize(&document).map_err(foreign)?;
            let app = &release.manifest.app;
            let what = format!(
                "release {} of {}, version {}",
                release.seq, app.id, app.version
            );
            Ok((release.publisher, plain(&what)))
        }
        key_state::TYPE => {
            let state = KeyState::deserialize(&document).map_err(foreign)?;
            let keys: Vec<String> = state.keys.iter().map(Did::to_string).collect();
            let what = match state.is_revoked() {
                true => format!("key state {}, which revokes all keys", state.seq),
                false => format!(
                    "key state {}: {} of these keys sign a release: {}",
                    state.seq,
                    state.threshold,
                    keys.join(", ")
                ),
            };
            Ok((state.publisher, what))
        }
        _ => Err(Failure::refused(
            "malformed",
            "that is no release and no key state",
        )),
    }
}

fn proofs(bytes: &[u8]) -> usize {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    document["proof"].as_array().map_or(1, Vec::len)
}
