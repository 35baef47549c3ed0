// SPDX-License-Identifier: Apache-2.0
//! Looking at jobs and changing them: get, wait, list, timeline, retry, cancel, move, delete, patch, clone.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Api, millis, name, shared, text};
use crate::support::conn::Conn;
use crate::support::{Request, SOON};

#[test]
fn an_unknown_job_is_not_found_everywhere() {
    let server = shared();
    for id in
        [name("nobody"), "job_01ARZ3NDEKTSV4RRFFQ69G5FAV".into(), "a.b".into(), "x%20y".into(), "%00".into()]
    {
        for (method, path, body) in [
            ("GET", "", None),
            ("GET", "/wait?timeout=0", None),
            ("GET", "/stream", None),
            ("GET", "/timeline", None),
            ("DELETE", "", None),
            ("PATCH", "", Some(json!({"priority": 1}))),
            ("POST", "/retry", None),
            ("POST", "/cancel", None),
            ("POST", "/clone", None),
            ("POST", "/move", Some(json!({"queue": "q"}))),
        ] {
            let path = format!("/jobs/{id}{path}");
            let answer = match body {
                Some(body) => server.send(&Request::json(method, &path, &body)),
                None => server.call(method, &path),
            };
            let refused = answer.refused(404, "NOT_FOUND");
            assert!(text(&refused["error"]).starts_with("there is no job"), "{method} {path}: {refused}");
        }
    }
}

#[test]
fn wait_answers_when_the_job_is_finished() {
    let (server, queue) = (shared(), name("wait"));
    let id = server.enqueue(&json!({"queue": queue}));
    let now = server.get(&format!("/jobs/{id}/wait?timeout=0")).expect(200);
    assert_eq!(now["state"], "pending", "no time to wait: as it is");
    let mut waiting = Conn::open(server.addr()).unwrap();
    waiting.send(&Request::get(&format!("/jobs/{id}/wait?timeout=50")).bytes(server.addr(), false)).unwrap();
    let lease = server.take(&queue);
    server.settle("ack", &lease, json!({"result": [7]})).expect(200);
    let deadline = Instant::now() + SOON;
    assert_eq!(waiting.head("GET", deadline).expect("long before the 50 s are over").status, 200);
    let job: Value = serde_json::from_slice(&waiting.body(deadline).unwrap()).unwrap();
    assert_eq!((&job["id"], &job["state"], &job["result"]), (&json!(id), &json!("completed"), &json!([7])));
    let start = Instant::now();
    assert_eq!(server.get(&format!("/jobs/{id}/wait")).expect(200)["state"], "completed");
    assert!(start.elapsed() < Duration::from_secs(10), "a finished job is not waited for");
}

#[test]
fn a_deleted_job_ends_the_wait() {
    let (server, queue) = (shared(), name("wait-gone"));
    let id = server.enqueue(&json!({"queue": queue}));
    let mut waiting = Conn::open(server.addr()).unwrap();
    waiting.send(&Request::get(&format!("/jobs/{id}/wait?timeout=50")).bytes(server.addr(), false)).unwrap();
    server.call("DELETE", &format!("/jobs/{id}")).expect(204);
    let head = waiting.head("GET", Instant::now() + SOON).expect("long before the 50 s are over");
    assert_eq!(head.status, 404);
}

#[test]
fn listings_are_newest_first_in_pages() {
    let (server, queue) = (shared(), name("list"));
    let jobs: Vec<Value> = (0..25).map(|n| json!({"queue": queue, "payload": n})).collect();
    let ids = server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201)["job_ids"].clone();
    let mut newest_first: Vec<String> = ids.as_array().unwrap().iter().map(text).collect();
    newest_first.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        assert!(page < 9, "pages without an end");
        let reply = server.get(&format!("/jobs?queue={queue}&limit=10{cursor}")).expect(200);
        seen.extend(reply["jobs"].as_array().unwrap().iter().map(|job| text(&job["id"])));
        if page == 0 {
            // What is enqueued while somebody pages through changes nothing of the rest.
            server.enqueue(&json!({"queue": queue}));
        }
        assert_eq!(reply["has_more"], !reply["cursor"].is_null());
        match reply["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, newest_first);
    let reply = server.get(&format!("/jobs?queue={queue}&state=active")).expect(200);
    assert_eq!((&reply["jobs"], &reply["has_more"]), (&json!([]), &json!(false)));
    let lease = server.take(&queue);
    let reply = server.get(&format!("/jobs?queue={queue}&state=active")).expect(200);
    assert_eq!(reply["jobs"][0]["id"], lease["job_id"]);
    assert_eq!(reply["jobs"].as_array().unwrap().len(), 1);
    let reply = server.get(&format!("/jobs?queue={}", name("unheard-of"))).expect(200);
    assert_eq!(reply["jobs"], json!([]));
}

