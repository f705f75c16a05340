//! The daemon from outside: its API over real sockets, and the contract with the web UI.

mod backend;
mod contract;
mod guard;
mod http;
mod rpc;
mod streams;
