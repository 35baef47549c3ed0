// SPDX-License-Identifier: Apache-2.0
//! What Prometheus sees. Names are those of the HTTP contract; label sets are bounded.
//!
//! Counts of jobs come from the events, so every node counts what it applies; `jobbie_jobs` is read from
//! the queue rows when somebody asks. A queue beyond the first [`MAX_QUEUES`] counts as `_other`.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
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

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
    known_queues: Mutex<HashSet<Name>>,
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
            known_queues: Mutex::default(),
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
    fn queue_label(&self, queue: &Name) -> QueueLabel {
        let mut known = self.known_queues.lock().unwrap_or_else(PoisonError::into_inner);
        let named = known.contains(queue) || known.len() < MAX_QUEUES && known.insert(queue.clone());
        QueueLabel { queue: if named { queue.to_string() } else { OTHER.to_owned() } }
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        let Event::Job(job) = event else { return };
        let family = match job.change {
            Change::Enqueued => &self.enqueued,
            Change::Completed => &self.completed,
            Change::Failed | Change::TimedOut | Change::Crashed => &self.failed,
            Change::Died => &self.dead,
            Change::Started => {
                if let Some(took) = job.took_ms {
                    self.latency.get_or_create(&self.queue_label(&job.queue)).observe(took as f64 / 1000.0);
                }
                return;
            }
            _ => return,
        };
        let label = self.queue_label(&job.queue);
        family.get_or_create(&label).inc();
        if job.change == Change::Died && job.from == Some(StateKind::Active) {
            self.failed.get_or_create(&label).inc();
        }
        if let Some(took) = job.took_ms {
            self.duration.get_or_create(&label).observe(took as f64 / 1000.0);
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
            let label = self.queue_label(&key.queue);
            for state in StateKind::ALL {
                let labels = QueueStateLabels { queue: label.queue.clone(), state: state.name() };
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
