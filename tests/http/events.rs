// SPDX-License-Identifier: Apache-2.0
//! `GET /events` and `GET /jobs/{id}/stream`: what happens, in order, resumable, and at nobody's cost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Api, name, shared, text};
use crate::support::{Launch, Request, SOON};

#[test]
fn a_queue_topic_tells_the_life_of_its_jobs_in_order() {
    let (server, queue) = (shared(), name("topic"));
    let mut news = server.news(&queue);
    let id = server.enqueue(&json!({"queue": queue, "retry_backoff": "none"}));
    server.settle("fail", &server.take(&queue), json!({"error": "x"})).expect(200);
    let lease = server.take(&queue);
    server.beat(&lease, json!({"checkpoint": 1, "progress": {"current": 1}}));
    server.settle("ack", &lease, json!({})).expect(200);
    server.enqueue(&json!({"queue": name("other")}));
    let mut seen = Vec::new();
    let mut last = (0, 0);
    while seen.last().is_none_or(|kind| kind != "job.completed") {
        let event = news.next();
        if event.name.starts_with("queue.") || event.name == "ping" {
            continue;
        }
        let data = event.json();
        assert_eq!(
            (&data["type"], &data["queue"], &data["job_id"]),
            (&json!(event.name), &json!(queue), &json!(id))
        );
        let order = position(&event.id.expect("an id"));
        assert!(order > last, "ids rise: {order:?} after {last:?}");
        last = order;
        seen.push(event.name);
    }
    assert_eq!(
        seen,
        ["job.enqueued", "job.started", "job.failed", "job.started", "job.progress", "job.completed"]
    );
}

fn position(id: &str) -> (u64, u32) {
    let (index, n) = id.split_once('.').expect("index.n");
    (index.parse().unwrap(), n.parse().unwrap())
}

#[test]
fn topics_types_and_queues_choose() {
    let (server, queue, other) = (shared(), name("chosen"), name("ignored"));
    let first = server.enqueue(&json!({"queue": queue}));
    let mut job = server.stream(&format!("/events?topics=job:{first}"));
    let mut typed =
        server.stream(&format!("/events?topics=tail&types=job.started,job.completed&queues={queue}"));
    let second = server.enqueue(&json!({"queue": queue}));
    server.enqueue(&json!({"queue": other}));
    for id in [&first, &second] {
        let lease = server.take(&queue);
        assert_eq!(lease["job_id"], json!(id));
        server.settle("ack", &lease, json!({})).expect(200);
    }
    let names = |stream: &mut crate::support::Stream, count: usize| -> Vec<(String, String)> {
        (0..count).map(|_| stream.next()).map(|e| (e.name.clone(), text(&e.json()["job_id"]))).collect()
    };
    let both = |kind: &str, id: &str| (kind.to_owned(), id.to_owned());
    assert_eq!(names(&mut job, 2), [both("job.started", &first), both("job.completed", &first)]);
    let expected = [
        both("job.started", &first),
        both("job.completed", &first),
        both("job.started", &second),
        both("job.completed", &second),
    ];
    assert_eq!(names(&mut typed, 4), expected);
}

#[test]
fn stats_come_when_something_has_changed() {
    let (server, queue) = (shared(), name("stats"));
    let mut stats = server.stream("/events?topics=stats");
    stats.until("stats", |_| true);
    server.enqueue(&json!({"queue": queue}));
    stats.until("stats", |event| event.data.contains(&queue));
}

#[test]
fn a_reader_that_comes_back_goes_on_after_its_last_event() {
    let (server, queue) = (shared(), name("resume"));
    let mut news = server.news(&queue);
    let ids: Vec<String> = (0..6).map(|n| server.enqueue(&json!({"queue": queue, "payload": n}))).collect();
    let cut = news.about("job.enqueued", &ids[2]).id.expect("an id");
    drop(news);
    let path = format!("/events?topics=queue:{queue}");
    for mut again in [
        server.stream_with(&path, &[("last-event-id", &cut)]),
        server.stream(&format!("{path}&last_event_id={cut}")),
    ] {
        for id in &ids[3..] {
            let event = again.next();
            assert_eq!(
                (event.name.as_str(), text(&event.json()["job_id"])),
                ("job.enqueued", id.clone()),
                "none lost, none twice"
            );
        }
        let live = server.enqueue(&json!({"queue": queue}));
        again.about("job.enqueued", &live);
    }
}

