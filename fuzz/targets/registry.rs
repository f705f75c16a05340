//! The fuzz targets of archy-registry; `ARCHY_FUZZ_TARGET` names the one to run. With `ARCHY_FUZZ_SEEDS` set, the
//! seeds of all targets are written first.
#![no_main]

use std::sync::LazyLock;

#[path = "../../registry/tests/it/common.rs"]
mod common;
#[path = "../../registry/tests/it/properties.rs"]
mod properties;
mod seeds;

static TARGET: LazyLock<properties::Property> = LazyLock::new(|| {
    let name = std::env::var("ARCHY_FUZZ_TARGET").expect("ARCHY_FUZZ_TARGET names a target");
    let found = properties::ALL.iter().find(|(target, _)| *target == name);
    found
        .unwrap_or_else(|| panic!("no target is named {name}"))
        .1
});

fn prepare() {
    if std::env::var_os("ARCHY_FUZZ_SEEDS").is_some() {
        seeds::write_all();
    }
}

libfuzzer_sys::fuzz_target!(init: prepare(), |input: &[u8]| TARGET(input));
