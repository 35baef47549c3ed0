// SPDX-License-Identifier: Apache-2.0
//! Who hears of applied entries: the queues whose jobs may be handed out now, the ring of events, the
//! metrics, the tracer.
//!
//! Called by the task that applies, so nothing here waits. A job that becomes available by something other than an
//! enqueue (a retry, a timer, a freed place) reaches who waits for it from here, without a detour over dispatch.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use jobbie_broker::{Change, Event, Name, QueueKey, StateKind};
use jobbie_store::{AppliedEntry, AppliedGroup, ApplySink};

use crate::dispatch::ring::EventRing;
use crate::metrics::Metrics;
use crate::queue::Queues;
use crate::trace::Tracer;

/// Hears of applied entries and tells the others.
pub(crate) struct Hearers {
    ring: Arc<EventRing>,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    queues: OnceLock<Queues>,
}

impl Hearers {
    /// Hearers that fill the ring.
    #[must_use]
    pub fn new(ring: Arc<EventRing>, metrics: Arc<Metrics>, tracer: Tracer) -> Self {
        Self { ring, metrics, tracer, queues: OnceLock::new() }
    }

    /// From now on these are told too: set before the first entry is applied.
    pub fn tell(&self, queues: Queues) {
        // A second call changes nothing: there is one set of queues in a node.
        let _ = self.queues.set(queues);
    }
}

impl ApplySink for Hearers {
    fn applied(&self, entries: Vec<AppliedEntry>) {
        if let Some(queues) = self.queues.get().filter(|queues| queues.any()) {
            let events = || entries.iter().flat_map(|entry| &entry.events);
            if events().any(took_the_way_out) {
                queues.stir_all();
            }
            for (namespace, queue) in opened(events()) {
                queues.stir(&QueueKey::new(namespace, queue));
            }
        }
        // Before the answers: a worker that has its answer may have the job's next attempt a moment later.
        entries.iter().flat_map(|entry| &entry.events).for_each(|event| self.tracer.heed(event));
        self.ring.applied(entries);
    }

    fn measured(&self, group: &AppliedGroup) {
        self.metrics.applied(group);
        self.tracer.applied(group);
    }
}

/// The queues that may hand out a job that they could not hand out before.
fn opened<'e>(events: impl Iterator<Item = &'e Event>) -> BTreeSet<(&'e Name, &'e Name)> {
    let mut opened = BTreeSet::new();
    let mut last = None;
    for event in events.filter(|event| may_open_a_queue(event)) {
        let key = (event.namespace(), event.queue());
        // Neighbours are mostly of one queue.
        if last != Some(key) {
            last = Some(key);
            opened.insert(key);
        }
    }
    opened
}

/// True for a crashed job that went to its `on_crash_queue`: its event names that queue, while the one it left
/// has a free place.
fn took_the_way_out(event: &Event) -> bool {
    matches!(event, Event::Job(job) if job.change == Change::Crashed && job.state == StateKind::Pending)
}

/// True if after this event a queue may hand out a job that it could not hand out before.
fn may_open_a_queue(event: &Event) -> bool {
    use jobbie_broker::StateKind::{Active, Pending};
    match event {
        Event::Queue(_) => true,
        Event::Job(job) => job.state == Pending || (job.from == Some(Active) && job.state != Active),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::event;
    use jobbie_broker::Timestamp;
    use jobbie_broker::event::{QueueEvent, QueueNews};

    #[test]
    fn queues_look_when_a_job_is_ready_a_place_is_free_or_a_setting_has_changed() {
        let job = |queue: &str, from: Option<StateKind>, state: StateKind| {
            let Event::Job(job) = event(1, None) else { unreachable!("it is about a job") };
            Event::Job(jobbie_broker::event::JobEvent { queue: queue.into(), from, state, ..job })
        };
        let events = [
            job("ready", None, StateKind::Pending),
            job("ready", Some(StateKind::Retrying), StateKind::Pending),
            job("handed-out", Some(StateKind::Pending), StateKind::Active),
            job("freed", Some(StateKind::Active), StateKind::Completed),
            job("later", None, StateKind::Scheduled),
            job("heard", Some(StateKind::Active), StateKind::Active),
            Event::Queue(QueueEvent {
                news: QueueNews::Resumed,
                at: Timestamp(1),
                namespace: "default".into(),
                queue: "set".into(),
            }),
        ];
        let opened: Vec<&str> = opened(events.iter()).into_iter().map(|(_, queue)| &**queue).collect();
        assert_eq!(opened, ["freed", "ready", "set"]);
    }
}
