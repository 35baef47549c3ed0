// SPDX-License-Identifier: Apache-2.0
//! `GET /stream`: jobs pushed with credit, and what else a worker is told on it.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Api, name, shared, text};
use crate::support::{Event, Stream};

/// Long enough for an event that is on its way, short enough to show that none is.
const QUIET: Duration = Duration::from_millis(300);

#[track_caller]
fn job(stream: &mut Stream) -> Value {
    stream.until("job", |_| true).json()
}

/// Checks that nothing comes.
#[track_caller]
fn quiet(stream: &mut Stream) {
    match stream.try_next(QUIET) {
        Err(e) => assert_eq!(e.kind(), ErrorKind::TimedOut),
        Ok(event) => panic!("nothing was to come: {event:?}"),
    }
}

#[test]
fn a_job_comes_as_from_fetch() {
    let (server, queue) = (shared(), name("push"));
    let mut stream = server.stream(&format!("/stream?queues={queue}&worker_id={queue}&hostname=h"));
    assert_eq!(stream.head.header("content-type"), Some("text/event-stream"));
    let id = server.enqueue(&json!({"queue": queue, "payload": {"n": 1}, "tags": {"a": "b"}}));
    let lease = job(&mut stream);
    for (field, value) in [
        ("job_id", json!(id)),
        ("queue", json!(queue)),
        ("payload", json!({"n": 1})),
        ("attempt", json!(1)),
        ("tags", json!({"a": "b"})),
        ("adopted", json!(false)),
    ] {
        assert_eq!(lease[field], value, "{field} of {lease}");
    }
    assert!(lease["index"].as_u64().is_some_and(|index| index > 0), "{lease}");
    assert!(server.is_empty(&queue), "it is leased");
    assert_eq!(server.job(&id)["worker_id"], json!(queue));
    server.settle("ack", &lease, json!({})).expect(200);
}

#[test]
fn no_more_jobs_are_out_than_the_credit() {
    let (server, queue) = (shared(), name("credit"));
    let jobs: Vec<Value> = (0..5).map(|n| json!({"queue": queue, "payload": n})).collect();
    server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    let mut stream = server.stream(&format!("/stream?queues={queue}&worker_id={queue}&prefetch=2"));
    let (first, second) = (job(&mut stream), job(&mut stream));
    assert_eq!((&first["payload"], &second["payload"]), (&json!(0), &json!(1)));
    quiet(&mut stream);
    assert_eq!((server.count(&queue, "active"), server.count(&queue, "pending")), (2, 3));
    server.settle("ack", &first, json!({})).expect(200);
    let third = job(&mut stream);
    assert_eq!(third["payload"], 2);
    server.settle("fail", &second, json!({"error": "x"})).expect(200);
    assert_eq!(job(&mut stream)["payload"], 3);
    server.settle("release", &third, json!({"delay": "1h"})).expect(200);
    assert_eq!(job(&mut stream)["payload"], 4);
    quiet(&mut stream);
}

