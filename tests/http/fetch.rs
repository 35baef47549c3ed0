// SPDX-License-Identifier: Apache-2.0
//! `POST /fetch` and `/fetch/batch`: what a worker gets, in which order, and waiting for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Api, millis, name, shared, text};
use crate::support::conn::Conn;
use crate::support::{Request, SOON};

#[test]
fn a_leased_job_has_what_a_worker_needs() {
    let (server, queue) = (shared(), name("lease"));
    let body =
        json!({"queue": queue, "payload": {"n": 1}, "tags": {"k": "v"}, "max_retries": 7, "timeout": "5m"});
    let id = server.enqueue(&body);
    let answer = server
        .post("/fetch", &json!({"queues": [queue], "worker_id": "w-1", "hostname": "h-1", "timeout": 0}));
    let lease = answer.expect(200);
    for (field, value) in [
        ("job_id", json!(id)),
        ("queue", json!(queue)),
        ("payload", json!({"n": 1})),
        ("attempt", json!(1)),
        ("max_retries", json!(7)),
        ("checkpoint", Value::Null),
        ("tags", json!({"k": "v"})),
        ("timeout_ms", json!(300_000)),
    ] {
        assert_eq!(lease[field], value, "{field} of {lease}");
    }
    assert!(!text(&lease["lease_token"]).is_empty());
    assert!(answer.index().is_some());
    let job = server.job(&id);
    assert_eq!(
        (&job["state"], &job["worker_id"], &job["hostname"]),
        (&json!("active"), &json!("w-1"), &json!("h-1"))
    );
    assert_eq!(job["deliveries"], 1);
    assert_eq!(job["lease_expires_at"], lease["lease_expires_at"]);
    let length = millis(&lease["lease_expires_at"]) - millis(&job["started_at"]);
    assert_eq!(length, 60_000, "the default lease");
    assert!(!job.to_string().contains(&text(&lease["lease_token"])), "who may read a job may not settle it");
    assert!(server.is_empty(&queue), "leased once only");
}

#[test]
fn an_empty_queue_answers_204_after_the_time_asked_for() {
    let (server, queue) = (shared(), name("empty"));
    let start = Instant::now();
    let answer = server.poll(&queue, 0);
    assert_eq!((answer.status(), answer.body.len()), (204, 0));
    assert!(start.elapsed() < Duration::from_secs(5));
    let start = Instant::now();
    assert_eq!(server.poll(&queue, 1).status(), 204);
    assert!(start.elapsed() >= Duration::from_millis(950), "waited {:?}", start.elapsed());
    let batch =
        server.post("/fetch/batch", &json!({"queues": [queue], "count": 10, "timeout": 0})).expect(200);
    assert_eq!(batch, json!({"jobs": []}));
}

#[test]
fn an_enqueue_wakes_a_waiting_fetch() {
    let (server, queue) = (shared(), name("woken"));
    let request = Request::json("POST", "/fetch", &json!({"queues": [name("other"), queue], "timeout": 50}));
    let mut waiting = Conn::open(server.addr()).unwrap();
    waiting.send(&request.bytes(server.addr(), false)).unwrap();
    // It has been sent; whether it is parked already or only about to be, it must be answered at once.
    server.get("/info").expect(200);
    let id = server.enqueue(&json!({"queue": queue}));
    let deadline = Instant::now() + SOON;
    let head = waiting.head("POST", deadline).expect("an answer long before the 50 s are over");
    let lease: Value = serde_json::from_slice(&waiting.body(deadline).unwrap()).unwrap();
    assert_eq!((head.status, &lease["job_id"]), (200, &json!(id)));
}

#[test]
fn one_enqueue_wakes_one_of_many_waiting_fetches() {
    let (server, queue) = (shared(), name("crowd"));
    let request = Request::json("POST", "/fetch", &json!({"queues": [queue], "timeout": 3}));
    let mut crowd: Vec<Conn> = (0..8)
        .map(|_| {
            let mut conn = Conn::open(server.addr()).unwrap();
            conn.send(&request.bytes(server.addr(), false)).unwrap();
            conn
        })
        .collect();
    let ids: Vec<String> = (0..3).map(|n| server.enqueue(&json!({"queue": queue, "payload": n}))).collect();
    let deadline = Instant::now() + SOON;
    let mut got = Vec::new();
    for conn in &mut crowd {
        match conn.head("POST", deadline).unwrap().status {
            200 => {
                let lease: Value = serde_json::from_slice(&conn.body(deadline).unwrap()).unwrap();
                got.push(text(&lease["job_id"]));
            }
            status => assert_eq!(status, 204),
        }
    }
    got.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(got, ids, "each job went to exactly one");
}

