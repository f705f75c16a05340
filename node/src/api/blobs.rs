//! `PUT /blobs/<blake3>?tag=…` on the Unix socket: a publisher hands blobs to its own node.

use std::sync::Arc;

use archy_registry::Blake3Hash;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use serde::Deserialize;

use super::problem::{problem, reply};
use super::{Api, Backend};

#[derive(Deserialize)]
pub(super) struct Params {
    tag: String,
}

/// Takes a blob in, keeps it while it is tagged, and serves it.
pub(super) async fn provide<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Path(hash): Path<String>,
    params: Result<Query<Params>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Response {
    let invalid = |message: String| reply(StatusCode::BAD_REQUEST, problem("invalid", message, ""));
    let hash: Blake3Hash = match hash.parse() {
        Ok(hash) => hash,
        Err(error) => return invalid(format!("{error}")),
    };
    let Ok(Query(Params { tag })) = params else {
        return invalid("say under which tag to keep the blob: ?tag=…".to_owned());
    };
    let bytes = body.into_data_stream().map_err(std::io::Error::other);
    match api.backend.provide(hash, tag, Box::pin(bytes)).await {
        Ok(provided) => Json(provided).into_response(),
        Err(error) => {
            let status = if error.by_sender {
                StatusCode::UNPROCESSABLE_ENTITY
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            reply(status, error.problem)
        }
    }
}
