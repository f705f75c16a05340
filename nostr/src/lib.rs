//! Announces and hears of releases over Nostr relays.
//!
//! A relay is a letter box, never an authority: [`Follower`] reads many at once, checks every event
//! itself and hands on all of them; which announcement counts, and what a vote is worth, is the registry's to
//! say. [`publish()`] puts an event on every relay and reports what each one answered. [`relay`] is a small relay of our
//! own for networks without one.

mod backoff;
mod bucket;
mod bunker;
mod clock;
mod cursor;
mod draft;
pub mod event;
#[cfg(feature = "faults")]
pub mod faults;
pub mod filter;
mod follower;
mod key;
mod link;
pub mod listing;
mod message;
mod opinion;
mod publish;
pub mod relay;
pub mod sdk;
mod seeder;
mod seen;
mod signer;
mod statement;
mod topic;
mod url;

pub use backoff::Backoff;
pub use bucket::Rate;
pub use bunker::{
    Bunker, BunkerError, BunkerOptions, BunkerUrl, BunkerUrlError, KIND_REMOTE_SIGNING,
};
pub use clock::{Clock, FUTURE_SECONDS_MAX};
pub use cursor::{CursorError, CursorStore, MemoryCursors};
pub use draft::{Draft, DraftError};
pub use event::{EventId, Pubkey};
pub use follower::{Config, Follower, RelayState, RelayStatus};
pub use key::{KeyError, NostrKey};
pub use opinion::{
    D_REVIEWERS, KIND_LABEL, KIND_REPORT, KIND_REVIEWERS, LABEL_NAMESPACE, Label, LabelError,
    NoOpinion, OPINION_BYTES_MAX,
};
pub use publish::{PublishError, PublishOptions, PublishReport, publish};
pub use seeder::{
    D_SEEDER_PREFIX, FindOptions, NoSeeder, SEEDER_BYTES_MAX, SEEDER_SECONDS_MAX, SEEDERS_MAX,
    SeederRecord, find_seeders, withdraw_seeder,
};
pub use signer::{NostrSigner, SignError, Signer};
pub use statement::{D_APP_PREFIX, D_KEY_STATE, Heard, KIND, Subject};
pub use topic::{FOLLOWED_KINDS, Message, TOPIC, Unwanted};
pub use url::{RelayUrl, UrlError};
