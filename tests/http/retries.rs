// SPDX-License-Identifier: Apache-2.0
//! Failing attempts: backoff of every kind, the last attempt, and failures that do not count.

use serde_json::{Value, json};

use crate::fixture::{Api, merged, millis, name, shared, text};

/// Fails a job again and again, sent back by hand; the delays the broker chose, in milliseconds.
fn delays(policy: &Value, failures: usize) -> Vec<i64> {
    let (server, queue) = (shared(), name("backoff"));
    let base = json!({"queue": queue, "max_retries": 20, "retry_base_delay": "100s", "retry_jitter": 0});
    let id = server.enqueue(&merged(base, policy));
    let mut delays = Vec::new();
    for failure in 1..=failures {
        let lease = server.take(&queue);
        assert_eq!(lease["attempt"], failure);
        let reply = server.settle("fail", &lease, json!({"error": "again"})).expect(200);
        assert_eq!(reply["attempts_remaining"], 21 - failure);
        let job = server.job(&id);
        assert_eq!((&reply["status"], &job["scheduled_at"]), (&json!("retrying"), &reply["next_attempt_at"]));
        // Without a delay it is a retry for the worker, and ready at once.
        let at_once = reply["next_attempt_at"].is_null();
        assert_eq!(job["state"], if at_once { "pending" } else { "retrying" });
        if at_once {
            delays.push(0);
            continue;
        }
        delays.push(millis(&reply["next_attempt_at"]) - millis(&job["failed_at"]));
        assert!(server.is_empty(&queue), "not before its time");
        assert_eq!(server.post(&format!("/jobs/{id}/retry"), &json!({})).expect(200)["state"], "pending");
    }
    delays
}

#[test]
fn every_backoff_has_its_delays() {
    let of = |kind: &str| delays(&json!({"retry_backoff": kind, "retry_max_delay": "1h"}), 4);
    assert_eq!(of("none"), [0, 0, 0, 0]);
    assert_eq!(of("fixed"), [100_000; 4]);
    assert_eq!(of("linear"), [100_000, 200_000, 300_000, 400_000]);
    assert_eq!(of("exponential"), [100_000, 200_000, 400_000, 800_000]);
    let bounded = delays(&json!({"retry_backoff": "exponential", "retry_max_delay": "250s"}), 4);
    assert_eq!(bounded, [100_000, 200_000, 250_000, 250_000]);
}

#[test]
fn jitter_is_added_within_its_share() {
    let spread = delays(&json!({"retry_backoff": "fixed", "retry_jitter": 0.5}), 12);
    assert!(spread.iter().all(|delay| (100_000..=150_000).contains(delay)), "{spread:?}");
    assert!(spread.iter().any(|delay| *delay != spread[0]), "twelve equal draws: {spread:?}");
}

#[test]
fn the_last_attempt_leaves_the_job_dead() {
    let (server, queue) = (shared(), name("last"));
    let id = server.enqueue(&json!({"queue": queue, "max_retries": 2, "retry_backoff": "none"}));
    for (attempt, remaining, status) in [(1, 2, "retrying"), (2, 1, "retrying"), (3, 0, "dead")] {
        let lease = server.take(&queue);
        assert_eq!(lease["attempt"], attempt);
        let body = json!({"error": format!("boom {attempt}"), "backtrace": "at main"});
        let reply = server.settle("fail", &lease, body).expect(200);
        assert_eq!((&reply["status"], &reply["attempts_remaining"]), (&json!(status), &json!(remaining)));
    }
    let job = server.job(&id);
    assert_eq!(
        (&job["state"], &job["reason"], &job["deliveries"]),
        (&json!("dead"), &json!("failed"), &json!(3))
    );
    let errors: Vec<String> = job["errors"].as_array().unwrap().iter().map(|e| text(&e["error"])).collect();
    assert_eq!(errors, ["boom 1", "boom 2", "boom 3"]);
    assert_eq!(job["errors"][2]["attempt"], 3);
    assert_eq!(job["errors"][2]["backtrace"], "at main");
    assert!(server.is_empty(&queue));
    // A person's retry gives it its whole policy again; its errors stay for reading.
    let job = server.post(&format!("/jobs/{id}/retry"), &json!({})).expect(200);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("pending"), &json!(1)));
    assert_eq!(job["errors"].as_array().unwrap().len(), 3);
}

#[test]
fn retry_false_is_the_end() {
    let (server, queue) = (shared(), name("final"));
    let id = server.enqueue(&json!({"queue": queue, "max_retries": 9}));
    let lease = server.take(&queue);
    let reply = server.settle("fail", &lease, json!({"error": "never", "retry": false})).expect(200);
    assert_eq!(
        (&reply["status"], &reply["attempts_remaining"], &reply["next_attempt_at"]),
        (&json!("dead"), &json!(0), &Value::Null)
    );
    assert_eq!(server.job(&id)["reason"], "failed");
}

#[test]
fn retry_after_replaces_the_backoff() {
    let (server, queue) = (shared(), name("after"));
    let id = server.enqueue(&json!({"queue": queue, "retry_jitter": 1}));
    let lease = server.take(&queue);
    let reply = server.settle("fail", &lease, json!({"error": "x", "retry_after": "123s"})).expect(200);
    let job = server.job(&id);
    assert_eq!(
        millis(&reply["next_attempt_at"]) - millis(&job["failed_at"]),
        123_000,
        "exactly, without jitter"
    );
    assert_eq!(job["attempt"], 2);
}

#[test]
fn a_rate_limit_spends_no_attempt() {
    let (server, queue) = (shared(), name("slow-down"));
    let id = server.enqueue(&json!({"queue": queue, "max_retries": 0}));
    for _ in 0..3 {
        let lease = server.take(&queue);
        let body = json!({"error": "429", "kind": "rate_limited", "retry_after": "50s"});
        let reply = server.settle("fail", &lease, body).expect(200);
        assert_eq!((&reply["status"], &reply["attempts_remaining"]), (&json!("retrying"), &json!(1)));
        let job = server.job(&id);
        assert_eq!((&job["attempt"], &job["state"]), (&json!(1), &json!("retrying")));
        server.post(&format!("/jobs/{id}/retry"), &json!({})).expect(200);
    }
    assert_eq!(server.job(&id)["deliveries"], 3);
}

#[test]
fn a_retry_comes_back_by_itself() {
    let (server, queue) = (shared(), name("back"));
    let id = server.enqueue(&json!({"queue": queue, "retry_backoff": "fixed", "retry_base_delay": "150ms"}));
    let lease = server.take(&queue);
    let mut news = server.news(&queue);
    let body = json!({"error": "x", "checkpoint": {"done": 1}});
    assert_eq!(server.settle("fail", &lease, body).expect(200)["status"], "retrying");
    assert_eq!(news.about("job.failed", &id).json()["state"], "retrying");
    news.about("job.promoted", &id);
    let lease = server.take(&queue);
    assert_eq!((&lease["attempt"], &lease["checkpoint"]), (&json!(2), &json!({"done": 1})));
}
