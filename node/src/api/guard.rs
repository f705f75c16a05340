//! What every request over TCP must pass: Host allow-list, origin, and both tokens of a session; for pictures its cookie.
//!
//! Forwarded headers are never read: who connects is who asks.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use jiff::Timestamp;

use super::problem::{problem, reply};
use super::types::Problem;
use super::{Api, Backend};
use crate::auth::TOKEN_LENGTH;

/// Name of the session cookie, before the port.
const COOKIE_NAME: &str = "archy_session";
/// What its name begins with over TLS: browsers then let nobody set it for a path or from without TLS (RFC 6265bis §4.1.3.2),
/// and keep both apart.
const TLS_PREFIX: &str = "__Host-";
/// Most cookies that are tried. Browsers keep one of a name for each path and domain that fit: a few.
const TOKENS_MAX: usize = 32;
/// Header that carries the session's CSRF token. The cookie goes to every port of this host, apps' included; what a page
/// sends in a header of its own, browsers give to nobody else.
const CSRF_HEADER: &str = "x-archy-csrf";

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    /// This node's end.
    pub(super) local: SocketAddr,
    /// The other end.
    pub(super) remote: SocketAddr,
}

/// What a request shows, and where it came from.
pub(super) struct Shown {
    /// Every value that may be the cookie's. An app on another port of this host can set more cookies of that name, for
    /// a longer path, and browsers send those first (RFC 6265 §5.4): one that is not right must not hide one that is.
    tokens: Vec<String>,
    csrf: Option<String>,
    from: IpAddr,
}

/// Whose session was found open.
#[derive(Clone)]
pub(super) struct Caller {
    /// The cookie's token.
    pub(super) token: String,
    /// Where the request came from.
    pub(super) from: IpAddr,
}

/// Host names under which a browser may reach the API, against DNS rebinding.
#[derive(Debug, Clone, Default)]
pub struct Hosts(BTreeSet<String>);

impl Hosts {
    /// Allows `localhost` and these names; a connection's own local address is always allowed.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let own = ["localhost".to_owned()];
        Self(
            own.into_iter()
                .chain(names)
                .map(|name| name.to_ascii_lowercase())
                .collect(),
        )
    }

    fn allows(&self, host: &str, local: IpAddr) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            let (address, local) = (address.to_canonical(), local.to_canonical());
            return address == local || (address.is_loopback() && local.is_loopback());
        }
        self.0.contains(&host.to_ascii_lowercase())
    }
}

/// Refuses names that are not this node's and pages that are not its own.
pub(super) async fn host_and_origin<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(connection) = request.extensions().get::<Connection>().copied() else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "connection",
            "This connection has no address",
        );
    };
    let Some(authority) = authority(request.headers(), request.uri()) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "host",
            "The request needs one Host header",
        );
    };
    if !host_of(&authority).is_some_and(|host| api.hosts.allows(host, connection.local.ip())) {
        return reply(
            StatusCode::MISDIRECTED_REQUEST,
            problem(
                "host",
                "This node does not answer to that name",
                "Use its address, or add the name to api.allowed_hosts in archyd.toml",
            ),
        );
    }
    if !same_origin(request.headers(), &authority, request.method()) {
        return refuse(
            StatusCode::FORBIDDEN,
            "origin",
            "Another site may not use this node",
        );
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && !is_json(request.headers()) {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "contentType",
            "Send Content-Type: application/json",
        );
    }
    next.run(request).await
}

/// Refuses requests that do not show both tokens of an open session, reads too.
pub(super) async fn session<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(shown) = shown(&request) else {
        return locked();
    };
    match owner(&api, shown).await {
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(None) => locked(),
        Err(refusal) => refusal,
    }
}

/// Refuses requests without the cookie of an open session. For pictures alone: an `<img>` sends no header.
pub(super) async fn cookie<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(shown) = shown(&request) else {
        return locked();
    };
    let sessions = api.auth.sessions();
    for token in &shown.tokens {
        match sessions.is_open(token, shown.from, Timestamp::now()).await {
            Ok(true) => return next.run(request).await,
            Ok(false) => {}
            Err(error) => return unread(&error),
        }
    }
    locked()
}

