// SPDX-License-Identifier: Apache-2.0
//! What Prometheus sees. Names are those of the HTTP contract; label sets are bounded.
//!
//! Here is what is counted when it happens; what is read when somebody asks is in `scrape`. Counts of jobs
//! come from the events, so every node counts what it applies. A queue beyond the first [`MAX_QUEUES`] counts as
//! `_other`.

mod process;
mod scrape;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jobbie_broker::{Change, Event, Name, StateKind};
use jobbie_store::AppliedGroup;
use jobbie_store::log::LogObserver;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub(crate) use scrape::Sources;

/// Queues that get a label of their own: what a Prometheus server takes from one target without complaint.
pub const MAX_QUEUES: usize = 1000;
const OTHER: &str = "_other";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    signal: &'static str,
    outcome: &'static str,
}

type ByQueue<M> = Family<QueueLabel, M, fn() -> M>;
type ByRoute = Family<RouteLabels, Histogram, fn() -> Histogram>;

/// From 0.25 ms to 8 s for calls and waits inside the broker.
fn call_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.00025, 2.0, 16))
}

/// From 25 µs to 3.3 s for one visit to the disk: a sync takes about 100 µs on a fast one, and seconds on one
/// that is about to fail.
fn disk_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_025, 2.0, 18))
}

/// From 5 ms to 45 min for jobs.
fn job_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 20))
}

/// What is counted of one queue; looked up once for each event.
struct QueueMetrics {
    label: String,
    enqueued: Counter,
    completed: Counter,
    failed: Counter,
    dead: Counter,
    latency: Histogram,
    duration: Histogram,
}

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
    /// When this process began to count.
    began: SystemTime,
    queues: Mutex<HashMap<Name, Arc<QueueMetrics>>>,
    enqueued: ByQueue<Counter>,
    completed: ByQueue<Counter>,
    failed: ByQueue<Counter>,
    dead: ByQueue<Counter>,
    latency: ByQueue<Histogram>,
    duration: ByQueue<Histogram>,
    http: ByRoute,
    leader: Gauge,
    term: Gauge,
    commit_lag: Gauge,
    batch_size: Histogram,
    apply: Histogram,
    fsync: Histogram,
    exported: Family<OutcomeLabels, Counter>,
    storage_refused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("jobbie");
        macro_rules! metric {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        Self {
            began: SystemTime::now(),
            queues: Mutex::default(),
            enqueued: metric!(
                "enqueued",
                "Jobs accepted",
                Family::new_with_constructor(Counter::default as _)
            ),
            completed: metric!(
                "completed",
                "Jobs acknowledged",
                Family::new_with_constructor(Counter::default as _)
            ),
            failed: metric!(
                "failed",
                "Attempts that failed, timed out or crashed",
                Family::new_with_constructor(Counter::default as _)
            ),
            dead: metric!("dead", "Jobs given up", Family::new_with_constructor(Counter::default as _)),
            latency: metric!(
                "queue_latency_seconds",
                "Time from ready to handed out",
                Family::new_with_constructor(call_seconds as _)
            ),
            duration: metric!(
                "job_duration_seconds",
                "Time from handed out to the end of the attempt",
                Family::new_with_constructor(job_seconds as _)
            ),
            http: metric!(
                "http_request_duration_seconds",
                "Time to answer a request, without what a long poll was asked to wait",
                Family::new_with_constructor(call_seconds as _)
            ),
            leader: metric!("raft_leader", "1 if this node leads", Gauge::default()),
            term: metric!("raft_term", "The Raft term", Gauge::default()),
            commit_lag: metric!(
                "raft_commit_lag",
                "Entries that are in the log and not applied yet",
                Gauge::default()
            ),
            batch_size: metric!(
                "raft_batch_size",
                "Commands in one Raft entry",
                Histogram::new(exponential_buckets(1.0, 2.0, 12))
            ),
            apply: metric!(
                "raft_apply_seconds",
                "Applying the entries that were ready together",
                disk_seconds()
            ),
            fsync: metric!("raft_fsync_seconds", "One sync of the log", disk_seconds()),
            storage_refused: metric!(
                "storage_refused",
                "Calls refused with STORAGE_FULL",
                Counter::default()
            ),
            exported: metric!(
                "otlp_items",
                "Spans and metric points that were sent to the collector, or dropped",
                Family::default()
            ),
            registry,
        }
    }
}

