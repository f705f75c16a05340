//! Nothing but tests: see `tests/did_key.rs`.
