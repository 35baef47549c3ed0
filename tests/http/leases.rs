// SPDX-License-Identifier: Apache-2.0
//! Leases that run out, attempts that take too long. Each wait is for the event that says so.

use serde_json::json;

use crate::fixture::{Api, name, shared, text};

/// The shortest lease there is.
fn short() -> serde_json::Value {
    json!({"lease_duration": "1s", "worker_id": "w-short"})
}

#[test]
fn a_lease_that_runs_out_counts_as_a_crash_not_as_an_attempt() {
    let (server, queue) = (shared(), name("crash"));
    let id = server.enqueue(&json!({"queue": queue, "retry_backoff": "none"}));
    let mut news = server.news(&queue);
    let lost = server.take_with(&queue, &short());
    server.beat(&lost, json!({"checkpoint": "kept"}));
    let event = news.about("job.crashed", &id).json();
    assert_eq!(event["worker_id"], "w-short");
    let job = server.job(&id);
    assert_eq!(
        (&job["crashes"], &job["attempt"], &job["checkpoint"]),
        (&json!(1), &json!(1), &json!("kept"))
    );
    assert!(job["errors"].to_string().contains("w-short"), "who lost it is said: {}", job["errors"]);
    for (verb, body) in [("ack", json!({})), ("fail", json!({"error": "x"})), ("release", json!({}))] {
        server.settle(verb, &lost, body).refused(409, "LEASE_LOST");
    }
    assert_eq!(server.beat(&lost, json!({}))["status"], "lost");
    let lease = server.take(&queue);
    assert_eq!(
        (&lease["job_id"], &lease["attempt"], &lease["checkpoint"]),
        (&json!(id), &json!(1), &json!("kept"))
    );
    server.settle("ack", &lease, json!({})).expect(200);
}

#[test]
fn a_heartbeat_keeps_a_short_lease_alive() {
    let (server, queue) = (shared(), name("kept"));
    let id = server.enqueue(&json!({"queue": queue}));
    let other = server.enqueue(&json!({"queue": queue, "retry_backoff": "none"}));
    let mut news = server.news(&queue);
    let mine = server.take_with(&queue, &short());
    let lost = server.take_with(&queue, &short());
    assert_eq!((&mine["job_id"], &lost["job_id"]), (&json!(id), &json!(other)));
    // Beats until the lease that nobody keeps alive has run out: a clock that runs in the broker.
    loop {
        assert_eq!(server.beat(&mine, json!({}))["status"], "ok");
        match news.try_next(std::time::Duration::from_millis(100)) {
            Ok(Some(event)) if event.name == "job.crashed" => {
                assert_eq!(event.json()["job_id"], other);
                break;
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended"),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::TimedOut),
        }
    }
    assert_eq!(server.job(&id)["crashes"], 0);
    server.settle("ack", &mine, json!({})).expect(200);
}

#[test]
fn a_job_that_loses_its_lease_too_often_is_quarantined() {
    let (server, queue) = (shared(), name("poison"));
    let id =
        server.enqueue(&json!({"queue": queue, "retry_backoff": "none", "max_crashes": 2, "max_retries": 9}));
    let mut news = server.news(&queue);
    for crash in 1..=2 {
        let lease = server.take_with(&queue, &short());
        assert_eq!(lease["attempt"], 1);
        // One event per change of state: the last crash is told by the end that it brings.
        let event = news.about(if crash == 1 { "job.crashed" } else { "job.dead" }, &id);
        assert_eq!(event.json()["worker_id"], "w-short");
        assert_eq!(server.job(&id)["crashes"], crash);
    }
    let job = server.job(&id);
    assert_eq!(
        (&job["state"], &job["reason"], &job["worker_id"]),
        (&json!("dead"), &json!("crashed"), &json!("w-short"))
    );
    assert!(server.is_empty(&queue));
    assert_eq!(server.count(&queue, "dead"), 1);
}

#[test]
fn on_crash_queue_takes_a_poisonous_job_once() {
    let (server, queue, clinic) = (shared(), name("ward"), name("clinic"));
    let body = json!({"queue": queue, "max_crashes": 1, "on_crash_queue": clinic, "payload": "p"});
    let id = server.enqueue(&body);
    let mut news = server.news(&clinic);
    server.take_with(&queue, &short());
    let event = news.about("job.crashed", &id).json();
    assert_eq!((&event["queue"], &event["state"]), (&json!(clinic), &json!("pending")));
    let lease = server.take_with(&clinic, &short());
    assert_eq!((&lease["job_id"], &lease["payload"]), (&json!(id), &json!("p")));
    assert_eq!(news.about("job.dead", &id).json()["reason"], "crashed");
    let job = server.job(&id);
    assert_eq!(
        (&job["state"], &job["reason"], &job["queue"]),
        (&json!("dead"), &json!("crashed"), &json!(clinic))
    );
}

#[test]
fn an_attempt_that_takes_too_long_has_failed() {
    let (server, queue) = (shared(), name("slow"));
    let body = json!({"queue": queue, "timeout": "200ms", "max_retries": 1, "retry_backoff": "none"});
    let id = server.enqueue(&body);
    let mut news = server.news(&queue);
    let late = server.take(&queue);
    news.about("job.timed_out", &id);
    server.settle("ack", &late, json!({})).refused(409, "LEASE_LOST");
    let job = server.job(&id);
    assert_eq!((&job["state"], &job["attempt"], &job["crashes"]), (&json!("pending"), &json!(2), &json!(0)));
    server.take(&queue);
    assert_eq!(news.about("job.dead", &id).json()["reason"], "timeout");
    let job = server.job(&id);
    assert_eq!((&job["state"], &job["reason"]), (&json!("dead"), &json!("timeout")));
    assert!(text(&job["errors"][0]["error"]).contains("timed out"), "{job}");
}

#[test]
fn a_cancelled_job_ends_with_its_lease() {
    let (server, queue) = (shared(), name("calloff"));
    let id = server.enqueue(&json!({"queue": queue, "retry_backoff": "none"}));
    let mut news = server.news(&queue);
    server.take_with(&queue, &short());
    server.post(&format!("/jobs/{id}/cancel"), &json!({})).expect(200);
    news.about("job.cancelled", &id);
    let job = server.job(&id);
    assert_eq!((&job["state"], &job["reason"]), (&json!("cancelled"), &json!("cancelled")));
}