impl Metrics {
    /// The metrics of a queue, or of all queues beyond the first [`MAX_QUEUES`] together.
    fn queue(&self, queue: &Name) -> Arc<QueueMetrics> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = queues.get(queue) {
            return known.clone();
        }
        let other = queues.len() >= MAX_QUEUES;
        let name: Name = if other { OTHER.into() } else { queue.clone() };
        let label = QueueLabel { queue: name.to_string() };
        let metrics = || {
            Arc::new(QueueMetrics {
                enqueued: self.enqueued.get_or_create(&label).clone(),
                completed: self.completed.get_or_create(&label).clone(),
                failed: self.failed.get_or_create(&label).clone(),
                dead: self.dead.get_or_create(&label).clone(),
                latency: self.latency.get_or_create(&label).clone(),
                duration: self.duration.get_or_create(&label).clone(),
                label: label.queue.clone(),
            })
        };
        queues.entry(name).or_insert_with(metrics).clone()
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        let Event::Job(job) = event else { return };
        let queue = self.queue(&job.queue);
        let counter = match job.change {
            Change::Enqueued => &queue.enqueued,
            Change::Completed => &queue.completed,
            Change::Failed | Change::TimedOut | Change::Crashed => &queue.failed,
            Change::Died => &queue.dead,
            Change::Started => {
                if let Some(took) = job.took_ms {
                    queue.latency.observe(took as f64 / 1000.0);
                }
                return;
            }
            _ => return,
        };
        counter.inc();
        if job.change == Change::Died && job.from == Some(StateKind::Active) {
            queue.failed.inc();
        }
        if let Some(took) = job.took_ms {
            queue.duration.observe(took as f64 / 1000.0);
        }
    }

    /// Counts an answered request.
    pub fn http(&self, route: &'static str, status: u16, took: Duration) {
        self.http.get_or_create(&RouteLabels { route, status }).observe(took.as_secs_f64());
    }

    /// Counts an entry of that many commands.
    pub(crate) fn proposed(&self, commands: usize) {
        self.batch_size.observe(commands as f64);
    }

    /// Notes who leads, and how many entries are in the log but not applied.
    pub(crate) fn raft(&self, leads: bool, term: u64, commit_lag: u64) {
        self.leader.set(i64::from(leads));
        self.term.set(whole(term));
        self.commit_lag.set(whole(commit_lag));
    }

    /// Counts calls that are refused because the disk is nearly full.
    pub(crate) fn storage_refused(&self) -> Counter {
        self.storage_refused.clone()
    }

    /// Counts a group of entries that were applied together.
    pub(crate) fn applied(&self, group: &AppliedGroup) {
        self.apply.observe(group.took.as_secs_f64());
    }

    /// Counts what became of items of telemetry: `signal` is `spans` or `metrics`, `outcome` `sent` or `dropped`.
    pub fn exported(&self, signal: &'static str, outcome: &'static str, items: u64) {
        self.exported.get_or_create(&OutcomeLabels { signal, outcome }).inc_by(items);
    }

    /// When this process began to count.
    #[must_use]
    pub const fn began(&self) -> SystemTime {
        self.began
    }
}

/// A number as a gauge holds it.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl LogObserver for Metrics {
    fn synced(&self, took: Duration, _: usize, _: usize) {
        self.fsync.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else whoever makes up queue names fills the memory of whatever scrapes this.
    #[test]
    fn queues_beyond_the_most_share_a_label() {
        let metrics = Metrics::default();
        for n in 0..MAX_QUEUES + 10 {
            metrics.queue(&format!("q{n}").into()).enqueued.inc();
        }
        assert_eq!(metrics.queue(&"q0".into()).label, "q0");
        let late = metrics.queue(&format!("q{}", MAX_QUEUES + 1).into());
        assert_eq!((late.label.as_str(), late.enqueued.get()), (OTHER, 10));
        assert_eq!(metrics.queues.lock().unwrap().len(), MAX_QUEUES + 1);
    }
}
