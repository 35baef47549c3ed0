// SPDX-License-Identifier: Apache-2.0
//! Requests that no library sends: malformed heads, cut bodies, wrong hosts. The server answers with a
//! refusal or closes, changes nothing, and goes on.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::{Api, name, shared};
use crate::support::conn::Conn;
use crate::support::{Launch, Request, SOON, Server};

/// Sends bytes as they are; the status of the answer, or `None` if the server closed without one.
fn raw(server: &Server, bytes: &[u8], finish: bool) -> Option<u16> {
    let mut conn = Conn::open(server.addr()).unwrap();
    // The server may close while this is being sent.
    let _ = conn.send(bytes);
    if finish {
        let _ = conn.finish();
    }
    conn.head("POST", Instant::now() + SOON).ok().map(|head| head.status)
}

#[test]
fn malformed_requests_are_refused_or_cut_off() {
    let server = Launch::new().start();
    server.enqueue(&json!({"queue": "work"}));
    let host = format!("host: {}\r\n", server.addr());
    let body = r#"{"queue":"work"}"#;
    let post = |headers: &str, body: &str| {
        format!(
            "POST /api/v1/enqueue HTTP/1.1\r\n{host}content-type: application/json\r\n{headers}\r\n{body}"
        )
    };
    let long = "x".repeat(200_000);
    for (what, bytes) in [
        ("no HTTP at all", "hello\r\n\r\n".to_owned()),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n".into()),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".into()),
        ("an unknown version", format!("GET /healthz HTTP/9.9\r\n{host}\r\n")),
        ("a header without a colon", format!("GET /healthz HTTP/1.1\r\n{host}nonsense\r\n\r\n")),
        ("a NUL in a header", format!("GET /healthz HTTP/1.1\r\n{host}x: a\0b\r\n\r\n")),
        ("a space in a header's name", format!("GET /healthz HTTP/1.1\r\n{host}x y: 1\r\n\r\n")),
        ("a huge header", format!("GET /healthz HTTP/1.1\r\n{host}x: {long}\r\n\r\n")),
        ("a huge address", format!("GET /{long} HTTP/1.1\r\n{host}\r\n")),
        ("many headers", format!("GET /healthz HTTP/1.1\r\n{host}{}\r\n", "x: y\r\n".repeat(2_000))),
        ("a negative length", post("content-length: -1\r\n", body)),
        ("a length that is no number", post("content-length: x\r\n", body)),
        ("a length with a plus", post("content-length: +16\r\n", body)),
        ("two lengths", post("content-length: 16\r\ncontent-length: 15\r\n", body)),
        ("length and chunks", post("content-length: 16\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n")),
        ("a bad chunk size", post("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")),
        ("a huge chunk size", post("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\n{}\r\n")),
        ("an unknown encoding", post("transfer-encoding: rot13\r\n", body)),
        ("neither length nor chunks", post("", body)),
        ("a huge length", post("content-length: 99999999999\r\n", body)),
    ] {
        let status = raw(&server, bytes.as_bytes(), false);
        assert!(
            status.is_none_or(|status| (400..=505).contains(&status) && status != 500),
            "{what}: {status:?}"
        );
    }
    for (what, headers, part) in [
        ("a body that ends early", "content-length: 16\r\n", r#"{"queue":"wo"#),
        ("a body that never begins", "content-length: 16\r\n", ""),
        ("chunks that end early", "transfer-encoding: chunked\r\n", "10\r\n{\"queue\":\"wo"),
    ] {
        let status = raw(&server, post(headers, part).as_bytes(), true);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{what}: {status:?}");
    }
    assert_eq!(server.count("work", "pending"), 1, "none of them enqueued anything");
    assert_eq!(server.get("/jobs").expect(200)["jobs"].as_array().unwrap().len(), 1);
    server.enqueue(&json!({"queue": "work"}));
}

