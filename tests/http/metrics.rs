// SPDX-License-Identifier: Apache-2.0
//! `/metrics`: valid, bounded, as documented, and right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::json;

use crate::fixture::{Api, name, shared, text};
use crate::support::collector::Collector;
use crate::support::openmetrics::{Family, parse};
use crate::support::{Launch, Request, SOON, Server};

/// What the server exposes now; valid, or the test ends here.
#[track_caller]
pub fn scrape(server: &Server) -> Vec<Family> {
    let answer = server.send(&Request::new("GET", "/metrics"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    parse(&answer.text()).unwrap_or_else(|why| panic!("{why}\n{}", answer.text()))
}

/// The value of a sample with these labels; 0 if there is none.
pub fn value(families: &[Family], sample: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = families.iter().flat_map(|family| &family.samples).filter(|found| found.name == sample);
    let fits = |have: &BTreeMap<String, String>| {
        labels.iter().all(|(name, value)| have.get(*name).is_some_and(|have| have == value))
    };
    samples.filter(|sample| fits(&sample.labels)).map(|sample| sample.value).sum()
}

/// What the server exposes once a sample has come to a value: events are counted after they are answered.
#[track_caller]
fn scrape_when(server: &Server, sample: &str, labels: &[(&str, &str)], expected: f64) -> Vec<Family> {
    let deadline = Instant::now() + SOON;
    loop {
        let families = scrape(server);
        let now = value(&families, sample, labels);
        if now == expected {
            return families;
        }
        assert!(Instant::now() < deadline, "{sample} {labels:?} is {now}, not {expected}");
    }
}

/// The rows of the table in docs/metrics.md: name, type, labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = include_str!("../../docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `jobbie_") || line.starts_with("| `process_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`')).filter(|label| *label != "–");
        let labels = labels.map(ToOwned::to_owned).collect();
        (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), labels))
    })
    .collect()
}

/// Makes everything happen that has a metric.
fn drive(server: &Server, queue: &str) {
    for _ in 0..3 {
        server.enqueue(&json!({"queue": queue, "retry_backoff": "none", "max_retries": 1}));
    }
    server.settle("ack", &server.take(queue), json!({})).expect(200);
    for _ in 0..2 {
        server.settle("fail", &server.take(queue), json!({"error": "x"})).expect(200);
    }
}

#[test]
fn the_page_documents_exactly_what_is_exposed() {
    let collector = Collector::start();
    let server = Launch::new().arg("--otlp-endpoint").arg(collector.url()).start();
    drive(&server, "q");
    let deadline = Instant::now() + SOON;
    let families = loop {
        let families = scrape(&server);
        // Counted when the collector has answered.
        if value(&families, "jobbie_otlp_items_total", &[("outcome", "sent")]) > 0.0 {
            break families;
        }
        assert!(Instant::now() < deadline, "nothing was sent");
    };
    let exposed = families.iter().map(|family| {
        let labels = family.labels().into_iter().map(ToOwned::to_owned).collect();
        (family.shown(), (family.kind.clone(), labels))
    });
    let exposed: BTreeMap<String, (String, BTreeSet<String>)> = exposed.collect();
    assert_eq!(documented(), exposed);
}

#[test]
fn counts_are_those_of_what_happened() {
    let (server, queue) = (shared(), name("metrics"));
    drive(&server, &queue);
    let metrics = scrape_when(&server, "jobbie_dead_total", &[("queue", &queue)], 1.0);
    let of_queue = |sample: &str| value(&metrics, sample, &[("queue", &queue)]);
    assert_eq!(of_queue("jobbie_enqueued_total"), 3.0);
    assert_eq!(of_queue("jobbie_completed_total"), 1.0);
    assert_eq!(of_queue("jobbie_failed_total"), 2.0);
    assert_eq!(of_queue("jobbie_dead_total"), 1.0);
    assert_eq!(of_queue("jobbie_queue_latency_seconds_count"), 3.0);
    assert_eq!(of_queue("jobbie_job_duration_seconds_count"), 3.0);
    let jobs = |state| value(&metrics, "jobbie_jobs", &[("queue", &queue), ("state", state)]);
    assert_eq!((jobs("pending"), jobs("completed"), jobs("dead"), jobs("active")), (1.0, 1.0, 1.0, 0.0));
    assert!(value(&metrics, "jobbie_raft_apply_seconds_count", &[]) > 0.0);
    assert!(value(&metrics, "jobbie_raft_fsync_seconds_count", &[]) > 0.0);
    assert_eq!(value(&metrics, "jobbie_raft_leader", &[]), 1.0);
    let fetches = [("route", "/api/v1/fetch"), ("status", "200")];
    assert!(value(&metrics, "jobbie_http_request_duration_seconds_count", &fetches) >= 3.0);
    let text = server.send(&Request::new("GET", "/api/v1/metrics")).text();
    assert!(parse(&text).is_ok(), "the same below the API");
}

/// What callers make up must not grow the labels.
#[test]
fn labels_are_bounded() {
    let server = Launch::new().start();
    let jobs: Vec<_> = (0..1100).map(|n| json!({"queue": format!("q{n}")})).collect();
    server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    for n in 0..20 {
        server.send(&Request::new("GET", &format!("/api/v1/jobs/nobody{n}")));
        server.send(&Request::new("GET", &format!("/made/up/{n}")));
        server.send(&Request::new(&format!("METHOD{n}"), "/healthz"));
    }
    let metrics = scrape_when(&server, "jobbie_enqueued_total", &[("queue", "_other")], 100.0);
    let distinct = |label: &str| -> BTreeSet<&str> {
        let samples = metrics.iter().flat_map(|family| &family.samples);
        samples.filter_map(|sample| sample.labels.get(label).map(String::as_str)).collect()
    };
    assert_eq!(distinct("queue").len(), 1001);
    assert_eq!(value(&metrics, "jobbie_jobs", &[("queue", "_other"), ("state", "pending")]), 100.0);
    assert!(distinct("route").iter().all(|route| *route == "unknown" || !route.contains("made")));
    assert!(distinct("actor").iter().all(|actor| !actor.contains("q1")), "{:?}", distinct("actor"));
}

/// A gauge that two scrapes fill at the same time would hold twice as much.
#[test]
fn scrapes_at_the_same_time_do_not_mix() {
    let server = Launch::new().start();
    let jobs: Vec<_> = (0..200).map(|n| json!({"queue": format!("q{}", n % 50)})).collect();
    server.post("/enqueue/batch", &json!({"jobs": jobs})).expect(201);
    std::thread::scope(|scope| {
        let scrapers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let pending = value(&scrape(&server), "jobbie_jobs", &[("state", "pending")]);
                        assert_eq!(pending, 200.0);
                    }
                })
            })
            .collect();
        scrapers.into_iter().for_each(|scraper| scraper.join().unwrap());
    });
}

#[test]
fn the_oldest_pending_job_has_an_age() {
    let (server, queue) = (shared(), name("oldest"));
    let old = text(&json!(server.enqueue(&json!({"queue": queue}))));
    let age = value(&scrape(&server), "jobbie_queue_oldest_pending_seconds", &[("queue", &queue)]);
    assert!((0.0..60.0).contains(&age), "{old}: {age}");
}
