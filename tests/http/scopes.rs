// SPDX-License-Identifier: Apache-2.0
//! A key for some queues: what it sees of lists, events, metrics and unique keys that concern others too.

use serde_json::{Value, json};

use crate::fixture::{name, text};
use crate::keys::{Keyed, with_keys};
use crate::support::SOON;

fn enqueue(who: &Keyed<'_>, queue: &str) -> String {
    text(&who.post("/enqueue", &json!({"queue": queue})).expect(201)["job_id"])
}

/// All pages of a listing; every page but the last is full.
fn listed(who: &Keyed<'_>, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = who.get(&format!("/jobs?limit=2{query}{cursor}")).expect(200);
        let jobs = page["jobs"].as_array().unwrap();
        ids.extend(jobs.iter().map(|job| text(&job["id"])));
        if page["has_more"] != true {
            return ids;
        }
        assert_eq!(jobs.len(), 2, "a page is filled with what the caller may see: {page}");
        cursor = format!("&cursor={}", text(&page["cursor"]));
    }
}

#[test]
fn lists_are_filtered_before_they_are_cut_into_pages() {
    let server = with_keys();
    let root = server.root();
    let reader = server.with(&server.key("readonly", &json!(["a.*", "b"])));
    let mut mine = Vec::new();
    for round in 0..4 {
        mine.push(enqueue(&root, &format!("a.{round}")));
        enqueue(&root, "theirs");
        mine.push(enqueue(&root, "b"));
        enqueue(&root, "a");
    }
    for job in [&mine[0], &mine[3]] {
        root.post(&format!("/jobs/{job}/cancel"), &json!({})).expect(200);
    }
    let newest_first: Vec<String> = mine.iter().rev().cloned().collect();
    assert_eq!(listed(&reader, ""), newest_first);
    assert_eq!(listed(&reader, "&state=cancelled"), [mine[3].clone(), mine[0].clone()]);
    assert_eq!(listed(&reader, "&queue=b").len(), 4);
    let named: Vec<String> = reader.get("/queues").expect(200)["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| text(&queue["name"]))
        .collect();
    assert_eq!(named, ["a.0", "a.1", "a.2", "a.3", "b"]);
}

#[test]
fn nothing_of_other_queues_is_in_events_stats_metrics_and_rates() {
    let server = with_keys();
    let root = server.root();
    let (ours, theirs) = (name("ours"), name("theirs"));
    let reader = server.with(&server.key("readonly", &json!("ours*")));
    let mut tail = reader.stream("/events?topics=tail,stats");
    enqueue(&root, &theirs);
    enqueue(&root, &ours);
    let mut seen = Vec::new();
    while !seen.iter().any(|event: &String| event.starts_with("job.enqueued")) {
        let event = tail.try_next(SOON).unwrap().expect("it goes on");
        seen.push(format!("{} {}", event.name, event.data));
    }
    let stats = loop {
        let event = tail.try_next(SOON).unwrap().expect("it goes on");
        if event.name == "stats" && event.data.contains(&ours) {
            break event.data;
        }
    };
    assert!(!seen.iter().any(|event| event.contains(&theirs)), "{seen:?}");
    assert!(!stats.contains(&theirs), "{stats}");
    // From the ring, too.
    let mut again = reader.stream("/events?last_event_id=0.0");
    let first = again.try_next(SOON).unwrap().unwrap();
    assert!(first.name == "resync" || first.data.contains(&ours), "{first:?}");

    let metrics = reader.get("/metrics").text();
    assert!(metrics.contains(&format!("queue=\"{ours}\"")) && !metrics.contains(&theirs), "{metrics}");
    let counted = |who: &Keyed<'_>| -> u64 {
        let minutes = who.get("/metrics/throughput").expect(200)["per_minute"].clone();
        minutes.as_array().unwrap().iter().map(|minute| minute["enqueued"].as_u64().unwrap()).sum()
    };
    assert_eq!((counted(&reader), counted(&root)), (1, 2));
}

#[test]
fn a_stream_takes_over_no_lease_of_another_queue() {
    let server = with_keys();
    let root = server.root();
    let worker = server.with(&server.key("worker", &json!("ours*")));
    let (ours, theirs) = (name("ours"), name("theirs"));
    enqueue(&root, &theirs);
    let mut first = root.stream(&format!("/stream?queues={theirs}&worker_id=w"));
    assert_eq!(first.try_next(SOON).unwrap().unwrap().name, "job");
    let mut second = worker.stream(&format!("/stream?queues={ours}&worker_id=w"));
    let mine = enqueue(&worker, &ours);
    let event = second.try_next(SOON).unwrap().unwrap();
    assert_eq!((&*event.name, &event.json()["job_id"]), ("job", &json!(mine)));
}

#[test]
fn a_unique_key_that_is_held_outside_does_not_tell_by_whom() {
    let server = with_keys();
    let root = server.root();
    let worker = server.with(&server.key("worker", &json!("ours*")));
    let key = name("unique");
    let job = |queue: &str| json!({"queue": queue, "unique_key": key, "unique_period": "1h"});
    let holder = text(&root.post("/enqueue", &job("theirs")).expect(201)["job_id"]);
    let lease = root.post("/fetch", &json!({"queues": ["theirs"], "timeout": 0})).expect(200);
    let done = json!({"lease_token": lease["lease_token"], "result": "secret result"});
    root.post(&format!("/ack/{holder}"), &done).expect(200);
    let refused = worker.post("/enqueue", &job("ours")).refused(409, "CONFLICT");
    assert!(!refused.to_string().contains(&holder) && !refused.to_string().contains("secret"), "{refused}");
    let told = root.post("/enqueue", &job("ours")).expect(200);
    assert_eq!((&told["job_id"], &told["result"]), (&json!(holder), &json!("secret result")));
    let crash = json!({"queue": "ours", "on_crash_queue": "theirs"});
    worker.post("/enqueue", &crash).refused(403, "FORBIDDEN");
}

#[test]
fn a_job_that_is_moved_away_is_gone_for_who_waits_for_it() {
    let server = with_keys();
    let root = server.root();
    let worker = server.with(&server.key("worker", &json!("ours*")));
    let job = enqueue(&worker, &name("ours"));
    let mut stream = worker.stream(&format!("/jobs/{job}/stream"));
    assert_eq!(stream.try_next(SOON).unwrap().unwrap().name, "job");
    root.post(&format!("/jobs/{job}/move"), &json!({"queue": "theirs"})).expect(200);
    worker.get(&format!("/jobs/{job}")).refused(404, "NOT_FOUND");
    worker.get(&format!("/jobs/{job}/wait?timeout=0")).refused(404, "NOT_FOUND");
    root.post(&format!("/jobs/{job}/cancel"), &json!({})).expect(200);
    let other = enqueue(&root, "theirs");
    assert_eq!(worker.get(&format!("/jobs/{other}")).refused(404, "NOT_FOUND")["details"], Value::Null);
}
