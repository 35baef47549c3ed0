// SPDX-License-Identifier: Apache-2.0
//! Bodies that are not what an endpoint reads: not JSON, not text, of another type, too deep, cut off.

use serde_json::json;

use crate::fixture::{Api, name, shared};
use crate::support::{Launch, Request};

/// Every endpoint that takes a body, with a body that would do something.
fn endpoints(waiting: &str, leased: &str) -> Vec<(&'static str, String, String)> {
    let call = |method, path: &str, body: serde_json::Value| (method, path.to_owned(), body.to_string());
    vec![
        call("POST", "/enqueue", json!({"queue": "work"})),
        call("POST", "/enqueue/batch", json!({"jobs": [{"queue": "work"}]})),
        call("POST", "/fetch", json!({"queues": ["work"], "timeout": 0})),
        call("POST", "/fetch/batch", json!({"queues": ["work"], "timeout": 0})),
        call("POST", &format!("/ack/{leased}"), json!({"result": 1})),
        call("POST", "/ack/batch", json!({"acks": [{"job_id": leased}]})),
        call("POST", &format!("/fail/{leased}"), json!({"error": "x"})),
        call("POST", "/fail/batch", json!({"fails": [{"job_id": leased, "error": "x"}]})),
        call("POST", &format!("/release/{leased}"), json!({"delay": 1})),
        call("POST", "/release/batch", json!({"releases": [{"job_id": leased}]})),
        call("POST", "/heartbeat", json!({"jobs": {leased: {"checkpoint": 1}}})),
        call("PATCH", &format!("/jobs/{waiting}"), json!({"priority": 1})),
        call("POST", &format!("/jobs/{waiting}/move"), json!({"queue": "elsewhere"})),
        call("POST", &format!("/jobs/{waiting}/cancel"), json!({})),
        call("POST", &format!("/jobs/{waiting}/retry"), json!({})),
        call("POST", &format!("/jobs/{waiting}/clone"), json!({})),
        call("POST", "/queues/work/pause", json!({})),
        call("POST", "/queues/work/resume", json!({})),
        call("POST", "/queues/work/drain", json!({})),
        call("POST", "/queues/work/clear", json!({})),
        call("POST", "/queues/work/concurrency", json!({"concurrency": 1})),
        call("POST", "/queues/work/throttle", json!({"count": 1, "period": 1})),
    ]
}

