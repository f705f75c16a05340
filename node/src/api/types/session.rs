//! Claiming the node and logging in.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

wire! {
    /// Answer of `GET /session`.
    pub struct Session {
        /// Whether a person must claim the node, log in, or is in.
        pub state: SessionState,
        /// Token to send as `X-Archy-CSRF` with every request; told once, at claim or log-in.
        pub csrf: Option<String>,
        /// The node's name.
        pub node: String,
    }

    /// Whether a person must claim the node, log in, or is in.
    #[derive(Copy, Eq)]
    pub enum SessionState {
        /// No password yet: claim it with the code from the daemon's log or `archyd claim`.
        Unclaimed,
        /// Log in.
        Locked,
        /// Logged in.
        Open,
    }

    /// Body of `POST /session/claim`.
    pub struct ClaimParams {
        /// The claim code.
        pub code: String,
        /// The new password, 10–200 characters.
        pub password: String,
    }

    /// Body of `POST /session/login`.
    pub struct LoginParams {
        /// The password.
        pub password: String,
    }
}
