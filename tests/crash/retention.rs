// SPDX-License-Identifier: Apache-2.0
//! Retention as the operator and the producer set it, on the binary.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Launch, SOON, Server};

/// Enqueues a job and completes it; gives its id.
fn completed(server: &Server, job: &Value) -> String {
    server.post("/enqueue", job).expect(201);
    let lease = server.post("/fetch", &json!({"queues": ["q"], "timeout": 0})).expect(200);
    let id = lease["job_id"].as_str().unwrap().to_owned();
    server.post(&format!("/ack/{id}"), &json!({"lease_token": lease["lease_token"]})).expect(200);
    id
}

/// Removal is no event, so there is nothing to wait for but the answer.
#[track_caller]
fn gone(server: &Server, id: &str) {
    let deadline = Instant::now() + SOON;
    while server.get(&format!("/jobs/{id}")).status() != 404 {
        assert!(Instant::now() < deadline, "{id} is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn finished_jobs_go_by_their_number_and_by_their_own_retention() {
    let launch = Launch::new().arg("--retention-count=2").arg("--retention=1d");
    let mut server = launch.start();
    let short = completed(&server, &json!({"queue": "q", "retention": "0s"}));
    gone(&server, &short);
    let longer = json!({"queue": "q", "retention": "2d"});
    let refused = server.post("/enqueue", &longer).refused(400, "VALIDATION");
    assert!(refused["error"].as_str().unwrap().contains("shorter than the server's"), "{refused}");
    let ids: Vec<String> = (0..4).map(|n| completed(&server, &json!({"queue": "q", "payload": n}))).collect();
    server.terminate();
    server.wait_exit(SOON);
    // A scheduler looks for what is past its retention when it begins.
    let server = launch.start();
    gone(&server, &ids[1]);
    for (id, status) in ids.iter().zip([404, 404, 200, 200]) {
        assert_eq!(server.get(&format!("/jobs/{id}")).status(), status, "{id}");
    }
}
