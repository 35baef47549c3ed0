// SPDX-License-Identifier: Apache-2.0
//! Fields that are not as they must be: each endpoint, each kind of mistake, always a refusal that names the
//! field and changes nothing.

use serde_json::{Value, json};

use crate::fixture::{Api, name, shared, text};
use crate::support::{Launch, Request, Server};

/// A server with one job in each of several states, and what can be seen of it.
struct Quiet {
    server: Server,
    before: (Value, Value),
    /// A waiting job, and one that is leased.
    waiting: String,
    leased: String,
}

impl Quiet {
    fn new() -> Self {
        let server = Launch::new().start();
        let leased = server.enqueue(&json!({"queue": "work"}));
        server.take("work");
        let waiting = server.enqueue(&json!({"queue": "work", "payload": 1}));
        server.enqueue(&json!({"queue": "work", "delay": "1h"}));
        let before = Self::seen(&server);
        Self { server, before, waiting, leased }
    }

    /// Every job, and the counts of every queue.
    fn seen(server: &Server) -> (Value, Value) {
        let jobs = server.get("/jobs?limit=1000").expect(200);
        let queues = server.get("/queues").expect(200);
        let counts = queues["queues"].as_array().unwrap().iter();
        (
            jobs,
            counts
                .map(|q| json!([q["name"], q["counts"], q["paused"], q["draining"], q["totals"]]))
                .collect(),
        )
    }

    #[track_caller]
    fn unchanged(&self, what: &str) {
        assert_eq!(Self::seen(&self.server), self.before, "changed by {what}");
    }
}

#[test]
fn a_mistake_in_an_enqueue_is_named() {
    let quiet = Quiet::new();
    let long = "x".repeat(70_000);
    let many: serde_json::Map<String, Value> = (0..65).map(|n| (format!("t{n}"), json!(""))).collect();
    for (field, value) in [
        ("payloda", json!(1)),
        ("queue", json!(5)),
        ("queue", json!("")),
        ("queue", json!("a b")),
        ("queue", json!("a/b")),
        ("queue", json!("ä")),
        ("queue", json!("a\n")),
        ("queue", json!("a\u{0}")),
        ("queue", json!("q".repeat(129))),
        ("queue", Value::Null),
        ("queue", json!(["work"])),
        ("id", json!("a b")),
        ("id", json!("")),
        ("id", json!("a.b")),
        ("id", json!("x".repeat(65))),
        ("id", json!(7)),
        ("priority", json!(-1)),
        ("priority", json!(101)),
        ("priority", json!(1.5)),
        ("priority", json!("urgent")),
        ("priority", json!(true)),
        ("max_retries", json!(-1)),
        ("max_retries", json!(1.5)),
        ("max_retries", json!("3")),
        ("max_retries", json!(4_294_967_296_u64)),
        ("max_retries", json!(10_001)),
        ("retry_backoff", json!("quadratic")),
        ("retry_backoff", json!(1)),
        ("retry_base_delay", json!(-1)),
        ("retry_base_delay", json!("-5s")),
        ("retry_base_delay", json!("5")),
        ("retry_base_delay", json!("5 s")),
        ("retry_base_delay", json!("1e3s")),
        ("retry_base_delay", json!("NaN")),
        ("retry_base_delay", json!("inf")),
        ("retry_base_delay", json!("99999999999999999999s")),
        ("retry_max_delay", json!(1e300)),
        ("retry_max_delay", json!({})),
        ("retry_jitter", json!(-0.1)),
        ("retry_jitter", json!(1.1)),
        ("retry_jitter", json!("0.5")),
        ("timeout", json!(0)),
        ("timeout", json!("0s")),
        ("timeout", json!(-5)),
        ("timeout", json!(true)),
        ("unique_key", json!("")),
        ("unique_key", json!("a\u{0}b")),
        ("unique_key", json!("k".repeat(513))),
        ("unique_period", json!("1h")),
        ("scheduled_at", json!("tomorrow")),
        ("scheduled_at", json!("2026-13-01T00:00:00Z")),
        ("scheduled_at", json!("2026-01-01T00:00:00")),
        ("scheduled_at", json!(1_700_000_000)),
        ("delay", json!("soon")),
        ("delay", json!(-1)),
        ("expire_after", json!(0)),
        ("expire_after", json!("")),
        ("tags", json!([])),
        ("tags", json!("a=b")),
        ("tags.a", json!({"a": 1})),
        ("tags.a", json!({"a": "\u{0}"})),
        ("tags.a", json!({"a": long.clone()})),
        // What would break a line of a log is left out of the name.
        ("tags.ab", json!({"a\r\nb": "x"})),
        ("tags", Value::Object(many)),
        ("parent_id", json!("a b")),
        ("max_crashes", json!(0)),
        ("max_crashes", json!(1001)),
        ("on_crash_queue", json!("a b")),
        ("on_crash_queue", json!("")),
        ("trace", json!("00-0-0-0")),
        ("trace", json!("")),
    ] {
        let top = field.split('.').next().unwrap();
        let mut body = json!({"queue": "work"});
        body[top] = value.clone();
        let refused = quiet.server.post("/enqueue", &body).refused(400, "VALIDATION");
        let named = text(&refused["details"]["field"]);
        // One label too many is noticed at the one before it.
        let fits = named == field || (body["tags"]["t64"].is_string() && named.starts_with("tags"));
        assert!(fits, "{field}: {body} {refused}");
        assert!(text(&refused["error"]).contains(top), "{refused}");
        let mut batch = json!({"jobs": [{"queue": "work"}, body]});
        let refused = quiet.server.post("/enqueue/batch", &batch).refused(400, "VALIDATION");
        assert_eq!(refused["details"]["field"], format!("jobs[1].{named}"), "{refused}");
        batch["jobs"][0]["queue"] = json!("new");
    }
    let both = json!({"queue": "work", "delay": 1, "scheduled_at": "2031-01-01T00:00:00Z"});
    quiet.server.post("/enqueue", &both).refused(400, "VALIDATION");
    for body in [json!({}), json!([]), json!(null), json!("x"), json!(1), json!({"jobs": []})] {
        quiet.server.post("/enqueue", &body).refused(400, "VALIDATION");
    }
    for body in [
        json!({}),
        json!({"jobs": []}),
        json!({"jobs": {}}),
        json!({"jobs": [1]}),
        json!({"jobs": [{"queue": "work"}], "x": 1}),
    ] {
        quiet.server.post("/enqueue/batch", &body).refused(400, "VALIDATION");
    }
    quiet.unchanged("a bad enqueue");
}

