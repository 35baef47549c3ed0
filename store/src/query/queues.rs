// SPDX-License-Identifier: Apache-2.0
//! Queues: answered from memory, but for the age of the oldest job.

use std::ops::Bound;
use std::sync::Arc;

use jobbie_broker::tables::Tables;
use jobbie_broker::tables::schema::{Jobs, Ready, ReadyKey};
use jobbie_broker::{Change, Job, JobNo, Name, Queue, QueueKey, StateKind, Timestamp};

use super::{NamedQueue, Reader};
use crate::keyspaces::Fault;
use crate::tables::FjallTables;

impl Reader {
    /// The queues of a namespace, sorted by name; from memory.
    #[must_use]
    pub fn queues(&self, namespace: &Name) -> Vec<NamedQueue> {
        let first = QueueKey { namespace: namespace.clone(), queue: Name::from("") };
        let queues = self.shared.queues();
        let of_namespace = queues.range((Bound::Included(first), Bound::Unbounded));
        of_namespace
            .take_while(|(key, _)| key.namespace == *namespace)
            .map(|(key, queue)| NamedQueue { name: key.queue.clone(), queue: queue.clone() })
            .collect()
    }

    /// The queues of all namespaces, sorted; from memory.
    #[must_use]
    pub fn all_queues(&self) -> Vec<(QueueKey, Arc<Queue>)> {
        self.shared.queues().iter().map(|(key, queue)| (key.clone(), queue.clone())).collect()
    }

    /// A queue; from memory, one lock.
    #[must_use]
    pub fn queue(&self, key: &QueueKey) -> Option<Arc<Queue>> {
        self.shared.queues().get(key).cloned()
    }

    /// Since when the oldest pending job of a queue has been waiting; of those, the one with the lowest
    /// number. One seek per priority that has jobs.
    ///
    /// # Errors
    /// If the machine fails.
    pub fn oldest_pending(&self, key: &QueueKey) -> Result<Option<Timestamp>, Fault> {
        if self.queue(key).is_none_or(|queue| queue.count(StateKind::Pending) == 0) {
            return Ok(None);
        }
        self.ask(|tables| {
            let fronts = tables.hints().windows().ready.fronts(key);
            let first = match fronts {
                Some(fronts) => known(tables, key, &fronts)?,
                None => unknown(tables, key)?,
            };
            let job = first.map(|no| tables.get::<Jobs>(&no)).transpose()?.flatten();
            Ok(job.as_deref().map(waiting_since))
        })
    }
}

/// When a pending job became so: its latest line but those that leave it pending.
fn waiting_since(job: &Job) -> Timestamp {
    let moves =
        |change: Change| !matches!(change, Change::Updated | Change::Progressed | Change::CancelRequested);
    let line = job.timeline.iter().rev().find(|line| moves(line.change));
    line.map_or(job.created_at, |line| line.at)
}

fn known(tables: &mut FjallTables, queue: &QueueKey, fronts: &[(u8, JobNo)]) -> Result<Option<JobNo>, Fault> {
    let mut first = None;
    for (rank, from) in fronts {
        let from = ReadyKey { queue: queue.clone(), rank: *rank, job: *from };
        let found = tables.scan::<Ready>(&ReadyKey::band_prefix(queue, *rank), Some(&from), 1)?;
        first = [first, found.first().map(|(key, ())| key.job)].into_iter().flatten().min();
    }
    Ok(first)
}

/// A queue that has not been fetched from since the start: its priorities are found one after the other.
fn unknown(tables: &mut FjallTables, queue: &QueueKey) -> Result<Option<JobNo>, Fault> {
    let prefix = ReadyKey::queue_prefix(queue);
    let (mut first, mut rank) = (None, Some(0));
    while let Some(from) = rank {
        let from = ReadyKey { queue: queue.clone(), rank: from, job: JobNo(0) };
        let found = tables.scan::<Ready>(&prefix, Some(&from), 1)?;
        first = [first, found.first().map(|(key, ())| key.job)].into_iter().flatten().min();
        rank = found.first().and_then(|(key, ())| key.rank.checked_add(1));
    }
    Ok(first)
}
