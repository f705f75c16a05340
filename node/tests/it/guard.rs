//! Who may do what over TCP.

use serde_json::json;

use crate::backend::{Bed, Owner, PASSWORD};
use crate::http::Request;

fn list() -> Request {
    Request::rpc("package.list", &json!({}))
}

#[tokio::test]
async fn every_request_must_be_the_owners_own() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let here = bed.address.to_string();
    let origin = format!("http://{here}");
    let name = format!("archy_session_{}", bed.address.port());
    let signed = || owner.sign(list());
    let table: Vec<(&str, Request, u16, &str)> = vec![
        ("the owner", signed(), 200, ""),
        (
            "from its own page",
            signed()
                .header("Origin", &origin)
                .header("Sec-Fetch-Site", "same-origin"),
            200,
            "",
        ),
        (
            "by a configured name",
            owner.sign_at("node.local:8480", list()),
            200,
            "",
        ),
        (
            "as localhost",
            owner.sign_at("localhost:8480", list()),
            200,
            "",
        ),
        // DNS rebinding: the name is the attacker's, the address is ours.
        (
            "by a foreign name",
            signed().header("Host", "evil.example"),
            421,
            "host",
        ),
        (
            "by a name that ends like ours",
            signed().header("Host", "node.local.evil.example"),
            421,
            "host",
        ),
        (
            "by another address",
            signed().header("Host", "10.1.2.3:8480"),
            421,
            "host",
        ),
        (
            "with two hosts",
            signed()
                .header("Host", "localhost")
                .header("Host", "evil.example"),
            400,
            "",
        ),
        (
            "forwarded",
            signed()
                .header("Host", "evil.example")
                .header("X-Forwarded-Host", "localhost"),
            421,
            "host",
        ),
        // Cross-site requests.
        (
            "from another page",
            signed().header("Origin", "http://evil.example"),
            403,
            "origin",
        ),
        (
            "from an app on another port",
            signed().header("Origin", "http://127.0.0.1:1"),
            403,
            "origin",
        ),
        (
            "from a sandboxed page",
            signed().header("Origin", "null"),
            403,
            "origin",
        ),
        (
            "with two origins",
            signed()
                .header("Origin", &origin)
                .header("Origin", "http://evil.example"),
            403,
            "origin",
        ),
        (
            "cross-site",
            signed().header("Sec-Fetch-Site", "cross-site"),
            403,
            "origin",
        ),
        (
            "same-site from another port",
            signed().header("Sec-Fetch-Site", "same-site"),
            403,
            "origin",
        ),
        // A form cannot send JSON.
        (
            "as a form",
            signed()
                .without("Content-Type")
                .header("Content-Type", "text/plain"),
            415,
            "contentType",
        ),
        (
            "without a type",
            signed().without("Content-Type"),
            415,
            "contentType",
        ),
        // Session and CSRF token.
        ("without a session", list(), 401, "locked"),
        (
            "with a made-up session",
            list().header("Cookie", &format!("{name}={}", "0".repeat(64))),
            401,
            "locked",
        ),
        (
            "with an empty session",
            list().header("Cookie", &format!("{name}=")),
            401,
            "locked",
        ),
        (
            "without a CSRF token",
            signed().without("X-Archy-CSRF"),
            401,
            "locked",
        ),
        (
            "with a wrong CSRF token",
            signed().without("X-Archy-CSRF").header("X-Archy-CSRF", "x"),
            401,
            "locked",
        ),
        (
            "with two CSRF tokens",
            signed().header("X-Archy-CSRF", &owner.csrf),
            401,
            "locked",
        ),
        // Forwarded headers make nobody local.
        (
            "claiming to be local",
            list()
                .header("X-Forwarded-For", "127.0.0.1")
                .header("Forwarded", "for=127.0.0.1")
                .header("X-Real-IP", "127.0.0.1"),
            401,
            "locked",
        ),
        // Reading needs a session too.
        (
            "events without a session",
            Request::get("/events"),
            401,
            "locked",
        ),
        (
            "metrics without a session",
            Request::get("/metrics"),
            401,
            "locked",
        ),
        (
            "pictures without a session",
            Request::get(&format!("/assets/{}", "0".repeat(64))),
            401,
            "locked",
        ),
        ("metrics", owner.sign(Request::get("/metrics")), 200, ""),
        // Other verbs.
        (
            "GET on the RPC endpoint",
            owner.sign(Request::get("/rpc/v1")),
            405,
            "",
        ),
        (
            "PUT on the RPC endpoint",
            owner.sign(Request::new("PUT", "/rpc/v1").header("Content-Type", "application/json")),
            405,
            "",
        ),
        (
            "CORS preflight",
            Request::new("OPTIONS", "/rpc/v1").header("Origin", "http://evil.example"),
            403,
            "origin",
        ),
        // Blobs are for the Unix socket only.
        (
            "blobs over TCP",
            owner.sign(
                Request::new("PUT", &format!("/blobs/{}?tag=x", "0".repeat(64)))
                    .header("Content-Type", "application/json"),
            ),
            404,
            "notFound",
        ),
    ];
    for (what, request, status, kind) in table {
        let answer = bed.send(request).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        if !kind.is_empty() {
            assert_eq!(answer.kind(), kind, "{what}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), "", "{what}");
    }
}

#[tokio::test]
async fn a_node_is_claimed_once_and_then_logged_in_to() {
    let bed = Bed::start().await;
    let session = bed.send(Request::get("/session")).await;
    assert_eq!(
        session.json(),
        json!({"state": "unclaimed", "csrf": null, "node": "test node"})
    );
    let wrong = json!({"code": "0000-0000-0000-0000", "password": PASSWORD});
    let answer = bed.send(Request::post("/session/claim", &wrong)).await;
    assert_eq!((answer.status, answer.kind().as_str()), (403, "wrong"));

    let code = bed.api.auth.claim_code().unwrap().unwrap().code;
    let body = json!({"code": code, "password": PASSWORD});
    let answer = bed.send(Request::post("/session/claim", &body)).await;
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let again = bed.send(Request::post("/session/claim", &body)).await;
    assert_eq!((again.status, again.kind().as_str()), (409, "claimed"));

    let locked = bed.send(Request::get("/session")).await;
    assert_eq!(locked.json()["state"], "locked");
    let login = bed
        .send(Request::post(
            "/session/login",
            &json!({"password": PASSWORD}),
        ))
        .await;
    assert_eq!(login.status, 200);
    assert_ne!(
        login.cookie(),
        answer.cookie(),
        "every log-in has a token of its own"
    );
    let csrf = login.json()["csrf"].as_str().unwrap().to_owned();
    let show = Request::get("/session")
        .header("Cookie", &login.cookie())
        .header("X-Archy-CSRF", &csrf);
    assert_eq!(
        bed.send(show).await.json(),
        json!({"state": "open", "csrf": null, "node": "test node"}),
        "the token is told once"
    );
}

/// An app with a page of its own on this host is sent the cookie, and calls from an address that is the owner's.
#[tokio::test]
async fn the_cookie_alone_opens_nothing_but_pictures() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let bare = |request: Request| request.header("Cookie", &owner.cookie);
    let answer = bed.send(bare(Request::get("/session"))).await;
    assert_eq!(
        answer.json(),
        json!({"state": "locked", "csrf": null, "node": "test node"})
    );
    assert_eq!(answer.header("set-cookie"), "");
    let closed = || {
        [
            list(),
            Request::get("/events"),
            Request::get("/metrics"),
            Request::post("/session/logout", &json!({})),
        ]
    };
    for request in closed() {
        let answer = bed.send(bare(request)).await;
        assert_eq!((answer.status, answer.kind().as_str()), (401, "locked"));
    }
    for request in closed() {
        let answer = bed.send(request.header("X-Archy-CSRF", &owner.csrf)).await;
        assert_eq!(answer.status, 401, "the header alone is no session either");
    }
    let hash = archy_registry::Blake3Hash::of(b"svg");
    let picture = bed.send(bare(Request::get(&format!("/assets/{hash}"))));
    assert_eq!(picture.await.status, 200, "an <img> sends no header");
    assert_eq!(bed.send(owner.sign(list())).await.status, 200);
}

