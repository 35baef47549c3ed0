// SPDX-License-Identifier: Apache-2.0
//! Payloads, results and checkpoints are kept byte for byte, through every door, size and restart.

use serde_json::json;

use crate::fixture::{Api, name, shared, text};
use crate::support::{Launch, Request, Server};

/// JSON that a parser and a writer would change.
const ODD: &[&str] = &[
    r#"{"b":1,"a":1.0,"a":2}"#,
    r#"{ "spaced" : [ 1 ,2,   3 ] }"#,
    "[1,\n  2,\r\n\t3]",
    "[1,\r2,\r\r\n3\n\r]",
    r#""\u00e9\u0000\ud83d\ude00 \/ é""#,
    r#""lone \ud800 surrogate""#,
    "1e400",
    "-0",
    "123456789012345678901234567890.10",
    "null",
    "true",
    r#"{"":{"":[{}]}}"#,
    r#""</script><img src=x onerror=alert(1)>""#,
    "\"\u{2028}\u{202e}\u{feff}\"",
];

fn enqueue_raw(server: &Server, queue: &str, payload: &str) -> String {
    let body = format!(r#"{{"queue":"{queue}", "payload" :  {payload} ,"priority":1}}"#);
    text(&server.send(&Request::text("POST", "/enqueue", &body)).expect(201)["job_id"])
}

#[track_caller]
fn has(answer: &str, field: &str, value: &str) {
    let wanted = format!("\"{field}\":{value}");
    assert!(answer.contains(&wanted), "no {wanted:?} in {answer:?}");
}

#[test]
fn payloads_go_through_fetch_and_get_unchanged() {
    let (server, queue) = (shared(), name("bytes"));
    for payload in ODD {
        let id = enqueue_raw(&server, &queue, payload);
        has(&server.get(&format!("/jobs/{id}")).text(), "payload", payload);
        let fetched = server.poll(&queue, 0);
        has(&fetched.text(), "payload", payload);
        let body = format!(r#"{{"result":{payload},"checkpoint": {payload}}}"#);
        let lease: serde_json::Value = serde_json::from_str(&fetched.text().replace(payload, "0")).unwrap();
        assert_eq!(lease["job_id"], id);
        server.send(&Request::text("POST", &format!("/ack/{id}"), &body)).expect(200);
        let job = server.get(&format!("/jobs/{id}")).text();
        if *payload != "null" {
            has(&job, "result", payload);
            has(&job, "checkpoint", payload);
        }
    }
}

#[test]
fn a_batch_keeps_every_payload() {
    let (server, queue) = (shared(), name("all"));
    let jobs: Vec<String> =
        ODD.iter().map(|payload| format!(r#"{{"queue":"{queue}","payload":{payload}}}"#)).collect();
    let body = format!(r#"{{"jobs":[{}]}}"#, jobs.join(","));
    server.send(&Request::text("POST", "/enqueue/batch", &body)).expect(201);
    let fetched = server.post("/fetch/batch", &json!({"queues": [queue], "count": 100, "timeout": 0})).text();
    let listed = server.get(&format!("/jobs?queue={queue}&limit=100")).text();
    for payload in ODD {
        has(&fetched, "payload", payload);
        has(&listed, "payload", payload);
    }
}

#[test]
fn a_stream_carries_payloads_with_line_ends_between_tokens() {
    let (server, queue) = (shared(), name("lines"));
    let mut stream = server.stream(&format!("/stream?queues={queue}&prefetch=100"));
    for payload in ODD {
        enqueue_raw(&server, &queue, payload);
        let event = stream.next();
        assert_eq!(event.name, "job");
        // The one byte that a stream of events cannot carry; between tokens of JSON a space means the same.
        has(&event.data, "payload", &payload.replace('\r', " "));
    }
}

#[test]
fn a_patch_keeps_the_new_payload() {
    let (server, queue) = (shared(), name("patched"));
    let id = enqueue_raw(&server, &queue, "1");
    for payload in ODD {
        let body = format!(r#"{{"payload":{payload}}}"#);
        server.send(&Request::text("PATCH", &format!("/jobs/{id}"), &body)).expect(200);
        has(&server.get(&format!("/jobs/{id}")).text(), "payload", payload);
    }
    let copy = text(&server.call("POST", &format!("/jobs/{id}/clone")).expect(201)["job_id"]);
    has(&server.get(&format!("/jobs/{copy}")).text(), "payload", ODD[ODD.len() - 1]);
}

#[test]
fn payloads_of_every_size_survive_a_kill() {
    let launch = Launch::new();
    let mut server = launch.start();
    // Around the sizes at which a store may keep them elsewhere, up to the largest.
    let sizes = [2, 100, 4_000, 4_095, 4_096, 4_097, 65_536, 262_144];
    let payload =
        |bytes: usize| format!("\"{}\"", "abcdefg".chars().cycle().take(bytes - 2).collect::<String>());
    let ids: Vec<String> =
        sizes.iter().map(|bytes| enqueue_raw(&server, "sizes", &payload(*bytes))).collect();
    let odd: Vec<String> = ODD.iter().map(|payload| enqueue_raw(&server, "odd", payload)).collect();
    server.kill();
    let server = launch.start();
    for (id, bytes) in ids.iter().zip(sizes) {
        has(&server.get(&format!("/jobs/{id}")).text(), "payload", &payload(bytes));
    }
    for (id, payload) in odd.iter().zip(ODD) {
        has(&server.get(&format!("/jobs/{id}")).text(), "payload", payload);
    }
    let fetched =
        server.post("/fetch/batch", &json!({"queues": ["sizes"], "count": 100, "timeout": 0})).text();
    for bytes in sizes {
        has(&fetched, "payload", &payload(bytes));
    }
}
