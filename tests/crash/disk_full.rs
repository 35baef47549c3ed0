// SPDX-License-Identifier: Apache-2.0
//! A disk that fills up: new jobs are refused before it is full, work goes on, and when it is full all the same
//! the server ends without losing what it promised.

use serde_json::{Value, json};

use crate::support::disk::SmallDisk;
use crate::support::{Launch, Request, Response, SOON, Server};

const MIB: u64 = 1 << 20;

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn enqueue(server: &Server, payload: &Value) -> Response {
    server.post("/enqueue", &json!({"queue": "q", "payload": payload}))
}

/// Asks again until the answer has that status: the server looks at its disk four times a second.
#[track_caller]
fn until(server: &Server, status: u16) -> Response {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let response = enqueue(server, &json!("one more"));
        if response.status() == status {
            return response;
        }
        assert!(std::time::Instant::now() < deadline, "still {}: {}", response.status(), response.text());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn fetch(server: &Server) -> (String, Value) {
    let lease = server.post("/fetch", &json!({"queues": ["q"], "worker_id": "w", "timeout": 0})).expect(200);
    (text(&lease["job_id"]), lease["lease_token"].clone())
}

#[test]
fn a_nearly_full_disk_refuses_new_jobs_and_lets_everything_else_pass_until_there_is_room() {
    let Some(disk) = SmallDisk::of_mib(192) else { return };
    let server = Launch::new().on(&disk).arg("--disk-reserve=64MiB").start();
    let ids: Vec<String> = (0..8).map(|n| text(&enqueue(&server, &json!(n)).expect(201)["job_id"])).collect();
    let keyed = Request::json("POST", "/enqueue", &json!({"queue": "q", "payload": "keyed"}))
        .header("Idempotency-Key", "before");
    let first = server.send(&keyed).expect(201);
    let leases: Vec<_> = (0..4).map(|_| fetch(&server)).collect();
    disk.fill("filler", 48 * MIB);

    let refusal = until(&server, 507).refused(507, "STORAGE_FULL");
    assert_eq!(refusal["details"]["reserve_bytes"], 64 * MIB, "{refusal}");
    assert!(refusal["details"]["free_bytes"].as_u64().unwrap() < 64 * MIB, "{refusal}");
    assert!(text(&refusal["error"]).contains("new jobs are refused"), "{refusal}");
    server.post("/enqueue/batch", &json!({"jobs": [{"queue": "q"}]})).refused(507, "STORAGE_FULL");
    server.post(&format!("/jobs/{}/clone", ids[0]), &json!({})).refused(507, "STORAGE_FULL");
    // It was written before, and the answer is there.
    assert_eq!(server.send(&keyed).json()["job_id"], first["job_id"]);

    let token = |n: usize| json!({"lease_token": leases[n].1, "error": "e"});
    let ack = json!({"lease_token": leases[0].1, "result": "done"});
    server.post(&format!("/ack/{}", leases[0].0), &ack).expect(200);
    server.post(&format!("/fail/{}", leases[1].0), &token(1)).expect(200);
    server.post(&format!("/release/{}", leases[2].0), &json!({"lease_token": leases[2].1})).expect(200);
    let beat = json!({"jobs": {leases[3].0.clone(): {"lease_token": leases[3].1, "checkpoint": 1}}});
    server.post("/heartbeat", &beat).expect(200);
    fetch(&server);
    assert_eq!(server.call("DELETE", &format!("/jobs/{}", ids[7])).status() / 100, 2);
    server.post("/queues/q/pause", &json!({})).expect(200);
    server.post("/queues/q/resume", &json!({})).expect(200);
    server.get(&format!("/jobs/{}", ids[0])).expect(200);

    let ready = server.send(&Request::new("GET", "/readyz"));
    assert!(ready.status() == 200 && ready.text().contains("nearly full"), "{}", ready.text());
    let info = server.get("/info").expect(200);
    assert_eq!((&info["disk"]["full"], &info["disk"]["reserve_bytes"]), (&json!(true), &json!(64 * MIB)));
    let metrics = server.send(&Request::new("GET", "/metrics")).text();
    assert!(metrics.contains("\njobbie_storage_full 1\n"), "{metrics}");
    assert!(!metrics.contains("\njobbie_storage_refused_total 0\n"), "{metrics}");

    disk.remove("filler");
    until(&server, 201);
    server.post("/enqueue/batch", &json!({"jobs": [{"queue": "q"}]})).expect(201);
    assert_eq!(server.send(&Request::new("GET", "/readyz")).text(), "ready\n");
    let metrics = server.send(&Request::new("GET", "/metrics")).text();
    assert!(metrics.contains("\njobbie_storage_full 0\n"), "{metrics}");
}

#[test]
fn a_disk_that_is_really_full_ends_the_server_and_what_was_acknowledged_is_there_with_more_room() {
    let Some(disk) = SmallDisk::of_mib(24) else { return };
    let launch = Launch::new().on(&disk).arg("--disk-reserve=0").crashable();
    let mut server = launch.start();
    let body = "x".repeat(100_000);
    let mut ids = Vec::new();
    loop {
        let job = json!({"queue": "q", "payload": format!("{} {body}", ids.len())});
        match crate::support::Client::new(server.addr()).send(&Request::json("POST", "/enqueue", &job)) {
            Ok(response) if response.status() == 201 => ids.push(text(&response.json()["job_id"])),
            Ok(response) => {
                response.refused(503, "OUTCOME_UNKNOWN");
                break;
            }
            Err(_) => break,
        }
        assert!(ids.len() < 1000, "a disk of 24 MiB takes 100 MB");
    }
    let status = server.wait_exit(SOON);
    let said = server.output().text();
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("what was acknowledged is safe"), "{said}");

    // On the disk as it is a start may go well or not, but it says why, and breaks nothing.
    if let Err(exited) = launch.try_start() {
        assert!(exited.output.contains("No space left on device"), "{}", exited.output);
        assert!(!exited.output.contains("panicked"), "{}", exited.output);
    }
    disk.resize(256);
    let server = launch.start();
    for (n, id) in ids.iter().enumerate() {
        let job = server.get(&format!("/jobs/{id}")).expect(200);
        assert!(text(&job["payload"]).starts_with(&format!("{n} x")), "{id}");
    }
    enqueue(&server, &json!("there is room again")).expect(201);
}