#[test]
fn higher_priority_first_then_in_order() {
    let (server, queue) = (shared(), name("order"));
    let mut expected = Vec::new();
    for (round, priority) in [50, 10, 100, 50, 100, 10, 0, 50].into_iter().enumerate() {
        let id = server.enqueue(&json!({"queue": queue, "priority": priority, "payload": round}));
        expected.push((100 - priority, round, id));
    }
    expected.sort();
    for (_, round, id) in &expected[..3] {
        let lease = server.take(&queue);
        assert_eq!((&lease["job_id"], &lease["payload"]), (&json!(id), &json!(round)));
    }
    let rest =
        server.post("/fetch/batch", &json!({"queues": [queue], "count": 1000, "timeout": 0})).expect(200);
    let got: Vec<String> = rest["jobs"].as_array().unwrap().iter().map(|job| text(&job["job_id"])).collect();
    let rest: Vec<String> = expected[3..].iter().map(|(_, _, id)| id.clone()).collect();
    assert_eq!(got, rest);
}

#[test]
fn queues_are_asked_in_the_order_given() {
    let (server, first, second) = (shared(), name("first"), name("second"));
    server.enqueue(&json!({"queue": second, "priority": 100}));
    server.enqueue(&json!({"queue": first, "priority": 0}));
    let fetch = |strategy: Value| {
        let body = json!({"queues": [first, second], "timeout": 0, "strategy": strategy});
        server.post("/fetch", &body).expect(200)["queue"].clone()
    };
    assert_eq!(fetch(json!("strict")), json!(first));
    assert_eq!(fetch(json!("round_robin")), json!(second), "what there is, wherever the turn begins");
    server.enqueue(&json!({"queue": first}));
    let body =
        json!({"queues": [first, second], "timeout": 0, "strategy": "weighted", "weights": {&first: 5}});
    server.post("/fetch", &body).expect(200);
}

#[test]
fn a_batch_gives_at_most_what_was_asked_for() {
    let (server, queue) = (shared(), name("many"));
    let jobs: Vec<Value> = (0..25).map(|n| json!({"queue": queue, "payload": n})).collect();
    server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    for (count, expected) in [(10, 10), (10, 10), (10, 5)] {
        let body = json!({"queues": [queue], "count": count, "timeout": 0, "worker_id": "w"});
        let got = server.post("/fetch/batch", &body).expect(200)["jobs"].as_array().unwrap().len();
        assert_eq!(got, expected);
    }
    assert_eq!(server.count(&queue, "active"), 25);
}

#[test]
fn a_fetch_with_a_request_id_gives_the_same_lease_again() {
    let (server, queue, request) = (shared(), name("again"), name("request"));
    server.enqueue(&json!({"queue": queue, "payload": 1}));
    server.enqueue(&json!({"queue": queue, "payload": 2}));
    let body = json!({"queues": [queue], "worker_id": "w", "timeout": 0, "request_id": request});
    let first = server.post("/fetch", &body).expect(200);
    let again = server.post("/fetch", &body).expect(200);
    assert_eq!((&again["job_id"], &again["lease_token"]), (&first["job_id"], &first["lease_token"]));
    assert_eq!(server.count(&queue, "active"), 1);
}

#[test]
fn a_caller_that_hangs_up_takes_nothing_with_it() {
    let (server, queue) = (shared(), name("gone"));
    let mut news = server.news(&queue);
    let request = Request::json("POST", "/fetch", &json!({"queues": [queue], "timeout": 50}));
    let mut waiting = Conn::open(server.addr()).unwrap();
    waiting.send(&request.bytes(server.addr(), false)).unwrap();
    server.get("/info").expect(200);
    drop(waiting);
    let id = server.enqueue(&json!({"queue": queue}));
    // Either nobody claimed it, or it was claimed for the one who left and given back. If the caller left
    // unnoticed it is leased until the server notices; what counts is that it comes without a crash.
    let lease = server.poll(&queue, 20).expect(200);
    assert_eq!(lease["job_id"], id);
    assert_eq!(server.job(&id)["crashes"], 0);
    news.about("job.started", &id);
}

#[test]
fn a_batch_is_at_most_16_mib() {
    let (server, queue) = (shared(), name("heavy"));
    let jobs: Vec<Value> = (0..40).map(|_| json!({"queue": queue, "payload": "x".repeat(250_000)})).collect();
    for _ in 0..2 {
        server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    }
    let body = json!({"queues": [queue], "count": 1000, "timeout": 0});
    let answer = server.post("/fetch/batch", &body);
    let first = answer.expect(200)["jobs"].as_array().unwrap().len();
    assert!(answer.body.len() <= 17 << 20, "{} bytes", answer.body.len());
    assert!(first > 60, "as many as fit: {first}");
    let second = server.post("/fetch/batch", &body).expect(200)["jobs"].as_array().unwrap().len();
    assert_eq!(first + second, 80, "the rest comes with the next call");
    // A page of a listing has a bound as well; the cursor goes on from there, and what is left out is named.
    let (mut listed, mut cursor) = (0, String::new());
    loop {
        let page = server.get(&format!("/jobs?queue={queue}&limit=1000{cursor}"));
        assert!(page.body.len() <= 9 << 20, "{} bytes", page.body.len());
        let page = page.expect(200);
        for job in page["jobs"].as_array().unwrap() {
            assert!(
                job["payload"].is_string() || job["omitted"] == json!(["payload"]),
                "{:.300}",
                job.to_string()
            );
            listed += 1;
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, 80);
}
