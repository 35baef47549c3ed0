// SPDX-License-Identifier: Apache-2.0
//! What can be followed from outside: traces through a job, request ids through answers and log lines, slow
//! requests.

use serde_json::{Value, json};

use crate::fixture::{Api, name, shared, text};
use crate::support::{Launch, Request, SOON, Server};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Enqueues with the headers; the job as it is handed out.
fn traced(server: &Server, headers: &[&str], more: Value) -> Value {
    let queue = name("traced");
    let body = crate::fixture::merged(json!({"queue": queue}), &more);
    let request = Request::json("POST", "/enqueue", &body);
    let request = headers.iter().fold(request, |request, header| request.header("traceparent", header));
    let id = text(&server.send(&request).expect(201)["job_id"]);
    let lease = server.take(&queue);
    assert_eq!(lease["trace"], server.job(&id)["trace"]);
    lease["trace"].clone()
}

#[test]
fn a_trace_goes_from_the_enqueue_to_the_worker() {
    let server = shared();
    assert_eq!(traced(&server, &[TRACE], json!({})), TRACE);
    let other = TRACE.replace("3331-01", "3332-00");
    assert_eq!(
        traced(&server, &[TRACE], json!({"trace": other})),
        *other,
        "the field goes before the header"
    );
    assert_eq!(traced(&server, &[], json!({})), Value::Null);
    let later = format!("{}-more", TRACE.replacen("00", "01", 1));
    assert_eq!(traced(&server, &[&later], json!({})), TRACE, "what is known of a later version");

    let queue = name("batch");
    let own = TRACE.replace("3331-01", "3333-01");
    let jobs = json!({"jobs": [{"queue": queue}, {"queue": queue, "trace": own}]});
    let request = Request::json("POST", "/enqueue/batch", &jobs).header("traceparent", TRACE);
    server.send(&request).expect(201);
    let mut stream = server.stream(&format!("/stream?queues={queue}&prefetch=2"));
    let traces = [0, 1].map(|_| stream.until("job", |_| true).json()["trace"].clone());
    assert_eq!(traces, [json!(TRACE), json!(own)]);
}

#[test]
fn a_bad_header_is_ignored_and_a_bad_field_is_refused() {
    let server = shared();
    let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
    for bad in ["", "x", zero, &TRACE.to_uppercase(), &format!("{TRACE}-x"), &TRACE.replacen("00", "ff", 1)] {
        assert_eq!(traced(&server, &[bad], json!({})), Value::Null, "{bad}");
        let refused =
            server.post("/enqueue", &json!({"queue": "q", "trace": bad})).refused(400, "VALIDATION");
        assert_eq!(refused["details"]["field"], "trace", "{bad}");
    }
    assert_eq!(traced(&server, &[TRACE, TRACE], json!({})), Value::Null, "twice");
}

#[test]
fn the_command_line_goes_on_with_the_trace_it_runs_in() {
    let server = shared();
    let enqueue = |trace: &str, queue: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_jobbie"));
        let url = format!("http://{}", server.addr());
        command.args(["enqueue", queue, "--url", &url]).env("TRACEPARENT", trace);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        server.take(queue)["trace"].clone()
    };
    assert_eq!(enqueue(TRACE, &name("cli")), TRACE);
    assert_eq!(enqueue("made up\r\nx: y", &name("cli")), Value::Null);
}

#[test]
fn a_request_has_an_id_that_comes_back() {
    let server = shared();
    let ask = |id: &str| server.send(&Request::get("/jobs/nobody").header("x-request-id", id));
    let answer = ask("my-id.7:x_y");
    assert_eq!(answer.header("x-request-id"), Some("my-id.7:x_y"));
    assert_eq!(answer.refused(404, "NOT_FOUND")["request_id"], "my-id.7:x_y");
    for bad in ["a b", "<script>", "a\"b", "a\\b", &"x".repeat(129)] {
        let answer = ask(bad);
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{bad} → {id}");
        assert_eq!(answer.refused(404, "NOT_FOUND")["request_id"], *id);
    }
    let unknown = server.send(&Request::new("GET", "/no/such").header("x-request-id", "r2"));
    assert_eq!(unknown.refused(404, "NOT_FOUND")["request_id"], "r2");
}

/// The line of JSON about a slow request with this id.
#[track_caller]
fn slow_line(server: &Server, id: &str) -> Value {
    let found = server.output().wait(SOON, |lines| {
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == "slow request").find(|line| line["request_id"] == *id)
    });
    found.unwrap_or_else(|| panic!("no line for {id}:\n{}", server.output().tail(20)))
}

#[test]
fn a_slow_request_is_logged_without_what_it_was_asked_to_wait() {
    let server = Launch::new().arg("--slow-request").arg("0ms").arg("--log-format").arg("json").start();
    let poll = json!({"queues": ["none"], "timeout": 1});
    let request = Request::json("POST", "/fetch", &poll).header("x-request-id", "poll-1");
    assert_eq!(server.send(&request).status(), 204);
    let line = slow_line(&server, "poll-1");
    assert_eq!(
        (&line["level"], &line["method"], &line["route"]),
        (&json!("WARN"), &json!("POST"), &json!("/api/v1/fetch"))
    );
    assert_eq!(line["status"], 204);
    assert!(line["waited_ms"].as_u64().is_some_and(|ms| ms >= 990), "{line}");
    assert!(line["ms"].as_u64().is_some_and(|ms| ms < 500), "{line}");

    let id = text(&server.post("/enqueue", &json!({"queue": "q"})).expect(201)["job_id"]);
    let request = Request::get(&format!("/jobs/{id}/wait?timeout=1")).header("x-request-id", "wait-1");
    server.send(&request).expect(200);
    let line = slow_line(&server, "wait-1");
    assert!(line["waited_ms"].as_u64().is_some_and(|ms| ms >= 990), "{line}");
    assert!(line["ms"].as_u64().is_some_and(|ms| ms < 500), "{line}");
}

#[test]
fn a_usual_request_leaves_no_line() {
    let server = Launch::new().arg("--slow-request").arg("1m").arg("--log-format").arg("json").start();
    let request = Request::json("POST", "/enqueue", &json!({"queue": "q"})).header("x-request-id", "quiet-1");
    server.send(&request).expect(201);
    server.post("/enqueue", &json!({"queu": "q"})).refused(400, "VALIDATION");
    server.terminate();
    let mut server = server;
    server.wait_exit(SOON);
    let text = server.output().text();
    assert!(!text.contains("quiet-1") && !text.contains("/api/v1/enqueue"), "{text}");
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(
            line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
}

/// Not even when everything is logged.
#[test]
fn secrets_are_not_logged() {
    let server = Launch::new().env("JOBBIE_LOG", "trace").arg("--slow-request").arg("0ms").start();
    for (name, value) in [
        ("authorization", "Bearer jb_s3cret-one"),
        ("x-api-key", "jb_s3cret-two"),
        ("cookie", "session=jb_s3cret-three"),
    ] {
        server.send(&Request::get("/info").header(name, value));
        server.send(&Request::new("GET", "/no/such").header(name, value));
        server.send(&Request::text("POST", "/enqueue", "{").header(name, value));
    }
    server.terminate();
    let mut server = server;
    server.wait_exit(SOON);
    let text = server.output().text();
    assert!(text.contains("slow request") && text.contains("TRACE"), "the log is on");
    let line = text.lines().find(|line| line.contains("s3cret"));
    assert!(line.is_none(), "{line:?}");
}
