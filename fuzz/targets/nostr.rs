//! The fuzz targets of archy-nostr; `ARCHY_FUZZ_TARGET` names the one to run.
#![no_main]

use std::sync::LazyLock;

#[path = "../../nostr/tests/it/properties.rs"]
mod properties;

static TARGET: LazyLock<properties::Property> = LazyLock::new(|| {
    let name = std::env::var("ARCHY_FUZZ_TARGET").expect("ARCHY_FUZZ_TARGET names a target");
    let found = properties::ALL.iter().find(|(target, _)| *target == name);
    found
        .unwrap_or_else(|| panic!("no target is named {name}"))
        .1
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
