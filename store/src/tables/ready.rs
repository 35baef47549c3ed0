// SPDX-License-Identifier: Apache-2.0
//! Which pending job is next, per queue: one [`Window`] per priority that has jobs.
//!
//! A queue is *cold* until somebody asks for its first job: then one seek per priority finds which of them
//! have jobs, and from then on (W2) a warm queue lists exactly the priorities that may have any. What is
//! written to a cold queue needs no note. A warm queue without jobs costs an empty map.

use std::collections::{BTreeMap, HashMap};

use jobbie_broker::tables::schema::ReadyKey;
use jobbie_broker::{JobNo, QueueKey};

use super::window::{Edge, Window};

/// The windows of all warm queues.
#[derive(Debug)]
pub(crate) struct ReadyWindows {
    queues: HashMap<QueueKey, BTreeMap<u8, Window<JobNo>>>,
    most: usize,
}

/// Reads ready keys: of this queue and rank or behind, not before the job, at most that many, in order.
pub(crate) trait ReadReady<F>:
    FnMut(&QueueKey, u8, JobNo, Within, usize) -> Result<Vec<ReadyKey>, F>
{
}
impl<F, R: FnMut(&QueueKey, u8, JobNo, Within, usize) -> Result<Vec<ReadyKey>, F>> ReadReady<F> for R {}

/// How far a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// To the end of the rank.
    Rank,
    /// To the end of the queue.
    Queue,
}

impl ReadyWindows {
    pub(crate) fn new(most: usize) -> Self {
        Self { queues: HashMap::new(), most }
    }

    /// Notes a pending job.
    pub(crate) fn put(&mut self, key: &ReadyKey) {
        if let Some(ranks) = self.queues.get_mut(&key.queue) {
            ranks.entry(key.rank).or_insert_with(|| Window::empty(self.most)).put(key.job);
        }
    }

    /// Notes that a job is not pending any more.
    pub(crate) fn delete(&mut self, key: &ReadyKey) {
        if let Some(ranks) = self.queues.get_mut(&key.queue)
            && let Some(window) = ranks.get_mut(&key.rank)
        {
            window.delete(key.job);
            if window.is_void() {
                ranks.remove(&key.rank);
            }
        }
    }

    /// The job that is next in line.
    pub(crate) fn first<F>(
        &mut self,
        queue: &QueueKey,
        mut read: impl ReadReady<F>,
    ) -> Result<Option<ReadyKey>, F> {
        if !self.queues.contains_key(queue) {
            let ranks = warm(queue, self.most, &mut read)?;
            self.queues.insert(queue.clone(), ranks);
        }
        let Some(ranks) = self.queues.get_mut(queue) else { return Ok(None) };
        while let Some(mut entry) = ranks.first_entry() {
            let rank = *entry.key();
            let found = entry.get_mut().first(|after, limit| {
                let from = after.map_or(JobNo(0), |job| JobNo(job.0.saturating_add(1)));
                let keys = read(queue, rank, from, Within::Rank, limit)?;
                Ok(keys.into_iter().map(|key| key.job).collect())
            })?;
            match found {
                Some(job) => return Ok(Some(ReadyKey { queue: queue.clone(), rank, job })),
                None => drop(entry.remove()),
            }
        }
        Ok(None)
    }

    /// Where a reader of the disk finds the first jobs of a warm queue: rank and a number that no pending
    /// job of that rank is below.
    pub(crate) fn fronts(&self, queue: &QueueKey) -> Option<Vec<(u8, JobNo)>> {
        let ranks = self.queues.get(queue)?;
        let from = |window: &Window<JobNo>| match window.front() {
            Ok(job) | Err(Edge::After(job)) => job,
            Err(Edge::Start | Edge::End) => JobNo(0),
        };
        Some(ranks.iter().map(|(rank, window)| (*rank, from(window))).collect())
    }

    /// Forgets what is known of a queue; always safe.
    pub(crate) fn cool(&mut self, queue: &QueueKey) {
        self.queues.remove(queue);
    }
}

/// Finds the ranks of a queue that have jobs: one seek each.
fn warm<F>(
    queue: &QueueKey,
    most: usize,
    read: &mut impl ReadReady<F>,
) -> Result<BTreeMap<u8, Window<JobNo>>, F> {
    let mut ranks = BTreeMap::new();
    let mut next = Some(0);
    while let Some(rank) = next {
        let found = read(queue, rank, JobNo(0), Within::Queue, 1)?;
        next = found.first().and_then(|key| {
            ranks.insert(key.rank, Window::unknown(most));
            key.rank.checked_add(1)
        });
    }
    Ok(ranks)
}
