// SPDX-License-Identifier: Apache-2.0
//! Ack, fail, release and heartbeat of one job: tokens, repeats, and what is kept.

use serde_json::{Value, json};

use crate::fixture::{Api, millis, name, shared, text};
use crate::support::Server;

/// A leased job in a queue of its own.
fn leased(server: &Server, more: &Value) -> (String, Value) {
    let queue = name("work");
    server.enqueue(&crate::fixture::merged(json!({"queue": queue}), more));
    let lease = server.take(&queue);
    (queue, lease)
}

#[test]
fn an_ack_completes_the_job_with_its_result() {
    let server = shared();
    let (queue, lease) = leased(&server, &json!({}));
    let id = text(&lease["job_id"]);
    let answer = server.settle("ack", &lease, json!({"result": {"rows": 3}, "checkpoint": [1]}));
    assert_eq!(answer.expect(200), json!({"job_id": id, "status": "completed"}));
    assert!(answer.index().is_some());
    let job = server.job(&id);
    assert_eq!(
        (&job["state"], &job["result"], &job["checkpoint"]),
        (&json!("completed"), &json!({"rows": 3}), &json!([1]))
    );
    assert_eq!((&job["worker_id"], &job["lease_expires_at"]), (&json!("w"), &Value::Null));
    assert!(millis(&job["completed_at"]) >= millis(&job["started_at"]));
    assert!(server.is_empty(&queue));
    assert_eq!(server.count(&queue, "completed"), 1);
}

#[test]
fn a_repeated_call_gets_the_same_answer() {
    let server = shared();
    for (verb, body) in [
        ("ack", json!({"result": 1})),
        ("fail", json!({"error": "x", "retry_after": "1h"})),
        ("fail", json!({"error": "x", "retry": false})),
        ("release", json!({"delay": "1h"})),
    ] {
        let (queue, lease) = leased(&server, &json!({}));
        let first = server.settle(verb, &lease, body.clone());
        first.expect(200);
        let job = server.job(&text(&lease["job_id"]));
        let again = server.settle(verb, &lease, body.clone());
        assert_eq!((again.status(), again.json()), (200, first.json()), "{verb} {body}");
        assert_eq!(server.job(&text(&lease["job_id"])), job, "the repeat changed nothing: {verb}");
        // Another verb with the same token comes too late.
        let other = if verb == "ack" { ("fail", json!({"error": "late"})) } else { ("ack", json!({})) };
        server.settle(other.0, &lease, other.1).refused(409, "LEASE_LOST");
        assert_eq!(server.job(&text(&lease["job_id"])), job, "{verb} stands");
        drop(queue);
    }
}

#[test]
fn a_foreign_token_is_refused_and_changes_nothing() {
    let server = shared();
    let (queue, lease) = leased(&server, &json!({}));
    let id = text(&lease["job_id"]);
    let before = server.job(&id);
    for token in ["made-up", "1.0000000000000000", "2.0000000000000001", "x"] {
        for (verb, body) in
            [("ack", json!({"result": 1})), ("fail", json!({"error": "x"})), ("release", json!({}))]
        {
            let mut foreign = lease.clone();
            foreign["lease_token"] = json!(token);
            let refused = server.settle(verb, &foreign, body).refused(409, "LEASE_LOST");
            assert!(text(&refused["error"]).contains(&id), "{refused}");
        }
        let mut foreign = lease.clone();
        foreign["lease_token"] = json!(token);
        for more in [json!({}), json!({"checkpoint": "stolen"}), json!({"progress": {"current": 1}})] {
            let beat = server.beat(&foreign, more);
            assert_eq!((&beat["status"], &beat["code"]), (&json!("lost"), &json!("LEASE_LOST")));
        }
    }
    assert_eq!(server.job(&id), before);
    assert_eq!(server.count(&queue, "active"), 1);
    server.settle("ack", &lease, json!({})).expect(200);
}

#[test]
fn an_old_token_is_refused_after_the_job_was_leased_again() {
    let server = shared();
    let (queue, old) = leased(&server, &json!({}));
    server.settle("release", &old, json!({})).expect(200);
    let new = server.take(&queue);
    assert_ne!(new["lease_token"], old["lease_token"], "every lease has a fresh token");
    for (verb, body) in [("ack", json!({})), ("fail", json!({"error": "x"}))] {
        server.settle(verb, &old, body).refused(409, "LEASE_LOST");
    }
    assert_eq!(server.beat(&old, json!({}))["status"], "lost");
    assert_eq!(server.job(&text(&new["job_id"]))["state"], "active");
    server.settle("ack", &new, json!({})).expect(200);
}

#[test]
fn without_a_token_the_current_lease_is_meant() {
    let server = shared();
    let (_, lease) = leased(&server, &json!({}));
    let id = text(&lease["job_id"]);
    let ack = |body: &Value| server.post(&format!("/ack/{id}"), body);
    ack(&json!({"worker_id": "somebody-else"})).refused(409, "LEASE_LOST");
    assert_eq!(server.job(&id)["state"], "active");
    ack(&json!({"worker_id": "w"})).expect(200);
    let (_, lease) = leased(&server, &json!({}));
    let path = format!("/ack/{}", text(&lease["job_id"]));
    server.call("POST", &path).expect(200);
    server.call("POST", &path).refused(409, "LEASE_LOST");
}

