// SPDX-License-Identifier: Apache-2.0
//! `POST /enqueue/batch`: all or nothing, in order, up to its limits.

use serde_json::{Value, json};

use crate::fixture::{Api, name, shared, text};

#[test]
fn jobs_of_a_batch_keep_their_order() {
    let (server, queue) = (shared(), name("batch"));
    let chosen = name("mine");
    let jobs = json!([
        {"queue": queue, "payload": 0},
        {"queue": queue, "payload": 1, "id": chosen},
        {"queue": queue, "payload": 2, "priority": "high"},
        {"queue": queue, "payload": 3, "delay": "1h"},
    ]);
    let answer = server.post("/enqueue/batch", &json!({"jobs": jobs}));
    let ids: Vec<String> = answer.expect(201)["job_ids"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[1], chosen);
    assert!(answer.index().is_some());
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(server.job(id)["payload"], n, "ids are in the order of the jobs");
    }
    assert_eq!(server.job(&ids[3])["state"], "scheduled");
    let got: Vec<Value> = (0..3).map(|_| server.take(&queue)["payload"].clone()).collect();
    assert_eq!(got, [2, 0, 1]);
}

#[test]
fn ten_thousand_jobs_are_one_call() {
    let (server, queue) = (shared(), name("large"));
    let jobs: Vec<Value> = (0..10_000).map(|n| json!({"queue": queue, "payload": n})).collect();
    let reply = server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    assert_eq!(reply["job_ids"].as_array().unwrap().len(), 10_000);
    assert_eq!(server.count(&queue, "pending"), 10_000);
    let lease =
        server.post("/fetch/batch", &json!({"queues": [queue], "count": 1000, "timeout": 0})).expect(200);
    let payloads: Vec<u64> =
        lease["jobs"].as_array().unwrap().iter().map(|job| job["payload"].as_u64().unwrap()).collect();
    assert_eq!(payloads, (0..1000).collect::<Vec<u64>>());
    server.post(&format!("/queues/{queue}/clear"), &json!({})).expect(200);
}

#[test]
fn one_job_too_many_and_nothing_is_enqueued() {
    let (server, queue) = (shared(), name("over"));
    let jobs: Vec<Value> = (0..10_001).map(|_| json!({"queue": queue})).collect();
    let answer = server.post("/enqueue/batch", &json!({"jobs": jobs}));
    assert!(matches!(answer.status(), 400 | 413), "{}", answer.text());
    answer.is_problem();
    server.get(&format!("/queues/{queue}")).refused(404, "NOT_FOUND");
}

#[test]
fn a_bad_job_in_the_middle_and_nothing_is_enqueued() {
    let (server, queue) = (shared(), name("middle"));
    for (bad, field) in [
        (json!({"queue": queue, "priority": 101}), "jobs[2].priority"),
        (json!({"queue": "no such name!"}), "jobs[2].queue"),
        (json!({"payload": 1}), "jobs[2].queue"),
        (json!({"queue": queue, "prioritty": 1}), "jobs[2].prioritty"),
        (json!({"queue": queue, "tags": {"a": 1}}), "jobs[2].tags.a"),
        (json!([]), "jobs[2]"),
    ] {
        let good = json!({"queue": queue});
        let jobs = json!([good, good, bad, good]);
        let refused = server.post("/enqueue/batch", &json!({"jobs": jobs})).refused(400, "VALIDATION");
        assert_eq!(refused["details"]["field"], field, "{refused}");
        assert!(text(&refused["error"]).contains(field), "the sentence names it: {refused}");
    }
    server.get(&format!("/queues/{queue}")).refused(404, "NOT_FOUND");
}

#[test]
fn a_batch_that_the_rules_refuse_enqueues_nothing() {
    let (server, open, shut) = (shared(), name("open"), name("shut"));
    server.post(&format!("/queues/{shut}/drain"), &json!({})).expect(200);
    let jobs = json!([{"queue": open}, {"queue": shut}, {"queue": open}]);
    server.post("/enqueue/batch", &json!({"jobs": jobs})).refused(409, "QUEUE_DRAINING");
    server.get(&format!("/queues/{open}")).refused(404, "NOT_FOUND");
    let id = name("clash");
    server.enqueue(&json!({"queue": open, "id": id}));
    let jobs = json!([{"queue": open}, {"queue": open, "id": id, "payload": "other"}]);
    server.post("/enqueue/batch", &json!({"jobs": jobs})).refused(409, "CONFLICT");
    assert_eq!(server.count(&open, "pending"), 1);
}

#[test]
fn settling_in_a_batch_fails_item_by_item() {
    let (server, queue) = (shared(), name("items"));
    let jobs: Vec<Value> = (0..3).map(|n| json!({"queue": queue, "payload": n})).collect();
    let wrong = json!({"job_id": name("nobody"), "lease_token": "1.0", "error": "x"});
    for (verb, list, status) in
        [("release", "releases", "released"), ("fail", "fails", "retrying"), ("ack", "acks", "completed")]
    {
        server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
        let body = json!({"queues": [queue], "count": 3, "timeout": 0});
        let leases = server.post("/fetch/batch", &body).expect(200)["jobs"].clone();
        let item = |n: usize| {
            let mut item = json!({"job_id": leases[n]["job_id"], "lease_token": leases[n]["lease_token"]});
            if verb == "fail" {
                item["error"] = json!("broken");
            }
            item
        };
        let mut typo = item(2);
        typo["tokken"] = json!(1);
        let mut foreign = item(1);
        foreign["lease_token"] = json!("99.0123456789abcdef");
        let mut unknown = wrong.clone();
        if verb != "fail" {
            unknown.as_object_mut().unwrap().remove("error");
        }
        let items = json!([item(0), foreign, typo, unknown, item(2)]);
        let answer = server.post(&format!("/{verb}/batch"), &json!({list: items}));
        let results = answer.expect(200)["results"].clone();
        let seen: Vec<(String, String)> = results
            .as_array()
            .unwrap()
            .iter()
            .map(|r| (text(&r["status"]), r["code"].as_str().unwrap_or_default().to_owned()))
            .collect();
        let expected = [
            (status, ""),
            ("error", "LEASE_LOST"),
            ("error", "VALIDATION"),
            ("error", "NOT_FOUND"),
            (status, ""),
        ];
        let expected: Vec<(String, String)> =
            expected.iter().map(|(s, c)| ((*s).to_owned(), (*c).to_owned())).collect();
        assert_eq!(seen, expected, "{verb}: {results}");
        assert_eq!(results[1]["job_id"], leases[1]["job_id"]);
        assert_eq!(
            server.job(&text(&leases[1]["job_id"]))["state"],
            "active",
            "a foreign token changes nothing"
        );
        server.post(&format!("/release/{}", text(&leases[1]["job_id"])), &json!({})).expect(200);
        server.post(&format!("/queues/{queue}/clear"), &json!({})).expect(200);
    }
}
