// SPDX-License-Identifier: Apache-2.0
//! What a collector is sent: spans that hang together, the same metrics as `/metrics`; and that a collector which
//! is away costs nothing but a counter.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::{Api, text};
use crate::metrics::{scrape, value};
use crate::support::collector::{Collector, Message, Span};
use crate::support::{Client, Launch, Request, SOON, Server};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn with_collector(collector: &Collector) -> Launch {
    Launch::new().arg("--otlp-endpoint").arg(collector.url())
}

fn enqueue(server: &Server, flags: &str, more: serde_json::Value) -> (String, String) {
    let body = crate::fixture::merged(json!({"queue": "q", "retry_backoff": "none"}), &more);
    let traceparent = format!("00-{TRACE_ID}-{CALLER}-{flags}");
    let answer = server.send(&Request::json("POST", "/enqueue", &body).header("traceparent", &traceparent));
    let index = answer.header("x-jobbie-index").expect("an index").to_owned();
    (text(&answer.expect(201)["job_id"]), index)
}

#[track_caller]
fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

#[test]
fn a_job_is_a_trace_from_its_enqueue_to_its_end() {
    let collector = Collector::start();
    let server = with_collector(&collector).start();
    let (id, index) = enqueue(&server, "01", json!({}));
    let lease = server.take("q");
    server.settle("fail", &lease, json!({"error": "x"})).expect(200);
    server.settle("ack", &server.take("q"), json!({})).expect(200);
    let spans = collector.spans(|spans| spans.iter().filter(|span| span.name == "attempt").count() == 2);

    // The server was asked whether it is ready before it was asked for anything else.
    assert!(spans.iter().all(|span| !span.name.contains("readyz")), "{spans:#?}");
    let request = named(&spans, "POST /api/v1/enqueue");
    assert_eq!((request.kind, &*request.trace, &*request.parent), (2, TRACE_ID, CALLER));
    assert_eq!(
        (request.get("http.route"), request.get("http.response.status_code")),
        ("/api/v1/enqueue", "201")
    );
    let resource: Vec<&str> = request.resource.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(resource, ["service.name", "service.version", "service.instance.id"]);
    let propose = spans.iter().find(|span| span.parent == request.id).unwrap();
    assert_eq!((&*propose.name, propose.get("jobbie.command")), ("propose", "Enqueue"));
    assert_eq!(propose.get("jobbie.log_index"), index);
    let apply = spans.iter().find(|span| span.parent == propose.id).unwrap();
    assert_eq!((&*apply.name, apply.get("jobbie.log_index")), ("apply", &*index));
    assert!(request.times.0 <= propose.times.0 && propose.times.1 <= request.times.1);
    assert!(apply.times.0 < apply.times.1);

    // The first delivery goes on with the producer's trace, the second begins its own and links to it.
    let of = |name: &str, delivery: &str| {
        let found = spans.iter().find(|span| span.name == name && span.get("jobbie.delivery") == delivery);
        found.unwrap_or_else(|| panic!("no {name} {delivery}: {spans:#?}")).clone()
    };
    let (deliver, attempt) = (of("deliver", "1"), of("attempt", "1"));
    assert_eq!((deliver.kind, &*deliver.trace, &*deliver.parent), (4, TRACE_ID, CALLER));
    assert_eq!((&*attempt.trace, &*attempt.parent), (TRACE_ID, CALLER));
    assert_eq!((attempt.get("jobbie.job_id"), attempt.get("jobbie.queue")), (&*id, "q"));
    assert_eq!((attempt.get("jobbie.outcome"), &*attempt.error), ("job.failed", "job.failed"));
    let (deliver, attempt) = (of("deliver", "2"), of("attempt", "2"));
    assert_ne!(deliver.trace, TRACE_ID);
    assert_eq!((&attempt.trace, &attempt.parent), (&deliver.trace, &deliver.id));
    assert_eq!(attempt.links, [(TRACE_ID.to_owned(), CALLER.to_owned())]);
    assert_eq!((attempt.get("jobbie.outcome"), &*attempt.error), ("job.completed", ""));
    // The fetch is a trace of its own; the delivery links to it.
    let fetch = named(&spans, "POST /api/v1/fetch");
    assert!(fetch.parent.is_empty() && fetch.trace != TRACE_ID);
    let fetches: BTreeSet<&str> =
        spans.iter().filter(|span| span.name == fetch.name).map(|span| span.id.as_str()).collect();
    assert!(deliver.links.iter().any(|(_, id)| fetches.contains(id.as_str())), "{deliver:?}");
}

