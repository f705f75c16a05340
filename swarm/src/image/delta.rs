//! Deltas: patches from the tar of an earlier layer to that of a newer one.
//!
//! [`plan`](plan()) chooses what to fetch so that the fewest bytes travel, [`make`](make()) makes a patch, [`apply`](apply()) makes the newer
//! tar of it and believes nothing before the tar's SHA-256 is the layer's diff ID. A patch is a row of Zstandard frames
//! (RFC 8878), each with a range of the earlier tar as its prefix, so that memory is bounded however large a layer is.
//! Fetches nothing.

mod apply;
mod between;
mod build;
mod form;
mod format;
mod locate;
mod make;
mod plan;

pub use apply::{ApplyError, Fault, apply};
pub use between::{Patch, between};
pub use build::{BuildError, build};
pub use form::{Form, VerifiedForm};
pub use format::{BASE_BYTES_MAX, SEGMENT_BYTES_MAX};
pub use make::{MakeError, make};
pub use plan::{Here, Path, Plan, Step, plan};

#[cfg(test)]
mod tests;