/// Returns the session that a request shows both tokens of, when it is open.
///
/// # Errors
///
/// The answer when sessions cannot be read.
pub(super) async fn owner<B: Backend>(
    api: &Api<B>,
    shown: Shown,
) -> Result<Option<Caller>, Response> {
    let Some(csrf) = shown.csrf else {
        return Ok(None);
    };
    let (sessions, from) = (api.auth.sessions(), shown.from);
    for token in shown.tokens {
        let admitted = sessions.admits(&token, &csrf, from, Timestamp::now());
        if admitted.await.map_err(|error| unread(&error))? {
            return Ok(Some(Caller { token, from }));
        }
    }
    Ok(None)
}

/// Returns the name of the session's cookie in the browser that sent these headers. Cookies do not know ports: with the
/// port in it, nodes under one host name (each behind a tunnel, say) do not log each other out.
pub(super) fn cookie_name(headers: &HeaderMap, is_tls: bool) -> String {
    let prefix = if is_tls { TLS_PREFIX } else { "" };
    match one(headers, HOST.as_str()).and_then(port_of) {
        Some(port) => format!("{prefix}{COOKIE_NAME}_{port}"),
        None => format!("{prefix}{COOKIE_NAME}"),
    }
}

/// Returns whether the browser reached the UI over TLS: its page's origin says so, whatever stands between.
pub(super) fn over_tls(headers: &HeaderMap) -> bool {
    one(headers, ORIGIN.as_str()).is_some_and(|origin| origin.starts_with("https://"))
}

/// Reads what may be tokens, and the peer's address.
pub(super) fn shown(request: &Request) -> Option<Shown> {
    let connection = request.extensions().get::<Connection>()?;
    Some(Shown {
        tokens: tokens(request.headers()),
        csrf: one(request.headers(), CSRF_HEADER).map(str::to_owned),
        from: connection.remote.ip(),
    })
}

/// Reads every value of the session's cookie that has a token's length. A page over TLS is sent that of both names.
fn tokens(headers: &HeaderMap) -> Vec<String> {
    let names = [true, false].map(|is_tls| cookie_name(headers, is_tls));
    let named = |wanted: &String| {
        // As bytes: what else is in the header is anybody's, and need not be text.
        let pairs = headers.get_all(COOKIE).iter().flat_map(|value| {
            let pairs = value.as_bytes().split(|byte| *byte == b';');
            pairs.map(<[u8]>::trim_ascii)
        });
        let start = format!("{wanted}=");
        pairs
            .filter_map(|pair| pair.strip_prefix(start.as_bytes()))
            .filter(|token| token.len() == TOKEN_LENGTH)
            .filter_map(|token| String::from_utf8(token.to_vec()).ok())
            .collect::<Vec<_>>()
    };
    names.iter().flat_map(named).take(TOKENS_MAX).collect()
}

/// Returns the one Host header, or the authority of an absolute request target.
fn authority(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let host = one(headers, HOST.as_str())?;
    match uri.authority() {
        // RFC 9112 §3.2.2: an absolute target wins over Host; they must agree here.
        Some(target) if target.as_str() != host => None,
        Some(_) | None => Some(host.to_owned()),
    }
}

/// Returns a header's value when there is exactly one.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Takes the port off; an IPv6 address loses its brackets.
fn host_of(authority: &str) -> Option<&str> {
    if authority.contains('@') {
        return None;
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return (port.is_empty() || port.starts_with(':')).then_some(host);
    }
    let host = match authority.split_once(':') {
        Some((host, port)) => port.bytes().all(|b| b.is_ascii_digit()).then_some(host)?,
        None => authority,
    };
    (!host.is_empty()).then_some(host)
}

/// Reads the port that an authority names.
fn port_of(authority: &str) -> Option<u16> {
    let (_, port) = authority.rsplit_once(':')?;
    port.parse().ok()
}

fn same_origin(headers: &HeaderMap, authority: &str, method: &Method) -> bool {
    let origin = match headers.contains_key(ORIGIN) {
        false => true,
        true => one(headers, ORIGIN.as_str()).is_some_and(|origin| {
            let rest = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"));
            rest.is_some_and(|rest| rest.eq_ignore_ascii_case(authority))
        }),
    };
    let site = match one(headers, "sec-fetch-site") {
        None | Some("same-origin" | "none") => true,
        // A link from elsewhere may open the UI, but not read or change anything.
        Some(_) => *method == Method::GET && one(headers, "sec-fetch-mode") == Some("navigate"),
    };
    origin && site
}