#[test]
fn whatever_a_body_is_it_is_answered_and_changes_nothing() {
    let server = Launch::new().start();
    let leased = server.enqueue(&json!({"queue": "work"}));
    server.take("work");
    let waiting = server.enqueue(&json!({"queue": "work"}));
    let seen = || {
        (server.get("/jobs").expect(200), server.get("/queues").expect(200)["queues"][0]["counts"].clone())
    };
    let before = seen();
    for (method, path, good) in endpoints(&waiting, &leased) {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let half = good.len() / 2;
        let mut bodies: Vec<Vec<u8>> = vec![
            b"{".to_vec(),
            b"}".to_vec(),
            b"nonsense".to_vec(),
            b"NaN".to_vec(),
            b"[]".to_vec(),
            b"null".to_vec(),
            b"7".to_vec(),
            b"\"text\"".to_vec(),
            b"{'a':1}".to_vec(),
            b"\0\0\0\0".to_vec(),
            b"\xff\xfe{}".to_vec(),
            b"\xef\xbb\xbf{}".to_vec(),
            b"{\"\xff\":1}".to_vec(),
            b"{\"a\":\"\xed\xa0\x80\"}".to_vec(),
            b"{\"a\":1,\"a\":1}".to_vec(),
            b"{\"a\":1e999999999}".to_vec(),
            b"{\"a\":\"\x01\"}".to_vec(),
            b"{\"a\":\"\\x\"}".to_vec(),
            format!("{good} x").into_bytes(),
            format!("{good}{good}").into_bytes(),
            deep(100_000).into_bytes(),
            "[".repeat(100_000).into_bytes(),
            "{\"a\":".repeat(100_000).into_bytes(),
            format!("{{\"a\":{}}}", deep(129)).into_bytes(),
        ];
        if good != "{}" {
            bodies.push(good.as_bytes()[..half].to_vec());
            bodies.push(good.as_bytes()[..good.len() - 1].to_vec());
        }
        for body in bodies {
            let request = Request::new(method, &format!("/api/v1{path}")).body("application/json", &body);
            let answer = server.send(&request);
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert_eq!(answer.status(), 400, "{method} {path} {shown:?}: {}", answer.text());
            answer.refused(400, "VALIDATION");
        }
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/xml",
            "application/json; charset=utf-16",
            "x",
        ] {
            let request = Request::new(method, &format!("/api/v1{path}")).body(kind, good.as_bytes());
            server.send(&request).refused(415, "UNSUPPORTED_MEDIA_TYPE");
        }
        let mut untyped = Request::new(method, &format!("/api/v1{path}"));
        untyped.body = Some(good.into_bytes());
        server.send(&untyped).refused(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    assert_eq!(seen(), before);
    assert_eq!(server.send(&Request::new("GET", "/readyz")).status(), 200);
}

#[test]
fn an_empty_body_is_missing_where_fields_are_needed() {
    let (server, queue) = (shared(), name("empty"));
    let id = server.enqueue(&json!({"queue": queue}));
    for path in [
        "/enqueue",
        "/enqueue/batch",
        "/fetch",
        "/fetch/batch",
        "/ack/batch",
        "/fail/batch",
        "/heartbeat",
        &format!("/fail/{id}"),
    ] {
        server.call("POST", path).refused(400, "VALIDATION");
        for blank in ["", " ", "\n\t"] {
            server.send(&Request::text("POST", path, blank)).refused(400, "VALIDATION");
        }
    }
    server.call("PATCH", &format!("/jobs/{id}")).refused(400, "VALIDATION");
    assert_eq!(server.job(&id)["state"], "pending");
}

#[test]
fn fields_that_are_there_twice_are_refused() {
    let (server, queue) = (shared(), name("double"));
    for body in [
        format!(r#"{{"queue":"{queue}","queue":"other"}}"#),
        format!(r#"{{"queue":"{queue}","payload":1,"payload":2}}"#),
        format!(r#"{{"queue":"{queue}","tags":{{"a":"1","a":"2"}}}}"#),
        format!(r#"{{"queue":"{queue}","\u0071ueue":"other"}}"#),
    ] {
        server.send(&Request::text("POST", "/enqueue", &body)).refused(400, "VALIDATION");
    }
    server.get(&format!("/queues/{queue}")).refused(404, "NOT_FOUND");
}

#[test]
fn payloads_may_be_nested_128_deep_and_no_deeper() {
    let (server, queue) = (shared(), name("deep"));
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let enqueue = |payload: &str| {
        server.send(&Request::text(
            "POST",
            "/enqueue",
            &format!(r#"{{"queue":"{queue}","payload":{payload}}}"#),
        ))
    };
    let id = enqueue(&nested(128)).expect(201)["job_id"].as_str().unwrap().to_owned();
    assert!(server.get(&format!("/jobs/{id}")).text().contains(&nested(128)));
    assert!(server.poll(&queue, 0).text().contains(&nested(128)));
    for deep in [nested(129), nested(131), format!("{}1{}", "{\"a\":".repeat(129), "}".repeat(129))] {
        let refused = enqueue(&deep).refused(400, "VALIDATION");
        assert!(refused["error"].as_str().unwrap().contains("128"), "{refused}");
        let batch = format!(r#"{{"jobs":[{{"queue":"{queue}","payload":{deep}}}]}}"#);
        server.send(&Request::text("POST", "/enqueue/batch", &batch)).refused(400, "VALIDATION");
        let ack = format!(r#"{{"result":{deep}}}"#);
        server.send(&Request::text("POST", &format!("/ack/{id}"), &ack)).refused(400, "VALIDATION");
    }
    // Brackets inside of text are no nesting.
    enqueue(&format!("\"{}\"", "[".repeat(10_000))).expect(201);
}