#[test]
fn a_mistake_in_any_other_call_is_named() {
    let quiet = Quiet::new();
    let (waiting, leased) = (&quiet.waiting, &quiet.leased);
    let huge = "x".repeat(65);
    let queues: Vec<String> = (0..257).map(|n| format!("q{n}")).collect();
    let fetch = [
        (json!({}), "queues"),
        (json!({"queues": []}), "queues"),
        (json!({"queues": "work"}), "queues"),
        (json!({"queues": ["work", "a b"]}), "queues[1]"),
        (json!({"queues": ["work", 1]}), "queues[1]"),
        (json!({"queues": queues}), "queues"),
        (json!({"queues": ["work"], "timeout": 61}), "timeout"),
        (json!({"queues": ["work"], "timeout": -1}), "timeout"),
        (json!({"queues": ["work"], "timeout": "soon"}), "timeout"),
        (json!({"queues": ["work"], "lease_duration": "10ms"}), "lease_duration"),
        (json!({"queues": ["work"], "lease_duration": "2d"}), "lease_duration"),
        (json!({"queues": ["work"], "worker_id": "a\u{0}"}), "worker_id"),
        (json!({"queues": ["work"], "worker_id": 5}), "worker_id"),
        (json!({"queues": ["work"], "hostname": "h".repeat(300)}), "hostname"),
        (json!({"queues": ["work"], "strategy": "best"}), "strategy"),
        (json!({"queues": ["work"], "weights": {"work": 1}}), "weights"),
        (json!({"queues": ["work"], "request_id": ""}), "request_id"),
        (json!({"queues": ["work"], "worker": "w"}), "worker"),
    ];
    let mut calls: Vec<(&str, String, Value, &str)> = Vec::new();
    for (body, field) in fetch {
        calls.push(("POST", "/fetch".into(), body.clone(), field));
        calls.push(("POST", "/fetch/batch".into(), body, field));
    }
    calls.push(("POST", "/fetch".into(), json!({"queues": ["work"], "count": 2}), "count"));
    for count in [json!(0), json!(1001), json!(-1), json!("5"), json!(1.5)] {
        calls.push(("POST", "/fetch/batch".into(), json!({"queues": ["work"], "count": count}), "count"));
    }
    for verb in ["ack", "fail", "release"] {
        let path = format!("/{verb}/{leased}");
        let base = if verb == "fail" { json!({"error": "x"}) } else { json!({}) };
        let mut with = |field: &'static str, value: Value| {
            let mut body = base.clone();
            body[field] = value;
            calls.push(("POST", path.clone(), body, field));
        };
        with("lease_token", json!(5));
        with("lease_token", json!(""));
        with("lease_token", json!(huge.clone()));
        with("lease_tokn", json!("x"));
        with("worker_id", json!("a\nb"));
        with("job_id", json!("another"));
    }
    for (verb, body, field) in [
        ("fail", json!({}), "error"),
        ("fail", json!({"error": 5}), "error"),
        ("fail", json!({"error": "x", "retry": "no"}), "retry"),
        ("fail", json!({"error": "x", "retry_after": "-1s"}), "retry_after"),
        ("fail", json!({"error": "x", "kind": "weird"}), "kind"),
        ("release", json!({"delay": "later"}), "delay"),
        ("release", json!({"delay": -1}), "delay"),
    ] {
        calls.push(("POST", format!("/{verb}/{leased}"), body, field));
    }
    for (list, path) in [("acks", "/ack/batch"), ("fails", "/fail/batch"), ("releases", "/release/batch")] {
        calls.push(("POST", path.into(), json!({}), list));
        calls.push(("POST", path.into(), json!({list: {}}), list));
        calls.push(("POST", path.into(), json!({list: [], "more": 1}), "more"));
    }
    for (body, field) in [
        (json!({}), "jobs"),
        (json!({"jobs": []}), "jobs"),
        (json!({"jobs": {}, "worker_id": 1}), "worker_id"),
    ] {
        calls.push(("POST", "/heartbeat".into(), body, field));
    }
    for (body, field) in [
        (json!({"priority": 101}), "priority"),
        (json!({"queue": "x"}), "queue"),
        (json!({"tags": 1}), "tags"),
        (json!({"scheduled_at": "x"}), "scheduled_at"),
        (json!({"scheduled_at": null}), ""),
        (json!({}), ""),
    ] {
        calls.push(("PATCH", format!("/jobs/{waiting}"), body, field));
    }
    for (body, field) in
        [(json!({}), "queue"), (json!({"queue": "a b"}), "queue"), (json!({"queue": "a", "x": 1}), "x")]
    {
        calls.push(("POST", format!("/jobs/{waiting}/move"), body, field));
    }
    for path in ["retry", "cancel", "clone"].map(|verb| format!("/jobs/{waiting}/{verb}")) {
        calls.push(("POST", path, json!({"x": 1}), "x"));
    }
    for path in ["pause", "resume", "drain", "clear"].map(|verb| format!("/queues/work/{verb}")) {
        calls.push(("POST", path, json!({"x": 1}), "x"));
    }
    for (method, path, body, field) in calls {
        let refused = quiet.server.send(&Request::json(method, &path, &body)).refused(400, "VALIDATION");
        let field = field.replace("ID", leased);
        let named = refused["details"]["field"].as_str().unwrap_or_default();
        assert_eq!(named, field, "{method} {path} {body}: {refused}");
        assert!(text(&refused["error"]).len() > 10, "a sentence: {refused}");
    }
    quiet.unchanged("a bad call");
}

