//! End-to-end tests, the test node, the lifecycle gate, browser tests, benchmarks.

pub mod gate;
pub mod hostile;
pub mod http;
pub mod node;
pub mod stage;
