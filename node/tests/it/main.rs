//! The daemon from outside: its API over real sockets, and the contract with the web UI.

mod backend;
mod bed;
mod contract;
mod guard;
mod http;
mod journey;
mod machine;
mod refusals;
mod rpc;
mod streams;
