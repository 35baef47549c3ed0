// SPDX-License-Identifier: Apache-2.0
//! Queues: counts, pause, resume, drain, clear, delete, concurrency, throttle.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Api, millis, name, shared, text};
use crate::support::Server;

fn tell(server: &Server, queue: &str, what: &str) -> Value {
    let answer = server.post(&format!("/queues/{queue}/{what}"), &json!({}));
    assert!(answer.index().is_some(), "the log index is in the answer");
    answer.expect(200)
}

#[test]
fn a_queue_shows_its_jobs_by_state() {
    let (server, queue) = (shared(), name("counts"));
    server.get(&format!("/queues/{queue}")).refused(404, "NOT_FOUND");
    let first = server.enqueue(&json!({"queue": queue}));
    server.enqueue(&json!({"queue": queue}));
    server.enqueue(&json!({"queue": queue, "delay": "1h"}));
    let view = server.get(&format!("/queues/{queue}")).expect(200);
    assert_eq!(view["name"], json!(queue));
    let counts = json!({
        "scheduled": 1, "blocked": 0, "pending": 2, "active": 0, "retrying": 0, "held": 0, "completed": 0, "dead": 0,
        "cancelled": 0,
    });
    assert_eq!((&view["counts"], &view["total"]), (&counts, &json!(3)));
    assert_eq!(millis(&view["oldest_pending_at"]), millis(&server.job(&first)["created_at"]));
    for (field, value) in [
        ("paused", json!(false)),
        ("draining", json!(false)),
        ("concurrency", Value::Null),
        ("throttle", Value::Null),
    ] {
        assert_eq!(view[field], value, "{field}");
    }
    for field in ["rates", "latency", "totals"] {
        assert!(view[field].is_object(), "{field} of {view}");
    }
    let all = server.get("/queues").expect(200);
    let names: Vec<String> = all["queues"].as_array().unwrap().iter().map(|q| text(&q["name"])).collect();
    assert!(names.contains(&queue));
    assert!(names.is_sorted(), "by name: {names:?}");
    server.settle("ack", &server.take(&queue), json!({})).expect(200);
    let view = server.get(&format!("/queues/{queue}")).expect(200);
    assert_eq!((&view["totals"]["enqueued"], &view["totals"]["completed"]), (&json!(3), &json!(1)));
}

#[test]
fn a_paused_queue_hands_out_nothing() {
    let (server, queue) = (shared(), name("pause"));
    let view = tell(&server, &queue, "pause");
    assert_eq!(
        (&view["paused"], view["paused_at"].is_null()),
        (&json!(true), false),
        "an unknown queue is created"
    );
    let id = server.enqueue(&json!({"queue": queue}));
    assert!(server.is_empty(&queue));
    let mut news = server.news(&queue);
    assert_eq!(tell(&server, &queue, "resume")["paused"], false);
    news.until("queue.resumed", |_| true);
    assert_eq!(server.take(&queue)["job_id"], id);
}

#[test]
fn resuming_wakes_who_waits() {
    let (server, queue) = (shared(), name("resume"));
    tell(&server, &queue, "pause");
    let id = server.enqueue(&json!({"queue": queue}));
    let lease = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.poll(&queue, 50).expect(200));
        server.get("/info").expect(200);
        tell(&server, &queue, "resume");
        waiting.join().unwrap()
    });
    assert_eq!(lease["job_id"], id);
}

#[test]
fn a_draining_queue_finishes_and_takes_nothing_new() {
    let (server, queue) = (shared(), name("drain"));
    let id = server.enqueue(&json!({"queue": queue, "retry_backoff": "none"}));
    assert_eq!(tell(&server, &queue, "drain")["draining"], true);
    server.post("/enqueue", &json!({"queue": queue})).refused(409, "QUEUE_DRAINING");
    let lease = server.take(&queue);
    assert_eq!(lease["job_id"], id);
    server.settle("fail", &lease, json!({"error": "x"})).expect(200);
    server.settle("ack", &server.take(&queue), json!({})).expect(200);
    tell(&server, &queue, "resume");
    server.enqueue(&json!({"queue": queue}));
}

#[test]
fn clear_removes_what_waits_and_nothing_else() {
    let (server, queue) = (shared(), name("clear"));
    let running = server.enqueue(&json!({"queue": queue}));
    let lease = server.take(&queue);
    let waiting = server.enqueue(&json!({"queue": queue}));
    let later = server.enqueue(&json!({"queue": queue, "delay": "1h"}));
    let other = server.enqueue(&json!({"queue": name("other")}));
    tell(&server, &queue, "clear");
    let new = server.enqueue(&json!({"queue": queue}));
    for gone in [&waiting, &later] {
        server.get(&format!("/jobs/{gone}")).refused(404, "NOT_FOUND");
    }
    assert_eq!(server.job(&running)["state"], "active");
    assert_eq!(server.job(&other)["state"], "pending");
    assert_eq!(server.take(&queue)["job_id"], new);
    server.settle("ack", &lease, json!({})).expect(200);
    server.post(&format!("/queues/{}/clear", name("unheard-of")), &json!({})).refused(404, "NOT_FOUND");
}

