//! Tests of the orchestrator through its public functions, on any machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod diff;
mod fields;
mod injection;
#[path = "../attacks/injection.rs"]
mod injection_table;
mod render;
mod support;