/// An app on another port can set cookies of the session's name for longer paths, which browsers send first.
#[tokio::test]
async fn a_cookie_that_an_app_set_hides_no_session() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let name = format!("archy_session_{}", bed.address.port());
    let before = format!(
        "{name}=x; {name}={}; theme=\u{fc}; {}; {name}={}",
        "0".repeat(64),
        owner.cookie,
        "1".repeat(64)
    );
    let shadowed = |request: Request| {
        request
            .header("Cookie", &before)
            .header("X-Archy-CSRF", &owner.csrf)
    };
    assert_eq!(bed.send(shadowed(list())).await.status, 200);
    let session = bed.send(shadowed(Request::get("/session"))).await;
    assert_eq!(session.json()["state"], "open");
    let hash = archy_registry::Blake3Hash::of(b"svg");
    let picture = Request::get(&format!("/assets/{hash}")).header("Cookie", &before);
    assert_eq!(bed.send(picture).await.status, 200);
    let other = shadowed(list())
        .without("X-Archy-CSRF")
        .header("X-Archy-CSRF", &"0".repeat(64));
    assert_eq!(bed.send(other).await.status, 401, "a token is still needed");
    let mut lines = crate::streams::listen(&bed, &before, &owner.csrf).await;
    // It is the one that was shown that ends.
    let logout = Request::post("/session/logout", &json!({}));
    assert_eq!(bed.send(shadowed(logout)).await.json()["state"], "locked");
    crate::streams::end(&mut lines).await;
    assert_eq!(bed.send(owner.sign(list())).await.status, 401);
}

