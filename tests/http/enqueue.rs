// SPDX-License-Identifier: Apache-2.0
//! `POST /enqueue`: fields, defaults, due times, and calls that are repeated.

use serde_json::{Value, json};

use crate::fixture::{Api, millis, name, shared, text};
use crate::support::Request;

#[test]
fn a_job_with_nothing_but_a_queue_has_every_default() {
    let (server, queue) = (shared(), name("plain"));
    let answer = server.post("/enqueue", &json!({"queue": queue}));
    let reply = answer.expect(201);
    let id = text(&reply["job_id"]);
    assert!(id.starts_with("job_") && id.len() == 30, "job_ and a ULID: {id}");
    assert_eq!((&reply["state"], &reply["unique_existing"]), (&json!("pending"), &json!(false)));
    assert!(answer.index().is_some_and(|index| index > 0), "the log index is in the answer");
    let job = server.job(&id);
    for (field, value) in [
        ("id", json!(id)),
        ("namespace", json!("default")),
        ("queue", json!(queue)),
        ("state", json!("pending")),
        ("payload", Value::Null),
        ("priority", json!(50)),
        ("attempt", json!(1)),
        ("max_retries", json!(3)),
        ("retry_backoff", json!("exponential")),
        ("retry_base_delay_ms", json!(5_000)),
        ("retry_max_delay_ms", json!(600_000)),
        ("retry_jitter", json!(0.1)),
        ("timeout_ms", Value::Null),
        ("unique_key", Value::Null),
        ("tags", json!({})),
        ("errors", json!([])),
        ("crashes", json!(0)),
        ("deliveries", json!(0)),
        ("max_crashes", json!(3)),
        ("expire_at", Value::Null),
        ("started_at", Value::Null),
    ] {
        assert_eq!(job[field], value, "{field} of {job}");
    }
    let age = millis(&server.get("/info").expect(200)["now"]) - millis(&job["created_at"]);
    assert!((0..60_000).contains(&age), "created {age} ms ago");
}

#[test]
fn every_field_arrives() {
    let (server, queue, id) = (shared(), name("full"), name("chosen_ID"));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let key = name("key");
    let body = json!({
        "queue": queue, "payload": {"a": [1, 2.5, "x"]}, "id": id, "priority": 7, "max_retries": 9,
        "retry_backoff": "linear", "retry_base_delay": "250ms", "retry_max_delay": "1h", "retry_jitter": 0.25,
        "timeout": "10m", "unique_key": key, "unique_period": "1d", "delay": 3600, "expire_after": "7d",
        "tags": {"customer": "ACME & söhne", "b": ""}, "parent_id": "parent-1", "max_crashes": 5,
        "on_crash_queue": "clinic", "trace": trace,
    });
    assert_eq!(server.enqueue(&body), id);
    let job = server.job(&id);
    for (field, value) in [
        ("id", json!(id)),
        ("state", json!("scheduled")),
        ("payload", json!({"a": [1, 2.5, "x"]})),
        ("priority", json!(7)),
        ("max_retries", json!(9)),
        ("retry_backoff", json!("linear")),
        ("retry_base_delay_ms", json!(250)),
        ("retry_max_delay_ms", json!(3_600_000)),
        ("retry_jitter", json!(0.25)),
        ("timeout_ms", json!(600_000)),
        ("unique_key", json!(key)),
        ("tags", json!({"customer": "ACME & söhne", "b": ""})),
        ("parent_id", json!("parent-1")),
        ("max_crashes", json!(5)),
        ("on_crash_queue", json!("clinic")),
        ("trace", json!(trace)),
    ] {
        assert_eq!(job[field], value, "{field} of {job}");
    }
    let created = millis(&job["created_at"]);
    assert_eq!(millis(&job["scheduled_at"]) - created, 3_600_000);
    assert_eq!(millis(&job["expire_at"]) - created, 7 * 86_400_000);
}

#[test]
fn priorities_have_names() {
    let (server, queue) = (shared(), name("named"));
    for (word, number) in [("low", 25), ("normal", 50), ("high", 75), ("critical", 100)] {
        let id = server.enqueue(&json!({"queue": queue, "priority": word}));
        assert_eq!(server.job(&id)["priority"], number, "{word}");
    }
    for number in [0, 100] {
        let id = server.enqueue(&json!({"queue": queue, "priority": number}));
        assert_eq!(server.job(&id)["priority"], number);
    }
}

#[test]
fn durations_are_text_or_seconds() {
    let (server, queue) = (shared(), name("spans"));
    for (span, ms) in [
        (json!("250ms"), 250),
        (json!("5s"), 5_000),
        (json!("10m"), 600_000),
        (json!("1h"), 3_600_000),
        (json!("7d"), 604_800_000),
        (json!(5), 5_000),
        (json!(0.25), 250),
    ] {
        let id = server.enqueue(&json!({"queue": queue, "timeout": span}));
        assert_eq!(server.job(&id)["timeout_ms"], ms, "{span}");
    }
}

