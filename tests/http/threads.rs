// SPDX-License-Identifier: Apache-2.0
//! Nothing blocks a thread that many share: a counter says so, under load with queries of every kind, and the
//! counter is shown to count.

use std::time::Instant;

use serde_json::{Value, json};

use crate::fixture::{Api, text};
use crate::metrics::{scrape, value};
use crate::support::{Client, Launch, Request, SOON, Server};

fn blocking_calls(server: &Server) -> f64 {
    value(&scrape(server), "jobbie_actor_blocking_calls_total", &[])
}

/// One client that asks everything there is to ask, again and again.
fn ask_everything(server: &Server, number: usize) {
    let mut client = Client::new(server.addr());
    let mut ask = |method: &str, path: &str, body: Option<Value>| {
        let request = match body {
            Some(body) => Request::json(method, path, &body),
            None => Request::new(method, &format!("/api/v1{path}")),
        };
        let answer = client.send(&request).unwrap();
        assert!(answer.status() < 400, "{method} {path}: {}", answer.text());
        serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
    };
    let queue = format!("q{number}");
    for round in 0..25 {
        let unique = format!("{number}-{round}");
        let job = json!({"queue": queue, "unique_key": unique, "unique_period": "1h", "tags": {"n": "1"}});
        let id = text(&ask("POST", "/enqueue", Some(job.clone()))["job_id"]);
        ask("POST", "/enqueue", Some(job.clone()));
        ask("POST", "/enqueue", Some(json!({"queue": queue, "delay": "10ms"})));
        let fetch = json!({"queues": [queue], "worker_id": "w", "timeout": 0, "request_id": unique});
        let lease = ask("POST", "/fetch", Some(fetch.clone()));
        ask("POST", "/fetch", Some(fetch));
        for path in [
            "/jobs?limit=20",
            "/jobs?state=pending",
            &format!("/jobs?queue={queue}&state=completed"),
            &format!("/jobs/{id}"),
            &format!("/jobs/{id}/timeline"),
            &format!("/jobs/{id}/wait?timeout=0"),
            "/queues",
            &format!("/queues/{queue}"),
            "/info",
            "/supervisors",
            "/metrics",
            "/metrics/throughput",
        ] {
            ask("GET", path, None);
        }
        let token = json!({"lease_token": lease["lease_token"]});
        let leased = text(&lease["job_id"]);
        ask("POST", "/heartbeat", Some(json!({"worker_id": "w", "jobs": {&leased: token}})));
        let verb = ["ack", "fail", "release"][round % 3];
        let body =
            crate::fixture::merged(token, &if verb == "fail" { json!({"error": "x"}) } else { json!({}) });
        ask("POST", &format!("/{verb}/{leased}"), Some(body));
        // The result of a completed job that holds its unique key is read for the answer.
        ask("POST", "/enqueue", Some(job));
    }
}

#[test]
fn no_call_blocks_a_thread_that_others_share() {
    let server = Launch::new().crashable().start();
    let mut streams: Vec<_> =
        (0..4).map(|n| server.stream(&format!("/stream?queues=s{n}&worker_id=w{n}"))).collect();
    let mut events = server.stream("/events?topics=stats,tail");
    std::thread::scope(|scope| {
        for number in 0..4 {
            let server = &server;
            scope.spawn(move || ask_everything(server, number));
        }
    });
    for (n, stream) in streams.iter_mut().enumerate() {
        let id = server.enqueue(&json!({"queue": format!("s{n}")}));
        stream.until("job", |event| event.json()["job_id"] == id);
    }
    events.until("job.started", |_| true);
    // A worker that comes back adopts its leases, which are read from the disk.
    drop(streams);
    server.stream("/stream?queues=s0&worker_id=w0").until("job", |_| true);
    assert_eq!(blocking_calls(&server), 0.0, "{}", server.output().tail(20));

    // And the counters count.
    let hang = json!({"child": "jobs/dispatch", "span": "200ms"});
    server.post("/debug/hang", &hang).expect(204);
    let deadline = Instant::now() + SOON;
    let stalls = || value(&scrape(&server), "jobbie_actor_stalls_total", &[("family", "jobs")]);
    while stalls() < 1.0 {
        assert!(Instant::now() < deadline, "a stall of 200 ms is not counted");
    }
    assert_eq!(blocking_calls(&server), 1.0);
    let seconds = value(&scrape(&server), "jobbie_actor_stall_seconds_total", &[("family", "jobs")]);
    assert!(seconds >= 0.2, "{seconds}");
    assert!(server.output().text().contains("a call that may block was made on a thread that must not"));
}