/// Two nodes under one host name, each behind a tunnel of its own.
#[tokio::test]
async fn nodes_on_two_ports_of_a_host_keep_a_cookie_each() {
    let bed = Bed::start().await;
    bed.claim().await;
    let login = |host: &str| {
        Request::post("/session/login", &json!({"password": PASSWORD})).header("Host", host)
    };
    let mut cookies = Vec::new();
    for (host, name) in [
        ("localhost:8480", "archy_session_8480="),
        ("localhost:8481", "archy_session_8481="),
        ("localhost", "archy_session="),
    ] {
        let answer = bed.send(login(host)).await;
        let cookie = answer.cookie();
        assert!(cookie.starts_with(name), "{cookie}");
        let csrf = answer.json()["csrf"].as_str().unwrap().to_owned();
        cookies.push((host, cookie, csrf));
    }
    let all: Vec<_> = cookies
        .iter()
        .map(|(_, cookie, _)| cookie.clone())
        .collect();
    for (host, _, csrf) in &cookies {
        let request = list()
            .header("Host", host)
            .header("Cookie", &all.join("; "))
            .header("X-Archy-CSRF", csrf);
        assert_eq!(bed.send(request).await.status, 200, "{host}");
    }
    let logout = Request::post("/session/logout", &json!({}));
    let (host, cookie, csrf) = &cookies[0];
    let logout = logout
        .header("Host", host)
        .header("Cookie", cookie)
        .header("X-Archy-CSRF", csrf);
    let gone = bed.send(logout).await;
    assert_eq!(gone.cookie(), "archy_session_8480=");
}

#[tokio::test]
async fn over_tls_the_cookie_never_goes_out_in_the_clear() {
    let bed = Bed::start().await;
    bed.claim().await;
    let login = Request::post("/session/login", &json!({"password": PASSWORD}))
        .header("Host", "node.local")
        .header("Origin", "https://node.local");
    let answer = bed.send(login).await;
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-archy_session=")
            && cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
    let owner = Owner {
        // The browser sends what is left of a log-in without TLS too.
        cookie: format!("archy_session={}; {}", "0".repeat(64), answer.cookie()),
        csrf: answer.json()["csrf"].as_str().unwrap().to_owned(),
    };
    let signed = |request| owner.sign(request).header("Host", "node.local");
    assert_eq!(bed.send(signed(list())).await.status, 200);
    let logout =
        Request::post("/session/logout", &json!({})).header("Origin", "https://node.local");
    let answer = bed.send(signed(logout)).await;
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-archy_session=;") && cookie.ends_with("; Secure; Max-Age=0"),
        "{cookie}"
    );
}

