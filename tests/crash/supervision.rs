// SPDX-License-Identifier: Apache-2.0
//! The supervisor tree of a server in trouble: hung children are noticed and replaced, storms of restarts slow down
//! and end the process, and what ends it is said.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::children::{crash, node, restarted, restarts, tree};
use crate::run::Run;
use crate::support::{Launch, Request, SOON, Server};

/// A hang is noticed after ten seconds; the rest is for a busy machine.
const NOTICED: Duration = Duration::from_secs(60);

fn hang(server: &Server, child: &str) {
    server.post("/debug/hang", &json!({"child": child, "span": "5m"})).expect(204);
}

/// Waits until a child has been restarted after it hung; its node.
#[track_caller]
fn replaced(server: &Server, child: &str) -> Value {
    let deadline = Instant::now() + NOTICED;
    loop {
        let tree = tree(server);
        let found = node(&tree, child).filter(|node| node["restarts"] != 0 && node["state"] == "running");
        if let Some(found) = found {
            return found.clone();
        }
        assert!(Instant::now() < deadline, "{child} is not replaced: {tree:#}");
    }
}

#[test]
fn a_dispatcher_that_hangs_under_load_is_replaced_and_nothing_is_lost() {
    let server = Launch::new().crashable().start();
    let run = Run::start("a_dispatcher_that_hangs_under_load_is_replaced", &server);
    run.more_calls(200, NOTICED);
    hang(&server, "jobs/dispatch");
    let found = replaced(&server, "jobs/dispatch");
    assert_eq!(found["last_error"], "hung: blocked its thread for 10s");
    assert!(server.output().text().contains("arbiter thread is blocked and replaced"));
    run.more_calls(300, NOTICED);
    let report = run.finish(&server);
    report.check();
    report.covers(&[("enqueue ok", 100), ("ack ok", 100)]);
}

#[test]
fn a_scheduler_that_hangs_is_replaced_and_leases_still_run_out() {
    let server = Launch::new().crashable().start();
    let job = json!({"queue": "q", "max_crashes": 1});
    let id = server.post("/enqueue", &job).expect(201)["job_id"].clone();
    let mut events = server.stream("/events");
    hang(&server, "jobs/scheduler");
    server.post("/fetch", &json!({"queues": ["q"], "timeout": 0, "lease_duration": 1})).expect(200);
    replaced(&server, "jobs/scheduler");
    events.about("job.dead", id.as_str().unwrap());
}

#[test]
fn a_raft_node_that_hangs_ends_the_process_with_a_reason() {
    let launch = Launch::new().crashable();
    let mut server = launch.start();
    let id = server.post("/enqueue", &json!({"queue": "q"})).expect(201)["job_id"].clone();
    hang(&server, "raft-node");
    let status = server.wait_exit(NOTICED);
    assert_eq!(status.code(), Some(70), "{}", server.output().tail(20));
    let said = server.output().text();
    assert!(said.contains("the server cannot go on"), "{said}");
    assert!(said.contains("raft-node gave up: hung: blocked its thread for 10s"), "{said}");
    let server = launch.start();
    server.get(&format!("/jobs/{}", id.as_str().unwrap())).expect(200);
}

#[test]
fn a_storm_of_restarts_slows_down_and_ends_the_process_with_a_reason() {
    let mut server = Launch::new().arg("--log-format").arg("json").crashable().start();
    for crashes in 0..5 {
        crash(&server, "jobs/scheduler").expect(204);
        restarted(&server, "jobs/scheduler", crashes);
    }
    assert_eq!(restarts(&tree(&server), "jobs"), 0);
    // The sixth is one too many: `jobs` gives up, and above it nobody restarts anything.
    let request = Request::json("POST", "/debug/crash", &json!({"child": "jobs/scheduler"}));
    let _ = crate::support::Client::new(server.addr()).send(&request);
    let status = server.wait_exit(SOON);
    let said = server.output().text();
    assert_eq!(status.code(), Some(70), "{said}");
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    let restarting = of("child ended and will be restarted");
    assert_eq!(restarting.len(), 5, "{said}");
    // Bounds of 5, 20, 80, 320 and 1,280 ms, each drawn from its upper half: the pauses only grow.
    let pauses: Vec<f64> = restarting.iter().map(|line| millis(line["after"].as_str().unwrap())).collect();
    assert!(pauses.windows(2).all(|two| two[0] < two[1]), "{pauses:?}");
    assert!(pauses[0] >= 2.5 && pauses[4] >= 640.0 && pauses[4] <= 1280.0, "{pauses:?}");
    let ended = of("the server cannot go on; what was acknowledged is safe");
    assert_eq!(ended.len(), 1, "{said}");
    assert_eq!(ended[0]["reason"], "jobs gave up: scheduler gave up: killed on request");
    assert_eq!(ended[0]["level"], "ERROR");
}

/// A `Duration` as it is logged, such as `17.2ms` or `1.1s`.
fn millis(text: &str) -> f64 {
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix("µs")) {
        (Some(ms), _) => (ms, 1.0),
        (_, Some(us)) => (us, 0.001),
        _ => (text.trim_end_matches('s'), 1000.0),
    };
    number.parse::<f64>().unwrap_or_else(|e| panic!("{text}: {e}")) * factor
}