#[test]
fn unknown_parameters_of_an_address_are_refused() {
    let quiet = Quiet::new();
    for path in [
        "/jobs?limt=1",
        "/jobs?limit=0",
        "/jobs?limit=1001",
        "/jobs?limit=x",
        "/jobs?limit=1&limit=2",
        "/jobs?state=lost",
        "/jobs?queue=a%20b",
        "/jobs?cursor=x",
        "/jobs?cursor=",
        "/queues?x=1",
        "/queues/work?x=1",
        "/info?x=1",
        "/supervisors?x=1",
        "/jobs?queue=%zz",
        "/jobs?queue=%",
        "/jobs?queue=%ff",
    ] {
        quiet.server.get(path).refused(400, "VALIDATION");
    }
    let job = &quiet.waiting;
    for path in [
        "wait?timeout=61",
        "wait?timeout=-1",
        "wait?timeout=NaN",
        "wait?timeout=inf",
        "wait?time=1",
        "timeline?x=1",
    ] {
        quiet.server.get(&format!("/jobs/{job}/{path}")).refused(400, "VALIDATION");
    }
    quiet.server.call("DELETE", &format!("/jobs/{job}?confirm=true")).refused(400, "VALIDATION");
    quiet.unchanged("a bad address");
}

#[test]
fn what_is_too_large_is_refused_with_its_limit() {
    let quiet = Quiet::new();
    let text = |bytes: usize| json!("x".repeat(bytes));
    let leased = &quiet.leased;
    for (method, path, body, field) in [
        ("POST", "/enqueue".to_owned(), json!({"queue": "work", "payload": text(262_143)}), "payload"),
        (
            "POST",
            "/enqueue/batch".into(),
            json!({"jobs": [{"queue": "work"}, {"queue": "work", "payload": text(262_143)}]}),
            "jobs[1].payload",
        ),
        ("PATCH", format!("/jobs/{}", quiet.waiting), json!({"payload": text(262_143)}), "payload"),
        ("POST", format!("/ack/{leased}"), json!({"result": text(1_048_575)}), "result"),
        ("POST", format!("/ack/{leased}"), json!({"checkpoint": text(1_048_575)}), "checkpoint"),
        ("POST", format!("/fail/{leased}"), json!({"error": text(16_385)}), "error"),
        ("POST", format!("/fail/{leased}"), json!({"error": "x", "backtrace": text(65_537)}), "backtrace"),
    ] {
        let refused =
            quiet.server.send(&Request::json(method, &path, &body)).refused(413, "PAYLOAD_TOO_LARGE");
        assert_eq!(refused["details"]["field"], field);
        assert!(refused["details"]["limit"].is_u64(), "{refused}");
    }
    let jobs: Vec<Value> = (0..80).map(|_| json!({"queue": "work", "payload": text(250_000)})).collect();
    let request = Request::json("POST", "/enqueue/batch", &json!({"jobs": jobs}));
    assert!(request.body.as_ref().unwrap().len() > 16 * 1024 * 1024);
    quiet.server.send(&request).refused(413, "PAYLOAD_TOO_LARGE");
    let key = "k".repeat(257);
    let request =
        Request::json("POST", "/enqueue", &json!({"queue": "work"})).header("idempotency-key", &key);
    let answer = quiet.server.send(&request);
    assert!((400..500).contains(&answer.status()), "{}", answer.text());
    answer.is_problem();
    quiet.unchanged("something too large");
    quiet.server.post("/enqueue", &json!({"queue": "work", "payload": text(262_142)})).expect(201);
}