#[test]
fn whoever_begins_a_trace_decides_whether_it_is_recorded() {
    let collector = Collector::start();
    let server = with_collector(&collector).arg("--trace-share").arg("0").start();
    let (unrecorded, _) = enqueue(&server, "00", json!({}));
    server.get("/info").expect(200);
    let recorded = format!("00-{}-{CALLER}-01", TRACE_ID.replace('0', "1"));
    server.send(&Request::get("/queues").header("traceparent", &recorded)).expect(200);
    let spans = collector.spans(|spans| !spans.is_empty());
    assert_eq!(spans.len(), 1, "{spans:#?}");
    assert_eq!((&*spans[0].name, &*spans[0].parent), ("GET /api/v1/queues", CALLER));
    // It still goes to the worker.
    assert_eq!(server.job(&unrecorded)["trace"], format!("00-{TRACE_ID}-{CALLER}-00"));
}

#[test]
fn a_job_without_a_trace_gets_that_of_its_enqueue() {
    let collector = Collector::start();
    let server = with_collector(&collector).start();
    let id = server.enqueue(&json!({"queue": "q"}));
    let trace = text(&server.job(&id)["trace"]);
    let spans = collector.spans(|spans| spans.iter().any(|span| span.name == "POST /api/v1/enqueue"));
    let request = named(&spans, "POST /api/v1/enqueue");
    assert_eq!(trace, format!("00-{}-{}-01", request.trace, request.id));
}

#[test]
fn the_collector_is_sent_what_metrics_says() {
    let collector = Collector::start();
    let mut server = with_collector(&collector).start();
    for _ in 0..3 {
        server.enqueue(&json!({"queue": "q"}));
    }
    server.settle("ack", &server.take("q"), json!({})).expect(200);
    let exposed: BTreeSet<String> = scrape(&server).into_iter().map(|family| family.name).collect();
    // The last report is sent when the server stops.
    server.terminate();
    server.wait_exit(SOON);
    let body = collector.wait("/v1/metrics");
    let request = Message::read(&body);
    let metrics = request.messages(1)[0].messages(2)[0].messages(2);
    let names: BTreeSet<String> = metrics.iter().map(|metric| metric.text(1)).collect();
    assert!(exposed.is_subset(&names), "{:?} are missing", exposed.difference(&names));
    let of = |name: &str| metrics.iter().find(|metric| metric.text(1) == name).unwrap();
    let enqueued = &of("jobbie_enqueued").messages(7)[0];
    assert_eq!((enqueued.number(2), enqueued.number(3)), (2, 1), "cumulative and monotonic");
    let point = &enqueued.messages(1)[0];
    assert_eq!(f64::from_bits(point.number(4)), 3.0);
    assert_eq!(point.attributes(7), [("queue".to_owned(), "q".to_owned())]);
    assert!(point.number(2) > 0 && point.number(2) < point.number(3), "since the start, until now");
    let latency = of("jobbie_queue_latency_seconds");
    assert_eq!(latency.text(3), "s");
    let point = &latency.messages(9)[0].messages(1)[0];
    assert_eq!(point.number(4), 1);
    let counts: Vec<u64> =
        point.all(6)[0].chunks(8).map(|eight| u64::from_le_bytes(eight.try_into().unwrap())).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (17, 1));
    assert_eq!(point.all(7)[0].len(), 16 * 8, "the last bucket has no bound");
    let leader = &of("jobbie_raft_leader").messages(5)[0].messages(1)[0];
    assert_eq!(f64::from_bits(leader.number(4)), 1.0);
}

/// A collector that takes connections and says nothing is the worst one: every request to it lasts until it is
/// given up.
#[test]
fn a_collector_that_is_away_costs_nothing_but_a_counter() {
    let collector = Collector::silent();
    let mut server = with_collector(&collector).start();
    // Three spans each: more than the queue and a batch hold together.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::new(server.addr());
                for _ in 0..420 {
                    let request = Request::json("POST", "/enqueue", &json!({"queue": "q"}));
                    assert_eq!(client.send(&request).unwrap().status(), 201);
                }
            });
        }
    });
    let dropped =
        || value(&scrape(&server), "jobbie_otlp_items_total", &[("signal", "spans"), ("outcome", "dropped")]);
    let deadline = Instant::now() + SOON;
    while dropped() == 0.0 {
        assert!(Instant::now() < deadline, "nothing was dropped");
    }
    assert_eq!(server.count("q", "pending"), 1680);
    let began = Instant::now();
    server.terminate();
    assert_eq!(server.wait_exit(SOON).code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "the end does not wait for the collector");
}

#[test]
fn a_collector_that_refuses_is_mentioned_once() {
    let collector = Collector::answering(Some("400 Bad Request"));
    let server = with_collector(&collector).arg("--log-format").arg("json").start();
    for _ in 0..3 {
        server.get("/info").expect(200);
        let before = collector.wait_for(|posted| Some(posted.len()));
        server.get("/queues").expect(200);
        collector.wait_for(|posted| (posted.len() > before).then_some(()));
    }
    let said = server.output().text();
    assert_eq!(said.matches("telemetry does not arrive").count(), 1, "{said}");
    assert!(said.contains("status 400"), "{said}");
}