#[test]
fn a_delayed_job_is_promoted_when_its_time_has_come() {
    let (server, queue) = (shared(), name("later"));
    let mut news = server.news(&queue);
    let reply = server.post("/enqueue", &json!({"queue": queue, "delay": "300ms"})).expect(201);
    assert_eq!(reply["state"], "scheduled");
    let id = text(&reply["job_id"]);
    assert!(server.is_empty(&queue), "it is not due");
    news.about("job.promoted", &id);
    let lease = server.take(&queue);
    assert_eq!(lease["job_id"], id);
    let job = server.job(&id);
    assert!(millis(&job["started_at"]) - millis(&job["created_at"]) >= 300, "not before its time: {job}");
}

#[test]
fn scheduled_at_waits_and_the_past_is_now() {
    let (server, queue) = (shared(), name("at"));
    let past = server.post("/enqueue", &json!({"queue": queue, "scheduled_at": "2001-02-03T04:05:06.789Z"}));
    assert_eq!(past.expect(201)["state"], "pending");
    let future = "2031-02-03T05:05:06.789+01:00";
    let id = server.enqueue(&json!({"queue": queue, "scheduled_at": future}));
    let job = server.job(&id);
    assert_eq!(
        (&job["state"], &job["scheduled_at"]),
        (&json!("scheduled"), &json!("2031-02-03T04:05:06.789Z"))
    );
    assert_eq!(server.count(&queue, "scheduled"), 1);
    assert_eq!(server.count(&queue, "pending"), 1);
}

#[test]
fn a_job_that_does_not_start_in_time_is_dead() {
    let (server, queue) = (shared(), name("expiring"));
    let mut news = server.news(&queue);
    let id = server.enqueue(&json!({"queue": queue, "expire_after": "200ms"}));
    let event = news.about("job.dead", &id);
    assert_eq!(event.json()["reason"], "expired");
    let job = server.job(&id);
    assert_eq!(
        (&job["state"], &job["reason"], &job["deliveries"]),
        (&json!("dead"), &json!("expired"), &json!(0))
    );
    assert!(server.is_empty(&queue));
}

#[test]
fn an_enqueue_with_an_id_can_be_repeated() {
    let (server, queue, id) = (shared(), name("repeat"), name("order"));
    let body = json!({"queue": queue, "id": id, "payload": {"total": 7}});
    let first = server.post("/enqueue", &body);
    assert_eq!(first.expect(201)["job_id"], id);
    let again = server.post("/enqueue", &body);
    assert_eq!(again.json(), first.json(), "the same again gives the first answer");
    assert!(matches!(again.status(), 200 | 201));
    assert_eq!(server.count(&queue, "pending"), 1, "and nothing new");
    let other = server.post("/enqueue", &json!({"queue": queue, "id": id, "payload": {"total": 8}}));
    other.refused(409, "CONFLICT");
    assert_eq!(server.job(&id)["payload"], json!({"total": 7}));
    let lease = server.take(&queue);
    server.settle("ack", &lease, json!({})).expect(200);
    assert_eq!(server.post("/enqueue", &body).json(), first.json(), "also when the job is done");
    assert!(server.is_empty(&queue), "a repeat does not run it again");
}

#[test]
fn an_idempotency_key_makes_a_call_repeatable() {
    let (server, queue, key) = (shared(), name("keyed"), name("call"));
    let call = |path: &str, body: &Value| {
        server.send(&Request::json("POST", path, body).header("idempotency-key", &key))
    };
    let body = json!({"queue": queue, "payload": 1});
    let first = call("/enqueue", &body);
    first.expect(201);
    assert_eq!(call("/enqueue", &body).json(), first.json());
    assert_eq!(server.count(&queue, "pending"), 1);
    call("/enqueue", &json!({"queue": queue, "payload": 2})).refused(409, "CONFLICT");
    assert_eq!(server.count(&queue, "pending"), 1);
    // Spelled differently it is still the same command, because what was parsed is compared.
    let spelled = format!(r#"{{ "payload" :1, "priority":"normal","queue":"{queue}" }}"#);
    let again = server.send(&Request::text("POST", "/enqueue", &spelled).header("idempotency-key", &key));
    assert_eq!(again.json(), first.json());
    let batch_key = name("batch");
    let batch = json!({"jobs": [{"queue": queue}, {"queue": queue}]});
    let send = |body: &Value| {
        server.send(&Request::json("POST", "/enqueue/batch", body).header("idempotency-key", &batch_key))
    };
    let first = send(&batch);
    first.expect(201);
    assert_eq!(send(&batch).json(), first.json());
    assert_eq!(server.count(&queue, "pending"), 3);
    send(&json!({"jobs": [{"queue": queue}]})).refused(409, "CONFLICT");
}
