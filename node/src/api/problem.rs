//! Problems as replies: over HTTP and inside JSON-RPC errors.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jsonrpsee::types::ErrorObjectOwned;

use super::types::Problem;

/// JSON-RPC code of a method that was refused or failed; `data` is the [`Problem`].
pub(super) const CODE_PROBLEM: i32 = -32_000;

/// Makes a problem.
pub fn problem(kind: &str, message: impl Into<String>, hint: &str) -> Problem {
    Problem {
        kind: kind.to_owned(),
        message: message.into(),
        hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()),
        details: Vec::new(),
    }
}

/// Makes the problem of something that is not there.
pub fn not_found(message: impl Into<String>, hint: &str) -> Problem {
    problem("notFound", message, hint)
}

/// Answers with a problem.
pub(super) fn reply(status: StatusCode, problem: Problem) -> Response {
    (status, Json(problem)).into_response()
}

/// Turns a problem into a JSON-RPC error.
pub(super) fn rpc_error(problem: Problem) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(CODE_PROBLEM, problem.message.clone(), Some(problem))
}
