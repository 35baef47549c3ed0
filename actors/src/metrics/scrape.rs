// SPDX-License-Identifier: Apache-2.0
//! What is read when somebody asks: jobs by state from the queue rows, actors from the tree, the disk, the
//! process. Each scrape has a registry of its own, so that two at a time do not mix.

use std::collections::BTreeMap;
use std::fmt;

use jobbie_broker::{StateKind, Timestamp};
use jobbie_store::{Durability, Fault, Reader};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::{Metrics, process, whole};
use crate::disk_guard::DiskRoom;
use crate::supervise::{NodeView, Tree};

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
struct ActorLabel {
    actor: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabel {
    family: &'static str,
}

/// What a scrape reads.
pub(crate) struct Sources<'a> {
    pub reader: &'a Reader,
    pub tree: Option<&'a Tree>,
    /// Commands that wait for a place in the log.
    pub waiting: usize,
    pub now: Timestamp,
    pub node_id: u64,
    pub durability: Durability,
    pub room: DiskRoom,
}

impl Metrics {
    /// Everything as OpenMetrics text.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn render(&self, sources: &Sources<'_>) -> Result<String, Fault> {
        let mut now = Registry::with_prefix("jobbie");
        self.node(sources, &mut now);
        self.queues_of(sources, &mut now)?;
        if let Some(tree) = sources.tree {
            actors(tree, &mut now);
        }
        let mut process = Registry::with_prefix("process");
        process::register_all(self.began, &mut process);
        let mut text = String::with_capacity(16 * 1024);
        let written = write(&mut text, &[&self.registry, &now, &process]);
        written.expect("a String takes every text");
        Ok(text)
    }

    fn node(&self, sources: &Sources<'_>, registry: &mut Registry) {
        let durability = match sources.durability {
            Durability::Fsync => "fsync",
            Durability::Relaxed => "relaxed",
        };
        let facts = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("node_id", format!("{:016x}", sources.node_id)),
            ("durability", durability.to_owned()),
        ];
        registry.register("node", "What this node is", Info::new(facts));
        let mut gauge = |name, help, value: u64| registry.register(name, help, gauge(value));
        gauge("raft_last_applied", "The last log index applied", sources.reader.applied_index());
        gauge("raft_waiting_commands", "Commands that wait for a place in the log", sources.waiting as u64);
        let disk = sources.reader.disk();
        gauge("raft_log_bytes", "Bytes of log segments on disk", disk.log_bytes);
        gauge("state_bytes", "Bytes of the state's tables on disk", disk.state_bytes);
        gauge("state_journal_bytes", "Bytes of the state's journal on disk", disk.journal_bytes);
        let unwritten = sources.reader.unwritten() as u64;
        gauge("state_unwritten_bytes", "Bytes of changed rows that are not in the state's tables", unwritten);
        let room = sources.room;
        gauge("disk_free_bytes", "Bytes that may still be written to the disk", room.free);
        gauge("disk_reserve_bytes", "Free bytes below which new jobs are refused", room.reserve);
        gauge("storage_full", "1 while new jobs are refused as the disk is nearly full", room.full.into());
        gauge("snapshot_bytes", "Bytes of the newest snapshot on disk", disk.snapshot_bytes);
    }

    fn queues_of(&self, sources: &Sources<'_>, registry: &mut Registry) -> Result<(), Fault> {
        let jobs = Family::<QueueStateLabels, Gauge>::default();
        let oldest = Family::<QueueLabel, Gauge>::default();
        for (key, queue) in sources.reader.all_queues() {
            let label = self.queue(&key.queue).label.clone();
            for state in StateKind::ALL {
                let labels = QueueStateLabels { queue: label.clone(), state: state.name() };
                jobs.get_or_create(&labels).inc_by(whole(queue.count(state)));
            }
            let since = sources.reader.oldest_pending(&key)?;
            let age = since.map_or(0, |since| sources.now.since(since).0 / 1000);
            let gauge = oldest.get_or_create_owned(&QueueLabel { queue: label });
            gauge.set(gauge.get().max(whole(age)));
        }
        registry.register("jobs", "Jobs by queue and state", jobs);
        registry.register("queue_oldest_pending_seconds", "How long the oldest pending job waits", oldest);
        Ok(())
    }
}

fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(whole(value));
    gauge
}

fn counted(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

/// What is known of one label of actors.
#[derive(Default)]
struct Count {
    waiting: Option<u64>,
    restarts: u64,
}

fn actors(tree: &Tree, registry: &mut Registry) {
    let mut counts = BTreeMap::new();
    for child in &tree.view().children {
        count(child, None, &mut counts);
    }
    let depth = Family::<ActorLabel, Gauge>::default();
    let restarts = Family::<ActorLabel, Counter>::default();
    for (actor, count) in counts {
        let label = ActorLabel { actor };
        if let Some(waiting) = count.waiting {
            depth.get_or_create(&label).set(whole(waiting));
        }
        restarts.get_or_create(&label).inc_by(count.restarts);
    }
    registry.register("actor_mailbox_depth", "Messages waiting for an actor", depth);
    registry.register("actor_restarts", "Restarts of an actor since the process started", restarts);
    let stalls = Family::<FamilyLabel, Counter>::default();
    let seconds = Family::<FamilyLabel, Counter<f64, std::sync::atomic::AtomicU64>>::default();
    for (family, stalled) in tree.stalls() {
        let label = FamilyLabel { family };
        stalls.get_or_create(&label).inc_by(stalled.turns);
        seconds.get_or_create(&label).inc_by(stalled.time.as_secs_f64());
    }
    registry.register("actor_stalls", "Turns that kept a thread of actors busy for 100 ms or longer", stalls);
    registry.register("actor_stall_seconds", "How long those turns took together", seconds);
    let blocking = counted(jobbie_store::blocking::calls());
    registry.register("actor_blocking_calls", "Blocking calls on threads that must not block", blocking);
}

/// Adds up what is known of a node and of those below it. The children of a dynamic supervisor share a label:
/// their names are those of queues, which anybody makes up.
fn count(node: &NodeView, shared: Option<&str>, counts: &mut BTreeMap<String, Count>) {
    let entry = counts.entry(shared.unwrap_or(&node.name).to_owned()).or_default();
    entry.restarts += node.restarts;
    if let Some(depth) = node.mailbox_depth {
        entry.waiting = Some(entry.waiting.unwrap_or(0) + depth as u64);
    }
    let shared = node.children_restarts.map(|gone| {
        let label = format!("{}/*", node.name);
        let entry = counts.entry(label.clone()).or_default();
        entry.restarts += gone;
        entry.waiting.get_or_insert(0);
        label
    });
    for child in &node.children {
        count(child, shared.as_deref(), counts);
    }
}

fn write(text: &mut String, registries: &[&Registry]) -> fmt::Result {
    for registry in registries {
        encode_registry(text, registry)?;
    }
    encode_eof(text)
}

/// Registers what is known; what is not leaves no trace.
pub(super) fn register(registry: &mut Registry, name: &str, help: &str, metric: Option<impl Metric>) {
    if let Some(metric) = metric {
        registry.register(name, help, metric);
    }
}
