// SPDX-License-Identifier: Apache-2.0
//! Browsers: a key is exchanged for a cookie, which counts only for pages of this server.

use serde_json::json;

use crate::fixture::{millis, name, text};
use crate::keys::{Keys, with_keys};
use crate::support::{Launch, Request, Response, SOON, Stream};

/// The cookie of a new session.
fn log_in(server: &Keys, key: &str) -> String {
    let answer = server.with(key).post("/session", &json!({}));
    let session = answer.expect(201);
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "without TLS the browser would not send it: {cookie}");
    assert!(!cookie.contains(key) && session.get("secret").is_none());
    cookie.split(';').next().unwrap().to_owned()
}

fn ask(server: &Keys, cookie: &str, request: Request) -> Response {
    server.send(&request.header("cookie", cookie))
}

fn from(request: Request, origin: &str) -> Request {
    request.header("origin", origin)
}

#[test]
fn a_session_is_opened_shown_and_closed() {
    let server = with_keys();
    let key = server.key("readonly", &json!("ours*"));
    let cookie = log_in(&server, &key);
    let status = ask(&server, &cookie, Request::get("/auth/status")).expect(200);
    assert_eq!((&status["mode"], &status["key"]["role"]), (&json!("session"), &json!("readonly")));
    let session = ask(&server, &cookie, Request::get("/session")).expect(200);
    assert!(millis(&session["expires_at"]) > millis(&session["key"]["created_at"]));
    ask(&server, &cookie, Request::get("/queues/theirs")).refused(403, "FORBIDDEN");
    let own = format!("http://{}", server.addr());
    let close = || from(Request::new("DELETE", "/api/v1/session"), &own);
    let again = from(Request::json("POST", "/session", &json!({})), &own);
    ask(&server, &cookie, again).refused(401, "UNAUTHORIZED");
    let closed = ask(&server, &cookie, close());
    assert_eq!(closed.status(), 204);
    assert!(closed.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")));
    ask(&server, &cookie, Request::get("/session")).refused(401, "UNAUTHORIZED");
    server.with(&key).get("/session").refused(404, "NOT_FOUND");
    // The cookie is not a key, and the key is not a cookie.
    let secret = cookie.split_once('=').unwrap().1;
    server.with(secret).get("/auth/status").refused(401, "UNAUTHORIZED");
    ask(&server, &format!("jobbie_session={key}"), Request::get("/queues")).refused(401, "UNAUTHORIZED");
}

#[test]
fn a_page_of_another_site_cannot_use_the_cookie() {
    let server = with_keys();
    let cookie = log_in(&server, &server.key("admin", &json!("*")));
    let own = format!("http://{}", server.addr());
    let queue = name("q");
    let enqueue = || Request::json("POST", "/enqueue", &json!({"queue": queue}));
    for origin in ["http://evil.example", "http://127.0.0.1:1", "null", ""] {
        ask(&server, &cookie, from(enqueue(), origin)).refused(403, "FORBIDDEN");
        ask(&server, &cookie, from(Request::get("/queues"), origin)).refused(403, "FORBIDDEN");
    }
    for site in ["cross-site", "same-site"] {
        ask(&server, &cookie, enqueue().header("sec-fetch-site", site)).refused(403, "FORBIDDEN");
        ask(&server, &cookie, Request::get("/queues").header("sec-fetch-site", site))
            .refused(403, "FORBIDDEN");
    }
    ask(&server, &cookie, enqueue()).refused(403, "FORBIDDEN");
    ask(&server, &cookie, from(enqueue(), &own)).expect(201);
    ask(&server, &cookie, Request::get("/queues").header("sec-fetch-site", "same-origin")).expect(200);
    // A key is sent by nobody but who has it.
    let key = server.key("worker", &json!("*"));
    server.with(&key).send(from(enqueue(), "http://evil.example")).expect(201);
}

#[test]
fn a_session_ends_with_its_key_and_outlives_a_restart() {
    let server = with_keys();
    let key = server.key("admin", &json!("*"));
    let (first, second) = (log_in(&server, &key), log_in(&server, &server.key("admin", &json!("*"))));
    let headers = [("cookie", &*first), ("sec-fetch-site", "same-origin")];
    let mut events = Stream::open(server.addr(), "/events", &headers).unwrap().expect("a stream");
    server.root().revoke(&key);
    while events.try_next(SOON).unwrap().is_some() {}
    ask(&server, &first, Request::get("/queues")).refused(401, "UNAUTHORIZED");
    let launch: Launch = server.launch().clone();
    drop(server);
    let server = Keys::on(launch);
    ask(&server, &second, Request::get("/queues")).expect(200);
    assert_eq!(text(&ask(&server, &second, Request::get("/auth/status")).expect(200)["mode"]), "session");
}