#[test]
fn states_that_do_not_fit_are_conflicts() {
    let (server, queue) = (shared(), name("wrong"));
    let id = server.enqueue(&json!({"queue": queue}));
    server.take(&queue);
    let before = server.job(&id);
    server
        .send(&Request::json("PATCH", &format!("/jobs/{id}"), &json!({"priority": 1})))
        .refused(409, "CONFLICT");
    server.post(&format!("/jobs/{id}/move"), &json!({"queue": "x"})).refused(409, "CONFLICT");
    server.post(&format!("/jobs/{id}/retry"), &json!({})).refused(409, "CONFLICT");
    server.call("DELETE", &format!("/jobs/{id}")).refused(409, "CONFLICT");
    server.call("DELETE", &format!("/queues/{queue}?confirm=true")).refused(409, "CONFLICT");
    assert_eq!(server.job(&id), before);
}

#[test]
fn a_refusal_does_not_send_back_what_was_too_long() {
    let (server, long) = (shared(), "x".repeat(1 << 20));
    let job = server.enqueue(&json!({"queue": name("echo")}));
    for (method, path, body) in [
        ("POST", "/enqueue".to_owned(), json!({&long: 1})),
        ("POST", "/enqueue".into(), json!({"queue": "q", "tags": {&long: "x"}})),
        ("POST", "/enqueue".into(), json!({"queue": "q", "tags": {&long: 1}})),
        ("POST", "/enqueue".into(), json!({"queue": long})),
        ("POST", "/enqueue".into(), json!({"queue": "q", "priority": long})),
        ("POST", "/enqueue".into(), json!({"queue": "q", "delay": long})),
        ("POST", "/enqueue".into(), json!({"queue": "q", "retry_backoff": long})),
        ("POST", "/enqueue".into(), json!({"queue": "q", "scheduled_at": long})),
        ("POST", "/enqueue".into(), json!({"queue": "q", "max_retries": long})),
        ("POST", "/fetch".into(), json!({"queues": [long]})),
        ("POST", "/fetch".into(), json!({"queues": ["q"], "strategy": "weighted", "weights": {&long: 1}})),
        ("POST", format!("/ack/{job}"), json!({"lease_token": long})),
        ("POST", "/heartbeat".into(), json!({&long: 1})),
        ("PATCH", format!("/jobs/{job}"), json!({"priority": long})),
    ] {
        let answer = server.send(&Request::json(method, &path, &body));
        assert!((400..500).contains(&answer.status()), "{method} {path}");
        answer.is_problem();
        assert!(
            answer.body.len() < 4096,
            "{method} {path}: {} bytes: {:.200}",
            answer.body.len(),
            answer.text()
        );
    }
}
