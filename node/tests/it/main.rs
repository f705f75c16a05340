//! The daemon from outside: its API over real sockets, and the contract with the web UI.

#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it in tests only below cfg(test), which an integration binary does not have"
)]

mod adopt;
mod backend;
mod backups;
mod bed;
mod cli;
mod contract;
mod damage;
mod deltas;
mod guard;
mod http;
mod images;
mod journey;
mod machine;
mod parity;
mod refusals;
mod registries;
mod rpc;
mod seeding;
mod shelf;
mod storage;
mod streams;
mod trust;
