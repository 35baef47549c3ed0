// SPDX-License-Identifier: Apache-2.0
//! The ways to walk jobs from new to old.

use std::iter::Peekable;
use std::sync::Arc;

use jobbie_broker::tables::schema::{
    Finished, FinishedKey, Jobs, Leases, QueueJobKey, Ready, ReadyKey, Waiting,
};
use jobbie_broker::tables::{Key, Space};
use jobbie_broker::{Job, JobNo, QueueKey, StateKind, Timestamp};

use crate::keyspaces::Fault;
use crate::query::Cursor;
use crate::tables::{View, bounds, pair, read_key};

/// A job that may match: its sort time (zero in a listing by number), its number, its row if it was read.
pub(super) type Candidate = (Timestamp, JobNo, Option<Arc<Job>>);

/// Candidates in the order of a listing. Holds its own view of the disk.
pub(super) type Source = Box<dyn Iterator<Item = Result<Candidate, Fault>>>;

const BY_NUMBER: Timestamp = Timestamp(0);

/// All jobs below a number.
pub(super) fn all(view: &View, before: JobNo) -> Source {
    let (start, _) = bounds(Space::Jobs, &[], None);
    let (end, _) = bounds(Space::Jobs, &[], Some(&before.bytes()));
    Box::new(view.range::<Jobs>((&start, &end)).rev().map(|found| {
        let (no, job) = pair::<Jobs>(&found?)?;
        Ok((BY_NUMBER, no, Some(job)))
    }))
}

/// Scheduled and retrying jobs of a queue below a number.
pub(super) fn waiting(view: &View, queue: &QueueKey, before: JobNo) -> Source {
    let (start, _) = bounds(Space::Waiting, &queue.bytes(), None);
    let last = QueueJobKey { queue: queue.clone(), job: before };
    let (end, _) = bounds(Space::Waiting, &queue.bytes(), Some(&last.bytes()));
    Box::new(view.range::<Waiting>((&start, &end)).rev().map(|found| {
        let key = read_key::<Waiting>(&found?.0)?;
        Ok((BY_NUMBER, key.job, None))
    }))
}

/// Pending jobs of a queue below a number: its priorities merged.
pub(super) fn pending(view: &View, queue: &QueueKey, before: JobNo) -> Result<Source, Fault> {
    let mut ranks = Vec::new();
    let (start, mut end) = bounds(Space::Ready, &ReadyKey::queue_prefix(queue), None);
    while let Some(found) = view.range::<Ready>((&start, &end)).next_back() {
        let rank = read_key::<Ready>(&found?.0)?.rank;
        let band = ReadyKey::band_prefix(queue, rank);
        let (first, _) = bounds(Space::Ready, &band, None);
        let last = ReadyKey { queue: queue.clone(), rank, job: before };
        let (behind, _) = bounds(Space::Ready, &band, Some(&last.bytes()));
        let keys = view.range::<Ready>((&first, &behind)).rev();
        ranks.push(keys.map(|found| Ok((BY_NUMBER, read_key::<Ready>(&found?.0)?.job, None))));
        end = first;
    }
    Ok(Box::new(Merged::new(ranks)))
}

/// Jobs of some queues in a terminal state, behind the cursor: the queues merged by time.
pub(super) fn finished(
    view: &View,
    queues: &[&QueueKey],
    state: StateKind,
    cursor: Option<Cursor>,
) -> Result<Source, Fault> {
    let cursor = cursor.unwrap_or(Cursor { at: Timestamp::MAX, job: JobNo(u64::MAX) });
    let one = |queue: &&QueueKey| {
        let prefix = FinishedKey::state_prefix(queue, state);
        let (start, _) = bounds(Space::Finished, &prefix, None);
        let last = FinishedKey { queue: QueueKey::clone(queue), state, at: cursor.at, job: cursor.job };
        let (end, _) = bounds(Space::Finished, &prefix, Some(&last.bytes()));
        let keys = view.range::<Finished>((&start, &end)).rev();
        keys.map(|found| {
            let key = read_key::<Finished>(&found?.0)?;
            Ok((key.at, key.job, None))
        })
    };
    Ok(Box::new(Merged::new(queues.iter().map(one).collect())))
}

/// Active jobs of a queue below a number; `None` if the namespace has more leases than are worth sorting.
pub(super) fn active(
    view: &View,
    queue: &QueueKey,
    before: JobNo,
    most: u64,
) -> Result<Option<Source>, Fault> {
    let (start, end) = bounds(Space::Leases, &queue.namespace.bytes(), None);
    let mut jobs = Vec::new();
    for (seen, found) in (0u64..).zip(view.range::<Leases>((&start, &end))) {
        if seen >= most {
            return Ok(None);
        }
        let (key, row) = pair::<Leases>(&found?)?;
        if row.queue == queue.queue && key.job < before {
            jobs.push(key.job);
        }
    }
    jobs.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Some(Box::new(jobs.into_iter().map(|no| Ok((BY_NUMBER, no, None))))))
}

/// Several sources, each from new to old, as one.
struct Merged<I: Iterator<Item = Result<Candidate, Fault>>> {
    sources: Vec<Peekable<I>>,
}

impl<I: Iterator<Item = Result<Candidate, Fault>>> Merged<I> {
    fn new(sources: Vec<I>) -> Self {
        Self { sources: sources.into_iter().map(Iterator::peekable).collect() }
    }
}

impl<I: Iterator<Item = Result<Candidate, Fault>>> Iterator for Merged<I> {
    type Item = Result<Candidate, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut newest: Option<(usize, (Timestamp, JobNo))> = None;
        for (place, source) in self.sources.iter_mut().enumerate() {
            let head = match source.peek() {
                None => continue,
                Some(Err(_)) => return source.next(),
                Some(Ok((at, no, _))) => (*at, *no),
            };
            if newest.is_none_or(|(_, newest)| newest < head) {
                newest = Some((place, head));
            }
        }
        newest.and_then(|(place, _)| self.sources[place].next())
    }
}