#[test]
fn a_gap_that_is_lost_is_said_aloud() {
    let launch = Launch::new();
    let mut server = launch.start();
    let mut news = server.news("gap");
    let id = server.enqueue(&json!({"queue": "gap"}));
    let cut = news.about("job.enqueued", &id).id.expect("an id");
    for n in 0..10 {
        server.enqueue(&json!({"queue": "gap", "payload": n}));
    }
    drop(news);
    server.kill();
    let server = launch.start();
    let mut again = server.stream_with("/events?topics=queue:gap", &[("last-event-id", &cut)]);
    // The log of events is in memory: after a restart the reader is told what it missed or that it missed.
    let first = again.next();
    assert!(first.name == "resync" || first.name == "job.enqueued", "{first:?}");
    let live = server.enqueue(&json!({"queue": "gap"}));
    again.about("job.enqueued", &live);
    server.get("/events?last_event_id=nonsense").refused(400, "VALIDATION");
}

#[test]
fn bad_topics_are_refused() {
    let server = shared();
    for bad in [
        "topics=x",
        "topics=job",
        "topics=queue:a%20b",
        "types=job.foo",
        "queues=a%20b",
        "topic=tail",
        "topics=tail&topics=stats",
    ] {
        server.get(&format!("/events?{bad}")).refused(400, "VALIDATION");
    }
    server.get(&format!("/events?topics=job:{}", name("nobody"))).refused(404, "NOT_FOUND");
}

#[test]
fn a_jobs_stream_ends_with_the_job() {
    let (server, queue) = (shared(), name("follow"));
    let id = server.enqueue(&json!({"queue": queue, "payload": [1, 2]}));
    let mut stream = server.stream(&format!("/jobs/{id}/stream"));
    let first = stream.next();
    assert_eq!((first.name.as_str(), &first.json()["payload"]), ("job", &json!([1, 2])), "as it is now");
    let lease = server.take(&queue);
    stream.about("job.started", &id);
    server.beat(&lease, json!({"checkpoint": 1, "progress": {"current": 1, "total": 2, "message": "half"}}));
    let progress = stream.until("progress", |_| true);
    assert_eq!(progress.json(), json!({"current": 1, "total": 2, "message": "half"}));
    server.settle("ack", &lease, json!({"result": "done"})).expect(200);
    stream.about("job.completed", &id);
    let last = stream.next();
    assert_eq!(
        (last.name.as_str(), &last.json()["state"], &last.json()["result"]),
        ("job", &json!("completed"), &json!("done"))
    );
    assert_eq!(stream.try_next(SOON).unwrap(), None, "the end");
    let mut finished = server.stream(&format!("/jobs/{id}/stream"));
    assert_eq!(finished.next().json()["state"], "completed");
    assert_eq!(finished.try_next(SOON).unwrap(), None);
}

#[test]
fn a_slow_reader_holds_nobody_up() {
    let (server, queue) = (shared(), name("flood"));
    let path = format!("/events?topics=queue:{queue}");
    let mut slow: Vec<_> = (0..3).map(|_| server.stream(&path)).collect();
    let mut quick = server.stream(&path);
    // Some 20 MB of events per reader, which no socket buffer takes.
    let jobs: Vec<Value> = (0..10_000).map(|n| json!({"queue": queue, "payload": n})).collect();
    let batch = json!({"jobs": jobs});
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            quick.until("job.enqueued", |event| {
                event.data.contains("\"queue\"") && event.json()["job_id"] == "the-last"
            })
        });
        let start = Instant::now();
        for _ in 0..6 {
            let request = Request::json("POST", "/enqueue/batch", &batch).within(Duration::from_secs(60));
            server.send(&request).expect(201);
        }
        server.enqueue(&json!({"queue": queue, "id": "the-last"}));
        assert!(start.elapsed() < Duration::from_secs(40), "writes went on: {:?}", start.elapsed());
        reading.join().unwrap();
    });
    let lease = server.take(&queue);
    server.settle("ack", &lease, json!({})).expect(200);
    // Who reads at last gets events or is told that some are lost, never a broken stream.
    for stream in &mut slow {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let event = stream.try_next(SOON).expect("an event").expect("no end");
            let last = event.name == "job.completed" || event.name == "resync";
            if last {
                break;
            }
            assert!(Instant::now() < deadline, "neither the last event nor resync");
        }
    }
    server.post(&format!("/queues/{queue}/clear"), &json!({})).expect(200);
}
