//! The contract between archyd and everything that talks to it: the web UI, `archy`, other programs.
//!
//! Plain data. The TypeScript the UI uses is generated from these types and a test fails when it drifts.
//! Field names are camelCase on the wire. Sizes are bytes, rates bytes per second, times RFC 3339.
//! A topic has a file of its own; here is what all of them share.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Declares plain data of the contract: how it is encoded, and that TypeScript is made of it.
macro_rules! wire {
    ($($(#[$meta:meta])* pub $kind:ident $name:ident { $($body:tt)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
            #[serde(rename_all = "camelCase")]
            #[ts(export_to = "./")]
            pub $kind $name { $($body)* }
        )*
    };
}

mod adopt;
mod backup;
mod event;
mod job;
mod node;
mod opinion;
mod package;
mod policy;
mod publish;
mod registry;
mod rights;
mod seeding;
mod session;
mod storage;
mod store;
mod trust;

pub use adopt::*;
pub use backup::*;
pub use event::*;
pub use job::*;
pub use node::*;
pub use opinion::*;
pub use package::*;
pub use policy::*;
pub use publish::*;
pub use registry::*;
pub use rights::*;
pub use seeding::*;
pub use session::*;
pub use storage::*;
pub use store::*;
pub use trust::*;

wire! {
    /// Names an app: the publisher's DID and its slug.
    #[derive(Eq, Hash)]
    pub struct AppRef {
        /// Origin DID.
        pub publisher: String,
        /// Slug.
        pub slug: String,
    }

    /// Something wrong, in words that tell a person what to do.
    #[derive(Eq)]
    pub struct Problem {
        /// Stable name, e.g. `signature`, `rollback`, `wrongPublisher`, `slugTaken`, `content`, `noProvider`, `diskFull`, `neverHealthy`, `cancelled`, `interrupted`.
        pub kind: String,
        /// One sentence.
        pub message: String,
        /// What to do next.
        pub hint: Option<String>,
        /// Hashes, log lines and the like.
        pub details: Vec<String>,
    }
}