#[test]
fn deleting_a_queue_needs_confirmation_and_no_active_job() {
    let (server, queue) = (shared(), name("remove"));
    let id = server.enqueue(&json!({"queue": queue}));
    server.enqueue(&json!({"queue": queue}));
    let path = format!("/queues/{queue}");
    for query in ["", "?confirm=false", "?confirm=", "?confirm=1"] {
        let refused = server.call("DELETE", &format!("{path}{query}")).refused(400, "VALIDATION");
        assert_eq!(refused["details"]["field"], "confirm");
    }
    let lease = server.take(&queue);
    server.call("DELETE", &format!("{path}?confirm=true")).refused(409, "CONFLICT");
    assert_eq!(server.count(&queue, "pending"), 1);
    server.settle("release", &lease, json!({})).expect(200);
    let mut news = server.news(&queue);
    server.call("DELETE", &format!("{path}?confirm=true")).expect(200);
    news.until("queue.deleted", |_| true);
    server.get(&path).refused(404, "NOT_FOUND");
    server.get(&format!("/jobs/{id}")).refused(404, "NOT_FOUND");
    server.call("DELETE", &format!("{path}?confirm=true")).refused(404, "NOT_FOUND");
    server.enqueue(&json!({"queue": queue}));
    assert_eq!(server.count(&queue, "pending"), 1, "the name can be used again");
}

#[test]
fn concurrency_limits_the_active_jobs() {
    let (server, queue) = (shared(), name("limit"));
    let path = format!("/queues/{queue}/concurrency");
    assert_eq!(server.post(&path, &json!({"concurrency": 2})).expect(200)["concurrency"], 2);
    let jobs: Vec<Value> = (0..5).map(|_| json!({"queue": queue})).collect();
    server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    let batch = json!({"queues": [queue], "count": 5, "timeout": 0});
    let leases = server.post("/fetch/batch", &batch).expect(200)["jobs"].clone();
    assert_eq!(leases.as_array().unwrap().len(), 2);
    assert!(server.is_empty(&queue));
    // An end makes room, and wakes who waits for it.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.poll(&queue, 50).expect(200));
        server.settle("ack", &leases[0], json!({})).expect(200);
        waiting.join().unwrap();
    });
    assert!(server.is_empty(&queue));
    assert_eq!(server.post(&path, &json!({"concurrency": null})).expect(200)["concurrency"], Value::Null);
    assert_eq!(server.post("/fetch/batch", &batch).expect(200)["jobs"].as_array().unwrap().len(), 2);
    for bad in [
        json!({}),
        json!({"concurrency": 0}),
        json!({"concurrency": -1}),
        json!({"concurrency": "5"}),
        json!({"limit": 5}),
    ] {
        server.post(&path, &bad).refused(400, "VALIDATION");
    }
}

#[test]
fn a_throttle_limits_the_starts_per_period() {
    let (server, queue) = (shared(), name("rate"));
    let path = format!("/queues/{queue}/throttle");
    let view = server.post(&path, &json!({"count": 2, "period": "1h"})).expect(200);
    assert_eq!(view["throttle"], json!({"count": 2, "period_ms": 3_600_000}));
    let jobs: Vec<Value> = (0..6).map(|_| json!({"queue": queue})).collect();
    server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    let batch = json!({"queues": [queue], "count": 6, "timeout": 0});
    assert_eq!(server.post("/fetch/batch", &batch).expect(200)["jobs"].as_array().unwrap().len(), 2);
    assert!(server.is_empty(&queue));
    // A faster rate counts afresh, and a waiting fetch is woken when its time has come.
    server.post(&path, &json!({"count": 1, "period": "400ms"})).expect(200);
    server.take(&queue);
    let start = std::time::Instant::now();
    server.poll(&queue, 50).expect(200);
    assert!(start.elapsed() >= Duration::from_millis(250), "after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(20), "after {:?}", start.elapsed());
    let view = server.call("DELETE", &path).expect(200);
    assert_eq!(view["throttle"], Value::Null);
    assert_eq!(server.post("/fetch/batch", &batch).expect(200)["jobs"].as_array().unwrap().len(), 2);
    for bad in [
        json!({}),
        json!({"count": 0, "period": 1}),
        json!({"count": 1, "period": 0}),
        json!({"count": 1, "period": "2d"}),
    ] {
        server.post(&path, &bad).refused(400, "VALIDATION");
    }
    server.call("DELETE", &format!("/queues/{}/throttle", name("unheard-of"))).refused(404, "NOT_FOUND");
}

#[test]
fn a_bad_name_is_refused_everywhere_and_creates_nothing() {
    let server = shared();
    for bad in ["a%20b", "%C3%A9", "a%2Fb", "%00", &"q".repeat(129)] {
        for (method, tail) in [
            ("GET", ""),
            ("DELETE", "?confirm=true"),
            ("POST", "/pause"),
            ("POST", "/resume"),
            ("POST", "/drain"),
            ("POST", "/clear"),
        ] {
            let answer = server.call(method, &format!("/queues/{bad}{tail}"));
            assert!(matches!(answer.status(), 400 | 404), "{method} {bad}{tail}: {}", answer.text());
            answer.is_problem();
        }
    }
    let name = "q".repeat(128);
    server.enqueue(&json!({"queue": name}));
    server.call("DELETE", &format!("/queues/{name}?confirm=true")).expect(200);
}