fn is_json(headers: &HeaderMap) -> bool {
    one(headers, CONTENT_TYPE.as_str()).is_some_and(|value| {
        value
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    })
}

fn locked() -> Response {
    reply(
        StatusCode::UNAUTHORIZED,
        problem("locked", "Log in first", "Open the node's page and log in"),
    )
}

fn unread(error: &sqlx::Error) -> Response {
    tracing::error!(%error, "could not read sessions");
    refuse(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The session database does not answer",
    )
}

fn refuse(status: StatusCode, kind: &str, message: &str) -> Response {
    reply(
        status,
        Problem {
            kind: kind.to_owned(),
            message: message.to_owned(),
            hint: None,
            details: Vec::new(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_this_nodes_names_and_the_connections_own_address() {
        let hosts = Hosts::new(["node.local".to_owned()]);
        let table = [
            ("127.0.0.1:8480", "127.0.0.1", true),
            ("localhost:1", "127.0.0.1", true),
            ("LOCALHOST", "127.0.0.1", true),
            ("[::1]:8480", "::1", true),
            ("[::1]", "127.0.0.1", true),
            ("node.local", "10.0.0.5", true),
            ("10.0.0.5:8480", "10.0.0.5", true),
            ("10.0.0.5:8480", "::ffff:10.0.0.5", true),
            ("10.0.0.6:8480", "10.0.0.5", false),
            ("127.0.0.1", "10.0.0.5", false),
            ("evil.example", "127.0.0.1", false),
            ("localhost.evil.example", "127.0.0.1", false),
            ("localhost@evil.example", "127.0.0.1", false),
            ("evil.example:80:80", "127.0.0.1", false),
            ("2130706433", "127.0.0.1", false),
            ("", "127.0.0.1", false),
            (":80", "127.0.0.1", false),
            ("[::1", "::1", false),
        ];
        for (host, local, allowed) in table {
            let name = host_of(host);
            let result = name.is_some_and(|name| hosts.allows(name, local.parse().unwrap()));
            assert_eq!(result, allowed, "{host} on {local}");
        }
    }

    #[test]
    fn the_cookies_name_has_the_port_that_the_browser_asks() {
        for (host, is_tls, name) in [
            ("localhost:8480", false, "archy_session_8480"),
            ("localhost:8481", false, "archy_session_8481"),
            ("[::1]:8480", false, "archy_session_8480"),
            ("node.local", false, "archy_session"),
            ("[::1]", false, "archy_session"),
            ("node.local:", false, "archy_session"),
            ("node.local", true, "__Host-archy_session"),
            ("node.local:8443", true, "__Host-archy_session_8443"),
        ] {
            let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            assert_eq!(cookie_name(&headers, is_tls), name, "{host}");
        }
    }

    #[test]
    fn every_cookie_of_the_sessions_name_is_read() {
        let [first, second, tls] = ["1", "2", "3"].map(|digit| digit.repeat(TOKEN_LENGTH));
        let mut headers = HeaderMap::from_iter([(HOST, "localhost:8480".parse().unwrap())]);
        let mut cookie = |text: &str| {
            let value = axum::http::HeaderValue::from_bytes(text.as_bytes()).unwrap();
            headers.append(COOKIE, value);
            tokens(&headers)
        };
        assert!(cookie("archy_session_8480=x; archy_session_8480; theme=\u{fc}; =").is_empty());
        assert!(cookie(&format!("archy_session={first};archy_session_8481={first}")).is_empty());
        assert_eq!(
            cookie(&format!("a=\u{fc}; archy_session_8480={first}")),
            std::slice::from_ref(&first)
        );
        let both = format!("archy_session_8480={second}; __Host-archy_session_8480={tls}");
        assert_eq!(cookie(&both), [tls, first.clone(), second]);
        let many = format!("archy_session_8480={first}; ").repeat(TOKENS_MAX);
        assert_eq!(cookie(&many).len(), TOKENS_MAX);
    }
}
