//! `archy cosign`.

use std::path::Path;

use jiff::Timestamp;

use super::Context;
use crate::cosign::add;
use crate::failure::Failure;
use crate::text::count;

pub(super) fn run(context: &Context<'_>, file: &Path, key: &Path) -> Result<(), Failure> {
    let key = context.passphrases.load_key(key)?;
    let cosigned = add(file, &key, Timestamp::now())?;
    let words = format!(
        "signed {}\nof       {}\nby       {}\n{} now; send {} back",
        cosigned.what,
        cosigned.publisher,
        key.did(),
        count(cosigned.proofs, "signature"),
        file.display()
    );
    context.output.result(&cosigned, words);
    Ok(())
}
