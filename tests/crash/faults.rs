// SPDX-License-Identifier: Apache-2.0
//! Faults at named points of the store, on the binary: a failed sync is the end of all acknowledgements, a
//! death between any two writes loses none.

use serde_json::{Value, json};

use crate::support::{Client, Launch, Request, SOON, Server};

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Enqueues until the server cannot any more; adds the acknowledged ids.
fn until_it_fails(server: &Server, ids: &mut Vec<String>) {
    for _ in 0..500 {
        let job = json!({"queue": "q", "payload": ids.len()});
        match Client::new(server.addr()).send(&Request::json("POST", "/enqueue", &job)) {
            Ok(response) if response.status() == 201 => ids.push(text(&response.json()["job_id"])),
            Ok(response) => {
                let code = response.code();
                assert!(
                    ["OUTCOME_UNKNOWN", "UNAVAILABLE", "NO_LEADER"].contains(&code.as_str()),
                    "{}",
                    response.text()
                );
                return;
            }
            Err(_) => return,
        }
    }
    panic!("it never failed");
}

#[track_caller]
fn all_there(server: &Server, ids: &[String], what: &str) {
    for (n, id) in ids.iter().enumerate() {
        let job = server.get(&format!("/jobs/{id}"));
        assert_eq!(job.status(), 200, "{what}: {id} is gone");
        assert_eq!(job.json()["payload"], n, "{what}");
    }
}

fn armed(plan: &str) -> Launch {
    Launch::new().crashable().env("JOBBIE_DEBUG_FAULT", plan)
}

/// The same directory without the fault.
fn healed(launch: &Launch) -> Launch {
    launch.clone().env("JOBBIE_DEBUG_FAULT", "log-write:1000000000:fail")
}

/// P20: an error of fdatasync is fatal, clean and final.
#[test]
fn a_failed_sync_ends_the_server_without_another_acknowledgement() {
    let launch = Launch::new().crashable();
    let mut server = launch.start();
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(text(&server.post("/enqueue", &json!({"queue": "q", "payload": n})).expect(201)["job_id"]));
    }
    let plan = json!({"plan": "log-sync:4:fail"});
    assert_eq!(server.post("/debug/fault", &plan).status(), 204);
    until_it_fails(&server, &mut ids);
    let acknowledged = ids.len();
    // Whatever still answers acknowledges nothing.
    for _ in 0..3 {
        let job = Request::json("POST", "/enqueue", &json!({"queue": "q"}));
        if let Ok(response) = Client::new(server.addr()).send(&job) {
            assert_ne!(response.status(), 201, "acknowledged after a failed sync");
        }
    }
    let status = server.wait_exit(SOON);
    let said = server.output().text();
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.contains("the log cannot be written") && said.contains("os error 5"), "{said}");
    let server = launch.start();
    assert_eq!(ids.len(), acknowledged);
    all_there(&server, &ids, "after a failed sync");
    server.post("/enqueue", &json!({"queue": "q"})).expect(201);
}

#[test]
fn a_plan_that_is_none_is_refused_with_what_is_allowed() {
    let server = Launch::new().crashable().start();
    let refused = server.post("/debug/fault", &json!({"plan": "log-synk"})).refused(400, "VALIDATION");
    assert!(text(&refused["error"]).contains("log-sync"), "{refused}");
    let ordinary = Launch::new().start();
    ordinary.post("/debug/fault", &json!({"plan": "log-sync"})).refused(404, "NOT_FOUND");
}

/// Points that a server passes while it serves, some passings in, and those of its state, which it writes behind:
/// at the latest when it stops. The process dies there.
#[test]
fn a_server_that_dies_between_two_writes_has_everything_it_acknowledged() {
    let log = ["log-write", "log-sync", "log-synced"].into_iter().flat_map(|point| [(point, 9), (point, 14)]);
    for (point, nth) in log.chain([("state-flush", 2), ("state-flushed", 2)]) {
        let plan = format!("{point}:{nth}:crash");
        let launch = armed(&plan);
        let mut ids = Vec::new();
        let mut server = launch.try_start().unwrap_or_else(|exited| panic!("{plan}: {}", exited.output));
        while ids.len() < 40 {
            let job = json!({"queue": "q", "payload": ids.len()});
            match Client::new(server.addr()).send(&Request::json("POST", "/enqueue", &job)) {
                Ok(response) if response.status() == 201 => ids.push(text(&response.json()["job_id"])),
                _ => break,
            }
        }
        if ids.len() == 40 {
            server.terminate();
        }
        let status = server.wait_exit(SOON);
        assert!(!status.success(), "{plan} was not passed: {status}");
        let server = healed(&launch).start();
        all_there(&server, &ids, &plan);
    }
}

/// Points of a first start: the second one finds a directory that is as good as new.
#[test]
fn a_first_start_that_dies_can_be_repeated() {
    for point in [
        "identity-rename",
        "log-head-sync",
        "log-rename",
        "log-dir-sync",
        "current-write",
        "current-rename",
        "current-dir-sync",
        "log-vote",
    ] {
        let launch = armed(&format!("{point}:1:crash"));
        assert!(launch.try_start().is_err(), "{point} is not passed by a first start");
        let server = healed(&launch).start();
        server.post("/enqueue", &json!({"queue": "q"})).expect(201);
    }
}
