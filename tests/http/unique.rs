// SPDX-License-Identifier: Apache-2.0
//! Unique keys: one live job per key, and completed jobs that answer for theirs.

use serde_json::json;

use crate::fixture::{Api, name, shared, text};

#[test]
fn a_held_key_answers_with_its_holder() {
    let (server, queue, key) = (shared(), name("unique"), name("key"));
    let body = json!({"queue": queue, "unique_key": key});
    let holder = server.enqueue(&body);
    let hit = server
        .post("/enqueue", &json!({"queue": name("elsewhere"), "unique_key": key, "payload": 2}))
        .expect(200);
    assert_eq!(
        (&hit["job_id"], &hit["unique_existing"], &hit["state"]),
        (&json!(holder), &json!(true), &json!("pending"))
    );
    let lease = server.take(&queue);
    let hit = server.post("/enqueue", &body).expect(200);
    assert_eq!(
        (&hit["job_id"], &hit["state"]),
        (&json!(holder), &json!("active")),
        "a running job holds it too"
    );
    server.settle("ack", &lease, json!({})).expect(200);
    assert_ne!(server.enqueue(&body), holder, "without a period the end frees it");
}

#[test]
fn every_way_to_end_but_completing_frees_the_key() {
    let server = shared();
    for way in ["dead", "cancelled", "deleted"] {
        let (queue, key) = (name("freed"), name("key"));
        let body = json!({"queue": queue, "unique_key": key, "unique_period": "1h", "max_retries": 0});
        let first = server.enqueue(&body);
        match way {
            "dead" => {
                let lease = server.take(&queue);
                server.settle("fail", &lease, json!({"error": "x"})).expect(200);
            }
            "cancelled" => drop(server.post(&format!("/jobs/{first}/cancel"), &json!({})).expect(200)),
            _ => assert!(matches!(server.call("DELETE", &format!("/jobs/{first}")).status(), 200 | 204)),
        }
        assert_ne!(server.enqueue(&body), first, "{way}");
    }
}

#[test]
fn a_completed_job_answers_for_its_key_until_the_period_ends() {
    let (server, queue, key) = (shared(), name("cached"), name("key"));
    let body = json!({"queue": queue, "unique_key": key, "unique_period": "1h", "payload": {"q": "6 x 7"}});
    let first = server.enqueue(&body);
    let lease = server.take(&queue);
    server.settle("ack", &lease, json!({"result": {"answer": 42}})).expect(200);
    let hit = server.post("/enqueue", &body).expect(200);
    assert_eq!(
        (&hit["job_id"], &hit["unique_existing"], &hit["state"]),
        (&json!(first), &json!(true), &json!("completed"))
    );
    let job = server.get(&format!("/jobs/{}/wait?timeout=0", text(&hit["job_id"]))).expect(200);
    assert_eq!((&hit["result"], &job["result"]), (&json!({"answer": 42}), &json!({"answer": 42})));
    assert!(server.is_empty(&queue), "nothing new was enqueued");
}

#[test]
fn a_batch_with_one_key_twice_enqueues_it_once() {
    let (server, queue, key) = (shared(), name("twice"), name("key"));
    let jobs =
        json!([{"queue": queue, "unique_key": key}, {"queue": queue, "unique_key": key}, {"queue": queue}]);
    let reply = server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    let ids = &reply["job_ids"];
    assert_eq!(ids[0], ids[1], "the second is answered with the first");
    assert_ne!(ids[0], ids[2]);
    assert_eq!(server.count(&queue, "pending"), 2);
}

#[test]
fn a_retry_that_would_make_two_holders_is_refused() {
    let (server, queue, key) = (shared(), name("taken"), name("key"));
    let body = json!({"queue": queue, "unique_key": key});
    let first = server.enqueue(&body);
    server.post(&format!("/jobs/{first}/cancel"), &json!({})).expect(200);
    let second = server.enqueue(&body);
    let refused = server.post(&format!("/jobs/{first}/retry"), &json!({})).refused(409, "CONFLICT");
    assert!(text(&refused["error"]).contains(&second), "names the holder: {refused}");
    assert_eq!(server.job(&first)["state"], "cancelled");
}