#[test]
fn a_job_that_is_not_leased_cannot_be_settled() {
    let (server, queue) = (shared(), name("idle"));
    let id = server.enqueue(&json!({"queue": queue}));
    for (verb, body) in [("ack", json!({})), ("fail", json!({"error": "x"})), ("release", json!({}))] {
        server.post(&format!("/{verb}/{id}"), &body).refused(409, "LEASE_LOST");
        let nobody = name("nobody");
        server.post(&format!("/{verb}/{nobody}"), &body).refused(404, "NOT_FOUND");
        server.post(&format!("/{verb}/job_00000000000000000000000000"), &body).refused(404, "NOT_FOUND");
    }
    assert_eq!(server.job(&id)["state"], "pending");
}

#[test]
fn a_released_job_waits_as_before_or_for_the_delay() {
    let server = shared();
    let (queue, lease) = leased(&server, &json!({}));
    let id = text(&lease["job_id"]);
    assert_eq!(server.settle("release", &lease, json!({})).expect(200)["status"], "released");
    let job = server.job(&id);
    assert_eq!(
        (&job["state"], &job["attempt"], &job["deliveries"]),
        (&json!("pending"), &json!(1), &json!(1))
    );
    let lease = server.take(&queue);
    assert_eq!(lease["attempt"], 1);
    let mut news = server.news(&queue);
    server.settle("release", &lease, json!({"delay": "200ms"})).expect(200);
    assert_eq!(server.job(&id)["state"], "scheduled");
    assert!(server.is_empty(&queue));
    news.about("job.promoted", &id);
    assert_eq!(server.take(&queue)["job_id"], id);
    assert_eq!(server.job(&id)["deliveries"], 3);
}

#[test]
fn a_released_job_keeps_its_place() {
    let (server, queue) = (shared(), name("place"));
    let first = server.enqueue(&json!({"queue": queue}));
    let second = server.enqueue(&json!({"queue": queue}));
    let lease = server.take(&queue);
    server.settle("release", &lease, json!({})).expect(200);
    assert_eq!(server.take(&queue)["job_id"], first);
    assert_eq!(server.take(&queue)["job_id"], second);
}

#[test]
fn a_heartbeat_extends_the_lease_and_keeps_what_it_carries() {
    let (server, queue) = (shared(), name("alive"));
    let id = server.enqueue(&json!({"queue": queue}));
    let lease = server.take_with(&queue, &json!({"lease_duration": "30s"}));
    let beat = server.beat(&lease, json!({}));
    assert_eq!(beat["status"], "ok");
    assert!(millis(&beat["lease_expires_at"]) >= millis(&lease["lease_expires_at"]), "never shorter");
    let beat = server.beat(
        &lease,
        json!({"checkpoint": {"page": 3}, "progress": {"current": 3, "total": 10, "message": "half"}}),
    );
    assert_eq!(beat["status"], "ok");
    let job = server.job(&id);
    assert_eq!(job["checkpoint"], json!({"page": 3}));
    assert_eq!(job["progress"], json!({"current": 3, "total": 10, "message": "half"}));
    assert_eq!(millis(&job["lease_expires_at"]), millis(&beat["lease_expires_at"]));
    // The next attempt gets the checkpoint.
    server.settle("release", &lease, json!({})).expect(200);
    assert_eq!(server.take(&queue)["checkpoint"], json!({"page": 3}));
}

/// Else one checkpoint that is too large costs every job of a worker its lease.
#[test]
fn a_bad_item_of_a_heartbeat_costs_neither_its_own_lease_nor_the_others() {
    let (server, queue) = (shared(), name("beats"));
    let leases: Vec<Value> = (0..2)
        .map(|_| {
            server.enqueue(&json!({"queue": queue}));
            server.take(&queue)
        })
        .collect();
    let id = |at: usize| text(&leases[at]["job_id"]);
    let huge = "x".repeat(1 << 20);
    let token = |at: usize| leases[at]["lease_token"].clone();
    let jobs = json!({
        id(0): {"lease_token": token(0), "checkpoint": huge},
        id(1): {"lease_token": token(1)},
    });
    let beats = server.post("/heartbeat", &json!({"jobs": jobs})).expect(200)["jobs"].clone();
    assert_eq!(
        (&beats[id(0)]["status"], &beats[id(0)]["code"]),
        (&json!("error"), &json!("PAYLOAD_TOO_LARGE"))
    );
    assert!(beats[id(0)]["lease_expires_at"].is_string(), "it lives all the same");
    assert_eq!(beats[id(1)]["status"], "ok");
    assert_eq!(server.job(&id(0))["checkpoint"], json!(null));
}

#[test]
fn a_heartbeat_answers_each_job_for_itself() {
    let server = shared();
    let (_, one) = leased(&server, &json!({}));
    let (_, two) = leased(&server, &json!({}));
    let nobody = name("nobody");
    let (first, second) = (text(&one["job_id"]), text(&two["job_id"]));
    server.post(&format!("/jobs/{second}/cancel"), &json!({})).expect(200);
    let jobs = json!({
        &first: {"lease_token": one["lease_token"]},
        &second: {"lease_token": two["lease_token"]},
        &nobody: {},
    });
    let reply =
        server.post("/heartbeat", &json!({"worker_id": "w", "jobs": jobs})).expect(200)["jobs"].clone();
    assert_eq!(reply[&first]["status"], "ok");
    assert_eq!(reply[&second]["status"], "cancel");
    assert_eq!((&reply[&nobody]["status"], &reply[&nobody]["code"]), (&json!("lost"), &json!("NOT_FOUND")));
    assert_eq!(server.post("/heartbeat", &json!({"jobs": {}})).expect(200), json!({"jobs": {}}));
}
