// SPDX-License-Identifier: Apache-2.0
//! What Prometheus sees. Names are those of the HTTP contract; label sets are bounded.
//!
//! Counts of jobs come from the events, so every node counts what it applies; `jobbie_jobs` is read from
//! the queue rows when somebody asks. A queue beyond the first [`MAX_QUEUES`] counts as `_other`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jobbie_broker::{Change, Event, Name, StateKind};
use jobbie_store::Reader;
use jobbie_store::log::LogObserver;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Queues that get a label of their own: what a Prometheus server takes from one target without complaint.
pub const MAX_QUEUES: usize = 1000;
const OTHER: &str = "_other";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueStateLabels {
    queue: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActorLabel {
    actor: String,
}

type ByQueue<M> = Family<QueueLabel, M, fn() -> M>;
type ByRoute = Family<RouteLabels, Histogram, fn() -> Histogram>;

/// From 0.25 ms to 8 s for calls and waits inside the broker.
fn call_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.00025, 2.0, 16))
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
    queues: Mutex<HashMap<Name, Arc<QueueMetrics>>>,
    jobs: Family<QueueStateLabels, Gauge>,
    enqueued: ByQueue<Counter>,
    completed: ByQueue<Counter>,
    failed: ByQueue<Counter>,
    dead: ByQueue<Counter>,
    latency: ByQueue<Histogram>,
    duration: ByQueue<Histogram>,
    http: ByRoute,
    leader: Gauge,
    term: Gauge,
    last_applied: Gauge,
    batch_size: Histogram,
    fsync: Histogram,
    log_bytes: Gauge,
    journal_bytes: Gauge,
    mailbox: Family<ActorLabel, Gauge>,
    restarts: Family<ActorLabel, Gauge>,
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
            queues: Mutex::default(),
            jobs: metric!("jobs", "Jobs by queue and state", Family::default()),
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
                "Time to answer a request; long polls and streams are not counted",
                Family::new_with_constructor(call_seconds as _)
            ),
            leader: metric!("raft_leader", "1 if this node leads", Gauge::default()),
            term: metric!("raft_term", "The Raft term", Gauge::default()),
            last_applied: metric!("raft_last_applied", "The last log index applied", Gauge::default()),
            batch_size: metric!(
                "raft_batch_size",
                "Commands in one Raft entry",
                Histogram::new(exponential_buckets(1.0, 2.0, 12))
            ),
            fsync: metric!("raft_fsync_seconds", "One write and sync of the log", call_seconds()),
            log_bytes: metric!("raft_log_bytes", "Bytes of log segments on disk", Gauge::default()),
            journal_bytes: metric!(
                "state_journal_bytes",
                "Bytes of the state's journal on disk",
                Gauge::default()
            ),
            mailbox: metric!("actor_mailbox_depth", "Messages waiting for an actor", Family::default()),
            restarts: metric!(
                "actor_restarts_total",
                "Restarts of an actor since the process started",
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

    /// Notes who leads.
    pub(crate) fn leadership(&self, leads: bool, term: u64) {
        self.leader.set(i64::from(leads));
        self.term.set(i64::try_from(term).unwrap_or(i64::MAX));
    }

    /// Everything as Prometheus text.
    pub(crate) fn render(&self, reader: &Reader, tree: Option<&crate::supervise::NodeView>) -> String {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.last_applied.set(number(reader.applied_index()));
        let disk = reader.disk();
        self.log_bytes.set(number(disk.log_bytes));
        self.journal_bytes.set(number(disk.journal_bytes));
        self.jobs.clear();
        for (key, queue) in reader.all_queues() {
            let metrics = self.queue(&key.queue);
            for state in StateKind::ALL {
                let labels = QueueStateLabels { queue: metrics.label.clone(), state: state.name() };
                self.jobs.get_or_create(&labels).inc_by(number(queue.count(state)));
            }
        }
        self.mailbox.clear();
        self.restarts.clear();
        if let Some(tree) = tree {
            self.actors(tree);
        }
        let mut text = String::with_capacity(16 * 1024);
        encode(&mut text, &self.registry).expect("a String takes every text");
        text
    }

    fn actors(&self, node: &crate::supervise::NodeView) {
        for child in &node.children {
            // One child per queue: the queues' names would be unbounded labels.
            if node.name != crate::tree::QUEUES {
                let label = ActorLabel { actor: child.name.clone() };
                let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                self.mailbox.get_or_create(&label).set(number(child.mailbox_depth.unwrap_or(0) as u64));
                self.restarts.get_or_create(&label).set(number(child.restarts));
            }
            self.actors(child);
        }
    }
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