#[test]
fn a_cancelled_job_is_told() {
    let (server, queue) = (shared(), name("told"));
    server.enqueue(&json!({"queue": queue}));
    let mut stream = server.stream(&format!("/stream?queues={queue}&worker_id={queue}"));
    let lease = job(&mut stream);
    let id = text(&lease["job_id"]);
    server.post(&format!("/jobs/{id}/cancel"), &json!({})).expect(200);
    assert_eq!(
        stream.next(),
        Event { name: "cancel".into(), id: None, data: format!(r#"{{"job_id":"{id}"}}"#) }
    );
    server.post(&format!("/jobs/{id}/cancel"), &json!({})).expect(200);
    quiet(&mut stream);
    server.settle("fail", &lease, json!({"error": "stopped"})).expect(200);
    assert_eq!(server.job(&id)["state"], "cancelled");
}

#[test]
fn a_lost_lease_is_told() {
    let (server, queue) = (shared(), name("lost"));
    let id = server.enqueue(&json!({"queue": queue, "retry_base_delay": "1h"}));
    let mut stream = server.stream(&format!("/stream?queues={queue}&worker_id={queue}&lease_duration=1s"));
    let lease = job(&mut stream);
    assert_eq!(lease["job_id"], id);
    stream.about("lease_lost", &id);
    server.settle("ack", &lease, json!({})).refused(409, "LEASE_LOST");
    let job = server.job(&id);
    assert_eq!((&job["crashes"], &job["state"]), (&json!(1), &json!("retrying")));
    let slow = server.enqueue(&json!({"queue": queue, "timeout": "200ms", "max_retries": 0}));
    stream.about("lease_lost", &slow);
    assert_eq!(server.job(&slow)["reason"], "timeout");
}

#[test]
fn the_same_worker_comes_back_for_its_leases() {
    let (server, queue) = (shared(), name("adopt"));
    let jobs: Vec<Value> = (0..3).map(|n| json!({"queue": queue, "payload": n})).collect();
    server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    let path = format!("/stream?queues={queue}&worker_id={queue}&prefetch=3&concurrency=3");
    let mut before = server.stream(&path);
    let held: Vec<Value> = (0..3).map(|_| job(&mut before)).collect();
    server.settle("ack", &held[1], json!({})).expect(200);
    drop(before);
    let mut after = server.stream(&path);
    let adopted = [job(&mut after), job(&mut after)];
    for (lease, was) in adopted.iter().zip([&held[0], &held[2]]) {
        assert_eq!(lease["adopted"], true);
        assert_eq!((&lease["job_id"], &lease["lease_token"]), (&was["job_id"], &was["lease_token"]));
        assert_eq!(server.job(&text(&lease["job_id"]))["deliveries"], 1, "the same delivery goes on");
    }
    let id = server.enqueue(&json!({"queue": queue}));
    let lease = job(&mut after);
    assert_eq!(
        (&lease["job_id"], &lease["adopted"]),
        (&json!(id), &json!(false)),
        "what is adopted uses credit"
    );
    server.enqueue(&json!({"queue": queue}));
    quiet(&mut after);
    for lease in &adopted {
        server.settle("ack", lease, json!({})).expect(200);
    }
}

#[test]
fn a_later_stream_of_the_same_worker_takes_over() {
    let (server, queue) = (shared(), name("over"));
    let path = format!("/stream?queues={queue}&worker_id={queue}");
    let mut first = server.stream(&path);
    server.enqueue(&json!({"queue": queue}));
    let lease = job(&mut first);
    let mut second = server.stream(&path);
    assert_eq!(first.next().name, "drain");
    assert!(matches!(first.try_next(crate::support::SOON), Ok(None)), "and that is its end");
    let adopted = job(&mut second);
    assert_eq!((&adopted["lease_token"], &adopted["adopted"]), (&lease["lease_token"], &json!(true)));
    server.settle("ack", &adopted, json!({})).expect(200);
}

#[test]
fn of_a_vanished_stream_only_the_running_jobs_count_as_crashed() {
    let (server, queue) = (shared(), name("vanish"));
    let jobs: Vec<Value> =
        (0..4).map(|n| json!({"queue": queue, "payload": n, "retry_base_delay": "1h"})).collect();
    let ids = server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201)["job_ids"].clone();
    let mut news = server.news(&queue);
    let path = format!("/stream?queues={queue}&worker_id={queue}&prefetch=4&concurrency=1&lease_duration=1s");
    let mut stream = server.stream(&path);
    for _ in 0..4 {
        job(&mut stream);
    }
    drop(stream);
    news.about("job.crashed", &text(&ids[0]));
    for id in &ids.as_array().unwrap()[1..] {
        news.about("job.released", &text(id));
        let job = server.job(&text(id));
        assert_eq!((&job["crashes"], &job["state"]), (&json!(0), &json!("pending")));
    }
    assert_eq!(server.job(&text(&ids[0]))["crashes"], 1);
}

#[test]
fn an_open_stream_keeps_what_waits_in_its_buffer_alive() {
    let (server, queue) = (shared(), name("buffer"));
    let jobs: Vec<Value> =
        (0..2).map(|n| json!({"queue": queue, "payload": n, "retry_base_delay": "1h"})).collect();
    let ids = server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201)["job_ids"].clone();
    let path = format!("/stream?queues={queue}&worker_id={queue}&prefetch=2&concurrency=1&lease_duration=1s");
    let mut stream = server.stream(&path);
    let (_, buffered) = (job(&mut stream), job(&mut stream));
    // The running job's lease runs out because nobody beats for it; the other has not begun.
    stream.about("lease_lost", &text(&ids[0]));
    assert_eq!(server.job(&text(&ids[1]))["crashes"], 0);
    server.settle("ack", &buffered, json!({})).expect(200);
}

#[test]
fn a_stream_that_closes_gives_back_what_was_not_delivered() {
    let (server, queue) = (shared(), name("closed"));
    let stream = server.stream(&format!("/stream?queues={queue}&prefetch=100"));
    drop(stream);
    let id = server.enqueue(&json!({"queue": queue}));
    assert_eq!(server.poll(&queue, 20).expect(200)["job_id"], id);
    assert_eq!(server.job(&id)["crashes"], 0);
}

#[test]
fn bad_parameters_are_refused() {
    let server = shared();
    for bad in [
        "",
        "?queues=",
        "?queues=a%20b",
        "?queues=a&prefetch=0",
        "?queues=a&prefetch=1001",
        "?queues=a&prefetch=x",
        "?queues=a&concurrency=0",
        "?queues=a&lease_duration=1ms",
        "?queues=a&lease_duration=NaN",
        "?queues=a&worker=w",
        "?queues=a&queues=b",
        "?queues=a&worker_id=%00",
        "?queues=%ff",
    ] {
        server.get(&format!("/stream{bad}")).refused(400, "VALIDATION");
    }
}
