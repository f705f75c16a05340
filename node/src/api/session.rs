//! `/session`: claim the node, log in and out.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;

use super::guard::{Caller, Connection, cookie_name, over_tls, owner, shown};
use super::problem::{problem, reply};
use super::types::{ClaimParams, LoginParams, Session, SessionState};
use super::{Api, Backend};
use crate::auth::{AuthError, Login};

/// Where a request comes from.
pub(super) struct From(IpAddr);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts
            .extensions
            .get::<Connection>()
            .map(|connection| Self(connection.remote.ip()))
            .ok_or(StatusCode::BAD_REQUEST)
    }
}

/// `GET /session`: open for who shows both of its tokens, and never tells one.
pub(super) async fn show<B: Backend>(State(api): State<Arc<Api<B>>>, request: Request) -> Response {
    let owner = match shown(&request) {
        Some(shown) => owner(&api, shown).await,
        None => Ok(None),
    };
    let state = match owner {
        Ok(Some(_)) => SessionState::Open,
        Ok(None) if api.auth.is_claimed() => SessionState::Locked,
        Ok(None) => SessionState::Unclaimed,
        Err(refusal) => return refusal,
    };
    Json(session(&api, state, None)).into_response()
}

/// `GET /session` on the Unix socket: always open.
pub(super) async fn show_owner<B: Backend>(State(api): State<Arc<Api<B>>>) -> Json<Session> {
    Json(session(&api, SessionState::Open, None))
}

/// `POST /session/claim`.
pub(super) async fn claim<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    From(from): From,
    headers: HeaderMap,
    body: Result<Json<ClaimParams>, JsonRejection>,
) -> Response {
    let Json(params) = match body {
        Ok(body) => body,
        Err(rejection) => return rejected(&rejection),
    };
    let claimed = api
        .auth
        .claim(from, &params.code, params.password, Timestamp::now())
        .await;
    match claimed {
        Ok(login) => {
            tracing::info!(%from, "this node has an owner now");
            opened(&api, &headers, login)
        }
        Err(error) => failed(&error),
    }
}

/// `POST /session/login`.
pub(super) async fn login<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    From(from): From,
    headers: HeaderMap,
    body: Result<Json<LoginParams>, JsonRejection>,
) -> Response {
    let Json(params) = match body {
        Ok(body) => body,
        Err(rejection) => return rejected(&rejection),
    };
    match api
        .auth
        .login(from, params.password, Timestamp::now())
        .await
    {
        Ok(login) => opened(&api, &headers, login),
        Err(error) => failed(&error),
    }
}

/// `POST /session/logout`.
pub(super) async fn logout<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    if let Err(error) = api.auth.sessions().end(&caller.token).await {
        return failed(&error.into());
    }
    let mut response = Json(session(&api, SessionState::Locked, None)).into_response();
    set_cookie(&mut response, &headers, "", Some(0));
    response
}

fn session<B: Backend>(api: &Api<B>, state: SessionState, csrf: Option<String>) -> Session {
    Session {
        state,
        csrf,
        node: api.node_name.clone(),
    }
}

fn opened<B: Backend>(api: &Api<B>, headers: &HeaderMap, login: Login) -> Response {
    let mut response = Json(session(api, SessionState::Open, Some(login.csrf))).into_response();
    set_cookie(&mut response, headers, &login.token, None);
    response
}

/// `Secure` only behind a TLS proxy: the node itself speaks plain HTTP on the loopback or local network.
fn set_cookie(response: &mut Response, asked: &HeaderMap, token: &str, age_s_max: Option<u32>) {
    let is_tls = over_tls(asked);
    let name = cookie_name(asked, is_tls);
    let secure = if is_tls { "; Secure" } else { "" };
    let age = age_s_max.map_or(String::new(), |age| format!("; Max-Age={age}"));
    let cookie = format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
}

fn rejected(rejection: &JsonRejection) -> Response {
    reply(
        rejection.status(),
        problem("invalid", rejection.body_text(), ""),
    )
}

fn failed(error: &AuthError) -> Response {
    let message = error.to_string();
    match error {
        AuthError::Wrong => reply(
            StatusCode::FORBIDDEN,
            problem(
                "wrong",
                "That is not right",
                "The claim code is in the daemon's log; `archyd claim` prints it too",
            ),
        ),
        AuthError::TooMany(wait) => {
            let mut response = reply(
                StatusCode::TOO_MANY_REQUESTS,
                problem("tooMany", message, "Wait, then try again"),
            );
            let seconds = wait.as_secs() + 1;
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
        AuthError::Claimed => reply(
            StatusCode::CONFLICT,
            problem(
                "claimed",
                "This node has an owner already",
                "Log in; if you lost the password, run `archyd claim --reset` on the node",
            ),
        ),
        AuthError::PasswordLength => reply(
            StatusCode::UNPROCESSABLE_ENTITY,
            problem("passwordLength", message, ""),
        ),
        AuthError::File { .. }
        | AuthError::Mode(_)
        | AuthError::Database(_)
        | AuthError::Hash(_) => {
            tracing::error!(error = %message, source = ?std::error::Error::source(error), "could not log in");
            reply(
                StatusCode::INTERNAL_SERVER_ERROR,
                problem(
                    "internal",
                    "The node cannot check that now",
                    "Look at the daemon's log",
                ),
            )
        }
    }
}
