// SPDX-License-Identifier: Apache-2.0
//! SIGTERM: streams are told, calls under way are answered, the process ends with 0.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::Api;
use crate::support::conn::Conn;
use crate::support::{Launch, Request, SOON};

/// Grace of 5 s for calls under way and a second for what stops after them, on a machine that is busy.
const BOUND: Duration = Duration::from_secs(12);

#[test]
fn a_stop_drains_streams_and_answers_who_waits() {
    let mut server = Launch::new().start();
    let id = server.enqueue(&json!({"queue": "q"}));
    let mut jobs = server.stream("/stream?queues=other&worker_id=w");
    let mut events = server.stream("/events");
    let mut follow = server.stream(&format!("/jobs/{id}/stream"));
    let mut parked = Conn::open(server.addr()).unwrap();
    let request = Request::json("POST", "/fetch", &json!({"queues": ["other"], "timeout": 50}));
    parked.send(&request.bytes(server.addr(), false)).unwrap();
    let mut waiting = Conn::open(server.addr()).unwrap();
    waiting.send(&Request::get(&format!("/jobs/{id}/wait?timeout=50")).bytes(server.addr(), false)).unwrap();
    server.get("/info").expect(200);
    let start = Instant::now();
    server.terminate();
    for stream in [&mut jobs, &mut events, &mut follow] {
        stream.until("drain", |_| true);
        assert_eq!(stream.try_next(SOON).unwrap(), None, "nothing follows");
    }
    let deadline = Instant::now() + SOON;
    assert_eq!(parked.head("POST", deadline).unwrap().status, 204, "a fetch that waits has got nothing");
    assert_eq!(waiting.head("GET", deadline).unwrap().status, 200, "the job as it is");
    let status = server.wait_exit(BOUND);
    assert_eq!(status.code(), Some(0), "{}", server.output().text());
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    assert!(Conn::open(server.addr()).is_err(), "nobody listens any more");
}

#[test]
fn everything_is_there_after_an_orderly_restart() {
    let launch = Launch::new();
    let mut server = launch.start();
    let pending = server.enqueue(&json!({"queue": "a", "payload": 1, "tags": {"x": "y"}}));
    let later = server.enqueue(&json!({"queue": "a", "delay": "1h"}));
    let active = server.enqueue(&json!({"queue": "b"}));
    let lease = server.take("b");
    server.beat(&lease, json!({"checkpoint": [1, 2]}));
    let done = server.enqueue(&json!({"queue": "c"}));
    server.settle("ack", &server.take("c"), json!({"result": "r"})).expect(200);
    server.post("/queues/d/pause", &json!({})).expect(200);
    server.post("/queues/d/throttle", &json!({"count": 5, "period": "1m"})).expect(200);
    let before: Vec<_> = [&pending, &later, &active, &done].iter().map(|id| server.job(id)).collect();
    server.terminate();
    assert_eq!(server.wait_exit(BOUND).code(), Some(0));
    let server = launch.start();
    for job in &before {
        let id = job["id"].as_str().unwrap();
        let now = server.job(id);
        for field in [
            "state",
            "payload",
            "tags",
            "scheduled_at",
            "checkpoint",
            "result",
            "worker_id",
            "deliveries",
            "created_at",
        ] {
            assert_eq!(now[field], job[field], "{field} of {id}");
        }
    }
    let queue = server.get("/queues/d").expect(200);
    assert_eq!((&queue["paused"], &queue["throttle"]["count"]), (&json!(true), &json!(5)));
    assert_eq!(server.count("a", "pending"), 1);
    // The worker outlived the server: its lease still counts.
    server.settle("ack", &lease, json!({})).expect(200);
}

#[test]
fn repeats_are_known_after_a_kill() {
    let launch = Launch::new();
    let mut server = launch.start();
    let body = json!({"queue": "q", "id": "mine", "payload": 1});
    server.post("/enqueue", &body).expect(201);
    let keyed = Request::json("POST", "/enqueue", &json!({"queue": "q", "payload": 2}))
        .header("idempotency-key", "k");
    let first = server.send(&keyed).expect(201);
    let fetch = json!({"queues": ["q"], "timeout": 0, "request_id": "r-1"});
    let lease = server.post("/fetch", &fetch).expect(200);
    server.kill();
    let mut server = launch.start();
    assert_eq!(server.post("/enqueue", &body).json()["job_id"], "mine");
    assert_eq!(server.send(&keyed).json(), first);
    assert_eq!(server.post("/fetch", &fetch).expect(200)["lease_token"], lease["lease_token"]);
    let ack = server.settle("ack", &lease, json!({})).expect(200);
    server.kill();
    let server = launch.start();
    assert_eq!(server.settle("ack", &lease, json!({})).expect(200), ack);
    assert_eq!((server.count("q", "completed"), server.count("q", "pending")), (1, 1));
}