#[tokio::test]
async fn wrong_tries_are_slowed_down_whatever_is_forwarded() {
    let bed = Bed::start().await;
    bed.claim().await;
    let guess = |n: u8| {
        Request::post("/session/login", &json!({"password": "guess number one"}))
            .header("X-Forwarded-For", &format!("10.0.0.{n}"))
    };
    let mut statuses = Vec::new();
    for n in 0..8 {
        statuses.push(bed.send(guess(n)).await.status);
    }
    assert_eq!(&statuses[..5], [403; 5]);
    assert!(statuses[5..].contains(&429), "{statuses:?}");
    let blocked = bed
        .send(Request::post(
            "/session/login",
            &json!({"password": PASSWORD}),
        ))
        .await;
    assert_eq!(blocked.kind(), "tooMany");
    assert!(blocked.header("retry-after").parse::<u32>().unwrap() >= 1);
}

#[tokio::test]
async fn a_log_in_from_another_site_is_refused() {
    let bed = Bed::start().await;
    bed.claim().await;
    let body = json!({"password": PASSWORD});
    let cross = Request::post("/session/login", &body).header("Origin", "http://evil.example");
    assert_eq!(bed.send(cross).await.status, 403);
    let form = Request::new("POST", "/session/login")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("password=x");
    assert_eq!(bed.send(form).await.status, 415);
    let broken = Request::post("/session/login", &json!({"password": 1}));
    assert_eq!(bed.send(broken).await.kind(), "invalid");
}

#[tokio::test]
async fn logging_out_ends_the_session_and_needs_the_token() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let bare = Request::post("/session/logout", &json!({})).header("Cookie", &owner.cookie);
    assert_eq!(bed.send(bare).await.kind(), "locked");
    let answer = bed
        .send(owner.sign(Request::post("/session/logout", &json!({}))))
        .await;
    assert_eq!(answer.json()["state"], "locked");
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(bed.send(owner.sign(list())).await.status, 401);
}

#[tokio::test]
async fn every_answer_is_locked_down() {
    let bed = Bed::start().await;
    for path in ["/", "/apps", "/session", "/rpc/v1", "/nothing.js"] {
        let answer = bed.send(Request::get(path)).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
    }
    assert_eq!(
        bed.send(Request::get("/session"))
            .await
            .header("cache-control"),
        "no-store"
    );
}

#[tokio::test]
async fn the_ui_answers_pages_and_nothing_above_it() {
    let bed = Bed::start().await;
    for path in ["/", "/apps", "/app/did:key:z6Mk/notes", "/settings"] {
        let page = bed.send(Request::get(path)).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(
            page.header("content-type").starts_with("text/html"),
            "{path}"
        );
    }
    let traversals = [
        "/../Cargo.toml",
        "/..%2fCargo.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/assets/../../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/%2e%2e%2fpassword",
        "/etc/passwd.txt",
        "//etc/passwd.txt",
        "/.env",
    ];
    let owner = bed.claim().await;
    for path in traversals {
        let answer = bed.send(owner.sign(Request::get(path))).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    let post = owner.sign(Request::post("/apps", &json!({})));
    assert_eq!(bed.send(post).await.status, 404);
}

#[tokio::test]
async fn pictures_cannot_run_anything() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let path = |name: &str| {
        let hash = archy_registry::Blake3Hash::of(name.as_bytes());
        Request::get(&format!("/assets/{hash}"))
    };
    let svg = bed.send(owner.sign(path("svg"))).await;
    assert_eq!(
        (svg.status, svg.header("content-type")),
        (200, "image/svg+xml")
    );
    let policy = svg.header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("sandbox"),
        "{policy}"
    );
    assert_eq!(svg.header("x-content-type-options"), "nosniff");
    // A release may declare what it likes; only pictures are served.
    assert_eq!(bed.send(owner.sign(path("html"))).await.status, 404);
    assert_eq!(bed.send(owner.sign(path("unknown"))).await.status, 404);
}

#[tokio::test]
async fn requests_have_limits() {
    let bed = Bed::start().await;
    let owner = bed.claim().await;
    let large = owner
        .sign(list())
        .body(vec![b' '; archyd::api::BODY_BYTES_MAX + 1]);
    assert_eq!(bed.send(large).await.status, 413);
    let large = Request::post(
        "/session/login",
        &json!({"password": "x".repeat(archyd::api::BODY_BYTES_MAX)}),
    );
    assert_eq!(bed.send(large).await.status, 413);
}