#[test]
fn a_body_may_come_in_chunks_and_in_pieces() {
    let (server, queue) = (shared(), name("chunked"));
    let mut conn = Conn::open(server.addr()).unwrap();
    let head = format!(
        "POST /api/v1/enqueue HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        server.addr()
    );
    conn.send(head.as_bytes()).unwrap();
    for piece in format!("{{\"queue\":\"{queue}\"}}").as_bytes().chunks(5) {
        conn.send(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        conn.send(piece).unwrap();
        conn.send(b"\r\n").unwrap();
    }
    conn.send(b"0\r\n\r\n").unwrap();
    assert_eq!(conn.head("POST", Instant::now() + SOON).unwrap().status, 201);
    assert_eq!(server.count(&queue, "pending"), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = shared();
    let mut conn = Conn::open(server.addr()).unwrap();
    let paths = ["/healthz", "/api/v1/nothing", "/api/v1/info"];
    let all: Vec<u8> =
        paths.iter().flat_map(|path| Request::new("GET", path).bytes(server.addr(), true)).collect();
    conn.send(&all).unwrap();
    let deadline = Instant::now() + SOON;
    for status in [200, 404, 200] {
        assert_eq!(conn.head("GET", deadline).unwrap().status, status);
        conn.body(deadline).unwrap();
    }
}

#[test]
fn unknown_addresses_and_methods_are_refused_in_the_contracts_form() {
    let server = shared();
    for path in [
        "/api/v1/nothing",
        "/api/v1/",
        "/api/v2/info",
        "/nothing",
        "/api/v1/jobs/x/unknown",
        "/api/v1/enqueue/",
        "/ui/../../etc/passwd",
        "/ui/%2e%2e%2fCargo.toml",
        "/docs/%00",
        "//",
        "/api/v1//info",
    ] {
        let answer = server.send(&Request::new("GET", path));
        assert!(matches!(answer.status(), 400 | 404 | 405), "{path}: {}", answer.status());
        answer.is_problem();
    }
    for (method, path) in [
        ("GET", "/api/v1/enqueue"),
        ("PUT", "/api/v1/enqueue"),
        ("DELETE", "/api/v1/fetch"),
        ("POST", "/api/v1/jobs"),
        ("POST", "/api/v1/info"),
        ("POST", "/healthz"),
        ("DELETE", "/metrics"),
        ("PUT", "/api/v1/jobs/x"),
        ("GET", "/api/v1/jobs/x/cancel"),
        ("PATCH", "/api/v1/queues/q"),
        ("GET", "/api/v1/queues/q/pause"),
        ("OPTIONS", "/api/v1/enqueue"),
        ("TRACE", "/api/v1/info"),
        ("BREW", "/api/v1/info"),
    ] {
        let answer = server.send(&Request::new(method, path));
        answer.refused(405, "METHOD_NOT_ALLOWED");
        assert!(
            answer.header("allow").is_some_and(|allowed| !allowed.is_empty()),
            "{method} {path}: what is allowed is said"
        );
    }
    // There is no way to make a child crash unless the server was started for it.
    server.post("/debug/crash", &json!({"child": "jobs/dispatch"})).refused(404, "NOT_FOUND");
}

#[test]
fn pages_of_others_may_not_call() {
    let (server, queue) = (shared(), name("forged"));
    let enqueue = || Request::json("POST", "/enqueue", &json!({"queue": queue}));
    for (header, value) in [
        ("host", "evil.example"),
        ("host", "evil.example:8080"),
        ("host", "127.0.0.1.evil.example"),
        ("host", "localhost@evil.example"),
        ("host", ""),
        ("origin", "https://evil.example"),
        ("origin", "http://localhost.evil.example"),
        ("origin", "null"),
        // Another port is another program.
        ("origin", "http://localhost:3000"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = server.send(&enqueue().header(header, value));
        answer.refused(403, "FORBIDDEN");
        let answer = server.send(&Request::get("/jobs").header(header, value));
        answer.refused(403, "FORBIDDEN");
    }
    server.get(&format!("/queues/{queue}")).refused(404, "NOT_FOUND");
    for (header, value) in [("host", "localhost"), ("host", "[::1]:8080"), ("sec-fetch-site", "same-origin")]
    {
        server.send(&enqueue().header(header, value)).expect(201);
    }
    // No host at all.
    assert_eq!(
        raw(&server, b"GET /api/v1/jobs HTTP/1.1\r\n\r\n", false).filter(|status| *status < 400),
        None
    );
}

/// Else looking at a stream's headers leases jobs to nobody.
#[test]
fn head_has_no_effect() {
    let (server, queue) = (shared(), name("head"));
    let id = server.enqueue(&json!({"queue": queue}));
    for path in
        [format!("/stream?queues={queue}&worker_id=h"), "/events".into(), format!("/jobs/{id}/stream")]
    {
        assert_eq!(server.call("HEAD", &path).status(), 405, "{path}");
    }
    assert_eq!(server.call("HEAD", "/queues").status(), 200);
    let job = server.job(&id);
    assert_eq!((&job["state"], &job["deliveries"]), (&json!("pending"), &json!(0)));
}

/// A typo must never be dropped silently.
#[test]
fn an_unknown_query_parameter_is_refused_everywhere() {
    let (server, queue) = (shared(), name("query"));
    let body = json!({"queue": queue});
    server.post("/enqueue?foo=1", &body).refused(400, "VALIDATION");
    server.get(&format!("/queues/{queue}")).refused(404, "NOT_FOUND");
    for path in ["/queues?foo=1", "/metrics?foo=1", "/info?foo=1", "/jobs?stat=dead"] {
        server.get(path).refused(400, "VALIDATION");
    }
}

#[test]
fn an_unlicensed_namespace_is_not_silently_the_default_one() {
    let (server, queue) = (shared(), name("tenant"));
    let request =
        Request::json("POST", "/enqueue", &json!({"queue": queue})).header("x-jobbie-namespace", "acme");
    let answer = server.send(&request);
    answer.refused(402, "NOT_LICENSED");
    server.get(&format!("/queues/{queue}")).refused(404, "NOT_FOUND");
}

#[test]
fn many_connections_that_say_nothing_hold_nobody_up() {
    let (server, queue) = (shared(), name("silent"));
    let mut silent: Vec<Conn> = (0..200).map(|_| Conn::open(server.addr()).unwrap()).collect();
    for conn in silent.iter_mut().take(100) {
        conn.send(b"POST /api/v1/enqueue HTTP/1.1\r\nhost: loc").unwrap();
    }
    let start = Instant::now();
    for n in 0..20 {
        server.enqueue(&json!({"queue": queue, "payload": n}));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