#[test]
fn every_state_can_be_listed() {
    let (server, queue) = (shared(), name("states"));
    let enqueue = |more: Value| {
        server.enqueue(&crate::fixture::merged(json!({"queue": queue, "max_retries": 1}), &more))
    };
    let done = enqueue(json!({}));
    server.settle("ack", &server.take(&queue), json!({})).expect(200);
    let dead = enqueue(json!({}));
    server.settle("fail", &server.take(&queue), json!({"error": "x", "retry": false})).expect(200);
    let retrying = enqueue(json!({}));
    server.settle("fail", &server.take(&queue), json!({"error": "x"})).expect(200);
    let active = enqueue(json!({}));
    server.take(&queue);
    let cancelled = enqueue(json!({}));
    server.post(&format!("/jobs/{cancelled}/cancel"), &json!({})).expect(200);
    let scheduled = enqueue(json!({"delay": "1h"}));
    let pending = enqueue(json!({}));
    for (state, id) in [
        ("completed", done),
        ("dead", dead),
        ("retrying", retrying),
        ("active", active),
        ("cancelled", cancelled),
        ("scheduled", scheduled),
        ("pending", pending),
    ] {
        let reply = server.get(&format!("/jobs?queue={queue}&state={state}")).expect(200);
        let listed: Vec<String> =
            reply["jobs"].as_array().unwrap().iter().map(|job| text(&job["id"])).collect();
        assert_eq!(listed, [id], "{state}");
        assert_eq!(server.count(&queue, state), 1, "{state}");
    }
    for state in ["blocked", "held"] {
        assert_eq!(server.get(&format!("/jobs?queue={queue}&state={state}")).expect(200)["jobs"], json!([]));
    }
}

#[test]
fn a_timeline_tells_what_happened() {
    let (server, queue) = (shared(), name("story"));
    let id = server.enqueue(&json!({"queue": queue, "retry_backoff": "none"}));
    server.settle("fail", &server.take(&queue), json!({"error": "x"})).expect(200);
    server.settle("release", &server.take(&queue), json!({})).expect(200);
    server.settle("ack", &server.take(&queue), json!({})).expect(200);
    let timeline = server.get(&format!("/jobs/{id}/timeline")).expect(200);
    let events = timeline["events"].as_array().unwrap();
    let kinds: Vec<String> = events.iter().map(|event| text(&event["type"])).collect();
    assert_eq!(
        kinds,
        [
            "job.enqueued",
            "job.started",
            "job.failed",
            "job.started",
            "job.released",
            "job.started",
            "job.completed"
        ]
    );
    assert_eq!(
        (&events[1]["by"], &events[1]["attempt"], &events[3]["attempt"]),
        (&json!("w"), &json!(1), &json!(2))
    );
    assert!(events.windows(2).all(|pair| millis(&pair[0]["at"]) <= millis(&pair[1]["at"])));
    assert_eq!((&timeline["job_id"], &timeline["dropped"]), (&json!(id), &json!(0)));
}

#[test]
fn retry_needs_a_job_that_waits_or_has_ended_badly() {
    let (server, queue) = (shared(), name("retry"));
    let id = server.enqueue(&json!({"queue": queue, "delay": "1h"}));
    assert_eq!(
        server.call("POST", &format!("/jobs/{id}/retry")).expect(200)["state"],
        "pending",
        "scheduled: now"
    );
    server.post(&format!("/jobs/{id}/retry"), &json!({})).refused(409, "CONFLICT");
    let lease = server.take(&queue);
    server.post(&format!("/jobs/{id}/retry"), &json!({})).refused(409, "CONFLICT");
    server.settle("ack", &lease, json!({})).expect(200);
    server.post(&format!("/jobs/{id}/retry"), &json!({})).refused(409, "CONFLICT");
    assert_eq!(server.job(&id)["state"], "completed");
}

#[test]
fn a_waiting_job_is_cancelled_at_once() {
    let (server, queue) = (shared(), name("cancel"));
    let id = server.enqueue(&json!({"queue": queue}));
    let job = server.post(&format!("/jobs/{id}/cancel"), &json!({})).expect(200);
    assert_eq!(
        (&job["state"], &job["status"], &job["reason"]),
        (&json!("cancelled"), &json!("cancelled"), &json!("cancelled"))
    );
    assert!(server.is_empty(&queue));
    server.post(&format!("/jobs/{id}/cancel"), &json!({})).expect(200);
    let job = server.post(&format!("/jobs/{id}/retry"), &json!({})).expect(200);
    assert_eq!((&job["state"], &job["reason"]), (&json!("pending"), &Value::Null));
}

#[test]
fn a_running_job_is_asked_to_stop_and_its_answer_counts() {
    let (server, queue) = (shared(), name("asked"));
    for (verb, body, end) in [
        ("ack", json!({"result": 1}), "completed"),
        ("fail", json!({"error": "stopped"}), "cancelled"),
        ("release", json!({}), "cancelled"),
    ] {
        let id = server.enqueue(&json!({"queue": queue}));
        let lease = server.take(&queue);
        let job = server.post(&format!("/jobs/{id}/cancel"), &json!({})).expect(200);
        assert_eq!((&job["state"], &job["status"]), (&json!("active"), &json!("cancelling")), "{verb}");
        assert!(!job["cancel_requested_at"].is_null());
        assert_eq!(server.beat(&lease, json!({}))["status"], "cancel");
        assert_eq!(server.beat(&lease, json!({"checkpoint": 1}))["status"], "cancel");
        server.settle(verb, &lease, body).expect(200);
        assert_eq!(server.job(&id)["state"], end, "{verb}");
        if end == "completed" {
            server.post(&format!("/jobs/{id}/cancel"), &json!({})).refused(409, "CONFLICT");
        }
    }
}

