// SPDX-License-Identifier: Apache-2.0
//! Every child of the tree killed under load: callers go on, nothing is lost or doubled, and the tree says
//! that it happened.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::run::Run;
use crate::support::{Launch, Response, SOON, Server};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn crash(server: &Server, child: &str) -> Response {
    server.post("/debug/crash", &json!({"child": child}))
}

/// The node at a path of names; names may have slashes in them.
pub fn node<'t>(tree: &'t Value, path: &str) -> Option<&'t Value> {
    if path.is_empty() {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| {
        let rest = path.strip_prefix(child["name"].as_str()?)?;
        if rest.is_empty() { Some(child) } else { node(child, rest.strip_prefix('/')?) }
    })
}

pub fn tree(server: &Server) -> Value {
    server.get("/supervisors").expect(200)
}

pub fn restarts(tree: &Value, path: &str) -> u64 {
    node(tree, path).and_then(|node| node["restarts"].as_u64()).unwrap_or(0)
}

/// Waits until the child runs again with more restarts than before.
#[track_caller]
pub fn restarted(server: &Server, path: &str, before: u64) {
    let deadline = Instant::now() + SOON;
    loop {
        let tree = tree(server);
        let back = node(&tree, path).is_some_and(|node| node["state"] == "running");
        if back && restarts(&tree, path) > before {
            return;
        }
        // Each look is a call of its own, and a restart takes some milliseconds.
        assert!(Instant::now() < deadline, "{path} is not back: {tree:#}");
    }
}

#[test]
fn children_killed_under_load_lose_nothing() {
    let server = Launch::new().crashable().start();
    let run = Run::start("children_killed_under_load_lose_nothing", &server);
    run.more_calls(300, PATIENCE);
    // A supervisor of the tree gives up after five restarts in 30 s, so these stay below.
    for child in [
        "jobs/queues/default/first",
        "jobs/scheduler",
        "jobs/queues/default/second",
        "jobs/dispatch",
        "jobs/queues/default/third",
        "jobs/scheduler",
        "jobs/queues",
        "jobs/queues/default/first",
    ] {
        let before = restarts(&tree(&server), child);
        let deadline = Instant::now() + SOON;
        // A queue without waiters has no actor; with this load it will have one again in a moment.
        while crash(&server, child).status() != 204 {
            assert!(Instant::now() < deadline, "{child} never lives: {:#}", tree(&server));
        }
        if child != "jobs/queues" && !child.contains("default/") {
            restarted(&server, child, before);
        }
        run.more_calls(200, PATIENCE);
    }
    let report = run.finish(&server);
    let after = tree(&server);
    assert_eq!(restarts(&after, "raft-node") + restarts(&after, "http"), 0, "{after:#}");
    report.check();
    report.covers(&[
        ("enqueue ok", 100),
        ("grant fetched", 100),
        ("grant streamed", 50),
        ("ack ok", 100),
        ("fail ok", 10),
    ]);
    assert_eq!(report.coverage().get("enqueue unknown"), None, "no caller was left without an answer");
    assert_eq!(report.coverage().get("settle unknown"), None, "no worker was left without an answer");
}

#[test]
fn long_polls_and_streams_outlive_the_children_behind_them() {
    for child in ["jobs/queues/default/q", "jobs/dispatch", "jobs/scheduler", "jobs/queues"] {
        // One server each: together they would be more restarts than the tree puts up with.
        let server = Launch::new().crashable().start();
        let job = |n: u64| json!({"queue": "q", "payload": n});
        let enqueue = |n: u64| server.post("/enqueue", &job(n)).expect(201)["job_id"].clone();
        let mut jobs = server.stream("/stream?queues=q&worker_id=w");
        let mut events = server.stream("/events?topics=queue:q");
        let first = enqueue(1);
        let lease = jobs.until("job", |_| true).json();
        assert_eq!(lease["job_id"], first);
        events.about("job.started", first.as_str().unwrap());
        let before = restarts(&tree(&server), child);
        let deadline = Instant::now() + SOON;
        while crash(&server, child).status() != 204 {
            assert!(Instant::now() < deadline, "{child} never lives: {:#}", tree(&server));
        }
        if !child.ends_with("/q") {
            restarted(&server, child, before);
        }
        let token = json!({"lease_token": lease["lease_token"]});
        server.post(&format!("/ack/{}", first.as_str().unwrap()), &token).expect(200);
        // The same two streams go on: the job stream has credit again and the events come, or a word of what was lost.
        let second = enqueue(2);
        let lease = jobs.until("job", |_| true).json();
        assert_eq!((&lease["job_id"], &lease["adopted"]), (&second, &json!(false)), "after {child}");
        events.until("job.enqueued", |event| event.json()["job_id"] == second);
        let token = json!({"lease_token": lease["lease_token"]});
        server.post(&format!("/ack/{}", second.as_str().unwrap()), &token).expect(200);
        drop(jobs);
        // And a long poll.
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| server.post("/fetch", &json!({"queues": ["q"], "timeout": 50})).expect(200));
            server.get("/info").expect(200);
            let _ = crash(&server, child);
            let third = enqueue(3);
            let lease = waiting.join().unwrap();
            assert_eq!(lease["job_id"], third, "after {child}");
            let token = json!({"lease_token": lease["lease_token"]});
            server.post(&format!("/ack/{}", third.as_str().unwrap()), &token).expect(200);
        });
    }
}

#[test]
fn leases_still_run_out_after_the_scheduler_was_killed() {
    let server = Launch::new().crashable().start();
    let id = server.post("/enqueue", &json!({"queue": "q", "max_crashes": 1})).expect(201)["job_id"].clone();
    let later =
        server.post("/enqueue", &json!({"queue": "later", "delay": "500ms"})).expect(201)["job_id"].clone();
    let mut events = server.stream("/events");
    server.post("/fetch", &json!({"queues": ["q"], "timeout": 0, "lease_duration": 1})).expect(200);
    let before = restarts(&tree(&server), "jobs/scheduler");
    crash(&server, "jobs/scheduler").expect(204);
    restarted(&server, "jobs/scheduler", before);
    events.about("job.promoted", later.as_str().unwrap());
    events.about("job.dead", id.as_str().unwrap());
    let job = server.get(&format!("/jobs/{}", id.as_str().unwrap())).expect(200);
    assert_eq!((&job["state"], &job["reason"]), (&json!("dead"), &json!("crashed")));
}

#[test]
fn what_is_never_restarted_ends_the_process_and_the_next_one_has_everything() {
    let launch = Launch::new().crashable();
    let mut server = launch.start();
    let run = Run::start("what_is_never_restarted_ends_the_process", &server);
    for child in ["raft-node", "http", "raft-runtime", "log", "jobs"] {
        run.more_calls(300, PATIENCE);
        // The answer may be lost with the server.
        let request = crate::support::Request::json("POST", "/debug/crash", &json!({"child": child}));
        let _ = crate::support::Client::new(server.addr()).send(&request);
        let status = server.wait_exit(SOON);
        assert_eq!(status.code(), Some(70), "{child}: {}", server.output().tail(30));
        run.gate.shut();
        server = launch.start();
        run.gate.open(server.addr());
    }
    run.more_calls(100, PATIENCE);
    run.finish(&server).check();
}

#[test]
fn a_child_that_does_not_exist_cannot_be_killed() {
    let server = Launch::new().crashable().start();
    for child in ["nobody", "jobs/nobody", "jobs/queues/default/never-seen", "jobs//dispatch"] {
        crash(&server, child).refused(404, "NOT_FOUND");
    }
    server.post("/debug/crash", &json!({})).refused(400, "VALIDATION");
}