#[test]
fn a_job_moves_to_another_queue() {
    let (server, here, there) = (shared(), name("here"), name("there"));
    let id = server.enqueue(&json!({"queue": here, "payload": 1}));
    let to = |queue: &str| server.post(&format!("/jobs/{id}/move"), &json!({"queue": queue}));
    assert_eq!(to(&there).expect(200)["queue"], json!(there));
    assert!(server.is_empty(&here));
    assert_eq!((server.count(&here, "pending"), server.count(&there, "pending")), (0, 1));
    let lease = server.take(&there);
    assert_eq!(lease["job_id"], id);
    to(&here).refused(409, "CONFLICT");
    server.settle("release", &lease, json!({})).expect(200);
    server.post(&format!("/queues/{here}/drain"), &json!({})).expect(200);
    to(&here).refused(409, "QUEUE_DRAINING");
    to("not a name").refused(400, "VALIDATION");
    assert_eq!(server.job(&id)["queue"], json!(there));
}

#[test]
fn a_deleted_job_is_gone() {
    let (server, queue) = (shared(), name("delete"));
    let id = server.enqueue(&json!({"queue": queue}));
    let lease = server.take(&queue);
    server.call("DELETE", &format!("/jobs/{id}")).refused(409, "CONFLICT");
    server.settle("release", &lease, json!({})).expect(200);
    let answer = server.call("DELETE", &format!("/jobs/{id}"));
    assert_eq!((answer.status(), answer.body.len()), (204, 0));
    assert!(answer.index().is_some());
    server.get(&format!("/jobs/{id}")).refused(404, "NOT_FOUND");
    server.call("DELETE", &format!("/jobs/{id}")).refused(404, "NOT_FOUND");
    assert!(server.is_empty(&queue));
    assert_eq!(server.count(&queue, "pending"), 0);
}

#[test]
fn a_patch_changes_what_waits() {
    let (server, queue) = (shared(), name("patch"));
    let other = server.enqueue(&json!({"queue": queue}));
    let id = server.enqueue(&json!({"queue": queue, "payload": 1, "tags": {"old": "1"}}));
    let patch = |body: &Value| server.send(&Request::json("PATCH", &format!("/jobs/{id}"), body));
    let job =
        patch(&json!({"payload": {"new": true}, "priority": "critical", "tags": {"a": "b"}})).expect(200);
    assert_eq!(
        (&job["payload"], &job["priority"], &job["tags"]),
        (&json!({"new": true}), &json!(100), &json!({"a": "b"}))
    );
    let job = patch(&json!({"scheduled_at": "2031-01-01T00:00:00Z"})).expect(200);
    assert_eq!(job["state"], "scheduled");
    let job = patch(&json!({"scheduled_at": "2001-01-01T00:00:00Z", "payload": null})).expect(200);
    assert_eq!((&job["state"], &job["payload"]), (&json!("pending"), &Value::Null));
    let lease = server.take(&queue);
    assert_eq!(lease["job_id"], id, "its new priority counts: before {other}");
    patch(&json!({"priority": 1})).refused(409, "CONFLICT");
    server.settle("ack", &lease, json!({})).expect(200);
    patch(&json!({"priority": 1})).refused(409, "CONFLICT");
    assert_eq!(server.job(&id)["priority"], 100);
}

#[test]
fn a_clone_is_a_new_job_with_the_same_work() {
    let (server, queue) = (shared(), name("clone"));
    let key = name("key");
    let body = json!({"queue": queue, "payload": [1], "priority": 9, "tags": {"a": "b"}, "unique_key": key, "id": name("chosen")});
    let id = server.enqueue(&body);
    server.settle("ack", &server.take(&queue), json!({"result": "r"})).expect(200);
    let answer = server.call("POST", &format!("/jobs/{id}/clone"));
    let reply = answer.expect(201);
    let copy = text(&reply["job_id"]);
    assert_ne!(copy, id);
    assert_eq!((&reply["state"], &reply["unique_existing"]), (&json!("pending"), &json!(false)));
    let job = server.job(&copy);
    for (field, value) in [
        ("payload", json!([1])),
        ("priority", json!(9)),
        ("tags", json!({"a": "b"})),
        ("attempt", json!(1)),
        ("unique_key", Value::Null),
        ("result", Value::Null),
        ("deliveries", json!(0)),
    ] {
        assert_eq!(job[field], value, "{field} of {job}");
    }
    server.post(&format!("/queues/{queue}/drain"), &json!({})).expect(200);
    server.call("POST", &format!("/jobs/{id}/clone")).refused(409, "QUEUE_DRAINING");
}
